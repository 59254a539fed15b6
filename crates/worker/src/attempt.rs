//! One attempt at a clip, from lease to visible result.
//!
//! ```text
//!  lease ─▶ is it our turn? ─▶ Started ─▶ media ─▶ objects ─▶ Completed ─▶ ack
//!              │ unwanted         └── lease lost ──▶ not another word, hand back
//!              ▼                  ├── told to stop ▶ Interrupted, hand back
//!             ack                 ├── unwanted ───▶ ack
//!                                 └── failure ────▶ Failed, ack · Crashed or FailedTransiently, hand back
//! ```

use crate::{
    Worker,
    blocks::SourceReader,
    lease::Hold,
    media::{Ended, Progress},
    meters,
    report::Reporter,
    result::{self, Made},
    scratch::empty,
    wanted::{self, News},
};
use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_contract::standing::Standing;
use clipfleet_domain::{
    attempt::Attempt, failure::Failure, ids::AttemptId, job::Job, lifecycle::ClipEventKind, limits::attempt_deadline_ms,
    retry_policy, attempt_stats::AttemptCounts,
};
use std::{path::Path, time::Duration};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// What is to become of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The clip has ended, and the fleet was told.
    Over,
    /// The clip was cancelled, finished or superseded meanwhile; nobody waits for this attempt.
    Unwanted,
    /// Another attempt is to follow.
    HandedBack,
    /// The lease is another's, as far as can be known: nothing was told, nothing is to be settled.
    Lost,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Over => "over",
            Outcome::Unwanted => "unwanted",
            Outcome::HandedBack => "handed_back",
            Outcome::Lost => "lost",
        }
    }
}

/// Longest wait for a last word to be confirmed when the process is told to stop.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What one delivery of a job brought.
pub(crate) struct Leased {
    pub(crate) job: Job,
    pub(crate) delivery_attempt: u32,
    /// The attempt's id, should there be one.
    pub(crate) id: AttemptId,
    pub(crate) hold: Hold,
}

pub(crate) async fn run(worker: &Worker, leased: Leased, stop: CancellationToken) -> Outcome {
    let Leased { job, delivery_attempt, id, hold } = leased;
    let turn = tokio::select! {
        biased;
        () = hold.lost() => return Outcome::Lost,
        // Nothing was begun, so there is nothing to tell.
        () = stop.cancelled() => return Outcome::HandedBack,
        turn = wanted::turn(worker, &job) => turn,
    };
    let Some(earlier) = turn else { return Outcome::Unwanted };
    let attempt = begin(worker, &job, id, delivery_attempt, &earlier);
    let reporter = Reporter::new(worker.cloud.queue.clone(), worker.clock, &job, attempt, hold);
    let outcome = attend(worker, &job, &reporter, earlier, stop).await;
    // Of a lost lease nothing is touched any more, not even what this attempt has left.
    if outcome != Outcome::Lost && reporter.may_have_left_objects() {
        result::clean_up(worker, &job, &reporter).await;
    }
    outcome
}

/// The attempt, numbered after those before it: deliveries of one message are counted by the queue, but a clip may have several.
fn begin(worker: &Worker, job: &Job, id: AttemptId, delivery_attempt: u32, earlier: &Standing) -> Attempt {
    let number = earlier.latest.as_ref().map_or(0, |latest| latest.number).saturating_add(1).max(delivery_attempt);
    tracing::info!(batch = %job.batch.id, clip = %job.clip.id, attempt = %id, number, "attempt started");
    let started_at_ms = worker.clock.now_ms();
    meters::started(job, started_at_ms);
    Attempt { id, number, started_at_ms, worker: worker.id.clone(), sequence: 0 }
}

async fn attend(
    worker: &Worker,
    job: &Job,
    reporter: &Reporter,
    earlier: Standing,
    stop: CancellationToken,
) -> Outcome {
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    // The one before us fell silent: it vanished like those that were counted so before.
    let lost = earlier.counts.lost + u32::from(earlier.at_work().is_some());
    let earlier = AttemptCounts { lost, ..earlier.counts };
    if let Some(failure) = retry_policy::before_attempt(earlier) {
        return conclude(job, reporter, ClipEventKind::Failed(failure), &stop).await;
    }
    let work = tokio::select! {
        biased;
        () = reporter.hold().lost() => Err(Stopped::Lost),
        () = stop.cancelled() => Err(Stopped::Interrupted),
        news = wanted::news(&worker.cloud, job, reporter.attempt()) => Err(Stopped::News(news)),
        work = work(worker, job, reporter) => work,
    };
    let kind = match work {
        Ok((output, encoding)) => {
            meters::completed(job, &output, &encoding);
            tracing::info!(%batch, %clip, encoder = encoding.encoder, reused = output.reused, total_ms = output.timings.total_ms, "clip completed");
            reporter.objects_are_visible();
            worker.cooldown.record_success();
            ClipEventKind::Completed { output, encoding }
        }
        Err(Stopped::Failed(failure)) => {
            worker.cooldown.record_failure(&failure);
            retry_policy::after_failure(failure, counts(worker, job, earlier).await)
        }
        Err(Stopped::Interrupted) => ClipEventKind::Interrupted,
        Err(Stopped::Untold(error)) => {
            tracing::warn!(%batch, %clip, %error, "attempt handed back: it could not even be announced");
            return Outcome::HandedBack;
        }
        Err(Stopped::News(News::Unwanted)) => {
            tracing::info!(%batch, %clip, "attempt stopped: the clip is no longer wanted");
            return Outcome::Unwanted;
        }
        Err(stopped @ (Stopped::Lost | Stopped::News(News::Superseded))) => {
            reporter.hold().revoke();
            tracing::warn!(%batch, %clip, attempt = %reporter.attempt_id(), ?stopped, "attempt dropped: its lease is lost");
            return Outcome::Lost;
        }
    };
    conclude(job, reporter, kind, &stop).await
}

