//! Tests of the verification before a clip is completed: good clips of every kind pass, and every kind of damage is
//! found and named.
//!
//! The test process itself makes the clips, so that it has the data that entered the encoders. FFmpeg damages them and,
//! where possible, keeps a container that looks right.

use crate::{SourceBytes, ffmpeg};
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
    progress::Progress,
    source::blocks::Source,
    transcode::{Transcoded, transcode},
    verify::{verify, verify_content},
};
use clipfleet_tests::fixtures::directory;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Maximum measured audio offset of a good clip, milliseconds. An offset of 20 fails verification.
const MAX_OFFSET_MS: f64 = 2.0;

/// Pictures that move everywhere, and audio that starts and stops irregularly.
const MOVING: &str = "testsrc2=size=640x360:rate=30";
const TALKING: &str =
    "aevalsrc='0.5*sin(2*PI*330*t)*gt(sin(2*PI*t*1.3)+sin(2*PI*t*2.9)+sin(2*PI*t*0.7)\\,0.4):s=48000:c=stereo'";

/// A source of generated pictures and, optionally, generated audio.
fn source(directory: &Path, pictures: &str, audio: Option<&str>) -> PathBuf {
    let path = directory.join("source.mp4");
    let mut arguments = vec!["-f", "lavfi", "-t", "6.5", "-i", pictures];
    if let Some(audio) = audio {
        arguments.extend(["-f", "lavfi", "-t", "6.5", "-i", audio]);
    }
    arguments.extend(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "30", "-pix_fmt", "yuv420p"]);
    arguments.extend(["-c:a", "aac", path.to_str().expect("a name")]);
    ffmpeg(&arguments);
    path
}

/// Makes a clip in this process, with its file in `directory`.
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
        gpu_disabled_reason: None,
    };
    let bytes = std::fs::read(source).expect("the source").into();
    transcode(&order, &Arc::new(Source::new(Arc::new(SourceBytes(bytes)))), &crate::installed(), &Progress::default())
}

fn good(pictures: &str, audio: Option<&str>, fps: u32) -> Transcoded {
    let directory = directory();
    let source = source(directory.path(), pictures, audio);
    let made = clip(directory.path(), &source, (1_000, 3_500), fps)
        .unwrap_or_else(|failure| panic!("{pictures}: {failure:?}"));
    let manifest = &made.manifest;
    println!("{pictures} {audio:?} {fps}: {}", manifest.to_json());
    assert!(
        manifest.av_offset_ms.is_none_or(|offset| offset.abs() < MAX_OFFSET_MS),
        "{pictures}: {:?}",
        manifest.av_offset_ms
    );
    assert!(manifest.end_difference_ms.abs() < MAX_OFFSET_MS, "{pictures}: {}", manifest.end_difference_ms);
    made
}

#[test]
fn moving_pictures_pass_at_any_frame_rate() {
    for (fps, pictures) in
        [(24, MOVING), (25, "mandelbrot=size=640x360:rate=25"), (30, MOVING), (60, "testsrc2=size=640x360:rate=60")]
    {
        let made = good(pictures, Some(TALKING), fps);
        assert_eq!(made.manifest.notes, [""; 0], "{pictures}");
        assert!(made.manifest.av_offset_ms.is_some() && made.manifest.loudness.integrated_lufs.is_some());
    }
}

#[test]
fn nearly_still_pictures_pass_with_a_note() {
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
fn pictures_that_are_hard_to_encode_pass() {
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

/// One kind of damage: FFmpeg's filters for pictures and audio, the failure codes that are accepted, and a part of the
/// message.
struct Damage {
    what: &'static str,
    picture: Option<&'static str>,
    audio: Option<&'static str>,
    codes: &'static [&'static str],
    message: &'static str,
}

const fn picture(
    what: &'static str,
    filter: &'static str,
    codes: &'static [&'static str],
    message: &'static str,
) -> Damage {
    Damage { what, picture: Some(filter), audio: None, codes, message }
}

const fn audio(
    what: &'static str,
    filter: &'static str,
    codes: &'static [&'static str],
    message: &'static str,
) -> Damage {
    Damage { what, picture: None, audio: Some(filter), codes, message }
}

