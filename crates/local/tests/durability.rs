//! What was confirmed is there after `kill -9`, at whatever instant it comes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use google_cloud_pubsub::model::Message;
use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    self as fs, firestore_client::FirestoreClient, write::Operation,
};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::*;
use tonic::transport::Channel;

/// The servers in a process of their own.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipfleet-local"));
        let mut child = command.arg(folder).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().into() }
    }

    /// SIGKILL: no goodbye, no flush.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Confirmed = Arc<Mutex<Vec<String>>>;

/// Calls `store` for one name after the other until a call fails; notes those that were confirmed.
async fn until_killed<F: Future<Output = bool>>(kind: &str, confirmed: Confirmed, store: impl Fn(String) -> F) {
    for n in 0.. {
        let name = format!("{kind}-{n}");
        // A call that hangs because the server is gone is a call that was not confirmed.
        match tokio::time::timeout(Duration::from_secs(5), store(name.clone())).await {
            Ok(true) => confirmed.lock().unwrap().push(name),
            _ => return,
        }
    }
}

fn document(id: &str) -> String {
    format!("projects/test/databases/(default)/documents/c/{id}")
}

async fn documents(url: &str) -> FirestoreClient<Channel> {
    FirestoreClient::new(Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

/// Publishes, commits and uploads side by side until the server is killed after `life`; then looks for every confirmed one.
async fn nothing_confirmed_is_lost(life: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let url = process.url.clone();
    let pubsub = PubSub::new(&url).await.with_queue().await;
    let http = reqwest::Client::new();
    http.post(format!("{url}/storage/v1/b"))
        .body(r#"{"name":"clips"}"#)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();

    let (messages, commits, objects) = (Confirmed::default(), Confirmed::default(), Confirmed::default());
    let publisher = pubsub.publisher(TOPIC).await;
    let publish = until_killed("m", Arc::clone(&messages), |name| {
        let publisher = publisher.clone();
        async move { publisher.publish(Message::new().set_data(name)).await.is_ok() }
    });
    let client = documents(&url).await;
    let commit = until_killed("d", Arc::clone(&commits), |name| {
        let mut client = client.clone();
        async move {
            let update = fs::Document { name: document(&name), ..fs::Document::default() };
            let write = fs::Write { operation: Some(Operation::Update(update)), ..fs::Write::default() };
            let database = "projects/test/databases/(default)".into();
            client.commit(fs::CommitRequest { database, writes: vec![write], transaction: Vec::new() }).await.is_ok()
        }
    });
    let upload = until_killed("o", Arc::clone(&objects), |name| {
        let send = http.post(format!("{url}/upload/storage/v1/b/clips/o?uploadType=media&name={name}"));
        async move { send.body(name).send().await.is_ok_and(|answer| answer.status().is_success()) }
    });
    let kill = async {
        tokio::time::sleep(life).await;
        tokio::task::spawn_blocking(|| process.kill()).await.unwrap();
    };
    tokio::join!(publish, commit, upload, kill);

    let process = Process::start(folder.path());
    let mut missing: HashSet<String> = messages.lock().unwrap().iter().cloned().collect();
    assert!(!missing.is_empty(), "something was confirmed before the end");
    let pubsub = PubSub::new(&process.url).await;
    let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
    while !missing.is_empty() {
        let (message, handler) = soon(stream.next()).await.unwrap().unwrap();
        missing.remove(std::str::from_utf8(&message.data).unwrap());
        handler.ack();
    }
    let mut client = documents(&process.url).await;
    let (commits, objects) = (commits.lock().unwrap().clone(), objects.lock().unwrap().clone());
    for id in commits {
        let get = fs::GetDocumentRequest { name: document(&id), ..fs::GetDocumentRequest::default() };
        client.get_document(get).await.unwrap();
    }
    for name in &objects {
        let answer =
            http.get(format!("{}/clips/{name}", process.url)).send().await.unwrap().error_for_status().unwrap();
        assert_eq!(answer.text().await.unwrap(), *name);
    }
    let (files, listed) = (folder.path().join("objects").read_dir().unwrap().count(), objects.len());
    assert!((listed..=listed + 1).contains(&files), "no orphans: {files} files, {listed} confirmed objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_when_the_process_is_killed() {
    for millis in [150, 400, 900] {
        nothing_confirmed_is_lost(Duration::from_millis(millis)).await;
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let listen = "127.0.0.1:0".parse().unwrap();
    let second =
        clipfleet_local::LocalCloud::start(clipfleet_local::Config { data: folder.path().into(), listen }).await;
    assert!(matches!(second, Err(clipfleet_local::StartError::InUse(_))), "{second:?}");
    process.kill();
    // The lock dies with its holder.
    start(folder.path()).await.stop().await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_must_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = clipfleet_local::Config { data: folder.path().into(), listen: "0.0.0.0:0".parse().unwrap() };
    let refused = clipfleet_local::LocalCloud::start(config.clone()).await;
    assert!(matches!(refused, Err(clipfleet_local::StartError::NotLoopback(_))), "{refused:?}");
    let exposed = clipfleet_local::LocalCloud::start_exposed(config, "http://cloud:8085/").await.unwrap();
    let url = format!("http://127.0.0.1:{}", exposed.address().port());
    let http = reqwest::Client::new();
    http.post(format!("{url}/storage/v1/b")).body(r#"{"name":"clips"}"#).send().await.unwrap();
    let begin =
        http.post(format!("{url}/upload/storage/v1/b/clips/o?uploadType=resumable&name=x")).send().await.unwrap();
    let location = begin.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("http://cloud:8085/upload/"), "{location}");
    exposed.stop().await;
}
