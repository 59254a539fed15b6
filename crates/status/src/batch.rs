//! One batch in memory: the views of its clips, its own state, and the documents of both.

use crate::write_state::WriteState;
use clipfleet_cloud::{Document, Version, Write};
use clipfleet_contract::documents::{
    batch::{BatchDocument, BatchStatus, Conflict},
    clip::ClipDocument,
};
use clipfleet_domain::{
    attempt_stats::AttemptStats,
    failure::{Code, Failure},
    history::{GenerationEnd, History},
    ids::{ClipId, ProjectId},
    job::{BatchContext, EventKind},
    lifecycle::{BatchView, ClipEvent, ClipEventKind, ClipView, Encoding},
    progress::Phase,
    state::State,
};
use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Debug, Default, Clone)]
struct Clip {
    view: ClipView,
    write_state: WriteState,
}

impl Clip {
    /// The view for a document that the store refused: only what is needed to know how the clip ended, with bounded
    /// texts. A clip that has not ended fails, since its progress could not be written.
    fn reduced(&self, refused: &Failure) -> ClipView {
        let view = self.view.clone();
        let kept = ClipView {
            encoding: Encoding::default(),
            stats: AttemptStats::default(),
            history: History::default(),
            eta_seconds: None,
            failure: view.failure.map(|failure| Failure { details: Vec::new(), ..failure }),
            ..view
        };
        if kept.state.is_terminal() {
            return kept;
        }
        let (failure, completed_at_ms) = (Some(refused.clone()), Some(kept.updated_at_ms));
        ClipView { state: State::Failed, phase: Phase::Done, failure, completed_at_ms, ..kept }
    }

    /// How the clip ended, for the batch's document, which records this if the clip's own document cannot be written.
    fn end(&self) -> GenerationEnd {
        let at_ms = self.view.completed_at_ms.unwrap_or(self.view.updated_at_ms);
        GenerationEnd { state: self.view.state, at_ms, failure: self.view.failure.clone() }
    }

    /// A clip whose end is recorded in its batch's document.
    fn given_up(generation: u32, end: &GenerationEnd, version: Option<Version>) -> Self {
        let view = ClipView {
            generation,
            state: end.state,
            phase: Phase::Done,
            failure: end.failure.clone(),
            updated_at_ms: end.at_ms,
            completed_at_ms: Some(end.at_ms),
            ..ClipView::default()
        };
        let mut write_state = version.map_or_else(WriteState::default, WriteState::stored);
        write_state.give_up();
        Self { view, write_state }
    }
}

/// A batch and its clips.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    context: BatchContext,
    refusal: Option<(Failure, i64)>,
    conflict: Option<Conflict>,
    clips: BTreeMap<ClipId, Clip>,
    /// The state of the batch when a clip last changed its state. Its progress is computed when its document is
    /// written.
    state: State,
    /// The percent that clients have read. The clips' documents may not show it yet. Reset when a clip is retried.
    published_percent: u8,
    /// When the batch was created, by its document. The clips' documents may have been written before their earliest
    /// events arrived.
    created_at_ms: Option<i64>,
    write_state: WriteState,
    pub(crate) last_event_at: Instant,
}

impl Batch {
    /// Loads a batch from its documents, or creates a new one. The clips' documents must be read after the batch's.
    pub(crate) fn load(context: &BatchContext, batch: Option<&Document>, clips: &[Document], now: Instant) -> Self {
        let mut loaded = Self {
            context: context.clone(),
            refusal: None,
            conflict: None,
            clips: BTreeMap::new(),
            state: State::Queued,
            published_percent: 0,
            created_at_ms: None,
            write_state: WriteState::default(),
            last_event_at: now,
        };
        for document in clips {
            if let Some(ClipDocument { clip, view, .. }) = ClipDocument::from_document(document) {
                loaded.clips.insert(clip, Clip { view, write_state: WriteState::stored(document.version) });
            }
        }
        if let Some(document) = batch {
            loaded.write_state = WriteState::stored(document.version);
            let status = BatchStatus::from_document(document);
            loaded.refusal = status.refusal;
            loaded.conflict = status.conflict;
            loaded.published_percent = status.percent;
            loaded.created_at_ms = status.created_at_ms;
            for (id, generation, end) in status.given_up {
                let stored = loaded.clips.get(&id);
                if stored.is_none_or(|clip| clip.view.generation <= generation && !clip.view.state.is_terminal()) {
                    let version = stored.and_then(|clip| clip.write_state.version);
                    loaded.clips.insert(id, Clip::given_up(generation, &end, version));
                }
            }
        }
        let view = loaded.view();
        loaded.state = view.state;
        // The events that the stored document lacks may already be acked: an instance wrote the clips, and then ended,
        // or found the batch changed by an instance that did not know of these events. So the document must be written
        // now.
        if batch.is_some_and(|stored| loaded.document().is_behind(stored)) {
            loaded.write_state.touch(true, now);
        }
        loaded
    }

