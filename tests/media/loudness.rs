//! Tests of loudness normalization, measured by FFmpeg's meter of EBU R 128: an independent implementation.

use clipfleet_tests::{
    audio::DecodedAudio,
    fixtures::{Recipe, directory},
    picture::first_picture_ms,
    pipeline_process::{Order, Transcript, transcode},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Maximum deviation of a clip from its target, LU, and above its limit, dB. The product guarantees 0.5 LU; FFmpeg
/// prints one decimal.
const LOUDNESS_LU: f64 = 0.5;
const PEAK_DB: f64 = 0.4;

/// Maximum offset of a beep from its time, milliseconds.
const SYNC_TOLERANCE_MS: f64 = 15.0;

/// The window of every clip: not on a frame, nor on an AAC block.
const WINDOW: (i64, i64) = (1_010, 7_010);

/// FFmpeg's measurements of a file.
#[derive(Debug, Clone, Copy)]
struct Levels {
    lufs: f64,
    peak: f64,
}

fn levels(path: &Path, filter: &str) -> Levels {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:a:0", "-af", &format!("{filter}ebur128=peak=true"), "-f", "null", "-"])
        .output()
        .expect("ffmpeg must be installed for media tests");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = words.rsplit("Summary:").next().expect("a summary");
    let number = |name: &str| {
        let line = summary.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().unwrap_or(f64::NEG_INFINITY)
    };
    Levels { lufs: number("I:"), peak: number("Peak:") }
}

/// A source of moving pictures, and audio from an FFmpeg expression or filter.
fn source(directory: &Path, name: &str, audio: &str) -> PathBuf {
    let path = directory.join(format!("{name}.mp4"));
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-t", "8.5", "-i"]);
    command.args(["testsrc2=size=320x320:rate=30", "-f", "lavfi", "-t", "8.5", "-i", audio]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"]);
    let done = command.args(["-c:a", "aac", "-b:a", "256k"]).arg(&path).status();
    assert!(done.expect("ffmpeg must be installed for media tests").success(), "{audio}");
    path
}

/// Syllables: an intermittent buzz of many overtones with amplitude `level`, and clicks at full amplitude if `click` is
/// 1.
fn talk(level: f64, click: f64) -> String {
    let buzz = "(sin(2*PI*170*t)+0.6*sin(2*PI*510*t)+0.4*sin(2*PI*1190*t)+0.3*sin(2*PI*2550*t))";
    let speaks = "gt(sin(2*PI*t*1.3)+sin(2*PI*t*2.9)+sin(2*PI*t*0.7)\\,0.1)";
    let clicks = format!("{click}*lt(mod(t\\,0.731)\\,0.0015)*sin(2*PI*900*t)");
    format!("aevalsrc='{level}*{buzz}*{speaks}+{clicks}|0.5*({level}*{buzz}*{speaks}+{clicks})':s=48000:c=stereo")
}

/// How much louder the left channel is than the right one, dB.
fn balance_db(audio: &DecodedAudio) -> f64 {
    let energy = |side: usize| audio.samples.iter().map(|frame| f64::from(frame[side]).powi(2)).sum::<f64>();
    10.0 * (energy(0) / energy(1)).log10()
}

fn order(target: Option<(f64, f64)>) -> Order {
    Order { normalize_loudness: target, ..Order::of(WINDOW.0, WINDOW.1) }
}

fn manifest(made: &Transcript) -> serde_json::Value {
    let finished = made.outcome.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
    serde_json::from_str(&finished.manifest).expect("JSON")
}

/// Makes a normalized clip and measures it.
fn normalized(source: &Path, target: (f64, f64)) -> (Levels, serde_json::Value, Transcript) {
    let made = transcode(&order(Some(target)), source);
    let (levels, manifest) = (levels(&made.output(), ""), manifest(&made));
    println!("{}: {levels:?} {}", source.display(), manifest["normalization"]);
    // Exact to the sample, which verification checks. FFmpeg decodes the last AAC block completely.
    assert_eq!(DecodedAudio::decode(&made.output()).samples.len().div_ceil(1_024), 288_000_usize.div_ceil(1_024));
    (levels, manifest, made)
}

#[track_caller]
fn reaches(levels: Levels, (target, limit): (f64, f64)) {
    assert!((levels.lufs - target).abs() <= LOUDNESS_LU, "{levels:?} instead of {target} LUFS");
    assert!(levels.peak <= limit + PEAK_DB, "{levels:?} above {limit} dBTP");
}

#[test]
fn sources_of_any_loudness_reach_the_target() {
    let directory = directory();
    for (name, level, target) in [
        ("minus30", 0.047, (-14.0, -1.5)),
        ("minus23", 0.105, (-14.0, -1.5)),
        ("minus9", 0.53, (-14.0, -1.5)),
        ("lowered", 0.53, (-23.0, -2.0)),
    ] {
        let source = source(directory.path(), name, &talk(level, 0.0));
        let before = levels(&source, "atrim=start=1.01:end=7.01,");
        let (after, manifest, made) = normalized(&source, target);
        reaches(after, target);
        let normalization = &manifest["normalization"];
        let found = normalization["sourceLufs"].as_f64().expect("a loudness");
        assert!((found - before.lufs).abs() < 0.2, "{found} instead of {before:?}");
        assert_eq!(normalization["leftReason"], "");
        // The right channel has half the amplitude of the left one, before and after.
        let balance = balance_db(&DecodedAudio::decode(&made.output()));
        assert!((balance - 6.02).abs() < 0.1, "{balance}");
    }
}

#[test]
fn peaks_are_limited_and_the_rest_is_loud_enough() {
    let directory = directory();
    let source = source(directory.path(), "peaks", &talk(0.03, 0.9));
    for target in [(-14.0, -1.5), (-12.0, -3.0)] {
        let (after, manifest, made) = normalized(&source, target);
        reaches(after, target);
        let balance = balance_db(&DecodedAudio::decode(&made.output()));
        assert!((balance - 6.02).abs() < 0.1, "one channel is attenuated more: {balance}");
        let limited = manifest["normalization"]["limitedDb"].as_f64().expect("a number");
        assert!(limited > 6.0, "the clicks exceed the limit by more: {limited}");
    }
}

#[test]
fn noise_at_its_limit_does_not_exceed_it() {
    let directory = directory();
    let noise = "anoisesrc=c=pink:a=0.4:r=48000:seed=7,aformat=channel_layouts=stereo";
    let target = (-10.0, -1.0);
    let (after, _, _) = normalized(&source(directory.path(), "noise", noise), target);
    reaches(after, target);
}

#[test]
fn loudness_that_the_encoder_removes_is_restored() {
    let directory = directory();
    // AAC drops the highest frequencies, where white noise has most of its energy.
    let noise = "anoisesrc=c=white:a=0.2:r=48000:seed=7,aformat=channel_layouts=stereo";
    let target = (-14.0, -0.5);
    let (after, manifest, _) = normalized(&source(directory.path(), "white", noise), target);
    reaches(after, target);
    let normalization = &manifest["normalization"];
    let number = |name: &str| normalization[name].as_f64().expect("a number");
    assert!(number("gainDb") > target.0 - number("sourceLufs") + 0.4, "the clip was made once: {normalization}");
}

#[test]
fn audio_keeps_its_timing_in_every_format() {
    let directory = directory();
    let mono = Recipe { channels: 1, ..Recipe::default() };
    let late = Recipe { audio_delay_ms: 2_500, ..Recipe::default() };
    let (recorded, matroska) = (Recipe::recorded_vp8(), Recipe::matroska());
    for (name, recipe) in [("mono", mono), ("late", late), ("recorded", recorded), ("matroska", matroska)] {
        let source = recipe.make(directory.path(), name);
        let target = (-16.0, -1.5);
        let (after, _, made) = normalized(&source, target);
        reaches(after, target);
        let audio = DecodedAudio::decode(&made.output());
        // Recipes count from their first picture, clips on the file's own timeline.
        let zero_ms = first_picture_ms(&source) as f64;
        let expected = recipe.beeps().within(1_010, 7_010).into_iter().map(|time| time + zero_ms);
        let (expected, found): (Vec<f64>, _) = (expected.collect(), audio.beeps_ms());
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < SYNC_TOLERANCE_MS, "{name}: {found} instead of {expected}");
        }
        let [left, right] = audio.peak();
        assert!((left - right).abs() < 400, "{name}: {left} {right}");
    }
}

