//! Everything that was confirmed survives `kill -9` at any instant.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    self as fs, firestore_client::FirestoreClient, value::ValueType, write::Operation,
};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    self as ps, publisher_client::PublisherClient, subscriber_client::SubscriberClient,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use support::*;
use tonic::transport::Channel;

/// The emulator as a separate process.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipfleet-emulator"));
        let mut child = command.arg(folder).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().into() }
    }

    /// SIGKILL: no shutdown, no flush.
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

const DATABASE: &str = "projects/test/databases/(default)";

fn document(id: &str) -> String {
    format!("{DATABASE}/documents/c/{id}")
}

/// The number of runs of the server, each of which ends by SIGKILL at a random instant.
const ROUNDS: usize = 80;

/// The maximum number of runs, for disks with slow syncs, where each run confirms little.
const MAX_ROUNDS: usize = 800;

/// Longest time in which a run receives calls: some runs end before the first response, most in the middle of several
/// calls.
const MAX_RUN_MS: u64 = 120;

/// What was confirmed to the clients, and what they tried. The server may keep more than it confirmed, but never less.
#[derive(Default)]
struct History {
    /// Messages whose publication was confirmed.
    published: HashSet<String>,
    /// Messages whose acknowledgement was sent, confirmed or not.
    acknowledging: HashSet<String>,
    /// Messages whose acknowledgement was confirmed.
    acknowledged: HashSet<String>,
    /// Pairs of documents with a confirmed common commit, and the number in them.
    committed: BTreeMap<String, i64>,
    /// Objects whose upload was confirmed.
    uploaded: BTreeSet<String>,
}

impl History {
    /// The part to verify after a round: usually the pairs of this round, and all pairs every 50 rounds, so that the
    /// test stays short.
    fn of_round(&self, round: usize) -> Self {
        let first = i64::try_from(round * 10_000).unwrap();
        let mut committed = self.committed.clone();
        committed.retain(|_, number| round % 50 == 49 || *number >= first);
        Self { committed, uploaded: self.uploaded.clone(), ..Self::default() }
    }

    /// Whether enough was confirmed for the test to be meaningful.
    fn is_sufficient(&self) -> bool {
        [self.acknowledged.len(), self.committed.len(), self.uploaded.len()].iter().all(|confirmed| *confirmed > ROUNDS)
    }
}

type Shared = Arc<Mutex<History>>;

fn record(history: &Shared, entry: impl FnOnce(&mut History)) {
    entry(&mut history.lock());
}

/// A call that hangs because the server was killed counts as not confirmed.
async fn confirmed<T, E>(call: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(5), call).await.ok()?.ok()
}

/// The content of an object, derived from its name; long enough that a truncated file is noticed.
fn content(name: &str) -> String {
    name.repeat(4_000)
}

/// The generated gRPC clients without retries, because the test is about the server.
#[derive(Clone)]
struct Callers {
    url: String,
    publisher: PublisherClient<Channel>,
    subscriber: SubscriberClient<Channel>,
    documents: FirestoreClient<Channel>,
    http: reqwest::Client,
}

