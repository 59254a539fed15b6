//! Documents that the store permanently refuses, through the whole service, on a cloud in memory and in virtual time.

use crate::{Config, fold};
use async_trait::async_trait;
use clipfleet_cloud::{
    Amendment, Cloud, CloudError, Document, Documents, ErrorKind, Message, Search, SubscriptionSpec, Value, Version,
    Write, memory::Memory,
};
use clipfleet_contract::{event, names};
use clipfleet_domain::{
    attempt::Attempt,
    ids::{AttemptId, BatchId, ClipId, OwnerUid, ProjectId, WorkerId},
    job::{BatchContext, Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind, Encoding, Output},
    progress::Phase,
};
use clipfleet_service::{clock::Clock, health::Readiness};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

/// The number of batches besides the one with the refused document: enough that several commits contain some of them.
const OTHERS: usize = 50;

/// Whether the store permanently refuses a write.
type Refuses = fn(&Write) -> bool;

struct Refusing {
    store: Arc<dyn Documents>,
    refuses: Refuses,
    on: Arc<AtomicBool>,
}

#[async_trait]
impl Documents for Refusing {
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
        self.store.get(paths).await
    }

    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
        self.store.list(collection).await
    }

    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
        self.store.find(collection, search).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        if self.on.load(Ordering::Relaxed) && writes.iter().any(self.refuses) {
            return Err(CloudError::new(ErrorKind::Invalid, "commit: a document is too large"));
        }
        self.store.commit(writes).await
    }

    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
        self.store.amend(writes, amendment).await
    }
}

struct Stage {
    memory: Memory,
    cloud: Cloud,
    refuses: Refuses,
    /// Whether the store refuses writes at all.
    on: Arc<AtomicBool>,
    running: (CancellationToken, JoinHandle<Result<(), CloudError>>),
}

fn start(
    memory: &Memory,
    refuses: Refuses,
    on: &Arc<AtomicBool>,
) -> (CancellationToken, JoinHandle<Result<(), CloudError>>) {
    let (cloud, _) = memory.connect();
    let documents = Arc::new(Refusing { store: cloud.documents.clone(), refuses, on: Arc::clone(on) });
    let (cloud, stop) = (Cloud { documents, ..cloud }, CancellationToken::new());
    let folding = fold(Config::default(), cloud, Clock::starting_at(0), Readiness::default(), stop.clone());
    (stop, tokio::spawn(folding))
}

