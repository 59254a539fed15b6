//! Tests of the command line: its output, files and exit codes.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, program},
    mp4::Probe,
};
use std::{
    path::Path,
    process::{Command, Output},
};

fn clipfleet(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).current_dir(directory).output().unwrap()
}

fn output_of(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

#[test]
fn export_writes_one_file_per_clip_and_ends_with_a_table() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 90, ..Recipe::default() }.make(directory.path(), "source");
    let source = source.to_str().unwrap();
    let export = |extra: &[&str]| {
        let clips = ["export", source, "--quality", "720p", "--clip", "intro=0-1", "--clip", "0.5-2"];
        clipfleet(directory.path(), &[&clips[..], extra].concat())
    };
    let first = export(&[]);
    assert_eq!(first.status.code(), Some(0), "{}", output_of(&first));
    let table = String::from_utf8(first.stdout).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("clip ") && rows.len() == 3, "{table}");
    assert!(rows[1].starts_with("intro ") && rows[2].starts_with("clip-2 "), "{table}");
    assert_eq!(Probe::of(&directory.path().join("clips/intro.mp4")).picture_times.len(), 30);
    assert_eq!(Probe::of(&directory.path().join("clips/clip-2.mp4")).picture_times.len(), 45);

    let again = export(&["--json"]);
    let status: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(status["clips"].as_array().unwrap().iter().all(|clip| clip["reused"] == true), "{status:#}");

    let partly = export(&["--clip", "late=1-60"]);
    assert_eq!(partly.status.code(), Some(1), "one clip failed");
    assert!(output_of(&partly).contains("window_beyond_end"), "{}", output_of(&partly));
}

#[test]
fn wrong_usage_exits_with_2_and_states_the_correct_usage() {
    let directory = fixtures::directory();
    let cases: [(&[&str], &str); 5] = [
        (&["export", "missing.mp4", "--clip", "0-1"], "missing.mp4"),
        (&["export", "missing.mp4"], "--clip START-END"),
        (&["export", "missing.mp4", "--clip", "zero-1"], "not a time in seconds"),
        (&["export"], "name the source"),
        (&["explode"], "explode"),
    ];
    for (arguments, expected) in cases {
        let output = clipfleet(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", output_of(&output));
        assert!(output_of(&output).contains(expected), "{arguments:?}: {}", output_of(&output));
    }
    let source = Recipe { pictures: 30, ..Recipe::default() }.make(directory.path(), "source");
    let reversed = clipfleet(directory.path(), &["export", source.to_str().unwrap(), "--clip", "1-0.5"]);
    assert_eq!(reversed.status.code(), Some(2));
    assert!(
        output_of(&reversed).contains("clips[0].endMs: must be greater than startMs 1000, got 500"),
        "{}",
        output_of(&reversed)
    );
}

#[test]
fn bad_settings_are_reported_together_and_exit_with_64() {
    let directory = fixtures::directory();
    let output =
        clipfleet(directory.path(), &["worker", "--slots", "0", "--cache-mib", "lots", "--gpu-enabled", "yes"]);
    assert_eq!(output.status.code(), Some(64));
    for name in ["CLIPFLEET_SLOTS", "CLIPFLEET_CACHE_MIB", "GPU_ENABLED"] {
        assert!(output_of(&output).contains(name), "{}", output_of(&output));
    }
}

#[tokio::test]
async fn a_second_fleet_on_the_same_data_is_refused_by_name() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let _fleet = Fleet::start(&data, 0, 1).await;
    let output =
        clipfleet(directory.path(), &["up", "--data", "data", "--listen", "127.0.0.1:0", "--emulator", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output_of(&output).contains("data"), "{}", output_of(&output));
}

#[tokio::test]
async fn the_doctor_reports_what_works_and_the_remedy_for_what_does_not() {
    let directory = fixtures::directory();
    let alone = clipfleet(directory.path(), &["doctor"]);
    assert_eq!(alone.status.code(), Some(0), "{}", output_of(&alone));
    assert!(output_of(&alone).contains("x264enc") && output_of(&alone).contains("GPU"), "{}", output_of(&alone));

    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let doctor = |emulator: &str, more: &[&str]| {
        let hosts = ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"];
        Command::new(program()).arg("doctor").args(more).envs(hosts.map(|name| (name, emulator))).output().unwrap()
    };
    let healthy = doctor(&fleet.emulator, &[]);
    assert_eq!(healthy.status.code(), Some(0), "{}", output_of(&healthy));
    assert!(output_of(&healthy).contains(&format!("read documents at {}", fleet.emulator)), "{}", output_of(&healthy));
    let deployed = doctor(&fleet.emulator, &["--cloud", "--server", &fleet.api]);
    assert_eq!(deployed.status.code(), Some(0), "{}", output_of(&deployed));
    assert!(output_of(&deployed).contains(&format!("dispatcher at {}", fleet.api)), "{}", output_of(&deployed));
    assert!(!output_of(&deployed).contains("x264enc"), "{}", output_of(&deployed));
    let (emulator, api) = (fleet.emulator.clone(), fleet.api.clone());
    assert_eq!(fleet.stop().await, Some(0));
    let stopped = doctor(&emulator, &["--server", &api]);
    assert_eq!(stopped.status.code(), Some(1), "{}", output_of(&stopped));
    assert!(output_of(&stopped).contains("-> start the server"), "{}", output_of(&stopped));
    assert!(output_of(&stopped).contains("BROKEN dispatcher at"), "{}", output_of(&stopped));
    let unconfigured = clipfleet(directory.path(), &["doctor", "--cloud"]);
    assert_eq!(unconfigured.status.code(), Some(1), "{}", output_of(&unconfigured));
    assert!(output_of(&unconfigured).contains("-> set GOOGLE_CLOUD_PROJECT"), "{}", output_of(&unconfigured));
}
