//! Tests of every GPU fault that the double can simulate: the clip is still made, by the best remaining route, and
//! states why; or the process reports a clear failure.

use crate::{
    gpu::{Gpu, GpuClip},
    pattern::{assert_in_order, assert_shows},
    source::{H264, Source},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order};

const SIZE: (u32, u32) = (720, 1280);

/// One and a half seconds from the middle of a source.
const FRAMES: usize = 45;

const CHAIN: &str = "nvh264dec+cuda+nvh264enc";
const MEMORY: &str = "nvh264dec+nvh264enc";
const ENCODE: &str = "avdec_h264+nvh264enc";

fn order() -> Order {
    Order { aspect: "9:16", ..Order::of(500, 2_000) }
}

/// Makes a clip on a GPU with this fault and asserts its route. `tried` are the routes that failed before, each with a
/// part of its reason.
#[track_caller]
fn assert_survives(fault: &str, route: &str, tried: &[(&str, &str)]) -> GpuClip {
    println!("{fault}");
    // Pictures that the CPU decodes become brighter, so that a frozen picture is visible in them, too.
    let (directory, source) = (directory(), Source { filter: "fade=in:0:90", ..Source::hd() });
    let made = Gpu::with(fault).make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let (actual, reason) = made.route();
    println!("  {actual}: {reason}");
    assert_eq!(actual, route, "{fault}: {reason}");
    assert!(!made.calls("fault").is_empty(), "{fault} never struck");
    let mut rest = reason.as_str();
    for (tried, because) in tried {
        let after =
            rest.find(&format!("{tried}: ")).unwrap_or_else(|| panic!("{fault}: {reason} does not name {tried}"));
        rest = &rest[after..];
        assert!(rest.contains(because), "{fault}: {reason} does not say {because:?} of {tried}");
    }
    assert_eq!(reason.matches("nvh264dec+").count() + reason.matches("avdec_h264+").count(), tried.len(), "{reason}");
    if actual.starts_with("nvh264dec") {
        let measured = made.measured(SIZE, &source);
        assert_in_order(&measured, 15, FRAMES);
        assert_shows(&measured, [656.0, 0.0, 606.0, 1080.0], 3.0, fault);
    }
    made
}

#[test]
#[ignore = "make test-double"]
fn an_encoder_that_opens_no_session_is_bypassed() {
    for (fault, refused) in [("open-out-of-memory", "OUT_OF_MEMORY"), ("session-limit", "INCOMPATIBLE_CLIENT_KEY")] {
        assert_survives(fault, "nvh264dec x264enc", &[(CHAIN, refused), (MEMORY, refused), (ENCODE, refused)]);
    }
}

#[test]
#[ignore = "make test-double"]
fn an_encoder_that_fails_while_encoding_is_bypassed() {
    assert_survives(
        "lock-error-after=20",
        "nvh264dec x264enc",
        &[(CHAIN, "NV_ENC_ERR"), (MEMORY, "NV_ENC_ERR"), (ENCODE, "NV_ENC_ERR")],
    );
    assert_survives("encode-error-after=20", "nvh264dec x264enc", &[(CHAIN, ""), (MEMORY, ""), (ENCODE, "")]);
}

#[test]
#[ignore = "make test-double"]
fn a_converter_that_fails_is_bypassed() {
    for fault in ["kernel-error", "kernel-error-after=20"] {
        assert_survives(fault, "nvh264dec nvh264enc", &[(CHAIN, "")]);
    }
}

#[test]
#[ignore = "make test-double"]
fn a_decoder_that_fails_is_bypassed() {
    assert_survives("decoder-open-error", "avdec_h264 nvh264enc", &[(CHAIN, ""), (MEMORY, "")]);
    assert_survives("decode-error-after=20", "avdec_h264 nvh264enc", &[(CHAIN, ""), (MEMORY, "")]);
}

#[test]
#[ignore = "make test-double"]
fn a_decoder_that_fails_just_before_the_end_is_not_taken_for_a_still_end() {
    // Fifteen pictures precede the clip. Its last tenth may be still where the source is still.
    assert_survives("decode-error-after=57", "avdec_h264 nvh264enc", &[(CHAIN, "decode"), (MEMORY, "decode")]);
}

#[test]
#[ignore = "make test-double"]
fn frozen_pictures_are_detected_and_made_without_the_encoder() {
    let frozen = "stands still";
    assert_survives("garbage-after=20", "nvh264dec x264enc", &[(CHAIN, frozen), (MEMORY, frozen), (ENCODE, frozen)]);
}

#[test]
#[ignore = "make test-double"]
fn a_gpu_that_runs_out_of_memory_at_any_point_fails_no_clip() {
    let (directory, source) = (directory(), Source::hd());
    let file = source.make(directory.path());
    for allocations in [0, 1, 3, 6, 9, 12, 16] {
        println!("{allocations} allocations");
        let made = Gpu::with(&format!("device-out-of-memory={allocations}")).make(&order(), &file);
        made.check(SIZE, &order(), &source);
        let (route, reason) = made.route();
        println!("  {route}: {reason}");
        let struck = !made.calls("fault").is_empty();
        assert_eq!(struck, reason.contains(CHAIN), "{route}: {reason}");
    }
}

#[test]
#[ignore = "make test-double"]
fn pictures_that_the_gpu_does_not_support_are_decoded_on_the_cpu() {
    // nvh264dec refuses 4:2:2, so the pipeline does not try it.
    let (directory, source) = (directory(), Source { format: "yuv422p", video: H264, ..Source::hd() });
    let made = Gpu::l4().make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let reason = "pictures other than 8-bit 4:2:0 are decoded on the CPU";
    assert_eq!(made.route(), ("avdec_h264 nvh264enc".into(), reason.into()));
}

#[test]
#[ignore = "make test-double"]
fn a_clip_that_requires_the_gpu_fails_with_a_clear_error() {
    let (directory, source) = (directory(), Source::hd());
    let file = source.make(directory.path());
    let order = Order { encoder: "nvh264enc", ..order() };
    for (fault, code, parts) in [
        ("no-device", "encoder_unavailable", ["\"nvh264enc\" is not available", "x264enc"]),
        ("no-nvenc", "encoder_unavailable", ["\"nvh264enc\" is not available", "x264enc"]),
        ("open-out-of-memory", "encode_failed", ["nvencoder", "OUT_OF_MEMORY"]),
        ("encode-hang-after=20", "pipeline_stalled", ["no progress for 20 s", "waiting for the GPU"]),
    ] {
        println!("{fault}");
        let made = Gpu::with(fault).make(&order, &file);
        let error = made.transcript.outcome.as_ref().expect_err("a failure");
        assert_eq!(error.code, code, "{error:?}");
        assert!(parts.iter().all(|part| error.message.contains(part)), "{error:?}");
    }
}
