//! `GET /v1/fleet/work`: what waits and what is made, for people who look after the fleet.
//!
//! It is counted from the status documents of open batches, so it says what the fleet said, and costs a read per clip of
//! those. Workers are known by the clips they make: one that has nothing to do is not seen here.

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

/// Open batches that are counted; a full fleet has a few. More are told as `more`.
const BATCHES: u32 = 20;

/// An answer is given again for so long, milliseconds: any number of people may look, and the documents are read once.
const FRESH_MS: i64 = 3_000;

/// The latest answer, and when it was made.
#[derive(Default)]
pub(crate) struct WorkCache(Mutex<Option<(i64, Json)>>);

impl WorkCache {
    /// Open batches, their clips that wait, and those that are made by worker.
    pub(crate) async fn get(&self, dispatch: &Dispatch) -> Result<Json, Refusal> {
        // Held while counting: who asks meanwhile gets the same answer.
        let mut latest = self.0.lock().await;
        let now_ms = dispatch.clock.now_ms();
        if let Some((at_ms, answer)) = latest.as_ref()
            && now_ms - at_ms < FRESH_MS
        {
            return Ok(answer.clone());
        }
        let answer = count(dispatch, now_ms).await?;
        *latest = Some((now_ms, answer.clone()));
        Ok(answer)
    }
}

async fn count(dispatch: &Dispatch, now_ms: i64) -> Result<Json, Refusal> {
    let page = record::open(&dispatch.cloud, "", BATCHES).await?;
    let more = !page.next.is_empty();
    let (mut batches, mut queued, mut processing) = (Vec::new(), 0, 0);
    let mut workers: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for stored in page.records {
        let request = stored.record.request;
        let Ok(id) = BatchId::parse(&request.batch_id) else { continue };
        let Some(document) = dispatch.cloud.documents.get_one(names::batch_document(&id)).await? else {
            // Accepted a moment ago.
            queued += request.clips.len();
            batches.push(json!({"batchId": id.as_str(), "status": "queued", "totalClips": request.clips.len()}));
            continue;
        };
        // A record stays open for a while after its batch is over.
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
