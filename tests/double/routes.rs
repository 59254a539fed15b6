//! Tests of every row but the first of the pipeline's route table, each with a GPU or a source that leads to it: the
//! clip is as good, and its result states what made it and why not more of the GPU was used.

use crate::{
    gpu::{Gpu, GpuClip},
    pattern::{assert_in_order, assert_shows},
    source::Source,
};
use clipfleet_tests::{
    clip,
    fixtures::{Recipe, directory},
    picture::{MarkPlace, Pictures},
    pipeline_process::Order,
};

/// A crop of 606 by 1080 pixels of the source, in the middle.
const MIDDLE: [f64; 4] = [656.0, 0.0, 606.0, 1080.0];

/// Maximum measured offset of a crop, source pixels. The loss of x264 affects the slopes.
const CROP_TOLERANCE: f64 = 3.0;

const SIZE: (u32, u32) = (720, 1280);

fn order() -> Order {
    Order { aspect: "9:16", ..Order::of(500, 2_000) }
}

/// Whether the decoder, converter and encoder of the GPU were used.
fn used(made: &GpuClip) -> [bool; 3] {
    ["decoder", "kernel", "encoder"].map(|part| !made.calls(part).is_empty())
}

/// Makes a clip of a source that the GPU decodes, and checks it completely.
#[track_caller]
fn make_from_pattern(gpu: Gpu, order: &Order, route: &str, reason: &str) -> GpuClip {
    let (directory, source) = (directory(), Source::hd());
    let made = gpu.make(order, &source.make(directory.path()));
    made.check(SIZE, order, &source);
    assert_eq!(made.route(), (route.to_owned(), reason.to_owned()));
    let measured = made.measured(SIZE, &source);
    assert_in_order(&measured, 15, 45);
    assert_shows(&measured, MIDDLE, CROP_TOLERANCE, route);
    made
}

/// Makes a clip of a source whose pictures show their numbers, so that the CPU must decode them.
#[track_caller]
fn make_from_pictures(gpu: Gpu, recipe: &Recipe, encoder: &'static str, route: &str, reason: &str) -> GpuClip {
    let directory = directory();
    let order = Order { encoder, ..Order::of(1_000, 2_500) };
    let made = gpu.make(&order, &recipe.make(directory.path(), "source"));
    clip::check_file(&made.transcript, (720, 720), &order);
    let output = made.transcript.output();
    clip::check_audio(Some(recipe.beeps()), &output, &order);
    assert_eq!(made.route(), (route.to_owned(), reason.to_owned()));
    let place = MarkPlace::after(360.0, (360.0, 360.0), (720, 720));
    assert_eq!(Pictures::decode(&output, (720, 720)).numbers(place), (30..75).collect::<Vec<u32>>());
    made
}

/// Three seconds that a GPU could decode.
fn plain() -> Recipe {
    Recipe { pictures: 90, ..Recipe::default() }
}

#[test]
#[ignore = "make test-double"]
fn without_a_gpu_converter_pictures_are_reframed_in_memory() {
    for fault in ["no-nvrtc", "kernel-compile-error"] {
        println!("{fault}");
        let reason = "cudaconvertscale is not there; install libnvrtc12";
        let made = make_from_pattern(Gpu::with(fault), &order(), "nvh264dec nvh264enc", reason);
        assert_eq!(used(&made), [true, false, true]);
    }
}

#[test]
#[ignore = "make test-double"]
fn rotated_pictures_and_other_colour_spaces_are_reframed_in_memory() {
    let directory = directory();
    let source = Source { rotation: 90, ..Source::hd() };
    let made = Gpu::l4().make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let reason = "turned pictures are reframed on the CPU";
    assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), reason.into()));
    assert_eq!(used(&made), [true, false, true]);

    // Small and without tags, which implies the colours of standard-definition television.
    let order = Order::of(1_000, 2_500);
    let made = Gpu::l4().make(&order, &plain().make(directory.path(), "untagged"));
    clip::check_file(&made.transcript, (720, 720), &order);
    let reason = "colours other than BT.709 are converted on the CPU";
    assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), reason.into()));
    assert_eq!(used(&made), [true, false, true]);
}

#[test]
#[ignore = "make test-double"]
fn formats_that_the_gpu_cannot_decode_are_decoded_on_the_cpu() {
    const TEN_BITS: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-pix_fmt", "yuv420p10le"];
    const FIELDS: &[&str] = &[
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-g",
        "60",
        "-flags",
        "+ildct+ilme",
        "-x264-params",
        "tff=1",
        "-pix_fmt",
        "yuv420p",
    ];
    let cases = [
        (Gpu::other("decode=hevc"), plain(), "the GPU does not decode H.264"),
        (Gpu::l4(), Recipe { video: TEN_BITS, ..plain() }, "pictures other than 8-bit 4:2:0 are decoded on the CPU"),
        (Gpu::l4(), Recipe { video: FIELDS, ..plain() }, "interlaced pictures are decoded on the CPU"),
    ];
    for (gpu, recipe, reason) in cases {
        println!("{reason}");
        let made = make_from_pictures(gpu, &recipe, "auto", "avdec_h264 nvh264enc", reason);
        assert_eq!(used(&made), [false, false, true]);
    }
}

#[test]
#[ignore = "make test-double"]
fn a_gpu_without_an_encoder_decodes_and_scales() {
    for fault in ["no-nvenc", "no-nvenc-api", "no-nvenc-library", "old-driver"] {
        println!("{fault}");
        let reason = "nvh264enc: neither the GPU nor its driver has an encoder for GStreamer";
        let made = make_from_pattern(Gpu::with(fault), &order(), "nvh264dec x264enc", reason);
        assert_eq!(used(&made), [true, true, false]);
        assert_eq!((&made.call("kernel")["to"], &made.call("kernel")["convert"]), (&"I420".into(), &false.into()));
    }
}

#[test]
#[ignore = "make test-double"]
fn a_size_beyond_the_encoder_is_encoded_on_the_cpu() {
    let (directory, source) = (directory(), Source::hd());
    let made = Gpu::other("encode-max=1024").make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let (route, reason) = made.route();
    assert_eq!(route, "nvh264dec x264enc");
    for tried in ["nvh264dec+cuda+nvh264enc: ", "nvh264dec+nvh264enc: ", "avdec_h264+nvh264enc: "] {
        assert!(reason.contains(tried), "{reason}");
    }
    assert_shows(&made.measured(SIZE, &source), MIDDLE, CROP_TOLERANCE, "scaled on the GPU");
}

#[test]
#[ignore = "make test-double"]
fn a_missing_or_disabled_gpu_is_not_reported_as_a_fallback() {
    let cases = [Gpu::with("no-device"), Gpu::with("no-driver"), Gpu::under(&[("GPU_ENABLED", "false")])];
    for gpu in cases {
        println!("{gpu:?}");
        let made = make_from_pictures(gpu, &plain(), "auto", "avdec_h264 x264enc", "");
        assert_eq!(used(&made), [false; 3]);
    }
}

#[test]
#[ignore = "make test-double"]
fn a_requested_encoder_leaves_the_rest_to_the_gpu() {
    let made = make_from_pattern(Gpu::l4(), &Order { encoder: "x264enc", ..order() }, "nvh264dec x264enc", "");
    assert_eq!(used(&made), [true, true, false]);
    let made = make_from_pictures(Gpu::l4(), &plain(), "openh264enc", "avdec_h264 openh264enc", "");
    assert_eq!(used(&made), [false; 3]);
}