    /// Folds an event. Returns the clips whose documents must be written before it may be acked.
    pub(crate) fn fold(&mut self, context: &BatchContext, kind: &EventKind, now: Instant) -> Vec<ClipId> {
        self.last_event_at = now;
        let grown = context.size > self.context.size;
        self.context.size = self.context.size.max(context.size);
        let mut changed = Vec::new();
        let mut changes = Changes { any: grown, state: grown };
        match kind {
            EventKind::BatchQueued { at_ms, clips } => {
                let queued = ClipEvent { generation: 0, at_ms: *at_ms, attempt: None, kind: ClipEventKind::Queued };
                changed.extend(clips.iter().filter(|clip| self.fold_clip(clip, &queued, &mut changes, now)).cloned());
            }
            // The id belongs to another request, which may not have been seen here yet.
            EventKind::BatchRefused { at_ms, failure } if failure.code == Code::BatchIdConflict => {
                changes.any |= self.record_conflict(*at_ms, failure);
            }
            EventKind::BatchRefused { at_ms, failure } => {
                if self.refusal.is_none() && self.clips.is_empty() && self.write_state.version.is_none() {
                    self.refusal = Some((failure.clone(), *at_ms));
                    changes = Changes { any: true, state: true };
                }
            }
            EventKind::Clip { id, event } => {
                changed.extend(self.fold_clip(id, event, &mut changes, now).then(|| id.clone()));
            }
        }
        self.update_state(changes, now);
        changed
    }

    /// Records a request that used the batch's id for something else, unless a later one is known. Returns whether the
    /// document must be written.
    fn record_conflict(&mut self, at_ms: i64, failure: &Failure) -> bool {
        let conflict = Conflict { at_ms, reason: failure.message.clone() };
        let is_later = self.conflict.as_ref().is_none_or(|known| known.at_ms < at_ms);
        if is_later {
            self.conflict = Some(conflict);
        }
        is_later
    }

    /// Folds an event of one clip. Returns whether its document must be written.
    fn fold_clip(&mut self, id: &ClipId, event: &ClipEvent, changes: &mut Changes, now: Instant) -> bool {
        let clip = self.clips.entry(id.clone()).or_default();
        let (state, generation, ends) = (clip.view.state, clip.view.generation, clip.view.stats.ends());
        let changed = clip.view.fold(event);
        // A document that was given up is written again when the clip is retried. Until then the batch's document
        // records how the clip ended.
        clip.write_state.given_up &= clip.view.generation == generation;
        if (changed || clip.write_state.version.is_none()) && !clip.write_state.given_up {
            if clip.view.generation != generation {
                self.published_percent = 0;
            }
            let new = clip.write_state.version.is_none() || clip.view.generation != generation;
            // The next attempt reads how the earlier ones ended, so their ends must not be written late.
            clip.write_state.touch(new || clip.view.state != state || clip.view.stats.ends() != ends, now);
            changes.any = true;
            changes.state |= new || clip.view.state != state;
        }
        clip.write_state.due.is_some()
    }

    /// Updates the state of the batch, only if it can have changed: a thousand clips may report progress ten thousand
    /// times a second.
    fn update_state(&mut self, changes: Changes, now: Instant) {
        let before = self.state;
        if changes.state {
            self.state = self.view().state;
        }
        // A document that does not exist yet is written immediately.
        let absent = self.write_state.version.is_none();
        if changes.any || absent {
            self.write_state.touch(absent || self.state != before, now);
        }
    }

