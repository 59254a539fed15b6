//! One attempt at a clip, from lease to visible result; `lease.rs` draws its states.

use crate::{
    blocks::SourceReader,
    clip_watch,
    context::Worker,
    lease::LeaseGuard,
    media::{MediaResult, Progress},
    outcome::{Outcome, StopReason},
    publication::{Made, Publication},
    report::Reporter,
    scratch::empty,
};
use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_contract::documents::clip::ClipStatus;
use clipfleet_domain::{
    attempt::Attempt,
    attempt_stats::AttemptCounts,
    failure::{Code, Failure},
    ids::AttemptId,
    job::Job,
    lifecycle::ClipEventKind,
    limits::attempt_deadline_ms,
    retry_policy,
};
use std::{path::Path, time::Duration};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The longest wait for a final event to be confirmed once the worker is told to stop.
const FINAL_EVENT_TIMEOUT: Duration = Duration::from_secs(2);

/// What one delivery of a job brought.
pub(crate) struct Leased {
    pub(crate) job: Job,
    pub(crate) delivery_attempt: u32,
    /// The attempt's id, if an attempt starts.
    pub(crate) id: AttemptId,
    pub(crate) guard: LeaseGuard,
}

/// Runs an attempt to its end.
pub(crate) async fn execute(worker: &Worker, leased: Leased, stop: CancellationToken) -> Outcome {
    let Leased { job, delivery_attempt, id, guard } = leased;
    let earlier = tokio::select! {
        biased;
        () = guard.wait_lost() => return Outcome::LeaseLost,
        // Nothing has started, so there is nothing to publish.
        () = stop.cancelled() => return Outcome::Requeue,
        earlier = clip_watch::wait_until_idle(worker, &job) => earlier,
    };
    let Some(earlier) = earlier else { return Outcome::Obsolete };
    let attempt = start(worker, &job, id, delivery_attempt, &earlier);
    let reporter = Reporter::new(worker.cloud.queue.clone(), worker.clock, &job, attempt, guard);
    let publication = Publication::new(worker, &job, &reporter);
    let outcome = run(worker, &publication, &job, &reporter, earlier, stop).await;
    // After the lease is lost nothing is touched any more, not even this attempt's own objects.
    if outcome != Outcome::LeaseLost {
        publication.remove_unreferenced().await;
    }
    outcome
}

/// The attempt, numbered after those in the clip's document. The number of the delivery alone would not do: the queue
/// counts the deliveries of one message, and the message of a repaired job starts at 1 again.
fn start(worker: &Worker, job: &Job, id: AttemptId, delivery_attempt: u32, earlier: &ClipStatus) -> Attempt {
    let number = earlier.latest.as_ref().map_or(0, |latest| latest.number).saturating_add(1).max(delivery_attempt);
    tracing::info!(batch = %job.batch.id, clip = %job.clip.id, attempt = %id, number, "attempt started");
    let started_at_ms = worker.clock.now_ms();
    crate::metrics::record_start(job, started_at_ms);
    Attempt { id, number, started_at_ms, worker: worker.id.clone(), sequence: 0 }
}

async fn run(
    worker: &Worker,
    publication: &Publication<'_>,
    job: &Job,
    reporter: &Reporter,
    earlier: ClipStatus,
    stop: CancellationToken,
) -> Outcome {
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    // An attempt that still looks active has been silent for too long: it was lost with its worker.
    let lost = earlier.counts.lost + u32::from(earlier.active().is_some());
    let earlier = AttemptCounts { lost, ..earlier.counts };
    if let Some(failure) = retry_policy::before_attempt(earlier) {
        return conclude(worker, job, reporter, ClipEventKind::Failed(failure), &stop).await;
    }
    let result = tokio::select! {
        biased;
        () = reporter.guard().wait_lost() => Err(StopReason::LeaseLost),
        () = stop.cancelled() => Err(StopReason::Shutdown),
        reason = clip_watch::watch_cancellation(&worker.cloud, job, reporter.attempt()) => Err(reason),
        result = announce_and_transcode(worker, publication, job, reporter) => result,
    };
    let event = match result {
        Ok((output, encoding)) => {
            crate::metrics::record_completion(job, &output, &encoding);
            let (encoder, reused, total_ms) = (&encoding.encoder, output.reused, output.timings.total_ms);
            let on_time = crate::metrics::record_end(job, worker.clock.now_ms());
            tracing::info!(%batch, %clip, encoder, reused, total_ms, on_time, "clip completed");
            worker.cooldown.record_success();
            ClipEventKind::Completed { output, encoding }
        }
        Err(StopReason::Failed(failure)) => {
            worker.cooldown.record_failure(&failure);
            retry_policy::after_failure(failure, current_counts(worker, job, earlier).await)
        }
        Err(StopReason::Shutdown) => ClipEventKind::Interrupted,
        Err(StopReason::NotAnnounced(error)) => {
            tracing::warn!(%batch, %clip, %error, "attempt requeued: its start could not be published");
            return Outcome::Requeue;
        }
        Err(StopReason::Obsolete) => {
            tracing::info!(%batch, %clip, "attempt stopped: the clip has ended or was retried");
            return Outcome::Obsolete;
        }
        Err(reason @ (StopReason::LeaseLost | StopReason::Superseded)) => {
            reporter.guard().revoke();
            let attempt = reporter.attempt_id();
            tracing::warn!(%batch, %clip, %attempt, ?reason, "attempt stopped: its lease is lost");
            return Outcome::LeaseLost;
        }
    };
    conclude(worker, job, reporter, event, &stop).await
}

