//! Tests of the chain that stays on the GPU, and of every setting that it passes to the driver.

use crate::{
    gpu::{Gpu, GpuClip},
    pattern::{assert_in_order, assert_shows},
    source::{FPS, Source},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order};
use serde_json::{Value, json};

/// Maximum measured offset of a crop of whole pixels, source pixels: the precision of the pattern's slopes.
const CROP_TOLERANCE: f64 = 2.0;

/// kbit/s to bits per second, as the plugin converts them.
const KBIT: u64 = 1_024;

/// Asserts that each of these fields has its value.
#[track_caller]
fn assert_fields(call: &Value, fields: &Value) {
    for (field, value) in fields.as_object().expect("fields") {
        assert_eq!(&call[field], value, "{field} in {call}");
    }
}

fn assert_on_gpu(made: &GpuClip, decoder: &str) {
    assert_eq!(made.route(), (format!("{decoder} nvh264enc"), String::new()));
    assert_eq!((made.calls("decoder").len(), made.calls("kernel").len(), made.calls("encoder").len()), (1, 1, 1));
}

#[test]
#[ignore = "make test-double"]
fn forty_five_seconds_are_exact_in_sync_and_made_with_our_settings() {
    let directory = directory();
    let source = Source { seconds: 48, ..Source::hd() };
    let file = source.make(directory.path());
    // Neither end is at a key frame.
    let order = Order { quality: "1080p", aspect: "9:16", ..Order::of(1_500, 46_500) };
    let (size, frames) = ((1080, 1920), 1_350);
    let made = Gpu::l4().make(&order, &file);
    made.check(size, &order, &source);
    assert_on_gpu(&made, "nvh264dec");
    let measured = made.measured(size, &source);
    assert_in_order(&measured, 45, frames);
    assert_shows(&measured, [656.0, 0.0, 606.0, 1080.0], CROP_TOLERANCE, "the middle");

    assert_fields(
        made.call("decoder"),
        &json!({"codec": "h264", "bit_depth": 8, "coded_size": [1920, 1088], "size": [1920, 1080], "output": "NV12"}),
    );
    assert_fields(
        made.call("kernel"),
        &json!({"from": "NV12", "to": "NV12", "source_size": [1920, 1080], "source_rect": [656.0, 0.0, 606.0, 1080.0],
                "size": [1080, 1920], "target_rect": [0, 0, 1080, 1920], "filter": "linear", "convert": false}),
    );
    assert_fields(
        made.call("encoder"),
        &json!({
            "preset": "p4", "tune": "high-quality", "multi_pass": "disabled",
            "rate_control": "vbr", "const_quality": 23, "const_quality_256ths": 0,
            "average_bit_rate": 16_000 * KBIT, "average_is_preset": false,
            "max_bit_rate": 16_000 * KBIT, "max_is_preset": false,
            "min_qp": false, "max_qp": false,
            "gop_length": 60, "idr_period": 60, "strict_gop": false,
            "frame_interval_p": 3, "b_adapt": false, "lookahead": 20, "i_adapt": false, "zero_latency": false,
            "spatial_aq": true, "aq_strength": 8, "temporal_aq": false,
            "size": [1080, 1920], "display_aspect": [9, 16], "frame_rate": [30, 1],
            "profile": "high", "cabac": true, "colour": [1, 1, 1], "full_range": false,
        }),
    );
    assert!(made.calls("encoder-reconfigured").is_empty(), "nothing changes during the encoding");
    let keys = frames.div_ceil(2 * FPS as usize);
    assert_fields(made.call("encoder-closed"), &json!({"pictures": frames, "idr_pictures": keys}));
}

#[test]
#[ignore = "make test-double"]
fn every_quality_and_rate_has_its_settings() {
    let directory = directory();
    let source = Source::hd();
    let file = source.make(directory.path());
    let cases = [
        ("720p", 30, (720, 1280), "p4", 23, 8_000),
        ("1080p", 60, (1080, 1920), "p4", 23, 24_000),
        ("1440p", 25, (1440, 2560), "p4", 23, 28_000),
        ("2160p", 24, (2160, 3840), "p4", 23, 56_000),
        ("high", 50, (1080, 1920), "p5", 20, 24_000),
    ];
    for (quality, fps, size, preset, const_quality, cap_kbps) in cases {
        println!("{quality}, {fps} per second");
        let order = Order { quality, fps, aspect: "9:16", ..Order::of(0, 500) };
        let made = Gpu::l4().make(&order, &file);
        made.check(size, &order, &source);
        assert_on_gpu(&made, "nvh264dec");
        let cap = cap_kbps * KBIT;
        assert_fields(
            made.call("encoder"),
            &json!({"preset": preset, "const_quality": const_quality, "average_bit_rate": cap, "max_bit_rate": cap,
                    "gop_length": 2 * fps, "idr_period": 2 * fps, "size": [size.0, size.1], "frame_rate": [fps, 1]}),
        );
    }
}

#[test]
#[ignore = "make test-double"]
fn a_gpu_that_lacks_a_setting_encodes_without_it() {
    let directory = directory();
    let source = Source::hd();
    let file = source.make(directory.path());
    let order = Order { aspect: "9:16", ..Order::of(500, 1_500) };
    for (kind, frame_interval, lookahead) in
        [("bframes=0", 1, 20), ("lookahead=0", 3, 0), ("bframes=0,lookahead=0,temporal-aq=0,custom-vbv=0", 1, 0)]
    {
        println!("{kind}");
        let made = Gpu::other(kind).make(&order, &file);
        made.check((720, 1280), &order, &source);
        assert_on_gpu(&made, "nvh264dec");
        assert_fields(
            made.call("encoder"),
            &json!({"frame_interval_p": frame_interval, "lookahead": lookahead, "preset": "p4", "spatial_aq": true}),
        );
    }
}

#[test]
#[ignore = "make test-double"]
fn every_codec_that_the_gpu_decodes_stays_on_it() {
    const HEVC: &[&str] =
        &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1"];
    const VP8: &[&str] = &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8"];
    const VP9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
    const AV1: &[&str] = &["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8"];
    let codecs = [
        ("hevc", HEVC, "mp4", "nvh265dec"),
        ("vp8", VP8, "webm", "nvvp8dec"),
        ("vp9", VP9, "webm", "nvvp9dec"),
        ("av1", AV1, "mp4", "nvav1dec"),
    ];
    for (codec, video, container, decoder) in codecs {
        println!("{codec}");
        let directory = directory();
        let source = Source { video, container, ..Source::of((1280, 720)) };
        let file = source.make(directory.path());
        // From the start: the numbers of some codecs do not show where a group begins.
        let order = Order { aspect: "9:16", ..Order::of(0, 1_500) };
        let made = Gpu::l4().make(&order, &file);
        made.check((720, 1280), &order, &source);
        assert_on_gpu(&made, decoder);
        assert_eq!(made.call("decoder")["codec"], codec);
        let measured = made.measured((720, 1280), &source);
        assert_shows(&measured, [438.0, 0.0, 404.0, 720.0], CROP_TOLERANCE, codec);
        assert_in_order(&measured, 0, 45);
    }
}
