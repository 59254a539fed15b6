//! Finds batches whose documents and queue disagree, and repairs them: a job may be lost after its publication was
//! confirmed (purged, expired, acknowledged by mistake), or an event may never arrive. If an unfinished clip has been
//! silent for too long, its job is published again in the same generation. If the first job still exists, the clip's
//! document tells the two apart, and the later one finds nothing to do.
//!
//! A record stays open until all clips of its batch have ended, so a scan reads only batches that may need a repair.

use crate::{
    dispatch::Dispatch,
    record::{self, Stored, recorded},
    refusal::Refusal,
};
use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_contract::{
    documents::{clip::ClipStatus, request::RequestRecord},
    names,
};
use clipfleet_domain::{
    batch::Batch,
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    job::{BatchContext, Event, EventKind, Job},
    lifecycle::ClipEventKind,
    state::State,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Time between two scans. It adds to the delay of a repair.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);

/// Open batches per scan, for each of which two documents are read. The next scan continues after them.
const MAX_BATCHES_PER_SCAN: u32 = 100;

/// Jobs published again per scan: a fleet without workers is silent, too, and its queue must not be flooded.
const MAX_JOBS_PER_SCAN: usize = 1_000;

/// Silence after which a batch in progress is repaired, milliseconds. Attempts report every three seconds, a dead
/// worker's clip waits for its lease (20 s) and the queue's backoff (30 s at most), and a clip that was handed back may
/// wait for a free slot.
pub(crate) const PROCESSING_TIMEOUT_MS: i64 = 15 * 60_000;

/// The same for a batch that has not started: it may wait in a long queue, or for workers to start.
const QUEUED_TIMEOUT_MS: i64 = 60 * 60_000;

/// The same for a retry that no document shows, which normally takes a second. If the dispatcher ended before it
/// published the job, the client got no response, so only the record knows of the retry. This repair counts like the
/// others, so each one doubles the next timeout.
const RETRY_TIMEOUT_MS: i64 = 60_000;

/// The timeout doubles with each repair, up to a day; milliseconds.
const MAX_TIMEOUT_MS: i64 = 24 * 3_600_000;

pub(crate) async fn run(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut after = String::new();
    loop {
        // Told to stop in the middle of a page, it ends there: as after a crash, the next scan does the rest.
        let page = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            page = reconcile_page(&dispatch, &after) => page,
        };
        match page {
            Ok(next) => after = next,
            Err(refusal) => tracing::warn!(?refusal, "reconciliation postponed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SCAN_INTERVAL) => {}
        }
    }
}

/// Reconciles a page of the open batches after `after`. Returns the `after` of the next page.
pub(crate) async fn reconcile_page(dispatch: &Dispatch, after: &str) -> Result<String, Refusal> {
    let control = dispatch.fleet_control().await?;
    if control.paused {
        return Ok(after.to_owned());
    }
    let resumed_ms = control.changed_at_ms.unwrap_or(0);
    let page = record::open(&dispatch.cloud, after, MAX_BATCHES_PER_SCAN).await?;
    let mut jobs_left = MAX_JOBS_PER_SCAN;
    for stored in page.records {
        let id = stored.record.request.batch_id.clone();
        // A batch that cannot be repaired must not block the others.
        match reconcile_batch(dispatch, stored, resumed_ms, jobs_left).await {
            Ok(published) => jobs_left = jobs_left.saturating_sub(published),
            Err(refusal) => tracing::warn!(batch = id, ?refusal, "failed to reconcile"),
        }
    }
    Ok(page.next)
}

