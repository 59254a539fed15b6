//! What an attempt tells the fleet: events, each confirmed, and progress, at most once a second, at least every three, and never in
//! the way. Of an attempt whose lease is lost nothing is told.

use crate::lease::Hold;
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
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Documents are written at most once a second, so more would be waste.
const EVERY: Duration = Duration::from_secs(1);

/// Longest silence of a living attempt: what it said last is said again. Others take over where they hear nothing for ten.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// The voice of one attempt.
pub(crate) struct Reporter {
    voice: Arc<Voice>,
    latest: watch::Sender<Option<ClipEventKind>>,
    background: JoinHandle<()>,
    /// The highest percent so far. A source that is read once more starts over, what is told of it does not: a later
    /// report stands for all that the attempt told before ([`ClipEvent::supersedes`]).
    percent: AtomicU8,
    /// Objects that no visible clip names may be there.
    objects: AtomicBool,
}

struct Voice {
    queue: Arc<dyn Queue>,
    clock: Clock,
    job: Job,
    attempt: Attempt,
    hold: Hold,
    sequence: AtomicU64,
    /// The attempt's trace; what is told in the background is of it, too.
    trace: BTreeMap<String, String>,
}

impl Reporter {
    pub(crate) fn new(queue: Arc<dyn Queue>, clock: Clock, job: &Job, attempt: Attempt, hold: Hold) -> Self {
        let (job, sequence, trace) = (job.clone(), AtomicU64::new(0), trace::labels());
        let voice = Arc::new(Voice { queue, clock, job, attempt, hold, sequence, trace });
        let alive = ClipEventKind::Progressed {
            phase: Phase::Fetching,
            percent: 0,
            eta_seconds: None,
            encoding: Encoding::default(),
        };
        let (latest, receiver) = watch::channel(Some(alive));
        let background = tokio::spawn(speak(Arc::clone(&voice), receiver));
        Self { voice, latest, background, percent: AtomicU8::new(0), objects: AtomicBool::new(false) }
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.voice.attempt
    }

    pub(crate) fn attempt_id(&self) -> &AttemptId {
        &self.voice.attempt.id
    }

    /// The hold on the attempt's lease.
    pub(crate) fn hold(&self) -> &Hold {
        &self.voice.hold
    }

    /// Notes that objects are about to be stored.
    pub(crate) fn objects_may_follow(&self) {
        self.objects.store(true, Ordering::Relaxed);
    }

    /// Notes that whatever was stored is where it belongs.
    pub(crate) fn objects_are_visible(&self) {
        self.objects.store(false, Ordering::Relaxed);
    }

    /// Whether objects may have been stored that no visible clip names.
    pub(crate) fn may_have_left_objects(&self) -> bool {
        self.objects.load(Ordering::Relaxed)
    }

    /// From acceptance of the clip to the start of this attempt, milliseconds.
    pub(crate) fn queued_ms(&self) -> i64 {
        (self.voice.attempt.started_at_ms - self.voice.job.queued_at_ms).max(0)
    }

    /// From acceptance of the clip to now, milliseconds.
    pub(crate) fn total_ms(&self) -> i64 {
        (self.voice.clock.now_ms() - self.voice.job.queued_at_ms).max(0)
    }

    /// From the start of this attempt to now, milliseconds.
    pub(crate) fn slot_ms(&self) -> i64 {
        (self.voice.clock.now_ms() - self.voice.attempt.started_at_ms).max(0)
    }

    /// Tells an event; returns when it is confirmed, and never when the lease is lost. After any but the first, what progress was still
    /// unsaid stays unsaid.
    pub(crate) async fn tell(&self, kind: ClipEventKind) -> Result<(), CloudError> {
        if kind != ClipEventKind::Started {
            self.latest.send_replace(None);
        }
        self.voice.tell(kind).await
    }

    /// Notes how far the attempt is; said in the background, the latest first, the superseded never.
    pub(crate) fn progress(&self, phase: Phase, fraction: f64, encoding: Encoding) {
        let percent = progress::percent(phase, fraction);
        let percent = percent.max(self.percent.fetch_max(percent, Ordering::Relaxed));
        let elapsed_ms = self.voice.clock.now_ms() - self.voice.attempt.started_at_ms;
        let eta_seconds = progress::eta_seconds(percent, elapsed_ms);
        self.latest.send_replace(Some(ClipEventKind::Progressed { phase, percent, eta_seconds, encoding }));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.background.abort();
    }
}

async fn speak(voice: Arc<Voice>, mut latest: watch::Receiver<Option<ClipEventKind>>) {
    loop {
        match timeout(HEARTBEAT, latest.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
        let Some(kind) = latest.borrow_and_update().clone() else { continue };
        if let Err(error) = voice.tell(kind).await {
            tracing::debug!(%error, "progress not told");
        }
        sleep(EVERY).await;
    }
}

impl Voice {
    async fn tell(&self, kind: ClipEventKind) -> Result<(), CloudError> {
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
        self.hold.still().await;
        self.queue.publish(names::PROGRESS_EVENTS, message).await.map(|_| ())
    }
}
