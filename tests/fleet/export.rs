//! Tests of batches without faults.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, clips, request, text},
    mp4::Probe,
};
use serde_json::json;
use sha2::Digest as _;
use std::{collections::BTreeSet, path::Path, process::Command};

/// A small source of 12 s.
fn source(directory: &Path) -> std::path::PathBuf {
    Recipe { pictures: 360, ..Recipe::default() }.make(directory, "source")
}

#[tokio::test]
async fn a_batch_over_http_goes_from_queued_to_completed_with_rising_percent() {
    let directory = fixtures::directory();
    let (video, slots) = (source(directory.path()), 2);
    let fleet = Fleet::start(&directory.path().join("data"), 1, slots).await;
    let uri = fleet.upload(&video, "source.mp4").await;
    let answer = fleet.submit(&request("b1", &uri, &[("one", 0, 5_000), ("two", 3_500, 11_000)])).await;
    assert_eq!(
        answer,
        json!({"batchId": "b1", "clips": [
            {"clipId": "one", "document": "exportBatches/b1/clips/one"},
            {"clipId": "two", "document": "exportBatches/b1/clips/two"}]})
    );

    let (mut percents, mut states) = (vec![0], vec![]);
    loop {
        if let Some(document) = fleet.document("exportBatches/b1/clips/two").await {
            percents.extend(document.field("progress").as_integer());
            states.push(text(&document, "status"));
            if states.last().is_some_and(|state| state == "completed") {
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(percents.is_sorted(), "{percents:?}");
    states.dedup();
    assert!(states.iter().all(|state| ["queued", "processing", "completed"].contains(&state.as_str())), "{states:?}");
    assert!(states.contains(&"processing".to_owned()), "{states:?}");

    let shown = fleet.finished("b1").await;
    assert_eq!(
        (&shown["status"], &shown["progress"], &shown["completedClips"]),
        (&json!("completed"), &json!(100), &json!(2))
    );
    let clip = &clips(&shown)["two"];
    for field in ["encoder", "worker", "outputUri", "outputUrl", "startedAt", "completedAt", "expiresAt"] {
        assert!(clip[field].as_str().is_some_and(|value| !value.is_empty()), "{field} in {clip:#}");
    }
    assert_eq!((&clip["durationMs"], &clip["attempt"], &clip["reused"]), (&json!(7500), &json!(1), &json!(false)));
    // The answer has the shape of status.proto: every field known, none misspelt.
    serde_json::from_value::<clipfleet_contract::v1::BatchStatus>(shown.clone()).unwrap();

    let bytes = reqwest::get(clip["outputUrl"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    assert_eq!(json!(bytes.len()), clip["outputSizeBytes"]);
    let manifest = clip["manifestUri"].as_str().unwrap().strip_prefix("gs://").unwrap();
    let manifest = reqwest::get(format!("http://{}/{manifest}", fleet.emulator)).await.unwrap().bytes().await.unwrap();
    let manifest_bytes = manifest.len();
    let digest = hex::encode(sha2::Sha256::digest(&manifest));
    assert_eq!(json!(digest), clip["manifestSha256"]);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&manifest["frames"], &manifest["sizeBytes"]), (&json!(225), &clip["outputSizeBytes"]));
    // Usage: the slot time covers every phase, at the price of half the machine that is assumed by default.
    let usage = |name: &str| clip["usage"][name].as_i64().unwrap();
    let phases = ["fetchMs", "encodeMs", "verifyMs", "uploadMs"].map(|phase| clip["timings"][phase].as_i64().unwrap());
    assert!(usage("slotMs") >= phases.iter().sum(), "{clip:#}");
    let price = (8.0 * 11.244 + 16.0 * 1.235) / slots as f64;
    assert_eq!(usage("costMicroUsd"), (price * usage("slotMs") as f64 / 1_000.0).round() as i64);
    let sidecars =
        manifest_bytes + reqwest::get(clip["coverUrl"].as_str().unwrap()).await.unwrap().bytes().await.unwrap().len();
    assert_eq!(usage("bytesWritten"), (bytes.len() + sidecars) as i64);
    let both: i64 = clips(&shown).values().map(|clip| clip["usage"]["bytesRead"].as_i64().unwrap()).sum();
    assert!(
        both > 0 && both <= std::fs::metadata(&video).unwrap().len() as i64,
        "each block is read once by one worker"
    );
    assert!(manifest["usage"]["slotMs"].as_i64().is_some_and(|ms| ms > 0 && ms <= usage("slotMs")), "{manifest:#}");
    let cover = reqwest::get(clip["coverUrl"].as_str().unwrap()).await.unwrap();
    assert_eq!(cover.headers()["content-type"], "image/jpeg");
    assert!(cover.bytes().await.unwrap().starts_with(&[0xff, 0xd8, 0xff]), "a JPEG");
    let file = directory.path().join("two.mp4");
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(Probe::of(&file).picture_times.len(), 225);
    assert_eq!(fleet.stop().await, Some(0));
}

#[tokio::test]
async fn a_batch_published_with_the_official_client_does_the_same_as_one_over_http() {
    use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
    use google_cloud_pubsub::{client::Publisher, model::Message};
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 1, 2).await;
    let uri = fleet.upload(&source(directory.path()), "source.mp4").await;
    let publisher = Publisher::builder("projects/clipfleet-local/topics/export-requests")
        .with_endpoint(format!("http://{}", fleet.emulator))
        .with_credentials(Anonymous::new().build())
        .build()
        .await
        .unwrap();
    let publish = |data: Vec<u8>| publisher.publish(Message::new().set_data(data));

    let as_json = request("from-json", &uri, &[("c", 0, 1_000)]);
    publish(as_json.to_string().into_bytes()).await.unwrap();
    let as_binary: clipfleet_contract::v1::ExportBatch =
        serde_json::from_value(request("from-binary", &uri, &[("c", 2_000, 3_000)])).unwrap();
    publish(prost::Message::encode_to_vec(&as_binary)).await.unwrap();
    for batch in ["from-json", "from-binary"] {
        let shown = fleet.finished(batch).await;
        assert_eq!(shown["status"], "completed", "{shown:#}");
    }

    // An invalid request becomes a document with the error, under its own id or one derived from the message id.
    publish(request("bad", &uri, &[("c", 5_000, 1_000)]).to_string().into_bytes()).await.unwrap();
    let refused = fleet.finished("bad").await;
    assert_eq!((&refused["status"], &refused["error"]["code"]), (&json!("failed"), &json!("invalid_request")));
    assert_eq!(refused["error"]["details"][0]["field"], "clips[0].endMs");
    let message_id = publish(b"{\"batchId\": ".to_vec()).await.unwrap();
    let malformed = fleet.finished(&format!("m-{message_id}")).await;
    assert_eq!(malformed["error"]["code"], "malformed_json");

    // A request with a wrong type is found under its own id, and one with a used id changes nothing but `conflict`.
    let mut wrong_type = request("wrong-type", &uri, &[("c", 0, 1_000)]);
    wrong_type["clips"][0]["startMs"] = json!(1.5);
    publish(wrong_type.to_string().into_bytes()).await.unwrap();
    let wrong_type = fleet.finished("wrong-type").await;
    assert_eq!((&wrong_type["status"], &wrong_type["ownerUid"]), (&json!("failed"), &refused["ownerUid"]));
    publish(request("from-json", &uri, &[("c", 0, 2_000)]).to_string().into_bytes()).await.unwrap();
    let conflict = fleet.until("from-json", |shown| shown["conflict"].is_object()).await;
    assert_eq!((&conflict["status"], &conflict["totalClips"]), (&json!("completed"), &json!(1)));
    assert!(conflict["conflict"]["reason"].as_str().unwrap().contains("from-json"), "{conflict:#}");
    serde_json::from_value::<clipfleet_contract::v1::BatchStatus>(conflict).unwrap();

    // All of them are listed, the latest first.
    let (status, list) = fleet.call("GET", "/v1/batches?pageSize=2", "").await;
    assert_eq!(status, 200, "{list:#}");
    let page: clipfleet_contract::v1::BatchList = serde_json::from_value(list).unwrap();
    assert_eq!(page.batches[0].batch_id, "wrong-type");
    let (_, list) = fleet.call("GET", &format!("/v1/batches?pageToken={}", page.next_page_token), "").await;
    let rest: clipfleet_contract::v1::BatchList = serde_json::from_value(list).unwrap();
    let mut ids: Vec<_> = page.batches.iter().chain(&rest.batches).map(|batch| batch.batch_id.as_str()).collect();
    assert_eq!((ids.len(), rest.next_page_token.as_str()), (5, ""), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{ids:?}");
    let (_, completed) = fleet.call("GET", "/v1/batches?status=completed", "").await;
    assert_eq!(completed["batches"].as_array().unwrap().len(), 2, "{completed:#}");
    assert_eq!(completed["batches"][0]["sourceUri"], json!(uri));
    let (status, answer) = fleet.call("GET", "/v1/batches?status=done", "").await;
    assert_eq!((status, &answer["error"]["details"][0]["field"]), (400, &json!("status")), "{answer:#}");
}

#[tokio::test]
async fn the_finished_clips_of_a_batch_are_one_archive() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 1, 2).await;
    let uri = fleet.upload(&source(directory.path()), "talks/Überblick.mp4").await;
    let path = "/v1/batches/b1/clips.zip";
    assert_eq!(fleet.call("GET", path, "").await.0, 404);
    fleet.submit(&request("b1", &uri, &[("one", 0, 1_000), ("two", 2_000, 3_500), ("late", 11_000, 60_000)])).await;
    let shown = fleet.finished("b1").await;
    assert_eq!(shown["status"], "partial", "{shown:#}");

    let response = reqwest::get(format!("{}{path}", fleet.api)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/zip");
    let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.contains("filename*=UTF-8''%C3%9Cberblick%2Dclips%2Ezip"), "{disposition}");
    let archive = directory.path().join("clips.zip");
    std::fs::write(&archive, response.bytes().await.unwrap()).unwrap();
    // Python's reader checks every checksum.
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                  z.extractall(sys.argv[2]); print(*z.namelist(), sep='\\n')";
    let unpacked = Command::new("python3").args(["-c", script]).arg(&archive).arg(directory.path()).output().unwrap();
    let names = String::from_utf8(unpacked.stdout).unwrap();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["Überblick-one.mp4", "Überblick-two.mp4"]);
    for (name, pictures) in [("one", 30), ("two", 45)] {
        let file = directory.path().join(format!("Überblick-{name}.mp4"));
        assert_eq!(Probe::of(&file).picture_times.len(), pictures);
    }
}

