//! Reads the documents that the fleet's state is built from: the dispatcher's record of a batch, which defines its
//! clips, and the clips' own documents, which hold their status. The lengths of clips come from the record, so that no
//! message has to carry them.

use crate::{
    fleet_state::{FleetState, MAX_BATCHES},
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

/// Records per page.
const PAGE_SIZE: u32 = 100;

/// The progress of reading all open batches, page by page.
pub(crate) struct OpenBatchScan {
    /// The id of the last record read; `None` while no scan is in progress.
    cursor: Option<String>,
    completed_once: bool,
    /// Whether batches were skipped because memory was full.
    skipped: bool,
}

impl OpenBatchScan {
    /// A scan from the first record on.
    pub(crate) fn new() -> Self {
        Self { cursor: Some(String::new()), completed_once: false, skipped: false }
    }

    /// Whether pages are left to read.
    pub(crate) fn is_running(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether all open batches have been read once. Before that, a busy fleet would look idle.
    pub(crate) fn completed_once(&self) -> bool {
        self.completed_once
    }

    /// Records that a batch was skipped, so that a scan starts once there is room.
    pub(crate) fn record_skipped(&mut self) {
        self.skipped = true;
    }

    /// Reads the next page, if there is one. A call that is cancelled continues after the last batch that was loaded.
    pub(crate) async fn advance(
        &mut self,
        cloud: &Cloud,
        fleet: &mut FleetState,
        now_ms: i64,
    ) -> Result<(), CloudError> {
        if self.skipped && !fleet.is_full() {
            self.skipped = false;
            self.cursor.get_or_insert_default();
        }
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        if load_page(cloud, fleet, cursor, now_ms).await? {
            (self.cursor, self.completed_once) = (None, true);
            self.skipped = fleet.is_full();
            tracing::info!(batches = fleet.len(), skipped = self.skipped, "open batches loaded");
        }
        Ok(())
    }
}

/// Loads a page of the batches that are not known to have ended: those after `cursor`, which advances with each.
/// Returns whether it was the last page.
async fn load_page(
    cloud: &Cloud,
    fleet: &mut FleetState,
    cursor: &mut String,
    now_ms: i64,
) -> Result<bool, CloudError> {
    let records = cloud.documents.find(names::REQUESTS, request::open(cursor.as_str(), PAGE_SIZE)).await?;
    for record in &records {
        let id = record.id();
        if let Ok(id) = BatchId::parse(id) {
            if fleet.len() >= MAX_BATCHES {
                return Ok(true);
            }
            load_recorded(cloud, fleet, &id, record, now_ms).await?;
        }
        id.clone_into(cursor);
    }
    Ok(records.len() < PAGE_SIZE as usize)
}

/// Loads one batch, or remembers that it has no record.
pub(crate) async fn load_batch(
    cloud: &Cloud,
    fleet: &mut FleetState,
    id: &BatchId,
    now_ms: i64,
) -> Result<(), CloudError> {
    match cloud.documents.get_one(names::request_document(id)).await? {
        Some(record) => load_recorded(cloud, fleet, id, &record, now_ms).await,
        None => {
            fleet.forget(id);
            fleet.ignore(id, now_ms);
            Ok(())
        }
    }
}

async fn load_recorded(
    cloud: &Cloud,
    fleet: &mut FleetState,
    id: &BatchId,
    record: &Document,
    now_ms: i64,
) -> Result<(), CloudError> {
    let record = RequestRecord::from_document(record);
    let recorded = record.and_then(|record| Some((batch::recorded_clips(&record.request).ok()?, record.retried)));
    let Some(((rendition, clips), retried)) = recorded else {
        tracing::error!(batch = %id, "failed to read a record: written by another version of the dispatcher");
        fleet.ignore(id, now_ms);
        return Ok(());
    };
    // The batch is read first: the status service writes clips before the batch that counts them.
    let batch = cloud.documents.get_one(names::batch_document(id)).await?;
    let documents = cloud.documents.list(&names::clip_documents(id)).await?;
    let views = documents.iter().filter_map(|document| {
        let clip = ClipId::parse(document.id()).ok()?;
        Some((clip, view(ClipStatus::from_document(document))))
    });
    let mut views: BTreeMap<_, _> = views.collect();
    // In a batch that has ended, a clip without a document is one whose document the store refuses permanently. It
    // needs no worker.
    if batch.is_some_and(|batch| BatchStatus::from_document(&batch).state.is_terminal()) {
        for (clip, _) in &clips {
            views.entry(clip.clone()).or_insert_with(|| ClipView { state: State::Failed, ..ClipView::default() });
        }
    }
    // A recent retry may be in the record and not yet in the clip's document.
    for (clip, generation) in retried {
        let documented = views.entry(clip).or_default();
        if generation > documented.generation {
            *documented = ClipView { generation, ..ClipView::default() };
        }
    }
    let clips = clips.into_iter().map(|(clip, length_ms)| (clip, Work::of(length_ms, &rendition)));
    fleet.load_batch(id, clips.collect(), views, now_ms);
    Ok(())
}

/// Reads whether the fleet is paused.
pub(crate) async fn paused(cloud: &Cloud) -> Result<bool, CloudError> {
    let document = cloud.documents.get_one(fleet_control::PATH.to_owned()).await?;
    Ok(FleetControl::from_document(document.as_ref()).paused)
}

/// The part of a clip's view that its document holds.
fn view(status: ClipStatus) -> ClipView {
    let attempt = status.latest.and_then(|latest| {
        Some(Attempt {
            id: latest.id,
            number: latest.number,
            started_at_ms: latest.started_at_ms,
            worker: latest.worker?,
            // Lower than that of any event, so the attempt's next event counts as later.
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
