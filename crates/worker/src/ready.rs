//! What a worker answers to whoever asks whether it is ready.

use crate::card::Card;
use clipfleet_service::health::Readiness;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The worker's answer, kept up to date.
pub(crate) struct Answer {
    readiness: Readiness,
    details: Value,
    card: Arc<Card>,
    paused: AtomicBool,
}

impl Answer {
    /// `details` are those that never change. Nothing is said before the first call below.
    pub(crate) fn new(readiness: Readiness, details: Value, card: Arc<Card>) -> Self {
        Self { readiness, details, card, paused: AtomicBool::new(false) }
    }

    /// The worker takes jobs, or is paused.
    pub(crate) fn paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.renew();
    }

    /// Something has changed.
    pub(crate) fn renew(&self) {
        if let Some(reason) = self.card.ends_worker() {
            return self.readiness.not_ready(reason);
        }
        let mut details = self.details.clone();
        details["paused"] = self.paused.load(Ordering::Relaxed).into();
        details["gpu"] = self.card.details();
        self.readiness.ready(details);
    }
}
