//! Google's own, unmodified clients for Python and Node against the emulator: a behaviour that these clients accept, a
//! user's program accepts, too. The checks are in `clients/python` and `clients/node`; `make clients` installs their
//! dependencies into `target/clients`.

use clipfleet_emulator::{Config, Emulator};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// The minimum number of checks. A suite that ran only partly must fail.
const MIN_PYTHON_CHECKS: usize = 356;
const MIN_NODE_CHECKS: usize = 100;

/// The folder of `make clients`, and the folder of the checks.
fn folders() -> (PathBuf, PathBuf) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = tests.with_file_name("target").join("clients");
    assert!(installed.join("stamp").exists(), "the official clients are not installed: run `make clients`");
    (installed, tests.join("conformance/clients"))
}

/// An emulator, whose address is in the variables that Google's clients read.
struct TestEmulator {
    server: Emulator,
    _data: TempDir,
}

impl TestEmulator {
    async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Emulator::start(Config { data: data.path().to_owned(), listen }).await.unwrap();
        Self { server, _data: data }
    }

    /// Runs a program of the installed environment in a folder. A hanging program is killed after a quarter of an hour.
    fn command(&self, program: &Path, folder: &Path) -> Command {
        let address = self.server.address();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", "900"]).arg(program).current_dir(folder);
        command.env("PUBSUB_EMULATOR_HOST", address.to_string()).env("FIRESTORE_EMULATOR_HOST", address.to_string());
        command
            .env("STORAGE_EMULATOR_HOST", format!("http://{address}"))
            .env("GOOGLE_CLOUD_PROJECT", "clipfleet-local");
        // Isolates the program from this machine: no proxy, no detection of a cloud environment.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.env("METADATA_SERVER_DETECTION", "none").env("NO_GCE_CHECK", "true");
        command.env_remove("GOOGLE_APPLICATION_CREDENTIALS").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Runs a command and prints its output. Returns whether it succeeded, and its output.
fn run(mut command: Command) -> (bool, Vec<String>) {
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    // The command holds the pipe's other end, which would keep the pipe open.
    drop(command);
    let lines = BufReader::new(reader).lines().map_while(Result::ok).inspect(|line| println!("{line}")).collect();
    (child.wait().unwrap().success(), lines)
}

/// The number before or after a word in the last line that has both, for example in `12 passed in 3.4s` or `pass 12`.
fn number(lines: &[String], find: impl Fn(&[&str]) -> Option<usize>) -> usize {
    lines.iter().rev().find_map(|line| find(&line.split([' ', ',']).collect::<Vec<_>>())).unwrap_or(0)
}

fn before(word: &'static str) -> impl Fn(&[&str]) -> Option<usize> {
    move |words| words.windows(2).find(|pair| pair[1] == word)?[0].parse().ok()
}

fn after(word: &'static str) -> impl Fn(&[&str]) -> Option<usize> {
    move |words| words.windows(2).find(|pair| pair[0] == word)?[1].parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_pass_all_checks() {
    let (installed, checks) = folders();
    let emulator = TestEmulator::start().await;
    let mut pytest = emulator.command(&installed.join("venv/bin/python"), &checks.join("python"));
    // Four processes, because most of the time is spent waiting for deadlines.
    pytest.args(["-m", "pytest", "--quiet", "--color=no", "--numprocesses=4"]);
    let (succeeded, lines) = run(pytest);
    emulator.server.stop().await;
    let passed = number(&lines, before("passed"));
    assert!(succeeded, "{passed} checks passed, others failed: see above");
    assert!(passed >= MIN_PYTHON_CHECKS, "only {passed} of {MIN_PYTHON_CHECKS} checks ran");
    assert_eq!(
        number(&lines, before("skipped")) + number(&lines, before("xfailed")),
        0,
        "a skipped check counts as a failure"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_clients_pass_all_checks() {
    let (installed, checks) = folders();
    let folder = installed.join("node");
    let files = copy_modules(&checks.join("node"), &folder);
    let emulator = TestEmulator::start().await;
    let mut node = emulator.command(&installed.join("venv/bin/node"), &folder);
    // One process for each file, all at the same time, because most of the time is spent waiting for deadlines. The
    // limit applies to a whole file.
    node.args(["--test", "--test-reporter=spec", "--test-concurrency=8", "--test-timeout=600000"]);
    node.args(files.iter().filter(|name| name.ends_with(".test.mjs")));
    let (succeeded, lines) = run(node);
    emulator.server.stop().await;
    let passed = number(&lines, after("pass"));
    assert!(succeeded, "{passed} checks passed, others failed: see above");
    assert!(passed >= MIN_NODE_CHECKS, "only {passed} of {MIN_NODE_CHECKS} checks ran");
    assert_eq!(
        number(&lines, after("skipped")) + number(&lines, after("todo")),
        0,
        "a skipped check counts as a failure"
    );
}

/// Copies the checks beside `node_modules`. Node searches for packages upwards from the importing file and resolves
/// links, so only a copy works without flags. Returns the names of the files.
fn copy_modules(from: &Path, to: &Path) -> Vec<String> {
    let modules = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| name.ends_with(".mjs")).collect()
    };
    for stale in modules(to) {
        fs::remove_file(to.join(stale)).unwrap();
    }
    let mut names = modules(from);
    names.sort();
    for name in &names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    names
}
