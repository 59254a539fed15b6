//! Tests of verification against the source: every wrong treatment of a source is found in the clip, and good clips of
//! unusual sources pass.
//!
//! The tests change a plan before it is built, so that the clip has the damage that an error of ours would cause.

use crate::{SourceBytes, ffmpeg};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    audio::Audio,
    clip::{Clip, Window},
    crop_path::{CropPath, Keyframe},
    failure::Failure,
    ids::ClipId,
    percent::MilliPercent,
    reframe::{DEFAULT_ZOOM, Reframe},
    rendition::{Aspect, Quality, Rendition},
};
use clipfleet_pipeline::{
    plan::{Plan, Step},
    progress::Progress,
    source::blocks::Source,
    transcode::{Transcoded, transcode_planned},
};
use clipfleet_tests::fixtures::directory;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Maximum difference between a good clip's frames and their source, levels: the threshold of verification. Most have
/// less than 3, those with colours outside the display gamut up to 9.4.
const MAX_LEVELS: f64 = 10.0;

/// Maximum difference between a good clip's channels and their source. White noise has 0.18 in their sum.
const MAX_CHANNEL_DIFFERENCE: f64 = 0.2;

/// Pictures that move everywhere, in all colours, and the same at twice the rate.
const MOVING: &str = "testsrc2=size=640x360:rate=30";
const FAST: &str = "testsrc2=size=640x360:rate=60";

/// Different audio in each channel.
const PANNED: &str = "aevalsrc='0.3*sin(2*PI*440*t)|0.2*sin(2*PI*2000*t)*gt(sin(2*PI*t*1.3),-0.5)':s=48000:c=stereo";
const LEFT: &str = "aevalsrc='0.3*sin(2*PI*1000*t)|0':s=48000:c=stereo";

/// Makes a source from FFmpeg's filters for pictures and audio, its other arguments, and the name of the file.
fn source(directory: &Path, pictures: &str, audio: &str, arguments: &[&str], name: &str) -> PathBuf {
    let path = directory.join(name);
    let mut all = vec!["-f", "lavfi", "-t", "3", "-i", pictures, "-f", "lavfi", "-t", "3", "-i", audio];
    all.extend(["-g", "15"]);
    all.extend(arguments);
    all.push(path.to_str().expect("a name"));
    ffmpeg(&all);
    path
}

/// Parameters of a clip that starts at 1 s.
struct ClipSpec {
    reframe: Reframe,
    aspect: Aspect,
    fps: u32,
}

impl Default for ClipSpec {
    fn default() -> Self {
        Self { reframe: Reframe::default(), aspect: Aspect::Square, fps: 30 }
    }
}

fn clip(source: &Path, spec: &ClipSpec, change: &dyn Fn(&mut Plan)) -> Result<Transcoded, Failure> {
    let directory = directory();
    let order = Transcode {
        source_size_bytes: 0,
        clip: Clip {
            id: ClipId::parse("clip").expect("an id"),
            window: Window::new(1_000, 2_200).expect("a window"),
            reframe: spec.reframe.clone(),
            cover_at_ms: None,
            audio: Audio::default(),
        },
        rendition: Rendition { quality: Quality::P720, aspect: spec.aspect, fps: spec.fps },
        directory: directory.path().to_owned(),
        encoder: "auto".into(),
        gpu_disabled_reason: None,
    };
    let bytes = std::fs::read(source).expect("the source").into();
    let installed = crate::installed();
    let source = Arc::new(Source::new(Arc::new(SourceBytes(bytes))));
    transcode_planned(&order, &source, &installed, &Progress::default(), change)
}

/// Makes good clips of sources and collects those that fail verification or are not compared.
#[derive(Default)]
struct GoodClips {
    failures: Vec<String>,
    clips: usize,
}

