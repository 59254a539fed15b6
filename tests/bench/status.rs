//! The status service under a storm: a fleet of thousands of clips that report all at once.

use crate::{print_latency, servers::Server};
use clipfleet_cloud::{Cloud, Document, Message};
use clipfleet_contract::{event, names};
use clipfleet_domain::{
    attempt::Attempt,
    ids::{AttemptId, BatchId, ClipId, OwnerUid, ProjectId, WorkerId},
    job::{BatchContext, Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind, Encoding, Output},
    progress::Phase,
};
use clipfleet_tests::{
    fleet::{role, text},
    pipeline_process::{peak_kib, resident_kib},
};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Clips that report at once, in batches of a hundred; events a second of all of them; how long.
const CLIPS: usize = 5_000;
const BATCH: usize = 100;
const PER_SECOND: usize = 10_000;
const SECONDS: u64 = 60;

/// Events that are published together, ten times a second.
const TICK: Duration = Duration::from_millis(100);
const PER_TICK: usize = PER_SECOND / 10;

/// Clips that complete in each tick, and clips whose documents are watched for how often they are written.
const ENDS_PER_TICK: usize = 2;
const WATCHED: usize = 50;

/// Longest wait for what was published to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clip that tells of itself, and what it has told so far.
pub(crate) struct Teller {
    pub(crate) batch: BatchContext,
    clip: ClipId,
    sequence: u64,
    percent: u8,
}

