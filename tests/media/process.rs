//! Tests of the process itself: its progress reports, its reads, its exit.

use clipfleet_contract::v1::{RangeBytes, from_pipeline, to_pipeline};
use clipfleet_tests::{
    fixtures::{H264_LARGE, Recipe, directory},
    pipeline_process::{Order, STRICT, binary, start, start_in, start_with_env, transcode},
};
use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn reports_arrive_every_second_and_never_decrease() {
    let directory = directory();
    let source = Recipe::default().make(directory.path(), "source");
    let order = Order { quality: "1080p", aspect: "9:16", ..Order::of(1_000, 8_000) };
    let transcript = transcode(&order, &source);
    transcript.output();
    let order_of = |phase: &str| ["fetching", "encoding", "verifying"].iter().position(|known| *known == phase);
    // The process starts up before the first report.
    let began = transcript.progress.first().expect("a report").0;
    let mut last = (began, Some(0), 0.0);
    for (at, report) in &transcript.progress {
        let phase = order_of(&report.phase);
        assert!(phase.is_some(), "{report:?}");
        assert!((0.0..=1.0).contains(&report.fraction), "{report:?}");
        assert!(phase > last.1 || report.fraction >= last.2, "{report:?} after {last:?}");
        // Reports arrive twice a second, but on a busy machine one may be late.
        assert!(*at - last.0 < Duration::from_secs(10), "no report for {:?}", *at - last.0);
        last = (*at, phase, report.fraction);
    }
    assert!(transcript.progress.len() >= 3.max((last.0 - began).as_secs() as usize), "{:?}", transcript.progress);
    let last = &transcript.progress.last().expect("a report").1;
    assert_eq!(last.encoder, "x264enc");
    let finished = transcript.outcome.expect("a result");
    assert!(finished.fetch_ms > 0 && finished.encode_ms > 0, "{finished:?}");
}

/// A minute at 6 Mbit/s.
fn a_minute() -> Recipe {
    Recipe { width: 160, height: 90, pictures: 1_800, video: H264_LARGE, ..Recipe::default() }
}

#[test]
fn only_what_the_clip_needs_is_read() {
    // The clip is one second long.
    let directory = directory();
    let source = a_minute().make(directory.path(), "source");
    let size = std::fs::metadata(&source).expect("the source").len();
    assert!(size > 30 << 20, "{size}");
    // A demuxer continues to read a stream that no element uses. It has much time for that here, because the encoder is
    // slow.
    let two_audio_tracks = directory.path().join("two-audio-tracks.mp4");
    let maps = ["-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy", "-movflags", "+faststart"];
    let made =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&source).args(maps).arg(&two_audio_tracks).status();
    assert!(made.expect("ffmpeg must be installed for media tests").success());

    let order = Order { quality: "1080p", aspect: "9:16", ..Order::of(40_000, 41_000) };
    let normalized = Order { normalize_loudness: Some((-14.0, -1.5)), ..order.clone() };
    for (order, source) in [(&order, &source), (&normalized, &source), (&order, &two_audio_tracks)] {
        let transcript = transcode(order, source);
        transcript.output();
        let ranges = &transcript.ranges;
        assert!(ranges.iter().all(|(_, length)| *length <= 1 << 20), "{ranges:?}");
        // The header and the first picture are in the first block. After it: up to two seconds from a key frame, the
        // clip, a second that waits behind it, and a block of read-ahead, each megabyte once.
        let elsewhere: Vec<u64> = ranges.iter().map(|(offset, _)| offset >> 20).filter(|block| *block > 0).collect();
        assert_eq!(ranges.len(), elsewhere.len() + 1, "{ranges:?}");
        assert!(elsewhere.len() <= 6 && elsewhere.is_sorted_by(|one, next| one < next), "{ranges:?}");
    }
}

#[test]
fn the_search_for_audio_that_stopped_ends_before_the_end_of_the_file() {
    // Like a recording whose microphone was unplugged. Matroska does not mark the end of a track.
    let directory = directory();
    let recipe = Recipe { audio_end_ms: Some(2_500), container: Recipe::matroska().container, ..a_minute() };
    let stopped = recipe.make(directory.path(), "stopped");
    let order = Order::of(2_000, 4_000);
    for normalize_loudness in [None, Some((-14.0, -1.5))] {
        let transcript = transcode(&Order { normalize_loudness, ..order.clone() }, &stopped);
        transcript.output();
        // Of the minute: half a minute of pictures, and a few seconds that the demuxer waits; and the index, which is
        // the last block.
        let blocks: BTreeSet<u64> = transcript.ranges.iter().map(|(offset, _)| offset >> 20).collect();
        assert!(blocks.len() < 36 && blocks.range(36..).count() <= 1, "{blocks:?}");
    }
}

