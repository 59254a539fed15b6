//! The worker pool as the leader sees it: the size it was last set to, and the one backend call that may be in
//! progress.

use crate::{backend::Backend, decide::Pool};
use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_domain::ids::WorkerId;
use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// Delay after the first failure to set a size. Each further failure doubles it.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);

const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// The result of a backend call.
pub(crate) enum CallOutcome {
    SizeRead(Result<u32, CloudError>),
    SizeSet { target: u32, result: Result<(), CloudError> },
}

/// The pool and its backend. At most one call is in progress.
pub(crate) struct PoolControl {
    backend: Arc<dyn Backend>,
    /// `None` until the pool's size was read.
    state: Option<Pool>,
    call: Option<JoinHandle<CallOutcome>>,
    /// After a failure, no size is set before this time.
    retry_at: Instant,
    retry_delay: Duration,
}

impl PoolControl {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, state: None, call: None, retry_at: Instant::now(), retry_delay: MIN_RETRY_DELAY }
    }

    /// What is known of the pool; `None` while its size is unknown.
    pub(crate) fn state(&mut self) -> Option<&mut Pool> {
        self.state.as_mut()
    }

    pub(crate) fn is_calling(&self) -> bool {
        self.call.is_some()
    }

    /// Whether a size may be set now.
    pub(crate) fn accepts_change(&self) -> bool {
        self.call.is_none() && Instant::now() >= self.retry_at
    }

    /// Starts to read the pool's size.
    pub(crate) fn read_size(&mut self) {
        let backend = Arc::clone(&self.backend);
        self.call = Some(tokio::spawn(async move { CallOutcome::SizeRead(backend.count().await) }));
    }

    /// Starts to set the pool's size.
    pub(crate) fn set_size(&mut self, target: u32, busy: BTreeSet<WorkerId>, within: Duration) {
        let backend = Arc::clone(&self.backend);
        self.call = Some(tokio::spawn(async move {
            CallOutcome::SizeSet { target, result: backend.set(target, &busy, within).await }
        }));
    }

    /// Waits for the call in progress; forever if there is none. Safe to cancel: the call continues.
    pub(crate) async fn completed_call(&mut self) -> CallOutcome {
        let Some(call) = &mut self.call else { return pending().await };
        let outcome = call.await.unwrap_or_else(|error| {
            let error = CloudError::new(ErrorKind::Unavailable, format!("call the pool: {error}"));
            CallOutcome::SizeRead(Err(error))
        });
        self.call = None;
        outcome
    }

    pub(crate) fn apply(&mut self, outcome: CallOutcome) {
        match outcome {
            CallOutcome::SizeRead(Ok(count)) => {
                let ends_idle = self.backend.ends_idle();
                let pool = self.state.get_or_insert_with(|| {
                    tracing::info!(workers = count, "pool size read");
                    Pool { target: count, ends_idle, ..Pool::default() }
                });
                if pool.target != count {
                    tracing::warn!(workers = count, target = pool.target, "pool size differs from the target");
                    pool.target = count;
                }
            }
            CallOutcome::SizeRead(Err(error)) => tracing::warn!(%error, "failed to read the pool size"),
            CallOutcome::SizeSet { result: Ok(()), .. } => {
                metrics::counter!("clipfleet_scaler_writes_total", "outcome" => "done").increment(1);
                self.retry_delay = MIN_RETRY_DELAY;
            }
            CallOutcome::SizeSet { target, result: Err(error) } => {
                let outcome = if error.kind() == ErrorKind::Conflict { "conflict" } else { "failed" };
                metrics::counter!("clipfleet_scaler_writes_total", "outcome" => outcome).increment(1);
                let wait_seconds = self.retry_delay.as_secs();
                tracing::warn!(%error, target, wait_seconds, "failed to set the pool size");
                self.retry_at = Instant::now() + self.retry_delay;
                self.retry_delay = (self.retry_delay * 2).min(MAX_RETRY_DELAY);
                // The call may have taken effect, so the size is read before the next decision.
                self.state = None;
                self.read_size();
            }
        }
    }

    pub(crate) fn abort_call(&mut self) {
        if let Some(call) = self.call.take() {
            call.abort();
        }
    }
}