impl GoodClips {
    fn make(&mut self, pictures: &str, audio: &str, arguments: &[&str], name: &str, spec: &ClipSpec) {
        let directory = directory();
        let source = source(directory.path(), pictures, audio, arguments, name);
        let what = format!("{pictures} {audio} {arguments:?} {name} {:?} {}", spec.reframe.mode(), spec.fps);
        self.clips += 1;
        match clip(&source, spec, &|_| {}) {
            Err(failure) => {
                println!("{what}: {failure:?}");
                self.failures.push(format!("{what}: {failure:?}"));
            }
            Ok(made) => {
                let found = made.manifest.source_comparison;
                println!("{what}: {found:?}");
                let fine = found.frames >= 2
                    && found.not_compared.is_empty()
                    && found.worst_levels.is_none_or(|levels| levels < MAX_LEVELS)
                    && found.balance_difference < MAX_CHANNEL_DIFFERENCE
                    && found.sum_difference < MAX_CHANNEL_DIFFERENCE;
                if !fine {
                    self.failures.push(format!("{what}: {found:?}"));
                }
            }
        }
    }

    fn finish(self) {
        assert!(self.failures.is_empty(), "{} of {}: {:#?}", self.failures.len(), self.clips, self.failures);
    }
}

const X264: [&str; 4] = ["-c:v", "libx264", "-preset", "ultrafast"];
const AAC: [&str; 4] = ["-c:a", "aac", "-b:a", "192k"];

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