async fn announce_and_transcode(
    worker: &Worker,
    publication: &Publication<'_>,
    job: &Job,
    reporter: &Reporter,
) -> Result<Made, StopReason> {
    reporter.publish(ClipEventKind::Started).await.map_err(StopReason::NotAnnounced)?;
    transcode(worker, publication, job, reporter).await.map_err(StopReason::Failed)
}

async fn transcode(
    worker: &Worker,
    publication: &Publication<'_>,
    job: &Job,
    reporter: &Reporter,
) -> Result<Made, Failure> {
    worker.check_access(job)?;
    if let Some(made) = publication.existing().await? {
        return Ok(made);
    }
    let directory = worker.scratch.attempt(reporter.attempt_id()).map_err(|error| {
        let message = format!("failed to create a directory in {}: {error}", worker.scratch.path().display());
        Failure::new(Code::ScratchUnavailable, message)
    })?;
    let source = SourceReader::new(worker.blocks.clone(), &job.source);
    let reading = source.clone();
    let progress = |phase, fraction, encoding| reporter.progress(phase, fraction, encoding);
    let deadline_ms = attempt_deadline_ms(job.clip.window.length_ms());
    let deadline = Duration::from_millis(deadline_ms.unsigned_abs());
    // The timeout drops the future, and that kills the process.
    let making = make_media(worker, job, directory.path(), source, &progress).instrument(tracing::info_span!("make"));
    let finished = match timeout(deadline, making).await {
        Ok(MediaResult::Finished(finished)) => finished,
        Ok(MediaResult::Failed(failure)) => return Err(failure),
        Ok(MediaResult::Crashed(text)) => return Err(Failure::new(Code::PipelineCrashed, text)),
        Err(_) => {
            let message = format!("the media process was not done after {} s and was killed", deadline_ms / 1_000);
            return Err(Failure::new(Code::PipelineOverdue, message));
        }
    };
    let publishing = publication.publish(directory.path(), finished, reading.fetched());
    publishing.instrument(tracing::info_span!("publish")).await
}

/// Makes the clip from the source. A failure that blames the source is final only if a second reading confirms it,
/// because the first one may have been damaged on its way. So a source that is really damaged costs one more reading
/// per clip, and no more.
async fn make_media(
    worker: &Worker,
    job: &Job,
    directory: &Path,
    source: SourceReader,
    progress: Progress<'_>,
) -> MediaResult {
    let first = worker.media.make(job, directory, source.clone(), progress).await;
    if matches!(first, MediaResult::Finished(_)) {
        return first;
    }
    // Damaged bytes may be the cause of any failure: neither this attempt nor a later one may find them in the cache.
    source.invalidate().await;
    let MediaResult::Failed(failure) = &first else { return first };
    if !failure.blames_source_bytes() {
        return first;
    }
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    tracing::warn!(%batch, %clip, code = failure.code.as_str(), "reading the source once more: {}", failure.message);
    if let Err(error) = empty(directory) {
        tracing::warn!(%batch, %clip, %error, "source not read once more: the attempt's directory cannot be emptied");
        return first;
    }
    let second = worker.media.make(job, directory, source.clone(), progress).await;
    let intact = matches!(second, MediaResult::Finished(_));
    let outcome = if intact { "intact" } else { "same" };
    metrics::counter!("clipfleet_source_rereads_total", "outcome" => outcome).increment(1);
    if !intact {
        source.invalidate().await;
    }
    second
}

/// How the attempts before this one ended, as recently as can be known: a crash just before may have been folded since.
async fn current_counts(worker: &Worker, job: &Job, known: AttemptCounts) -> AttemptCounts {
    match timeout(FINAL_EVENT_TIMEOUT, clip_watch::read_status(&worker.cloud, job)).await {
        Ok(Ok(status)) if status.generation == job.generation => status.counts,
        Ok(Ok(_)) => known,
        Ok(Err(error)) => {
            tracing::warn!(%error, "failed to read how earlier attempts ended, using what was known at the start");
            known
        }
        // A worker that is told to stop meanwhile has no more time.
        Err(_) => known,
    }
}

/// Publishes the final event. If that fails, the job is nacked; the next attempt finds the result (or fails the same
/// way) and reports it.
async fn conclude(
    worker: &Worker,
    job: &Job,
    reporter: &Reporter,
    event: ClipEventKind,
    stop: &CancellationToken,
) -> Outcome {
    let (batch, clip) = (&job.batch.id, &job.clip.id);
    let ends_clip = match &event {
        ClipEventKind::Failed(failure) => {
            let on_time = crate::metrics::record_end(job, worker.clock.now_ms());
            tracing::warn!(%batch, %clip, code = failure.code.as_str(), on_time, "clip failed: {}", failure.message);
            true
        }
        ClipEventKind::Crashed(failure) | ClipEventKind::FailedTransiently(failure) => {
            tracing::warn!(%batch, %clip, code = failure.code.as_str(), "attempt requeued: {}", failure.message);
            false
        }
        ClipEventKind::Interrupted => {
            tracing::info!(%batch, %clip, "attempt interrupted");
            false
        }
        _ => true,
    };
    let published = tokio::select! {
        biased;
        () = reporter.guard().wait_lost() => return Outcome::LeaseLost,
        published = reporter.publish(event) => published,
        () = async { stop.cancelled().await; sleep(FINAL_EVENT_TIMEOUT).await } => {
            Err(CloudError::new(ErrorKind::Unavailable, "publish an attempt's final event before its worker stops"))
        }
    };
    match published {
        Ok(()) if ends_clip => Outcome::Done,
        Ok(()) => Outcome::Requeue,
        Err(error) => {
            tracing::warn!(%batch, %clip, %error, "attempt requeued: its final event was not published");
            Outcome::Requeue
        }
    }
}
