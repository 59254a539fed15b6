//! The queue's unit of work: one clip, with everything that a worker needs to make it.

use crate::{
    batch::{self, Batch, PlannedClip},
    clip::Clip,
    failure::Failure,
    ids::{BatchId, ClipId, OwnerUid, ProjectId},
    lifecycle::ClipEvent,
    rendition::Rendition,
    source::ObjectUri,
};

/// What every message about a batch contains, so that each can be processed on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchContext {
    /// The batch.
    pub id: BatchId,
    /// The owner.
    pub owner: OwnerUid,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The number of its clips.
    pub size: u32,
}

impl BatchContext {
    /// The context of a checked batch.
    pub fn of(batch: &Batch) -> Self {
        let size = u32::try_from(batch.clips.len()).unwrap_or(u32::MAX);
        Self { id: batch.id.clone(), owner: batch.owner.clone(), project: batch.project.clone(), size }
    }
}

/// The source, pinned to a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedSource {
    /// Its URI.
    pub uri: ObjectUri,
    /// The generation of the object.
    pub generation: i64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// The job to make one clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The batch it belongs to.
    pub batch: BatchContext,
    /// The clip's generation: 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// The video that the clip is cut from.
    pub source: PinnedSource,
    /// The clip.
    pub clip: Clip,
    /// The form of the result.
    pub rendition: Rendition,
    /// The visible result.
    pub output: ObjectUri,
    /// Equal for equal work.
    pub settings_hash: String,
    /// When the batch (or the retry) was accepted; Unix time, milliseconds.
    pub queued_at_ms: i64,
}

impl Job {
    /// The job of one planned clip of a batch.
    pub fn new(batch: &Batch, planned: PlannedClip, source: PinnedSource, generation: u32, queued_at_ms: i64) -> Self {
        Self {
            batch: BatchContext::of(batch),
            generation,
            source,
            clip: planned.clip,
            rendition: batch.rendition,
            output: planned.output,
            settings_hash: planned.settings_hash,
            queued_at_ms,
        }
    }

    /// Whether this program knows every setting of the job. It does not if a later version has planned a setting that
    /// was lost in decoding, or if the versions make different clips of the same settings: the clip would be stored
    /// under the hash of another one, and be reused.
    pub fn is_understood(&self) -> bool {
        let Self { source, clip, rendition, .. } = self;
        batch::settings_hash(&source.uri, source.generation, clip, *rendition) == self.settings_hash
    }
}

/// An event about a batch, published by the fleet and folded by the status service.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The batch it is about.
    pub batch: BatchContext,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of events.
#[expect(clippy::large_enum_variant, reason = "an event lives as long as one message; nothing keeps many")]
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A batch was accepted, with these clips.
    BatchQueued {
        /// Unix time, milliseconds.
        at_ms: i64,
        /// Its clips.
        clips: Vec<ClipId>,
    },
    /// A batch from the topic failed validation.
    BatchRefused {
        /// Unix time, milliseconds.
        at_ms: i64,
        /// Why.
        failure: Failure,
    },
    /// Something happened to one of its clips.
    Clip {
        /// The clip.
        id: ClipId,
        /// What happened.
        event: ClipEvent,
    },
}
