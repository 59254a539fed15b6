//! Making a result visible: once, whoever comes first, with its manifest and cover; or taking what is there already.

use crate::{Worker, companions, report::Reporter};
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectInfo, ObjectName};
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{
    cost::Usage,
    failure::Failure,
    job::Job,
    lifecycle::{Encoding, Output, Timings},
    progress::Phase,
};
use std::{path::Path, time::Duration};
use tokio::time::Instant;

/// A clip that is visible, and how it was encoded.
pub(crate) type Made = (Output, Encoding);

/// How long a result's URL can be used: the longest a signed URL may live.
const URL_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

const SETTINGS_HASH: &str = "clipfleet-settings";
const BATCH: &str = "clipfleet-batch";
const ATTEMPT: &str = "clipfleet-attempt";
const DURATION_MS: &str = "clipfleet-duration-ms";
const ENCODER: &str = "clipfleet-encoder";
const DECODER: &str = "clipfleet-decoder";
const GPU_DRIVER: &str = "clipfleet-gpu-driver";

/// The visible result's name.
pub(crate) fn name(job: &Job) -> ObjectName {
    ObjectName::new(job.output.bucket(), job.output.object())
}

/// The result, if it is there already: the work of an earlier batch with equal settings, or of an attempt of this very clip whose last
/// word was lost.
pub(crate) async fn existing(worker: &Worker, job: &Job, reporter: &Reporter) -> Result<Option<Made>, Failure> {
    match worker.cloud.objects.stat(&name(job), None).await {
        Ok(found) => adopt(worker, job, reporter, &found).await.map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreachable(&error)),
    }
}

/// Makes the file visible, unless someone else did meanwhile. Manifest and cover are there first, under names of this attempt's own: the
/// visible clip names them in its metadata, so all three belong together whoever wins.
pub(crate) async fn publish(
    worker: &Worker,
    job: &Job,
    reporter: &Reporter,
    directory: &Path,
    (finished, bytes_read): (TranscodeFinished, u64),
) -> Result<Made, Failure> {
    let started = Instant::now();
    let output = name(job);
    let encoding = Encoding {
        encoder: finished.encoder.clone(),
        fallback_reason: finished.fallback_reason.clone(),
        decoder: finished.decoder.clone(),
        gpu_driver: finished.gpu_driver.clone(),
    };
    reporter.progress(Phase::Uploading, 0.0, encoding.clone());
    let cover = directory.join(&finished.cover);
    reporter.hold().still().await;
    // Asked here and now, as everything of the scratch directory: it takes microseconds.
    let cover_bytes = std::fs::metadata(&cover).map_or(0, |cover| cover.len());
    let manifest = with_usage(finished.manifest, &usage(worker, reporter, bytes_read, 0));
    let beside_bytes = manifest.len() as u64 + cover_bytes;
    let stored = companions::store(worker, &output, reporter.attempt_id(), manifest, cover).await;
    let mut metadata = stored.map_err(|error| unreachable(&error))?;
    metadata.extend([
        (SETTINGS_HASH.to_owned(), job.settings_hash.clone()),
        (BATCH.to_owned(), job.batch.id.to_string()),
        (ATTEMPT.to_owned(), reporter.attempt_id().to_string()),
        (DURATION_MS.to_owned(), finished.duration_ms.to_string()),
        (ENCODER.to_owned(), finished.encoder.clone()),
        (DECODER.to_owned(), finished.decoder.clone()),
        (GPU_DRIVER.to_owned(), finished.gpu_driver.clone()),
    ]);
    let new = NewObject { content_type: "video/mp4".into(), metadata };
    reporter.hold().still().await;
    let info = match worker.cloud.objects.create(&output, new, Body::File(directory.join(&finished.file))).await {
        Ok(info) => info,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = worker.cloud.objects.stat(&output, None).await.map_err(|error| unreachable(&error))?;
            companions::discard_unless_named(worker, &output, reporter.attempt_id(), Some(&found.metadata)).await;
            return adopt(worker, job, reporter, &found).await;
        }
        Err(error) => return Err(unreachable(&error)),
    };
    let timings = Timings {
        queued_ms: reporter.queued_ms(),
        fetch_ms: finished.fetch_ms,
        encode_ms: finished.encode_ms,
        verify_ms: finished.verify_ms,
        upload_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(0),
        total_ms: reporter.total_ms(),
    };
    let described = describe(worker, job, &info, finished.duration_ms).await.map_err(|error| unreachable(&error))?;
    let usage = usage(worker, reporter, bytes_read, info.size + beside_bytes);
    Ok((Output { timings, usage, ..described }, encoding))
}

