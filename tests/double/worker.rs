//! Tests of faults that end the whole process: a driver that crashes or never returns. The worker makes the clip again
//! immediately without the GPU, in the same attempt.

use crate::gpu::double;
use clipfleet_tests::{
    clip,
    fixtures::{Recipe, directory},
    fleet::{Fleet, clips, request},
    picture::{MarkPlace, Pictures},
    pipeline_process::binary,
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Writes a program that runs the pipeline on a GPU with this fault.
fn pipeline(directory: &Path, fault: &str) -> PathBuf {
    let program = directory.join("pipeline");
    let mut command = Command::new(double("wrap.sh"));
    command.arg(&program).arg(binary()).env("CLIPFLEET_DOUBLE_FAULT", fault);
    assert!(command.status().expect("wrap.sh").success());
    program
}

async fn assert_made_again(fault: &str, because: &str) {
    let directory = directory();
    let recipe = Recipe { pictures: 90, ..Recipe::default() };
    let source = recipe.make(directory.path(), "source");
    let pipeline = pipeline(directory.path(), fault);
    let fleet = Fleet::start_with(&directory.path().join("data"), 1, 1, &[("CLIPFLEET_PIPELINE", &pipeline)]).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let mut ordered = request("b1", &uri, &[("c", 500, 2_500)]);
    ordered["output"]["aspect"] = json!("1:1");
    fleet.submit(&ordered).await;
    let shown = fleet.finished("b1").await;
    let clip = &clips(&shown)["c"];
    assert_eq!(
        (&clip["status"], &clip["attempt"], &clip["encoder"]),
        (&json!("completed"), &json!(1), &json!("x264enc")),
        "{clip:#}"
    );
    let reason = clip["fallbackReason"].as_str().expect("a reason");
    println!("{fault}: {reason}");
    // The reason also keeps the other limitation of the GPU.
    let begins = format!("colours other than BT.709 are converted on the CPU; nvh264dec+nvh264enc: {because}");
    assert!(reason.starts_with(&begins), "{reason}");
    let file = directory.path().join("clip.mp4");
    std::fs::write(&file, fleet.download(clip["outputUrl"].as_str().expect("an address")).await).expect("writing");
    let order = clipfleet_tests::pipeline_process::Order::of(500, 2_500);
    clip::check_audio(Some(recipe.beeps()), &file, &order);
    let place = MarkPlace::after(360.0, (360.0, 360.0), (720, 720));
    assert_eq!(Pictures::decode(&file, (720, 720)).numbers(place), (15..75).collect::<Vec<u32>>());
}

// Both faults occur after the thirty pictures of the self-test, because a worker does not start if that fails.

#[tokio::test]
#[ignore = "make test-double"]
async fn a_clip_whose_gpu_hangs_is_made_again_without_it_in_the_same_attempt() {
    assert_made_again("encode-hang-after=40", "no progress for 20 s while waiting for the GPU").await;
}

#[tokio::test]
#[ignore = "make test-double"]
async fn a_clip_whose_driver_crashes_is_made_again_without_it_in_the_same_attempt() {
    assert_made_again("encode-crash-after=40", "the media process died without a last word (signal: 11 (SIGSEGV)")
        .await;
}
