//! Tests of the controls of a running fleet: cancel, retry, pause, redrive; over HTTP and by command. They print how
//! long each took.

use clipfleet_cloud::Message;
use clipfleet_contract::names;
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, children, clips, request},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn of_clip(id: &'static str, condition: impl Fn(&Value) -> bool) -> impl Fn(&Value) -> bool {
    move |shown| shown["clips"].as_array().into_iter().flatten().any(|clip| clip["clipId"] == id && condition(clip))
}

/// The number of attempt directories and of the files in them.
fn attempt_files(scratch: &Path) -> usize {
    let within = |path: &Path| -> Vec<_> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let attempts = within(scratch).into_iter().flat_map(|worker| within(&worker)).filter(|path| path.is_dir());
    attempts.map(|attempt| 1 + within(&attempt).len()).sum()
}

async fn until(timeout: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < timeout, "{what} took longer than {timeout:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn cancelled_clips_stop_within_seconds_without_traces_and_a_retry_keeps_their_history() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let source = Recipe { pictures: 720, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let windows = [("running", 0, 24_000), ("waiting-1", 0, 500), ("waiting-2", 500, 1_000)];
    let mut body = request("b1", &uri, &windows);
    body["output"]["quality"] = json!("2160p");
    fleet.submit(&body).await;
    fleet.until("b1", of_clip("running", |clip| clip["phase"] == "encoding")).await;
    let worker = fleet.workers()[0];
    assert_eq!((children(worker).len(), attempt_files(&data.join("scratch")) > 0), (2, true), "one works, one waits");

    let started = Instant::now();
    let (status, answer) = fleet.call("POST", "/v1/batches/b1:cancel", "").await;
    let accepted = started.elapsed();
    assert_eq!((status, answer["clips"].as_array().map(Vec::len)), (202, Some(3)), "{answer}");
    let shown = fleet.until("b1", |shown| shown["status"] == "cancelled").await;
    let seen = started.elapsed();
    until(Duration::from_secs(5), "the process's end", async || children(worker).len() == 1).await;
    let stopped = started.elapsed();
    until(Duration::from_secs(5), "cleaning up", async || attempt_files(&data.join("scratch")) == 0).await;
    println!(
        "cancel over HTTP: accepted after {} ms, in the documents after {} ms, process gone after {} ms, \
         files after {} ms",
        accepted.as_millis(),
        seen.as_millis(),
        stopped.as_millis(),
        started.elapsed().as_millis()
    );
    assert!(stopped < Duration::from_secs(5), "{stopped:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fleet.results().await, Vec::<String>::new(), "no object is left");
    for id in ["waiting-1", "waiting-2"] {
        assert_eq!((&clips(&shown)[id]["attempt"], &clips(&shown)[id]["startedAt"]), (&json!(0), &Value::Null));
    }

    let started = Instant::now();
    let (exit, output) = fleet.command(&["batch", "retry", "b1", "waiting-1"]);
    assert_eq!((exit, output.trim()), (Some(0), "Retrying 1 clip: waiting-1"));
    let done = |id| of_clip(id, |clip| clip["status"] == "completed" && clip["generation"] == 1);
    fleet.until("b1", done("waiting-1")).await;
    println!("retry of one clip by command: completed after {} ms", started.elapsed().as_millis());
    // The whole batch: completed clips stay unchanged. The long one is cancelled again.
    let (exit, output) = fleet.command(&["batch", "retry", "b1"]);
    assert_eq!((exit, output.trim()), (Some(0), "Retrying 2 clips: running, waiting-2"));
    let (exit, output) = fleet.command(&["batch", "cancel", "b1", "running"]);
    assert_eq!((exit, output.trim()), (Some(0), "Cancelled 1 clip: running"));
    let shown = fleet.until("b1", done("waiting-2")).await;
    let history = &clips(&shown)["waiting-2"]["history"];
    assert_eq!((history.as_array().map(Vec::len), &history[0]["status"]), (Some(1), &json!("cancelled")), "{history}");
    assert!(history[0]["endedAt"].is_string() && history[0]["generation"] == 0);
    let shown = fleet.until("b1", |shown| shown["status"] == "partial").await;
    assert_eq!((&shown["completedClips"], &shown["cancelledClips"]), (&json!(2), &json!(1)));

    // Cancelling an ended batch changes nothing.
    let before = clips(&shown);
    let (status, answer) = fleet.call("POST", "/v1/batches/b1:cancel", "").await;
    assert_eq!((status, &answer["clips"]), (202, &json!([])));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(clips(&fleet.finished("b1").await), before);
}

#[tokio::test]
async fn a_paused_fleet_takes_no_new_clips_and_running_clips_finish() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 360, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _worker = fleet.worker(&format!("127.0.0.1:{port}"), &directory.path().join("scratch"));
    let paused = async |expected: bool| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/ready")).await;
        let Ok(answer) = answer else { return false };
        answer.json::<Value>().await.is_ok_and(|ready| ready["details"]["paused"] == expected)
    };
    until(Duration::from_secs(60), "the worker's start", async || paused(false).await).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("running", 0, 10_000)])).await;
    fleet.until("b1", of_clip("running", |clip| clip["status"] == "processing")).await;

    let (exit, output) = fleet.command(&["fleet", "pause"]);
    assert!(exit == Some(0) && output.starts_with("paused since 20"), "{output}");
    let observed = until(Duration::from_secs(10), "the pause", async || paused(true).await).await;
    fleet.submit(&request("b2", &uri, &[("new", 0, 500)])).await;
    let shown = fleet.finished("b1").await;
    assert_eq!((&shown["status"], &clips(&shown)["running"]["attempt"]), (&json!("completed"), &json!(1)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fleet.document("exportBatches/b2").await.unwrap().field("status").as_text(), Some("queued"));
    let (_, shown) = fleet.call("GET", "/v1/fleet", "").await;
    assert_eq!(shown["paused"], true);

    let (exit, output) = fleet.command(&["fleet", "resume"]);
    assert!(exit == Some(0) && output.starts_with("running since 20"), "{output}");
    let resumed = Instant::now();
    assert_eq!(fleet.finished("b2").await["status"], "completed");
    println!(
        "pause: observed after {} ms; the waiting clip was completed {} ms after resuming",
        observed.as_millis(),
        resumed.elapsed().as_millis()
    );
}

