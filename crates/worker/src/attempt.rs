//! One attempt at a clip, from lease to visible result.

use crate::{Worker, blocks::SourceReader, companions, media::Ended, report::Reporter, wanted};
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectInfo, ObjectName};
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{
    attempt::Attempt,
    failure::Failure,
    job::Job,
    lifecycle::{ClipFact, Encoding, Output, Timings},
    limits::MAX_CRASHES,
    progress::Phase,
};
use std::{path::Path, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is to become of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The clip has ended, and the fleet was told.
    Over,
    /// The clip was cancelled, finished or superseded meanwhile; nobody waits for this attempt.
    Unwanted,
    /// Another attempt is to follow.
    HandedBack,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Over => "over",
            Outcome::Unwanted => "unwanted",
            Outcome::HandedBack => "handed_back",
        }
    }
}

/// How the work itself ended.
enum Work {
    Completed(Output, Encoding),
    Failed(Failure),
    /// The pipeline process died.
    Crashed(String),
}

/// Longest wait for a last word to be confirmed when the process is told to stop.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How long a result's URL can be used: the longest a signed URL may live.
const URL_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

const SETTINGS_HASH: &str = "clipfleet-settings";
const BATCH: &str = "clipfleet-batch";
const ATTEMPT: &str = "clipfleet-attempt";
const DURATION_MS: &str = "clipfleet-duration-ms";
const ENCODER: &str = "clipfleet-encoder";

pub(crate) async fn run(worker: &Worker, job: &Job, attempt: Attempt, stop: CancellationToken) -> Outcome {
    match wanted::is_wanted(&worker.cloud, job).await {
        Ok(true) => {}
        Ok(false) => return Outcome::Unwanted,
        // Not knowing is no reason not to work.
        Err(error) => tracing::warn!(%error, "not known whether the clip is still wanted"),
    }
    let (batch, clip, number) = (&job.batch.id, &job.clip.id, attempt.number);
    let reporter = Reporter::new(worker.cloud.queue.clone(), worker.clock, job, attempt);
    let work = tokio::select! {
        biased;
        () = stop.cancelled() => {
            tracing::info!(%batch, %clip, "attempt interrupted");
            let _ = tokio::time::timeout(LAST_WORD, reporter.tell(ClipFact::Interrupted)).await;
            return Outcome::HandedBack;
        }
        () = wanted::until_unwanted(&worker.cloud, job) => {
            tracing::info!(%batch, %clip, "attempt stopped: the clip is no longer wanted");
            return Outcome::Unwanted;
        }
        work = make(worker, job, &reporter) => work,
    };
    let fact = match work {
        Ok(Work::Completed(output, encoding)) => {
            metrics::histogram!("clipfleet_clip_seconds").record(output.timings.total_ms as f64 / 1_000.0);
            tracing::info!(%batch, %clip, encoder = encoding.encoder, reused = output.reused, total_ms = output.timings.total_ms, "clip completed");
            ClipFact::Completed { output, encoding }
        }
        Ok(Work::Failed(failure)) if !failure.retryable => ClipFact::Failed(failure),
        Ok(Work::Crashed(text)) if number >= MAX_CRASHES => {
            let message = format!("the media process died in {number} attempts; the source may be damaged: {text}");
            ClipFact::Failed(Failure::permanent("pipeline_crashed", message))
        }
        Ok(Work::Failed(failure)) => return hand_back(&reporter, job, &failure.message).await,
        Ok(Work::Crashed(text)) => return hand_back(&reporter, job, &text).await,
        Err(error) => return hand_back(&reporter, job, &format!("failed to {error}")).await,
    };
    if let ClipFact::Failed(failure) = &fact {
        tracing::warn!(%batch, %clip, code = failure.code, "clip failed: {}", failure.message);
    }
    match reporter.tell(fact).await {
        Ok(()) => Outcome::Over,
        // Untold is undone: the next attempt finds the result and tells again.
        Err(error) => hand_back(&reporter, job, &format!("failed to {error}")).await,
    }
}

async fn hand_back(reporter: &Reporter, job: &Job, reason: &str) -> Outcome {
    tracing::warn!(batch = %job.batch.id, clip = %job.clip.id, reason, "attempt handed back");
    let _ = tokio::time::timeout(LAST_WORD, reporter.tell(ClipFact::Interrupted)).await;
    Outcome::HandedBack
}

