//! `GET /v1/fleet/work`: queued clips and clips in progress, for operators.
//!
//! They are counted from the status documents of open batches, which costs a read per clip of those. Workers are known
//! only by the clips that they process, so idle workers are missing.

use crate::{dispatch::Dispatch, record, refusal::Refusal};
use clipfleet_contract::{
    documents::{
        batch::{self, BatchStatus},
        clip::{self, ClipStatus},
    },
    names, rfc3339,
};
use clipfleet_domain::{ids::BatchId, state::State};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tokio::sync::Mutex;

/// Open batches that are counted; a busy fleet has a few. If there are more, the response says so in `more`.
const MAX_BATCHES: u32 = 20;

/// How long a response is reused, milliseconds: the documents are read once for any number of clients.
const CACHE_TTL_MS: i64 = 3_000;

/// The latest response, with its time.
#[derive(Default)]
pub(crate) struct WorkCache(Mutex<Option<(i64, Json)>>);

impl WorkCache {
    /// Open batches, their queued clips, and their clips in progress by worker.
    pub(crate) async fn get(&self, dispatch: &Dispatch) -> Result<Json, Refusal> {
        // The lock is held while counting, so that concurrent requests share one response.
        let mut latest = self.0.lock().await;
        let now_ms = dispatch.clock.now_ms();
        if let Some((at_ms, response)) = latest.as_ref()
            && now_ms - at_ms < CACHE_TTL_MS
        {
            return Ok(response.clone());
        }
        let response = count(dispatch, now_ms).await?;
        *latest = Some((now_ms, response.clone()));
        Ok(response)
    }
}

async fn count(dispatch: &Dispatch, now_ms: i64) -> Result<Json, Refusal> {
    let page = record::open(&dispatch.cloud, "", MAX_BATCHES).await?;
    let more = !page.next.is_empty();
    let (mut batches, mut queued, mut processing) = (Vec::new(), 0, 0);
    let mut workers: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for stored in page.records {
        let request = stored.record.request;
        let Ok(id) = BatchId::parse(&request.batch_id) else { continue };
        let Some(document) = dispatch.cloud.documents.get_one(names::batch_document(&id)).await? else {
            // Accepted a moment ago, so no document exists yet.
            queued += request.clips.len();
            batches.push(batch::queued_at_work_json(&request));
            continue;
        };
        // A record stays open for a while after its batch has ended.
        if BatchStatus::from_document(&document).state.is_terminal() {
            continue;
        }
        let clips = dispatch.cloud.documents.list(&names::clip_documents(&id)).await?;
        let statuses: Vec<ClipStatus> = clips.iter().map(ClipStatus::from_document).collect();
        queued += statuses.iter().filter(|status| status.state == State::Queued).count();
        for (clip, status) in clips.iter().zip(statuses).filter(|(_, status)| status.state == State::Processing) {
            processing += 1;
            let worker =
                status.latest.and_then(|latest| latest.worker).map_or_else(String::new, |worker| worker.to_string());
            workers.entry(worker).or_default().push(Json::Object(clip::at_work_json(clip)));
        }
        let mut batch = batch::at_work_json(&document);
        batch.insert("batchId".to_owned(), json!(id.as_str()));
        batches.push(Json::Object(batch));
    }
    let workers: Vec<_> =
        workers.into_iter().map(|(worker, clips)| json!({"worker": worker, "clips": clips})).collect();
    let counted_at = rfc3339(now_ms);
    Ok(json!({
        "queuedClips": queued, "processingClips": processing, "workers": workers, "batches": batches,
        "more": more, "countedAt": counted_at,
    }))
}
