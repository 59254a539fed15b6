//! A worker whose machine fails its attempts takes nothing for a while. It would fail clip after clip in no time, and others can do what
//! it cannot: a full disk must not eat the queue.

use clipfleet_domain::failure::Failure;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The first rest, doubled by each further failure in a row, and the longest: as often as that, somebody may have made room.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<State>);

impl Rest {
    /// Notes how an attempt failed. Only what the machine is to blame for asks for a rest.
    pub(crate) fn failed(&self, failure: &Failure) {
        if !failure.is_the_machines() {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = FIRST.saturating_mul(1 << state.failures.min(16)).min(LONGEST);
        state.failures += 1;
        state.until = Some(Instant::now() + length);
        tracing::warn!(
            code = failure.code,
            seconds = length.as_secs(),
            "this machine fails its clips: nothing new is taken"
        );
    }

    /// Notes that a clip was made: the machine is as good as any.
    pub(crate) fn made(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Until when nothing new is taken.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).until.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_fails_its_clips_rests_longer_each_time_and_not_for_those_of_others() {
        let rest = Rest::default();
        rest.failed(&Failure::transient("source_unavailable", "no answer"));
        rest.failed(&Failure::crash("pipeline_crashed", "signal 11"));
        assert_eq!(rest.until(), None);
        let full = Failure::transient("scratch_full", "no space left");
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            rest.failed(&full);
            assert_eq!(rest.until(), Some(Instant::now() + Duration::from_secs(seconds)));
        }
        tokio::time::advance(LONGEST).await;
        assert_eq!(rest.until(), None, "it tries again");
        rest.failed(&full);
        rest.made();
        assert_eq!(rest.until(), None);
        rest.failed(&full);
        assert_eq!(rest.until(), Some(Instant::now() + FIRST));
    }
}
