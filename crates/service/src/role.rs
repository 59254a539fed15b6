//! The shell that every role's process shares: its work, and its health endpoints.

use crate::{
    health::{self, Readiness},
    telemetry::{self, Metric},
};
use axum::Router;
use std::{error::Error, io, time::Duration};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// The longest time from a stop to the end of the role: Cloud Run kills after 10 s. A worker needs 5 s of it at most to
/// hand back its clips. Only a service that does not answer takes longer, and waiting for it is of no use.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs a role until told to stop: its work, and on `listener` the health endpoints and the role's own `routes`. The
/// endpoints are served even while the work starts, so that a slow start does not look like a dead process. If the work
/// fails, `/ready` continues to report it; a role that must end then cancels `stop`.
///
/// After a stop, the role finishes what it leased and answers the requests in progress. A role that was never ready has
/// nothing to finish, and ends at once, whatever it was waiting for.
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
    let mut working = tokio::spawn(work(readiness.clone()));
    let routes = routes.merge(health::routes(readiness.clone()));
    let mut serving = tokio::spawn(health::serve(listener, routes, stop.clone()));
    let early = tokio::select! {
        served = &mut serving => Some(served),
        () = stop.cancelled() => None,
    };
    stop.cancel();
    if !readiness.has_started() {
        working.abort();
    }
    let drained = timeout(DRAIN_TIMEOUT, async {
        let served = match early {
            Some(served) => served,
            None => (&mut serving).await,
        };
        ((&mut working).await, served)
    });
    let Ok((worked, served)) = drained.await else {
        tracing::warn!("stopped without waiting longer for a service that does not answer");
        working.abort();
        serving.abort();
        return Ok(());
    };
    served.map_err(io::Error::other)??;
    match worked {
        Err(stopped) if stopped.is_cancelled() => Ok(()),
        worked => worked.map_err(io::Error::other)?.map_err(io::Error::other),
    }
}
