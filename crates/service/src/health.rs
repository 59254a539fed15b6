//! `/health` (the process is alive), `/ready` (it can do its work, or why it cannot) and `/metrics`.

use crate::telemetry;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Display, io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Whether a process can do its work: its own state, and conditions such as a subscription that it may receive from. It
/// is ready if its own state says so and all conditions hold. Clones share one state.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<State>>);

#[derive(Debug)]
pub(crate) struct State {
    /// Details for `/ready`, or why the process is not ready.
    own: Result<Value, String>,
    /// Why each condition does not hold; `None` if it does.
    conditions: BTreeMap<String, Option<String>>,
    /// Whether the process was ever ready.
    has_started: bool,
    /// Why the work of the process ended, if it did.
    ended: Option<String>,
}

impl State {
    /// Why the process is not ready, if it is not.
    fn reason(&self) -> Option<String> {
        let own = self.own.as_ref().err().cloned();
        let condition = || {
            let unmet = self.conditions.iter().find_map(|(name, reason)| Some((name, reason.as_ref()?)));
            unmet.map(|(name, reason)| format!("{name}: {reason}"))
        };
        own.or_else(condition)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        let own = Err("starting".to_owned());
        let state = State { own, conditions: BTreeMap::new(), has_started: false, ended: None };
        Self(Arc::new(watch::channel(state).0))
    }
}

impl Readiness {
    /// Sets the process's own state to ready, with details for `/ready`.
    pub fn ready(&self, details: Value) {
        self.modify(|state| state.own = Ok(details));
    }

    /// Sets the process's own state to not ready, with the reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.modify(|state| state.own = Err(reason.into()));
    }

    /// Adds a condition, which does not hold yet.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let condition = Condition { readiness: self.clone(), name: name.into() };
        condition.set(Err("not checked yet"));
        condition
    }

    fn modify(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(|state| {
            change(state);
            state.has_started |= state.reason().is_none();
        });
    }

    /// The details if the process is ready, or why it is not.
    pub(crate) fn state(&self) -> Result<Value, String> {
        let state = self.0.borrow();
        state.reason().map_or(state.own.clone(), Err)
    }

    /// Notices changes of the state.
    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Notes that a part of the process was ready, so that it has something to finish.
    pub(crate) fn mark_started(&self) {
        self.modify(|state| state.has_started = true);
    }

    /// Whether the process was ever ready, or has an error to end with.
    pub(crate) fn has_started(&self) -> bool {
        self.0.borrow().has_started
    }

    /// Makes `/health` fail, with the reason why the work ended.
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.modify(|state| {
            state.ended = Some(reason.into());
            state.has_started = true;
        });
    }

    /// Waits until the process is ready.
    pub async fn wait(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|state| state.reason().is_none()).await;
    }
}

/// One condition of a [`Readiness`].
#[derive(Debug, Clone)]
pub struct Condition {
    readiness: Readiness,
    name: String,
}

impl Condition {
    /// Sets whether the condition holds, or why not.
    pub fn set(&self, state: Result<(), impl Display>) {
        let reason = state.err().map(|reason| reason.to_string());
        self.readiness.0.send_if_modified(|state| {
            let changed = state.conditions.get(&self.name) != Some(&reason);
            if changed {
                state.conditions.insert(self.name.clone(), reason);
                state.has_started |= state.reason().is_none();
            }
            changed
        });
    }
}

/// The routes `/health`, `/ready` and `/metrics`.
pub fn routes(readiness: Readiness) -> Router {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let health = {
        let readiness = readiness.clone();
        move || async move {
            match &readiness.0.borrow().ended {
                None => Json(json!({"alive": true})).into_response(),
                Some(reason) => (unavailable, Json(json!({"alive": false, "reason": reason}))).into_response(),
            }
        }
    };
    let ready = move || async move {
        let state = readiness.0.borrow();
        match (&state.own, state.reason()) {
            (Ok(details), None) => Json(json!({"ready": true, "details": details})).into_response(),
            (_, reason) => (unavailable, Json(json!({"ready": false, "reason": reason}))).into_response(),
        }
    };
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(|| async { telemetry::metrics().render() }))
}

/// Binds an address; port 0 picks a free one.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("failed to listen on {address}: {error}")))
}

/// Serves until told to stop, then finishes the requests in progress.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let upkeep = tokio::spawn(telemetry::run_upkeep());
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    upkeep.abort();
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: Result<(), &str> = Ok(());

    /// Why the process is not ready.
    fn reason(readiness: &Readiness) -> Option<String> {
        readiness.0.borrow().reason()
    }

    #[test]
    fn a_process_is_ready_when_all_its_conditions_hold() {
        let readiness = Readiness::default();
        let (events, documents) = (readiness.condition("progress-events"), readiness.condition("documents"));
        readiness.ready(json!({}));
        events.set(HOLDS);
        assert_eq!(reason(&readiness).as_deref(), Some("documents: not checked yet"));
        assert!(!readiness.has_started());
        documents.set(HOLDS);
        assert_eq!(reason(&readiness), None);
        events.set(Err("denied"));
        assert_eq!(reason(&readiness).as_deref(), Some("progress-events: denied"));
        assert!(readiness.has_started());
        events.set(HOLDS);
        readiness.not_ready("no GPU");
        assert_eq!(reason(&readiness).as_deref(), Some("no GPU"));
    }
}