#[tokio::test]
async fn the_same_batch_again_dispatches_nothing_and_equal_clips_are_reused() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 1, 2).await;
    let uri = fleet.upload(&source(directory.path()), "source.mp4").await;
    let first = request("b1", &uri, &[("one", 0, 1_500)]);
    let answer = fleet.submit(&first).await;
    let finished = fleet.finished("b1").await;

    assert_eq!(fleet.submit(&first).await, answer);
    let (status, conflict) =
        fleet.call("POST", "/v1/batches", request("b1", &uri, &[("one", 0, 1_600)]).to_string()).await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &json!("batch_id_conflict")));

    fleet.submit(&request("b2", &uri, &[("one", 0, 1_500)])).await;
    let again = &clips(&fleet.finished("b2").await)["one"];
    let before = &clips(&finished)["one"];
    assert_eq!((&again["reused"], &again["outputUri"]), (&json!(true), &before["outputUri"]));
    assert_eq!(again["manifestSha256"], before["manifestSha256"]);
    assert_eq!((&again["manifestUri"], &again["coverUri"]), (&before["manifestUri"], &before["coverUri"]));
    assert_eq!((&again["timings"]["encodeMs"], &again["encoder"]), (&json!(0), &before["encoder"]));
    // The second submission changed nothing in the first batch's documents.
    assert_eq!(fleet.finished("b1").await, finished);
}

