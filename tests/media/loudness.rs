//! Clips that are brought to a loudness, measured by FFmpeg's meter of EBU R 128: an implementation that has nothing of ours in it.

use clipfleet_tests::{
    fixtures::{Recipe, directory},
    picture::first_picture_ms,
    pipeline_process::{Order, Transcript, transcode},
    sound::Sound,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// How far a clip may be from its target, LU, and above its limit, dB. Promised are 0.5 LU; FFmpeg prints one decimal.
const LOUDNESS_LU: f64 = 0.5;
const PEAK_DB: f64 = 0.4;

/// When clicks must be heard, milliseconds off.
const CLICK_MS: f64 = 15.0;

/// Window of every clip: not on a frame, nor on a block of AAC.
const WINDOW: (i64, i64) = (1_010, 7_010);

/// What FFmpeg measures of a file.
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

/// A source of moving pictures and the sound of an expression, or of a filter of FFmpeg's.
fn source(directory: &Path, name: &str, sound: &str) -> PathBuf {
    let path = directory.join(format!("{name}.mp4"));
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-t", "8.5", "-i"]);
    command.args(["testsrc2=size=320x320:rate=30", "-f", "lavfi", "-t", "8.5", "-i", sound]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"]);
    let done = command.args(["-c:a", "aac", "-b:a", "256k"]).arg(&path).status();
    assert!(done.expect("ffmpeg must be installed for media tests").success(), "{sound}");
    path
}

/// Syllables: a buzz of many overtones that comes and goes, `level` times as loud, with clicks of full height if `click` is 1.
fn talk(level: f64, click: f64) -> String {
    let buzz = "(sin(2*PI*170*t)+0.6*sin(2*PI*510*t)+0.4*sin(2*PI*1190*t)+0.3*sin(2*PI*2550*t))";
    let speaks = "gt(sin(2*PI*t*1.3)+sin(2*PI*t*2.9)+sin(2*PI*t*0.7)\\,0.1)";
    let clicks = format!("{click}*lt(mod(t\\,0.731)\\,0.0015)*sin(2*PI*900*t)");
    format!("aevalsrc='{level}*{buzz}*{speaks}+{clicks}|0.5*({level}*{buzz}*{speaks}+{clicks})':s=48000:c=stereo")
}

/// How much louder the left side is than the right one, dB.
fn balance_db(sound: &Sound) -> f64 {
    let energy = |side: usize| sound.samples.iter().map(|frame| f64::from(frame[side]).powi(2)).sum::<f64>();
    10.0 * (energy(0) / energy(1)).log10()
}

fn order(asked: Option<(f64, f64)>) -> Order {
    Order { normalize_loudness: asked, ..Order::of(WINDOW.0, WINDOW.1) }
}

fn manifest(made: &Transcript) -> serde_json::Value {
    let finished = made.outcome.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
    serde_json::from_str(&finished.manifest).expect("JSON")
}

/// Makes a clip and measures it.
fn leveled(source: &Path, asked: (f64, f64)) -> (Levels, serde_json::Value, Transcript) {
    let made = transcode(&order(Some(asked)), source);
    let (levels, manifest) = (levels(&made.output(), ""), manifest(&made));
    println!("{}: {levels:?} {}", source.display(), manifest["normalization"]);
    // To the sample, which the proof holds; FFmpeg gives the last block of AAC whole.
    assert_eq!(Sound::decode(&made.output()).samples.len().div_ceil(1_024), 288_000_usize.div_ceil(1_024));
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
    for (name, level, asked) in [
        ("minus30", 0.047, (-14.0, -1.5)),
        ("minus23", 0.105, (-14.0, -1.5)),
        ("minus9", 0.53, (-14.0, -1.5)),
        ("lowered", 0.53, (-23.0, -2.0)),
    ] {
        let source = source(directory.path(), name, &talk(level, 0.0));
        let before = levels(&source, "atrim=start=1.01:end=7.01,");
        let (after, manifest, made) = leveled(&source, asked);
        reaches(after, asked);
        let normalization = &manifest["normalization"];
        let found = normalization["sourceLufs"].as_f64().expect("a loudness");
        assert!((found - before.lufs).abs() < 0.2, "{found} instead of {before:?}");
        assert_eq!(normalization["leftReason"], "");
        // The right side has half the left one's amplitude, before and after.
        let balance = balance_db(&Sound::decode(&made.output()));
        assert!((balance - 6.02).abs() < 0.1, "{balance}");
    }
}

#[test]
fn peaks_are_limited_and_the_rest_is_loud_enough() {
    let directory = directory();
    let source = source(directory.path(), "peaks", &talk(0.03, 0.9));
    for asked in [(-14.0, -1.5), (-12.0, -3.0)] {
        let (after, manifest, made) = leveled(&source, asked);
        reaches(after, asked);
        let balance = balance_db(&Sound::decode(&made.output()));
        assert!((balance - 6.02).abs() < 0.1, "one side is turned down more: {balance}");
        let limited = manifest["normalization"]["limitedDb"].as_f64().expect("a number");
        assert!(limited > 6.0, "the clicks stand out by more: {limited}");
    }
}

#[test]
fn noise_at_its_limit_does_not_exceed_it() {
    let directory = directory();
    let noise = "anoisesrc=c=pink:a=0.4:r=48000:seed=7,aformat=channel_layouts=stereo";
    let asked = (-10.0, -1.0);
    let (after, _, _) = leveled(&source(directory.path(), "noise", noise), asked);
    reaches(after, asked);
}

#[test]
fn what_the_encoder_takes_away_is_given_back() {
    let directory = directory();
    // AAC leaves out the highest of what white noise has most of.
    let noise = "anoisesrc=c=white:a=0.2:r=48000:seed=7,aformat=channel_layouts=stereo";
    let asked = (-14.0, -0.5);
    let (after, manifest, _) = leveled(&source(directory.path(), "white", noise), asked);
    reaches(after, asked);
    let normalization = &manifest["normalization"];
    let number = |name: &str| normalization[name].as_f64().expect("a number");
    assert!(number("gainDb") > asked.0 - number("sourceLufs") + 0.4, "the clip was made once: {normalization}");
}

#[test]
fn sound_stays_where_it_is_whatever_it_comes_in() {
    let directory = directory();
    let mono = Recipe { channels: 1, ..Recipe::default() };
    let late = Recipe { sound_delay_ms: 2_500, ..Recipe::default() };
    let (recorded, matroska) = (Recipe::recorded_vp8(), Recipe::matroska());
    for (name, recipe) in [("mono", mono), ("late", late), ("recorded", recorded), ("matroska", matroska)] {
        let source = recipe.make(directory.path(), name);
        let asked = (-16.0, -1.5);
        let (after, _, made) = leveled(&source, asked);
        reaches(after, asked);
        let sound = Sound::decode(&made.output());
        // Recipes count from their first picture, clips on the file's own time line.
        let zero_ms = first_picture_ms(&source) as f64;
        let expected = recipe.beeps().within(1_010, 7_010).into_iter().map(|time| time + zero_ms);
        let (expected, heard): (Vec<f64>, _) = (expected.collect(), sound.beeps_ms());
        assert_eq!(heard.len(), expected.len(), "{name}: {heard:?}");
        for (heard, expected) in heard.iter().zip(&expected) {
            assert!((heard - expected).abs() < CLICK_MS, "{name}: {heard} instead of {expected}");
        }
        let [left, right] = sound.peak();
        assert!((left - right).abs() < 400, "{name}: {left} {right}");
    }
}

#[test]
fn what_has_no_loudness_is_left_alone() {
    let directory = directory();
    let silence = source(directory.path(), "silence", "anullsrc=r=48000:cl=stereo");
    let faint = source(directory.path(), "faint", "aevalsrc='0.0002*sin(2*PI*300*t)':s=48000");
    let mute = Recipe { audio: None, ..Recipe::default() }.make(directory.path(), "mute");
    // Not in MP4: GStreamer's demuxer takes a track that is shorter than a fifth of the movie for a preview and leaves it out.
    let over = Recipe { sound_end_ms: Some(500), ..Recipe::matroska() }.make(directory.path(), "over");
    for (source, reason) in [(silence, "too_quiet"), (faint, "too_quiet"), (over, "too_quiet"), (mute, "no_sound")] {
        let (after, manifest, made) = leveled(&source, (-14.0, -1.5));
        assert_eq!(manifest["normalization"]["leftReason"], reason, "{}", source.display());
        assert!(after.lufs <= -70.0, "{after:?}");
        assert!(Sound::decode(&made.output()).peak().iter().all(|peak| *peak < 20), "{}", source.display());
    }
    let moment = source(directory.path(), "moment", &talk(0.03, 0.0));
    let made = transcode(&Order { normalize_loudness: Some((-14.0, -1.5)), ..Order::of(1_000, 1_300) }, &moment);
    assert_eq!(manifest(&made)["normalization"]["leftReason"], "too_short");
}

#[test]
fn nothing_is_raised_out_of_proportion() {
    let directory = directory();
    let source = source(directory.path(), "whisper", "aevalsrc='0.0008*sin(2*PI*997*t)':s=48000");
    let (after, manifest, _) = leveled(&source, (-14.0, -1.5));
    assert_eq!(manifest["normalization"]["gainDb"], 30.0);
    assert!(after.lufs < -25.0, "{after:?}");
}

#[test]
fn sound_is_untouched_unless_loudness_is_asked_for() {
    let directory = directory();
    let source = source(directory.path(), "plain", &talk(0.08, 0.9));
    let before = levels(&source, "atrim=start=1.01:end=7.01,");
    let made = transcode(&order(None), &source);
    let after = levels(&made.output(), "");
    assert!((after.lufs - before.lufs).abs() <= 0.2, "{after:?} {before:?}");
    assert!((after.peak - before.peak).abs() <= 1.0, "{after:?} {before:?}");
    assert!(manifest(&made).get("normalization").is_none());
}
