//! Commands that operate a fleet, and those that document the program: their output for people and for programs.

use crate::cli::{clipfleet, command, json_of, output_of};
use clipfleet_tests::{
    fixtures,
    fleet::{Fleet, request},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

#[tokio::test]
async fn a_second_fleet_on_the_same_data_is_refused_with_the_address_of_the_first() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let free = ["--listen", "127.0.0.1:0", "--emulator", "127.0.0.1:0"];
    let same = clipfleet(directory.path(), &[&["up", "--data", "data"], &free[..]].concat());
    assert_eq!(same.status.code(), Some(1));
    assert!(output_of(&same).contains("a fleet already runs on data: http://127.0.0.1:"), "{}", output_of(&same));

    let listen = fleet.api.trim_start_matches("http://");
    let taken = ["up", "--data", "other", "--listen", listen, "--emulator", "127.0.0.1:0"];
    let taken = clipfleet(directory.path(), &taken);
    assert_eq!(taken.status.code(), Some(1));
    let text = output_of(&taken);
    assert!(text.contains(&format!("error: {listen} is in use by clipfleet (process ")), "{text}");
    assert!(text.contains("--listen 127.0.0.1:0"), "{text}");

    let cleaned = clipfleet(directory.path(), &["clean", "--yes", "--data", "data"]);
    assert_eq!(cleaned.status.code(), Some(2));
    assert!(output_of(&cleaned).contains("error: a fleet runs on data"), "{}", output_of(&cleaned));
}

#[tokio::test]
async fn the_variables_of_a_fleet_are_known_by_its_data_and_by_its_server() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let by_data = clipfleet(directory.path(), &["env", "--data", "data"]);
    let expected = format!("export STORAGE_EMULATOR_HOST={}", fleet.emulator);
    assert!(output_of(&by_data).lines().any(|line| line == expected), "{}", output_of(&by_data));
    let by_server = clipfleet(directory.path(), &["env", "--server", &fleet.api]);
    assert_eq!(output_of(&by_server), output_of(&by_data));
    let as_json = clipfleet(directory.path(), &["env", "--data", "data", "--json"]);
    assert_eq!(json_of(&as_json)["CLIPFLEET_SERVER"], fleet.api);
    assert_eq!(fleet.stop().await, Some(0));
    assert_eq!(clipfleet(directory.path(), &["env", "--data", "data"]).status.code(), Some(4), "it was forgotten");
}

#[tokio::test]
async fn every_command_that_prints_prints_json() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let video = directory.path().join("any");
    std::fs::write(&video, "anything").unwrap();
    let uri = fleet.upload(&video, "any.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c1", 0, 1_000)])).await;
    fleet.until("b1", |shown| shown["clips"].as_array().is_some_and(|clips| clips.len() == 1)).await;
    let server = ["--json", "--server", fleet.api.as_str()];
    let run = |arguments: &[&str]| json_of(&clipfleet(directory.path(), &[arguments, &server].concat()));
    assert_eq!(run(&["batch", "show", "b1"])["batchId"], "b1");
    assert_eq!(run(&["fleet", "show"])["paused"], false);
    assert_eq!(run(&["fleet", "show"])["work"]["queuedClips"], 1);
    assert_eq!(run(&["fleet", "pause"])["paused"], true);
    assert_eq!(run(&["fleet", "resume"])["paused"], false);
    assert_eq!(run(&["dead-letters", "list"]), json!({"deadLetters": []}));
    assert_eq!(run(&["dead-letters", "redrive"]), json!({"batches": []}));
    assert_eq!(run(&["dead-letters", "show", "b1"]), json!([]));
    assert_eq!(run(&["batch", "cancel", "b1"]), json!({"batchId": "b1", "clips": ["c1"]}));
    fleet.finished("b1").await;
    assert_eq!(run(&["batch", "watch", "b1"])["status"], "cancelled");
    assert_eq!(run(&["batch", "cancel", "b1"])["clips"], json!([]));
    assert_eq!(run(&["batch", "download", "b1"]), json!({"batchId": "b1", "clips": []}));
    assert_eq!(run(&["batch", "retry", "b1"])["clips"], json!(["c1"]));
    assert!(run(&["doctor"])["checks"].as_array().is_some_and(|checks| checks.len() > 10));

    let url = format!("{}/ready", fleet.api);
    assert_eq!(json_of(&clipfleet(directory.path(), &["ready", &url, "--json"]))["ready"], true);
    assert_eq!(fleet.stop().await, Some(0));
    assert_eq!(json_of(&clipfleet(directory.path(), &["ready", &url, "--json"]))["ready"], false);
    let demand = ["plan", "--batches-per-hour", "1", "--clips-per-batch", "2", "--clip-seconds", "30", "--json"];
    assert!(json_of(&clipfleet(directory.path(), &demand))["gpu"]["monthUsd"].is_number());
    let cleaned = json_of(&clipfleet(directory.path(), &["clean", "--data", "data", "--yes", "--json"]));
    assert!(cleaned["freedBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{cleaned}");
    assert!(!directory.path().join("data").exists());
}