/// Repairs one batch if it has been silent for too long. Returns the number of published jobs.
async fn reconcile_batch(
    dispatch: &Dispatch,
    stored: Stored,
    resumed_ms: i64,
    max_jobs: usize,
) -> Result<usize, Refusal> {
    let Ok(id) = BatchId::parse(&stored.record.request.batch_id) else { return Ok(0) };
    let document = dispatch.cloud.documents.get_one(names::batch_document(&id)).await?;
    let batch_status = document.as_ref().map(ClipStatus::from_document).unwrap_or_default();
    let now_ms = dispatch.clock.now_ms();
    let overdue = is_overdue(dispatch, &stored.record, &batch_status, resumed_ms);
    let retry_overdue = !stored.record.retried.is_empty()
        && backed_off(RETRY_TIMEOUT_MS, &stored.record) <= now_ms - stored.record.repaired_at_ms;
    if !stored.record.dispatched || !(batch_status.state.is_terminal() || overdue || retry_overdue) {
        return Ok(0);
    }
    let batch = recorded(&stored.record)?;
    let clips = dispatch.cloud.documents.list(&names::clip_documents(&id)).await?;
    let statuses: HashMap<&str, ClipStatus> =
        clips.iter().map(|clip| (clip.id(), ClipStatus::from_document(clip))).collect();
    let status = |clip: &ClipId| statuses.get(clip.as_str()).cloned().unwrap_or_default();
    // In a batch that has ended, a clip without a document is one whose document the store refuses permanently.
    let is_undocumented = |clip: &ClipId| batch_status.state.is_terminal() && !statuses.contains_key(clip.as_str());
    // A recent retry may be in the record and not yet in the clip's document.
    let has_ended = |clip: &ClipId| match stored.record.requested_generation(clip) {
        0 if is_undocumented(clip) => true,
        requested => status(clip).at_least(requested).state.is_terminal(),
    };
    let is_silent =
        |clip: &ClipId| overdue || retry_overdue && status(clip).generation < stored.record.requested_generation(clip);
    let unfinished: Vec<&ClipId> = batch.clips.iter().map(|clip| &clip.id).filter(|clip| !has_ended(clip)).collect();
    let silent = unfinished.iter().copied().filter(|clip| is_silent(clip));
    let silent: Vec<ClipId> = silent.take(max_jobs).cloned().collect();
    // The record is written first, on condition that it is unchanged: only one of several dispatchers proceeds, and a
    // concurrent retry keeps the record open.
    if unfinished.is_empty() {
        was_written(record::close(&dispatch.cloud, &id, &stored).await)?;
        return Ok(0);
    }
    if silent.is_empty() || !was_written(record::record_repair(&dispatch.cloud, &id, &stored, now_ms).await)? {
        return Ok(0);
    }
    tracing::warn!(batch = %id, clips = silent.len(), "no events from these clips: jobs published again");
    metrics::counter!("clipfleet_jobs_republished_total").increment(silent.len() as u64);
    publish_again(dispatch, &batch, &stored.record, &silent, &statuses).await?;
    Ok(silent.len())
}

/// Whether a conditional write succeeded: on a conflict, another writer was first.
fn was_written(result: Result<(), CloudError>) -> Result<bool, CloudError> {
    match result {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        other => other.map(|()| true),
    }
}

fn is_overdue(dispatch: &Dispatch, record: &RequestRecord, batch: &ClipStatus, resumed_ms: i64) -> bool {
    let active_at_ms =
        [record.accepted_at_ms, record.repaired_at_ms, resumed_ms, batch.updated_at_ms].into_iter().max();
    let timeout_ms = if batch.state == State::Queued { QUEUED_TIMEOUT_MS } else { PROCESSING_TIMEOUT_MS };
    dispatch.clock.now_ms() - active_at_ms.unwrap_or(0) >= backed_off(timeout_ms, record)
}

/// A timeout, doubled for each repair of the batch.
fn backed_off(timeout_ms: i64, record: &RequestRecord) -> i64 {
    timeout_ms.saturating_mul(1 << record.repairs.min(16)).min(MAX_TIMEOUT_MS)
}

async fn publish_again(
    dispatch: &Dispatch,
    batch: &Batch,
    record: &RequestRecord,
    silent: &[ClipId],
    statuses: &HashMap<&str, ClipStatus>,
) -> Result<(), Refusal> {
    if silent.iter().any(|clip| !statuses.contains_key(clip.as_str())) {
        let clips = batch.clips.iter().map(|clip| clip.id.clone()).collect();
        let kind = EventKind::BatchQueued { at_ms: record.accepted_at_ms, clips };
        dispatch.publish_event(&Event { batch: BatchContext::of(batch), kind }).await?;
    }
    let planned = batch.plan(record.source.generation);
    let planned = planned.map_err(|reason| Refusal::Invalid(Failure::new(Code::InvalidRequest, reason)))?;
    for work in planned.into_iter().filter(|work| silent.contains(&work.clip.id)) {
        let clip = work.clip.id.clone();
        let known = statuses.get(clip.as_str()).cloned().unwrap_or_default();
        let generation = known.generation.max(record.requested_generation(&clip));
        let undocumented = generation > known.generation;
        let queued_at_ms = match generation {
            0 => record.accepted_at_ms,
            _ if undocumented => dispatch.clock.now_ms(),
            _ => known.updated_at_ms,
        };
        dispatch.enqueue(&Job::new(batch, work, record.source.clone(), generation, queued_at_ms)).await?;
        if undocumented {
            dispatch.publish_clip_event(batch, &clip, generation, ClipEventKind::Queued).await?;
        }
    }
    Ok(())
}