#[test]
fn audio_without_loudness_is_not_changed() {
    let directory = directory();
    let silence = source(directory.path(), "silence", "anullsrc=r=48000:cl=stereo");
    let faint = source(directory.path(), "faint", "aevalsrc='0.0002*sin(2*PI*300*t)':s=48000");
    let mute = Recipe { audio: None, ..Recipe::default() }.make(directory.path(), "mute");
    // Not in MP4: GStreamer's demuxer treats a track that is shorter than a fifth of the movie as a preview and drops
    // it.
    let over = Recipe { audio_end_ms: Some(500), ..Recipe::matroska() }.make(directory.path(), "over");
    for (source, reason) in [(silence, "too_quiet"), (faint, "too_quiet"), (over, "too_quiet"), (mute, "no_sound")] {
        let (after, manifest, made) = normalized(&source, (-14.0, -1.5));
        assert_eq!(manifest["normalization"]["leftReason"], reason, "{}", source.display());
        assert!(after.lufs <= -70.0, "{after:?}");
        assert!(DecodedAudio::decode(&made.output()).peak().iter().all(|peak| *peak < 20), "{}", source.display());
    }
    let moment = source(directory.path(), "moment", &talk(0.03, 0.0));
    let made = transcode(&Order { normalize_loudness: Some((-14.0, -1.5)), ..Order::of(1_000, 1_300) }, &moment);
    assert_eq!(manifest(&made)["normalization"]["leftReason"], "too_short");
}

#[test]
fn the_gain_is_limited() {
    let directory = directory();
    let source = source(directory.path(), "whisper", "aevalsrc='0.0008*sin(2*PI*997*t)':s=48000");
    let (after, manifest, _) = normalized(&source, (-14.0, -1.5));
    assert_eq!(manifest["normalization"]["gainDb"], 30.0);
    assert!(after.lufs < -25.0, "{after:?}");
}

#[test]
fn audio_is_not_changed_without_a_loudness_target() {
    let directory = directory();
    let source = source(directory.path(), "plain", &talk(0.08, 0.9));
    let before = levels(&source, "atrim=start=1.01:end=7.01,");
    let made = transcode(&order(None), &source);
    let after = levels(&made.output(), "");
    assert!((after.lufs - before.lufs).abs() <= 0.2, "{after:?} {before:?}");
    assert!((after.peak - before.peak).abs() <= 1.0, "{after:?} {before:?}");
    assert!(manifest(&made).get("normalization").is_none());
}
