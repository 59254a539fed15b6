//! What a worker answers to whoever asks whether it is ready.

use crate::gpu::GpuMonitor;
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
    gpu: Arc<GpuMonitor>,
    paused: AtomicBool,
}

impl Answer {
    /// `details` are those that never change. Nothing is said before the first call below.
    pub(crate) fn new(readiness: Readiness, details: Value, gpu: Arc<GpuMonitor>) -> Self {
        Self { readiness, details, gpu, paused: AtomicBool::new(false) }
    }

    /// The worker takes jobs, or is paused.
    pub(crate) fn paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.renew();
    }

    /// Something has changed.
    pub(crate) fn renew(&self) {
        if let Some(reason) = self.gpu.ends_worker() {
            return self.readiness.not_ready(reason);
        }
        let mut details = self.details.clone();
        details["paused"] = self.paused.load(Ordering::Relaxed).into();
        details["gpu"] = self.gpu.details();
        self.readiness.ready(details);
    }
}
