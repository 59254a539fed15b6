//! The shell that every role's process shares: its work, and its health endpoints.

use crate::{
    health::{self, Readiness},
    telemetry::{self, Metric},
};
use axum::Router;
use std::{error::Error, io};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Runs a role until told to stop: its work, and on `listener` the health endpoints and the role's own `routes`. The
/// endpoints are served even while the work starts, so that a slow start does not look like a dead process. If the work
/// fails, `/ready` continues to report it; a role that must end then cancels `stop`.
pub async fn run<E, F>(
    metrics: &[Metric],
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
    work: impl FnOnce(Readiness) -> F,
) -> io::Result<()>
where
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    telemetry::start_metrics(metrics);
    let readiness = Readiness::default();
    let working = tokio::spawn(work(readiness.clone()));
    let served = health::serve(listener, routes.merge(health::routes(readiness)), stop.clone()).await;
    stop.cancel();
    let worked = working.await;
    served?;
    worked.map_err(io::Error::other)?.map_err(io::Error::other)
}