impl Callers {
    async fn new(url: &str, http: reqwest::Client) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Self {
            url: url.into(),
            publisher: PublisherClient::new(channel.clone()),
            subscriber: SubscriberClient::new(channel.clone()),
            documents: FirestoreClient::new(channel),
            http,
        }
    }

    async fn publish(mut self, round: usize, history: Shared) -> Option<()> {
        for n in 0.. {
            let names: Vec<_> = (0..=n % 3).map(|part| format!("m-{round}-{n}-{part}")).collect();
            let message =
                |name: &String| ps::PubsubMessage { data: name.clone().into(), ..ps::PubsubMessage::default() };
            let messages = names.iter().map(message).collect();
            confirmed(self.publisher.publish(ps::PublishRequest { topic: TOPIC.into(), messages })).await?;
            record(&history, |history| history.published.extend(names));
        }
        None
    }

    /// Pulls messages that are available now, without waiting for more.
    async fn pull(&mut self) -> Option<Vec<(String, String)>> {
        #[expect(deprecated, reason = "this needs only what is available now")]
        let pull = ps::PullRequest { subscription: SUBSCRIPTION.into(), max_messages: 100, return_immediately: true };
        let received = confirmed(self.subscriber.pull(pull)).await?.into_inner().received_messages;
        let name = |message: Option<ps::PubsubMessage>| String::from_utf8(message.unwrap().data).unwrap();
        Some(received.into_iter().map(|one| (one.ack_id, name(one.message))).collect())
    }

    async fn acknowledge(mut self, history: Shared) -> Option<()> {
        loop {
            let received = self.pull().await?;
            let (acks, names): (Vec<_>, Vec<_>) = received.into_iter().take(2).unzip();
            for name in &names {
                assert!(!history.lock().acknowledged.contains(name), "{name} was acknowledged");
            }
            if acks.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            record(&history, |history| history.acknowledging.extend(names.clone()));
            let call = ps::AcknowledgeRequest { subscription: SUBSCRIPTION.into(), ack_ids: acks };
            confirmed(self.subscriber.acknowledge(call)).await?;
            record(&history, |history| history.acknowledged.extend(names));
        }
    }

    /// Writes the same number into both documents of a pair, in old and new pairs.
    async fn commit(mut self, round: usize, history: Shared) -> Option<()> {
        for n in 0.. {
            let number = i64::try_from(round * 10_000 + n).unwrap();
            let pair = format!("pair-{}", if n % 2 == 0 { n } else { round * 10_000 + n });
            let value = fs::Value { value_type: Some(ValueType::IntegerValue(number)) };
            let write = |half: &str| {
                let fields = [("number".to_owned(), value.clone())].into();
                let update =
                    fs::Document { name: document(&format!("{pair}-{half}")), fields, ..fs::Document::default() };
                fs::Write { operation: Some(Operation::Update(update)), ..fs::Write::default() }
            };
            let writes = vec![write("a"), write("b")];
            let call = fs::CommitRequest { database: DATABASE.into(), writes, transaction: Vec::new() };
            confirmed(self.documents.commit(call)).await?;
            record(&history, |history| history.committed.extend([(pair, number)]));
        }
        None
    }

    async fn upload(self, round: usize, history: Shared) -> Option<()> {
        for n in 0.. {
            let name = format!("o-{round}-{n}");
            let address = format!("{}/upload/storage/v1/b/clips/o?uploadType=media&name={name}", self.url);
            let response = confirmed(self.http.post(address).body(content(&name)).send()).await?;
            if !response.status().is_success() {
                return None;
            }
            record(&history, |history| history.uploaded.extend([name]));
        }
        None
    }

    /// The number in a document, if the document exists.
    async fn number(&mut self, id: &str) -> Option<i64> {
        let get = fs::GetDocumentRequest { name: document(id), ..fs::GetDocumentRequest::default() };
        match self.documents.get_document(get).await {
            Ok(found) => match found.into_inner().fields["number"].value_type {
                Some(ValueType::IntegerValue(number)) => Some(number),
                ref other => panic!("{other:?}"),
            },
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }

    /// Compares the stored state with what was confirmed in a round.
    async fn check_round(&mut self, round: usize, history: &History) {
        for (pair, confirmed) in &history.committed {
            let (a, b) = (self.number(&format!("{pair}-a")).await, self.number(&format!("{pair}-b")).await);
            assert_eq!(a, b, "half of a commit of {pair} is stored");
            // A later commit of the same pair may be on disk although its response did not reach the caller.
            assert!(a.is_some_and(|found| found >= *confirmed), "{pair}: {confirmed} was confirmed, {a:?} is stored");
        }
        let list = format!("{}/storage/v1/b/clips/o?prefix=o-{round}-", self.url);
        let listed: serde_json::Value = self.http.get(list).send().await.unwrap().json().await.unwrap();
        let listed: BTreeMap<_, _> = listed["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| (item["name"].as_str().unwrap().to_owned(), item["size"].clone()))
            .collect();
        for (name, size) in &listed {
            let response = self.http.get(format!("{}/clips/{name}", self.url)).send().await.unwrap();
            assert_eq!((response.status().as_u16(), size), (200, &content(name).len().to_string().into()), "{name}");
            assert!(response.text().await.unwrap() == content(name), "{name} differs from what was sent");
        }
        for name in history.uploaded.iter().filter(|name| name.starts_with(&format!("o-{round}-"))) {
            assert!(listed.contains_key(name), "{name} was confirmed but is missing");
        }
    }

    /// Pulls all messages that remain in the queue.
    async fn pull_all(&mut self) -> HashSet<String> {
        let mut remaining = HashSet::new();
        loop {
            let received = self.pull().await.expect("the server responds");
            if received.is_empty() {
                return remaining;
            }
            remaining.extend(received.into_iter().map(|(_, name)| name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_confirmed_change_is_lost_or_partial_after_any_kill() {
    let folder = tempfile::tempdir().unwrap();
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let history = Shared::default();
    let http = reqwest::Client::new();
    let process = Process::start(folder.path());
    PubSub::new(&process.url).await.with_queue().await;
    let made = http.post(format!("{}/storage/v1/b", process.url)).body(r#"{"name":"clips"}"#).send().await.unwrap();
    assert_eq!(made.status(), 200);
    process.kill();

    let mut runs = 0;
    while runs < ROUNDS || (runs < MAX_ROUNDS && !history.lock().is_sufficient()) {
        let round = runs;
        runs += 1;
        let process = Process::start(folder.path());
        let callers = Callers::new(&process.url, http.clone()).await;
        let run_time = Duration::from_millis(rng.u64(0..MAX_RUN_MS));
        let kill = async {
            tokio::time::sleep(run_time).await;
            tokio::task::spawn_blocking(|| process.kill()).await.unwrap();
        };
        tokio::join!(
            callers.clone().publish(round, Arc::clone(&history)),
            callers.clone().acknowledge(Arc::clone(&history)),
            callers.clone().commit(round, Arc::clone(&history)),
            callers.clone().upload(round, Arc::clone(&history)),
            kill,
        );
        let process = Process::start(folder.path());
        let recent = history.lock().of_round(round);
        Callers::new(&process.url, http.clone()).await.check_round(round, &recent).await;
        process.kill();
    }

    let process = Process::start(folder.path());
    let mut callers = Callers::new(&process.url, http.clone()).await;
    let remaining = callers.pull_all().await;
    let history = history.lock();
    let (published, acknowledged) = (history.published.len(), history.acknowledged.len());
    println!(
        "{runs} runs: {published} messages published, {acknowledged} acknowledged, {} pairs committed, \
         {} objects uploaded",
        history.committed.len(),
        history.uploaded.len(),
    );
    assert!(history.is_sufficient(), "too little was confirmed");
    let lost: Vec<_> = history
        .published
        .iter()
        .filter(|name| !history.acknowledging.contains(*name) && !remaining.contains(*name))
        .collect();
    assert!(lost.is_empty(), "confirmed but missing: {lost:?}");
    let redelivered: Vec<_> = history.acknowledged.intersection(&remaining).collect();
    assert!(redelivered.is_empty(), "acknowledged but delivered again: {redelivered:?}");
    let files = folder.path().join("objects").read_dir().unwrap().count();
    // Uploads on disk whose response reached no client add a few files; orphans would add many.
    assert!((history.uploaded.len()..=history.uploaded.len() + runs).contains(&files), "{files} files");
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let listen = "127.0.0.1:0".parse().unwrap();
    let second =
        clipfleet_emulator::Emulator::start(clipfleet_emulator::Config { data: folder.path().into(), listen }).await;
    assert!(matches!(second, Err(clipfleet_emulator::StartError::InUse(_))), "{second:?}");
    process.kill();
    // The lock ends with the process that held it.
    start(folder.path()).await.stop().await;
}

#[tokio::test]
async fn an_exposed_address_requires_the_explicit_call() {
    let folder = tempfile::tempdir().unwrap();
    let config = clipfleet_emulator::Config { data: folder.path().into(), listen: "0.0.0.0:0".parse().unwrap() };
    let rejected = clipfleet_emulator::Emulator::start(config.clone()).await;
    assert!(matches!(rejected, Err(clipfleet_emulator::StartError::NotLoopback(_))), "{rejected:?}");
    let exposed = clipfleet_emulator::Emulator::start_exposed(config, "http://cloud:8085/").await.unwrap();
    let url = format!("http://127.0.0.1:{}", exposed.address().port());
    let http = reqwest::Client::new();
    http.post(format!("{url}/storage/v1/b")).body(r#"{"name":"clips"}"#).send().await.unwrap();
    let begin =
        http.post(format!("{url}/upload/storage/v1/b/clips/o?uploadType=resumable&name=x")).send().await.unwrap();
    let location = begin.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("http://cloud:8085/upload/"), "{location}");
    exposed.stop().await;
}
