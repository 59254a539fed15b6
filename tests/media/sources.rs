//! Tests that cut every kind of source at every kind of place.

use clipfleet_tests::{
    clip::{self, frames},
    fixtures::{Recipe, directory},
    mp4::Probe,
    picture::{MarkPlace, Pictures, first_picture_ms},
    pipeline_process::{Order, Transcript, transcode},
};
use std::path::Path;

/// Windows of an eight-second source with a key frame every two (or two and a half) seconds.
const WINDOWS: [(i64, i64); 5] = [
    // From the start.
    (0, 1_000),
    // At a key frame of the H.264 sources.
    (4_000, 5_000),
    // Far from any key frame, on a picture.
    (3_500, 4_300),
    // Between two pictures.
    (5_717, 6_617),
    // Up to the last picture.
    (7_000, 8_000),
];

/// Determines the size of the number in the middle of a recipe's pictures.
pub(crate) struct Shape {
    /// Displayed size in square pixels.
    pub(crate) size: (f64, f64),
    pub(crate) output: (u32, u32),
}

impl Shape {
    pub(crate) fn square(recipe: &Recipe) -> Self {
        Self { size: (f64::from(recipe.width), f64::from(recipe.height)), output: (720, 720) }
    }

    fn mark(&self) -> MarkPlace {
        let (width, height) = self.size;
        let aspect = f64::from(self.output.0) / f64::from(self.output.1);
        let crop = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
        MarkPlace::after(width.min(height), crop, self.output)
    }
}

pub(crate) fn check(recipe: &Recipe, shape: &Shape, source: &Path, order: &Order) -> (Transcript, Vec<f64>) {
    // Recipes count from their first picture, clips on the file's own timeline.
    let zero_ms = first_picture_ms(source);
    let window = (order.window.0 + zero_ms, order.window.1 + zero_ms);
    let transcript = transcode(&Order { window, ..order.clone() }, source);
    let output = transcript.output();
    clip::check_file(&transcript, shape.output, order);
    check_pictures(recipe, shape, &output, order);
    let offsets = clip::check_audio(recipe.audio.map(|_| recipe.beeps()), &output, order);
    (transcript, offsets)
}

/// Checks that the first picture is the source's first at or after the start, and that each picture is shown at its
/// time.
fn check_pictures(recipe: &Recipe, shape: &Shape, output: &Path, order: &Order) {
    let numbers = Pictures::decode(output, shape.output).numbers(shape.mark());
    assert_eq!(numbers.len(), frames(order));
    let start = order.window.0 as f64;
    let source = recipe.shown();
    let inside: Vec<(u32, f64)> = source.iter().copied().filter(|(_, time)| *time >= start - 0.5).collect();
    assert_eq!(numbers[0], inside[0].0, "the first picture");
    if recipe.keep.is_none() && recipe.fps == order.fps && !recipe.ntsc {
        let expected: Vec<u32> = inside.iter().map(|(number, _)| *number).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "every picture once");
        return;
    }
    for (slot, number) in numbers.iter().enumerate() {
        let due = start + slot as f64 * 1_000.0 / f64::from(order.fps);
        let index = source.iter().position(|(known, _)| known == number).expect("a picture of the source");
        let begins = source[index].1;
        let ends = source.get(index + 1).map_or(f64::MAX, |next| next.1);
        let tolerance = 1_000.0 / f64::from(order.fps) + 2.0;
        assert!(
            number == &inside[0].0 || begins <= due + tolerance,
            "picture {number} in frame {slot}: {begins} {due}"
        );
        assert!(ends >= due - tolerance, "picture {number} in frame {slot} is over at {ends}, at {due}");
    }
}

fn every_window(recipe: &Recipe) {
    every_window_shaped(recipe, &Shape::square(recipe));
}

fn every_window_shaped(recipe: &Recipe, shape: &Shape) {
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    for (start, end) in WINDOWS {
        println!("window {start}-{end}");
        check(recipe, shape, &source, &Order::of(start, end));
    }
}

#[test]
fn mp4_with_its_header_first() {
    every_window(&Recipe::default());
}

#[test]
fn mp4_with_its_header_last() {
    every_window(&Recipe::header_last());
}

#[test]
fn matroska_with_h264() {
    every_window(&Recipe::matroska());
}

#[test]
fn mp4_with_hevc() {
    every_window(&Recipe::hevc());
}

#[test]
fn webm_with_vp8_and_vorbis() {
    every_window(&Recipe::webm_vp8_vorbis());
}

#[test]
fn recording_of_a_browser_with_vp8() {
    every_window(&Recipe::recorded_vp8());
}

#[test]
fn recording_of_a_browser_with_vp9() {
    every_window(&Recipe::recorded_vp9());
}

