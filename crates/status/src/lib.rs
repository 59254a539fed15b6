//! The status service: folds the fleet's facts into the documents that people read. It is the only writer of
//! `exportBatches/{batch}` and `exportBatches/{batch}/clips/{clip}`.
//!
//! ```text
//!  [progress-events] ───────┐
//!                           ├─▶ Board (fold in memory) ─▶ one commit per burst ─▶ documents ─▶ settle the leases
//!  [clip-jobs-dead-letter] ─┘
//! ```
//!
//! A fact's lease is settled only after a write that covers it, so a crash loses nothing: facts come again and folding them
//! again changes nothing. Several instances may run; a write meets the precondition "unchanged since I read it", and the
//! loser reads again. It knows nothing of media, and takes no decisions.

mod batch;
mod board;
mod documents;
mod intake;
mod past;
mod slate;
mod values;
mod waiting;
mod writer;

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_service::{clock::Clock, health, telemetry};
use std::io;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Runs with health endpoints until told to stop.
pub async fn run(listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    telemetry::metrics();
    let readiness = health::Readiness::default();
    tracing::info!(listen = %listener.local_addr()?, "status service listens");
    let folding = tokio::spawn(fold(cloud, Clock::system(), readiness.clone(), stop.clone()));
    let served = health::serve(listener, health::routes(readiness), stop.clone()).await;
    stop.cancel();
    let folded = folding.await;
    served?;
    folded.map_err(io::Error::other)?.map_err(io::Error::other)
}

/// Folds facts until told to stop, or until waiting cannot mend an error (no such subscription).
pub async fn fold(
    cloud: Cloud,
    clock: Clock,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let (facts, intake) = intake::start(&cloud, clock, stop.clone());
    readiness.ready(serde_json::json!({"role": "status"}));
    let folded = writer::run(cloud, facts, stop).await;
    if let Err(error) = &folded {
        tracing::error!(%error, "no facts are folded any more");
        readiness.not_ready(error.to_string());
    }
    intake.close().await;
    folded
}
