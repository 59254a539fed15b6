//! The shell that every role's process shares: its work, and its health endpoints.

use crate::{
    health::{self, Readiness},
    telemetry::{self, Metric},
};
use axum::Router;
use std::{error::Error, io, time::Duration};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The longest time from a stop to the end of the role: Cloud Run kills after 10 s. A worker needs 5 s of it at most to
/// hand back its clips. Only a service that does not answer takes longer, and waiting for it is of no use.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs a role until told to stop or until its work ends: its work, and on `listener` the health endpoints and the
/// role's own `routes`. The endpoints are served even while the work starts, so that a slow start does not look like a
/// dead process. If the work fails, so does the role: its process ends, and the platform starts another.
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
    let working = work(readiness.clone());
    let (end, ended) = (readiness.clone(), stop.clone().drop_guard());
    let mut working = tokio::spawn(async move {
        // Dropped also when the work panics.
        let _ended = ended;
        let worked = working.await.map_err(Into::into);
        if let Err(error) = &worked {
            end.end(error.to_string());
        }
        worked
    });
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
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    let worked = timeout_at(deadline, &mut working).await;
    let served = match early {
        Some(served) => Ok(served),
        None => timeout_at(deadline, &mut serving).await,
    };
    if worked.is_err() || served.is_err() {
        tracing::warn!("stopped without waiting longer for a service that does not answer");
        working.abort();
        serving.abort();
    }
    match worked {
        Ok(Err(stopped)) if !stopped.is_cancelled() => return Err(io::Error::other(stopped)),
        Ok(Ok(worked)) => worked.map_err(io::Error::other)?,
        _ => {}
    }
    served.map_or(Ok(()), |served| served.map_err(io::Error::other)?)
}