#[test]
fn recording_of_a_browser_with_rare_key_frames() {
    // Without an index, a seek finds a cluster, not a key frame: the clip's first picture may depend on a key frame 13
    // s earlier.
    const RARE: &[&str] = &[
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "-8",
        "-b:v",
        "1M",
        "-g",
        "400",
        "-pix_fmt",
        "yuv420p",
    ];
    let recipe = Recipe { width: 320, height: 180, pictures: 1_000, video: RARE, ..Recipe::recorded_vp8() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    for start in [12_900, 20_100, 26_400, 32_000] {
        check(&recipe, &Shape::square(&recipe), &source, &Order::of(start, start + 800));
    }
    let beyond = transcode(&Order::of(32_000, 34_000), &source);
    assert_eq!(beyond.code(), "window_beyond_end");
}

#[test]
fn source_without_audio() {
    every_window(&Recipe { audio: None, ..Recipe::default() });
}

#[test]
fn mono_audio_that_starts_late() {
    let recipe = Recipe { audio_delay_ms: 3_800, channels: 1, ..Recipe::default() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    for window in [(3_500, 4_300), (2_000, 5_000), (7_000, 8_000)] {
        check(&recipe, &Shape::square(&recipe), &source, &Order::of(window.0, window.1));
    }
}

#[test]
fn audio_that_ends_early() {
    let recipe = Recipe { audio_end_ms: Some(4_800), ..Recipe::default() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    check(&recipe, &Shape::square(&recipe), &source, &Order::of(4_000, 6_000));
}

#[test]
fn pictures_that_are_stored_rotated() {
    // Wide pictures that are rotated by a quarter turn are tall.
    for rotation in [90, 180, 270] {
        let recipe = Recipe { rotation, pictures: 120, ..Recipe::default() };
        let (width, height) = (f64::from(recipe.width), f64::from(recipe.height));
        let size = if rotation == 180 { (width, height) } else { (height, width) };
        let directory = directory();
        let source = recipe.make(directory.path(), "source");
        check(&recipe, &Shape { size, output: (720, 720) }, &source, &Order::of(1_000, 1_600));
    }
}

#[test]
fn upright_source_and_odd_sizes() {
    for (width, height) in [(360, 640), (853, 479), (479, 853)] {
        const ANY_SIZE: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-pix_fmt", "yuv444p"];
        let recipe = Recipe { width, height, video: ANY_SIZE, pictures: 120, ..Recipe::default() };
        let directory = directory();
        let source = recipe.make(directory.path(), "source");
        check(&recipe, &Shape::square(&recipe), &source, &Order::of(1_000, 1_600));
        let order = Order { aspect: "9:16", ..Order::of(1_000, 1_600) };
        let shape = Shape { output: (720, 1280), ..Shape::square(&recipe) };
        check(&recipe, &shape, &source, &order);
    }
}

#[test]
fn pixels_that_are_not_square() {
    // PAL: 720x576 stored, 64:45, displayed as 1024x576.
    let recipe = Recipe { width: 720, height: 576, pictures: 90, filter: Some("setsar=64/45"), ..Recipe::default() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    let order = Order { aspect: "16:9", ..Order::of(1_000, 1_600) };
    let transcript = transcode(&order, &source);
    // The mark is stretched with the pixels: 144 stored pixels are 204.8 of 1024 displayed ones, which fill 1280.
    let output = transcript.output();
    let numbers = Pictures::decode(&output, (1280, 720)).numbers(MarkPlace { width: 256.0, height: 180.0 });
    assert_eq!(numbers, (30..48).collect::<Vec<u32>>());
    assert_eq!(Probe::of(&output).video["sample_aspect_ratio"], "1:1");
}

const FRAME_RATES: [u32; 5] = [24, 25, 30, 50, 60];

/// Converts between all pairs of frame rates that are selected.
fn convert_frame_rates(selects: impl Fn(u32, u32) -> bool) {
    for fps in FRAME_RATES {
        let recipe = Recipe { fps, pictures: fps * 3, ..Recipe::default() };
        let directory = directory();
        let source = recipe.make(directory.path(), "source");
        for target_fps in FRAME_RATES.into_iter().filter(|target_fps| selects(fps, *target_fps)) {
            let order = Order { fps: target_fps, ..Order::of(1_500, 2_200) };
            check(&recipe, &Shape::square(&recipe), &source, &order);
        }
    }
}

#[test]
fn every_frame_rate_to_30_and_30_to_every_other() {
    convert_frame_rates(|fps, target_fps| fps == 30 || target_fps == 30);
}

#[test]
#[ignore = "soak: a minute on 2 cores"]
fn every_frame_rate_to_every_other() {
    convert_frame_rates(|fps, target_fps| fps != 30 && target_fps != 30);
}

#[test]
fn zoom_keeps_the_middle() {
    let recipe = Recipe { pictures: 90, ..Recipe::default() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    let order = Order { zoom: 200.0, aspect: "9:16", ..Order::of(1_000, 1_600) };
    let transcript = transcode(&order, &source);
    let output = transcript.output();
    let place = MarkPlace::after(360.0, (101.25, 180.0), (720, 1280));
    assert_eq!(Pictures::decode(&output, (720, 1280)).numbers(place), (30..48).collect::<Vec<u32>>());
}

#[test]
fn every_installed_encoder_gives_the_same_clip() {
    let recipe = Recipe { pictures: 120, ..Recipe::default() };
    let directory = directory();
    let source = recipe.make(directory.path(), "source");
    for encoder in ["x264enc", "openh264enc"] {
        let (transcript, _) =
            check(&recipe, &Shape::square(&recipe), &source, &Order { encoder, ..Order::of(500, 3_300) });
        let finished = transcript.outcome.expect("a result");
        assert_eq!((finished.encoder.as_str(), finished.fallback_reason.as_str()), (encoder, ""));
    }
}
