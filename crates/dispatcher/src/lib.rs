//! The dispatcher: takes an Export All, from the topic `export-requests` or over HTTP, and fans it out to one job per clip.
//!
//! A request is accepted once its record is written; everything after that (publishing the jobs) can be repeated, by this
//! process or another, until the record says `dispatched`. It writes no status documents and knows nothing of media.
//!
//! ```text
//!  POST /v1/batches ─┐                      ┌─▶ exportRequests/{batch}   (the record: digest, request, pinned source)
//!                    ├─▶ Dispatch::accept ──┼─▶ [progress-events]        BatchQueued
//!  [export-requests] ┘                      └─▶ [clip-jobs]              one ClipJob per clip
//! ```

mod accept;
mod control;
mod dead_letters;
mod dispatch;
mod fleet;
mod http;
mod intake;
mod metrics;
mod reconcile;
mod record;
mod refusal;
mod repair;
#[cfg(test)]
mod tests;
mod view;
mod work;

pub use control::RetryFilter;
pub use dispatch::Dispatch;
pub use http::routes;
pub use refusal::Refusal;

use axum::Router;
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_domain::batch::BucketPolicy;
use clipfleet_service::{clock::Clock, health, role};
use std::{io, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Runs until told to stop. `listener` is already bound, so that a caller knows the address before the first request; `beside` are
/// routes of the caller's that are served there, too, such as a web page.
pub async fn run(
    buckets: BucketPolicy,
    listener: TcpListener,
    beside: Router,
    cloud: Cloud,
    stop: CancellationToken,
) -> io::Result<()> {
    let dispatch = Arc::new(Dispatch::new(cloud, buckets, Clock::system()));
    let router = http::routes(Arc::clone(&dispatch)).merge(beside);
    tracing::info!(listen = %listener.local_addr()?, "dispatcher listens");
    let background = |readiness| run_background(dispatch, readiness, stop.clone());
    role::run(metrics::METRICS, listener, router, stop.clone(), background).await
}

/// Takes requests from the topic and finishes what was left unfinished, until told to stop or until waiting cannot mend an error.
/// This is the whole dispatcher but for its process and its HTTP API.
pub async fn run_background(
    dispatch: Arc<Dispatch>,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut repairs = JoinSet::new();
    repairs.spawn(repair::run(Arc::clone(&dispatch), stop.clone()));
    repairs.spawn(reconcile::run(Arc::clone(&dispatch), stop.clone()));
    let taken = intake::run(dispatch, readiness, stop.clone()).await;
    // Without requests to take, repairing goes on: it is what mends a broken start.
    while repairs.join_next().await.is_some() {}
    taken
}
