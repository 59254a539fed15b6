//! What is promised of every clip, whatever its source and whatever made it: its container, its cadence, its sound.

use crate::{
    mp4::{Probe, boxes},
    pipeline_process::{Order, Transcript},
    sound::{Beeps, Sound},
};
use std::path::Path;

/// How far a beep may be from its place, milliseconds. The promise is 40.
const SYNC_MS: f64 = 15.0;

/// How much louder one side may be, dB, over a clip whose sides are the same: an encoder moves single samples
/// by a tenth, but the energy of a side by nothing that was seen.
const LEAN_DB: f64 = 0.1;

/// Frames of an order's clip.
pub fn frames(order: &Order) -> usize {
    let (start, end) = order.window;
    ((end - start) as f64 * f64::from(order.fps) / 1_000.0).round() as usize
}

/// Checks all but the content of pictures and sound.
///
/// # Panics
/// When the clip is not as promised.
pub fn check_file(transcript: &Transcript, (width, height): (u32, u32), order: &Order) {
    let output = &transcript.output();
    let (probe, frames) = (Probe::of(output), frames(order));
    let fps = f64::from(order.fps);
    let boxes = boxes(output);
    let place = |name| boxes.iter().position(|found| found == name);
    assert!(place("moov") < place("mdat"), "{boxes:?}");
    assert_eq!(transcript.files, ["clip.mp4", "cover.jpg"], "nothing else is left behind");
    assert_eq!(transcript.exit, Some(0));

    for (property, value) in [
        ("codec_name", "h264"),
        ("pix_fmt", "yuv420p"),
        ("width", &width.to_string()),
        ("height", &height.to_string()),
        ("sample_aspect_ratio", "1:1"),
        ("color_range", "tv"),
        ("color_space", "bt709"),
        ("color_transfer", "bt709"),
        ("color_primaries", "bt709"),
        ("r_frame_rate", &format!("{}/1", order.fps)),
        ("avg_frame_rate", &format!("{}/1", order.fps)),
        ("nb_frames", &frames.to_string()),
    ] {
        assert_eq!(probe.video[property], value, "{property}");
    }
    for (property, value) in [("codec_name", "aac"), ("profile", "LC"), ("sample_rate", "48000"), ("channels", "2")] {
        assert_eq!(probe.audio[property], value, "{property}");
    }
    for (index, time) in probe.picture_times.iter().enumerate() {
        let exact = index as f64 / fps;
        assert!((time - exact).abs() < 0.000_01, "picture {index} is shown at {time}, not {exact}");
    }
    assert_eq!(probe.keys[0], 0);
    let ends = probe.keys.iter().skip(1).copied().chain([frames]);
    assert!(probe.keys.iter().zip(ends).all(|(from, to)| to - from <= 2 * order.fps as usize), "{:?}", probe.keys);
    let lengths = [&probe.video, &probe.audio, &probe.format]
        .map(|properties| properties["duration"].parse::<f64>().expect("a length"));
    assert!(lengths.iter().all(|length| (length - frames as f64 / fps).abs() < 0.002), "{lengths:?}");

    let finished = transcript.outcome.as_ref().expect("a result");
    assert_eq!(finished.frames as usize, frames);
    assert_eq!((finished.width, finished.height), (width, height));
    assert_eq!(finished.duration_ms, (frames as f64 * 1_000.0 / fps).round() as i64);
}

/// Every beep of the window is heard at its time, and silence where the source has no sound. Gives how late each is, milliseconds.
///
/// # Panics
/// When the sound is not as promised.
pub fn check_sound(beeps: Option<Beeps>, output: &Path, order: &Order) -> Vec<f64> {
    let sound = Sound::decode(output);
    let length = frames(order) as f64 * 1_000.0 / f64::from(order.fps);
    // FFmpeg decodes the last block of 1,024 samples to its end, whatever the header says; what is too much is silence.
    let surplus = sound.length_ms() - length;
    assert!((-0.05..1_024.0 / 48.0).contains(&surplus), "the sound is {} ms long, not {length}", sound.length_ms());
    let heard = sound.beeps_ms();
    let Some(beeps) = beeps else {
        assert_eq!(sound.peak(), [0, 0]);
        return Vec::new();
    };
    let (start, end) = order.window;
    let expected = beeps.within(start as u32, end as u32);
    assert!(!expected.is_empty(), "a window without a beep proves nothing");
    let mut offs = Vec::new();
    for time in &expected {
        let nearest = heard.iter().copied().min_by(|a, b| (a - time).abs().total_cmp(&(b - time).abs()));
        let off = nearest.map(|heard| heard - time);
        assert!(
            off.is_some_and(|off| off.abs() < SYNC_MS),
            "beep at {time} ms is heard at {nearest:?}; all: {heard:?}"
        );
        offs.extend(off);
    }
    let lean = sound.lean_db();
    assert!(lean.abs() < LEAN_DB, "the left side is {lean:.2} dB louder");
    offs
}
