//! `GET /v1/fleet/work`: what waits and what is made, for people who look after the fleet.
//!
//! It is counted from the status documents of open batches, so it says what the fleet said, and costs a read per clip of
//! those. Workers are known by the clips they make: one that has nothing to do is not seen here.

use crate::{
    accept::{Dispatch, Refusal},
    record,
    view::{rfc3339, to_json},
};
use clipfleet_cloud::{Document, Fields, Value};
use clipfleet_contract::names;
use clipfleet_domain::ids::BatchId;
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::Mutex;

/// Open batches that are counted; a full fleet has a few. More are told as `more`.
const BATCHES: u32 = 20;

/// An answer is given again for so long, milliseconds: any number of people may look, and the documents are read once.
const FRESH_MS: i64 = 3_000;

/// Fields of a batch's document that are shown.
const OF_BATCH: [&str; 10] = [
    "ownerUid",
    "projectId",
    names::STATUS,
    "progress",
    "totalClips",
    "completedClips",
    "failedClips",
    "cancelledClips",
    "etaSeconds",
    "createdAt",
];

/// Fields of a clip's document that are shown.
const OF_CLIP: [&str; 8] =
    ["batchId", "clipId", names::PHASE, "progress", "etaSeconds", names::ATTEMPT, "encoder", names::ATTEMPT_STARTED_AT];

/// The latest answer, and when it was made.
#[derive(Default)]
pub(crate) struct Board(Mutex<Option<(i64, Json)>>);

impl Dispatch {
    /// Open batches, their clips that wait, and those that are made by worker.
    pub async fn work(&self) -> Result<Json, Refusal> {
        // Held while counting: who asks meanwhile gets the same answer.
        let mut latest = self.work.0.lock().await;
        let now_ms = self.clock.now_ms();
        if let Some((at_ms, answer)) = latest.as_ref()
            && now_ms - at_ms < FRESH_MS
        {
            return Ok(answer.clone());
        }
        let answer = self.count(now_ms).await?;
        *latest = Some((now_ms, answer.clone()));
        Ok(answer)
    }

    async fn count(&self, now_ms: i64) -> Result<Json, Refusal> {
        let page = record::open(&self.cloud, "", BATCHES).await?;
        let more = !page.next.is_empty();
        let (mut batches, mut queued, mut processing) = (Vec::new(), 0, 0);
        let mut workers: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for stored in page.records {
            let request = stored.record.request;
            let Ok(id) = BatchId::parse(&request.batch_id) else { continue };
            let Some(document) = self.cloud.documents.get_one(names::batch_document(&id)).await? else {
                // Accepted a moment ago.
                queued += request.clips.len();
                batches.push(json!({"batchId": id.as_str(), "status": "queued", "totalClips": request.clips.len()}));
                continue;
            };
            // A record stays open for a while after its batch is over.
            if !matches!(document.text(names::STATUS), Some("queued" | "processing")) {
                continue;
            }
            let clips = self.cloud.documents.list(&names::clip_documents(&id)).await?;
            queued += clips.iter().filter(|clip| clip.text(names::STATUS) == Some("queued")).count();
            for clip in clips.iter().filter(|clip| clip.text(names::STATUS) == Some("processing")) {
                processing += 1;
                let worker = clip.text("worker").unwrap_or_default().to_owned();
                workers.entry(worker).or_default().push(shown(clip, &OF_CLIP));
            }
            let mut batch = shown(&document, &OF_BATCH);
            batch["batchId"] = json!(id.as_str());
            batches.push(batch);
        }
        let workers: Vec<_> =
            workers.into_iter().map(|(worker, clips)| json!({"worker": worker, "clips": clips})).collect();
        let counted_at = rfc3339(UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs()));
        Ok(json!({
            "queuedClips": queued, "processingClips": processing, "workers": workers, "batches": batches,
            "more": more, "countedAt": counted_at,
        }))
    }
}

fn shown(document: &Document, fields: &[&str]) -> Json {
    let chosen =
        document.fields.iter().filter(|(name, value)| fields.contains(&name.as_str()) && **value != Value::Null);
    let chosen: Fields = chosen.map(|(name, value)| (name.clone(), value.clone())).collect();
    Json::Object(to_json(&chosen))
}
