//! Tests of a fleet that scales itself: workers start with a batch and stop after it, and a process that dies loses no
//! clip.

use clipfleet_cloud::SubscriptionSpec;
use clipfleet_contract::names;
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, WAIT_TIMEOUT, children, clips, request, signal},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const CLIPS: [(&str, i64, i64); 3] = [("one", 0, 6_000), ("two", 1_000, 7_000), ("three", 2_000, 8_000)];

/// A backlog target so short that three clips of a few seconds need one worker each.
const SHORT_TARGET: &[(&str, &str)] = &[("CLIPFLEET_SCALER_BACKLOG_TARGET_SECONDS", "1")];

fn source(directory: &Path) -> std::path::PathBuf {
    Recipe { pictures: 240, ..Recipe::default() }.make(directory, "source")
}

async fn until(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < timeout, "{what} took longer than {timeout:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

fn all_completed_once(shown: &Value) {
    assert_eq!((&shown["status"], &shown["completedClips"]), (&json!("completed"), &json!(3)), "{shown:#}");
}

#[tokio::test]
async fn workers_start_with_a_batch_and_stop_after_it() {
    let directory = fixtures::directory();
    let file = source(directory.path());
    let fleet = Fleet::start_scaling(&directory.path().join("data"), "0..4", 1, SHORT_TARGET).await;
    let uri = fleet.upload(&file, "source.mp4").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fleet.workers().len(), 0, "no batch, no workers");

    let submitted = Instant::now();
    fleet.submit(&request("b1", &uri, &CLIPS)).await;
    until(Duration::from_secs(10), "the first workers", || fleet.workers().len() == 3).await;
    println!("batch sent to three workers started: {} ms", submitted.elapsed().as_millis());
    let mut max_workers = 0;
    let shown = loop {
        max_workers = max_workers.max(fleet.workers().len());
        let (_, shown) = fleet.call("GET", "/v1/batches/b1", "").await;
        if !matches!(shown["status"].as_str(), Some("queued" | "processing")) {
            break shown;
        }
        assert!(submitted.elapsed() < WAIT_TIMEOUT, "{shown:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    all_completed_once(&shown);
    assert_eq!(max_workers, 3, "one for each clip, and no more");
    let workers: std::collections::BTreeSet<_> =
        clips(&shown).values().map(|clip| clip["worker"].to_string()).collect();
    assert_eq!(workers.len(), 3, "each worker made one clip");
    assert!(
        clips(&shown).values().all(|clip| clip["interruptions"] == json!(0)),
        "no worker was stopped while it worked: {shown:#}"
    );
    let ended = Instant::now();
    until(Duration::from_secs(40), "the end of the workers", || fleet.workers().is_empty()).await;
    println!("end of the batch to the end of the workers: {} ms", ended.elapsed().as_millis());
    assert_eq!(fleet.stop().await, Some(0));
}

#[tokio::test]
async fn a_worker_that_is_killed_is_replaced_and_its_clip_is_made() {
    let directory = fixtures::directory();
    let file = source(directory.path());
    let fleet = Fleet::start_scaling(&directory.path().join("data"), "0..4", 1, SHORT_TARGET).await;
    let uri = fleet.upload(&file, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &CLIPS)).await;
    fleet.until("b1", is_processing).await;
    signal(fleet.workers()[0], "-KILL");
    all_completed_once(&fleet.finished("b1").await);
    until(Duration::from_secs(40), "the end of the workers", || fleet.workers().is_empty()).await;
    assert_eq!(fleet.stop().await, Some(0));
}

/// The scaler as a separate role with workers as its children: when it is killed, they nack their jobs and exit, and
/// the next scaler starts others.
#[tokio::test]
async fn a_scaler_that_is_killed_is_replaced_and_no_clip_is_lost() {
    let directory = fixtures::directory();
    let file = source(directory.path());
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let spec = SubscriptionSpec {
        name: names::PROGRESS_EVENTS_SCALER.into(),
        topic: names::PROGRESS_EVENTS.into(),
        ack_deadline: Duration::from_secs(60),
        dead_letter: None,
        backoff: None,
    };
    fleet.cloud.queue.ensure_subscription(&spec).await.unwrap();
    let scratch = directory.path().join("scratch").display().to_string();
    let scaler = || {
        let settings = ["--scaler-backlog-target-seconds", "1", "--scaler-max", "4", "--slots", "1"];
        fleet.role(&[&["scaler", "--scaler-pool", "local", "--scratch", &scratch][..], &settings].concat())
    };
    let first = scaler();
    let uri = fleet.upload(&file, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &CLIPS)).await;
    fleet.until("b1", is_processing).await;
    let workers = children(first.id());
    assert!(!workers.is_empty());
    signal(first.id(), "-KILL");
    let gone = || workers.iter().all(|worker| !Path::new(&format!("/proc/{worker}")).exists());
    until(Duration::from_secs(15), "the end of its workers", gone).await;

    let second = scaler();
    let shown = fleet.finished("b1").await;
    all_completed_once(&shown);
    assert!(clips(&shown).values().all(|clip| clip["crashes"] == json!(0)), "{shown:#}");
    until(Duration::from_secs(40), "the end of the workers", || children(second.id()).is_empty()).await;
    drop((first, second));
    assert_eq!(fleet.stop().await, Some(0));
}

fn is_processing(shown: &Value) -> bool {
    shown["clips"].as_array().is_some_and(|clips| clips.iter().any(|clip| clip["status"] == "processing"))
}
