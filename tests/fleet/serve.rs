//! `clipfleet serve`: dispatcher, status service and scaler in one process, on an emulator in another.

use crate::cli::{command, output_of};
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Role, WAIT_TIMEOUT, children, role},
    mp4::Probe,
};
use serde_json::Value;
use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Waits until `/ready` at an address answers as expected.
pub(crate) async fn until_ready(address: &str, expected: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        if let Ok(answer) = reqwest::get(format!("http://{address}/ready")).await {
            let answer: Value = answer.json().await.unwrap();
            if expected(&answer) {
                return answer;
            }
            assert!(started.elapsed() < WAIT_TIMEOUT, "{answer}");
        }
        assert!(started.elapsed() < WAIT_TIMEOUT, "{address} does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts an emulator. Returns its address, too.
pub(crate) async fn emulator(directory: &Path) -> (Role, String) {
    let (address, listen) = (free_address(), free_address());
    let data = directory.join("data").display().to_string();
    let process = role(&address, &["emulator", "--data", &data, "--emulator", &address, "--listen", &listen]);
    until_ready(&listen, |answer| answer["ready"] == true).await;
    (process, address)
}

async fn serve(emulator: &str, more: &[&str]) -> (Role, String) {
    let listen = free_address();
    let process = role(emulator, &[&["serve", "--console", "--listen", &listen][..], more].concat());
    (process, listen)
}

/// Exports a clip of a video of this directory on the fleet of a server.
pub(crate) fn export(directory: &Path, server: &str) {
    Recipe { pictures: 90, ..Recipe::default() }.make(directory, "talk");
    let source = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let source = source.into_iter().find(|path| path.is_file()).unwrap();
    let server = format!("http://{server}");
    let arguments =
        ["export", source.to_str().unwrap(), "--clip", "intro=0-1", "--quality", "720p", "--server", &server];
    let exported = command(directory, &arguments).output().unwrap();
    assert_eq!(exported.status.code(), Some(0), "{}", output_of(&exported));
    assert_eq!(Probe::of(&directory.join("clips/talk-intro.mp4")).picture_times.len(), 30);
}

#[tokio::test]
async fn one_process_dispatches_and_reports_what_a_worker_makes() {
    let directory = fixtures::directory();
    let (_emulator, emulator) = emulator(directory.path()).await;
    // In a database of its own, as infra/ sets it up.
    let database = ["--database", "clipfleet"];
    let (mut control_plane, address) = serve(&emulator, &database).await;
    let scratch = directory.path().join("scratch").display().to_string();
    let worker = ["worker", "--slots", "1", "--listen", "127.0.0.1:0", "--scratch", &scratch];
    let _worker = role(&emulator, &[&worker[..], &database].concat());
    let ready = until_ready(&address, |answer| answer["ready"] == true).await;
    let roles: Vec<&String> = ready["details"].as_object().unwrap().keys().collect();
    assert_eq!(roles, ["dispatcher", "status"], "without a pool there is no scaler: {ready}");
    export(directory.path(), &address);

    for (database, batches) in [("clipfleet", 1), ("(default)", 0)] {
        let root = format!("http://{emulator}/v1/projects/clipfleet-local/databases/{database}/documents");
        let listed = reqwest::get(format!("{root}/exportBatches")).await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(listed["documents"].as_array().map_or(0, Vec::len), batches, "{database}: {listed}");
    }
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    for metric in ["clipfleet_clips_dispatched_total 1", "clipfleet_events_folded_total"] {
        assert!(metrics.contains(metric), "{metric}: {metrics}");
    }
    assert_eq!(control_plane.stop().await, Some(0));
}

#[tokio::test]
async fn with_a_pool_it_scales_and_one_stop_ends_all_of_it() {
    let directory = fixtures::directory();
    let (_emulator, emulator) = emulator(directory.path()).await;
    let scratch = directory.path().join("scratch").display().to_string();
    let (mut control_plane, address) = serve(&emulator, &["--scaler-pool", "local", "--scratch", &scratch]).await;
    let ready = until_ready(&address, |answer| answer["ready"] == true).await;
    assert_eq!(ready["details"]["scaler"]["pool"], "local", "{ready}");
    export(directory.path(), &address);
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("clipfleet_scaler_leader 1"), "{metrics}");
    let workers = children(control_plane.id());
    assert!(!workers.is_empty(), "the scaler started a worker, which it keeps for a while");
    assert_eq!(control_plane.stop().await, Some(0));
    let gone = |worker: &u32| !Path::new(&format!("/proc/{worker}")).exists();
    assert!(workers.iter().all(gone), "its workers are stopped, too");
}

/// No project has such a name, so its subscriptions and documents are refused for good.
#[tokio::test]
async fn the_error_of_one_role_ends_the_process_and_names_the_role() {
    let directory = fixtures::directory();
    let (_emulator, emulator) = emulator(directory.path()).await;
    let mut serve = command(directory.path(), &["serve", "--project", "a/b", "--listen", "127.0.0.1:0"]);
    for host in ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"] {
        serve.env(host, &emulator);
    }
    let ended = serve.output().unwrap();
    let text = output_of(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    let named = |role: &&str| text.contains(&format!("error: failed to run the control plane: {role}: "));
    let role = ["dispatcher", "status"].into_iter().find(named);
    assert!(role.is_some(), "{text}");
}

#[test]
fn invalid_settings_of_all_roles_are_reported_together() {
    let directory = fixtures::directory();
    let settings = ["--scaler-max", "many", "--legacy-mirror", "perhaps", "--console", "never", "--default-bucket", ""];
    let refused = command(directory.path(), &[&["serve"], &settings[..]].concat()).output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    let text = output_of(&refused);
    for name in ["SCALER_MAX", "LEGACY_MIRROR", "CONSOLE", "DEFAULT_BUCKET"] {
        assert!(text.contains(&format!("CLIPFLEET_{name} (--")), "{name}: {text}");
    }
}