/// Answers each request with the next of these bodies. Returns its address and, at the end, the paths that were asked.
fn canned_server(bodies: Vec<Value>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let answer = |body: &Value| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
            lines.find(String::is_empty);
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            path
        };
        bodies.iter().map(answer).collect()
    });
    (address, answering)
}

#[test]
fn batches_are_listed_page_by_page() {
    let directory = fixtures::directory();
    let batch = |id: &str| {
        json!({"batchId": id, "status": "completed", "totalClips": 3, "completedClips": 3,
               "createdAt": "2026-11-24T12:00:00Z", "sourceUri": "gs://media/talk.mp4"})
    };
    let pages = vec![
        json!({"batches": [batch("b2")], "nextPageToken": "after/b2"}),
        json!({"batches": [batch("b1")], "nextPageToken": ""}),
    ];
    let (address, asked) = canned_server(pages);
    let listed = clipfleet(directory.path(), &["batch", "list", "--status", "completed", "--server", &address]);
    let expected = "batch  status       done  created              source\n\
                    b2     completed  3 of 3  2026-11-24 12:00:00  gs://media/talk.mp4\n\
                    b1     completed  3 of 3  2026-11-24 12:00:00  gs://media/talk.mp4\n";
    assert_eq!(output_of(&listed), expected);
    let expected = [
        "/v1/batches?pageSize=20&status=completed&pageToken=",
        "/v1/batches?pageSize=19&status=completed&pageToken=after%2Fb2",
    ];
    assert_eq!(asked.join().unwrap(), expected);

    let (address, _) = canned_server(vec![json!({"batches": []})]);
    assert_eq!(output_of(&clipfleet(directory.path(), &["batch", "list", "--server", &address])), "No batches.\n");
    let (address, _) = canned_server(vec![json!({"batches": [batch("b1")]})]);
    let listed = clipfleet(directory.path(), &["batch", "list", "--json", "--server", &address]);
    assert_eq!(json_of(&listed)["batches"][0]["batchId"], "b1");
}

#[test]
fn the_program_documents_itself() {
    let directory = fixtures::directory();
    let run = |arguments: &[&str]| {
        let output = clipfleet(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", output_of(&output));
        output_of(&output)
    };
    let help = run(&["--help"]);
    for part in ["Make clips:", "Operate:", "Roles of a deployment:", "Exit status:", "130  interrupted", "serve "] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let (short, long) = (run(&["up", "-h"]), run(&["up", "--help"]));
    assert!(!short.contains("--otlp-endpoint") && long.contains("--otlp-endpoint"), "{short}");
    assert!(!long.contains("[default: ]") && !long.contains("<VALUE>"), "{long}");
    assert!(run(&["--version"]).starts_with("clipfleet 0."));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("dead-letters"), "{shell}");
    }
    assert!(run(&["man"]).contains(".TH clipfleet 1"));
    run(&["man", "pages"]);
    for page in ["clipfleet.1", "clipfleet-export.1", "clipfleet-serve.1", "clipfleet-batch-download.1"] {
        assert!(directory.path().join("pages").join(page).exists(), "{page}");
    }
}

