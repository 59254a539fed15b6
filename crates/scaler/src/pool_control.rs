//! A worker pool as the leader sees it: the size it was last set to, what the platform refused, and the one backend
//! call that may be in progress.

use crate::{backend::Backend, decide::Pool, quota::SizeLimit};
use clipfleet_cloud::{CloudError, ErrorKind, RefusalRetry};
use clipfleet_domain::ids::WorkerId;
use clipfleet_service::health::Condition;
use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// Delay after the first failure to set a size. Each further failure doubles it.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);

const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// The result of a backend call.
pub(crate) enum CallOutcome {
    SizeRead(Result<u32, CloudError>),
    SizeSet { from: u32, target: u32, result: Result<(), CloudError> },
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
    /// The size that the platform has on record, which after a refusal may be the refused one.
    recorded: Option<u32>,
    limit: Option<SizeLimit>,
    /// Whether the platform accepted a size in this term. Otherwise the size on record may be one that it refused to an
    /// earlier leader.
    confirmed: bool,
    refusals: RefusalRetry,
    /// Whether the size can be read.
    readable: Condition,
}

impl PoolControl {
    /// `limit` is the ceiling of the earlier leader, if it had one.
    pub(crate) fn new(backend: Arc<dyn Backend>, readable: Condition, limit: Option<u32>) -> Self {
        Self {
            backend,
            state: None,
            call: None,
            retry_at: Instant::now(),
            retry_delay: MIN_RETRY_DELAY,
            recorded: None,
            limit: limit.map(SizeLimit::of_predecessor),
            confirmed: false,
            refusals: RefusalRetry::default(),
            readable,
        }
    }

    /// What is known of the pool; `None` while its size is unknown.
    pub(crate) fn state(&mut self) -> Option<&mut Pool> {
        self.state.as_mut()
    }

    /// What the platform was found to allow, if it refused a size a short while ago.
    pub(crate) fn limit(&mut self) -> Option<SizeLimit> {
        self.limit = self.limit.filter(|limit| !limit.is_over());
        self.limit
    }

    /// Whether the platform has another size on record than the one that runs: one that it refused.
    pub(crate) fn must_be_corrected(&self) -> bool {
        self.state.as_ref().is_some_and(|pool| self.recorded.is_some_and(|recorded| recorded != pool.target))
    }

    /// Whether the platform accepted a size in this term.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
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
    pub(crate) fn set_size(&mut self, from: u32, target: u32, busy: BTreeSet<WorkerId>, within: Duration) {
        let backend = Arc::clone(&self.backend);
        self.call = Some(tokio::spawn(async move {
            CallOutcome::SizeSet { from, target, result: backend.set(target, &busy, within).await }
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

    /// Fails if the platform has refused for too long to let this scaler read or set the size.
    pub(crate) fn apply(&mut self, outcome: CallOutcome) -> Result<(), CloudError> {
        match outcome {
            CallOutcome::SizeRead(Ok(count)) => {
                self.answered();
                self.record_size(count);
            }
            CallOutcome::SizeRead(Err(error)) => {
                tracing::warn!(%error, "failed to read the pool size");
                self.readable.set(Err(&error));
                self.refusals.failed(&error).ok_or(error)?;
            }
            CallOutcome::SizeSet { target, result: Ok(()), .. } => {
                metrics::counter!("clipfleet_scaler_writes_total", "outcome" => "done").increment(1);
                self.answered();
                self.retry_delay = MIN_RETRY_DELAY;
                self.recorded = Some(target);
                self.confirmed = true;
                self.limit = self.limit.and_then(|limit| limit.after_acceptance(target));
            }
            CallOutcome::SizeSet { from, target, result: Err(error) } => {
                self.record_failure(from, target, &error);
                // The call may have taken effect, so the size is read before the next decision.
                self.state = None;
                self.read_size();
                if error.is_refusal() {
                    self.refusals.failed(&error).ok_or(error)?;
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self) {
        self.refusals.answered();
        self.readable.set(Ok::<_, &CloudError>(()));
    }

    fn record_size(&mut self, recorded: u32) {
        self.recorded = Some(recorded);
        // A refused size may stay on record, although it never ran.
        let count = self.limit().filter(|limit| recorded > limit.ceiling()).map_or(recorded, |limit| limit.good());
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

    fn record_failure(&mut self, from: u32, target: u32, error: &CloudError) {
        let reason = match error.kind() {
            // Fewer workers need no quota.
            ErrorKind::Quota if target > from || !self.confirmed => {
                let running = if self.confirmed { from } else { 0 };
                self.limit = Some(SizeLimit::after_refusal(self.limit(), running, target));
                // Another size is tried next, so this is no repeated failure.
                self.retry_delay = MIN_RETRY_DELAY;
                "quota"
            }
            ErrorKind::Conflict => "conflict",
            ErrorKind::Denied | ErrorKind::NotFound => "denied",
            _ => "failed",
        };
        metrics::counter!("clipfleet_scaler_writes_total", "outcome" => reason).increment(1);
        let pool = self.backend.name();
        let wait_seconds = self.retry_delay.as_secs();
        match reason {
            "failed" => tracing::error!(pool, target, wait_seconds, %error, "pool size not set"),
            _ => {
                let ceiling = self.limit.map(|limit| limit.ceiling());
                tracing::warn!(pool, target, ceiling, reason, wait_seconds, %error, "pool size refused");
            }
        }
        self.retry_at = Instant::now() + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(MAX_RETRY_DELAY);
    }

    pub(crate) fn abort_call(&mut self) {
        if let Some(call) = self.call.take() {
            call.abort();
        }
    }
}
