//! Tests of invalid input: a clear error names field and value, other clips are unaffected, no process dies, and no
//! message is redelivered forever.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, clips, request},
};
use serde_json::{Value, json};

fn field_named(answer: &Value, field: &str, value: &str) {
    let details = answer["error"]["details"].as_array().cloned().unwrap_or_default();
    let named = details
        .iter()
        .any(|bad| bad["field"] == field && bad["reason"].as_str().is_some_and(|reason| reason.contains(value)));
    assert!(named, "{field} and {value} in {answer:#}");
}

#[tokio::test]
async fn a_bad_request_is_refused_with_field_and_value() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let video = directory.path().join("any");
    std::fs::write(&video, "not empty").unwrap();
    let uri = fleet.upload(&video, "any.mp4").await;
    std::fs::write(&video, "").unwrap();
    let empty = fleet.upload(&video, "empty.mp4").await;
    let good = || request("b1", &uri, &[("c1", 0, 1_000)]);
    let with = |pointer: &str, value: Value| {
        let mut request = good();
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let many: Vec<_> = (0..1_001).map(|n| json!({"clipId": format!("c{n}"), "startMs": 0, "endMs": 1000})).collect();
    let twice = json!([{"clipId": "c1", "startMs": 0, "endMs": 1000}, {"clipId": "c1", "startMs": 0, "endMs": 2000}]);
    let mut unknown = good();
    unknown["clips"][0]["startSeconds"] = json!(3);
    let cases = [
        (unknown, "clips[0].startSeconds", "unknown field"),
        (with("/clips", json!([])), "clips", "got 0"),
        (with("/clips", json!(many)), "clips", "got 1001"),
        (with("/clips", twice), "clips[1].clipId", "\"c1\""),
        (with("/clips/0/endMs", json!(0)), "clips[0].endMs", "got 0"),
        (with("/clips/0/startMs", json!(2000)), "clips[0].endMs", "got 1000"),
        (with("/clips/0/startMs", json!(-5)), "clips[0].startMs", "got -5"),
        (with("/clips/0/endMs", json!(7_200_000)), "clips[0].endMs", "got 7200000"),
        (with("/clips/0/endMs", json!("soon")), "clips[0].endMs", "\"soon\""),
        (with("/clips/0/clipId", json!("a/b")), "clips[0].clipId", "\"a/b\""),
        (with("/output/quality", json!("8k")), "output.quality", "\"8k\""),
        (with("/ownerUid", json!("")), "ownerUid", "empty"),
        (with("/source/uri", json!("gs://elsewhere/a.mp4")), "source.uri", "got gs://elsewhere/a.mp4"),
        (with("/source/uri", json!("https://example.com/a.mp4")), "source.uri", "https://example.com/a.mp4"),
        (with("/source/uri", json!("gs://clipfleet-local/missing.mp4")), "source.uri", "missing.mp4"),
        (with("/source/uri", json!(empty)), "source.uri", "0 bytes"),
    ];
    for (body, field, value) in cases {
        let (status, answer) = fleet.call("POST", "/v1/batches", body.to_string()).await;
        assert_eq!(status, 400, "{field}: {answer:#}");
        field_named(&answer, field, value);
    }
    let (status, answer) = fleet.call("POST", "/v1/batches", "{\"batchId\": ").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("malformed_json")));
    let (status, answer) = fleet.call("POST", "/v1/batches", " ".repeat(3 << 20)).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")));
    for (method, path) in [
        ("GET", "/v1/batches/none"),
        ("POST", "/v1/batches/none:cancel"),
        ("POST", "/v1/batches/none:explode"),
        ("GET", "/v2"),
    ] {
        let (status, answer) = fleet.call(method, path, "").await;
        assert_eq!(status, 404, "{path}: {answer:#}");
        assert!(answer["error"]["message"].is_string(), "{path}: {answer:#}");
    }
    assert!(fleet.document("exportBatches/b1").await.is_none(), "a refused request leaves no document");
}

