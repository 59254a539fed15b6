//! The scaler: sets the number of workers by the outstanding work. It learns of work from the fleet's own events,
//! because a metric would be minutes old.
//!
//! ```text
//!  [progress-events] ───▶ FleetState ──▶ decide ──▶ confirm leadership ──▶ Backend: Cloud Run worker pool or processes
//!  records, documents ──▶ (at start, and of silent batches)                fleetControl/scaler-{pool}
//! ```
//!
//! Events make it fast and documents make it correct: all its state can be read again, so it may stop at any time. One
//! scaler at a time leads and sets the size; the others wait. While none runs, the number of workers does not change
//! and clips are processed as before.

mod backend;
mod control;
mod decide;
mod documents;
mod fleet_state;
mod leadership;
mod metrics;
pub mod model;
mod overflow;
mod pool_control;
mod quota;
mod schedule;
#[cfg(test)]
mod tests;
mod work;

pub use backend::Backend;
pub use decide::{Decision, Load, Policy, Pool, Reason, decide};
pub use metrics::METRICS;
pub use overflow::OverflowConfig;
pub use schedule::Schedule;
pub use work::{FIXED_SECONDS, INITIAL_RATE, Speed, Work};

use axum::Router;
use clipfleet_cloud::{Cloud, CloudError, RefusalRetry};
use clipfleet_contract::{documents::leadership::LeadershipDocument, names};
use clipfleet_service::{clock::Clock, health, role};
use control::TermEnd;
use leadership::Leadership;
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a follower tries to become the leader.
const ACQUIRE_INTERVAL: Duration = Duration::from_secs(2);

/// The configuration of a scaler.
#[derive(Clone)]
pub struct Config {
    /// Short name of the pool. Of all scalers of one pool, one leads.
    pub pool: String,
    /// The limits and targets of the pool.
    pub policy: Policy,
    /// Slot-seconds per second of 1080p30 until a clip has completed.
    pub initial_rate: f64,
    /// Decides and logs, but does not set the size.
    pub dry_run: bool,
    /// The pool that helps out while the platform refuses the size that is needed.
    pub overflow: Option<OverflowConfig>,
}

/// The dependencies of every part of a scaler.
pub(crate) struct Scaler {
    cloud: Cloud,
    clock: Clock,
    backend: Arc<dyn Backend>,
    policy: Policy,
    initial_rate: f64,
    dry_run: bool,
    overflow: Option<OverflowConfig>,
    /// Whether the leader may receive events.
    receiving: health::Condition,
    /// Whether the leader can read the size of the pool.
    readable: health::Condition,
}

/// The state of a condition that only the leader needs, while another scaler leads.
const NOT_NEEDED: Result<(), &str> = Ok(());

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

/// Scales until told to stop, or until an error that a retry cannot fix (no such subscription). This is the whole
/// scaler except its process.
pub async fn scale(
    config: Config,
    cloud: Cloud,
    clock: Clock,
    backend: Arc<dyn Backend>,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let id = format!("s-{}", Uuid::now_v7().simple());
    let mut leadership = Leadership::new(cloud.clone(), clock, LeadershipDocument::path(&config.pool), id.clone());
    let Config { policy, initial_rate, dry_run, pool, overflow } = config;
    let receiving = readiness.condition(names::PROGRESS_EVENTS_SCALER);
    let readable = readiness.condition("pool size");
    let scaler = Scaler { cloud, clock, backend, policy, initial_rate, dry_run, overflow, receiving, readable };
    let follow = || [&scaler.receiving, &scaler.readable].into_iter().for_each(|condition| condition.set(NOT_NEEDED));
    let mut retry = RefusalRetry::default();
    let report = |leads: bool| {
        ::metrics::gauge!("clipfleet_scaler_leader").set(f64::from(u8::from(leads)));
        let status =
            serde_json::json!({"role": "scaler", "scaler": id, "pool": pool, "leader": leads, "dryRun": dry_run});
        readiness.ready(status);
    };
    loop {
        match leadership.acquire().await {
            Ok(true) => {
                tracing::info!(scaler = id, pool, "leadership acquired");
                retry.answered();
                report(true);
                let ended = control::lead(&scaler, &mut leadership, &stop).await;
                follow();
                report(false);
                match ended {
                    Ok(TermEnd::Stopped) => return Ok(()),
                    Ok(TermEnd::Lost) => tracing::warn!(scaler = id, pool, "leadership lost"),
                    Err(error) => {
                        tracing::error!(%error, "scaling stopped after an error");
                        return Err(error);
                    }
                }
            }
            Ok(false) => {
                retry.answered();
                follow();
                report(false);
            }
            Err(error) => {
                tracing::warn!(%error, "leadership check failed");
                readiness.not_ready(error.to_string());
                retry.failed(&error).ok_or(error)?;
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(ACQUIRE_INTERVAL) => {}
        }
    }
}