#[test]
fn every_format_range_and_matrix_agrees() {
    let mut good = GoodClips::default();
    let spec = ClipSpec::default();
    for format in ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray", "nv12"] {
        good.make(MOVING, PANNED, &with(&[&X264, &["-pix_fmt", format], &AAC]), "source.mp4", &spec);
    }
    for (range, matrix) in
        [("pc", "bt709"), ("tv", "bt709"), ("pc", "smpte170m"), ("tv", "bt2020nc"), ("tv", "smpte240m")]
    {
        let out = if matrix == "bt2020nc" { "bt2020" } else { matrix };
        let pictures = format!("{MOVING},scale=out_color_matrix={out}:out_range={range},format=yuv420p");
        let declared = ["-color_range", range, "-colorspace", matrix];
        for name in ["source.mp4", "source.mkv"] {
            good.make(&pictures, PANNED, &with(&[&X264, &declared, &AAC]), name, &spec);
        }
    }
    let full = format!("{MOVING},scale=out_color_matrix=bt709:out_range=pc,format=yuv420p");
    let declared = ["-color_range", "pc", "-colorspace", "bt709"];
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"];
    good.make(&full, PANNED, &with(&[&hevc, &declared, &["-tag:v", "hvc1"], &AAC]), "source.mp4", &spec);
    for codec in ["libvpx", "libvpx-vp9"] {
        let fast = ["-c:v", codec, "-deadline", "realtime", "-cpu-used", "8", "-b:v", "4M"];
        good.make(&full, PANNED, &with(&[&fast, &declared, &["-c:a", "libopus"]]), "source.webm", &spec);
        good.make(MOVING, PANNED, &with(&[&fast, &["-c:a", "libvorbis", "-pix_fmt", "yuv420p"]]), "source.webm", &spec);
    }
    let av1 = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"];
    good.make(&full, PANNED, &with(&[&av1, &declared, &AAC]), "source.mp4", &spec);
    good.make(MOVING, PANNED, &["-c:v", "mjpeg", "-q:v", "3", "-c:a", "pcm_s16le"], "source.mov", &spec);
    good.make(MOVING, PANNED, &["-c:v", "mjpeg", "-q:v", "3", "-c:a", "aac"], "source.mp4", &spec);
    good.make(MOVING, PANNED, &["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "aac"], "source.mp4", &spec);
    good.make(MOVING, PANNED, &["-c:v", "mpeg4", "-q:v", "3", "-c:a", "aac"], "source.mp4", &spec);
    good.make(MOVING, PANNED, &["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "ac3"], "source.mkv", &spec);
    good.make(MOVING, PANNED, &["-c:v", "prores_ks", "-c:a", "pcm_s24le"], "source.mov", &spec);
    good.finish();
}

#[test]
fn every_orientation_geometry_and_rate_agrees() {
    let mut good = GoodClips::default();
    let plain = with(&[&X264, &["-pix_fmt", "yuv420p"], &AAC]);
    for rotation in ["90", "180", "270"] {
        let directory = directory();
        let upright = source(directory.path(), MOVING, PANNED, &plain, "upright.mp4");
        let turned = directory.path().join("turned.mp4");
        let turn = format!("rotate={rotation}");
        let (from, to) = (upright.to_str().expect("a name"), turned.to_str().expect("a name"));
        ffmpeg(&["-i", from, "-c", "copy", "-metadata:s:v:0", &turn, to]);
        good.clips += 1;
        match clip(&turned, &ClipSpec { aspect: Aspect::Portrait, ..ClipSpec::default() }, &|_| {}) {
            Ok(made) => println!("rotated by {rotation}: {:?}", made.manifest.source_comparison),
            Err(failure) => {
                println!("rotated by {rotation}: {failure:?}");
                good.failures.push(format!("rotated by {rotation}: {failure:?}"));
            }
        }
    }
    let off = MilliPercent::parse(17.3, 0, 100).expect("a percentage");
    let keyframe = |at_ms, position| Keyframe { at_ms, position, zoom: DEFAULT_ZOOM };
    let path = CropPath::new(vec![keyframe(0, off), keyframe(1_000, MilliPercent::whole(90))], 1_200).expect("a path");
    for reframe in [
        Reframe::AutoCenter { position: off, zoom: MilliPercent::whole(140) },
        Reframe::FitBlur,
        Reframe::CropPath(path),
    ] {
        let spec = ClipSpec { reframe, aspect: Aspect::Portrait, ..ClipSpec::default() };
        good.make(MOVING, PANNED, &plain, "source.mp4", &spec);
        good.make(MOVING, PANNED, &with(&[&plain, &["-vf", "setsar=4/3"]]), "source.mkv", &spec);
    }
    for fps in [24, 25, 30, 50, 60] {
        good.make(FAST, PANNED, &plain, "source.mp4", &ClipSpec { fps, ..ClipSpec::default() });
    }
    good.make(
        "testsrc2=size=853x479:rate=30",
        PANNED,
        &with(&[&X264, &["-pix_fmt", "yuv444p"], &AAC]),
        "source.mkv",
        &ClipSpec::default(),
    );
    good.make("testsrc2=size=1920x1080:rate=24000/1001", PANNED, &plain, "source.mp4", &ClipSpec::default());
    good.make(
        MOVING,
        PANNED,
        &with(&[&plain, &["-flags", "+ilme+ildct", "-x264-params", "tff=1"]]),
        "source.mp4",
        &ClipSpec::default(),
    );
    good.finish();
}

#[test]
fn unusual_pictures_and_audio_agree() {
    let mut good = GoodClips::default();
    let plain = with(&[&X264, &["-pix_fmt", "yuv420p"], &AAC]);
    let spec = ClipSpec::default();
    let pink = "anoisesrc=c=pink:a=0.1:r=48000:seed=7,aformat=channel_layouts=stereo";
    for pictures in [
        "color=black:size=640x360:rate=30",
        "color=white:size=640x360:rate=30",
        "color=0xC0C0C0:size=640x360:rate=30",
        "color=0xFF0020:size=640x360:rate=30",
        "smptehdbars=size=640x360:rate=30",
        "color=gray:size=640x360:rate=30,noise=alls=100:allf=t+u",
        "testsrc2=size=640x360:rate=30,lutyuv=y=val/14+14:u=(val-128)/8+128:v=(val-128)/8+128",
        "testsrc2=size=640x360:rate=30,fade=in:st=1:d=1",
        "testsrc2=size=640x360:rate=30,hue=s=3",
        "testsrc2=size=640x240:rate=30,pad=640:360:0:60",
        "mandelbrot=size=640x360:rate=30",
        "smptehdbars=size=640x360:rate=30,drawbox=x='280+8*floor(t*10)':y=160:w=8:h=12:color=black:t=fill",
        "cellauto=size=640x360:rate=30",
        "color=gray:size=640x360:rate=30,drawbox=color=white:t=fill:enable='lt(mod(n\\,30)\\,2)'",
        "life=size=640x360:rate=30:mold=10:death_color=#C83232:life_color=#00ff00",
    ] {
        good.make(pictures, pink, &plain, "source.mp4", &spec);
    }
    for audio in [
        LEFT,
        "aevalsrc='0|0.3*sin(2*PI*1000*t)':s=48000:c=stereo",
        "aevalsrc='0.3*sin(2*PI*300*t)|-0.3*sin(2*PI*300*t)':s=48000:c=stereo",
        "aevalsrc='0.3*sin(2*PI*300*t)|0.1*sin(2*PI*300*t)':s=44100:c=stereo",
        "aevalsrc='0.3*sin(2*PI*300*t)':s=22050:c=mono",
        "anullsrc=r=48000:cl=stereo",
        "anoisesrc=c=white:a=0.3:r=48000:seed=7,aformat=channel_layouts=stereo",
        "anoisesrc=c=white:a=0.001:r=48000:seed=7,aformat=channel_layouts=stereo",
        "aevalsrc='0.5*sin(2*PI*330*t)*gt(sin(2*PI*t*1.3)+sin(2*PI*t*2.9),0.4)':s=48000:c=mono",
        "aevalsrc='0.2*sin(330*t)|0.2*sin(3000*t)|0.2*sin(1000*t)|0|0.1*sin(5000*t)|0.1*sin(700*t)':s=48000:c=5.1",
        "aevalsrc='random(0)*0.2|random(1)*0.2':s=48000:c=stereo",
    ] {
        good.make(MOVING, audio, &plain, "source.mp4", &spec);
    }
    good.finish();
}

fn replace(plan: &mut Plan, factory: &str, by: &[Step]) {
    let is = |step: &Step| matches!(step, Step::Element { factory: name, .. } if *name == factory);
    plan.video = plan.video.iter().flat_map(|step| if is(step) { by.to_vec() } else { vec![step.clone()] }).collect();
}

/// Mixes the clip's channels by a matrix after the sample grid.
fn mix(plan: &mut Plan, matrix: &str) {
    let grid = plan.audio.iter().position(|step| matches!(step, Step::Samples { .. })).expect("a grid");
    let properties = vec![("mix-matrix", matrix.to_owned())];
    plan.audio.insert(grid + 1, Step::Element { factory: "audioconvert", name: "", properties });
}

fn mirror(direction: &str) -> Vec<Step> {
    let convert = Step::Element { factory: "videoconvert", name: "", properties: Vec::new() };
    let properties = vec![("video-direction", direction.to_owned())];
    vec![convert, Step::Element { factory: "videoflip", name: "", properties }]
}

fn start(plan: &mut Plan, frames: i64) {
    for step in &mut plan.video {
        if let Step::Frames(grid) = step {
            grid.start_ns += frames * 1_000_000_000 / i64::from(grid.fps);
        }
    }
}

/// Inserts steps before the reframing.
fn insert_before_reframing(plan: &mut Plan, steps: Vec<Step>) {
    let grid = plan.video.iter().position(|step| matches!(step, Step::Frames(_))).expect("a grid");
    plan.video.splice(grid + 1..grid + 1, steps);
}

#[test]
fn every_wrong_treatment_of_a_source_is_found() {
    let directory = directory();
    let plain = with(&[&X264, &["-pix_fmt", "yuv420p"], &AAC]);
    let made = source(directory.path(), MOVING, PANNED, &plain, "source.mp4");
    let turned = directory.path().join("turned.mp4");
    let names = [&made, &turned].map(|path| path.to_str().expect("a name"));
    ffmpeg(&["-i", names[0], "-c", "copy", "-metadata:s:v:0", "rotate=90", names[1]]);
    let relabel = |caps: &str| {
        // The following elements interpret the samples as other colours. The path goes through RGB, because GStreamer
        // does not convert ranges otherwise.
        let element = |factory, properties| Step::Element { factory, name: "", properties };
        let setter = element("capssetter", vec![("caps", caps.to_owned())]);
        let steps = vec![setter, element("videoconvert", Vec::new()), Step::Caps("video/x-raw,format=RGB".into())];
        move |plan: &mut Plan| insert_before_reframing(plan, steps.clone())
    };
    // The source is limited-range BT.601, since it is small and declares nothing.
    let full = relabel("video/x-raw,colorimetry=1:4:5:1");
    let matrix = relabel("video/x-raw,colorimetry=2:3:5:1");
    let bright = format!("{MOVING},scale=out_color_matrix=bt709:out_range=pc,format=yuv420p");
    let declared = ["-color_range", "pc", "-colorspace", "bt709"];
    let bright = source(directory.path(), &bright, PANNED, &with(&[&X264, &declared, &AAC]), "bright.mp4");
    let unlimited = |plan: &mut Plan| plan.video.retain(|step| *step != Step::LimitRange);
    let two = directory.path().join("two.mp4");
    let names = [&made, &bright, &two].map(|path| path.to_str().expect("a name"));
    ffmpeg(&[
        "-i", names[0], "-i", names[1], "-map", "0:v", "-map", "0:a", "-map", "1:v", "-map", "1:a", "-c", "copy",
        names[2],
    ]);
    let other_pictures = |plan: &mut Plan| plan.video_stream.number = Some(3);
    let other_sound = |plan: &mut Plan| plan.audio_stream.number = Some(4);
    type Change<'a> = &'a dyn Fn(&mut Plan);
    let cases: [(&str, &Path, Change<'_>, &str, &str); 15] = [
        ("another picture track", &two, &other_pictures, "reframe_mismatch", "track 3"),
        ("another audio track", &two, &other_sound, "audio_mismatch", "track 4"),
        ("range conversion off", &bright, &unlimited, "reframe_mismatch", "range"),
        ("range", &made, &full, "reframe_mismatch", "range"),
        ("matrix", &made, &matrix, "reframe_mismatch", "matrix"),
        (
            "mirrored",
            &made,
            &|plan| insert_before_reframing(plan, mirror("horiz")),
            "reframe_mismatch",
            "left to right",
        ),
        ("upside down", &made, &|plan| insert_before_reframing(plan, mirror("180")), "reframe_mismatch", "upside down"),
        ("rotation ignored", &turned, &|plan| replace(plan, "videoflip", &[]), "reframe_mismatch", ""),
        ("a frame early", &made, &|plan| start(plan, 1), "reframe_slip", "later"),
        ("a frame late", &made, &|plan| start(plan, -1), "reframe_slip", "earlier"),
        ("forced mid/side", &made, &force_mid_side, "audio_mismatch", "side"),
        ("sides swapped", &made, &|plan| mix(plan, "<<0.0,1.0>,<1.0,0.0>>"), "audio_mismatch", "changed places"),
        ("mixed to mono", &made, &|plan| mix(plan, "<<0.5,0.5>,<0.5,0.5>>"), "audio_mismatch", "channels are alike"),
        ("right dropped", &made, &|plan| mix(plan, "<<1.0,0.0>,<0.0,0.0>>"), "audio_mismatch", "right"),
        ("left dropped", &made, &|plan| mix(plan, "<<0.0,0.0>,<0.0,1.0>>"), "audio_mismatch", "left"),
    ];
    let mut wrong = Vec::new();
    for (what, source, change, code, message) in cases {
        match clip(source, &ClipSpec::default(), change) {
            Err(failure) if failure.code.as_str() == code && failure.message.contains(message) => {
                println!("{what}: {}: {}", failure.code, failure.message);
            }
            Err(failure) => wrong.push(format!("{what}: {failure:?} instead of {code} {message}")),
            Ok(made) => wrong.push(format!("{what}: {:?}", made.manifest.source_comparison)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn force_mid_side(plan: &mut Plan) {
    for step in &mut plan.audio {
        if let Step::Element { name: "audio-encoder", properties, .. } = step {
            properties.retain(|(name, _)| *name != "aac-ms");
            properties.push(("aac-ms", "1".into()));
        }
    }
}