#[tokio::test]
async fn a_bad_source_or_window_fails_its_clip_and_no_other() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 1, 2).await;
    let good = Recipe { pictures: 150, ..Recipe::default() }.make(directory.path(), "good");
    let bytes = std::fs::read(&good).unwrap();
    let spoil = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let text = fleet.upload(&spoil("text.mp4", "no video at all\n".repeat(5_000).as_bytes()), "text.mp4").await;
    let truncated = fleet.upload(&spoil("cut.mp4", &bytes[..bytes.len() / 2]), "cut.mp4").await;
    let good = fleet.upload(&good, "good.mp4").await;
    let workers = fleet.workers();

    fleet
        .submit(&request("late", &good, &[("fits", 0, 1_000), ("beyond", 4_000, 9_000), ("after", 60_000, 61_000)]))
        .await;
    fleet.submit(&request("text", &text, &[("c", 0, 1_000)])).await;
    fleet.submit(&request("cut", &truncated, &[("early", 0, 800), ("lost", 4_000, 5_000)])).await;
    fleet.submit(&request("fine", &good, &[("c", 1_000, 2_000)])).await;

    let late = clips(&fleet.finished("late").await);
    assert_eq!(late["fits"]["status"], "completed");
    for id in ["beyond", "after"] {
        assert_eq!(late[id]["error"]["code"], "window_beyond_end", "{:#}", late[id]);
    }
    assert!(late["beyond"]["error"]["message"].as_str().unwrap().contains("9000"), "{:#}", late["beyond"]);
    assert_eq!(clips(&fleet.finished("text").await)["c"]["error"]["code"], "source_not_media");
    let cut = clips(&fleet.finished("cut").await);
    assert_eq!(
        (&cut["early"]["status"], &cut["lost"]["error"]["code"]),
        (&json!("completed"), &json!("source_truncated"))
    );
    assert_eq!(fleet.finished("fine").await["status"], "completed");
    for clip in late.values().chain(cut.values()) {
        assert_eq!(clip["attempt"], 1, "a permanent error is not retried: {clip:#}");
        assert!(clip["error"].is_null() || !clip["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(fleet.workers(), workers, "no worker died");
}

#[tokio::test]
async fn a_source_that_is_overwritten_or_deleted_after_acceptance_fails_with_its_code() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    // Without workers, the batch stays queued.
    let fleet = Fleet::start(&data, 0, 1).await;
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c", 0, 1_000)])).await;
    let name = clipfleet_cloud::ObjectName::new("clipfleet-local", "source.mp4");
    fleet.cloud.objects.delete(&name).await.unwrap();
    fleet.upload(&source, "source.mp4").await;
    assert_eq!(fleet.stop().await, Some(0));
    let fleet = Fleet::start(&data, 1, 1).await;
    let shown = fleet.finished("b1").await;
    assert_eq!(clips(&shown)["c"]["error"]["code"], "source_gone", "{shown:#}");
}

#[tokio::test]
async fn a_source_read_that_is_corrupted_in_transit_fails_no_clip() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    // This corrupts the name of the first box, so the data is not a video.
    let rules = json!({"rules": [{"on": "GET /storage/v1/b/*", "fault": {"corrupt": {"at": 4}}, "times": 1}]});
    let faults = format!("http://{}/_clipfleet/faults", fleet.emulator);
    let http = reqwest::Client::new();
    let put = http.put(&faults).body(rules.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    fleet.submit(&request("b1", &uri, &[("c", 0, 1_000)])).await;
    let shown = fleet.finished("b1").await;
    let struck: Value = http.get(&faults).send().await.unwrap().json().await.unwrap();
    assert_eq!(struck["rules"][0]["struck"], 1, "{struck}");
    let clip = &clips(&shown)["c"];
    assert_eq!((&clip["status"], &clip["attempt"]), (&json!("completed"), &json!(1)), "{clip:#}");
}
