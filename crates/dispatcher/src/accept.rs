//! Accepts a batch: validates it, pins its source, writes its record, publishes its jobs.

use crate::{
    dispatch::{Dispatch, MAX_PUBLISHES_IN_FLIGHT},
    record::{self, Stored},
    refusal::{Refusal, record_refused},
};
use clipfleet_cloud::{ErrorKind, ObjectName};
use clipfleet_contract::{batch, documents::request::RequestRecord, names, v1};
use clipfleet_domain::{
    batch::Batch,
    failure::{Code, Failure, FieldViolation},
    job::{BatchContext, Event, EventKind, Job, PinnedSource},
    limits::MAX_SOURCE_BYTES,
    source::Source,
};
use clipfleet_service::trace;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;

/// The span of a request. It continues the caller's trace if the message's attributes or the request's headers name
/// one.
pub(crate) fn span<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Span {
    let span = tracing::info_span!("accept batch", batch = tracing::field::Empty);
    trace::set_parent(&span, attributes);
    span
}

impl Dispatch {
    /// Accepts a request. Repeating a request returns the same response and dispatches nothing new.
    pub async fn accept(&self, request: &v1::ExportBatch) -> Result<v1::BatchAccepted, Refusal> {
        let generated_id = format!("b-{}", Uuid::now_v7().simple());
        let batch = batch::check(request, &self.access, &generated_id).map_err(Refusal::Invalid)?;
        Span::current().record("batch", batch.id.as_str());
        if let Some(known) = record::load(&self.cloud, &batch.id).await? {
            return accepted_before(&batch, &known.record);
        }
        let source = self.pin_source(&batch.source).await?;
        let record = record::new(&batch, source, self.clock.now_ms());
        match record::create(&self.cloud, &batch.id, record).await {
            Ok(stored) => self.dispatch(&batch, stored).await?,
            // Another request with this id was first. Its dispatcher publishes the jobs, or the repair does.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let known = record::load(&self.cloud, &batch.id).await?;
                return known.map_or(Err(Refusal::Unavailable(error)), |known| accepted_before(&batch, &known.record));
            }
            Err(error) => return Err(record_refused(error)),
        }
        metrics::counter!("clipfleet_batches_accepted_total").increment(1);
        Ok(accepted(&batch))
    }

    /// Finds the generation of the source that all clips will be cut from.
    async fn pin_source(&self, source: &Source) -> Result<PinnedSource, Refusal> {
        let name = ObjectName::new(source.uri.bucket(), source.uri.object());
        let refuse = |code: Code, reason: String| {
            let violation = FieldViolation::new("source.uri", reason);
            let message = format!("{}: {}", violation.field, violation.reason);
            Refusal::Invalid(Failure { details: vec![violation], ..Failure::new(code, message) })
        };
        let info = match self.cloud.objects.stat(&name, source.generation).await {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let generation = source.generation.map_or(String::new(), |number| format!(" in generation {number}"));
                return Err(refuse(
                    Code::SourceNotFound,
                    format!("must name an existing object, {name}{generation} does not exist"),
                ));
            }
            Err(error) => return Err(error.into()),
        };
        if info.size == 0 {
            return Err(refuse(Code::SourceEmpty, format!("must name a video, {name} has 0 bytes")));
        }
        if info.size > MAX_SOURCE_BYTES {
            return Err(refuse(
                Code::SourceTooLarge,
                format!("must have at most {MAX_SOURCE_BYTES} bytes, {name} has {}", info.size),
            ));
        }
        Ok(PinnedSource { uri: source.uri.clone(), generation: info.generation, size_bytes: info.size })
    }

    /// Publishes a recorded batch's first event and jobs, then marks the record as dispatched.
    pub(crate) async fn dispatch(&self, batch: &Batch, stored: Stored) -> Result<(), Refusal> {
        let started = Instant::now();
        let RequestRecord { source, accepted_at_ms, .. } = &stored.record;
        let clips = batch.clips.iter().map(|clip| clip.id.clone()).collect();
        let queued = EventKind::BatchQueued { at_ms: *accepted_at_ms, clips };
        self.publish_event(&Event { batch: BatchContext::of(batch), kind: queued }).await?;
        let planned = batch
            .plan(source.generation)
            .map_err(|reason| Refusal::Invalid(Failure::new(Code::InvalidRequest, reason)))?;
        let jobs = planned.into_iter().map(|planned| Job::new(batch, planned, source.clone(), 0, *accepted_at_ms));
        let publishing = jobs.map(|job| async move { self.enqueue(&job).await });
        futures::stream::iter(publishing).buffer_unordered(MAX_PUBLISHES_IN_FLIGHT).try_collect::<Vec<()>>().await?;
        record::mark_dispatched(&self.cloud, &batch.id, stored).await?;
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("clipfleet_dispatch_seconds").record(seconds);
        metrics::counter!("clipfleet_clips_dispatched_total").increment(batch.clips.len() as u64);
        tracing::info!(batch = %batch.id, clips = batch.clips.len(), seconds, "batch dispatched");
        Ok(())
    }
}

fn accepted_before(batch: &Batch, known: &RequestRecord) -> Result<v1::BatchAccepted, Refusal> {
    if known.digest == record::digest(&batch::to_message(batch)) {
        return Ok(accepted(batch));
    }
    let reason = format!("was used before for a different request, got {:?}; choose another id", batch.id.as_str());
    let violation = FieldViolation::new("batchId", reason);
    let message = format!("{}: {}", violation.field, violation.reason);
    Err(Refusal::Conflict(Failure { details: vec![violation], ..Failure::new(Code::BatchIdConflict, message) }))
}

fn accepted(batch: &Batch) -> v1::BatchAccepted {
    let clip = |id: &clipfleet_domain::ids::ClipId| v1::AcceptedClip {
        clip_id: id.to_string(),
        document: names::clip_document(&batch.id, id),
    };
    v1::BatchAccepted { batch_id: batch.id.to_string(), clips: batch.clips.iter().map(|c| clip(&c.id)).collect() }
}