impl Stage {
    async fn new(refuses: Refuses) -> Self {
        let memory = Memory::new();
        let (cloud, _) = memory.connect();
        for (name, topic) in [
            (names::PROGRESS_EVENTS_STATUS, names::PROGRESS_EVENTS),
            (names::CLIP_JOBS_DEAD_LETTER_STATUS, names::CLIP_JOBS_DEAD_LETTER),
        ] {
            cloud.queue.ensure_topic(topic).await.unwrap();
            let (name, topic, ack_deadline) = (name.to_owned(), topic.to_owned(), Duration::from_secs(60));
            let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        let on = Arc::new(AtomicBool::new(true));
        let running = start(&memory, refuses, &on);
        Self { memory, cloud, refuses, on, running }
    }

    /// Stops the service as a signal does, and starts another.
    async fn restart(self) -> Self {
        let (stop, folding) = self.running;
        stop.cancel();
        folding.await.unwrap().unwrap();
        let running = start(&self.memory, self.refuses, &self.on);
        Self { running, ..self }
    }

    async fn publish(&self, batch: &str, generation: u32, kind: ClipEventKind) {
        let attempt = Attempt {
            id: AttemptId::parse("a1").unwrap(),
            number: 1,
            started_at_ms: 10,
            worker: WorkerId::parse("w1").unwrap(),
            sequence: if matches!(kind, ClipEventKind::Completed { .. }) { 2 } else { 1 },
        };
        let event = ClipEvent { generation, at_ms: 20, attempt: Some(attempt), kind };
        let context = BatchContext {
            id: BatchId::parse(batch).unwrap(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: ProjectId::parse("p1").unwrap(),
            size: 1,
        };
        let kind = EventKind::Clip { id: ClipId::parse("c1").unwrap(), event };
        let data = event::encode(&Event { batch: context, kind }).into();
        self.cloud.queue.publish(names::PROGRESS_EVENTS, Message { data, ..Message::default() }).await.unwrap();
    }

    /// Publishes progress and completion of a clip.
    async fn complete(&self, batch: &str) {
        let encoding = Encoding { encoder: "x264enc".into(), ..Encoding::default() };
        let phase = Phase::Encoding;
        let progressed =
            ClipEventKind::Progressed { phase, percent: 40, eta_seconds: None, encoding: encoding.clone() };
        self.publish(batch, 0, progressed).await;
        let output = Output { uri: "gs://b/o".into(), ..Output::default() };
        self.publish(batch, 0, ClipEventKind::Completed { output, encoding }).await;
    }

    async fn others_complete(&self) {
        for number in 0..OTHERS {
            self.complete(&format!("b{number}")).await;
        }
    }

    /// Waits until every event is acked.
    async fn settled(&self) {
        for _ in 0..3_000 {
            if self.memory.unsettled(names::PROGRESS_EVENTS_STATUS) == 0 {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("{} events are still unsettled", self.memory.unsettled(names::PROGRESS_EVENTS_STATUS));
    }

    async fn document(&self, path: &str) -> Option<Document> {
        self.cloud.documents.get_one(path.to_owned()).await.unwrap()
    }

    async fn status(&self, path: &str) -> String {
        self.document(path)
            .await
            .and_then(|found| found.field("status").as_text().map(str::to_owned))
            .unwrap_or_default()
    }

    async fn others_are_completed(&self) {
        for number in 0..OTHERS {
            for path in [format!("exportBatches/b{number}"), format!("exportBatches/b{number}/clips/c1")] {
                assert_eq!(self.status(&path).await, "completed", "{path}");
            }
        }
    }
}

const BATCH: &str = "exportBatches/bad";
const CLIP: &str = "exportBatches/bad/clips/c1";

/// Refuses a clip's document unless it is reduced.
fn refuses_unless_reduced(write: &Write) -> bool {
    write.path == CLIP && write.fields["encoder"] != Value::String(String::new())
}

#[tokio::test(start_paused = true)]
async fn a_refused_document_does_not_delay_others_and_is_replaced_by_a_reduced_one() {
    let stage = Stage::new(refuses_unless_reduced).await;
    let encoding = Encoding { encoder: "x264enc".into(), ..Encoding::default() };
    let progressed = ClipEventKind::Progressed { phase: Phase::Encoding, percent: 40, eta_seconds: None, encoding };
    stage.publish("bad", 0, progressed).await;
    stage.others_complete().await;
    stage.settled().await;
    stage.others_are_completed().await;
    let clip = stage.document(CLIP).await.expect("a reduced document");
    assert_eq!(clip.field("status").as_text(), Some("failed"));
    let Value::Map(error) = &clip.fields["error"] else { panic!("{clip:?}") };
    assert_eq!((&error["code"], &error["retryable"]), (&Value::String("document_refused".into()), &Value::Bool(true)));
    assert_eq!(stage.status(BATCH).await, "failed");

    // Later events of its attempt change nothing, and a retry starts over.
    stage.complete("bad").await;
    stage.settled().await;
    assert_eq!(stage.status(CLIP).await, "failed");
    stage.publish("bad", 1, ClipEventKind::Started).await;
    stage.settled().await;
    assert_eq!(stage.status(CLIP).await, "processing");
}

#[tokio::test(start_paused = true)]
async fn a_completed_clip_stays_completed_in_its_reduced_document() {
    let stage = Stage::new(refuses_unless_reduced).await;
    let encoding = Encoding { encoder: "x264enc".into(), ..Encoding::default() };
    let output = Output { uri: "gs://b/o".into(), ..Output::default() };
    stage.publish("bad", 0, ClipEventKind::Completed { output, encoding }).await;
    stage.settled().await;
    let clip = stage.document(CLIP).await.expect("a reduced document");
    assert_eq!(
        (clip.field("status").as_text(), clip.field("outputUri").as_text()),
        (Some("completed"), Some("gs://b/o"))
    );
    assert_eq!(stage.status(BATCH).await, "completed");
}

#[tokio::test(start_paused = true)]
async fn the_batch_records_the_end_of_a_clip_whose_document_cannot_be_written() {
    let stage = Stage::new(|write| write.path == CLIP).await;
    stage.others_complete().await;
    stage.publish("bad", 0, ClipEventKind::Started).await;
    stage.settled().await;
    stage.others_are_completed().await;
    assert_eq!(stage.document(CLIP).await, None);
    let batch = stage.document(BATCH).await.unwrap();
    assert_eq!((batch.field("status").as_text(), batch.field("failedClips").as_integer()), (Some("failed"), Some(1)));

    // Another instance reads the end from there, and writes the same document.
    let stage = stage.restart().await;
    stage.complete("bad").await;
    stage.settled().await;
    assert_eq!(stage.document(BATCH).await.unwrap().fields, batch.fields);
    stage.on.store(false, Ordering::Relaxed);
    stage.publish("bad", 1, ClipEventKind::Started).await;
    stage.settled().await;
    assert_eq!((stage.status(CLIP).await, stage.status(BATCH).await), ("processing".into(), "processing".into()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_accepts_nothing_loses_no_event() {
    let stage = Stage::new(|_| true).await;
    stage.others_complete().await;
    sleep(Duration::from_secs(3_600)).await;
    assert!(stage.memory.unsettled(names::PROGRESS_EVENTS_STATUS) >= OTHERS, "the events stay unsettled");
    stage.on.store(false, Ordering::Relaxed);
    stage.settled().await;
    stage.others_are_completed().await;
}

#[tokio::test(start_paused = true)]
async fn several_refused_documents_of_one_commit_are_all_handled() {
    let stage = Stage::new(|write| write.path.ends_with("0/clips/c1")).await;
    stage.others_complete().await;
    stage.settled().await;
    let mut states = BTreeMap::<String, usize>::new();
    for number in 0..OTHERS {
        *states.entry(stage.status(&format!("exportBatches/b{number}")).await).or_default() += 1;
        let clip = stage.document(&format!("exportBatches/b{number}/clips/c1")).await;
        assert_eq!(clip.is_none(), number % 10 == 0, "b{number}");
    }
    // Clips whose progress could not be written have failed, and so have their batches.
    assert_eq!(states, BTreeMap::from([("completed".to_owned(), OTHERS - 5), ("failed".to_owned(), 5)]));
}