impl Teller {
    /// A clip of a batch with so many.
    pub(crate) fn new(batch: &str, size: usize, clip: &str) -> Self {
        let batch = BatchContext {
            id: BatchId::parse(batch).unwrap(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: ProjectId::parse("p1").unwrap(),
            size: size as u32,
        };
        Self { batch, clip: ClipId::parse(clip).unwrap(), sequence: 0, percent: 0 }
    }

    fn document(&self) -> String {
        names::clip_document(&self.batch.id, &self.clip)
    }

    pub(crate) fn tell(&mut self, kind: ClipEventKind, at_ms: i64) -> Message {
        self.sequence += 1;
        let attempt = Attempt {
            id: AttemptId::parse(&format!("{}-{}", self.batch.id, self.clip)).unwrap(),
            number: 1,
            started_at_ms: 1,
            worker: WorkerId::parse("w1").unwrap(),
            sequence: self.sequence,
        };
        let event = ClipEvent { generation: 0, at_ms, attempt: Some(attempt), kind };
        let kind = EventKind::Clip { id: self.clip.clone(), event };
        let data = event::encode(&Event { batch: self.batch.clone(), kind }).into();
        Message { data, ..Message::default() }
    }

    fn progress(&mut self, at_ms: i64) -> Message {
        self.percent = (self.percent + 1).min(99);
        let encoding = Encoding { encoder: "x264enc".into(), ..Encoding::default() };
        let kind =
            ClipEventKind::Progressed { phase: Phase::Encoding, percent: self.percent, eta_seconds: Some(9), encoding };
        self.tell(kind, at_ms)
    }

    fn end(&mut self, at_ms: i64) -> Message {
        let output = Output { uri: "gs://media/clip.mp4".into(), ..Output::default() };
        self.tell(ClipEventKind::Completed { output, encoding: Encoding::default() }, at_ms)
    }
}

/// All figures of the storm.
pub(crate) async fn storm(directory: &Path) {
    let server = Server::start(&directory.join("storm"));
    let cloud = server.connect().await;
    for (topic, subscription) in [
        (names::PROGRESS_EVENTS, names::PROGRESS_EVENTS_STATUS),
        (names::CLIP_JOBS_DEAD_LETTER, names::CLIP_JOBS_DEAD_LETTER_STATUS),
    ] {
        crate::servers::ensure_queue(&cloud, topic, subscription).await;
    }
    let status = role(server.address(), &["status", "--listen", "127.0.0.1:0"]);
    let mut tellers: Vec<Teller> = (0..CLIPS)
        .map(|n| Teller::new(&format!("storm-{}", n / BATCH), BATCH, &format!("clip-{}", n % BATCH)))
        .collect();
    let watched: Vec<String> = tellers.iter().rev().take(WATCHED).map(Teller::document).collect();
    let watching = tokio::spawn(watch(cloud.clone(), watched));

    let started = Instant::now();
    let (mut publishing, mut seeing) = (JoinSet::new(), JoinSet::new());
    let (mut published, mut ended, mut resident) = (0, 0, Vec::new());
    let mut ticks = tokio::time::interval(TICK);
    for tick in 0..SECONDS as usize * 10 {
        ticks.tick().await;
        let at_ms = tick as i64 * 100;
        for _ in 0..PER_TICK - ENDS_PER_TICK {
            // The clips from the front on are those that end.
            let alive = CLIPS - ended;
            let message = tellers[ended + published % alive].progress(at_ms);
            publish(&cloud, &mut publishing, message);
            published += 1;
        }
        for _ in 0..ENDS_PER_TICK {
            let message = tellers[ended].end(at_ms);
            seeing.spawn(seen_completed(cloud.clone(), tellers[ended].document(), message));
            ended += 1;
            published += 1;
        }
        while publishing.try_join_next().is_some() {}
        if tick % 10 == 9 {
            resident.push(resident_kib(status.id()) >> 10);
        }
    }
    let rate = published as f64 / started.elapsed().as_secs_f64();
    publishing.join_all().await;
    let late = covered(&cloud, &tellers[CLIPS - BATCH..]).await;
    println!(
        "status service: {published} events of {CLIPS} clips at {rate:.0}/s; the last of them readable {:.1} s after it was published",
        late.as_secs_f64()
    );
    print_latency("  a clip's completion published to read, meanwhile", seeing.join_all().await);
    let gaps = watching.await.unwrap();
    println!(
        "  writes of a document: {:.2} a second, {} ms between two at least, {} documents watched",
        1_000.0 * gaps.len() as f64 / gaps.iter().sum::<i64>().max(1) as f64,
        gaps.iter().min().unwrap(),
        WATCHED
    );
    let at = |share: usize| resident[(resident.len() - 1) * share / 4];
    println!(
        "  memory of the service after each quarter of the minute: {}, {}, {}, {} MiB; at most {} MiB",
        at(1),
        at(2),
        at(3),
        at(4),
        peak_kib(status.id()) >> 10
    );
}

fn publish(cloud: &Cloud, publishing: &mut JoinSet<()>, message: Message) {
    let queue = cloud.queue.clone();
    publishing.spawn(async move {
        queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
    });
}

/// Publishes a clip's completion and waits until its document shows it.
async fn seen_completed(cloud: Cloud, document: String, message: Message) -> Duration {
    let started = Instant::now();
    cloud.queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
    loop {
        let found = cloud.documents.get(std::slice::from_ref(&document)).await.unwrap().remove(0);
        if found.is_some_and(|document| text(&document, "status") == "completed") {
            return started.elapsed();
        }
        assert!(started.elapsed() < PATIENCE, "{document} does not show its end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long until the documents of these clips show their last percent.
async fn covered(cloud: &Cloud, tellers: &[Teller]) -> Duration {
    let started = Instant::now();
    let paths: Vec<String> = tellers.iter().map(Teller::document).collect();
    loop {
        let found = cloud.documents.get(&paths).await.unwrap();
        let shown = |(found, teller): (&Option<Document>, &Teller)| {
            found.as_ref().and_then(|found| found.field("progress").as_integer()) == Some(teller.percent.into())
        };
        if found.iter().zip(tellers).all(shown) {
            return started.elapsed();
        }
        assert!(started.elapsed() < PATIENCE, "documents do not show the last progress");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Milliseconds between the writes of each of these documents, read ten times a second, as long as they are written.
async fn watch(cloud: Cloud, paths: Vec<String>) -> Vec<i64> {
    let mut written: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < until {
        for found in cloud.documents.get(&paths).await.unwrap().into_iter().flatten() {
            let at = found.version.seconds * 1_000 + i64::from(found.version.nanos) / 1_000_000;
            let times = written.entry(found.path).or_default();
            if times.last() != Some(&at) {
                times.push(at);
            }
        }
        tokio::time::sleep(TICK).await;
    }
    written.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).collect()
}
