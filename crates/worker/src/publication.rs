//! Makes an attempt's result visible: created once, by whichever attempt is first, with its sidecars; or adopted, if it
//! exists.

use crate::{context::Worker, report::Reporter, scratch, sidecars};
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectInfo, ObjectName};
use clipfleet_contract::{documents::clip::manifest_usage_json, v1::TranscodeFinished};
use clipfleet_domain::{
    cost::Usage,
    failure::{Code, Failure},
    job::Job,
    lifecycle::{CoverRef, Encoding, Output, Timings},
    limits::max_output_bytes,
    progress::Phase,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// A clip that is visible, and how it was encoded.
pub(crate) type Made = (Output, Encoding);

// Names in the metadata of a result.
const SETTINGS_HASH: &str = "clipfleet-settings";
const BATCH: &str = "clipfleet-batch";
const ATTEMPT: &str = "clipfleet-attempt";
const DURATION: &str = "clipfleet-duration-ms";
const ENCODER_NAME: &str = "clipfleet-encoder";
const DECODER_NAME: &str = "clipfleet-decoder";
const DRIVER: &str = "clipfleet-gpu-driver";

/// One attempt's way to publish its result.
pub(crate) struct Publication<'a> {
    worker: &'a Worker,
    job: &'a Job,
    reporter: &'a Reporter,
    name: ObjectName,
    /// Whether this attempt may have stored objects that no visible clip names.
    unreferenced: AtomicBool,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(worker: &'a Worker, job: &'a Job, reporter: &'a Reporter) -> Self {
        let name = ObjectName::new(job.output.bucket(), job.output.object());
        Self { worker, job, reporter, name, unreferenced: AtomicBool::new(false) }
    }

    /// The result, if it exists: the work of an earlier batch with equal settings, or of an attempt at this very clip
    /// whose final event was not published.
    pub(crate) async fn existing(&self) -> Result<Option<Made>, Failure> {
        match self.worker.cloud.objects.stat(&self.name, None).await {
            Ok(found) => self.adopt(&found).await.map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage_failure(&error)),
        }
    }

    /// Makes the files of `directory` visible, unless another attempt did meanwhile. The sidecars are stored first,
    /// under names that contain the attempt's id. The visible clip names them in its metadata, so all three belong
    /// together whichever attempt wins.
    pub(crate) async fn publish(
        &self,
        directory: &Path,
        finished: TranscodeFinished,
        bytes_read: u64,
    ) -> Result<Made, Failure> {
        self.unreferenced.store(true, Ordering::Relaxed);
        let made = self.create_or_adopt(directory, finished, bytes_read).await?;
        self.unreferenced.store(false, Ordering::Relaxed);
        Ok(made)
    }

    async fn create_or_adopt(
        &self,
        directory: &Path,
        finished: TranscodeFinished,
        bytes_read: u64,
    ) -> Result<Made, Failure> {
        let started = Instant::now();
        let (worker, job, reporter, output) = (self.worker, self.job, self.reporter, &self.name);
        let encoding = Encoding {
            encoder: finished.encoder.clone(),
            fallback_reason: finished.fallback_reason.clone(),
            decoder: finished.decoder.clone(),
            gpu_driver: finished.gpu_driver.clone(),
        };
        reporter.progress(Phase::Uploading, 0.0, encoding.clone());
        // Synchronously, like everything in the scratch directory: it takes microseconds.
        let max_bytes = max_output_bytes(job.clip.window.length_ms());
        let left = |name: &str| scratch::open_left(directory, name, max_bytes).map(Arc::new);
        let (clip, cover) = (left(&finished.file)?, left(&finished.cover)?);
        reporter.guard().ensure_held().await;
        let cover_bytes = cover.metadata().map_or(0, |cover| cover.len());
        let manifest = with_usage(finished.manifest, &self.usage(bytes_read, 0));
        let sidecar_bytes = manifest.len() as u64 + cover_bytes;
        // One token for both: they are revoked one by one all the same.
        let link = worker.links.new_metadata(&output.bucket);
        let stored = sidecars::store(worker, output, reporter.attempt_id(), manifest, cover, link.clone()).await;
        let mut metadata = stored.map_err(|error| storage_failure(&error))?;
        metadata.extend(link);
        metadata.extend([
            (SETTINGS_HASH.to_owned(), job.settings_hash.clone()),
            (BATCH.to_owned(), job.batch.id.to_string()),
            (ATTEMPT.to_owned(), reporter.attempt_id().to_string()),
            (DURATION.to_owned(), finished.duration_ms.to_string()),
            (ENCODER_NAME.to_owned(), finished.encoder.clone()),
            (DECODER_NAME.to_owned(), finished.decoder.clone()),
            (DRIVER.to_owned(), finished.gpu_driver.clone()),
        ]);
        let new = NewObject { content_type: "video/mp4".into(), metadata };
        reporter.guard().ensure_held().await;
        let info = match worker.cloud.objects.create(output, new, Body::Opened(clip)).await {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = worker.cloud.objects.stat(output, None).await.map_err(|error| storage_failure(&error))?;
                sidecars::remove_unreferenced(worker, output, reporter.attempt_id(), Some(&found.metadata)).await;
                return self.adopt(&found).await;
            }
            Err(error) => return Err(storage_failure(&error)),
        };
        let timings = Timings {
            queued_ms: reporter.queued_ms(),
            fetch_ms: finished.fetch_ms,
            encode_ms: finished.encode_ms,
            verify_ms: finished.verify_ms,
            upload_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(0),
            total_ms: reporter.total_ms(),
        };
        let link = |name: &ObjectName| worker.links.permanent(name, &info.metadata).unwrap_or_default();
        let cover = sidecars::cover_named_in(&info.metadata).map(|name| (link(&name), name));
        let described = self.describe(&info, link(output), cover, finished.duration_ms);
        let usage = self.usage(bytes_read, info.size + sidecar_bytes);
        Ok((Output { timings, usage, ..described }, encoding))
    }

    async fn adopt(&self, found: &ObjectInfo) -> Result<Made, Failure> {
        let job = self.job;
        let label = |name: &str| found.metadata.get(name).map_or("", String::as_str);
        if label(SETTINGS_HASH) != job.settings_hash {
            let message = format!(
                "{} exists and is not a result of this clip; remove it or choose another output.prefix",
                job.output
            );
            return Err(Failure::new(Code::OutputConflict, message));
        }
        let duration_ms = label(DURATION).parse().unwrap_or_else(|_| job.clip.window.length_ms());
        let timings =
            Timings { queued_ms: self.reporter.queued_ms(), total_ms: self.reporter.total_ms(), ..Timings::default() };
        let encoding = Encoding {
            encoder: label(ENCODER_NAME).to_owned(),
            fallback_reason: String::new(),
            decoder: label(DECODER_NAME).to_owned(),
            gpu_driver: label(DRIVER).to_owned(),
        };
        let existing = sidecars::existing(self.worker, found.metadata.clone()).await;
        let sidecars::Existing { metadata, cover } = existing.map_err(|error| storage_failure(&error))?;
        let url = self.link(&self.name, found).await;
        let cover = match cover {
            Some((name, info)) => Some((self.link(&name, &info).await, name)),
            None => None,
        };
        let found = ObjectInfo { metadata, ..found.clone() };
        let described = self.describe(&found, url, cover, duration_ms);
        let reused = label(BATCH) != job.batch.id.as_str();
        Ok((Output { reused, timings, usage: self.usage(0, 0), ..described }, encoding))
    }

    /// The link to an object that was found; empty if there is none for now. A clip that is stored has not failed
    /// because of its link: readers can ask the dispatcher for one.
    async fn link(&self, name: &ObjectName, found: &ObjectInfo) -> String {
        let link = self.worker.links.ensure_permanent(name, found).await.unwrap_or_else(|error| {
            tracing::warn!(object = %name, %error, "no link made for a result");
            None
        });
        link.unwrap_or_default()
    }

    /// A result with its links, that of the cover with the cover's name.
    fn describe(
        &self,
        info: &ObjectInfo,
        url: String,
        cover: Option<(String, ObjectName)>,
        duration_ms: i64,
    ) -> Output {
        let manifest = sidecars::manifest_named_in(&info.metadata);
        let cover = cover.map(|(url, name)| CoverRef { uri: name.to_string(), url }).unwrap_or_default();
        let (uri, size_bytes) = (self.job.output.to_string(), i64::try_from(info.size).unwrap_or(i64::MAX));
        Output { uri, url, size_bytes, duration_ms, manifest, cover, ..Output::default() }
    }

    /// What the attempt has used so far.
    fn usage(&self, bytes_read: u64, bytes_written: u64) -> Usage {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let slot_ms = self.reporter.slot_ms();
        let cost_micro_usd = self.worker.price.micro_usd(slot_ms);
        Usage { slot_ms, bytes_read: bytes(bytes_read), bytes_written: bytes(bytes_written), cost_micro_usd }
    }

    /// Removes the objects that this attempt stored and no visible clip names, if there may be any.
    pub(crate) async fn remove_unreferenced(&self) {
        /// A creation that was broken off may still succeed, because the service had all its bytes. Then it names the
        /// sidecars.
        const SETTLING_TIME: Duration = Duration::from_secs(1);
        if !self.unreferenced.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(SETTLING_TIME).await;
        let visible = match self.worker.cloud.objects.stat(&self.name, None).await {
            Ok(found) => Some(found.metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return tracing::debug!(%error, "objects of a stopped attempt not removed"),
        };
        sidecars::remove_unreferenced(self.worker, &self.name, self.reporter.attempt_id(), visible.as_ref()).await;
    }
}

/// A manifest with what the clip used up to its verification. Storing follows, and only the document can tell its cost.
fn with_usage(manifest: String, usage: &Usage) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(&manifest) else { return manifest };
    fields.insert("usage".to_owned(), manifest_usage_json(usage));
    serde_json::Value::Object(fields).to_string()
}

/// Why a result cannot be read or stored.
fn storage_failure(error: &CloudError) -> Failure {
    match error.kind() {
        ErrorKind::Denied => Failure::new(
            Code::OutputDenied,
            format!(
                "the worker has no access to the output's bucket, grant it roles/storage.objectUser: failed to {error}"
            ),
        ),
        ErrorKind::Invalid => Failure::new(Code::OutputRefused, format!("failed to {error}")),
        // This includes a missing bucket: it may be about to be created.
        _ => Failure::new(Code::OutputUnavailable, format!("failed to {error}")),
    }
}
