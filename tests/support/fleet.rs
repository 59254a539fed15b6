//! A fleet that is started as a user starts it: `clipfleet up` in its own process, on free ports, with a data
//! directory.

use clipfleet_cloud::{
    Cloud, Document,
    google::{self, Endpoints},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Maximum wait for any operation of a fleet in a test. It bounds a hang; no test measures speed by it.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// A running `clipfleet up`. Dropping it kills all its processes.
pub struct Fleet {
    child: Child,
    /// Address of the HTTP API, for example `http://127.0.0.1:41234`.
    pub api: String,
    /// host:port of the emulator.
    pub emulator: String,
    /// A client of the emulator, the same code as the fleet's own.
    pub cloud: Cloud,
    http: reqwest::Client,
}

/// The `clipfleet` program of this build.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    let program = crate::pipeline_process::binary().with_file_name("clipfleet");
    assert!(program.exists(), "{} is missing: run cargo build --workspace --bins first", program.display());
    program
}

impl Fleet {
    /// Starts a fleet on `data`, which may hold the data of an earlier one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(data: &Path, workers: usize, slots: usize) -> Self {
        Self::start_with(data, workers, slots, &[]).await
    }

    /// Starts a fleet with more settings in its environment.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(data: &Path, workers: usize, slots: usize, settings: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(program());
        command.envs(settings.iter().copied());
        Self::launch(command, data, &workers.to_string(), slots).await
    }

    /// Starts a fleet that scales itself within the range `workers`, such as `0..4`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_scaling(data: &Path, workers: &str, slots: usize, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        command.envs(settings.iter().copied());
        Self::launch(command, data, workers, slots).await
    }

    async fn launch(mut command: Command, data: &Path, workers: &str, slots: usize) -> Self {
        command.arg("up").arg("--data").arg(data).args(["--listen", "127.0.0.1:0", "--emulator", "127.0.0.1:0"]);
        command.args(["--workers", workers, "--slots", &slots.to_string(), "--verbose"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("clipfleet up starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut api = None;
        while api.is_none() {
            let Some(Ok(line)) = lines.next() else {
                let mut output = String::new();
                let _ = child.stderr.take().expect("piped").read_to_string(&mut output);
                panic!("clipfleet up ended early: {output}");
            };
            if let Some(url) = line.trim().strip_prefix("API ") {
                api = url.trim().strip_suffix("/v1").map(ToOwned::to_owned);
            }
        }
        // Its further output goes to the test's output. An unread pipe would block the process.
        std::thread::spawn(move || lines.for_each(drop));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| eprintln!("  fleet: {line}")));
        let (api, http) = (api.expect("printed"), reqwest::Client::new());
        let emulator = emulator_of(&http, &api).await;
        let cloud = google::connect(&endpoints(&emulator)).await.expect("the emulator answers");
        Self { child, api, emulator, cloud, http }
    }

    /// Sends a request and returns the status and the JSON answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn call(&self, method: &str, path: &str, body: impl Into<String>) -> (u16, serde_json::Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.api)).body(body.into());
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// Submits a valid request with `POST /v1/batches`.
    ///
    /// # Panics
    /// If the request is refused.
    pub async fn submit(&self, request: &serde_json::Value) -> serde_json::Value {
        let (status, answer) = self.call("POST", "/v1/batches", request.to_string()).await;
        assert_eq!(status, 202, "{answer}");
        answer
    }

    /// Waits until a batch has ended and returns `GET /v1/batches/{id}`.
    ///
    /// # Panics
    /// If it takes longer than [`WAIT_TIMEOUT`].
    pub async fn finished(&self, batch: &str) -> serde_json::Value {
        let over =
            |shown: &serde_json::Value| !matches!(shown["status"].as_str(), Some("queued" | "processing") | None);
        self.until(batch, over).await
    }

    /// Returns a worker with one slot that makes a clip, and its two pipeline processes: the working one and the
    /// waiting one.
    ///
    /// # Panics
    /// If it takes longer than [`WAIT_TIMEOUT`].
    pub async fn busy_worker(&self) -> (u32, [u32; 2]) {
        let started = Instant::now();
        loop {
            let found = self.workers().into_iter().find_map(|worker| {
                let mut pipelines = children(worker);
                pipelines.sort_unstable();
                Some((worker, pipelines.try_into().ok()?))
            });
            if let Some(found) = found {
                return found;
            }
            assert!(started.elapsed() < WAIT_TIMEOUT, "no worker is busy");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `GET /v1/batches/{id}` satisfies a condition, and returns it.
    ///
    /// # Panics
    /// If it takes longer than [`WAIT_TIMEOUT`].
    pub async fn until(&self, batch: &str, condition: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        self.until_within(batch, WAIT_TIMEOUT, condition).await
    }

    /// As [`Fleet::until`], with its own timeout.
    ///
    /// # Panics
    /// If it takes longer.
    pub async fn until_within(
        &self,
        batch: &str,
        timeout: Duration,
        condition: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let started = Instant::now();
        loop {
            let (_, shown) = self.call("GET", &format!("/v1/batches/{batch}"), "").await;
            if condition(&shown) {
                return shown;
            }
            assert!(started.elapsed() < timeout, "batch {batch} did not get there: {shown:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The document at a path, if it exists.
    ///
    /// # Panics
    /// If the emulator does not answer.
    pub async fn document(&self, path: &str) -> Option<Document> {
        self.cloud.documents.get(&[path.to_owned()]).await.expect("documents can be read").remove(0)
    }

    /// Uploads a file into the fleet's bucket and returns its `gs://` name.
    ///
    /// # Panics
    /// If it cannot be stored.
    pub async fn upload(&self, file: &Path, name: &str) -> String {
        let object = clipfleet_cloud::ObjectName::new("clipfleet-local", name);
        let body = clipfleet_cloud::Body::File(file.to_owned());
        self.cloud.objects.create(&object, clipfleet_cloud::NewObject::default(), body).await.expect("stored");
        object.to_string()
    }

    /// The bytes behind an `outputUrl`.
    ///
    /// # Panics
    /// If the download fails.
    pub async fn download(&self, url: &str) -> Vec<u8> {
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        answer.expect("a result").bytes().await.expect("its bytes").into()
    }

    /// Names of all result objects: clips, manifests and covers.
    ///
    /// # Panics
    /// If they cannot be listed.
    pub async fn results(&self) -> Vec<String> {
        let url = format!("http://{}/storage/v1/b/clipfleet-local/o?prefix=processed-clips/", self.emulator);
        let listed =
            self.http.get(url).send().await.expect("an answer").json::<serde_json::Value>().await.expect("JSON");
        assert!(listed["nextPageToken"].is_null(), "more than one page");
        let items = listed["items"].as_array().into_iter().flatten();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Runs the `clipfleet` program against this fleet, and returns its exit status and output.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output =
            Command::new(program()).args(arguments).env("CLIPFLEET_SERVER", &self.api).output().expect("it runs");
        let streams = [&output.stdout[..], &output.stderr[..]];
        (output.status.code(), streams.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect())
    }

    /// Starts one more worker of this fleet in its own process, which listens on `listen`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn worker(&self, listen: &str, scratch: &Path) -> Role {
        let scratch = scratch.display().to_string();
        self.role(&["worker", "--slots", "1", "--listen", listen, "--scratch", &scratch])
    }

    /// Starts one more role of this fleet in its own process.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn role(&self, arguments: &[&str]) -> Role {
        role(&self.emulator, arguments)
    }

    /// The ids of all processes of the fleet.
    pub fn processes(&self) -> Vec<u32> {
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(&process) = tree.get(next) {
            tree.extend(children(process));
            next += 1;
        }
        tree
    }

    /// Kills all processes of the fleet at the same time, as a power failure does.
    ///
    /// # Panics
    /// If the fleet is not running.
    pub fn kill_all(mut self) {
        kill_tree(self.child.id());
        self.child.wait().expect("it ended");
    }

    /// Stops the fleet and returns its exit status.
    ///
    /// # Panics
    /// If it does not stop.
    pub async fn stop(mut self) -> Option<i32> {
        signal(self.child.id(), "-TERM");
        exit_status(&mut self.child).await
    }

    /// The process ids of the workers.
    pub fn workers(&self) -> Vec<u32> {
        children(self.child.id())
    }
}

/// Starts a role in its own process, on the emulator at `emulator` (host:port).
///
/// # Panics
/// If it cannot be started.
pub fn role(emulator: &str, arguments: &[&str]) -> Role {
    let mut command = Command::new(program());
    for host in ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"] {
        command.env(host, emulator);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    Role(command.spawn().expect("a role starts"))
}

/// An additional process of a fleet. Dropping it kills the process and its children.
pub struct Role(Child);

impl Role {
    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Tells the process to stop, and returns its exit status.
    ///
    /// # Panics
    /// If it does not stop.
    pub async fn stop(&mut self) -> Option<i32> {
        signal(self.0.id(), "-TERM");
        self.ended().await
    }

    /// Waits for the end of the process, and returns its exit status.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&mut self) -> Option<i32> {
        exit_status(&mut self.0).await
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            kill_tree(self.0.id());
            let _ = self.0.wait();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_tree(self.child.id());
            let _ = self.child.wait();
        }
    }
}

/// host:port of a fleet's emulator, which the page's settings name.
async fn emulator_of(http: &reqwest::Client, api: &str) -> String {
    let answer = http.get(format!("{api}/console/settings.json")).send().await.expect("the page's settings");
    let settings: serde_json::Value = answer.json().await.expect("JSON");
    // A fleet with a token serves the storage at its own address, and names the emulator's as that of links.
    let url = [&settings["storage"]["url"], &settings["storage"]["origin"]].into_iter().filter_map(|url| url.as_str());
    url.filter_map(|url| url.strip_prefix("http://")).next().expect("an emulator").to_owned()
}

fn endpoints(emulator: &str) -> Endpoints {
    let host = Some(emulator.to_owned());
    Endpoints {
        project: "clipfleet-local".into(),
        pubsub: host.clone(),
        firestore: host.clone(),
        storage: host,
        ..Endpoints::default()
    }
}

/// Waits for the end of a process.
async fn exit_status(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < WAIT_TIMEOUT {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status.code();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("process {} did not stop", child.id());
}

/// Sends a signal to a process.
pub fn signal(process: u32, signal: &str) {
    // The process may have ended meanwhile.
    let _ = Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status();
}

/// The ids of the processes whose parent is `process`.
pub fn children(process: u32) -> Vec<u32> {
    let parent_of = |entry: &Path| {
        let stat = fs::read_to_string(entry.join("stat")).ok()?;
        // The fields after the command's name in parentheses: state, parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = entries.filter(|entry| parent_of(entry) == Some(process));
    ours.filter_map(|entry| entry.file_name()?.to_str()?.parse().ok()).collect()
}

/// Kills a process and all its descendants. All are stopped first, so that none can react to the end of another.
fn kill_tree(root: u32) {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&process) = tree.get(next) {
        signal(process, "-STOP");
        tree.extend(children(process));
        next += 1;
    }
    tree.iter().for_each(|&process| signal(process, "-KILL"));
}

/// A request for clips of a source, each with its id and its window in milliseconds.
pub fn request(batch: &str, source: &str, clips: &[(&str, i64, i64)]) -> serde_json::Value {
    let clips: Vec<_> =
        clips.iter().map(|(id, start, end)| json!({"clipId": id, "startMs": start, "endMs": end})).collect();
    json!({"batchId": batch, "ownerUid": "u1", "projectId": "p1", "source": {"uri": source},
           "output": {"quality": "720p"}, "clips": clips})
}

/// The clips of a batch's status, by id.
///
/// # Panics
/// If there are none.
pub fn clips(shown: &serde_json::Value) -> BTreeMap<String, serde_json::Value> {
    let clips = shown["clips"].as_array().expect("clips");
    clips.iter().map(|clip| (clip["clipId"].as_str().expect("an id").to_owned(), clip.clone())).collect()
}

/// A text field of a document; empty if it is missing.
pub fn text(document: &Document, field: &str) -> String {
    document.field(field).as_text().unwrap_or_default().to_owned()
}
