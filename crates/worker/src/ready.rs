//! The response of a worker's `/ready`.

use crate::gpu::GpuMonitor;
use clipfleet_service::health::Readiness;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The worker's readiness, kept up to date.
pub(crate) struct ReadyStatus {
    readiness: Readiness,
    details: Value,
    gpu: Arc<GpuMonitor>,
    paused: AtomicBool,
}

impl ReadyStatus {
    /// `details` never change. The readiness is not set before the first update.
    pub(crate) fn new(readiness: Readiness, details: Value, gpu: Arc<GpuMonitor>) -> Self {
        Self { readiness, details, gpu, paused: AtomicBool::new(false) }
    }

    /// Records whether the worker is paused.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.update();
    }

    /// Publishes the present state.
    pub(crate) fn update(&self) {
        if let Some(reason) = self.gpu.fatal() {
            return self.readiness.not_ready(reason);
        }
        let mut details = self.details.clone();
        details["paused"] = self.paused.load(Ordering::Relaxed).into();
        details["gpu"] = self.gpu.details();
        self.readiness.ready(details);
    }
}
