//! Finds batches whose documents and queue disagree, and mends them: a job that was lost after its publication was confirmed (purged,
//! expired, settled by a fault), an event that never arrived. A clip that is not over and of which nothing was heard for long
//! gets its job again, in the same generation: where the first one is still there, the two are told apart by the clip's
//! document, and what comes second finds nothing to do.
//!
//! Every record stays `open` until all clips of its batch are over, so a look visits only batches that may need it.

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

/// How often to look, and so how late a mended clip may be on top of the silence.
const EVERY: Duration = Duration::from_secs(60);

/// Open batches per look: two documents are read of each. Those that follow are looked at next time.
const AT_ONCE: u32 = 100;

/// Jobs published again per look: a fleet that has no workers is silent, too, and its queue must not be flooded.
const JOBS_AT_ONCE: usize = 1_000;

/// Silence of a batch at work that is not honest any more, milliseconds. Attempts report every three seconds, a dead worker's clip
/// waits for its lease (20 s) and the queue's backoff (30 s at most), and a clip handed back may have to wait for slots of others.
pub(crate) const SILENT_MS: i64 = 15 * 60_000;

/// The same of a batch that has not begun: it may wait in a long queue, or for workers to be started.
const SILENT_IN_QUEUE_MS: i64 = 60 * 60_000;

/// The same of a retry that no document tells of: that takes a second, and there may be nobody else who knows of it, since a dispatcher that
/// ended before it had published the job gave no answer. It counts as a repair like the others, so each makes the next one wait longer.
const UNTOLD_MS: i64 = 60_000;

/// The silence grows twofold each time it was broken in vain, up to this, milliseconds: a day.
const LONGEST_SILENCE_MS: i64 = 24 * 3_600_000;

