//! Cancel and retry. Both publish events; neither writes a status document.

use crate::{
    dispatch::{Dispatch, MAX_PUBLISHES_IN_FLIGHT},
    record::{self, Stored, recorded},
    refusal::{Refusal, no_such_batch, no_such_clip, record_refused},
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
    wire_name::WireName as _,
};
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::HashMap;

/// A clip that an action may apply to.
struct SelectedClip {
    id: ClipId,
    status: ClipStatus,
}

/// Which clips are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryFilter {
    /// Clips that failed or were cancelled.
    Ended,
    /// Clips whose jobs are dead letters.
    DeadLettered,
}

impl RetryFilter {
    fn matches(self, clip: &SelectedClip) -> bool {
        match self {
            Self::Ended => matches!(clip.status.state, State::Failed | State::Cancelled),
            Self::DeadLettered => clip.status.is_dead_letter,
        }
    }

    fn refuse(self, clip: &SelectedClip) -> Refusal {
        let (clip, state) = (clip.id.as_str(), clip.status.state.name());
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
    /// Cancels a batch's clips, or one of them. Ended clips stay as they are. Returns the cancelled clips.
    pub async fn cancel(&self, batch: &BatchId, clip: Option<&ClipId>) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, selected) = self.select_clips(batch, clip).await?;
        // A recent retry may be in the record and not yet in the clip's document. It is cancelled, too.
        let requested = selected
            .into_iter()
            .map(|SelectedClip { id, status }| (status.at_least(stored.record.requested_generation(&id)), id));
        let running = requested.filter(|(status, _)| !status.state.is_terminal());
        let cancelling = running.map(async |(status, id)| {
            self.publish_clip_event(&batch, &id, status.generation, ClipEventKind::Cancelled).await.map(|()| id)
        });
        Ok(futures::stream::iter(cancelling).buffered(MAX_PUBLISHES_IN_FLIGHT).try_collect().await?)
    }

    /// Retries the clips of a batch that `filter` matches, or one of them. Returns the retried clips.
    pub async fn retry(
        &self,
        id: &BatchId,
        clip: Option<&ClipId>,
        filter: RetryFilter,
    ) -> Result<Vec<ClipId>, Refusal> {
        let (batch, stored, mut selected) = self.select_clips(id, clip).await?;
        if let (Some(refused), true) = (selected.iter().find(|clip| !filter.matches(clip)), clip.is_some()) {
            return Err(filter.refuse(refused));
        }
        selected.retain(|clip| filter.matches(clip));
        if selected.is_empty() {
            return Ok(Vec::new());
        }
        // The reconciler finds whatever is lost from here on. If another retry or a repair changed the record
        // meanwhile, the client has to retry.
        let now_ms = self.clock.now_ms();
        // Also higher than any generation requested before: that one may have been cancelled, or its job not published.
        let next = |SelectedClip { id, status }: SelectedClip| {
            let generation = status.generation.max(stored.record.requested_generation(&id)) + 1;
            (id, generation)
        };
        let retries: Vec<(ClipId, u32)> = selected.into_iter().map(next).collect();
        record::record_retry(&self.cloud, id, &stored, &retries, now_ms).await.map_err(record_refused)?;
        let source = stored.record.source;
        let planned = batch.plan(source.generation);
        let planned = planned.map_err(|reason| Refusal::Invalid(Failure::new(Code::InvalidRequest, reason)))?;
        let mut planned: HashMap<ClipId, _> =
            planned.into_iter().map(|planned| (planned.clip.id.clone(), planned)).collect();
        let work = retries.into_iter().filter_map(|(id, generation)| Some((planned.remove(&id)?, id, generation)));
        let retrying = work.map(async |(work, id, generation)| {
            // The job is published first: if this process ends in between, the worker's own events update the document.
            self.enqueue(&Job::new(&batch, work, source.clone(), generation, now_ms)).await?;
            self.publish_clip_event(&batch, &id, generation, ClipEventKind::Queued).await?;
            Ok::<_, CloudError>(id)
        });
        Ok(futures::stream::iter(retrying).buffered(MAX_PUBLISHES_IN_FLIGHT).try_collect().await?)
    }

    /// Loads a batch, its record, and the status of its clips, or of one of them.
    async fn select_clips(
        &self,
        id: &BatchId,
        clip: Option<&ClipId>,
    ) -> Result<(Batch, Stored, Vec<SelectedClip>), Refusal> {
        let stored = record::load(&self.cloud, id).await?.ok_or_else(|| no_such_batch(id))?;
        let batch = recorded(&stored.record)?;
        let ids: Vec<ClipId> = batch
            .clips
            .iter()
            .map(|known| known.id.clone())
            .filter(|known| clip.is_none_or(|one| one == known))
            .collect();
        if let (Some(clip), true) = (clip, ids.is_empty()) {
            return Err(no_such_clip(id, clip));
        }
        let paths: Vec<String> = ids.iter().map(|clip| names::clip_document(id, clip)).collect();
        let documents = self.cloud.documents.get(&paths).await?;
        let status = |document: &Option<_>| document.as_ref().map(ClipStatus::from_document).unwrap_or_default();
        let selected = ids.into_iter().zip(&documents);
        let selected = selected.map(|(id, document)| SelectedClip { id, status: status(document) });
        Ok((batch, stored, selected.collect()))
    }
}
