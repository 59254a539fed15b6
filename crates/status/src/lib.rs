//! The status service: folds the fleet's events into the documents that people read. It is the only writer of
//! `exportBatches/{batch}` and `exportBatches/{batch}/clips/{clip}`.
//!
//! ```text
//!  [progress-events] ───────┐
//!                           ├─▶ BatchCache (fold in memory) ─▶ one commit per burst ─▶ documents ─▶ settle the leases
//!  [clip-jobs-dead-letter] ─┘                                                    └─▶ mirror, if asked for
//! ```
//!
//! An event's lease is settled only after a write that covers it, so a crash loses nothing: events come again and folding them
//! again changes nothing. Several instances may run; a write meets the precondition "unchanged since I read it", and the
//! loser reads again. It knows nothing of media, and takes no decisions.

mod batch;
mod cache;
mod intake;
mod metrics;
mod mirror;
mod pending_acks;
mod write_state;
mod writer;

use axum::Router;
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_service::{clock::Clock, health, role};
use std::io;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the service does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// Keeps the documents of the product that came before up to date, too: `wizardProcessingJobs/*` and `wizardProjects/*`.
    pub legacy_mirror: bool,
}

/// Runs with health endpoints until told to stop.
pub async fn run(config: Config, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    tracing::info!(listen = %listener.local_addr()?, legacy_mirror = config.legacy_mirror, "status service listens");
    let folding = |readiness| fold(config, cloud, Clock::system(), readiness, stop.clone());
    role::run(metrics::METRICS, listener, Router::new(), stop.clone(), folding).await
}

/// Folds events until told to stop, or until waiting cannot mend an error (no such subscription).
pub async fn fold(
    config: Config,
    cloud: Cloud,
    clock: Clock,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let (events, intake) = intake::start(&cloud, clock, stop.clone());
    readiness.ready(serde_json::json!({"role": "status"}));
    let mirror = config.legacy_mirror.then(|| mirror::Mirror::start(cloud.clone()));
    let folded = writer::run(cloud, mirror, events, stop).await;
    if let Err(error) = &folded {
        tracing::error!(%error, "no events are folded any more");
        readiness.not_ready(error.to_string());
    }
    intake.close().await;
    folded
}
