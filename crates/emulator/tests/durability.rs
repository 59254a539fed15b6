//! What was confirmed is there after `kill -9`, at whatever instant it comes.
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

/// The servers in a process of their own.
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

const DATABASE: &str = "projects/test/databases/(default)";

fn document(id: &str) -> String {
    format!("{DATABASE}/documents/c/{id}")
}

/// Lives of the server, each ended by SIGKILL at an instant nobody chose.
const ROUNDS: usize = 200;

/// Lives where little is confirmed in each: on a disk that takes long to sync.
const MAX_ROUNDS: usize = 2_000;

/// Longest life in which calls are made, milliseconds: some die before their first answer, most in the middle of several.
const LIFE_MS: u64 = 120;

/// What callers were told, and what they tried: the server may keep more than it confirmed, never less.
#[derive(Default)]
struct Ledger {
    /// Messages whose publication was confirmed.
    published: HashSet<String>,
    /// Messages whose acknowledgement was sent, confirmed or not.
    acknowledging: HashSet<String>,
    /// Messages whose acknowledgement was confirmed.
    acknowledged: HashSet<String>,
    /// Pairs of documents whose common commit was confirmed, with the number in them.
    committed: BTreeMap<String, i64>,
    /// Objects whose upload was confirmed.
    uploaded: BTreeSet<String>,
}

impl Ledger {
    /// What is looked at after a round: all pairs now and then, else those of this round, so that the test stays short.
    fn of_round(&self, round: usize) -> Self {
        let first = i64::try_from(round * 10_000).unwrap();
        let mut committed = self.committed.clone();
        committed.retain(|_, number| round % 50 == 49 || *number >= first);
        Self { committed, uploaded: self.uploaded.clone(), ..Self::default() }
    }

    /// Whether so much was confirmed that nothing lost would mean something.
    fn is_rich(&self) -> bool {
        [self.acknowledged.len(), self.committed.len(), self.uploaded.len()].iter().all(|confirmed| *confirmed > ROUNDS)
    }
}

type Shared = Arc<Mutex<Ledger>>;

fn note(ledger: &Shared, entry: impl FnOnce(&mut Ledger)) {
    entry(&mut ledger.lock());
}

/// A call that hangs because the server is gone is a call that was not confirmed.
async fn confirmed<T, E>(call: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(5), call).await.ok()?.ok()
}

/// The content of an object, by its name: long enough that half of it would show.
fn content(name: &str) -> String {
    name.repeat(4_000)
}

