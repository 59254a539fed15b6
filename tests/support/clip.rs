//! Checks what every clip guarantees, for every source and encoder: its container, its timing, its audio.

use crate::{
    audio::{Beeps, DecodedAudio},
    mp4::{Probe, boxes},
    pipeline_process::{Order, Transcript},
};
use std::path::Path;

/// How far a beep may be from its time, milliseconds. The product guarantees 40.
const SYNC_TOLERANCE_MS: f64 = 15.0;

/// How much louder one channel may be, dB, over a clip whose channels are the same. An encoder changes single samples
/// by a tenth, but no change in the energy of a channel was measured.
const BALANCE_TOLERANCE_DB: f64 = 0.1;

/// The number of frames in an order's clip.
pub fn frames(order: &Order) -> usize {
    let (start, end) = order.window;
    ((end - start) as f64 * f64::from(order.fps) / 1_000.0).round() as usize
}

/// Checks everything except the content of pictures and audio.
///
/// # Panics
/// If the clip violates a guarantee.
pub fn check_file(transcript: &Transcript, (width, height): (u32, u32), order: &Order) {
    let output = &transcript.output();
    let (probe, frames) = (Probe::of(output), frames(order));
    let fps = f64::from(order.fps);
    let boxes = boxes(output);
    let place = |name| boxes.iter().position(|found| found == name);
    assert!(place("moov") < place("mdat"), "{boxes:?}");
    assert_eq!(transcript.files, ["clip.mp4", "cover.jpg"], "no other files are left");
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

/// Checks that every beep of the window is at its time, and that the clip is silent where the source has no audio.
/// Returns how late each beep is, milliseconds.
///
/// # Panics
/// If the audio violates a guarantee.
pub fn check_audio(beeps: Option<Beeps>, output: &Path, order: &Order) -> Vec<f64> {
    let audio = DecodedAudio::decode(output);
    let length = frames(order) as f64 * 1_000.0 / f64::from(order.fps);
    // FFmpeg decodes the last block of 1,024 samples completely, whatever the header says. The excess is silence.
    let excess = audio.length_ms() - length;
    assert!((-0.05..1_024.0 / 48.0).contains(&excess), "the audio is {} ms long, not {length}", audio.length_ms());
    let found = audio.beeps_ms();
    let Some(beeps) = beeps else {
        assert_eq!(audio.peak(), [0, 0]);
        return Vec::new();
    };
    let (start, end) = order.window;
    let expected = beeps.within(start as u32, end as u32);
    assert!(!expected.is_empty(), "a window without a beep checks nothing");
    let mut offsets = Vec::new();
    for time in &expected {
        let nearest = found.iter().copied().min_by(|a, b| (a - time).abs().total_cmp(&(b - time).abs()));
        let offset = nearest.map(|found| found - time);
        assert!(
            offset.is_some_and(|offset| offset.abs() < SYNC_TOLERANCE_MS),
            "beep at {time} ms is found at {nearest:?}; all: {found:?}"
        );
        offsets.extend(offset);
    }
    let balance = audio.balance_db();
    assert!(balance.abs() < BALANCE_TOLERANCE_DB, "the left channel is {balance:.2} dB louder");
    offsets
}
