//! Measures what the double's decoder draws (`driver/pattern.c`): which part of the source a picture shows, and which
//! picture it is.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Picture numbers are measured modulo this.
pub(crate) const NUMBERS: u32 = 32;

/// What one picture shows.
#[derive(Debug, Clone)]
pub(crate) struct MeasuredPicture {
    /// Left, top, width, height in pixels of the source as stored.
    pub(crate) rect: [f64; 4],
    /// The picture's number, if the stripe with it is visible.
    pub(crate) number: Option<u32>,
}

/// Measures every picture of a file, or a part of each: left, top, width, height.
///
/// # Panics
/// If the file or the double's `measure` cannot be used.
pub(crate) fn read(file: &Path, size: (u32, u32), part: Option<[u32; 4]>, source: (u32, u32)) -> Vec<MeasuredPicture> {
    let [left, top, width, height] = part.unwrap_or([0, 0, size.0, size.1]);
    let mut decoder = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", &format!("crop={width}:{height}:{left}:{top}")])
        .args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg must be installed for media tests");
    let measured = Command::new(crate::gpu::double("../../target/double/measure"))
        .args([width, height, source.0, source.1].map(|side| side.to_string()))
        .stdin(decoder.stdout.take().expect("a pipe"))
        .output()
        .expect("`make test-double` builds the double");
    assert!(decoder.wait().expect("ffmpeg").success(), "ffmpeg could not decode {}", file.display());
    assert!(measured.status.success());
    String::from_utf8(measured.stdout).expect("text").lines().map(parse).collect()
}

fn parse(line: &str) -> MeasuredPicture {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of measure");
    let side = |index: usize| line["rect"][index].as_f64().expect("a number");
    MeasuredPicture { rect: [0, 1, 2, 3].map(side), number: line["picture"].as_u64().map(|number| number as u32) }
}

/// Asserts that every picture shows this rectangle of the source, within `tolerance` pixels.
#[track_caller]
pub(crate) fn assert_shows(measured: &[MeasuredPicture], rect: [f64; 4], tolerance: f64, what: &str) {
    for (index, MeasuredPicture { rect: shown, .. }) in measured.iter().enumerate() {
        let off = shown.iter().zip(rect).map(|(shown, expected)| (shown - expected).abs()).fold(0.0, f64::max);
        assert!(off <= tolerance, "{what}: picture {index} shows {shown:?} of the source, not {rect:?}");
    }
}

/// Asserts that the pictures are those of the source from `first` on, each once and in order.
#[track_caller]
pub(crate) fn assert_in_order(measured: &[MeasuredPicture], first: u32, frames: usize) {
    let numbers: Vec<Option<u32>> = measured.iter().map(|measured| measured.number).collect();
    let expected: Vec<Option<u32>> = (first..).take(frames).map(|number| Some(number % NUMBERS)).collect();
    let wrong = numbers.iter().zip(&expected).position(|(number, expected)| number != expected);
    assert!(
        wrong.is_none() && numbers.len() == frames,
        "{} of {frames} pictures; the first wrong one is {wrong:?}",
        numbers.len()
    );
}
