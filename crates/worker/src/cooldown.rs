//! Cooldown of a worker whose instance fails its attempts: for a while the worker leases no jobs. Otherwise it would
//! fail clip after clip within seconds, although other workers can make them: a full disk must not empty the queue.

use clipfleet_domain::failure::Failure;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The first cooldown. Each further failure in a row doubles it, up to [`MAX_COOLDOWN`].
const MIN_COOLDOWN: Duration = Duration::from_secs(2);

/// The longest cooldown: long enough that retries cost little, short enough that a repaired instance soon leases jobs
/// again.
const MAX_COOLDOWN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

/// The cooldown of one worker.
#[derive(Debug, Default)]
pub(crate) struct Cooldown(Mutex<State>);

impl Cooldown {
    /// Records a failed attempt. Starts a cooldown only if the instance is to blame.
    pub(crate) fn record_failure(&self, failure: &Failure) {
        if !failure.blames_instance() {
            return;
        }
        let mut state = self.0.lock();
        let length = MIN_COOLDOWN.saturating_mul(1 << state.failures.min(16)).min(MAX_COOLDOWN);
        state.failures += 1;
        state.until = Some(Instant::now() + length);
        tracing::warn!(
            code = failure.code.as_str(),
            seconds = length.as_secs(),
            "entering cooldown after a local failure"
        );
    }

    /// Records a finished clip, which ends the cooldown.
    pub(crate) fn record_success(&self) {
        *self.0.lock() = State::default();
    }

    /// When the cooldown ends; `None` outside one.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.lock().until.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;

    #[tokio::test(start_paused = true)]
    async fn local_failures_double_the_cooldown_and_other_failures_start_none() {
        let cooldown = Cooldown::default();
        cooldown.record_failure(&Failure::new(Code::SourceUnavailable, "no answer"));
        cooldown.record_failure(&Failure::new(Code::PipelineCrashed, "signal 11"));
        assert_eq!(cooldown.until(), None);
        let full = Failure::new(Code::ScratchFull, "no space left");
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            cooldown.record_failure(&full);
            assert_eq!(cooldown.until(), Some(Instant::now() + Duration::from_secs(seconds)));
        }
        tokio::time::advance(MAX_COOLDOWN).await;
        assert_eq!(cooldown.until(), None, "it tries again");
        cooldown.record_failure(&full);
        cooldown.record_success();
        assert_eq!(cooldown.until(), None);
        cooldown.record_failure(&full);
        assert_eq!(cooldown.until(), Some(Instant::now() + MIN_COOLDOWN));
    }
}