#[test]
fn a_process_whose_worker_is_gone_exits_immediately() {
    let directory = directory();
    let source = Recipe::default().make(directory.path(), "source");
    let bytes = std::fs::read(source).expect("the source");
    // At the first request, and in the middle of the work.
    for requests in [1, 3] {
        let order = Order { quality: "2160p", aspect: "9:16", ..Order::of(0, 8_000) };
        let mut started = start(&order, bytes.len() as u64);
        let mut received = 0;
        while received < requests {
            match started.receive().expect("a message") {
                from_pipeline::Message::ReadRange(range) if received + 1 < requests => {
                    received += 1;
                    let data = bytes[range.offset as usize..(range.offset + range.length) as usize].to_vec().into();
                    started.send(to_pipeline::Message::RangeBytes(RangeBytes { id: range.id, data }));
                }
                from_pipeline::Message::ReadRange(_) => received += 1,
                from_pipeline::Message::Progressed(report) if report.phase == "encoding" => break,
                from_pipeline::Message::Progressed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        started.socket.shutdown(std::net::Shutdown::Both).expect("closing");
        assert_eq!(started.wait(), None, "it exits immediately, and does not finish work that it cannot report");
    }
}

/// The part of a report about the sandbox, as `--check` prints it.
fn sandbox_report() -> serde_json::Value {
    let output = Command::new(binary()).arg("--check").stdin(Stdio::null()).output().expect("the pipeline");
    let mut report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["sandbox"].take()
}

/// The lines of a process's status about the sandbox while it encodes, and its exit code.
fn status_while_encoding(mode: &str) -> (Vec<String>, Option<i32>) {
    let directory = directory();
    let source = Recipe::default().make(directory.path(), "source");
    let bytes = std::fs::read(source).expect("the source");
    let order = Order { quality: "1080p", aspect: "9:16", ..Order::of(0, 8_000) };
    let environment = [STRICT[0], ("CLIPFLEET_SANDBOX", mode)];
    let mut started = start_with_env(&order, bytes.len() as u64, &environment);
    let mut lines = Vec::new();
    loop {
        match started.receive().expect("a message") {
            from_pipeline::Message::ReadRange(range) => {
                let data = bytes[range.offset as usize..(range.offset + range.length) as usize].to_vec().into();
                started.send(to_pipeline::Message::RangeBytes(RangeBytes { id: range.id, data }));
            }
            from_pipeline::Message::Progressed(report) if report.phase == "encoding" && lines.is_empty() => {
                // Every thread: a filter binds threads.
                for thread in
                    std::fs::read_dir(format!("/proc/{}/task", started.child.id())).expect("threads").flatten()
                {
                    // A thread may have ended meanwhile.
                    let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                    let known = |line: &&str| line.starts_with("NoNewPrivs:") || line.starts_with("Seccomp:");
                    lines.extend(status.lines().filter(known).map(|line| line.replace('\t', " ")));
                }
            }
            from_pipeline::Message::Progressed(_) => {}
            from_pipeline::Message::Finished(_) => break,
            other => panic!("{other:?}"),
        }
    }
    (lines, started.wait())
}

#[test]
fn every_thread_is_sandboxed_while_a_clip_is_encoded() {
    let report = sandbox_report();
    let in_force = report["inForce"].to_string();
    if !in_force.contains("seccomp:") || !in_force.contains("no_new_privs:") {
        // Not by `eprintln!`, which the test harness hides when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: this machine lacks parts of the sandbox: {report}");
        return;
    }
    assert_eq!(report["works"], true, "{report}");
    let (lines, exit) = status_while_encoding("auto");
    assert_eq!(exit, Some(0));
    assert!(lines.len() >= 8, "{lines:?}");
    assert!(lines.iter().all(|line| line == "NoNewPrivs: 1" || line == "Seccomp: 2"), "{lines:?}");
    // Without it, to see that the test can fail.
    let (lines, _) = status_while_encoding("off");
    assert!(lines.iter().all(|line| line == "NoNewPrivs: 0" || line == "Seccomp: 0"), "{lines:?}");
}

#[test]
fn a_required_sandbox_that_is_incomplete_makes_no_clip_and_names_what_is_missing() {
    // A directory that does not exist cannot be the only one that may be written.
    let directory = directory();
    let source = Recipe::default().make(directory.path(), "source");
    let size = std::fs::metadata(&source).expect("the source").len();
    let environment = [STRICT[0], ("CLIPFLEET_SANDBOX", "required")];
    let mut started = start_in(directory.path().join("nothing"), &Order::of(0, 1_000), size, &environment);
    let failed = loop {
        match started.receive().expect("a message") {
            from_pipeline::Message::Failed(failed) => break failed.error.expect("an error"),
            from_pipeline::Message::Progressed(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(failed.message.contains("landlock") && failed.message.contains("CLIPFLEET_SANDBOX"), "{failed:?}");
}

#[test]
fn a_mode_of_the_sandbox_that_does_not_exist_is_refused() {
    for arguments in [&["--check"][..], &[]] {
        let mut command = Command::new(binary());
        let output = command.args(arguments).env("CLIPFLEET_SANDBOX", "yes").stdin(Stdio::null()).output();
        let output = output.expect("the pipeline");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("must be auto, required or off"), "{text}");
    }
}

#[test]
fn the_check_reports_the_installed_elements() {
    let output = Command::new(binary()).arg("--check").stdin(Stdio::null()).output().expect("the pipeline");
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{report}");
    for part in [r#""usable": true"#, r#""name": "x264enc""#, r#""kind": "aac""#, r#""codec": "VP9""#, r#""gpu""#] {
        assert!(report.contains(part), "{part} is missing in {report}");
    }
}

#[test]
fn without_a_worker_it_prints_its_usage() {
    let output = Command::new(binary()).stdin(Stdio::null()).output().expect("the pipeline");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by a worker"));
}
