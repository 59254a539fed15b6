//! Wrong usage of the command line: what is said, and that nothing was done.

use crate::cli::{clipfleet, output_of};
use clipfleet_tests::fixtures::{self, Recipe};
use std::{fs, path::Path};

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 4;
const BAD_SETTINGS: i32 = 64;

/// Runs the program, and checks its exit status and a part of what it says. Returns all of it.
fn refused(directory: &Path, arguments: &[&str], status: i32, expected: &str) -> String {
    let output = clipfleet(directory, arguments);
    let text = output_of(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    assert!(text.contains(expected), "{arguments:?}: {text}");
    assert_eq!(text.matches(expected).count(), 1, "said once: {text}");
    text
}

#[test]
fn a_wrong_export_is_refused_in_the_words_of_the_command_line_before_anything_is_done() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 30, ..Recipe::default() }.make(directory.path(), "talk");
    let source = source.to_str().unwrap();
    fs::write(directory.path().join("notes.pdf"), "%PDF-1.7").unwrap();
    fs::write(directory.path().join("empty.mp4"), "").unwrap();
    fs::write(directory.path().join("cuts.csv"), "name,start,end\nintro,0,1\nlate,soon,2\n").unwrap();
    let before = fs::read_dir(directory.path()).unwrap().count();
    let cases: [(&[&str], &str); 17] = [
        (&[source, "--clip", "5-3"], "error: --clip 5-3 ends before it starts"),
        (&[source, "--clip", "5-5"], "error: --clip 5-5 has no length"),
        (&[source, "--clip", "0-0.05"], "is shorter than 0.1 s"),
        (&[source, "--clip", "0-2:00:00"], "is longer than 60 minutes"),
        (&[source, "--clip", "zero-1"], "\"zero\" is not a time (use 65, 1:05 or 0:01:05)"),
        (&[source, "--clip", "12"], "(use START-END or START+LENGTH"),
        (&[source, "--clip", "My clip=0-1"], "for example my-clip"),
        (&[source, "--clip", "a=0-1", "--clip", "a=1-2"], "--clip a=0-1 and --clip a=1-2 have the same name"),
        (&[source, "--clips", "cuts.csv"], "cuts.csv:3: \"soon\" is not a time"),
        (&[source, "--clip", "0-1", "--quality", "8k"], "[possible values: 720p, 1080p, 1440p, 2160p, high]"),
        (&[source, "--clip", "0-1", "--aspect", "9x16"], "[possible values: 9:16, 1:1, 4:5, 16:9]"),
        (&["missing.mp4", "--clip", "0-1"], "error: missing.mp4 does not exist"),
        (&["notes.pdf", "--clip", "0-1"], "error: notes.pdf is a PDF document"),
        (&["empty.mp4", "--clip", "0-1"], "error: empty.mp4 is empty"),
        (&[source], "hint: add --clip START-END"),
        (&[], "error: no video is named"),
        (&["--resume"], "error: there is no interrupted export in"),
    ];
    for (arguments, expected) in cases {
        refused(directory.path(), &[&["export"], arguments].concat(), USAGE, expected);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before, "nothing was made, and nothing was copied");
}

#[test]
fn a_missing_fleet_is_named_with_a_hint() {
    let directory = fixtures::directory();
    let nobody = ["--server", "http://127.0.0.1:1"];
    let cases: [&[&str]; 6] = [
        &["batch", "list"],
        &["batch", "show", "b1"],
        &["batch", "download", "b1"],
        &["fleet", "show"],
        &["dead-letters", "list"],
        &["env"],
    ];
    for arguments in cases {
        let arguments = [arguments, &nobody].concat();
        let expected = "error: no fleet at http://127.0.0.1:1 (connection refused)";
        let text = refused(directory.path(), &arguments, UNREACHABLE, expected);
        assert!(text.contains("hint: start one with \"clipfleet up\", or give --server"), "{text}");
    }
    refused(directory.path(), &["env"], UNREACHABLE, "error: no fleet runs on");
    assert!(!directory.path().join("clips").exists(), "nothing was downloaded");
}

#[test]
fn other_wrong_arguments_are_refused_with_the_right_ones() {
    let directory = fixtures::directory();
    let cases: [(&[&str], &str); 5] = [
        (&["explode"], "unrecognized subcommand 'explode'"),
        (&["batch", "show", "no id"], "may contain only letters"),
        (
            &["plan", "--batches-per-hour", "-1", "--clips-per-batch", "1", "--clip-seconds", "1"],
            "--batches-per-hour must be a number from 0.01 to 10000, got -1",
        ),
        (&["ready"], "clipfleet ready --port 8080"),
        (&["fleet", "show", "--server", "http://"], "is not an address"),
    ];
    for (arguments, expected) in cases {
        refused(directory.path(), arguments, USAGE, expected);
    }
}

#[test]
fn bad_settings_are_reported_together_and_never_printed_as_usable() {
    let directory = fixtures::directory();
    let bad: [&str; 6] = ["--slots", "0", "--cache-mib", "lots", "--gpu-enabled", "maybe"];
    for more in [&[][..], &["--print-config"]] {
        let text =
            refused(directory.path(), &[&["worker"], &bad[..], more].concat(), BAD_SETTINGS, "3 invalid settings");
        for name in ["CLIPFLEET_SLOTS", "CLIPFLEET_CACHE_MIB", "GPU_ENABLED"] {
            assert!(text.contains(name) && !text.contains(&format!("{name}=")), "{text}");
        }
    }
    let up = clipfleet(directory.path(), &["up", "--print-config", "--slots", "3"]);
    assert_eq!(up.status.code(), Some(0));
    assert!(output_of(&up).contains("CLIPFLEET_SLOTS=3"), "{}", output_of(&up));
    refused(directory.path(), &["up", "--print-config", "--workers", "4..0"], BAD_SETTINGS, "1 invalid setting:");
}
