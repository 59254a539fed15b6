//! `clipfleet export` as a user runs it: its files, its output, and what an interruption leaves.

use crate::cli::{clipfleet, command, json_of, output_of};
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{self, WAIT_TIMEOUT},
    mp4::Probe,
};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The arguments of an export of short clips.
fn export(directory: &Path, source: &str, more: &[&str]) -> Output {
    clipfleet(directory, &[&["export", source, "--quality", "720p"], more].concat())
}

fn talk(directory: &Path, pictures: u32) -> PathBuf {
    let made = Recipe { pictures, ..Recipe::default() }.make(directory, "talk");
    let talk = directory.join("talk.mp4");
    if made != talk {
        fs::rename(made, &talk).unwrap();
    }
    talk
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_clip_is_a_file_named_after_its_source_and_a_row_of_the_table() {
    let directory = fixtures::directory();
    let source = talk(directory.path(), 90);
    let first = export(directory.path(), "talk.mp4", &["--clip", "intro=0-1", "--clip", "0:00.5+1.5"]);
    assert_eq!(first.status.code(), Some(0), "{}", output_of(&first));
    let table = lines(&first);
    assert!(table[0].starts_with("clip ") && table.len() == 3, "{table:#?}");
    assert!(table[1].starts_with("intro ") && table[1].ends_with("clips/talk-intro.mp4"), "{table:#?}");
    assert!(table[2].starts_with("clip-2 ") && table[2].ends_with("clips/talk-clip-2.mp4"), "{table:#?}");
    let pictures = |name: &str| Probe::of(&directory.path().join("clips").join(name)).picture_times.len();
    assert_eq!((pictures("talk-intro.mp4"), pictures("talk-clip-2.mp4")), (30, 45));
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("intro: done") && said.contains("2 clips in clips/ after"), "one line per change: {said}");

    // The source was linked, not copied; on a file system with reflinks, it shares its blocks without a link.
    let mut clone = std::process::Command::new("cp");
    clone.arg("--reflink=always").arg(&source).arg(directory.path().join("clone")).stderr(Stdio::null());
    let shares_blocks = clone.status().unwrap().success();
    assert!(fs::metadata(&source).unwrap().nlink() == 2 || shares_blocks, "the source was copied");
}

#[test]
fn files_are_not_overwritten_and_unchanged_ones_stay() {
    let directory = fixtures::directory();
    talk(directory.path(), 60);
    let clip = ["--clip", "intro=0-1"];
    fs::create_dir(directory.path().join("clips")).unwrap();
    let file = directory.path().join("clips/talk-intro.mp4");
    fs::write(&file, "precious").unwrap();
    let refused = export(directory.path(), "talk.mp4", &clip);
    assert_eq!(refused.status.code(), Some(2));
    let text = output_of(&refused);
    assert!(text.contains("error: clips/talk-intro.mp4 exists; use --force or --out"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(!directory.path().join("cache").exists(), "nothing was begun");

    let forced = export(directory.path(), "talk.mp4", &["--force", "--clip", "intro=0-1"]);
    assert_eq!(forced.status.code(), Some(0), "{}", output_of(&forced));
    let written = fs::metadata(&file).unwrap();
    assert!(written.len() > 1_000);
    let again = export(directory.path(), "talk.mp4", &["--clip", "intro=0-1", "--clip", "late=1-60", "--json"]);
    assert_eq!(again.status.code(), Some(1), "one clip failed: {}", output_of(&again));
    let status = json_of(&again);
    let clip = |id: &str| status["clips"].as_array().unwrap().iter().find(|clip| clip["clipId"] == id).unwrap().clone();
    assert_eq!(
        (&clip("intro")["reused"], clip("intro")["path"].as_str()),
        (&true.into(), file.canonicalize().unwrap().to_str())
    );
    assert_eq!(
        (clip("late")["error"]["code"].as_str(), clip("late")["path"].as_str()),
        (Some("window_beyond_end"), None)
    );
    let kept = fs::metadata(&file).unwrap();
    assert_eq!((kept.ino(), kept.mtime_nsec()), (written.ino(), written.mtime_nsec()), "the file was left as it is");

    let failed = export(directory.path(), "talk.mp4", &["--clip", "late=1-60"]);
    let text = output_of(&failed);
    assert!(text.contains("failed: late:") && text.contains("hint: choose an earlier end"), "{text}");
}

#[test]
fn clips_can_be_listed_in_a_file_and_progress_read_by_programs() {
    let directory = fixtures::directory();
    talk(directory.path(), 60);
    fs::write(directory.path().join("cuts.csv"), "name;start;length\nintro;0;0:01\n;0.5;1\n").unwrap();
    let planned = export(directory.path(), "talk.mp4", &["--clips", "cuts.csv", "--dry-run", "--json"]);
    assert_eq!(json_of(&planned)["files"], serde_json::json!(["clips/talk-intro.mp4", "clips/talk-clip-2.mp4"]));
    assert!(!directory.path().join("clips").exists() && !directory.path().join("cache").exists());

    let made = export(directory.path(), "talk.mp4", &["--clips", "cuts.csv", "--name", "short", "--json-lines"]);
    assert_eq!(made.status.code(), Some(0), "{}", output_of(&made));
    let events: Vec<serde_json::Value> = lines(&made).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["batch"]["status"]), (&"ended".into(), &"completed".into()));
    assert!(events.iter().any(|event| event["event"] == "clip" && event["status"] == "completed"), "{events:#?}");
    assert!(directory.path().join("clips/short-intro.mp4").exists());
}

