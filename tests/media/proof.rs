//! The proof before "completed": good clips of every kind raise no alarm, and every way to spoil one is found and named.
//!
//! Clips are made within the test, so that what entered the encoders is at hand. FFmpeg spoils them; where it can, it leaves a
//! container that looks right.

use bytes::Bytes;
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    audio::Audio,
    clip::{Clip, Window},
    failure::Failure,
    ids::ClipId,
    reframe::Reframe,
    rendition::{Aspect, Quality, Rendition},
};
use clipfleet_pipeline::{
    catalog::Installed,
    progress::Progress,
    source::{Ranges, Source, Ticket},
    transcode::{Transcoded, transcode},
    verify::{verify, verify_content},
};
use clipfleet_tests::fixtures::directory;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// How late or early the sound of a good clip may be measured, milliseconds; 20 fail.
const SYNC_MS: f64 = 2.0;

/// Three seconds of pictures that move everywhere, and of sound that comes and goes irregularly.
const MOVING: &str = "testsrc2=size=640x360:rate=30";
const TALKING: &str =
    "aevalsrc='0.5*sin(2*PI*330*t)*gt(sin(2*PI*t*1.3)+sin(2*PI*t*2.9)+sin(2*PI*t*0.7)\\,0.4):s=48000:c=stereo'";

struct File(Bytes);

impl Ranges for File {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn request(&self, offset: u64, length: u64) -> Ticket {
        let ticket = Ticket::default();
        ticket.settle(Ok(self.0.slice(offset as usize..(offset + length) as usize)));
        ticket
    }
}

fn ffmpeg(arguments: &[&str]) {
    let done = Command::new("ffmpeg").args(["-hide_banner", "-v", "error", "-nostdin", "-y"]).args(arguments).status();
    assert!(done.expect("ffmpeg must be installed for media tests").success(), "ffmpeg {arguments:?}");
}

/// A source of generated pictures and, if any, generated sound.
fn source(directory: &Path, pictures: &str, sound: Option<&str>) -> PathBuf {
    let path = directory.join("source.mp4");
    let mut arguments = vec!["-f", "lavfi", "-t", "6.5", "-i", pictures];
    if let Some(sound) = sound {
        arguments.extend(["-f", "lavfi", "-t", "6.5", "-i", sound]);
    }
    arguments.extend(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "30", "-pix_fmt", "yuv420p"]);
    arguments.extend(["-c:a", "aac", path.to_str().expect("a name")]);
    ffmpeg(&arguments);
    path
}

/// A clip made here, with its file in `directory`.
fn clip(directory: &Path, source: &Path, (start_ms, end_ms): (i64, i64), fps: u32) -> Result<Transcoded, Failure> {
    let order = Transcode {
        source_size_bytes: 0,
        clip: Clip {
            id: ClipId::parse("clip").expect("an id"),
            window: Window::new(start_ms, end_ms).expect("a window"),
            reframe: Reframe::default(),
            cover_at_ms: None,
            audio: Audio::default(),
        },
        rendition: Rendition { quality: Quality::P720, aspect: Aspect::Square, fps },
        directory: directory.to_owned(),
        encoder: "auto".into(),
        passed_over: None,
    };
    let bytes = std::fs::read(source).expect("the source").into();
    transcode(&order, &Arc::new(Source::new(Arc::new(File(bytes)))), &installed(), &Progress::default())
}

fn installed() -> Arc<Installed> {
    Arc::new(Installed::start().expect("GStreamer"))
}

fn good(pictures: &str, sound: Option<&str>, fps: u32) -> Transcoded {
    let directory = directory();
    let source = source(directory.path(), pictures, sound);
    let made = clip(directory.path(), &source, (1_000, 3_500), fps)
        .unwrap_or_else(|failure| panic!("{pictures}: {failure:?}"));
    let manifest = &made.manifest;
    println!("{pictures} {sound:?} {fps}: {}", manifest.to_json());
    assert!(
        manifest.av_offset_ms.is_none_or(|offset| offset.abs() < SYNC_MS),
        "{pictures}: {:?}",
        manifest.av_offset_ms
    );
    assert!(manifest.end_difference_ms.abs() < SYNC_MS, "{pictures}: {}", manifest.end_difference_ms);
    made
}