#[tokio::test]
async fn dead_letters_are_failed_within_seconds_and_can_be_listed_shown_and_redriven() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let video = directory.path().join("any");
    std::fs::write(&video, "anything").unwrap();
    let uri = fleet.upload(&video, "any.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c1", 0, 1_000), ("c2", 0, 1_000)])).await;
    fleet.until("b1", |shown| shown["clips"].as_array().is_some_and(|clips| clips.len() == 2)).await;
    assert_eq!(fleet.command(&["dead-letters", "list"]), (Some(0), "No dead letters.\n".to_owned()));

    // As the queue does after the last delivery attempt.
    let mut jobs = fleet.cloud.queue.subscribe(names::CLIP_JOBS_WORKER, 2);
    let dead_lettered = Instant::now();
    for _ in 0..2 {
        let delivery = jobs.next().await.unwrap().unwrap();
        if delivery.message.attributes[names::ATTRIBUTE_CLIP] == "c1" {
            let mut attributes = delivery.message.attributes.clone();
            attributes.insert("CloudPubSubDeadLetterSourceDeliveryCount".into(), "100".into());
            let message = Message { data: delivery.message.data.clone(), attributes };
            fleet.cloud.queue.publish(names::CLIP_JOBS_DEAD_LETTER, message).await.unwrap();
        }
        delivery.ack();
    }
    fleet.until("b1", of_clip("c1", |clip| clip["error"]["code"] == "dead_lettered")).await;
    println!("dead letter: failed in its document after {} ms", dead_lettered.elapsed().as_millis());
    assert!(dead_lettered.elapsed() < Duration::from_secs(5));

    let (exit, output) = fleet.command(&["dead-letters", "list"]);
    assert!(exit == Some(0) && output.starts_with("b1  c1  20") && output.contains("100 deliveries"), "{output}");
    assert_eq!(output.lines().count(), 1, "{output}");
    let (exit, output) = fleet.command(&["dead-letters", "show", "b1", "c1"]);
    let shown: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((exit, &shown[0]["clipId"], &shown[0]["error"]["retryable"]), (Some(0), &json!("c1"), &json!(true)));
    let (status, answer) = fleet.call("POST", "/v1/dead-letters/b1/clips/c2:redrive", "").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("clip_not_dead_lettered")));
    let (exit, output) = fleet.command(&["dead-letters", "redrive"]);
    assert_eq!((exit, output.trim()), (Some(0), "Retrying 1 clip of b1: c1"));
    let again = jobs.next().await.unwrap().unwrap();
    assert_eq!(clipfleet_contract::job::decode(&again.message.data).unwrap().generation, 1);
    let shown = fleet.until("b1", of_clip("c1", |clip| clip["generation"] == 1)).await;
    assert_eq!(clips(&shown)["c1"]["history"][0]["error"]["code"], "dead_lettered");
    let listed = fleet.command(&["dead-letters", "list"]);
    assert_eq!(listed, (Some(0), "No dead letters.\n".to_owned()), "it is no longer a dead letter");
}