#[tokio::test]
async fn three_workers_work_on_three_clips_at_the_same_time() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 3, 1).await;
    let uri = fleet.upload(&source(directory.path()), "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("one", 0, 11_000), ("two", 500, 11_500), ("three", 1_000, 12_000)])).await;
    // All three must be processing in the same answer: one after the other could never show that.
    let at_once = fleet
        .until("b1", |shown| {
            let clips = shown["clips"].as_array().cloned().unwrap_or_default();
            clips.iter().filter(|clip| clip["status"] == "processing").count() == 3
        })
        .await;
    let workers: BTreeSet<String> = clips(&at_once).values().map(|clip| clip["worker"].to_string()).collect();
    assert_eq!(workers.len(), 3, "{workers:?}");
    assert_eq!(fleet.workers().len(), 3);
    assert_eq!(fleet.finished("b1").await["status"], "completed");
}

#[tokio::test]
async fn a_thousand_clips_are_accepted_at_once() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let uri = fleet.upload(&source(directory.path()), "source.mp4").await;
    let ids: Vec<String> = (0..1_000).map(|n| format!("clip-{n:04}")).collect();
    let windows: Vec<(&str, i64, i64)> = ids.iter().map(|id| (id.as_str(), 0, 1_000)).collect();
    let answer = fleet.submit(&request("b1", &uri, &windows)).await;
    assert_eq!(answer["clips"].as_array().unwrap().len(), 1_000);
    let shown = fleet.until("b1", |shown| shown["clips"].as_array().is_some_and(|clips| clips.len() == 1_000)).await;
    assert_eq!((&shown["status"], &shown["totalClips"]), (&json!("queued"), &json!(1000)));
}
