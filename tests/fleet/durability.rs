//! Tests of durability: what survives crashes, cancellation and restarts.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, clips, request, signal},
};
use serde_json::json;

#[tokio::test]
async fn a_batch_survives_the_sudden_end_of_every_process() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let source = Recipe { pictures: 360, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 2, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let windows = [
        ("one", 0, 500),
        ("two", 0, 10_000),
        ("three", 1_000, 11_000),
        ("four", 2_000, 12_000),
        ("five", 3_000, 12_000),
    ];
    fleet.submit(&request("b1", &uri, &windows)).await;
    let half = fleet
        .until("b1", |shown| {
            let state = |expected| {
                shown["clips"].as_array().into_iter().flatten().filter(move |clip| clip["status"] == expected).count()
            };
            state("completed") >= 1 && state("processing") >= 1
        })
        .await;
    fleet.kill_all();

    let fleet = Fleet::start(&data, 2, 1).await;
    let shown = fleet.finished("b1").await;
    assert_eq!((&shown["status"], &shown["completedClips"]), (&json!("completed"), &json!(5)));
    // What clients read before the crash still holds.
    for (id, before) in clips(&half) {
        let after = &clips(&shown)[&id];
        assert!(after["progress"].as_u64() >= before["progress"].as_u64());
        if before["status"] == "completed" {
            assert_eq!(after, &before, "a finished clip stays unchanged");
        }
    }
    // One object per clip, none of them twice, and no other files.
    let mut outputs: Vec<String> = clips(&shown).values().map(|clip| clip["outputUri"].to_string()).collect();
    outputs.dedup();
    assert_eq!(outputs.len(), 5);
    // An attempt that was killed before its clip became visible may leave a manifest and a cover. No clip names them.
    let mut results = fleet.results().await;
    results.retain(|name| name.ends_with(".mp4"));
    assert_eq!(results.len(), 5, "{results:?}");
    assert_eq!(fleet.stop().await, Some(0));
    let scratch: Vec<_> = walk(&data.join("scratch"));
    assert!(scratch.iter().all(|path| !path.ends_with(".mp4")), "{scratch:?}");
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

#[tokio::test]
async fn a_killed_pipeline_and_a_killed_worker_only_delay_a_clip() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 720, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("one", 0, 24_000)])).await;
    let processing = |attempt: u64| {
        move |shown: &serde_json::Value| {
            let clip = &shown["clips"][0];
            clip["status"] == "processing" && clip["attempt"].as_u64() == Some(attempt)
        }
    };
    // Only now: a starting worker briefly has another child, which probes the machine.
    fleet.until("b1", processing(1)).await;
    let (_, [busy, waiting]) = fleet.busy_worker().await;
    signal(waiting, "-KILL");
    signal(busy, "-KILL");
    fleet.until("b1", processing(2)).await;
    let worker = fleet.workers()[0];
    signal(worker, "-KILL");
    let shown = fleet.finished("b1").await;
    let clip = &clips(&shown)["one"];
    assert_eq!((&clip["status"], &clip["attempt"]), (&json!("completed"), &json!(3)));
    assert_ne!(fleet.workers(), [worker]);
}

#[tokio::test]
async fn a_cancelled_clip_stops_and_a_retried_one_starts_over() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 360, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("one", 0, 12_000), ("two", 0, 1_000)])).await;
    fleet
        .until("b1", |shown| shown["clips"].as_array().into_iter().flatten().any(|clip| clip["status"] == "processing"))
        .await;
    let (status, answer) = fleet.call("POST", "/v1/batches/b1:cancel", "").await;
    assert_eq!(status, 202, "{answer}");
    let shown = fleet.finished("b1").await;
    assert_eq!(shown["status"], "cancelled", "{shown:#}");
    let (status, answer) = fleet.call("POST", "/v1/batches/b1/clips/two:retry", "").await;
    assert_eq!((status, &answer["clips"]), (202, &json!([{"clipId": "two"}])));
    let shown = fleet.until("b1", |shown| clips(shown)["two"]["generation"] == 1 && shown["status"] == "partial").await;
    let clip = &clips(&shown)["two"];
    assert_eq!(clip["status"], "completed");
    // A completed clip cannot be retried or cancelled.
    let (status, answer) = fleet.call("POST", "/v1/batches/b1/clips/two:retry", "").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("clip_not_retryable")));
    fleet.call("POST", "/v1/batches/b1/clips/two:cancel", "").await;
    assert_eq!(clips(&fleet.finished("b1").await)["two"], *clip);
}

#[tokio::test]
async fn a_pipeline_that_always_dies_fails_its_clip_after_the_third_time() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = fixtures::directory();
    let pipeline = directory.path().join("dying-pipeline");
    let script = "#!/bin/sh\n[ \"$1\" = --check ] && exec echo '{}'\necho 'the last words' >&2\nkill -SEGV $$\n";
    std::fs::write(&pipeline, script).unwrap();
    std::fs::set_permissions(&pipeline, std::fs::Permissions::from_mode(0o755)).unwrap();
    let fleet = Fleet::start_with(&directory.path().join("data"), 1, 1, &[("CLIPFLEET_PIPELINE", &pipeline)]).await;
    let video = directory.path().join("any");
    std::fs::write(&video, "anything").unwrap();
    let uri = fleet.upload(&video, "any.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c", 0, 1_000)])).await;
    let shown = fleet.finished("b1").await;
    let clip = &clips(&shown)["c"];
    assert_eq!((&clip["error"]["code"], &clip["attempt"]), (&json!("pipeline_crashed"), &json!(3)));
    let message = clip["error"]["message"].as_str().unwrap();
    assert!(message.contains("SIGSEGV") && message.contains("the last words"), "{message}");
}