#[test]
fn a_plan_names_its_prices_its_fixed_costs_and_the_quotas_that_a_new_project_lacks() {
    let directory = fixtures::directory();
    let demand = ["plan", "--batches-per-hour", "20", "--clips-per-batch", "15", "--clip-seconds", "45"];
    let plan = |more: &[&str]| clipfleet(directory.path(), &[&demand, more].concat());
    let text = output_of(&plan(&[]));
    for part in [
        "as one `clipfleet serve`  USD 52.56 (1 vCPU, 1 GiB, always on)",
        "as three services         USD 152.42",
        "Not included: database, queue, storage, egress and logs.",
        "quota in europe-west4",
        "gpu: request 6 L4 without zonal redundancy (NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion).",
        "gpu: request 98 GiB of memory (MemAllocPerProjectRegion).",
        "Google's list prices in europe-west4 (https://cloud.google.com/run/pricing, read 2026-",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let unknown = plan(&["--region", "asia-south1"]);
    assert_eq!(unknown.status.code(), Some(64), "{}", output_of(&unknown));
    let text = output_of(&unknown);
    assert!(
        text.contains("CLIPFLEET_PRICES (--prices) must be set for asia-south1, whose prices are not known"),
        "{text}"
    );
    let priced = plan(&["--region", "asia-south1", "--prices", "vcpu=0.00002,gib=0.000002,gpu=0.0003"]);
    let text = output_of(&priced);
    assert!(text.contains("an unknown price (1 vCPU") && text.contains("\nthose of --prices."), "{text}");

    let usd = |region: &str| json_of(&plan(&["--region", region, "--json"]))["gpu"]["monthUsd"].as_f64().unwrap();
    let ratio = usd("asia-southeast1") / usd("europe-west4");
    assert!((ratio - 1.2).abs() < 0.001, "Singapore is a fifth dearer: {ratio}");
    let json = json_of(&plan(&["--json"]));
    assert_eq!((&json["region"], &json["gpu"]["quotas"][0]["needInRollout"]), (&json!("europe-west4"), &json!(6.0)));
}

#[test]
fn colours_are_for_terminals() {
    let directory = fixtures::directory();
    for arguments in [&["--help"][..], &["export"], &["doctor", "-v"]] {
        let text = output_of(&clipfleet(directory.path(), arguments));
        assert!(!text.contains('\x1b'), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn the_doctor_reports_problems_first_and_the_remedy_for_each() {
    let directory = fixtures::directory();
    let alone = clipfleet(directory.path(), &["doctor"]);
    assert_eq!(alone.status.code(), Some(0), "{}", output_of(&alone));
    let text = output_of(&alone);
    assert!(text.contains("checks passed (-v lists all)") && !text.contains("x264enc"), "{text}");
    assert!(text.ends_with("This machine can export clips.\n"), "{text}");
    let all = output_of(&clipfleet(directory.path(), &["doctor", "-v"]));
    for part in ["x264enc", "GPU", "CPU core", "memory", "free for"] {
        assert!(all.contains(part), "{part}: {all}");
    }

    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let doctor = |emulator: &str, more: &[&str]| doctor(directory.path(), emulator, more);
    let healthy = doctor(&fleet.emulator, &["-v"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", output_of(&healthy));
    assert!(output_of(&healthy).contains(&format!("read documents at {}", fleet.emulator)), "{}", output_of(&healthy));
    let deployed = doctor(&fleet.emulator, &["-v", "--cloud", "--server", &fleet.api]);
    assert_eq!(deployed.status.code(), Some(0), "{}", output_of(&deployed));
    let text = output_of(&deployed);
    assert!(text.contains(&format!("dispatcher at {}", fleet.api)) && text.contains("uploads at gs://"), "{text}");
    assert!(!text.contains("x264enc"), "{text}");

    let (emulator, api) = (fleet.emulator.clone(), fleet.api.clone());
    assert_eq!(fleet.stop().await, Some(0));
    let stopped = doctor(&emulator, &["--server", &api]);
    assert_eq!(stopped.status.code(), Some(1), "{}", output_of(&stopped));
    let text = output_of(&stopped);
    assert!(text.starts_with("problem ") && text.contains("fix: start the server"), "{text}");
    assert!(text.contains(&format!("dispatcher: no fleet at {api} (connection refused)")), "{text}");
    let unconfigured = clipfleet(directory.path(), &["doctor", "--cloud"]);
    assert_eq!(unconfigured.status.code(), Some(1), "{}", output_of(&unconfigured));
    let text = output_of(&unconfigured);
    assert!(text.contains("fix: set GOOGLE_CLOUD_PROJECT") && text.contains("1 problem to fix before this"), "{text}");
}

/// Runs the doctor with all services at one address.
fn doctor(directory: &Path, emulator: &str, more: &[&str]) -> std::process::Output {
    let mut doctor: Command = command(directory, &["doctor"]);
    let hosts = ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"];
    doctor.args(more).envs(hosts.map(|name| (name, emulator))).output().unwrap()
}
