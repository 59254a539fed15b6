//! What a clip's status document says to an attempt at it: whether anyone still waits for the clip, and whether another attempt is
//! at work. Reading it every other second reaches a running attempt within five, and cannot be missed as a message could.
//!
//! Jobs may come twice, and leases are lost without a word. A newcomer therefore waits while another attempt is seen at work, and
//! begins when that ends, or falls silent for longer than a living one ever is; an attempt that sees a later one stops.

use crate::Worker;
use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::{
    names,
    standing::{Latest, Standing},
};
use clipfleet_domain::{attempt::Attempt, ids::AttemptId, job::Job};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EVERY: Duration = Duration::from_secs(2);

/// Longest silence of an attempt at work, as seen by watching it: it reports every three seconds at least, and its document is written
/// within one more. A dead worker's lease takes up to 20 s to run out, so this seldom adds to the wait.
const SILENCE: Duration = Duration::from_secs(10);

/// The same by the clocks of two machines, which differ by less than the two more.
const SILENCE_BY_CLOCK_MS: i64 = 12_000;

/// Where the clip's generation stands by its document. One that does not exist yet says nothing.
pub(crate) async fn look(cloud: &Cloud, job: &Job) -> Result<Standing, CloudError> {
    let path = names::clip_document(&job.batch.id, &job.clip.id);
    Ok(cloud.documents.get_one(path).await?.map_or_else(Standing::default, |document| {
        Standing::read(
            |field| document.text(field),
            |field| document.integer(field),
            |field| document.instant_ms(field),
        )
    }))
}

/// Waits until an attempt may begin; what is known of the attempts before it. `None` when nobody waits for the clip.
pub(crate) async fn turn(worker: &Worker, job: &Job) -> Option<Standing> {
    let mut watch = Watch::new(Instant::now());
    let mut known = Standing { generation: job.generation, ..Standing::default() };
    loop {
        match look(&worker.cloud, job).await {
            Ok(standing) if !standing.wants(job.generation) => return None,
            Ok(standing) => known = standing.of_generation(job.generation),
            // Not knowing is no reason not to work.
            Err(error) => tracing::warn!(%error, "not known whether the clip is still wanted"),
        }
        let Some(other) = known.at_work() else { return Some(known) };
        if watch.is_silent(other, known.updated_at_ms, worker.clock.now_ms(), Instant::now()) {
            return Some(known);
        }
        tracing::debug!(batch = %job.batch.id, clip = %job.clip.id, other = %other.id, "another attempt is at work");
        sleep(EVERY).await;
    }
}

/// An attempt at work, watched for signs of life.
struct Watch {
    seen: Option<(AttemptId, i64)>,
    since: Instant,
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self { seen: None, since: now }
    }

    fn is_silent(&mut self, other: &Latest, updated_at_ms: i64, now_ms: i64, now: Instant) -> bool {
        let seen = Some((other.id.clone(), updated_at_ms));
        if self.seen != seen {
            (self.seen, self.since) = (seen, now);
        }
        now_ms - updated_at_ms >= SILENCE_BY_CLOCK_MS || now - self.since >= SILENCE
    }
}

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The clip's generation has ended, or a later one was asked for.
    Unwanted,
    /// A later attempt has begun: the lease of this one was lost.
    Superseded,
}

/// Returns when the attempt is to stop.
pub(crate) async fn news(cloud: &Cloud, job: &Job, attempt: &Attempt) -> News {
    loop {
        sleep(EVERY).await;
        match look(cloud, job).await {
            Ok(standing) if !standing.wants(job.generation) => return News::Unwanted,
            Ok(standing) if standing.supersedes(job.generation, attempt) => return News::Superseded,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "not known whether the clip is still wanted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_at_work_while_its_document_moves() {
        let latest = |id| Latest { id: AttemptId::parse(id).unwrap(), number: 1, started_at_ms: 0, open: true };
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(start);
        // Its clock is ahead of ours, so only watching tells.
        assert!(!watch.is_silent(&latest("a"), 90_000, 1_000, at(0)));
        assert!(!watch.is_silent(&latest("a"), 90_000, 9_000, at(8)));
        assert!(!watch.is_silent(&latest("a"), 91_000, 12_000, at(11)), "it moved");
        assert!(!watch.is_silent(&latest("b"), 91_000, 21_000, at(20)), "another one");
        assert!(watch.is_silent(&latest("b"), 91_000, 31_000, at(30)));
        // Its clock is ours, so a long silence needs no watching.
        assert!(Watch::new(start).is_silent(&latest("a"), 1_000, 13_000, at(0)));
        assert!(!Watch::new(start).is_silent(&latest("a"), 1_000, 12_999, at(0)));
    }
}
