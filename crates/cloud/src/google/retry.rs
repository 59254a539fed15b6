//! Timeouts and retries of calls to Google, the same for all three services.

use crate::CloudError;
use google_cloud_gax::{
    backoff_policy::BackoffPolicy,
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_state::RetryState,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Timeout of one attempt at a small call. Such calls take milliseconds; one that takes longer than this is lost.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// Time limit of a call with all its retries: long enough for a service to fail over, and short enough that a message
/// that is handed back because of the failure soon reaches another worker.
pub(super) const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// How long a transfer may make no progress before it fails.
pub(super) const TRANSFER_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Exponential backoff from 100 ms to 5 s, short enough to notice the end of an outage soon. Full jitter keeps a fleet
/// from retrying in step.
pub(super) fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(5))
        .with_scaling(2.0)
        .clamp()
}

/// The delay after the given number of consecutive failures.
pub(super) fn delay(failures: u32) -> Duration {
    backoff().on_failure(&RetryState::new(true).set_attempt_count(failures))
}

/// Repeats a call until it succeeds, fails permanently, or `total` has passed.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, CloudError>>>(
    total: Duration,
    call: impl Fn() -> F,
) -> Result<T, CloudError> {
    let end = Instant::now() + total;
    let mut failures = 0;
    loop {
        let error = match call().await {
            Err(error) if error.is_transient() => error,
            done => return done,
        };
        failures += 1;
        let delay = delay(failures);
        if Instant::now() + delay >= end {
            return Err(error);
        }
        tracing::debug!(%error, failures, "retrying a call");
        sleep(delay).await;
    }
}
