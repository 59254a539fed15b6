//! Refusals that may be lifted: a permission that was just granted, or a subscription that is being created.

use crate::CloudError;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a service may refuse before the caller gives up. A change of IAM takes effect after "typically 2 minutes,
/// potentially 7 minutes or longer", by Google's documentation.
pub const REFUSAL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The delay after the first failure. Each further one doubles it.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);

pub(crate) const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The retries of a call that may be refused for a while.
#[derive(Debug, Default)]
pub struct RefusalRetry {
    failures: u32,
    refused_since: Option<Instant>,
}

impl RefusalRetry {
    /// Records a failure. Returns the delay before the next try; `None` if the error is permanent or the service has
    /// refused for [`REFUSAL_LIMIT`]. An outage is waited for without limit.
    pub fn failed(&mut self, error: &CloudError) -> Option<Duration> {
        let over = match error.is_refusal() {
            true => self.refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSAL_LIMIT,
            false => !error.is_transient(),
        };
        let delay = MIN_RETRY_DELAY.saturating_mul(1 << self.failures.min(8)).min(MAX_RETRY_DELAY);
        self.failures += 1;
        (!over).then_some(delay)
    }

    /// Records an answer.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// Whether the last call failed.
    pub(crate) fn is_retrying(&self) -> bool {
        self.failures > 0
    }
}

/// Repeats a call until the service answers it, and reports each state: `Ok` once it did, otherwise the reason why not.
/// An error is one that neither a retry nor [`REFUSAL_LIMIT`] has fixed.
pub async fn until_answered<T, F: Future<Output = Result<T, CloudError>>>(
    call: impl Fn() -> F,
    report: impl Fn(Result<(), &CloudError>),
) -> Result<T, CloudError> {
    let mut retry = RefusalRetry::default();
    loop {
        let error = match call().await {
            Ok(answer) => {
                report(Ok(()));
                return Ok(answer);
            }
            Err(error) => error,
        };
        report(Err(&error));
        let Some(delay) = retry.failed(&error) else { return Err(error) };
        tracing::warn!(%error, wait_seconds = delay.as_secs(), "call refused, trying again");
        sleep(delay).await;
    }
}
