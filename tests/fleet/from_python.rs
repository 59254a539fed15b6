//! The whole chain, driven by a Python program that uses only Google's official clients.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::Fleet,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The Python interpreter with Google's clients.
fn python() -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("clients");
    assert!(clients.join("stamp").exists(), "the official clients are not installed: run `make clients`");
    clients.join("venv/bin/python")
}

/// Runs the script and returns its summary.
fn run(fleet: &Fleet, request: &Value, source: &Path, folder: &Path) -> Value {
    let file = folder.join("request.json");
    fs::write(&file, request.to_string()).unwrap();
    // The script has its own timeout. This one is for a client that hangs.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "180"]).arg(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet/python/chain.py"));
    command.args([file.as_path(), source, folder]);
    command.env("PUBSUB_EMULATOR_HOST", &fleet.emulator).env("FIRESTORE_EMULATOR_HOST", &fleet.emulator);
    command.env("STORAGE_EMULATOR_HOST", format!("http://{}", fleet.emulator));
    command.env("GOOGLE_CLOUD_PROJECT", "clipfleet-local").env("NO_GCE_CHECK", "true");
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env_remove("GOOGLE_APPLICATION_CREDENTIALS");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "chain.py: {}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("chain.py printed no summary: {error}: {stderr}"))
}

fn numbers(shown: &Value) -> Vec<i64> {
    shown.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Asserts that the statuses and the progress are in order and end with completion.
fn assert_went_through(shown: &Value) {
    let order = ["queued", "processing", "completed"];
    let statuses = shown["statuses"].as_array().unwrap();
    let places: Vec<_> =
        statuses.iter().map(|status| order.iter().position(|known| status == known).expect("a known status")).collect();
    assert!(places.is_sorted(), "{statuses:?}");
    assert_eq!(statuses.last().unwrap(), "completed", "{shown:#}");
    let progress = numbers(&shown["progress"]);
    assert!(progress.is_sorted(), "progress fell: {progress:?}");
    assert_eq!(progress.last(), Some(&100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_from_upload_to_finished_files_with_google_clients_alone() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 180, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 1, 2).await;
    let request = json!({
        "batchId": "from-python", "ownerUid": "u1", "projectId": "p1",
        "source": {"uri": "gs://clipfleet-local/uploads/größe & co.mp4"},
        "output": {"quality": "1080p", "aspect": "9:16", "fps": 30},
        "clips": [{"clipId": "one", "startMs": 0, "endMs": 2_000}, {"clipId": "two", "startMs": 1_500, "endMs": 4_000}],
    });
    let seen = run(&fleet, &request, &source, directory.path());

    assert_went_through(&seen["batch"]);
    for (id, seconds) in [("one", 2.0), ("two", 2.5)] {
        let clip = &seen["clips"][id];
        assert_went_through(clip);
        assert_eq!((&clip["width"], &clip["height"]), (&json!(1080), &json!(1920)), "{clip:#}");
        assert_eq!((&clip["video"], &clip["audio"]), (&json!("h264"), &json!("aac")), "{clip:#}");
        assert_eq!((&clip["bytes"], &clip["contentType"]), (&clip["outputSizeBytes"], &json!("video/mp4")), "{clip:#}");
        for stream in ["videoSeconds", "audioSeconds"] {
            let off = clip[stream].as_f64().unwrap() - seconds;
            assert!(off.abs() <= 1.0 / 30.0, "{stream} is {off} s off: {clip:#}");
        }
    }
    // A listener sees the intermediate states, not only the result.
    let two = seen["clips"]["two"]["statuses"].as_array().unwrap();
    assert!(two.contains(&json!("processing")), "{two:?}");
    assert_eq!(fleet.stop().await, Some(0));
}
