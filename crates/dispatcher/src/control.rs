//! Cancel and retry. Both are events published to the fleet; no status document is written here.

use crate::{
    accept::{Dispatch, PUBLISHES_IN_FLIGHT, Refusal, no_such_batch, record_refused},
    dead_letters::is_dead_letter,
    record::{self, Stored},
};
use clipfleet_cloud::{CloudError, Document};
use clipfleet_contract::{names, standing::Standing};
use clipfleet_domain::{
    batch::Batch,
    failure::Failure,
    ids::{BatchId, ClipId},
    job::{BatchContext, Event, EventKind, Job},
    lifecycle::{ClipEvent, ClipEventKind},
    state::State,
};
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::HashMap;

/// A clip that a verb may concern.
struct Chosen {
    id: ClipId,
    standing: Standing,
    dead_letter: bool,
}

/// Which clips start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// All that failed or were cancelled.
    Ended,
    /// Those whose jobs the queue gave up.
    DeadLettered,
}

impl Again {
    fn takes(self, chosen: &Chosen) -> bool {
        match self {
            Self::Ended => matches!(chosen.standing.state, State::Failed | State::Cancelled),
            Self::DeadLettered => chosen.dead_letter,
        }
    }

    fn refuse(self, chosen: &Chosen) -> Refusal {
        let (clip, state) = (chosen.id.as_str(), state_name(chosen.standing.state));
        Refusal::Conflict(match self {
            Self::Ended => {
                let message =
                    format!("clip {clip:?} is {state} and cannot be retried; only failed and cancelled clips can");
                Failure::permanent("clip_not_retryable", message)
            }
            Self::DeadLettered => {
                let message = format!("clip {clip:?} is {state} and was not given up by the queue; retry it instead");
                Failure::permanent("clip_not_dead_lettered", message)
            }
        })
    }
}

impl Dispatch {
    /// Gives up a batch's clips, or one of them. Those that are over stay as they are. Returns the clips concerned.
    pub async fn cancel(&self, batch: &BatchId, clip: Option<&ClipId>) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, chosen) = self.choose(batch, clip).await?;
        // A retry that its document has not heard of yet is given up, too.
        let asked =
            chosen.into_iter().map(|Chosen { id, standing, .. }| (standing.at_least(stored.record.asked(&id)), id));
        let running = asked.filter(|(standing, _)| !standing.state.is_terminal());
        let cancelling = running.map(async |(standing, id)| {
            self.report_clip(&batch, &id, standing.generation, ClipEventKind::Cancelled).await.map(|()| id)
        });
        Ok(futures::stream::iter(cancelling).buffered(PUBLISHES_IN_FLIGHT).try_collect().await?)
    }

    /// Starts over those of a batch's clips that `again` takes, or one of them. Returns the clips concerned.
    pub async fn retry(&self, id: &BatchId, clip: Option<&ClipId>, again: Again) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, mut chosen) = self.choose(id, clip).await?;
        if let (Some(refused), true) = (chosen.iter().find(|chosen| !again.takes(chosen)), clip.is_some()) {
            return Err(again.refuse(refused));
        }
        chosen.retain(|chosen| again.takes(chosen));
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        // What is lost from here on, the reconciler finds. Another retry or a repair in between: the client asks again.
        let now_ms = self.clock.now_ms();
        // Beyond what was asked before, too: that may have been cancelled since, or never got as far as the queue.
        let next = |Chosen { id, standing, .. }: Chosen| {
            let generation = standing.generation.max(stored.record.asked(&id)) + 1;
            (id, generation)
        };
        let again: Vec<(ClipId, u32)> = chosen.into_iter().map(next).collect();
        record::note_retry(&self.cloud, id, &stored, &again, now_ms).await.map_err(record_refused)?;
        let source = stored.record.source;
        let planned = batch.plan(source.generation);
        let planned = planned.map_err(|reason| Refusal::Invalid(Failure::permanent("invalid_request", reason)))?;
        let mut planned: HashMap<ClipId, _> =
            planned.into_iter().map(|planned| (planned.clip.id.clone(), planned)).collect();
        let work = again.into_iter().filter_map(|(id, generation)| Some((planned.remove(&id)?, id, generation)));
        let retrying = work.map(async |(work, id, generation)| {
            // The job first: should this process end between the two, the worker's own reports move the document on.
            self.enqueue(&Job::new(&batch, work, source.clone(), generation, now_ms)).await?;
            self.report_clip(&batch, &id, generation, ClipEventKind::Queued).await?;
            Ok::<_, CloudError>(id)
        });
        Ok(futures::stream::iter(retrying).buffered(PUBLISHES_IN_FLIGHT).try_collect().await?)
    }

    async fn choose(&self, id: &BatchId, clip: Option<&ClipId>) -> Result<(Batch, Stored, Vec<Chosen>), Refusal> {
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
        let chosen = ids.into_iter().zip(&documents).map(|(id, document)| {
            let document = document.as_ref();
            let dead_letter = document.is_some_and(is_dead_letter);
            Chosen { id, standing: document.map(standing).unwrap_or_default(), dead_letter }
        });
        Ok((batch, stored, chosen.collect()))
    }

    pub(crate) async fn report_clip(
        &self,
        batch: &Batch,
        clip: &ClipId,
        generation: u32,
        kind: ClipEventKind,
    ) -> Result<(), CloudError> {
        let event = ClipEvent { generation, at_ms: self.clock.now_ms(), attempt: None, kind };
        self.report(&Event { batch: BatchContext::of(batch), kind: EventKind::Clip { id: clip.clone(), event } })
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
