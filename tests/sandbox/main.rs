//! The sandbox of the media process, from inside: a hostile program in the real one's place puts the same sandbox on
//! and tries what a file that takes over the process would try. Each attempt is a test of its own.
//!
//! Each attempt also runs without the sandbox, and must be possible there: otherwise the test could not fail. Where
//! something else than the sandbox refuses it (a container's own filter, an ordinary user), or where the kernel lacks
//! the part that refuses it, the test says `skipped` aloud.

use clipfleet_tests::fixtures;
use std::{
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The result of one attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The kernel refused it.
    Refused,
    /// The kernel ended the process for it.
    Killed(i32),
    /// It succeeded, or failed for another reason than a refusal.
    Possible(String),
}

struct Attempt {
    /// Parts of the sandbox that are in force.
    parts: Vec<String>,
    /// Why others are not.
    missing: String,
    outcome: Outcome,
}

/// What a stranger's file must not reach: a file of the worker, or of another attempt.
struct Stage {
    _root: tempfile::TempDir,
    directory: PathBuf,
    secret: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let root = fixtures::directory();
        let (directory, other) = (root.path().join("a-1"), root.path().join("a-2"));
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::create_dir(&other).expect("a directory");
        let secret = other.join("secret");
        std::fs::write(&secret, "of another attempt").expect("a file");
        Self { _root: root, directory, secret }
    }

    fn attempt(&self, mode: &str, attempt: &str) -> Attempt {
        let output = Command::new(program())
            .args([mode, attempt])
            .args([&self.directory, &self.secret])
            .stdin(Stdio::null())
            .output()
            .expect("the hostile program");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut fields = text.trim_end_matches('\n').split('\t');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (parts, missing, result) = (field(), field(), field());
        let outcome = match (output.status.signal(), result.parse::<i32>()) {
            (Some(signal), _) => Outcome::Killed(signal),
            (None, Ok(libc::EPERM | libc::EACCES | libc::ENOSYS)) => Outcome::Refused,
            (None, _) if output.status.success() && !result.is_empty() => Outcome::Possible(result),
            _ => panic!("{attempt}: {output:?}"),
        };
        let parts = parts.split(',').map(str::to_owned).collect();
        Attempt { parts, missing, outcome }
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hostile-pipeline"))
}

/// Not by `eprintln!`, which the test harness hides when a test passes.
fn skipped(attempt: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "{attempt}: skipped: {reason}");
}

/// Checks that a part of the sandbox refuses an attempt that is possible without it.
fn refused(mode: &str, attempt: &str, by: &str) {
    let stage = Stage::new();
    let sandboxed = stage.attempt(mode, attempt);
    if !sandboxed.parts.iter().any(|part| part == by) {
        return skipped(attempt, &format!("this machine lacks the part that refuses it: {}", sandboxed.missing));
    }
    let secret = std::fs::read_to_string(&stage.secret).ok();
    assert_eq!(secret.as_deref(), Some("of another attempt"), "{attempt}");
    // A file that exceeds its limit ends its process.
    let expected = if by == "limits" { Outcome::Killed(libc::SIGXFSZ) } else { Outcome::Refused };
    assert_eq!(sandboxed.outcome, expected, "{attempt}");
    match Stage::new().attempt("free", attempt).outcome {
        Outcome::Possible(_) => {}
        refused => skipped(attempt, &format!("without the sandbox it is {refused:?}, too")),
    }
}

macro_rules! refused {
    ($($mode:literal, $part:literal: { $($test:ident: $attempt:literal,)* })*) => {
        $($(
            #[test]
            fn $test() {
                refused($mode, $attempt, $part);
            }
        )*)*
    };
}