pub(crate) async fn run(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut after = String::new();
    loop {
        match look(&dispatch, &after).await {
            Ok(next) => after = next,
            Err(refusal) => tracing::warn!(?refusal, "reconciliation postponed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Looks at the open batches that follow one, and says after which the next look begins.
pub(crate) async fn look(dispatch: &Dispatch, after: &str) -> Result<String, Refusal> {
    let control = dispatch.fleet_control().await?;
    if control.paused {
        return Ok(after.to_owned());
    }
    let resumed_ms = control.changed_at_ms.unwrap_or(0);
    let page = record::open(&dispatch.cloud, after, AT_ONCE).await?;
    let mut room = JOBS_AT_ONCE;
    for stored in page.records {
        let id = stored.record.request.batch_id.clone();
        // One batch that cannot be mended does not keep the others waiting.
        match examine(dispatch, stored, resumed_ms, room).await {
            Ok(published) => room = room.saturating_sub(published),
            Err(refusal) => tracing::warn!(batch = id, ?refusal, "failed to reconcile"),
        }
    }
    Ok(page.next)
}

/// Mends one batch if it was silent for too long. Returns how many jobs were published.
async fn examine(dispatch: &Dispatch, stored: Stored, resumed_ms: i64, room: usize) -> Result<usize, Refusal> {
    let Ok(id) = BatchId::parse(&stored.record.request.batch_id) else { return Ok(0) };
    let document = dispatch.cloud.documents.get_one(names::batch_document(&id)).await?;
    let of_batch = document.as_ref().map(ClipStatus::from_document).unwrap_or_default();
    let now_ms = dispatch.clock.now_ms();
    let overdue = is_overdue(dispatch, &stored.record, &of_batch, resumed_ms);
    let untold_for_long = !stored.record.retried.is_empty()
        && patience(UNTOLD_MS, &stored.record) <= now_ms - stored.record.repaired_at_ms;
    if !stored.record.dispatched || !(of_batch.state.is_terminal() || overdue || untold_for_long) {
        return Ok(0);
    }
    let batch = recorded(&stored.record)?;
    let clips = dispatch.cloud.documents.list(&names::clip_documents(&id)).await?;
    let statuses: HashMap<&str, ClipStatus> =
        clips.iter().map(|clip| (clip.id(), ClipStatus::from_document(clip))).collect();
    let shown = |clip: &ClipId| statuses.get(clip.as_str()).cloned().unwrap_or_default();
    // In a batch that is over, a clip without a document is one whose document the store refuses for good.
    let has_none = |clip: &ClipId| of_batch.state.is_terminal() && !statuses.contains_key(clip.as_str());
    // Of a retry that its document has not heard of yet, only the record knows.
    let is_over = |clip: &ClipId| match stored.record.requested_generation(clip) {
        0 if has_none(clip) => true,
        requested => shown(clip).at_least(requested).state.is_terminal(),
    };
    let is_silent =
        |clip: &ClipId| overdue || untold_for_long && shown(clip).generation < stored.record.requested_generation(clip);
    let waiting: Vec<&ClipId> = batch.clips.iter().map(|clip| &clip.id).filter(|clip| !is_over(clip)).collect();
    let silent: Vec<ClipId> = waiting.iter().copied().filter(|clip| is_silent(clip)).take(room).cloned().collect();
    // The record is changed first, under the state it was read in: of several dispatchers one goes on, and a retry keeps it open.
    if waiting.is_empty() {
        changed(record::close(&dispatch.cloud, &id, &stored).await)?;
        return Ok(0);
    }
    if silent.is_empty() || !changed(record::record_repair(&dispatch.cloud, &id, &stored, now_ms).await)? {
        return Ok(0);
    }
    tracing::warn!(batch = %id, clips = silent.len(), "nothing was heard of these clips for long: their jobs are published again");
    metrics::counter!("clipfleet_jobs_republished_total").increment(silent.len() as u64);
    publish_again(dispatch, &batch, &stored.record, &silent, &statuses).await?;
    Ok(silent.len())
}

/// Whether a record was changed; another dispatcher may have been quicker.
fn changed(noted: Result<(), CloudError>) -> Result<bool, CloudError> {
    match noted {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        noted => noted.map(|()| true),
    }
}

fn is_overdue(dispatch: &Dispatch, record: &RequestRecord, shown: &ClipStatus, resumed_ms: i64) -> bool {
    let heard_ms = [record.accepted_at_ms, record.repaired_at_ms, resumed_ms, shown.updated_at_ms].into_iter().max();
    let silence = if shown.state == State::Queued { SILENT_IN_QUEUE_MS } else { SILENT_MS };
    dispatch.clock.now_ms() - heard_ms.unwrap_or(0) >= patience(silence, record)
}

/// A silence and how often it was broken in vain.
fn patience(silence_ms: i64, record: &RequestRecord) -> i64 {
    silence_ms.saturating_mul(1 << record.repairs.min(16)).min(LONGEST_SILENCE_MS)
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
        dispatch.report(&Event { batch: BatchContext::of(batch), kind }).await?;
    }
    let planned = batch.plan(record.source.generation);
    let planned = planned.map_err(|reason| Refusal::Invalid(Failure::new(Code::InvalidRequest, reason)))?;
    for work in planned.into_iter().filter(|work| silent.contains(&work.clip.id)) {
        let clip = work.clip.id.clone();
        let known = statuses.get(clip.as_str()).cloned().unwrap_or_default();
        let generation = known.generation.max(record.requested_generation(&clip));
        let untold = generation > known.generation;
        let queued_at_ms = match generation {
            0 => record.accepted_at_ms,
            _ if untold => dispatch.clock.now_ms(),
            _ => known.updated_at_ms,
        };
        dispatch.enqueue(&Job::new(batch, work, record.source.clone(), generation, queued_at_ms)).await?;
        if untold {
            dispatch.report_clip(batch, &clip, generation, ClipEventKind::Queued).await?;
        }
    }
    Ok(())
}
