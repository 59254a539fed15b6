//! Records the events of a fleet from its own subscription: each event of an attempt, and when it arrived.

use clipfleet_cloud::{Cloud, SubscriptionSpec};
use clipfleet_contract::{event, names};
use clipfleet_domain::{
    attempt::Attempt,
    job::EventKind,
    lifecycle::{ClipEvent, ClipEventKind},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// An event of an attempt.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// When it arrived.
    pub at: Instant,
    /// The id of its clip.
    pub clip: String,
    /// The event.
    pub event: ClipEvent,
}

impl RecordedEvent {
    /// The attempt that published it.
    ///
    /// # Panics
    /// Never: only events of an attempt are recorded.
    pub fn attempt(&self) -> &Attempt {
        self.event.attempt.as_ref().expect("an event of an attempt")
    }

    /// Whether it is the final event of its attempt.
    pub fn is_final(&self) -> bool {
        !matches!(self.event.kind, ClipEventKind::Started | ClipEventKind::Progressed { .. })
    }
}

/// The recorder. Dropping it stops the recording.
pub struct EventRecorder {
    events: Arc<Mutex<Vec<RecordedEvent>>>,
    task: JoinHandle<()>,
}

impl EventRecorder {
    /// Starts recording. Each event is recorded once, even if it is delivered again, or published again because an
    /// answer was lost: its sequence number within its attempt identifies it.
    ///
    /// # Panics
    /// If the fleet has no such topic.
    pub async fn start(cloud: &Cloud) -> Self {
        let spec = SubscriptionSpec {
            name: "progress-events-recorder".into(),
            topic: names::PROGRESS_EVENTS.into(),
            ack_deadline: Duration::from_secs(60),
            dead_letter: None,
            backoff: None,
        };
        cloud.queue.ensure_subscription(&spec).await.expect("the topic exists");
        let mut deliveries = cloud.queue.subscribe(&spec.name, 1_000);
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&events);
        let task = tokio::spawn(async move {
            let mut seen = std::collections::HashSet::new();
            while let Some(Ok(delivery)) = deliveries.next().await {
                if let Ok(event) = event::decode(&delivery.message.data)
                    && let EventKind::Clip { id, event } = event.kind
                    && let Some(attempt) = &event.attempt
                    && seen.insert((attempt.id.clone(), attempt.sequence))
                {
                    recorded.lock().push(RecordedEvent { at: Instant::now(), clip: id.to_string(), event });
                }
                delivery.ack();
            }
        });
        Self { events, task }
    }

    /// All events so far.
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.events.lock().clone()
    }

    /// The events of each attempt, by clip and attempt, in the order of their first events.
    pub fn attempts(&self) -> BTreeMap<String, Vec<Vec<RecordedEvent>>> {
        let mut clips: BTreeMap<String, Vec<Vec<RecordedEvent>>> = BTreeMap::new();
        for event in self.events() {
            let attempts = clips.entry(event.clip.clone()).or_default();
            match attempts.iter_mut().find(|attempt| attempt[0].attempt().id == event.attempt().id) {
                Some(attempt) => attempt.push(event),
                None => attempts.push(vec![event]),
            }
        }
        clips
    }
}

impl Drop for EventRecorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