/// The clients, as bare as they come: what is tested is the server.
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

    async fn publish(mut self, round: usize, ledger: Shared) -> Option<()> {
        for n in 0.. {
            let names: Vec<_> = (0..=n % 3).map(|part| format!("m-{round}-{n}-{part}")).collect();
            let message =
                |name: &String| ps::PubsubMessage { data: name.clone().into(), ..ps::PubsubMessage::default() };
            let messages = names.iter().map(message).collect();
            confirmed(self.publisher.publish(ps::PublishRequest { topic: TOPIC.into(), messages })).await?;
            note(&ledger, |ledger| ledger.published.extend(names));
        }
        None
    }

    /// Pulls a few messages without waiting for more.
    async fn pull(&mut self) -> Option<Vec<(String, String)>> {
        #[expect(deprecated, reason = "a look at what is there now is what this needs")]
        let pull = ps::PullRequest { subscription: SUBSCRIPTION.into(), max_messages: 100, return_immediately: true };
        let received = confirmed(self.subscriber.pull(pull)).await?.into_inner().received_messages;
        let name = |message: Option<ps::PubsubMessage>| String::from_utf8(message.unwrap().data).unwrap();
        Some(received.into_iter().map(|one| (one.ack_id, name(one.message))).collect())
    }

    async fn acknowledge(mut self, ledger: Shared) -> Option<()> {
        loop {
            let received = self.pull().await?;
            let (acks, names): (Vec<_>, Vec<_>) = received.into_iter().take(2).unzip();
            for name in &names {
                assert!(!ledger.lock().acknowledged.contains(name), "{name} was acknowledged");
            }
            if acks.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            note(&ledger, |ledger| ledger.acknowledging.extend(names.clone()));
            let call = ps::AcknowledgeRequest { subscription: SUBSCRIPTION.into(), ack_ids: acks };
            confirmed(self.subscriber.acknowledge(call)).await?;
            note(&ledger, |ledger| ledger.acknowledged.extend(names));
        }
    }

    /// Writes the same number into both documents of a pair, old pairs and new ones.
    async fn commit(mut self, round: usize, ledger: Shared) -> Option<()> {
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
            note(&ledger, |ledger| ledger.committed.extend([(pair, number)]));
        }
        None
    }

    async fn upload(self, round: usize, ledger: Shared) -> Option<()> {
        for n in 0.. {
            let name = format!("o-{round}-{n}");
            let address = format!("{}/upload/storage/v1/b/clips/o?uploadType=media&name={name}", self.url);
            let answer = confirmed(self.http.post(address).body(content(&name)).send()).await?;
            if !answer.status().is_success() {
                return None;
            }
            note(&ledger, |ledger| ledger.uploaded.extend([name]));
        }
        None
    }

    /// The number in a document, if it is there.
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

    /// Compares what is there with what was confirmed in a round.
    async fn check_round(&mut self, round: usize, ledger: &Ledger) {
        for (pair, confirmed) in &ledger.committed {
            let (a, b) = (self.number(&format!("{pair}-a")).await, self.number(&format!("{pair}-b")).await);
            assert_eq!(a, b, "half of a commit of {pair} is there");
            // A later commit of the same pair may have reached the disk without its answer reaching the caller.
            assert!(a.is_some_and(|found| found >= *confirmed), "{pair}: {confirmed} was confirmed, {a:?} is there");
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
            let answer = self.http.get(format!("{}/clips/{name}", self.url)).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), size), (200, &content(name).len().to_string().into()), "{name}");
            assert!(answer.text().await.unwrap() == content(name), "{name} is not what was sent");
        }
        for name in ledger.uploaded.iter().filter(|name| name.starts_with(&format!("o-{round}-"))) {
            assert!(listed.contains_key(name), "{name} was confirmed and is gone");
        }
    }

    /// Takes everything that is left in the queue.
    async fn drain(&mut self) -> HashSet<String> {
        let mut left = HashSet::new();
        loop {
            let received = self.pull().await.expect("the server lives");
            if received.is_empty() {
                return left;
            }
            left.extend(received.into_iter().map(|(_, name)| name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_and_nothing_is_half_there_however_often_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let ledger = Shared::default();
    let http = reqwest::Client::new();
    let process = Process::start(folder.path());
    PubSub::new(&process.url).await.with_queue().await;
    let made = http.post(format!("{}/storage/v1/b", process.url)).body(r#"{"name":"clips"}"#).send().await.unwrap();
    assert_eq!(made.status(), 200);
    process.kill();

    let mut lives = 0;
    while lives < ROUNDS || (lives < MAX_ROUNDS && !ledger.lock().is_rich()) {
        let round = lives;
        lives += 1;
        let process = Process::start(folder.path());
        let callers = Callers::new(&process.url, http.clone()).await;
        let life = Duration::from_millis(dice.u64(0..LIFE_MS));
        let kill = async {
            tokio::time::sleep(life).await;
            tokio::task::spawn_blocking(|| process.kill()).await.unwrap();
        };
        tokio::join!(
            callers.clone().publish(round, Arc::clone(&ledger)),
            callers.clone().acknowledge(Arc::clone(&ledger)),
            callers.clone().commit(round, Arc::clone(&ledger)),
            callers.clone().upload(round, Arc::clone(&ledger)),
            kill,
        );
        let process = Process::start(folder.path());
        let recent = ledger.lock().of_round(round);
        Callers::new(&process.url, http.clone()).await.check_round(round, &recent).await;
        process.kill();
    }

    let process = Process::start(folder.path());
    let mut callers = Callers::new(&process.url, http.clone()).await;
    let left = callers.drain().await;
    let ledger = ledger.lock();
    let (published, acknowledged) = (ledger.published.len(), ledger.acknowledged.len());
    println!(
        "{lives} lives: {published} messages published, {acknowledged} acknowledged, {} pairs committed, {} objects uploaded",
        ledger.committed.len(),
        ledger.uploaded.len(),
    );
    assert!(ledger.is_rich(), "the test did its work");
    let lost: Vec<_> =
        ledger.published.iter().filter(|name| !ledger.acknowledging.contains(*name) && !left.contains(*name)).collect();
    assert!(lost.is_empty(), "confirmed and gone: {lost:?}");
    let risen: Vec<_> = ledger.acknowledged.intersection(&left).collect();
    assert!(risen.is_empty(), "acknowledged and back: {risen:?}");
    let files = folder.path().join("objects").read_dir().unwrap().count();
    // Uploads that reached the disk without their answer reaching anyone make a few more; orphans would make many.
    assert!((ledger.uploaded.len()..=ledger.uploaded.len() + lives).contains(&files), "{files} files");
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let listen = "127.0.0.1:0".parse().unwrap();
    let second =
        clipfleet_emulator::Emulator::start(clipfleet_emulator::Config { data: folder.path().into(), listen }).await;
    assert!(matches!(second, Err(clipfleet_emulator::StartError::InUse(_))), "{second:?}");
    process.kill();
    // The lock dies with its holder.
    start(folder.path()).await.stop().await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_must_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = clipfleet_emulator::Config { data: folder.path().into(), listen: "0.0.0.0:0".parse().unwrap() };
    let refused = clipfleet_emulator::Emulator::start(config.clone()).await;
    assert!(matches!(refused, Err(clipfleet_emulator::StartError::NotLoopback(_))), "{refused:?}");
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
