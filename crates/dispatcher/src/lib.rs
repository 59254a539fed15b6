//! The dispatcher: takes an Export All, from the topic `export-requests` or over HTTP, and fans it out to one job per
//! clip.
//!
//! A request is accepted once its record is written. This process or another can repeat every later step (publishing
//! the jobs) until the record is marked as dispatched. The dispatcher writes no status documents and knows nothing of
//! media.
//!
//! ```text
//!  POST /v1/batches ─┐                      ┌─▶ exportRequests/{batch}   (the record: digest, request, pinned source)
//!                    ├─▶ Dispatch::accept ──┼─▶ [progress-events]        BatchQueued
//!  [export-requests] ┘                      └─▶ [clip-jobs]              one ClipJob per clip
//! ```

mod accept;
mod archive;
mod authentication;
mod control;
mod dead_letters;
mod dispatch;
mod fleet;
mod http;
mod intake;
mod links;
mod list;
mod metrics;
mod reconcile;
mod record;
mod refusal;
mod repair;
#[cfg(test)]
mod tests;
mod view;
mod work;

pub use authentication::{Authentication, Callers};
pub use control::RetryFilter;
pub use dispatch::Dispatch;
pub use http::{Api, Surface, routes};
pub use metrics::METRICS;
pub use refusal::Refusal;

use axum::Router;
use clipfleet_cloud::{CloudError, until_answered};
use clipfleet_service::{health, role};
use std::{io, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Runs until told to stop. `listener` is already bound, so that the caller knows the address before the first request.
/// `extra_routes` are the caller's own, such as a web page.
pub async fn run(
    dispatch: Dispatch,
    api: Api,
    listener: TcpListener,
    extra_routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let dispatch = Arc::new(dispatch);
    let router = http::routes(Arc::clone(&dispatch), api).merge(extra_routes);
    tracing::info!(listen = %listener.local_addr()?, "dispatcher listens");
    let background = |readiness| run_background(dispatch, readiness, stop.clone());
    role::run(metrics::METRICS, listener, router, stop.clone(), background).await
}

/// Handles requests from the topic, repairs unfinished dispatches and reconciles open batches, until told to stop or
/// until an error that a retry cannot fix. This is the whole dispatcher except its process and its HTTP API.
pub async fn run_background(
    dispatch: Arc<Dispatch>,
    readiness: health::Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let (mut repairs, repairing) = (JoinSet::new(), stop.child_token());
    repairs.spawn(repair::run(Arc::clone(&dispatch), repairing.clone()));
    repairs.spawn(reconcile::run(Arc::clone(&dispatch), repairing.clone()));
    let documents = check_documents(Arc::clone(&dispatch), readiness.condition("documents"), stop.clone());
    let result = tokio::try_join!(documents, intake::run(dispatch, readiness, stop)).map(|_| ());
    repairing.cancel();
    while repairs.join_next().await.is_some() {}
    result
}

/// Returns once the database has answered, or after a stop.
async fn check_documents(
    dispatch: Arc<Dispatch>,
    condition: health::Condition,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        answered = until_answered(|| dispatch.fleet_control(), |state| condition.set(state)) => answered.map(drop),
    }
}