#[test]
fn what_moves_raises_no_alarm_at_any_frame_rate() {
    for (fps, pictures) in
        [(24, MOVING), (25, "mandelbrot=size=640x360:rate=25"), (30, MOVING), (60, "testsrc2=size=640x360:rate=60")]
    {
        let made = good(pictures, Some(TALKING), fps);
        assert_eq!(made.manifest.notes, [""; 0], "{pictures}");
        assert!(made.manifest.av_offset_ms.is_some() && made.manifest.loudness.integrated_lufs.is_some());
    }
}

#[test]
fn what_hardly_moves_is_noted_and_no_fault() {
    let slide = "smptehdbars=size=640x360:rate=30,drawbox=x=300:y=150:w=60:h=40:color=white:t=fill";
    let made = good(slide, Some("anoisesrc=c=pink:a=0.1:r=48000:seed=7,aformat=channel_layouts=stereo"), 30);
    assert_eq!(made.manifest.notes, ["source_frozen"]);
    assert_eq!(made.manifest.input.frozen[0].start_ms, 0);
    assert_eq!(made.manifest.input.frozen[0].length_ms, 2_500);

    let pointer = format!("{slide},drawbox=x='280+8*floor(t*10)':y=160:w=8:h=12:color=black:t=fill");
    good(&pointer, None, 30);

    let black = good("color=black:size=640x360:rate=30", Some("anullsrc=r=48000:cl=stereo"), 30);
    assert_eq!(black.manifest.notes, ["source_frozen", "source_black"]);
    assert_eq!((black.manifest.av_offset_ms, black.manifest.loudness.integrated_lufs), (None, None));
}

#[test]
fn what_is_hard_to_encode_raises_no_alarm() {
    for pictures in [
        "testsrc2=size=640x360:rate=30,lutyuv=y=val/14+14:u=(val-128)/8+128:v=(val-128)/8+128",
        "color=gray:size=640x360:rate=30,noise=alls=100:allf=t+u",
        "testsrc2=size=640x360:rate=30,fade=in:st=1:d=1,fade=out:st=2.2:d=1",
        "smptehdbars=size=640x360:rate=30,fade=in:st=0:d=6",
        "color=gray:size=640x360:rate=30,drawbox=color=white:t=fill:enable='lt(mod(n\\,30)\\,2)'",
    ] {
        good(pictures, Some("anoisesrc=c=white:a=0.3:r=48000:seed=7,aformat=channel_layouts=stereo"), 30);
    }
}

/// How to spoil a clip: FFmpeg's filters for picture and sound, and the code (or one of two) that must come of it.
struct Spoiled {
    what: &'static str,
    picture: Option<&'static str>,
    sound: Option<&'static str>,
    codes: &'static [&'static str],
    words: &'static str,
}

const fn picture(
    what: &'static str,
    filter: &'static str,
    codes: &'static [&'static str],
    words: &'static str,
) -> Spoiled {
    Spoiled { what, picture: Some(filter), sound: None, codes, words }
}

const fn sound(
    what: &'static str,
    filter: &'static str,
    codes: &'static [&'static str],
    words: &'static str,
) -> Spoiled {
    Spoiled { what, picture: None, sound: Some(filter), codes, words }
}

/// Clips of 75 pictures: 2.5 s at 30 per second.
const SPOILED: [Spoiled; 21] = [
    picture("frozen middle", r"select='not(between(n\,30\,55))',fps=30", &["encode_frozen"], "from 1000 ms"),
    picture("frozen for a quarter of a second", r"select='not(between(n\,30\,37))',fps=30", &["encode_frozen"], ""),
    picture("frozen from the start", "trim=end_frame=1,tpad=stop=74:stop_mode=clone", &["encode_frozen"], "75"),
    picture("green", "drawbox=color=0x008700:t=fill", &["encode_mismatch"], "75 of 75"),
    picture("black", "drawbox=color=black:t=fill", &["encode_black"], "75 of 75"),
    picture(
        "black for half a second",
        "drawbox=color=black:t=fill:enable='between(n,20,34)'",
        &["encode_black"],
        "15 of 75",
    ),
    picture("one foreign picture", "negate=enable='eq(n,40)'", &["encode_mismatch"], "1 of 75"),
    picture("mirrored", "hflip", &["encode_mismatch"], ""),
    picture("one picture late", "tpad=start=1:start_mode=clone,trim=end_frame=75", &["encode_slip"], "1 frames late"),
    picture("wrong size", "scale=640:640", &["verify_failed"], "640x640"),
    picture("dropped frames", r"select='not(eq(mod(n\,10)\,5))',setpts=N/30/TB", &["verify_failed"], "instead of 75"),
    picture("dropped and repeated", r"select='not(eq(mod(n\,10)\,5))',fps=30", &["encode_slip"], "1 frames late"),
    picture(
        "duplicated frames",
        "loop=loop=4:size=1:start=40,setpts=N/30/TB,trim=end_frame=75",
        &["encode_slip"],
        "frames late",
    ),
    picture("too many", "tpad=stop=5:stop_mode=clone", &["verify_failed"], "80 "),
    sound("40 ms late", "adelay=40|40,atrim=end=2.5", &["encode_slip"], "40 ms late"),
    sound("40 ms early", "atrim=start=0.04,asetpts=PTS-STARTPTS,apad,atrim=end=2.5", &["encode_slip"], "40 ms early"),
    sound("500 ms late", "adelay=500|500,atrim=end=2.5", &["encode_slip", "encode_mismatch"], ""),
    sound("silent", "volume=0,atrim=end=2.5", &["encode_mismatch"], "missing"),
    sound("one side silent", "pan=stereo|c0=c0,atrim=end=2.5", &["encode_mismatch"], "right"),
    sound("short", "atrim=end=1.9", &["verify_failed"], "samples"),
    sound("another", "atrim=end=2.5,areverse", &["encode_mismatch", "encode_slip"], ""),
];