/// Starts an export of one short clip and two that take long, and interrupts it when the short one is done.
fn interrupted(directory: &Path) -> (Option<i32>, String) {
    let clips = ["--clip", "short=0-0.2", "--clip", "long=0-11", "--clip", "longer=0-12"];
    let arguments = [&["export", "talk.mp4", "--quality", "1080p", "--slots", "3"], &clips[..]].concat();
    let child = command(directory, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&directory.join("clips/talk-short.mp4"));
    interrupt(child)
}

fn wait_for(file: &Path) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < WAIT_TIMEOUT, "{} did not appear", file.display());
        thread::sleep(Duration::from_millis(10));
    }
}

fn interrupt(child: Child) -> (Option<i32>, String) {
    let begun = Instant::now();
    fleet::signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    println!("interrupted after {} ms", begun.elapsed().as_millis());
    (output.status.code(), output_of(&output))
}

#[test]
fn an_interrupted_export_is_resumed() {
    let directory = fixtures::directory();
    talk(directory.path(), 400);
    let (status, text) = interrupted(directory.path());
    assert_eq!(status, Some(130), "{text}");
    let expected = "Interrupted. 1 of 3 clips done in clips/.\n\
                    Resume: clipfleet export --resume. Discard: clipfleet clean";
    assert!(text.contains(expected), "{text}");

    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let cache = directory.path().join("cache");
    let resumed = command(&elsewhere, &["export", "--resume"]).env("XDG_CACHE_HOME", &cache).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", output_of(&resumed));
    assert!(lines(&resumed)[1].contains("unchanged"), "{}", output_of(&resumed));
    for (name, pictures) in [("short", 6), ("long", 330), ("longer", 360)] {
        let file = directory.path().join(format!("clips/talk-{name}.mp4"));
        assert_eq!(Probe::of(&file).picture_times.len(), pictures, "{name}");
    }
    let again = clipfleet(directory.path(), &["export", "--resume"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(output_of(&again).contains("there is no interrupted export"), "{}", output_of(&again));
}

#[test]
fn another_export_does_not_finish_an_interrupted_one_first() {
    let directory = fixtures::directory();
    talk(directory.path(), 400);
    let (status, text) = interrupted(directory.path());
    assert_eq!(status, Some(130), "{text}");
    let other = export(directory.path(), "talk.mp4", &["--out", "others", "--slots", "1", "--clip", "other=1-2"]);
    let text = output_of(&other);
    assert_eq!(other.status.code(), Some(0), "{text}");
    assert!(text.contains("Cancelled what was left of the interrupted export of talk.mp4 (2 clips)."), "{text}");
    let names = |folder: &str| {
        let entries = fs::read_dir(directory.path().join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(
        (names("clips"), names("others")),
        (vec!["talk-short.mp4".to_owned()], vec!["talk-other.mp4".to_owned()])
    );
    // No attempt at the others was made: a result would be stored.
    let results = fs::read_dir(directory.path().join("cache/clipfleet/objects")).unwrap();
    let is_video = |file: &Path| fs::read(file).unwrap().get(4..8) == Some(b"ftyp");
    let clips = results.filter(|file| is_video(&file.as_ref().unwrap().path())).count();
    assert_eq!(clips, 3, "the source, the short clip and the other one");
}
