//! Watches a clip's status document on behalf of an attempt: whether the clip still has to be made, and whether another
//! attempt is active. The document is read every other second, so a change reaches a running attempt within five;
//! unlike a message, a state cannot be missed.
//!
//! Jobs may be delivered twice, and leases are lost without notice. An attempt therefore starts only when no other
//! attempt is active, or the active one has been silent for longer than a living one ever is; an attempt that sees a
//! later one stops.

use crate::{context::Worker, outcome::StopReason};
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::{
    documents::clip::{ClipStatus, LatestAttempt},
    names,
};
use clipfleet_domain::{attempt::Attempt, ids::AttemptId, job::Job};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// After this long without a change of its document, an attempt counts as dead, as measured by watching it: a living
/// one reports at least every three seconds, and its document is written within one more. A dead worker's lease takes
/// up to 20 s to expire, so this rarely adds to the wait.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same when measured by the clocks of two machines, which differ by less than the two seconds more.
const HEARTBEAT_TIMEOUT_BY_CLOCK_MS: i64 = 12_000;

/// Reads a clip's status. A clip without a document is queued.
pub(crate) async fn read_status(cloud: &Cloud, job: &Job) -> Result<ClipStatus, CloudError> {
    let path = names::clip_document(&job.batch.id, &job.clip.id);
    Ok(cloud.documents.get_one(path).await?.as_ref().map(ClipStatus::from_document).unwrap_or_default())
}

/// Waits until no other attempt is active. Returns what is known of the attempts before this one, or `None` when the
/// clip no longer has to be made.
pub(crate) async fn wait_until_idle(worker: &Worker, job: &Job) -> Option<ClipStatus> {
    let mut heartbeat = HeartbeatMonitor::new(Instant::now());
    let mut known = ClipStatus { generation: job.generation, ..ClipStatus::default() };
    loop {
        match read_status(&worker.cloud, job).await {
            Ok(status) if !status.is_needed(job.generation) => return None,
            Ok(status) => known = status.of_generation(job.generation),
            // If the document cannot be read, proceed.
            Err(error) => tracing::warn!(%error, "failed to read the clip's status, proceeding"),
        }
        let Some(other) = known.active() else { return Some(known) };
        if heartbeat.is_dead(other, known.updated_at_ms, worker.clock.now_ms(), Instant::now()) {
            return Some(known);
        }
        tracing::debug!(batch = %job.batch.id, clip = %job.clip.id, other = %other.id, "another attempt is active");
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns when the attempt must stop: its clip no longer has to be made, or a later attempt has started.
pub(crate) async fn watch_cancellation(cloud: &Cloud, job: &Job, attempt: &Attempt) -> StopReason {
    loop {
        sleep(POLL_INTERVAL).await;
        match read_status(cloud, job).await {
            Ok(status) if !status.is_needed(job.generation) => return StopReason::Obsolete,
            Ok(status) if status.supersedes(job.generation, attempt) => return StopReason::Superseded,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "failed to read the clip's status"),
        }
    }
}

/// Decides whether an attempt is dead from the changes of its clip's document.
struct HeartbeatMonitor {
    last: Option<(AttemptId, i64)>,
    last_change: Instant,
}

impl HeartbeatMonitor {
    fn new(now: Instant) -> Self {
        Self { last: None, last_change: now }
    }

    fn is_dead(&mut self, attempt: &LatestAttempt, updated_at_ms: i64, now_ms: i64, now: Instant) -> bool {
        let current = Some((attempt.id.clone(), updated_at_ms));
        if self.last != current {
            (self.last, self.last_change) = (current, now);
        }
        now_ms - updated_at_ms >= HEARTBEAT_TIMEOUT_BY_CLOCK_MS || now - self.last_change >= HEARTBEAT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_alive_while_its_document_changes() {
        let attempt = |id| LatestAttempt {
            id: AttemptId::parse(id).unwrap(),
            number: 1,
            started_at_ms: 0,
            worker: None,
            open: true,
        };
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut monitor = HeartbeatMonitor::new(start);
        // Its clock is ahead of ours, so only watching it decides.
        assert!(!monitor.is_dead(&attempt("a"), 90_000, 1_000, at(0)));
        assert!(!monitor.is_dead(&attempt("a"), 90_000, 9_000, at(8)));
        assert!(!monitor.is_dead(&attempt("a"), 91_000, 12_000, at(11)), "it changed");
        assert!(!monitor.is_dead(&attempt("b"), 91_000, 21_000, at(20)), "another one");
        assert!(monitor.is_dead(&attempt("b"), 91_000, 31_000, at(30)));
        // Its clock is ours, so a long silence needs no watching.
        assert!(HeartbeatMonitor::new(start).is_dead(&attempt("a"), 1_000, 13_000, at(0)));
        assert!(!HeartbeatMonitor::new(start).is_dead(&attempt("a"), 1_000, 12_999, at(0)));
    }
}
