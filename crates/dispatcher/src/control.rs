//! Cancel and retry. Both are facts published to the fleet; nothing is written here.

use crate::{
    accept::{Dispatch, Refusal, no_such_batch},
    record,
};
use clipfleet_cloud::{CloudError, Document};
use clipfleet_contract::{names, standing::Standing};
use clipfleet_domain::{
    batch::Batch,
    failure::Failure,
    ids::{BatchId, ClipId},
    job::{BatchContext, FleetEvent, FleetFact, Job},
    lifecycle::{ClipEvent, ClipFact, State},
};
use std::collections::HashMap;

impl Dispatch {
    /// Gives up a batch's clips, or one of them. Those that are over stay as they are. Returns the clips concerned.
    pub async fn cancel(&self, batch: &BatchId, clip: Option<&ClipId>) -> Result<Vec<ClipId>, Refusal> {
        let (batch, _, chosen) = self.choose(batch, clip).await?;
        let mut cancelled = Vec::new();
        for (id, standing) in chosen {
            if !standing.state.is_terminal() {
                self.report_clip(&batch, &id, standing.generation, ClipFact::Cancelled).await?;
                cancelled.push(id);
            }
        }
        Ok(cancelled)
    }

    /// Starts over a batch's failed and cancelled clips, or one of them. Returns the clips concerned.
    pub async fn retry(&self, batch: &BatchId, clip: Option<&ClipId>) -> Result<Vec<ClipId>, Refusal> {
        let (batch, record, chosen) = self.choose(batch, clip).await?;
        let planned = batch.plan(record.source.generation);
        let planned = planned.map_err(|reason| Refusal::Invalid(Failure::permanent("invalid_request", reason)))?;
        let mut planned: HashMap<ClipId, _> =
            planned.into_iter().map(|planned| (planned.clip.id.clone(), planned)).collect();
        let mut retried = Vec::new();
        for (id, standing) in chosen {
            let again = matches!(standing.state, State::Failed | State::Cancelled);
            if !again && clip.is_some() {
                let message = format!(
                    "clip {:?} is {} and cannot be retried; only failed and cancelled clips can",
                    id.as_str(),
                    state_name(standing.state)
                );
                return Err(Refusal::Conflict(Failure::permanent("clip_not_retryable", message)));
            }
            if let Some(work) = planned.remove(&id).filter(|_| again) {
                let generation = standing.generation + 1;
                // The job first: should this process end between the two, the worker's own reports move the document on.
                let job = Job::new(&batch, work, record.source.clone(), generation, self.clock.now_ms());
                self.enqueue(&job).await?;
                self.report_clip(&batch, &id, generation, ClipFact::Queued).await?;
                retried.push(id);
            }
        }
        Ok(retried)
    }

    async fn choose(
        &self,
        id: &BatchId,
        clip: Option<&ClipId>,
    ) -> Result<(Batch, record::Record, Vec<(ClipId, Standing)>), Refusal> {
        let stored = record::load(&self.cloud, id).await?.ok_or_else(|| no_such_batch(id))?;
        let batch = self.recorded(&stored.record)?;
        let ids: Vec<ClipId> = batch
            .clips
            .iter()
            .map(|known| known.id.clone())
            .filter(|known| clip.is_none_or(|one| one == known))
            .collect();
        if let (Some(clip), true) = (clip, ids.is_empty()) {
            let message = format!("batch {:?} has no clip {:?}", id.as_str(), clip.as_str());
            return Err(Refusal::NotFound(Failure::permanent("clip_not_found", message)));
        }
        let paths: Vec<String> = ids.iter().map(|clip| names::clip_document(id, clip)).collect();
        let documents = self.cloud.documents.get(&paths).await?;
        let standings = documents.iter().map(|document| document.as_ref().map_or_else(Standing::default, standing));
        let chosen = ids.into_iter().zip(standings).collect();
        Ok((batch, stored.record, chosen))
    }

    async fn report_clip(
        &self,
        batch: &Batch,
        clip: &ClipId,
        generation: u32,
        fact: ClipFact,
    ) -> Result<(), CloudError> {
        let event = ClipEvent { generation, at_ms: self.clock.now_ms(), attempt: None, fact };
        self.report(&FleetEvent { batch: BatchContext::of(batch), fact: FleetFact::Clip { id: clip.clone(), event } })
            .await
    }
}

/// Where a clip stands by its document.
pub(crate) fn standing(document: &Document) -> Standing {
    Standing::read(|field| document.text(field), |field| document.integer(field), |field| document.instant_ms(field))
}

fn state_name(state: State) -> &'static str {
    clipfleet_domain::rendition::name_of(&State::ALL, state)
}