async fn make(worker: &Worker, job: &Job, reporter: &Reporter) -> Result<Work, CloudError> {
    reporter.tell(ClipFact::Started).await?;
    let output = ObjectName::new(job.output.bucket(), job.output.object());
    match worker.cloud.objects.stat(&output, None).await {
        Ok(found) => return adopt(worker, job, reporter, &output, &found).await,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let directory = worker.scratch.attempt(reporter.attempt_id()).map_err(|error| {
        CloudError::new(
            ErrorKind::Unavailable,
            format!("create a directory in {}: {error}", worker.scratch.path().display()),
        )
    })?;
    let source = SourceReader::new(worker.blocks.clone(), &job.source);
    let progress = |phase, fraction, encoding| reporter.progress(phase, fraction, encoding);
    let finished = match worker.media.make(job, directory.path(), source, &progress).await {
        Ended::Finished(finished) => finished,
        Ended::Failed(failure) => return Ok(Work::Failed(failure)),
        Ended::Crashed(text) => return Ok(Work::Crashed(text)),
    };
    publish(worker, job, reporter, &output, directory.path(), finished).await
}

/// Makes the file visible, unless someone else did meanwhile. Manifest and cover are there first, under names of this attempt's own: the
/// visible clip names them in its metadata, so all three belong together whoever wins.
async fn publish(
    worker: &Worker,
    job: &Job,
    reporter: &Reporter,
    output: &ObjectName,
    directory: &Path,
    finished: TranscodeFinished,
) -> Result<Work, CloudError> {
    let started = Instant::now();
    let encoding = Encoding { encoder: finished.encoder.clone(), fallback_reason: finished.fallback_reason.clone() };
    reporter.progress(Phase::Uploading, 0.0, encoding.clone());
    let cover = directory.join(&finished.cover);
    let mut metadata = companions::store(worker, output, reporter.attempt_id(), finished.manifest, cover).await?;
    metadata.extend([
        (SETTINGS_HASH.to_owned(), job.settings_hash.clone()),
        (BATCH.to_owned(), job.batch.id.to_string()),
        (ATTEMPT.to_owned(), reporter.attempt_id().to_string()),
        (DURATION_MS.to_owned(), finished.duration_ms.to_string()),
        (ENCODER.to_owned(), finished.encoder.clone()),
    ]);
    let new = NewObject { content_type: "video/mp4".into(), metadata };
    let created = worker.cloud.objects.create(output, new, Body::File(directory.join(&finished.file))).await;
    let info = match created {
        Ok(info) => info,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = worker.cloud.objects.stat(output, None).await?;
            companions::discard_unless_named(worker, output, reporter.attempt_id(), &found.metadata).await;
            return adopt(worker, job, reporter, output, &found).await;
        }
        Err(error) => return Err(error),
    };
    let timings = Timings {
        queued_ms: reporter.queued_ms(),
        fetch_ms: finished.fetch_ms,
        encode_ms: finished.encode_ms,
        verify_ms: finished.verify_ms,
        upload_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(0),
        total_ms: reporter.total_ms(),
    };
    let described = describe(worker, job, output, &info, finished.duration_ms).await?;
    Ok(Work::Completed(Output { timings, ..described }, encoding))
}

/// Takes an existing object as the result: the work of an earlier batch with equal settings, or of an attempt of this very
/// clip whose last word was lost.
async fn adopt(
    worker: &Worker,
    job: &Job,
    reporter: &Reporter,
    output: &ObjectName,
    found: &ObjectInfo,
) -> Result<Work, CloudError> {
    let label = |name: &str| found.metadata.get(name).map_or("", String::as_str);
    if label(SETTINGS_HASH) != job.settings_hash {
        let message =
            format!("{output} exists and is not a result of this clip; remove it or choose another output.prefix");
        return Ok(Work::Failed(Failure::permanent("output_conflict", message)));
    }
    let duration_ms = label(DURATION_MS).parse().unwrap_or_else(|_| job.clip.window.length_ms());
    let timings = Timings { queued_ms: reporter.queued_ms(), total_ms: reporter.total_ms(), ..Timings::default() };
    let encoding = Encoding { encoder: label(ENCODER).to_owned(), fallback_reason: String::new() };
    let described = describe(worker, job, output, found, duration_ms).await?;
    let reused = label(BATCH) != job.batch.id.as_str();
    Ok(Work::Completed(Output { reused, timings, ..described }, encoding))
}

async fn describe(
    worker: &Worker,
    job: &Job,
    output: &ObjectName,
    info: &ObjectInfo,
    duration_ms: i64,
) -> Result<Output, CloudError> {
    let url = worker.cloud.objects.download_url(output, URL_LIFETIME).await?;
    let manifest = companions::manifest_named_in(&info.metadata);
    let link = async |name: ObjectName| worker.cloud.objects.download_url(&name, URL_LIFETIME).await;
    let cover = companions::cover_named_in(&info.metadata, link).await?;
    let size_bytes = i64::try_from(info.size).unwrap_or(i64::MAX);
    Ok(Output { uri: job.output.to_string(), url, size_bytes, duration_ms, manifest, cover, ..Output::default() })
}
