//! One batch as the service knows it: the views of its clips, what they come to, and the documents of both.

use crate::{documents, slate::Slate};
use clipfleet_cloud::{Document, Write};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::Failure,
    ids::{ClipId, ProjectId},
    job::{BatchContext, FleetFact},
    lifecycle::{BatchView, ClipEvent, ClipFact, ClipView, State},
};
use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Debug, Default)]
struct Clip {
    view: ClipView,
    slate: Slate,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Batch {
    context: BatchContext,
    refusal: Option<(Failure, i64)>,
    clips: BTreeMap<ClipId, Clip>,
    /// What the clips came to when one of them last changed its state. Their progress since is summed up when it is written.
    state: State,
    /// Percent that people have read; the clips' documents may not tell of it yet. Holds until a clip starts over.
    read: u8,
    /// When it was created, as its document says: a clip's document may have been written before the earliest fact of it came.
    created_at_ms: Option<i64>,
    slate: Slate,
    pub(crate) heard_at: Instant,
}

impl Batch {
    /// As its documents say, or as new. The clips' were read after the batch's.
    pub(crate) fn take_up(context: &BatchContext, batch: Option<&Document>, clips: &[Document], now: Instant) -> Self {
        let mut taken = Self {
            context: context.clone(),
            refusal: None,
            clips: BTreeMap::new(),
            state: State::Queued,
            read: 0,
            created_at_ms: None,
            slate: Slate::default(),
            heard_at: now,
        };
        for document in clips {
            let id = document.path.rsplit('/').next().and_then(|id| ClipId::parse(id).ok());
            if let (Some(id), Some(view)) = (id, documents::clip_view(&document.fields)) {
                taken.clips.insert(id, Clip { view, slate: Slate::stored(document.version) });
            }
        }
        if let Some(document) = batch {
            taken.slate = Slate::stored(document.version);
            taken.refusal = documents::refusal(&document.fields);
            taken.read = documents::percent(&document.fields);
            taken.created_at_ms = documents::created_at(&document.fields);
        }
        let view = taken.view();
        taken.state = view.state;
        // The facts that it lacks may be settled: an instance that had written the clips found the batch changed by another that did
        // not know of them, or ended in between. Nobody else would ever write it.
        if batch.is_some_and(|document| documents::is_behind(&document.fields, &view, &taken.write().fields)) {
            taken.slate.touch(true, now);
        }
        taken
    }

    /// Folds a fact in. Returns the clips whose documents wait to be written and cover it.
    pub(crate) fn fold(&mut self, context: &BatchContext, fact: &FleetFact, now: Instant) -> Vec<ClipId> {
        self.heard_at = now;
        let grown = context.size > self.context.size;
        self.context.size = self.context.size.max(context.size);
        let mut covering = Vec::new();
        let mut news = News { told: grown, state: grown };
        match fact {
            FleetFact::BatchQueued { at_ms, clips } => {
                let queued = ClipEvent { generation: 0, at_ms: *at_ms, attempt: None, fact: ClipFact::Queued };
                covering.extend(clips.iter().filter(|clip| self.fold_clip(clip, &queued, &mut news, now)).cloned());
            }
            FleetFact::BatchRefused { at_ms, failure } => {
                if self.refusal.is_none() && self.clips.is_empty() && self.slate.version.is_none() {
                    self.refusal = Some((failure.clone(), *at_ms));
                    news = News { told: true, state: true };
                }
            }
            FleetFact::Clip { id, event } => {
                covering.extend(self.fold_clip(id, event, &mut news, now).then(|| id.clone()));
            }
        }
        self.sum_up(news, now);
        covering
    }

    /// Folds into one clip. Says whether its document waits to be written.
    fn fold_clip(&mut self, id: &ClipId, event: &ClipEvent, news: &mut News, now: Instant) -> bool {
        let clip = self.clips.entry(id.clone()).or_default();
        let (state, generation, ends) = (clip.view.state, clip.view.generation, clip.view.tally.ends());
        let changed = clip.view.fold(event);
        if changed || clip.slate.version.is_none() {
            if clip.view.generation != generation {
                self.read = 0;
            }
            let new = clip.slate.version.is_none() || clip.view.generation != generation;
            // The next attempt counts the ends of those before it: it must not read them a second late.
            clip.slate.touch(new || clip.view.state != state || clip.view.tally.ends() != ends, now);
            news.told = true;
            news.state |= new || clip.view.state != state;
        }
        clip.slate.due.is_some()
    }

    /// What the batch comes to. It is looked for anew only where it can have changed: a thousand clips tell of their progress ten
    /// thousand times a second.
    fn sum_up(&mut self, news: News, now: Instant) {
        let before = self.state;
        if news.state {
            self.state = self.view().state;
        }
        // A document that does not exist yet is never late.
        let absent = self.slate.version.is_none();
        if news.told || absent {
            self.slate.touch(absent || self.state != before, now);
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
                BatchView { percent: view.percent.max(self.read), created_at_ms, ..view }
            }
        }
    }

    pub(crate) fn project(&self) -> &ProjectId {
        &self.context.project
    }

    pub(crate) fn clips(&self) -> usize {
        self.clips.len()
    }

    /// Whether all its documents say what is stored.
    pub(crate) fn is_clean(&self) -> bool {
        self.slate.due.is_none() && self.clips.values().all(|clip| clip.slate.due.is_none())
    }

    /// Whether nothing more will be told of it, and all of it is stored.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_terminal() && self.is_clean()
    }

    /// The slate of a clip's document, or of its own.
    pub(crate) fn slate(&mut self, clip: Option<&ClipId>) -> Option<&mut Slate> {
        match clip {
            None => Some(&mut self.slate),
            Some(clip) => self.clips.get_mut(clip).map(|clip| &mut clip.slate),
        }
    }

    /// Its document.
    pub(crate) fn write(&self) -> Write {
        let view = self.view();
        let refusal = self.refusal.as_ref().map(|(failure, _)| failure);
        Write {
            path: names::batch_document(&self.context.id),
            fields: documents::batch_fields(&self.context, &view, refusal),
            precondition: self.slate.precondition(),
        }
    }

    /// A clip's document.
    pub(crate) fn clip_write(&self, id: &ClipId) -> Option<Write> {
        let clip = self.clips.get(id)?;
        Some(Write {
            path: names::clip_document(&self.context.id, id),
            fields: documents::clip_fields(&self.context, id, &clip.view),
            precondition: clip.slate.precondition(),
        })
    }
}

/// What a fact changed.
struct News {
    /// Anything.
    told: bool,
    /// What the batch's own state may hang on.
    state: bool,
}
