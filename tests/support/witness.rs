//! A listener of its own to a fleet's events: what was said, by whom, and when it was heard.

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
pub struct Heard {
    /// When it was heard.
    pub at: Instant,
    /// Which clip it is about.
    pub clip: String,
    /// What was said.
    pub event: ClipEvent,
}

impl Heard {
    /// Who said it.
    ///
    /// # Panics
    /// Never: events of no attempt are not kept.
    pub fn attempt(&self) -> &Attempt {
        self.event.attempt.as_ref().expect("an event of an attempt")
    }

    /// Whether it is the last word of its attempt.
    pub fn is_last_word(&self) -> bool {
        !matches!(self.event.kind, ClipEventKind::Started | ClipEventKind::Progressed { .. })
    }
}

/// The listener. Dropping it ends it.
pub struct Witness {
    heard: Arc<Mutex<Vec<Heard>>>,
    listening: JoinHandle<()>,
}

impl Witness {
    /// Listens from now on. An event counts once, however often it is delivered, or published by a client whose answer was lost: each has
    /// its place among the words of its attempt.
    ///
    /// # Panics
    /// When the fleet has no such topic.
    pub async fn of(cloud: &Cloud) -> Self {
        let spec = SubscriptionSpec {
            name: "progress-events-witness".into(),
            topic: names::PROGRESS_EVENTS.into(),
            ack_deadline: Duration::from_secs(60),
            dead_letter: None,
            backoff: None,
        };
        cloud.queue.ensure_subscription(&spec).await.expect("the topic exists");
        let mut deliveries = cloud.queue.subscribe(&spec.name, 1_000);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            let mut seen = std::collections::HashSet::new();
            while let Some(Ok(delivery)) = deliveries.next().await {
                if let Ok(event) = event::decode(&delivery.message.data)
                    && let EventKind::Clip { id, event } = event.kind
                    && let Some(attempt) = &event.attempt
                    && seen.insert((attempt.id.clone(), attempt.sequence))
                {
                    let heard = Heard { at: Instant::now(), clip: id.to_string(), event };
                    notes.lock().push(heard);
                }
                delivery.ack();
            }
        });
        Self { heard, listening }
    }

    /// Everything heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// What each attempt said, by clip and the attempt's id, in the order of their first words.
    pub fn attempts(&self) -> BTreeMap<String, Vec<Vec<Heard>>> {
        let mut clips: BTreeMap<String, Vec<Vec<Heard>>> = BTreeMap::new();
        for heard in self.heard() {
            let attempts = clips.entry(heard.clip.clone()).or_default();
            match attempts.iter_mut().find(|attempt| attempt[0].attempt().id == heard.attempt().id) {
                Some(attempt) => attempt.push(heard),
                None => attempts.push(vec![heard]),
            }
        }
        clips
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
