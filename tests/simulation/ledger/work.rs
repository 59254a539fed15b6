//! What work must never be done: for a clip that nobody waits for, by an attempt whose lease is another's, or again.

use super::{ClipKey, Ledger, Running, TO_STOP, Verdict, key};
use clipfleet_cloud::ObjectName;
use clipfleet_domain::{
    job::Job,
    limits::{MAX_CRASHES, MAX_TRANSIENT_FAILURES},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long media may go on in a process that stood still for longer: it feels its pulse every second.
const TO_FEEL: Duration = Duration::from_millis(1_500);

/// How long workers may go on to take jobs in a pause: they look every other second.
const TO_PAUSE: Duration = Duration::from_secs(5);

/// Attempts that a clip may cost by itself, and as many again while nobody counts because status is away.
const MOST_ATTEMPTS: u32 = 2 * (MAX_CRASHES + MAX_TRANSIENT_FAILURES);

impl Ledger {
    /// Media work began; the number by which it ends.
    pub(crate) fn media_started(&mut self, process: &str, job: &Job, attempt: &str) -> Result<u64, String> {
        let clip = key(job);
        self.still_wanted(process, &clip, job.generation, "starts media")?;
        let Some(began) = self.began.get(attempt) else {
            return Err(format!("{process} works on {clip:?} in {attempt}, of which nobody was told"));
        };
        let output = ObjectName::new(job.output.bucket(), job.output.object());
        if self.objects.get(&output).is_some_and(|made| *began > made.at) {
            return Err(format!("{process} makes {output} again, which was there before {attempt} began"));
        }
        let disturbances = self.disturbances;
        let work = self.work(job);
        work.starts += 1;
        let most = MOST_ATTEMPTS + work.doubled + disturbances;
        if work.starts > most {
            return Err(format!("{clip:?} was begun {} times, more than {most}", work.starts));
        }
        self.serial += 1;
        let generation = job.generation;
        let (process, attempt) = (process.to_owned(), attempt.to_owned());
        self.running.insert(self.serial, Running { process, attempt, clip, generation });
        Ok(self.serial)
    }

    /// Media work goes on.
    pub(crate) fn media_goes_on(&self, number: u64) -> Verdict {
        let Some(Running { process, attempt, clip, generation }) = self.running.get(&number) else { return Ok(()) };
        self.still_wanted(process, clip, *generation, "goes on with media")?;
        let felt = Instant::now().checked_sub(TO_FEEL).unwrap_or_else(Instant::now);
        self.still_held(process, attempt, felt, "goes on with media")
    }

    pub(crate) fn media_stopped(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// Media of processes that are alive is at work.
    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Nothing is done for a clip that nobody waits for, but for a moment that it takes to notice.
    pub(super) fn still_wanted(&self, process: &str, clip: &ClipKey, generation: u32, does: &str) -> Verdict {
        let Some((until, since)) = self.unwanted.get(clip) else { return Ok(()) };
        let late = self.late(process, *since);
        if *until < generation || late <= TO_STOP {
            return Ok(());
        }
        Err(format!("{process} {does} for {clip:?} generation {generation}, which nobody wants since {late:?}"))
    }

    /// How long a process could have known what holds since then.
    fn late(&self, process: &str, since: Instant) -> Duration {
        self.excuses.get(process).map_or(since, |excuse| since.max(*excuse)).elapsed()
    }

    /// A job reached a worker: none does in a pause, but for a moment that it takes to notice.
    pub(crate) fn job_taken(&self, process: &str) -> Verdict {
        let Some(since) = self.paused_since else { return Ok(()) };
        let late = self.late(process, since);
        if late <= TO_PAUSE {
            return Ok(());
        }
        Err(format!("{process} takes a job, though the fleet is paused since {late:?}"))
    }

    /// Nothing is done by an attempt whose lease is another's, once it can know. `asked` is when it set out to do it.
    pub(super) fn still_held(&self, process: &str, attempt: &str, asked: Instant, does: &str) -> Verdict {
        let began = self.began.get(attempt);
        if let Some((since, until)) = self.stood_still.get(process)
            && began.is_some_and(|began| began < since)
            && asked > *until
        {
            return Err(format!(
                "{process} {does} in {attempt}, although it stood still for {:?} since that began",
                *until - *since
            ));
        }
        if let Some(since) = self.superseded.get(attempt) {
            let late = self.late(process, *since);
            if late > TO_STOP {
                return Err(format!("{process} {does} in {attempt}, although a later attempt shows since {late:?}"));
            }
        }
        Ok(())
    }
}