/// What the attempt has taken so far.
fn usage(worker: &Worker, reporter: &Reporter, bytes_read: u64, bytes_written: u64) -> Usage {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let slot_ms = reporter.slot_ms();
    let cost_micro_usd = worker.price.micro_usd(slot_ms);
    Usage { slot_ms, bytes_read: bytes(bytes_read), bytes_written: bytes(bytes_written), cost_micro_usd }
}

/// A manifest with what the clip took until it was proved. Storing follows, which only the document can tell of.
fn with_usage(manifest: String, usage: &Usage) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(&manifest) else { return manifest };
    let Usage { slot_ms, bytes_read, cost_micro_usd, .. } = *usage;
    let told = serde_json::json!({"slotMs": slot_ms, "bytesRead": bytes_read, "costMicroUsd": cost_micro_usd});
    fields.insert("usage".to_owned(), told);
    serde_json::Value::Object(fields).to_string()
}

/// Removes what an attempt that made nothing visible has stored beside the clip.
pub(crate) async fn clean_up(worker: &Worker, job: &Job, reporter: &Reporter) {
    /// A creation that was broken off may still succeed: the service had all its bytes. Then it names what lies beside it.
    const SETTLING: Duration = Duration::from_secs(1);
    tokio::time::sleep(SETTLING).await;
    let output = name(job);
    let visible = match worker.cloud.objects.stat(&output, None).await {
        Ok(found) => Some(found.metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return tracing::debug!(%error, "objects of a stopped attempt not removed"),
    };
    companions::discard_unless_named(worker, &output, reporter.attempt_id(), visible.as_ref()).await;
}

async fn adopt(worker: &Worker, job: &Job, reporter: &Reporter, found: &ObjectInfo) -> Result<Made, Failure> {
    let label = |name: &str| found.metadata.get(name).map_or("", String::as_str);
    if label(SETTINGS_HASH) != job.settings_hash {
        let message = format!(
            "{} exists and is not a result of this clip; remove it or choose another output.prefix",
            job.output
        );
        return Err(Failure::permanent("output_conflict", message));
    }
    let duration_ms = label(DURATION_MS).parse().unwrap_or_else(|_| job.clip.window.length_ms());
    let timings = Timings { queued_ms: reporter.queued_ms(), total_ms: reporter.total_ms(), ..Timings::default() };
    let encoding = Encoding {
        encoder: label(ENCODER).to_owned(),
        fallback_reason: String::new(),
        decoder: label(DECODER).to_owned(),
        gpu_driver: label(GPU_DRIVER).to_owned(),
    };
    let metadata =
        companions::those_there(worker, found.metadata.clone()).await.map_err(|error| unreachable(&error))?;
    let found = ObjectInfo { metadata, ..found.clone() };
    let described = describe(worker, job, &found, duration_ms).await.map_err(|error| unreachable(&error))?;
    let reused = label(BATCH) != job.batch.id.as_str();
    Ok((Output { reused, timings, usage: usage(worker, reporter, 0, 0), ..described }, encoding))
}

async fn describe(worker: &Worker, job: &Job, info: &ObjectInfo, duration_ms: i64) -> Result<Output, CloudError> {
    let url = worker.cloud.objects.download_url(&name(job), URL_LIFETIME).await?;
    let manifest = companions::manifest_named_in(&info.metadata);
    let link = async |name: ObjectName| worker.cloud.objects.download_url(&name, URL_LIFETIME).await;
    let cover = companions::cover_named_in(&info.metadata, link).await?;
    let size_bytes = i64::try_from(info.size).unwrap_or(i64::MAX);
    Ok(Output { uri: job.output.to_string(), url, size_bytes, duration_ms, manifest, cover, ..Output::default() })
}

/// Why a result cannot be looked for or stored.
fn unreachable(error: &CloudError) -> Failure {
    match error.kind() {
        ErrorKind::Denied => Failure::permanent(
            "output_denied",
            format!(
                "the worker may not do its part in the output's bucket, grant it roles/storage.objectUser: failed to {error}"
            ),
        ),
        ErrorKind::Invalid => Failure::permanent("output_refused", format!("failed to {error}")),
        // A missing bucket, too: someone may be about to make it.
        _ => Failure::transient("output_unavailable", format!("failed to {error}")),
    }
}
