//! The shell that every role's process shares: its work, and its health endpoints.

use crate::{
    health::{self, Readiness},
    telemetry::{self, Metric},
};
use axum::Router;
use futures::future::select_all;
use serde_json::{Map, Value};
use std::{error::Error, io, pin::Pin, time::Duration};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
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

type Work = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One of several roles that share a process.
pub struct Role {
    name: &'static str,
    metrics: &'static [Metric],
    work: Box<dyn FnOnce(Readiness, CancellationToken) -> Work + Send>,
}

impl Role {
    /// A role with its metrics and its work, which ends when its token is cancelled.
    pub fn new<E, F>(
        name: &'static str,
        metrics: &'static [Metric],
        work: impl FnOnce(Readiness, CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let named = move |error: E| io::Error::other(format!("{name}: {}", error.into()));
        let work = move |readiness, stop| -> Work {
            let working = work(readiness, stop);
            Box::pin(async move { working.await.map_err(named) })
        };
        Self { name, metrics, work: Box::new(work) }
    }
}

/// Runs several roles in one process until told to stop, as [`run`] does one, with one listener. It is ready while all
/// roles are, and `/ready` names the state of each. A role that ends before a stop stops the others, and the process
/// ends with its error.
pub async fn run_all(
    roles: Vec<Role>,
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let metrics: Vec<Metric> = roles.iter().flat_map(|role| role.metrics).copied().collect();
    let end = stop.clone();
    run(&metrics, listener, routes, stop, |readiness| work_together(roles, readiness, end)).await
}

async fn work_together(roles: Vec<Role>, whole: Readiness, stop: CancellationToken) -> io::Result<()> {
    let mut working = JoinSet::new();
    let (mut tasks, mut states) = (Vec::new(), Vec::new());
    for Role { name, work, .. } in roles {
        let readiness = Readiness::default();
        // A role that cancels its own token ends itself, and with the error that it returns the others.
        let work = work(readiness.clone(), stop.child_token());
        tasks.push(working.spawn(async move { (name, work.await) }));
        states.push((name, readiness));
    }
    let mut result = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        Some(ended) = working.join_next() => Err(unexpected(ended)),
        () = follow(&whole, &states) => Ok(()),
    };
    if let Err(error) = &result {
        tracing::error!(%error, "a role has ended, so the process ends");
        whole.not_ready(error.to_string());
        // `run` must wait for this error, even if no role was ever ready.
        whole.mark_started();
    }
    stop.cancel();
    // As in `run`: a role that was never ready has nothing to finish.
    for (task, _) in tasks.iter().zip(&states).filter(|(_, (_, state))| !state.has_started()) {
        task.abort();
    }
    while let Some(ended) = working.join_next().await {
        let ended = match ended {
            Err(aborted) if aborted.is_cancelled() => Ok(()),
            ended => ended.map_err(io::Error::other).and_then(|(_, worked)| worked),
        };
        result = result.and(ended);
    }
    result
}

/// The error of a role that ended before a stop.
fn unexpected(ended: Result<(&'static str, io::Result<()>), JoinError>) -> io::Error {
    match ended {
        Ok((name, Ok(()))) => io::Error::other(format!("{name} ended by itself")),
        Ok((_, Err(error))) => error,
        Err(panicked) => io::Error::other(panicked),
    }
}

/// Keeps the state of a process that of its roles, until dropped.
async fn follow(whole: &Readiness, roles: &[(&'static str, Readiness)]) {
    let mut changes: Vec<_> = roles.iter().map(|(_, role)| role.changes()).collect();
    loop {
        combine(whole, roles);
        // A receiver remembers which change it has seen, so none is missed between the two.
        let _ = select_all(changes.iter_mut().map(|change| Box::pin(change.changed()))).await;
    }
}

/// Ready with the details of every role by its name, or not, with the state of every role.
fn combine(whole: &Readiness, roles: &[(&'static str, Readiness)]) {
    if roles.iter().any(|(_, role)| role.has_started()) {
        whole.mark_started();
    }
    let states: Vec<(&str, Result<Value, String>)> = roles.iter().map(|(name, role)| (*name, role.state())).collect();
    let details: Option<Map<String, Value>> =
        states.iter().map(|(name, state)| Some(((*name).to_owned(), state.clone().ok()?))).collect();
    match details {
        Some(details) => whole.ready(Value::Object(details)),
        None => {
            let say = |(name, state): &(&str, Result<Value, String>)| match state {
                Ok(_) => format!("{name}: ready"),
                Err(reason) => format!("{name}: {reason}"),
            };
            whole.not_ready(states.iter().map(say).collect::<Vec<_>>().join("; "));
        }
    }
}

#[cfg(test)]
mod tests;
