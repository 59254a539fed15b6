//! What the scaler knows of the fleet: clips that are not over, how much work each is, and who works at them. Folded from events, or
//! read from documents; no I/O, time comes in.
//!
//! It keeps nothing that documents do not have: an event's only merit is that it is earlier. What was missed, or was acknowledged by a scaler
//! that ended, is read again when its batch has been silent for a while.

use crate::{
    decide::Load,
    work::{Speed, Work},
};
use clipfleet_domain::{
    ids::{BatchId, ClipId, WorkerId},
    job::{Event, EventKind},
    lifecycle::{ClipEventKind, ClipView},
    progress::Phase,
    state::State,
};
use std::collections::{BTreeMap, BTreeSet};

/// Silence after which an attempt is taken for dead, milliseconds: attempts report every three seconds. Its clip then waits again.
const SILENT_MS: i64 = 15_000;

/// Silence of a batch after which its documents are read, milliseconds. Waiting batches are silent, so it is not short.
const READ_AGAIN_MS: i64 = 60_000;

/// How long a batch that is over is kept, milliseconds: events that come twice, or late, come within it.
const AFTER_THE_END_MS: i64 = 60_000;

/// How long a batch without a record is left alone, milliseconds.
const STRANGE_MS: i64 = 60_000;

/// Batches that are kept. With a thousand clips each they would take a gigabyte; a usual one has fifteen.
pub(crate) const MAX_BATCHES: usize = 2_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Board {
    batches: BTreeMap<BatchId, Batch>,
    /// Batches that have no record, until when they are not looked for again.
    strangers: BTreeMap<BatchId, i64>,
    speed: Speed,
    paused: bool,
    served_seconds: f64,
}

#[derive(Debug)]
struct Batch {
    clips: BTreeMap<ClipId, Clip>,
    /// The later of an event and a reading.
    heard_at_ms: i64,
}

#[derive(Debug)]
struct Clip {
    work: Work,
    view: ClipView,
    heard_at_ms: i64,
}

impl Clip {
    /// The worker of its attempt, while that is heard of.
    fn worker(&self, now_ms: i64) -> Option<&WorkerId> {
        let at_work = self.view.state == State::Processing && !matches!(self.view.phase, Phase::Queued | Phase::Done);
        let heard = now_ms - self.heard_at_ms < SILENT_MS;
        self.view.attempt.as_ref().filter(|_| at_work && heard).map(|attempt| &attempt.worker)
    }
}

