//! Every fault of the GPU that the double can play: the clip is made all the same, by the best way that is left, and says why; or the
//! process says clearly why not.

use crate::{
    gpu::{Gpu, Made},
    pattern::{assert_in_order, assert_shows},
    source::{H264, Source},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order};

const SIZE: (u32, u32) = (720, 1280);

/// One second and a half, from the middle of a source.
const FRAMES: usize = 45;

const CHAIN: &str = "nvh264dec+cuda+nvh264enc";
const MEMORY: &str = "nvh264dec+nvh264enc";
const ENCODE: &str = "avdec_h264+nvh264enc";

fn order() -> Order {
    Order { aspect: "9:16", ..Order::of(500, 2_000) }
}

/// Makes a clip on a GPU with that fault, by a way; `tried` are the ways that failed before it, each with a part of its reason.
#[track_caller]
fn survives(fault: &str, way: &str, tried: &[(&str, &str)]) -> Made {
    println!("{fault}");
    // Pictures that the CPU decodes become brighter, so that standing still shows in them, too.
    let (directory, source) = (directory(), Source { filter: "fade=in:0:90", ..Source::hd() });
    let made = Gpu::with(fault).make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let (taken, reason) = made.way();
    println!("  {taken}: {reason}");
    assert_eq!(taken, way, "{fault}: {reason}");
    assert!(!made.calls("fault").is_empty(), "{fault} never struck");
    let mut rest = reason.as_str();
    for (tried, because) in tried {
        let after =
            rest.find(&format!("{tried}: ")).unwrap_or_else(|| panic!("{fault}: {reason} does not name {tried}"));
        rest = &rest[after..];
        assert!(rest.contains(because), "{fault}: {reason} does not say {because:?} of {tried}");
    }
    assert_eq!(reason.matches("nvh264dec+").count() + reason.matches("avdec_h264+").count(), tried.len(), "{reason}");
    if taken.starts_with("nvh264dec") {
        let seen = made.seen(SIZE, &source);
        assert_in_order(&seen, 15, FRAMES);
        assert_shows(&seen, [656.0, 0.0, 606.0, 1080.0], 3.0, fault);
    }
    made
}

#[test]
#[ignore = "make test-double"]
fn an_encoder_that_opens_no_session_is_done_without() {
    for (fault, refused) in [("open-out-of-memory", "OUT_OF_MEMORY"), ("session-limit", "INCOMPATIBLE_CLIENT_KEY")] {
        survives(fault, "nvh264dec x264enc", &[(CHAIN, refused), (MEMORY, refused), (ENCODE, refused)]);
    }
}

#[test]
#[ignore = "make test-double"]
fn an_encoder_that_fails_on_the_way_is_done_without() {
    survives(
        "lock-error-after=20",
        "nvh264dec x264enc",
        &[(CHAIN, "NV_ENC_ERR"), (MEMORY, "NV_ENC_ERR"), (ENCODE, "NV_ENC_ERR")],
    );
    survives("encode-error-after=20", "nvh264dec x264enc", &[(CHAIN, ""), (MEMORY, ""), (ENCODE, "")]);
}

#[test]
#[ignore = "make test-double"]
fn a_converter_that_fails_is_done_without() {
    for fault in ["kernel-error", "kernel-error-after=20"] {
        survives(fault, "nvh264dec nvh264enc", &[(CHAIN, "")]);
    }
}

#[test]
#[ignore = "make test-double"]
fn a_decoder_that_fails_is_done_without() {
    survives("decoder-open-error", "avdec_h264 nvh264enc", &[(CHAIN, ""), (MEMORY, "")]);
    survives("decode-error-after=20", "avdec_h264 nvh264enc", &[(CHAIN, ""), (MEMORY, "")]);
}

#[test]
#[ignore = "make test-double"]
fn a_decoder_that_fails_just_before_the_end_does_not_pass_for_a_still_end() {
    // Fifteen pictures lie before the clip; its last tenth may stand still where the source does.
    survives("decode-error-after=57", "avdec_h264 nvh264enc", &[(CHAIN, "decode"), (MEMORY, "decode")]);
}

#[test]
#[ignore = "make test-double"]
fn pictures_that_stand_still_are_noticed_and_made_without_the_encoder() {
    let frozen = "stands still";
    survives("garbage-after=20", "nvh264dec x264enc", &[(CHAIN, frozen), (MEMORY, frozen), (ENCODE, frozen)]);
}

#[test]
#[ignore = "make test-double"]
fn a_gpu_that_runs_out_of_memory_at_any_point_costs_no_clip() {
    let (directory, source) = (directory(), Source::hd());
    let file = source.make(directory.path());
    for allocations in [0, 1, 3, 6, 9, 12, 16] {
        println!("{allocations} allocations");
        let made = Gpu::with(&format!("device-out-of-memory={allocations}")).make(&order(), &file);
        made.check(SIZE, &order(), &source);
        let (way, reason) = made.way();
        println!("  {way}: {reason}");
        let struck = !made.calls("fault").is_empty();
        assert_eq!(struck, reason.contains(CHAIN), "{way}: {reason}");
    }
}

#[test]
#[ignore = "make test-double"]
fn pictures_that_no_gpu_of_ours_takes_are_decoded_on_the_cpu() {
    // 4:2:2 is what nvh264dec refuses; nobody asks it.
    let (directory, source) = (directory(), Source { format: "yuv422p", video: H264, ..Source::hd() });
    let made = Gpu::l4().make(&order(), &source.make(directory.path()));
    made.check(SIZE, &order(), &source);
    let reason = "pictures other than 8-bit 4:2:0 are decoded on the CPU";
    assert_eq!(made.way(), ("avdec_h264 nvh264enc".into(), reason.into()));
}

#[test]
#[ignore = "make test-double"]
fn where_nothing_is_left_to_do_without_the_gpu_the_failure_is_clear() {
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