#[test]
fn every_way_to_spoil_a_clip_is_found() {
    let directory = directory();
    let source = source(directory.path(), MOVING, Some(TALKING));
    let made = clip(directory.path(), &source, (1_000, 3_500), 30).expect("a clip");
    let file = directory.path().join("clip.mp4");
    let prove = |path: &Path| verify(path, &made.expected, &made.witnessed, &installed(), |_| {}).map(|_| ());
    let prove_content =
        |path: &Path| verify_content(path, &made.expected, &made.witnessed, &installed(), |_| {}).map(|_| ());
    let (_, proof) = verify(&file, &made.expected, &made.witnessed, &installed(), |_| {}).expect("the clip itself");
    assert!(!proof.decoded_again, "its pictures are known");
    let name = |path: &Path| path.to_str().expect("a name").to_owned();
    let mut wrong = Vec::new();
    let mut expect = |what: &str, outcome: Result<(), Failure>, codes: &[&str], words: &str| match outcome {
        Err(failure) if codes.contains(&failure.code.as_str()) && failure.message.contains(words) => {
            println!("{what}: {}: {}", failure.code, failure.message);
        }
        other => wrong.push(format!("{what}: {other:?} instead of {codes:?} {words:?}")),
    };

    for (index, spoiled) in SPOILED.iter().enumerate() {
        let path = directory.path().join(format!("spoiled{index}.mp4"));
        let (input, output) = (name(&file), name(&path));
        let mut arguments = vec!["-i", &input];
        match spoiled.picture {
            Some(filter) => {
                arguments.extend(["-vf", filter, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-g", "60"])
            }
            None => arguments.extend(["-c:v", "copy"]),
        }
        match spoiled.sound {
            Some(filter) => arguments.extend(["-af", filter, "-c:a", "aac", "-b:a", "128k"]),
            None => arguments.extend(["-c:a", "copy"]),
        }
        arguments.extend(["-video_track_timescale", "3000", "-movflags", "+faststart", &output]);
        ffmpeg(&arguments);
        expect(spoiled.what, prove(&path), spoiled.codes, spoiled.words);
        // Whatever the container says of itself, what is in it gives it away. The size is the container's to tell.
        if spoiled.what != "wrong size" {
            assert!(prove_content(&path).is_err(), "{}: only the container tells", spoiled.what);
        }
    }

    let mute = directory.path().join("mute.mp4");
    ffmpeg(&["-i", &name(&file), "-an", "-c", "copy", "-movflags", "+faststart", &name(&mute)]);
    expect("missing audio", prove(&mute), &["verify_failed"], "sound track");
    expect("missing audio, content", prove_content(&mute), &["encode_mismatch"], "missing");

    let bytes = std::fs::read(&file).expect("the clip");
    for share in [30, 60, 95] {
        let path = directory.path().join("truncated.mp4");
        std::fs::write(&path, &bytes[..bytes.len() * share / 100]).expect("writing");
        expect("truncated", prove(&path), &["verify_failed"], "");
        expect("truncated, content", prove_content(&path), &["verify_failed", "encode_mismatch", "encode_frozen"], "");
    }

    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    clip(&other, &source, (3_400, 5_900), 30).expect("a clip");
    expect("wrong window", prove(&other.join("clip.mp4")), &["encode_mismatch", "encode_slip"], "");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
