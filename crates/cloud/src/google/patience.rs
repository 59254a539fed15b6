//! How long we wait for Google and how often we ask again; the same for all three services.

use crate::CloudError;
use google_cloud_gax::{
    backoff_policy::BackoffPolicy,
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_state::RetryState,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One small call. Such calls take milliseconds; one that takes this long is lost.
pub(super) const ATTEMPT: Duration = Duration::from_secs(15);

/// A call with all its retries. Long enough for a service to fail over, short enough that a message handed back because of
/// it goes to a worker with better luck.
pub(super) const TOTAL: Duration = Duration::from_secs(60);

/// Silence in the middle of a transfer after which it is given up.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// Waits between attempts: from 100 ms, doubled up to 5 s so that the end of an outage is noticed soon, each wait drawn at
/// random from zero to that so that a fleet does not return in step.
pub(super) fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(5))
        .with_scaling(2.0)
        .clamp()
}

/// The wait after the given number of failures in a row.
pub(super) fn pause(failures: u32) -> Duration {
    backoff().on_failure(&RetryState::new(true).set_attempt_count(failures))
}

/// Calls until it succeeds, fails for good, or `total` is over.
pub(super) async fn repeat<T, F: Future<Output = Result<T, CloudError>>>(
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
        let pause = pause(failures);
        if Instant::now() + pause >= end {
            return Err(error);
        }
        tracing::debug!(%error, failures, "call repeated");
        sleep(pause).await;
    }
}
