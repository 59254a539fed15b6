//! Checks of work: none for an obsolete clip, none by an attempt that lost its lease, and none that was done before.

use super::{CheckResult, Checker, ClipKey, Running, STOP_TIMEOUT, key, output_of};
use clipfleet_domain::{
    job::Job,
    limits::{MAX_CRASHES, MAX_TRANSIENT_FAILURES},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long media work may continue after a stall that was too long: the worker checks for stalls every second.
const STALL_CHECK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long workers may still take jobs after a pause began: they poll for it every two seconds.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts that a clip may cost by itself, doubled because attempts are not counted while status is down.
const MAX_ATTEMPTS: u32 = 2 * (MAX_CRASHES + MAX_TRANSIENT_FAILURES);

impl Checker {
    /// Media work started. Returns the number that identifies it.
    pub(crate) fn media_started(&mut self, process: &str, job: &Job, attempt: &str) -> Result<u64, String> {
        let clip = key(job);
        self.check_not_obsolete(process, &clip, job.generation, "starts media")?;
        let Some(started) = self.started.get(attempt) else {
            return Err(format!("{process} works on {clip:?} in {attempt}, whose start was not published"));
        };
        let output = output_of(job);
        if self.requested_clips.get(&output) != Some(&job.clip) {
            return Err(format!("{process} makes {output} with other settings than requested"));
        }
        if self.objects.get(&output).is_some_and(|made| *started > made.at) {
            return Err(format!("{process} makes {output} again, which existed before {attempt} started"));
        }
        let faults = self.faults;
        let work = self.work(job);
        work.starts += 1;
        let max_starts = MAX_ATTEMPTS + work.duplicated + faults;
        if work.starts > max_starts {
            return Err(format!("{clip:?} was started {} times, more than {max_starts}", work.starts));
        }
        self.serial += 1;
        let generation = job.generation;
        let (process, attempt) = (process.to_owned(), attempt.to_owned());
        self.running.insert(self.serial, Running { process, attempt, clip, generation });
        Ok(self.serial)
    }

    /// Media work continues.
    pub(crate) fn media_continues(&self, number: u64) -> CheckResult {
        let Some(Running { process, attempt, clip, generation }) = self.running.get(&number) else { return Ok(()) };
        self.check_not_obsolete(process, clip, *generation, "continues media work")?;
        let checked_at = Instant::now().checked_sub(STALL_CHECK_TIMEOUT).unwrap_or_else(Instant::now);
        self.check_lease_held(process, attempt, checked_at, "continues media work")
    }

    pub(crate) fn media_stopped(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// Whether media work is running in any process.
    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// No work may be done for an obsolete clip, after a short time to notice.
    pub(super) fn check_not_obsolete(&self, process: &str, clip: &ClipKey, generation: u32, does: &str) -> CheckResult {
        let Some((until, since)) = self.obsolete.get(clip) else { return Ok(()) };
        let late = self.reaction_time(process, *since);
        if *until < generation || late <= STOP_TIMEOUT {
            return Ok(());
        }
        Err(format!("{process} {does} for {clip:?} generation {generation}, which is obsolete since {late:?}"))
    }

    /// How long a process had time to react to something that happened at `since`.
    fn reaction_time(&self, process: &str, since: Instant) -> Duration {
        self.reaction_from.get(process).map_or(since, |from| since.max(*from)).elapsed()
    }

    /// A job reached a worker. None may do so in a pause, after a short time to notice.
    pub(crate) fn job_received(&self, process: &str) -> CheckResult {
        let Some(since) = self.paused_since else { return Ok(()) };
        let late = self.reaction_time(process, since);
        if late <= PAUSE_TIMEOUT {
            return Ok(());
        }
        Err(format!("{process} takes a job, although the fleet is paused since {late:?}"))
    }

    /// An attempt that lost its lease may do no more work once it can know. `called_at` is when the action began.
    pub(super) fn check_lease_held(&self, process: &str, attempt: &str, called_at: Instant, does: &str) -> CheckResult {
        let started = self.started.get(attempt);
        if let Some((since, until)) = self.stalls.get(process)
            && started.is_some_and(|started| started < since)
            && called_at > *until
        {
            return Err(format!(
                "{process} {does} in {attempt}, although it stalled for {:?} since that started",
                *until - *since
            ));
        }
        if let Some(since) = self.superseded.get(attempt) {
            let late = self.reaction_time(process, *since);
            if late > STOP_TIMEOUT {
                return Err(format!(
                    "{process} {does} in {attempt}, although documents show a later attempt since {late:?}"
                ));
            }
        }
        Ok(())
    }
}
