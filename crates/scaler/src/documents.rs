//! The documents that the board is built from: the dispatcher's record, which says what each clip is, and the clips' own, which say where
//! they stand.

use crate::{
    board::{Board, MAX_BATCHES},
    work::Work,
};
use clipfleet_cloud::{Cloud, CloudError, Document};
use clipfleet_contract::{
    batch,
    documents::{
        batch::BatchStatus,
        clip::ClipStatus,
        fleet_control::{self, FleetControl},
        request::{self, RequestRecord},
    },
    names,
};
use clipfleet_domain::{
    attempt::Attempt,
    ids::{BatchId, ClipId},
    lifecycle::ClipView,
    state::State,
};
use std::collections::BTreeMap;

/// Records read at once.
const PAGE: u32 = 100;

/// Puts the batches on the board that are not known to be over, a page of them: those that follow `after`, which is moved on with each. Says
/// whether these were the last.
pub(crate) async fn take_up_open(
    cloud: &Cloud,
    board: &mut Board,
    after: &mut String,
    now_ms: i64,
) -> Result<bool, CloudError> {
    let records = cloud.documents.find(names::REQUESTS, request::open(after.as_str(), PAGE)).await?;
    for record in &records {
        let id = record.id();
        if let Ok(id) = BatchId::parse(id) {
            if board.len() >= MAX_BATCHES {
                return Ok(true);
            }
            take_up_recorded(cloud, board, &id, record, now_ms).await?;
        }
        id.clone_into(after);
    }
    Ok(records.len() < PAGE as usize)
}

/// Puts one batch on the board, or notes that it has no record.
pub(crate) async fn take_up(cloud: &Cloud, board: &mut Board, id: &BatchId, now_ms: i64) -> Result<(), CloudError> {
    match cloud.documents.get_one(names::request_document(id)).await? {
        Some(record) => take_up_recorded(cloud, board, id, &record, now_ms).await,
        None => {
            board.forget(id);
            board.ignore(id, now_ms);
            Ok(())
        }
    }
}

async fn take_up_recorded(
    cloud: &Cloud,
    board: &mut Board,
    id: &BatchId,
    record: &Document,
    now_ms: i64,
) -> Result<(), CloudError> {
    let record = RequestRecord::from_document(record);
    let recorded = record.and_then(|record| Some((batch::recorded_clips(&record.request).ok()?, record.retried)));
    let Some(((rendition, clips), retried)) = recorded else {
        tracing::error!(batch = %id, "its record cannot be read: written by another version of the dispatcher");
        board.ignore(id, now_ms);
        return Ok(());
    };
    // The batch first: what it counts, its clips' documents say by then.
    let batch = cloud.documents.get_one(names::batch_document(id)).await?;
    let documents = cloud.documents.list(&names::clip_documents(id)).await?;
    let views = documents.iter().filter_map(|document| {
        let clip = ClipId::parse(document.id()).ok()?;
        Some((clip, view(ClipStatus::from_document(document))))
    });
    let mut views: BTreeMap<_, _> = views.collect();
    // In a batch that is over, a clip without a document is one whose document the store refuses for good. It waits for nobody.
    if batch.is_some_and(|batch| BatchStatus::from_document(&batch).state.is_terminal()) {
        for (clip, _) in &clips {
            views.entry(clip.clone()).or_insert_with(|| ClipView { state: State::Failed, ..ClipView::default() });
        }
    }
    // Of a retry that its document has not heard of yet, only the record knows.
    for (clip, generation) in retried {
        let shown = views.entry(clip).or_default();
        if generation > shown.generation {
            *shown = ClipView { generation, ..ClipView::default() };
        }
    }
    let clips = clips.into_iter().map(|(clip, length_ms)| (clip, Work::of(length_ms, &rendition)));
    board.take_up(id, clips.collect(), views, now_ms);
    Ok(())
}

/// Reads whether workers lease new clips.
pub(crate) async fn paused(cloud: &Cloud) -> Result<bool, CloudError> {
    let document = cloud.documents.get_one(fleet_control::PATH.to_owned()).await?;
    Ok(FleetControl::from_document(document.as_ref()).paused)
}

/// As much of a clip as its document says about who works at it.
fn view(status: ClipStatus) -> ClipView {
    let attempt = status.latest.and_then(|latest| {
        Some(Attempt {
            id: latest.id,
            number: latest.number,
            started_at_ms: latest.started_at_ms,
            worker: latest.worker?,
            // Whatever the attempt reports next is later.
            sequence: 0,
        })
    });
    let state = if attempt.is_none() && status.state == State::Processing { State::Queued } else { status.state };
    ClipView {
        generation: status.generation,
        state,
        phase: status.phase,
        percent: status.percent,
        attempt,
        updated_at_ms: status.updated_at_ms,
        ..ClipView::default()
    }
}
