//! The scaler: sets how many workers there are by what is to be done, which it hears from the fleet itself and not from a metric that is
//! minutes old.
//!
//! ```text
//!  [progress-events] ──▶ Board ──▶ decide ──▶ confirm leadership ──▶ Backend: a Cloud Run worker pool, or processes here
//!  records, documents ──▶ (at start, and of what was silent)         fleetControl/scaler-{pool}
//! ```
//!
//! Events make it quick, documents make it right: it keeps nothing that cannot be read again, so it may end at any time. One scaler at a time
//! leads and sets the size; others wait. Without any, workers stay as they are and clips are made, only not by more or fewer.

mod backend;
mod board;
mod control;
mod decide;
mod documents;
mod leadership;
mod metrics;
pub mod model;
mod schedule;
#[cfg(test)]
mod tests;
mod work;

pub use backend::Backend;
pub use decide::{Decision, Load, Policy, Pool, Reason, decide};
pub use schedule::Schedule;
pub use work::{FIXED_SECONDS, INITIAL_RATE, Speed, Work};

use axum::Router;
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::documents::leadership::LeadershipDocument;
use clipfleet_service::{clock::Clock, health, role};
use control::Ended;
use leadership::Leadership;
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a follower tries to become the leader.
const ACQUIRE_INTERVAL: Duration = Duration::from_secs(2);

/// How a scaler is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Short name of the pool: of all scalers with this name one works.
    pub pool: String,
    /// What is asked of it.
    pub policy: Policy,
    /// Slot-seconds per second of 1080p30 before any clip was seen.
    pub initial_rate: f64,
    /// Everything but setting the size.
    pub dry_run: bool,
}

/// What every part of a scaler shares.
pub(crate) struct Scaler {
    cloud: Cloud,
    clock: Clock,
    backend: Arc<dyn Backend>,
    policy: Policy,
    initial_rate: f64,
    dry_run: bool,
}

/// Runs with health endpoints until told to stop.
pub async fn run(
    config: Config,
    listener: TcpListener,
    cloud: Cloud,
    backend: Arc<dyn Backend>,
    stop: CancellationToken,
) -> io::Result<()> {
    tracing::info!(listen = %listener.local_addr()?, pool = config.pool, dry_run = config.dry_run, "scaler listens");
    let scaling = |readiness| scale(config, cloud, Clock::system(), backend, readiness, stop.clone());
    role::run(metrics::METRICS, listener, Router::new(), stop.clone(), scaling).await
}

/// Scales until told to stop, or until waiting cannot mend an error (no such subscription). This is the whole scaler but for its process.
pub async fn scale(
    config: Config,
    cloud: Cloud,
    clock: Clock,
    backend: Arc<dyn Backend>,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let holder = format!("s-{}", Uuid::now_v7().simple());
    let mut leadership = Leadership::new(cloud.clone(), clock, LeadershipDocument::path(&config.pool), holder.clone());
    let Config { policy, initial_rate, dry_run, pool } = config;
    let scaler = Scaler { cloud, clock, backend, policy, initial_rate, dry_run };
    let report = |leads: bool| {
        ::metrics::gauge!("clipfleet_scaler_leader").set(f64::from(u8::from(leads)));
        let status =
            serde_json::json!({"role": "scaler", "scaler": holder, "pool": pool, "leader": leads, "dryRun": dry_run});
        readiness.ready(status);
    };
    loop {
        match leadership.acquire().await {
            Ok(true) => {
                tracing::info!(scaler = holder, pool, "leadership acquired");
                report(true);
                let ended = control::lead(&scaler, &mut leadership, &stop).await;
                report(false);
                match ended {
                    Ok(Ended::Stopped) => return Ok(()),
                    Ok(Ended::Lost) => tracing::warn!(scaler = holder, pool, "leadership lost"),
                    Err(error) => {
                        tracing::error!(%error, "nothing is scaled any more");
                        readiness.not_ready(error.to_string());
                        return Err(error);
                    }
                }
            }
            Ok(false) => report(false),
            Err(error) => tracing::warn!(%error, "leadership check failed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(ACQUIRE_INTERVAL) => {}
        }
    }
}