impl Board {
    /// Knows nothing but how long clips take.
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, ..Self::default() }
    }

    /// How long clips take.
    pub(crate) fn speed(&self) -> &Speed {
        &self.speed
    }

    /// Notes whether workers take new clips.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether an event about a batch can be folded, or is not worth a reading.
    pub(crate) fn knows(&self, batch: &BatchId, now_ms: i64) -> bool {
        self.batches.contains_key(batch) || self.strangers.get(batch).is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// Notes that a batch has no record: none of our dispatcher's.
    pub(crate) fn ignore(&mut self, batch: &BatchId, now_ms: i64) {
        self.strangers.retain(|_, until_ms| now_ms < *until_ms);
        if self.strangers.len() < MAX_BATCHES {
            self.strangers.insert(batch.clone(), now_ms + STRANGE_MS);
        }
    }

    /// Takes up a batch, or what its documents say of one that was taken up before: its clips with their work, and their views.
    pub(crate) fn take_up(
        &mut self,
        id: &BatchId,
        clips: Vec<(ClipId, Work)>,
        mut views: BTreeMap<ClipId, ClipView>,
        now_ms: i64,
    ) {
        let batch = self.batches.entry(id.clone()).or_insert_with(|| Batch { clips: BTreeMap::new(), heard_at_ms: 0 });
        batch.heard_at_ms = now_ms;
        for (id, work) in clips {
            let shown = views.remove(&id).unwrap_or_default();
            let clip =
                batch.clips.entry(id).or_insert_with(|| Clip { work, view: ClipView::default(), heard_at_ms: 0 });
            if is_later(&shown, &clip.view) {
                clip.view = shown;
                clip.heard_at_ms = now_ms;
            }
        }
    }

    /// Folds an event in. Says whether there may be more to do than before.
    pub(crate) fn fold(&mut self, event: &Event, now_ms: i64) -> bool {
        let Some(batch) = self.batches.get_mut(&event.batch.id) else { return false };
        batch.heard_at_ms = now_ms;
        let EventKind::Clip { id, event } = &event.kind else { return true };
        let Some(clip) = batch.clips.get_mut(id) else { return false };
        let before = (clip.view.state, clip.view.generation);
        let changed = clip.view.fold(event);
        // The last word of an attempt that was replaced is no sign of life of the one that replaced it.
        if clip.view.attempt.as_ref().map(|shown| &shown.id) == event.attempt.as_ref().map(|attempt| &attempt.id) {
            clip.heard_at_ms = now_ms;
        }
        if let (ClipEventKind::Completed { output, .. }, true) = (&event.kind, before.0 != clip.view.state) {
            let started_at_ms = event.attempt.as_ref().map_or(event.at_ms, |attempt| attempt.started_at_ms);
            let slot_ms = if output.usage.slot_ms > 0 { output.usage.slot_ms } else { event.at_ms - started_at_ms };
            let seconds = slot_ms.max(0) as f64 / 1_000.0;
            self.served_seconds += seconds;
            if !output.reused {
                self.speed.learn(&clip.work, seconds);
            }
        }
        changed && clip.view.generation != before.1
    }

    /// Slot-seconds of clips that completed since this was last asked.
    pub(crate) fn take_served(&mut self) -> f64 {
        std::mem::take(&mut self.served_seconds)
    }

    /// Whether no more batches are taken up. Those left out are read when there is room again.
    pub(crate) fn is_full(&self) -> bool {
        self.batches.len() >= MAX_BATCHES
    }

    /// What there is to do, and who does it.
    pub(crate) fn load(&self, now_ms: i64) -> Load {
        let mut load = Load { paused: self.paused, ..Load::default() };
        let mut busy = BTreeSet::new();
        for clip in self.batches.values().flat_map(|batch| batch.clips.values()) {
            if clip.view.state.is_terminal() {
                continue;
            }
            let seconds = self.speed.seconds(&clip.work);
            match clip.worker(now_ms) {
                None => {
                    load.waiting += 1;
                    load.outstanding_seconds += seconds;
                }
                Some(worker) => {
                    load.at_work += 1;
                    load.outstanding_seconds += seconds * f64::from(100 - clip.view.percent.min(100)) / 100.0;
                    let started_at_ms = clip.view.attempt.as_ref().map_or(now_ms, |attempt| attempt.started_at_ms);
                    load.at_risk_seconds += (now_ms - started_at_ms).max(0) as f64 / 1_000.0;
                    busy.insert(worker);
                }
            }
        }
        load.busy_workers = u32::try_from(busy.len()).unwrap_or(u32::MAX);
        load
    }

    /// The workers with a clip at work.
    pub(crate) fn busy(&self, now_ms: i64) -> BTreeSet<WorkerId> {
        let clips = self.batches.values().flat_map(|batch| batch.clips.values());
        let open = clips.filter(|clip| !clip.view.state.is_terminal());
        open.filter_map(|clip| clip.worker(now_ms).cloned()).collect()
    }

    /// Forgets what is over, and says which of the others have been silent for so long that their documents are to be read: the most silent
    /// ones, at most `at_most`.
    pub(crate) fn look(&mut self, now_ms: i64, at_most: usize) -> Vec<BatchId> {
        let over = |batch: &Batch| batch.clips.values().all(|clip| clip.view.state.is_terminal());
        self.batches.retain(|_, batch| now_ms - batch.heard_at_ms < AFTER_THE_END_MS || !over(batch));
        let open = self.batches.iter().filter(|(_, batch)| !over(batch));
        let mut silent: Vec<_> = open.filter(|(_, batch)| now_ms - batch.heard_at_ms >= READ_AGAIN_MS).collect();
        silent.sort_by_key(|(_, batch)| batch.heard_at_ms);
        silent.into_iter().take(at_most).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets a batch whose record is gone.
    pub(crate) fn forget(&mut self, batch: &BatchId) {
        self.batches.remove(batch);
    }

    /// Batches known.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }
}

/// Whether what a document shows is further than what is known: events may be ahead of documents, and documents of missed events.
fn is_later(shown: &ClipView, known: &ClipView) -> bool {
    let order = |view: &ClipView| view.attempt.as_ref().map(|attempt| (attempt.number, attempt.started_at_ms));
    match shown.generation.cmp(&known.generation) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal if known.state.is_terminal() => false,
        std::cmp::Ordering::Equal => {
            let ended = shown.attempt.as_ref().map(|attempt| &attempt.id)
                == known.attempt.as_ref().map(|attempt| &attempt.id)
                && shown.phase == Phase::Queued
                && known.phase != Phase::Queued;
            shown.state.is_terminal() || order(shown) > order(known) || ended
        }
    }
}

#[cfg(test)]
mod tests;
