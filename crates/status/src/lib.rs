//! The status service: folds events into the status documents that clients read. It is the only writer of
//! `exportBatches/{batch}` and `exportBatches/{batch}/clips/{clip}`.
//!
//! ```text
//!  [progress-events] ───────┐
//!                           ├─▶ BatchCache (fold in memory) ─▶ commits ─▶ documents ─▶ ack the events
//!  [clip-jobs-dead-letter] ─┘                                                    └─▶ mirror, if enabled
//! ```
//!
//! An event is acked only after the documents that it changed are written. So a crash loses nothing: unacked events are
//! redelivered, and folding them again changes nothing. Several instances may run: each write has the precondition that
//! the document is unchanged since it was read, and an instance whose write fails reads the document again. The service
//! knows nothing about media and makes no decisions.

mod batch;
mod cache;
mod intake;
mod metrics;
mod mirror;
mod pending_acks;
mod write_state;
mod writer;

pub use metrics::METRICS;

use axum::Router;
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_service::{clock::Clock, health, role};
use std::io;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The configuration of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// Whether the documents of the legacy product are kept up to date, too: `wizardProcessingJobs/*` and
    /// `wizardProjects/*`.
    pub legacy_mirror: bool,
}

/// Runs with health endpoints until told to stop.
pub async fn run(config: Config, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    tracing::info!(listen = %listener.local_addr()?, legacy_mirror = config.legacy_mirror, "status service listens");
    let folding = |readiness| fold(config, cloud, Clock::system(), readiness, stop.clone());
    role::run(metrics::METRICS, listener, Router::new(), stop.clone(), folding).await
}

/// Folds events until told to stop, or until an error that a retry does not fix (a missing subscription).
pub async fn fold(
    config: Config,
    cloud: Cloud,
    clock: Clock,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let (events, intake) = intake::start(&cloud, clock, &readiness, stop.clone());
    let documents = readiness.condition("documents");
    readiness.ready(serde_json::json!({"role": "status"}));
    let mirror = config.legacy_mirror.then(|| mirror::Mirror::start(cloud.clone()));
    let folded = writer::run(cloud, mirror, events, documents, stop.clone()).await;
    if let Err(error) = &folded {
        tracing::error!(%error, "no events are folded any more");
        stop.cancel();
    }
    intake.close().await;
    folded
}
