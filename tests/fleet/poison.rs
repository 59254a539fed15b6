//! Clips that crash or hang the media process: they fail after three attempts, and everything else continues.

use clipfleet_domain::lifecycle::ClipEventKind;
use clipfleet_tests::{
    event_recorder::EventRecorder,
    fixtures::{self, Recipe},
    fleet::{Fleet, clips, request},
    poison,
};
use serde_json::json;
use std::time::Duration;

/// Exports six good clips and a poison clip on one worker with two slots. Checks that the good clips are unaffected,
/// and returns the status of the poison clip.
async fn export_with(poison: &str, timeout: Duration) -> serde_json::Value {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 120, ..Recipe::default() }.make(directory.path(), "source");
    let pipeline = poison::pipeline(directory.path());
    let fleet = Fleet::start_with(&directory.path().join("data"), 1, 2, &[("CLIPFLEET_PIPELINE", &pipeline)]).await;
    let recorder = EventRecorder::start(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let mut windows = vec![(poison, 0, 500)];
    let good: Vec<String> = (0..6).map(|number| format!("good-{number}")).collect();
    windows.extend(good.iter().map(|id| (id.as_str(), 500, 1_500)));
    fleet.submit(&request("b1", &uri, &windows)).await;
    let over = |shown: &serde_json::Value| !matches!(shown["status"].as_str(), Some("queued" | "processing") | None);
    let shown = fleet.until_within("b1", timeout, over).await;
    assert_eq!(
        (&shown["status"], &shown["completedClips"], &shown["failedClips"]),
        (&json!("partial"), &json!(6), &json!(1))
    );
    let attempts = recorder.attempts();
    for clip in &good {
        assert_eq!(attempts[clip].len(), 1, "a good clip needs one attempt");
    }
    let crashes =
        attempts[poison].iter().filter(|events| matches!(events.last().unwrap().event.kind, ClipEventKind::Crashed(_)));
    assert_eq!((attempts[poison].len(), crashes.count()), (3, 2), "the third is the last, and fails the clip");
    let first = attempts[poison][0][0].at;
    let last = attempts[poison][2].last().unwrap().at;
    let during = attempts.values().flatten().filter(|events| {
        let end = events.last().unwrap();
        matches!(end.event.kind, ClipEventKind::Completed { .. }) && end.at > first && end.at < last
    });
    let during = during.count();
    println!(
        "{poison}: three attempts in {:.1} s; {during} good clips completed meanwhile",
        (last - first).as_secs_f64()
    );
    assert!(during > 0, "the other slot works while the poison clip is tried");
    clips(&shown)[poison].clone()
}

#[tokio::test]
async fn a_clip_that_kills_the_media_process_fails_after_the_third_time_and_harms_no_other() {
    let clip = export_with("poison-crash", clipfleet_tests::fleet::WAIT_TIMEOUT).await;
    assert_eq!(
        (&clip["error"]["code"], &clip["attempt"], &clip["crashes"]),
        (&json!("pipeline_crashed"), &json!(3), &json!(3))
    );
    assert_eq!(clip["failureCodes"], json!(["pipeline_crashed", "pipeline_crashed", "pipeline_crashed"]));
    let message = clip["error"]["message"].as_str().unwrap();
    assert!(message.contains("SIGSEGV") && message.contains("the last words"), "{message}");
}

#[tokio::test]
#[ignore = "waits for three stall timeouts of a minute: make soak"]
async fn a_clip_that_hangs_the_media_process_fails_after_the_third_time_and_harms_no_other() {
    let clip = export_with("poison-hang", Duration::from_secs(400)).await;
    assert_eq!((&clip["error"]["code"], &clip["crashes"]), (&json!("pipeline_stalled"), &json!(3)));
}