refused! {
    "sandboxed", "seccomp": {
        no_connection_to_the_metadata_server: "socket-inet",
        no_inet6_socket: "socket-inet6",
        no_udp_socket: "socket-udp",
        no_netlink_socket: "socket-netlink",
        no_unix_socket: "socket-unix",
        no_exec: "exec",
        no_exec_of_a_descriptor: "exec-file-descriptor",
        no_program: "program",
        no_fork: "fork",
        no_clone3: "clone3",
        no_ptrace_of_the_worker: "ptrace",
        no_call_that_reads_the_workers_memory: "read-memory-call",
        no_signal_to_the_worker: "signal",
        no_signal_to_a_thread_of_the_worker: "signal-thread",
        no_signal_to_the_worker_through_a_descriptor: "signal-by-descriptor",
        no_input_to_a_terminal: "terminal-input",
        no_priority_of_the_worker: "slow-the-worker-down",
        no_symbolic_link: "symbolic-link",
        no_hard_link_to_a_file_of_the_worker: "hard-link",
        no_pipe_in_place_of_a_clip: "pipe-file",
        no_truncation_by_name: "truncate-outside",
        no_keyctl: "keyctl",
        no_add_key: "add-key",
        no_request_key: "request-key",
        no_mount: "mount",
        no_open_tree: "open-tree",
        no_unshare: "new-namespaces",
        no_setns: "enter-namespace",
        no_bpf: "bpf",
        no_io_uring: "io-uring",
        no_userfaultfd: "userfaultfd",
        no_perf_events: "perf",
        no_descriptor_of_another_process: "take-descriptor",
        no_file_by_handle: "open-by-handle",
    }
    "sandboxed", "landlock": {
        no_file_with_the_workers_memory: "memory-of-the-worker",
        no_environment_of_the_worker: "environment-of-the-worker",
        no_file_of_another_attempt_is_read: "read-another-attempt",
        no_other_attempt_is_listed: "list-another-attempt",
        no_configuration_of_the_machine_is_read: "read-passwords",
        no_file_outside_is_written: "write-outside",
        no_file_outside_is_removed: "remove-outside",
    }
    "sandboxed", "limits": {
        no_file_of_100_gib: "large-file",
    }
    // The same plugin has elements that are needed. The parser of H.266 exists from GStreamer 1.26 on.
    "registry", "registry": {
        no_parser_of_h266: "element-h266parse",
        no_parser_of_vc1: "element-vc1parse",
        no_demuxer_of_libav: "element-avdemux_mxf",
        no_decoder_of_flash: "element-avdec_flv",
    }
    "registry", "registry": {
        no_source_of_files: "element-filesrc",
        no_source_of_web_pages: "element-souphttpsrc",
        no_source_of_any_address: "element-urisourcebin",
        no_server: "element-tcpserversrc",
        no_demuxer_of_avi: "element-avidemux",
        no_demuxer_of_transport_streams: "element-tsdemux",
        no_player: "element-playbin",
        no_decoder_that_plugs_itself: "element-decodebin3",
        no_search_for_types: "element-typefind",
    }
    "sandboxed", "registry": {
        with_the_sandbox_no_source_of_files: "element-filesrc",
        with_the_sandbox_no_decoder_that_plugs_itself: "element-decodebin",
    }
    // The driver of a GPU needs more. What is refused nevertheless:
    "gpu", "seccomp": {
        with_a_gpu_no_connection_to_the_metadata_server: "socket-inet",
        with_a_gpu_no_inet6_socket: "socket-inet6",
        with_a_gpu_no_netlink_socket: "socket-netlink",
        with_a_gpu_no_exec: "exec",
        with_a_gpu_no_program: "program",
        with_a_gpu_no_fork: "fork",
        with_a_gpu_no_clone3: "clone3",
        with_a_gpu_no_ptrace_of_the_worker: "ptrace",
        with_a_gpu_no_call_that_reads_the_workers_memory: "read-memory-call",
        with_a_gpu_no_signal_to_the_worker: "signal",
        with_a_gpu_no_signal_to_the_worker_through_a_descriptor: "signal-by-descriptor",
        with_a_gpu_no_symbolic_link: "symbolic-link",
        with_a_gpu_no_hard_link_to_a_file_of_the_worker: "hard-link",
        with_a_gpu_no_keyctl: "keyctl",
        with_a_gpu_no_mount: "mount",
        with_a_gpu_no_unshare: "new-namespaces",
        with_a_gpu_no_bpf: "bpf",
        with_a_gpu_no_io_uring: "io-uring",
    }
    "gpu", "limits": {
        with_a_gpu_no_file_of_100_gib: "large-file",
    }
}

/// `fork`, which C libraries no longer call, has its number only on x86-64.
#[cfg(target_arch = "x86_64")]
#[test]
fn no_fork_by_its_old_number() {
    refused("sandboxed", "fork-by-number", "seccomp");
    refused("gpu", "fork-by-number", "seccomp");
}

/// Elements of GStreamer's own library and of its core plugins, which every installation has: the tests above cannot
/// all be skipped.
#[test]
fn elements_that_are_needed_can_be_created_and_without_the_restriction_others_can() {
    for (mode, element) in [
        ("registry", "h264parse"),
        ("registry", "qtdemux"),
        ("sandboxed", "matroskademux"),
        ("gpu", "avdec_h264"),
        ("free", "filesrc"),
        ("free", "vc1parse"),
    ] {
        let outcome = Stage::new().attempt(mode, &format!("element-{element}")).outcome;
        assert_eq!(outcome, Outcome::Possible("done".into()), "{mode} {element}");
    }
}

#[test]
fn work_in_the_own_directory_and_threads_are_possible() {
    for mode in ["sandboxed", "gpu", "free"] {
        let outcome = Stage::new().attempt(mode, "honest-work").outcome;
        assert_eq!(outcome, Outcome::Possible("done".into()), "{mode}");
    }
}
