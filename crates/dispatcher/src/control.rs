//! Cancel and retry. Both are events published to the fleet; no status document is written here.

use crate::{
    dispatch::{Dispatch, PUBLISHES_IN_FLIGHT},
    record::{self, Stored, recorded},
    refusal::{Refusal, no_such_batch, record_refused},
};
use clipfleet_cloud::CloudError;
use clipfleet_contract::{documents::clip::ClipStatus, names};
use clipfleet_domain::{
    batch::Batch,
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    job::Job,
    lifecycle::ClipEventKind,
    state::State,
};
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::HashMap;

/// A clip that a verb may concern.
struct Chosen {
    id: ClipId,
    status: ClipStatus,
}

/// Which clips start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryFilter {
    /// All that failed or were cancelled.
    Ended,
    /// Those whose jobs the queue gave up.
    DeadLettered,
}

impl RetryFilter {
    fn matches(self, chosen: &Chosen) -> bool {
        match self {
            Self::Ended => matches!(chosen.status.state, State::Failed | State::Cancelled),
            Self::DeadLettered => chosen.status.is_dead_letter,
        }
    }

    fn refuse(self, chosen: &Chosen) -> Refusal {
        let (clip, state) = (chosen.id.as_str(), state_name(chosen.status.state));
        Refusal::Conflict(match self {
            Self::Ended => {
                let message =
                    format!("clip {clip:?} is {state} and cannot be retried; only failed and cancelled clips can");
                Failure::new(Code::ClipNotRetryable, message)
            }
            Self::DeadLettered => {
                let message = format!("clip {clip:?} is {state} and was not given up by the queue; retry it instead");
                Failure::new(Code::ClipNotDeadLettered, message)
            }
        })
    }
}

impl Dispatch {
    /// Gives up a batch's clips, or one of them. Those that are over stay as they are. Returns the clips concerned.
    pub async fn cancel(&self, batch: &BatchId, clip: Option<&ClipId>) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, chosen) = self.choose(batch, clip).await?;
        // A retry that its document has not heard of yet is given up, too.
        let asked = chosen
            .into_iter()
            .map(|Chosen { id, status }| (status.at_least(stored.record.requested_generation(&id)), id));
        let running = asked.filter(|(status, _)| !status.state.is_terminal());
        let cancelling = running.map(async |(status, id)| {
            self.report_clip(&batch, &id, status.generation, ClipEventKind::Cancelled).await.map(|()| id)
        });
        Ok(futures::stream::iter(cancelling).buffered(PUBLISHES_IN_FLIGHT).try_collect().await?)
    }

    /// Starts over those of a batch's clips that `filter` matches, or one of them. Returns the clips concerned.
    pub async fn retry(
        &self,
        id: &BatchId,
        clip: Option<&ClipId>,
        filter: RetryFilter,
    ) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, mut chosen) = self.choose(id, clip).await?;
        if let (Some(refused), true) = (chosen.iter().find(|chosen| !filter.matches(chosen)), clip.is_some()) {
            return Err(filter.refuse(refused));
        }
        chosen.retain(|chosen| filter.matches(chosen));
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        // What is lost from here on, the reconciler finds. Another retry or a repair in between: the client asks again.
        let now_ms = self.clock.now_ms();
        // Beyond what was asked before, too: that may have been cancelled since, or never got as far as the queue.
        let next = |Chosen { id, status }: Chosen| {
            let generation = status.generation.max(stored.record.requested_generation(&id)) + 1;
            (id, generation)
        };
        let again: Vec<(ClipId, u32)> = chosen.into_iter().map(next).collect();
        record::record_retry(&self.cloud, id, &stored, &again, now_ms).await.map_err(record_refused)?;
        let source = stored.record.source;
        let planned = batch.plan(source.generation);
        let planned = planned.map_err(|reason| Refusal::Invalid(Failure::new(Code::InvalidRequest, reason)))?;
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
        let batch = recorded(&stored.record)?;
        let ids: Vec<ClipId> = batch
            .clips
            .iter()
            .map(|known| known.id.clone())
            .filter(|known| clip.is_none_or(|one| one == known))
            .collect();
        if let (Some(clip), true) = (clip, ids.is_empty()) {
            let message = format!("batch {:?} has no clip {:?}", id.as_str(), clip.as_str());
            return Err(Refusal::NotFound(Failure::new(Code::ClipNotFound, message)));
        }
        let paths: Vec<String> = ids.iter().map(|clip| names::clip_document(id, clip)).collect();
        let documents = self.cloud.documents.get(&paths).await?;
        let status = |document: &Option<_>| document.as_ref().map(ClipStatus::from_document).unwrap_or_default();
        let chosen = ids.into_iter().zip(&documents).map(|(id, document)| Chosen { id, status: status(document) });
        Ok((batch, stored, chosen.collect()))
    }
}

fn state_name(state: State) -> &'static str {
    clipfleet_domain::rendition::name_of(&State::ALL, state)
}
