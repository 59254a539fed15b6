//! Whether the worker still holds the leases it was given.
//!
//! Pub/Sub tells nobody that a lease was lost: it is extended in the background for as long as the process runs, and a process
//! that did not run for a while (stopped, starved, its machine asleep) may find its clips at work elsewhere. So the worker feels
//! its own pulse: a gap between two beats that is too long ends every lease held then, for good. Every effect feels the
//! pulse itself, in the same breath; so a process that wakes does nothing more, whichever of its timers fires first.
//!
//! ```text
//!  beat ─1s─ beat ─1s─ beat ── … frozen … ── beat     era + 1: leases of the old era are lost
//! ```

use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

/// The longest gap that is still taken for a busy machine. Leases are extended 20 s ahead and seldom have less than 5 s left. After a
/// shorter gap one may be lost, too; then the clip's document shows the later attempt within seconds, and the results of both are
/// fenced in any case.
pub(crate) const LONGEST_GAP: Duration = Duration::from_secs(5);

/// Time that the machine has slept in all.
pub(crate) type Asleep = Arc<dyn Fn() -> Duration + Send + Sync>;

/// By the system's clocks: sleep passes on one of them only.
pub(crate) fn asleep() -> Duration {
    let now = |clock| clock_gettime(clock).try_into().unwrap_or(Duration::ZERO);
    // In this order: what passes between the two readings must not look like sleep.
    let (boottime, monotonic): (Duration, Duration) = (now(ClockId::Boottime), now(ClockId::Monotonic));
    boottime.saturating_sub(monotonic)
}

/// One worker's pulse.
pub(crate) struct Pulse {
    asleep: Asleep,
    last: Mutex<Beat>,
}

struct Beat {
    at: Instant,
    asleep: Duration,
    /// Cancelled when the era ends.
    era: CancellationToken,
}

impl Pulse {
    /// Starts to beat. The task ends with the last lease and the worker.
    pub(crate) fn start(asleep: Asleep) -> (Arc<Self>, Beating) {
        let beat = Beat { at: Instant::now(), asleep: asleep(), era: CancellationToken::new() };
        let pulse = Arc::new(Self { asleep, last: Mutex::new(beat) });
        let beating = Arc::clone(&pulse);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                beating.feel();
            }
        });
        (pulse, Beating(task))
    }

    /// Beats, and gives a token of the era it is.
    fn feel(&self) -> CancellationToken {
        self.beat(Instant::now(), (self.asleep)())
    }

    fn beat(&self, at: Instant, asleep: Duration) -> CancellationToken {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = at.saturating_duration_since(last.at) + asleep.saturating_sub(last.asleep);
        (last.at, last.asleep) = (at, asleep);
        if gap > LONGEST_GAP {
            tracing::warn!(gap_seconds = gap.as_secs_f64(), "this process stood still: its leases count as lost");
            metrics::counter!("clipfleet_worker_stalls_total").increment(1);
            std::mem::take(&mut last.era).cancel();
        }
        last.era.clone()
    }

    /// A lease that was just given.
    pub(crate) fn lease(self: &Arc<Self>) -> Hold {
        Hold { pulse: Arc::clone(self), lost: self.feel().child_token() }
    }
}

/// Dropping it ends the beating.
pub(crate) struct Beating(JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The hold on one lease.
pub(crate) struct Hold {
    pulse: Arc<Pulse>,
    /// Cancelled with its era, or alone.
    lost: CancellationToken,
}

impl Hold {
    /// Whether the lease is still held, as far as can be known.
    pub(crate) fn is_held(&self) -> bool {
        self.pulse.feel();
        !self.lost.is_cancelled()
    }

    /// Gives the lease up: it was learned elsewhere that it is lost.
    pub(crate) fn revoke(&self) {
        self.lost.cancel();
    }

    /// Returns once the lease is lost.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// To be awaited right before an effect: returns at once while the lease is held, and never when it is lost.
    pub(crate) async fn still(&self) {
        if !self.is_held() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_beating_process_keeps_its_leases_and_one_that_stood_still_does_not() {
        let (pulse, beating) = Pulse::start(Arc::new(asleep));
        let hold = pulse.lease();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(hold.is_held(), "every second was felt");
        assert_eq!(hold.still().now_or_never(), Some(()));
        // Time passes without any timer being served: the process was stopped, and an effect is what runs first when it wakes.
        drop(beating);
        tokio::time::advance(LONGEST_GAP + Duration::from_millis(1)).await;
        assert_eq!(hold.still().now_or_never(), None);
        hold.lost().await;
        assert!(!hold.is_held(), "for good");
        assert!(pulse.lease().is_held(), "a new lease is another matter");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_has_lost_its_leases_although_its_timers_did_not_move() {
        let (pulse, _beating) = Pulse::start(Arc::new(asleep));
        let hold = pulse.lease();
        pulse.beat(Instant::now(), asleep() + LONGEST_GAP - Duration::from_millis(50));
        assert_eq!(hold.lost().now_or_never(), None);
        pulse.beat(Instant::now(), asleep() + LONGEST_GAP * 3);
        assert_eq!(hold.lost().now_or_never(), Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_lease_is_lost_alone() {
        let (pulse, _beating) = Pulse::start(Arc::new(asleep));
        let (one, other) = (pulse.lease(), pulse.lease());
        one.revoke();
        one.lost().await;
        assert!(!one.is_held() && other.is_held());
    }
}
