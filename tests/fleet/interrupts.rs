//! Every command ends soon after SIGINT, also while it waits for a server that accepts connections and never answers.

use crate::cli;
use clipfleet_tests::{fixtures, fleet};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A busy machine may need this long. A command that waits for its server needs a minute.
const MAX_TIME: Duration = Duration::from_secs(5);

/// How long a command may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// The exit status of an interrupted command.
const INTERRUPTED: i32 = 130;

/// A server that accepts connections and never answers. The receiver gets each connection's arrival.
fn silent_server() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, arrivals) = mpsc::channel();
    thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            open.push(connection);
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    (address, arrivals)
}

/// Interrupts a process. Returns its exit status and how long it took.
fn interrupt(child: &mut Child) -> (Option<i32>, Duration) {
    let interrupted = Instant::now();
    fleet::signal(child.id(), "-INT");
    while interrupted.elapsed() < MAX_TIME {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), interrupted.elapsed());
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (None, interrupted.elapsed())
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Starts a command that uses a silent server, waits until it has connected, and interrupts it.
fn interrupted_while_connected(directory: &Path, arguments: &[&str], expected: i32) {
    let (address, arrivals) = silent_server();
    let url = format!("http://{address}");
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "SERVER" { url.as_str() } else { argument }).collect();
    let mut command = cli::command(directory, &arguments);
    for host in ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"] {
        command.env(host, &address);
    }
    if arguments[0] != "export" {
        command.env("STORAGE_EMULATOR_HOST", &address);
    }
    command.env("CLIPFLEET_SCALER_POOL", "projects/p/locations/l/workerPools/w").env("CLIPFLEET_RUN_HOST", &address);
    let mut child = spawn(&mut command);
    arrivals.recv_timeout(CONNECT_TIMEOUT).unwrap_or_else(|error| panic!("{arguments:?} did not connect: {error}"));
    let (status, took) = interrupt(&mut child);
    println!("{:>5} ms  {}", took.as_millis(), arguments.join(" "));
    assert_eq!(status, Some(expected), "{arguments:?}");
}

#[test]
fn commands_end_while_their_server_does_not_answer() {
    let directory = fixtures::directory();
    fs::write(directory.path().join("talk.mp4"), b"\0\0\0\x20ftypisom").unwrap();
    let commands: [&[&str]; 14] = [
        &["export", "talk.mp4", "--clip", "0-1", "--server", "SERVER"],
        &["export", "gs://media/talk.mp4", "--clip", "0-1", "--server", "SERVER"],
        &["batch", "list", "--server", "SERVER"],
        &["batch", "show", "b1", "--server", "SERVER"],
        &["batch", "watch", "b1", "--server", "SERVER"],
        &["batch", "download", "b1", "--server", "SERVER"],
        &["batch", "cancel", "b1", "--server", "SERVER"],
        &["batch", "retry", "b1", "--server", "SERVER"],
        &["fleet", "show", "--server", "SERVER"],
        &["dead-letters", "redrive", "--server", "SERVER"],
        &["env", "--server", "SERVER"],
        &["doctor", "--cloud", "--server", "SERVER"],
        &["ready", "SERVER"],
        &["doctor", "--server", "SERVER"],
    ];
    for arguments in commands {
        interrupted_while_connected(directory.path(), arguments, INTERRUPTED);
    }
}

#[test]
fn roles_end_while_they_connect() {
    let directory = fixtures::directory();
    for role in ["dispatcher", "worker", "status", "scaler"] {
        interrupted_while_connected(directory.path(), &[role, "--listen", "127.0.0.1:0"], 0);
    }
}

#[test]
fn fleets_on_this_machine_end_while_they_start() {
    let directory = fixtures::directory();
    for (arguments, note) in [
        (&["up", "--listen", "127.0.0.1:0", "--emulator", "127.0.0.1:0", "--data", "up"][..], "up/state.redb"),
        (&["emulator", "--emulator", "127.0.0.1:0", "--data", "emulator"], "emulator/state.redb"),
    ] {
        let mut child = spawn(&mut cli::command(directory.path(), arguments));
        let begun = Instant::now();
        while !directory.path().join(note).exists() {
            assert!(begun.elapsed() < CONNECT_TIMEOUT, "{arguments:?} did not start");
            thread::sleep(Duration::from_millis(5));
        }
        let (status, took) = interrupt(&mut child);
        println!("{:>5} ms  {}", took.as_millis(), arguments.join(" "));
        assert_eq!(status, Some(0), "{arguments:?}");
    }
}
