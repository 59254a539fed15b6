//! Dead letters: jobs that failed every delivery attempt, found by the documents of their clips. Redriving them is a
//! retry ([`RetryFilter`]).
//!
//! The status service empties Pub/Sub's dead-letter subscription, and a batch's document records whether it has any. A
//! retry therefore removes them without further steps, and there is no second list that could disagree.
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

/// Batches per page. Each may have a thousand clips.
const PAGE_SIZE: u32 = 20;

impl Dispatch {
    /// The dead letters of a page of batches, beginning after the batch `after`. `next` in the result is the `after` of
    /// the next page, if there is one.
    pub async fn dead_letters(&self, after: &str) -> Result<Json, Refusal> {
        let batches = self.cloud.documents.find(names::BATCHES, with_dead_letters(after, PAGE_SIZE)).await?;
        let ids: Vec<&str> = batches.iter().map(Document::id).collect();
        let mut letters = Vec::new();
        for id in ids.iter().filter_map(|id| BatchId::parse(id).ok()) {
            letters.extend(self.dead_letters_of(&id).await?);
        }
        let next = ids.last().filter(|_| ids.len() == PAGE_SIZE as usize);
        Ok(json!({"deadLetters": letters, "next": next}))
    }

    /// The dead letters of one batch.
    pub async fn dead_letters_of(&self, batch: &BatchId) -> Result<Vec<Json>, Refusal> {
        let clips = self.cloud.documents.list(&names::clip_documents(batch)).await?;
        let letters = clips.iter().filter(|clip| ClipStatus::from_document(clip).is_dead_letter);
        Ok(letters.map(|clip| Json::Object(dead_letter_json(clip))).collect())
    }
}
