//! Jobs that the queue gave up: found by the documents of their clips, and put on their way again.

use crate::{
    accept::{Dispatch, Refusal},
    view::to_json,
};
use clipfleet_cloud::{Document, Search, Value};
use clipfleet_contract::names;
use clipfleet_domain::{failure::DEAD_LETTERED, ids::BatchId};
use serde_json::{Map, Value as Json, json};

/// Batches on one page; each may have a thousand clips, and people read page by page.
const PAGE: u32 = 20;

/// What of a clip's document is shown with its dead letter.
const SHOWN: [&str; 12] = [
    "batchId",
    "clipId",
    names::GENERATION,
    "error",
    names::ATTEMPT,
    "worker",
    names::CRASHES,
    names::TRANSIENT_FAILURES,
    names::INTERRUPTIONS,
    names::LOST_ATTEMPTS,
    "failureCodes",
    "completedAt",
];

impl Dispatch {
    /// Clips that failed because the queue gave their jobs up, by batch, from the batch after this one on. `next` is where the next page
    /// begins, if there is one.
    pub async fn dead_letters(&self, after: &str) -> Result<Json, Refusal> {
        let search = Search { after, ..Search::new(names::HAS_DEAD_LETTERS, Value::Bool(true), PAGE) };
        let batches = self.cloud.documents.find(names::BATCHES, search).await?;
        let ids: Vec<&str> = batches.iter().map(Document::id).collect();
        let mut letters = Vec::new();
        for id in ids.iter().filter_map(|id| BatchId::parse(id).ok()) {
            letters.extend(self.dead_letters_of(&id).await?);
        }
        let next = ids.last().filter(|_| ids.len() == PAGE as usize);
        Ok(json!({"deadLetters": letters, "next": next}))
    }

    /// Those of one batch.
    pub async fn dead_letters_of(&self, batch: &BatchId) -> Result<Vec<Json>, Refusal> {
        let clips = self.cloud.documents.list(&names::clip_documents(batch)).await?;
        let letters = clips.iter().filter(|clip| is_dead_letter(clip));
        Ok(letters.map(|clip| Json::Object(shown(clip))).collect())
    }
}

fn shown(clip: &Document) -> Map<String, Json> {
    let mut all = to_json(&clip.fields);
    all.retain(|name, _| SHOWN.contains(&name.as_str()));
    all
}

/// Whether a clip's document says that the queue gave its job up.
pub(crate) fn is_dead_letter(clip: &Document) -> bool {
    match clip.fields.get("error") {
        Some(Value::Map(error)) => error.get("code") == Some(&Value::String(DEAD_LETTERED.to_owned())),
        _ => false,
    }
}
