//! `/health` (the process is alive), `/ready` (it can do its work, or why it cannot) and `/metrics`.

use crate::telemetry;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Whether a process can do its work. Clones share one state.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Result<Value, String>>>, Arc<AtomicBool>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Err("starting".to_owned())).0), Arc::default())
    }
}

impl Readiness {
    /// Sets the state to ready, with details for `/ready`.
    pub fn ready(&self, details: Value) {
        self.1.store(true, Ordering::Relaxed);
        self.0.send_modify(|state| *state = Ok(details));
    }

    /// Sets the state to not ready, with the reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.0.send_modify(|state| *state = Err(reason.into()));
    }

    /// Whether the state was ever ready.
    pub(crate) fn has_started(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    /// Waits until the state is ready.
    pub async fn wait(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(Result::is_ok).await;
    }
}

/// The routes `/health`, `/ready` and `/metrics`.
pub fn routes(readiness: Readiness) -> Router {
    let ready = move || async move {
        match &*readiness.0.borrow() {
            Ok(details) => (StatusCode::OK, Json(json!({"ready": true, "details": details}))).into_response(),
            Err(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "reason": reason}))).into_response()
            }
        }
    };
    Router::new()
        .route("/health", get(|| async { Json(json!({"alive": true})) }))
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