/// The clips have 75 pictures: 2.5 s at 30 per second.
const DAMAGES: [Damage; 21] = [
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
    audio("40 ms late", "adelay=40|40,atrim=end=2.5", &["encode_slip"], "40 ms late"),
    audio("40 ms early", "atrim=start=0.04,asetpts=PTS-STARTPTS,apad,atrim=end=2.5", &["encode_slip"], "40 ms early"),
    audio("500 ms late", "adelay=500|500,atrim=end=2.5", &["encode_slip", "encode_mismatch"], ""),
    audio("silent", "volume=0,atrim=end=2.5", &["encode_mismatch"], "missing"),
    audio("one side silent", "pan=stereo|c0=c0,atrim=end=2.5", &["encode_mismatch"], "right"),
    audio("short", "atrim=end=1.9", &["verify_failed"], "samples"),
    audio("another", "atrim=end=2.5,areverse", &["encode_mismatch", "encode_slip"], ""),
];

#[test]
fn every_kind_of_damage_is_found() {
    let directory = directory();
    let source = source(directory.path(), MOVING, Some(TALKING));
    let made = clip(directory.path(), &source, (1_000, 3_500), 30).expect("a clip");
    let file = directory.path().join("clip.mp4");
    let verify_file =
        |path: &Path| verify(path, &made.expected, &made.observations, &crate::installed(), |_| {}).map(|_| ());
    let verify_content_of =
        |path: &Path| verify_content(path, &made.expected, &made.observations, &crate::installed(), |_| {}).map(|_| ());
    let (_, report) =
        verify(&file, &made.expected, &made.observations, &crate::installed(), |_| {}).expect("the clip itself");
    assert!(!report.decoded_again, "its pictures are known");
    let name = |path: &Path| path.to_str().expect("a name").to_owned();
    let mut wrong = Vec::new();
    let mut expect = |what: &str, outcome: Result<(), Failure>, codes: &[&str], message: &str| match outcome {
        Err(failure) if codes.contains(&failure.code.as_str()) && failure.message.contains(message) => {
            println!("{what}: {}: {}", failure.code, failure.message);
        }
        other => wrong.push(format!("{what}: {other:?} instead of {codes:?} {message:?}")),
    };

    for (index, damage) in DAMAGES.iter().enumerate() {
        let path = directory.path().join(format!("damaged{index}.mp4"));
        let (input, output) = (name(&file), name(&path));
        let mut arguments = vec!["-i", &input];
        match damage.picture {
            Some(filter) => {
                arguments.extend(["-vf", filter, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-g", "60"])
            }
            None => arguments.extend(["-c:v", "copy"]),
        }
        match damage.audio {
            Some(filter) => arguments.extend(["-af", filter, "-c:a", "aac", "-b:a", "128k"]),
            None => arguments.extend(["-c:a", "copy"]),
        }
        arguments.extend(["-video_track_timescale", "3000", "-movflags", "+faststart", &output]);
        ffmpeg(&arguments);
        expect(damage.what, verify_file(&path), damage.codes, damage.message);
        // The content alone must reveal the damage, even if the container looks right. Only the container can reveal a
        // wrong size.
        if damage.what != "wrong size" {
            assert!(verify_content_of(&path).is_err(), "{}: only the container reveals it", damage.what);
        }
    }

    let mute = directory.path().join("mute.mp4");
    ffmpeg(&["-i", &name(&file), "-an", "-c", "copy", "-movflags", "+faststart", &name(&mute)]);
    expect("missing audio", verify_file(&mute), &["verify_failed"], "audio track");
    expect("missing audio, content", verify_content_of(&mute), &["encode_mismatch"], "missing");

    let bytes = std::fs::read(&file).expect("the clip");
    for share in [30, 60, 95] {
        let path = directory.path().join("truncated.mp4");
        std::fs::write(&path, &bytes[..bytes.len() * share / 100]).expect("writing");
        expect("truncated", verify_file(&path), &["verify_failed"], "");
        expect(
            "truncated, content",
            verify_content_of(&path),
            &["verify_failed", "encode_mismatch", "encode_frozen"],
            "",
        );
    }

    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    clip(&other, &source, (3_400, 5_900), 30).expect("a clip");
    expect("wrong window", verify_file(&other.join("clip.mp4")), &["encode_mismatch", "encode_slip"], "");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
