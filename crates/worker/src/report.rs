//! Publishes an attempt's events: each confirmed, and progress in the background, at most once a second and at least
//! every three. After the lease is lost nothing is published.

use crate::lease::LeaseGuard;
use clipfleet_cloud::{CloudError, Message, Queue};
use clipfleet_contract::{event, names};
use clipfleet_domain::{
    attempt::Attempt,
    ids::AttemptId,
    job::{Event, EventKind, Job},
    lifecycle::{ClipEvent, ClipEventKind, Encoding},
    progress::{self, Phase},
};
use clipfleet_service::{clock::Clock, trace};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Documents are written at most once a second, so publishing more often would be useless.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The longest a running attempt goes without an event: its latest progress is published again. After ten seconds
/// without one it counts as dead ([`clip_watch`](crate::clip_watch)).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// Reports one attempt.
pub(crate) struct Reporter {
    publisher: Arc<EventPublisher>,
    latest: watch::Sender<Option<ClipEventKind>>,
    background: JoinHandle<()>,
    /// The highest percent so far. A source that is read once more starts over, its progress does not: a later report
    /// stands for all earlier ones of the attempt ([`ClipEvent::supersedes`]).
    percent: AtomicU8,
    /// The percent of the first report of the encoder, and its time; Unix time, milliseconds.
    encoding_since: OnceLock<(u8, i64)>,
}

struct EventPublisher {
    queue: Arc<dyn Queue>,
    clock: Clock,
    job: Job,
    attempt: Attempt,
    guard: LeaseGuard,
    sequence: AtomicU64,
    /// The attempt's trace, to which events published in the background belong, too.
    trace: BTreeMap<String, String>,
}

impl Reporter {
    pub(crate) fn new(queue: Arc<dyn Queue>, clock: Clock, job: &Job, attempt: Attempt, guard: LeaseGuard) -> Self {
        let (job, sequence, trace) = (job.clone(), AtomicU64::new(0), trace::inject());
        let publisher = Arc::new(EventPublisher { queue, clock, job, attempt, guard, sequence, trace });
        let started = ClipEventKind::Progressed {
            phase: Phase::Fetching,
            percent: 0,
            eta_seconds: None,
            encoding: Encoding::default(),
        };
        let (latest, receiver) = watch::channel(Some(started));
        let background = tokio::spawn(publish_progress(Arc::clone(&publisher), receiver));
        Self { publisher, latest, background, percent: AtomicU8::new(0), encoding_since: OnceLock::new() }
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.publisher.attempt
    }

    pub(crate) fn attempt_id(&self) -> &AttemptId {
        &self.publisher.attempt.id
    }

    /// The guard of the attempt's lease.
    pub(crate) fn guard(&self) -> &LeaseGuard {
        &self.publisher.guard
    }

    /// From acceptance of the clip to the start of this attempt, milliseconds.
    pub(crate) fn queued_ms(&self) -> i64 {
        (self.publisher.attempt.started_at_ms - self.publisher.job.queued_at_ms).max(0)
    }

    /// From acceptance of the clip to now, milliseconds.
    pub(crate) fn total_ms(&self) -> i64 {
        (self.publisher.clock.now_ms() - self.publisher.job.queued_at_ms).max(0)
    }

    /// From the start of this attempt to now, milliseconds.
    pub(crate) fn slot_ms(&self) -> i64 {
        (self.publisher.clock.now_ms() - self.publisher.attempt.started_at_ms).max(0)
    }

    /// Publishes an event. Returns when it is confirmed, and never when the lease is lost. Discards unpublished
    /// progress, unless the event is the first.
    pub(crate) async fn publish(&self, kind: ClipEventKind) -> Result<(), CloudError> {
        if kind != ClipEventKind::Started {
            self.latest.send_replace(None);
        }
        self.publisher.publish(kind).await
    }

    /// Records how far the attempt is. Only the latest progress is published, in the background.
    pub(crate) fn progress(&self, phase: Phase, fraction: f64, encoding: Encoding) {
        let percent = progress::percent(phase, fraction);
        let percent = percent.max(self.percent.fetch_max(percent, Ordering::Relaxed));
        let now_ms = self.publisher.clock.now_ms();
        // Opening the source takes as long for a short clip as for a long one, so it says nothing about the rest.
        let eta_seconds = (phase >= Phase::Encoding).then(|| *self.encoding_since.get_or_init(|| (percent, now_ms)));
        let eta_seconds = eta_seconds.and_then(|(since, at_ms)| progress::eta_seconds(since, percent, now_ms - at_ms));
        self.latest.send_replace(Some(ClipEventKind::Progressed { phase, percent, eta_seconds, encoding }));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.background.abort();
    }
}

async fn publish_progress(publisher: Arc<EventPublisher>, mut latest: watch::Receiver<Option<ClipEventKind>>) {
    loop {
        match timeout(HEARTBEAT_INTERVAL, latest.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
        let Some(kind) = latest.borrow_and_update().clone() else { continue };
        if let Err(error) = publisher.publish(kind).await {
            tracing::debug!(%error, "progress not published");
        }
        sleep(PROGRESS_INTERVAL).await;
    }
}

impl EventPublisher {
    async fn publish(&self, kind: ClipEventKind) -> Result<(), CloudError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let attempt = Attempt { sequence, ..self.attempt.clone() };
        let event =
            ClipEvent { generation: self.job.generation, at_ms: self.clock.now_ms(), attempt: Some(attempt), kind };
        let kind = EventKind::Clip { id: self.job.clip.id.clone(), event };
        let event = Event { batch: self.job.batch.clone(), kind };
        let attributes = [
            (names::ATTRIBUTE_BATCH.to_owned(), event.batch.id.to_string()),
            (names::ATTRIBUTE_CLIP.to_owned(), self.job.clip.id.to_string()),
            (names::ATTRIBUTE_EVENT.to_owned(), event::kind_name(&event).to_owned()),
        ];
        let attributes = attributes.into_iter().chain(self.trace.clone()).collect();
        let message = Message { data: event::encode(&event).into(), attributes };
        self.guard.ensure_held().await;
        self.queue.publish(names::PROGRESS_EVENTS, message).await.map(|_| ())
    }
}