/// Why there is no result.
#[derive(Debug)]
enum Stopped {
    Lost,
    Interrupted,
    News(News),
    Untold(CloudError),
    Failed(Failure),
}

async fn work(worker: &Worker, job: &Job, reporter: &Reporter) -> Result<Made, Stopped> {
    reporter.tell(ClipEventKind::Started).await.map_err(Stopped::Untold)?;
    make(worker, job, reporter).await.map_err(Stopped::Failed)
}

async fn make(worker: &Worker, job: &Job, reporter: &Reporter) -> Result<Made, Failure> {
    if let Some(made) = result::existing(worker, job, reporter).await? {
        return Ok(made);
    }
    let directory = worker.scratch.attempt(reporter.attempt_id()).map_err(|error| {
        let message = format!("failed to create a directory in {}: {error}", worker.scratch.path().display());
        Failure::transient("scratch_unavailable", message)
    })?;
    let source = SourceReader::new(worker.blocks.clone(), &job.source);
    let reading = source.clone();
    let progress = |phase, fraction, encoding| reporter.progress(phase, fraction, encoding);
    let deadline_ms = attempt_deadline_ms(job.clip.window.length_ms());
    let deadline = Duration::from_millis(deadline_ms.unsigned_abs());
    // Running out of time drops the future, and that kills the process.
    let made = make_media(worker, job, directory.path(), source, &progress).instrument(tracing::info_span!("make"));
    let finished = match timeout(deadline, made).await {
        Ok(Ended::Finished(finished)) => finished,
        Ok(Ended::Failed(failure)) => return Err(failure),
        Ok(Ended::Crashed(text)) => return Err(Failure::crash("pipeline_crashed", text)),
        Err(_) => {
            let message = format!("the media process was not done after {} s and was killed", deadline_ms / 1_000);
            return Err(Failure::crash("pipeline_overdue", message));
        }
    };
    reporter.objects_may_follow();
    let publishing = result::publish(worker, job, reporter, directory.path(), (finished, reading.fetched()));
    publishing.instrument(tracing::info_span!("publish")).await
}

/// Makes the clip from the source. A verdict on the source is final only if a second reading comes to one, too: the
/// first may have been damaged on its way. So a source that is really damaged costs one more reading per clip, and no
/// more.
async fn make_media(
    worker: &Worker,
    job: &Job,
    directory: &Path,
    source: SourceReader,
    progress: Progress<'_>,
) -> Ended {
    let ended = worker.media.make(job, directory, source.clone(), progress).await;
    if matches!(ended, Ended::Finished(_)) {
        return ended;
    }
    // Whatever failed, damaged bytes may be why: neither this attempt nor a later one is to find them in the cache.
    source.forget().await;
    let Ended::Failed(failure) = &ended else { return ended };
    if !failure.is_of_the_source() {
        return ended;
    }
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    tracing::warn!(%batch, %clip, code = failure.code, "reading the source once more: {}", failure.message);
    if let Err(error) = empty(directory) {
        tracing::warn!(%batch, %clip, %error, "source not read once more: the attempt's directory cannot be emptied");
        return ended;
    }
    let again = worker.media.make(job, directory, source.clone(), progress).await;
    let outcome = if matches!(again, Ended::Finished(_)) { "intact" } else { "same" };
    metrics::counter!("clipfleet_source_rereads_total", "outcome" => outcome).increment(1);
    if !matches!(again, Ended::Finished(_)) {
        source.forget().await;
    }
    again
}

/// What became of the attempts before this one, as late as can be known: a crash just before may have been folded since.
async fn counts(worker: &Worker, job: &Job, known: AttemptCounts) -> AttemptCounts {
    match timeout(LAST_WORD, wanted::look(&worker.cloud, job)).await {
        Ok(Ok(standing)) if standing.generation == job.generation => standing.counts,
        Ok(Ok(_)) => known,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not known how earlier attempts ended since this one began");
            known
        }
        // A worker that is told to stop meanwhile has no time for more.
        Err(_) => known,
    }
}

/// Tells the attempt's last word. Untold is undone: the next attempt finds the result, or fails again, and tells again.
async fn conclude(job: &Job, reporter: &Reporter, kind: ClipEventKind, stop: &CancellationToken) -> Outcome {
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    let ends = match &kind {
        ClipEventKind::Failed(failure) => {
            tracing::warn!(%batch, %clip, code = failure.code, "clip failed: {}", failure.message);
            true
        }
        ClipEventKind::Crashed(failure) | ClipEventKind::FailedTransiently(failure) => {
            tracing::warn!(%batch, %clip, code = failure.code, "attempt handed back: {}", failure.message);
            false
        }
        ClipEventKind::Interrupted => {
            tracing::info!(%batch, %clip, "attempt interrupted");
            false
        }
        _ => true,
    };
    let told = tokio::select! {
        biased;
        () = reporter.hold().lost() => return Outcome::Lost,
        told = reporter.tell(kind) => told,
        () = async { stop.cancelled().await; sleep(LAST_WORD).await } => {
            Err(CloudError::new(ErrorKind::Unavailable, "tell the end of an attempt before the end of its worker"))
        }
    };
    match told {
        Ok(()) if ends => Outcome::Over,
        Ok(()) => Outcome::HandedBack,
        Err(error) => {
            tracing::warn!(%batch, %clip, %error, "attempt handed back: its end was not told");
            Outcome::HandedBack
        }
    }
}
