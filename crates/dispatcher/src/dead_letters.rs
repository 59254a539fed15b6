//! Jobs that the queue gave up, found by the documents of their clips. Redriving them is a retry ([`RetryFilter`]).
//!
//! [`RetryFilter`]: crate::control::RetryFilter

use crate::{dispatch::Dispatch, refusal::Refusal};
use clipfleet_cloud::Document;
use clipfleet_contract::{
    documents::{
        batch::with_dead_letters,
        clip::{ClipStatus, dead_letter_json},
    },
    names,
};
use clipfleet_domain::ids::BatchId;
use serde_json::{Value as Json, json};

/// Batches on one page; each may have a thousand clips, and people read page by page.
const PAGE: u32 = 20;

impl Dispatch {
    /// Clips that failed because the queue gave their jobs up, by batch, from the batch after this one on. `next` is where the next page
    /// begins, if there is one.
    pub async fn dead_letters(&self, after: &str) -> Result<Json, Refusal> {
        let batches = self.cloud.documents.find(names::BATCHES, with_dead_letters(after, PAGE)).await?;
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
        let letters = clips.iter().filter(|clip| ClipStatus::from_document(clip).is_dead_letter);
        Ok(letters.map(|clip| Json::Object(dead_letter_json(clip))).collect())
    }
}
