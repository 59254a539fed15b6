//! Leases: who may work on a clip, and how a worker notices that it no longer may.
//!
//! # Overview
//!
//! A *lease* is the right to one delivery of a clip's job. An *attempt* is what one worker does under one lease.
//! Pub/Sub delivers a job at least once: the same clip can be leased twice, and a lease can expire while its holder
//! still runs. Three rules keep two attempts from doing harm:
//!
//! 1. An attempt starts only when no other attempt is active ([`clip_watch`](crate::clip_watch)).
//! 2. An attempt that may have lost its lease has no further effect: it publishes no event, creates no object and
//!    settles no delivery ([`LeaseGuard::ensure_held`]).
//! 3. A later attempt *supersedes* an earlier one: the earlier attempt sees the later one in the clip's document and
//!    stops.
//!
//! What slips through is fenced by the effects themselves: an object is created only if absent, and events fold in any
//! order.
//!
//! # States of an attempt
//!
//! ```text
//!  leased ──no other active──▶ started ──▶ making ──▶ publishing ──▶ completed      ack
//!    │                            │           │            │
//!    │ clip ended or retried      ├───────────┴────────────┤
//!    ▼                            ├─▶ obsolete: the clip ended or was retried        ack
//!  obsolete   ack                 ├─▶ failed: permanently, or once too often         ack
//!                                 ├─▶ crashed, or failed transiently                 nack, another attempt follows
//!                                 ├─▶ interrupted: the worker was told to stop       nack, another attempt follows
//!                                 └─▶ lease lost: stalled, or superseded             no event, no object, nack
//! ```
//!
//! # Losing a lease
//!
//! The queue's client extends leases in the background for as long as the process runs, and nobody is told when a lease
//! expires. A process that did not run for a while (stopped, starved of CPU, its machine asleep) may find its clips at
//! work elsewhere. The worker therefore runs a ticker of [`TICK_INTERVAL`]. If two ticks are more than [`MAX_GAP`]
//! apart, a new *epoch* begins and every lease of the earlier epochs counts as lost permanently. Each effect checks
//! this itself, immediately before it runs, so a process that wakes does nothing more, whichever of its timers fires
//! first.
//!
//! ```text
//!  tick ─1s─ tick ─1s─ tick ── … frozen … ── tick     epoch + 1: leases of earlier epochs are lost
//! ```

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest gap between ticks that is still attributed to a busy machine. Leases are extended 20 s ahead and rarely
/// have less than 5 s left. A lease can be lost after a shorter gap, too; then the clip's document shows the later
/// attempt within seconds, and the results of both are fenced in any case.
pub(crate) const MAX_GAP: Duration = Duration::from_secs(5);

/// Reads how long the machine has slept in all.
pub(crate) type SleepClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How long this machine has slept since it booted: only one of the two clocks advances during sleep.
pub(crate) fn time_asleep() -> Duration {
    let now = |clock| clock_gettime(clock).try_into().unwrap_or(Duration::ZERO);
    // In this order: what passes between the two readings must not look like sleep.
    let (boottime, monotonic): (Duration, Duration) = (now(ClockId::Boottime), now(ClockId::Monotonic));
    boottime.saturating_sub(monotonic)
}

/// Detects that the process did not run for so long that its leases may be lost.
pub(crate) struct StallDetector {
    sleep_clock: SleepClock,
    last: Mutex<Tick>,
}

struct Tick {
    at: Instant,
    asleep: Duration,
    /// Cancelled when the epoch ends.
    epoch: CancellationToken,
}

impl StallDetector {
    /// Starts the ticker. Its task ends when the returned [`Ticker`] is dropped.
    pub(crate) fn start(sleep_clock: SleepClock) -> (Arc<Self>, Ticker) {
        let first = Tick { at: Instant::now(), asleep: sleep_clock(), epoch: CancellationToken::new() };
        let detector = Arc::new(Self { sleep_clock, last: Mutex::new(first) });
        let ticking = Arc::clone(&detector);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK_INTERVAL).await;
                ticking.check();
            }
        });
        (detector, Ticker(task))
    }

    /// Ticks, and returns the token of the current epoch.
    fn check(&self) -> CancellationToken {
        self.tick(Instant::now(), (self.sleep_clock)())
    }

    fn tick(&self, at: Instant, asleep: Duration) -> CancellationToken {
        let mut last = self.last.lock();
        let gap = at.saturating_duration_since(last.at) + asleep.saturating_sub(last.asleep);
        (last.at, last.asleep) = (at, asleep);
        if gap > MAX_GAP {
            tracing::warn!(gap_seconds = gap.as_secs_f64(), "process stalled: every lease counts as lost");
            metrics::counter!("clipfleet_worker_stalls_total").increment(1);
            std::mem::take(&mut last.epoch).cancel();
        }
        last.epoch.clone()
    }

    /// Guards a lease that was just granted.
    pub(crate) fn guard(self: &Arc<Self>) -> LeaseGuard {
        LeaseGuard { detector: Arc::clone(self), lost: self.check().child_token() }
    }
}

/// Stops the ticker when dropped.
pub(crate) struct Ticker(JoinHandle<()>);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether one lease is still held, as far as the worker can know.
pub(crate) struct LeaseGuard {
    detector: Arc<StallDetector>,
    /// Cancelled with its epoch, or alone.
    lost: CancellationToken,
}

impl LeaseGuard {
    /// Whether the lease is still held.
    pub(crate) fn is_held(&self) -> bool {
        self.detector.check();
        !self.lost.is_cancelled()
    }

    /// Gives the lease up: the clip's document shows that it is lost.
    pub(crate) fn revoke(&self) {
        self.lost.cancel();
    }

    /// Returns once the lease is lost.
    pub(crate) async fn wait_lost(&self) {
        self.lost.cancelled().await;
    }

    /// Await this immediately before an effect: returns at once while the lease is held, and never when it is lost. The
    /// caller also waits for [`wait_lost`](Self::wait_lost), which then ends it.
    pub(crate) async fn ensure_held(&self) {
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
    async fn a_running_process_keeps_its_leases_and_a_stalled_one_loses_them() {
        let (detector, ticker) = StallDetector::start(Arc::new(time_asleep));
        let guard = detector.guard();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(guard.is_held(), "every second had its tick");
        assert_eq!(guard.ensure_held().now_or_never(), Some(()));
        // Time passes without any timer being served: the process was stopped, and an effect is what runs first when it
        // wakes.
        drop(ticker);
        tokio::time::advance(MAX_GAP + Duration::from_millis(1)).await;
        assert_eq!(guard.ensure_held().now_or_never(), None);
        guard.wait_lost().await;
        assert!(!guard.is_held(), "permanently");
        assert!(detector.guard().is_held(), "a new lease belongs to the new epoch");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_has_lost_its_leases_although_its_timers_did_not_move() {
        let (detector, _ticker) = StallDetector::start(Arc::new(time_asleep));
        let guard = detector.guard();
        detector.tick(Instant::now(), time_asleep() + MAX_GAP - Duration::from_millis(50));
        assert_eq!(guard.wait_lost().now_or_never(), None);
        detector.tick(Instant::now(), time_asleep() + MAX_GAP * 3);
        assert_eq!(guard.wait_lost().now_or_never(), Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_lease_is_lost_alone() {
        let (detector, _ticker) = StallDetector::start(Arc::new(time_asleep));
        let (one, other) = (detector.guard(), detector.guard());
        one.revoke();
        one.wait_lost().await;
        assert!(!one.is_held() && other.is_held());
    }
}
