//! The status service under load: thousands of clips that report at the same time.

use crate::{emulator::Server, print_latency};
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

/// Clips that report at the same time, the size of their batches, events per second of all of them, and the duration.
const CLIP_COUNT: usize = 5_000;
const BATCH_SIZE: usize = 100;
const EVENTS_PER_SECOND: usize = 10_000;
const SECONDS: u64 = 60;

/// Events are published together, ten times a second.
const TICK: Duration = Duration::from_millis(100);
const EVENTS_PER_TICK: usize = EVENTS_PER_SECOND / 10;

/// Clips that complete in each tick, and documents that are polled to measure how often they are written.
const ENDS_PER_TICK: usize = 2;
const WATCHED_DOCUMENTS: usize = 50;

/// Maximum wait until a document shows a published event.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A clip that publishes events, and its progress so far.
pub(crate) struct SimulatedClip {
    pub(crate) batch: BatchContext,
    clip: ClipId,
    sequence: u64,
    percent: u8,
}

impl SimulatedClip {
    /// A clip of a batch with `size` clips.
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

    pub(crate) fn event(&mut self, kind: ClipEventKind, at_ms: i64) -> Message {
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
        self.event(kind, at_ms)
    }

    fn end(&mut self, at_ms: i64) -> Message {
        let output = Output { uri: "gs://media/clip.mp4".into(), ..Output::default() };
        self.event(ClipEventKind::Completed { output, encoding: Encoding::default() }, at_ms)
    }
}

/// Measures the status service under load.
pub(crate) async fn measure(directory: &Path) {
    let server = Server::start(&directory.join("load"));
    let cloud = server.connect().await;
    for (topic, subscription) in [
        (names::PROGRESS_EVENTS, names::PROGRESS_EVENTS_STATUS),
        (names::CLIP_JOBS_DEAD_LETTER, names::CLIP_JOBS_DEAD_LETTER_STATUS),
    ] {
        crate::emulator::ensure_queue(&cloud, topic, subscription).await;
    }
    let status = role(server.address(), &["status", "--listen", "127.0.0.1:0"]);
    let mut clips: Vec<SimulatedClip> = (0..CLIP_COUNT)
        .map(|n| {
            SimulatedClip::new(&format!("load-{}", n / BATCH_SIZE), BATCH_SIZE, &format!("clip-{}", n % BATCH_SIZE))
        })
        .collect();
    let watched: Vec<String> = clips.iter().rev().take(WATCHED_DOCUMENTS).map(SimulatedClip::document).collect();
    let intervals = tokio::spawn(write_intervals(cloud.clone(), watched));

    let started = Instant::now();
    let (mut publishing, mut measuring) = (JoinSet::new(), JoinSet::new());
    let (mut published, mut ended, mut resident) = (0, 0, Vec::new());
    let mut ticks = tokio::time::interval(TICK);
    for tick in 0..SECONDS as usize * 10 {
        ticks.tick().await;
        let at_ms = tick as i64 * 100;
        for _ in 0..EVENTS_PER_TICK - ENDS_PER_TICK {
            // Clips end in order, from the first one on.
            let running = CLIP_COUNT - ended;
            let message = clips[ended + published % running].progress(at_ms);
            publish(&cloud, &mut publishing, message);
            published += 1;
        }
        for _ in 0..ENDS_PER_TICK {
            let message = clips[ended].end(at_ms);
            measuring.spawn(measure_completion(cloud.clone(), clips[ended].document(), message));
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
    let late = wait_until_shown(&cloud, &clips[CLIP_COUNT - BATCH_SIZE..]).await;
    println!(
        "status service: {published} events of {CLIP_COUNT} clips at {rate:.0}/s; the last of them readable {:.1} s \
         after it was published",
        late.as_secs_f64()
    );
    print_latency("  a clip's completion published to read, meanwhile", measuring.join_all().await);
    let intervals = intervals.await.unwrap();
    println!(
        "  writes of a document: {:.2} a second, {} ms between two at least, {} documents watched",
        1_000.0 * intervals.len() as f64 / intervals.iter().sum::<i64>().max(1) as f64,
        intervals.iter().min().unwrap(),
        WATCHED_DOCUMENTS
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

/// Publishes a clip's completion and returns how long its document takes to show it.
async fn measure_completion(cloud: Cloud, document: String, message: Message) -> Duration {
    let started = Instant::now();
    cloud.queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
    loop {
        let found = cloud.documents.get(std::slice::from_ref(&document)).await.unwrap().remove(0);
        if found.is_some_and(|document| text(&document, "status") == "completed") {
            return started.elapsed();
        }
        assert!(started.elapsed() < WAIT_TIMEOUT, "{document} does not show its end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the documents of these clips show their last percent, and returns how long that took.
async fn wait_until_shown(cloud: &Cloud, clips: &[SimulatedClip]) -> Duration {
    let started = Instant::now();
    let paths: Vec<String> = clips.iter().map(SimulatedClip::document).collect();
    loop {
        let found = cloud.documents.get(&paths).await.unwrap();
        let shown = |(found, clip): (&Option<Document>, &SimulatedClip)| {
            found.as_ref().and_then(|found| found.field("progress").as_integer()) == Some(clip.percent.into())
        };
        if found.iter().zip(clips).all(shown) {
            return started.elapsed();
        }
        assert!(started.elapsed() < WAIT_TIMEOUT, "documents do not show the last progress");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Milliseconds between the writes of each of these documents, which are read ten times a second.
async fn write_intervals(cloud: Cloud, paths: Vec<String>) -> Vec<i64> {
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