    fn view(&self) -> BatchView {
        match &self.refusal {
            Some((_, at_ms)) => BatchView {
                state: State::Failed,
                total: self.context.size,
                created_at_ms: Some(*at_ms),
                updated_at_ms: *at_ms,
                completed_at_ms: Some(*at_ms),
                ..BatchView::default()
            },
            None => {
                let view = BatchView::of(self.clips.values().map(|clip| &clip.view), self.context.size);
                let created_at_ms = view.created_at_ms.into_iter().chain(self.created_at_ms).min();
                BatchView { percent: view.percent.max(self.published_percent), created_at_ms, ..view }
            }
        }
    }

    pub(crate) fn project(&self) -> &ProjectId {
        &self.context.project
    }

    pub(crate) fn clips(&self) -> usize {
        self.clips.len()
    }

    /// Whether all documents equal the stored ones.
    pub(crate) fn is_clean(&self) -> bool {
        self.write_state.due.is_none() && self.clips.values().all(|clip| clip.write_state.due.is_none())
    }

    /// Whether the batch has ended and all its documents are written.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.is_terminal() && self.is_clean()
    }

    /// The write state of a clip's document, or of the batch's.
    pub(crate) fn write_state(&mut self, clip: Option<&ClipId>) -> Option<&mut WriteState> {
        match clip {
            None => Some(&mut self.write_state),
            Some(clip) => self.clips.get_mut(clip).map(|clip| &mut clip.write_state),
        }
    }

    fn document(&self) -> BatchDocument {
        let given_up = self.clips.iter().filter(|(_, clip)| clip.write_state.given_up);
        BatchDocument {
            batch: self.context.clone(),
            view: self.view(),
            refusal: self.refusal.as_ref().map(|(failure, _)| failure.clone()),
            conflict: self.conflict.clone(),
            given_up: given_up.map(|(id, clip)| (id.clone(), clip.view.generation, clip.end())).collect(),
        }
    }

    /// The write of the batch's document.
    pub(crate) fn write(&self) -> Write {
        let document = self.document();
        Write { path: document.path(), fields: document.to_fields(), precondition: self.write_state.precondition() }
    }

    /// The write of a clip's document.
    pub(crate) fn clip_write(&self, id: &ClipId) -> Option<Write> {
        let clip = self.clips.get(id)?;
        Some(self.write_of(id, clip, clip.view.clone()))
    }

    fn write_of(&self, id: &ClipId, clip: &Clip, view: ClipView) -> Write {
        let document = ClipDocument { batch: self.context.clone(), clip: id.clone(), view };
        Write { path: document.path(), fields: document.to_fields(), precondition: clip.write_state.precondition() }
    }

    /// The write of the reduced document of a clip, or of the batch. Only the details of a refusal can be left out of a
    /// batch's document.
    pub(crate) fn reduced_write(&self, clip: Option<&ClipId>, refused: &Failure) -> Option<Write> {
        match clip {
            Some(id) => self.clips.get(id).map(|clip| self.write_of(id, clip, clip.reduced(refused))),
            None => {
                let (mut reduced, now) = (self.clone(), self.last_event_at);
                reduced.reduce(None, refused, now);
                self.refusal.is_some().then(|| reduced.write())
            }
        }
    }

    /// Reduces the document of a clip, or of the batch, from now on.
    pub(crate) fn reduce(&mut self, clip: Option<&ClipId>, refused: &Failure, now: Instant) {
        match clip {
            Some(id) => {
                if let Some(clip) = self.clips.get_mut(id) {
                    clip.view = clip.reduced(refused);
                }
                self.update_state(Changes { any: true, state: true }, now);
            }
            None => {
                if let Some((failure, _)) = &mut self.refusal {
                    failure.details.clear();
                }
            }
        }
    }

    /// Records that a clip's document cannot be written. The batch's document then records how the clip ended.
    pub(crate) fn give_up(&mut self, id: &ClipId, refused: &Failure) {
        let now = self.last_event_at;
        self.reduce(Some(id), refused, now);
        if let Some(clip) = self.clips.get_mut(id) {
            clip.write_state.give_up();
        }
    }
}

/// What an event changed.
struct Changes {
    /// Anything of the batch.
    any: bool,
    /// Something that the batch's state depends on.
    state: bool,
}
