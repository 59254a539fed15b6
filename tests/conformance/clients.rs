//! Google's own clients for Python and Node, unmodified, against the local servers: what they cannot tell from Google's
//! services, a user's program cannot either. The checks are in `clients/python` and `clients/node`; `make clients` installs
//! what they need into `target/clients`.

use clipfleet_emulator::{Config, Emulator};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// How many checks there are at least. A suite of which a part did not run must not be green.
const PYTHON_CHECKS: usize = 356;
const NODE_CHECKS: usize = 100;

/// Where `make clients` installs, and where the checks are.
fn folders() -> (PathBuf, PathBuf) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = tests.with_file_name("target").join("clients");
    assert!(installed.join("stamp").exists(), "the official clients are not installed: run `make clients`");
    (installed, tests.join("conformance/clients"))
}

/// The local servers, addressed by the variables that Google's clients read.
struct Servers {
    server: Emulator,
    _data: TempDir,
}

impl Servers {
    async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Emulator::start(Config { data: data.path().to_owned(), listen }).await.unwrap();
        Self { server, _data: data }
    }

    /// A program of the installed environment, in a folder. What hangs is ended after a quarter of an hour.
    fn command(&self, program: &Path, folder: &Path) -> Command {
        let address = self.server.address();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", "900"]).arg(program).current_dir(folder);
        command.env("PUBSUB_EMULATOR_HOST", address.to_string()).env("FIRESTORE_EMULATOR_HOST", address.to_string());
        command
            .env("STORAGE_EMULATOR_HOST", format!("http://{address}"))
            .env("GOOGLE_CLOUD_PROJECT", "clipfleet-local");
        // Nothing else of this machine may matter: no proxy, no search for a cloud that it might be part of.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.env("METADATA_SERVER_DETECTION", "none").env("NO_GCE_CHECK", "true");
        command.env_remove("GOOGLE_APPLICATION_CREDENTIALS").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Runs a command, repeats what it says, and returns that with whether it went well.
fn run(mut command: Command) -> (bool, Vec<String>) {
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    // It holds the pipe's other end, and the pipe would not end before it.
    drop(command);
    let lines = BufReader::new(reader).lines().map_while(Result::ok).inspect(|line| println!("{line}")).collect();
    (child.wait().unwrap().success(), lines)
}

/// The number before or after a word in the last line that has both, for example of `12 passed in 3.4s` or `pass 12`.
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
async fn python_clients_cannot_tell() {
    let (installed, checks) = folders();
    let servers = Servers::start().await;
    let mut pytest = servers.command(&installed.join("venv/bin/python"), &checks.join("python"));
    // Four processes, because most of the time is waiting for deadlines to pass.
    pytest.args(["-m", "pytest", "--quiet", "--color=no", "--numprocesses=4"]);
    let (went_well, lines) = run(pytest);
    servers.server.stop().await;
    let passed = number(&lines, before("passed"));
    assert!(went_well, "{passed} checks passed, others did not: see above");
    assert!(passed >= PYTHON_CHECKS, "only {passed} of {PYTHON_CHECKS} checks ran");
    assert_eq!(number(&lines, before("skipped")) + number(&lines, before("xfailed")), 0, "a skip is never green");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_clients_cannot_tell() {
    let (installed, checks) = folders();
    let folder = installed.join("node");
    let files = copy_modules(&checks.join("node"), &folder);
    let servers = Servers::start().await;
    let mut node = servers.command(&installed.join("venv/bin/node"), &folder);
    // One process for each file, all at once: most of the time is waiting for deadlines to pass. The limit is a whole file's.
    node.args(["--test", "--test-reporter=spec", "--test-concurrency=8", "--test-timeout=600000"]);
    node.args(files.iter().filter(|name| name.ends_with(".test.mjs")));
    let (went_well, lines) = run(node);
    servers.server.stop().await;
    let passed = number(&lines, after("pass"));
    assert!(went_well, "{passed} checks passed, others did not: see above");
    assert!(passed >= NODE_CHECKS, "only {passed} of {NODE_CHECKS} checks ran");
    assert_eq!(number(&lines, after("skipped")) + number(&lines, after("todo")), 0, "a skip is never green");
}

/// Puts the checks beside `node_modules`: Node looks for packages upwards from the file that imports them, following links
/// to where they lead, so that a copy is the one thing that works without any flag. Returns the names of the files.
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
