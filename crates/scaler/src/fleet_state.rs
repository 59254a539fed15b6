//! The scaler's model of the fleet: unfinished clips, the work in each, and the workers that process them. It is built
//! from events and documents. No I/O; time comes in.
//!
//! All state can be rebuilt from documents; events only make it fresher. An event that was missed, or that a previous
//! scaler acknowledged before it ended, is made up for by reading the documents of batches that have been silent for a
//! while.

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

/// Silence after which an attempt counts as dead and its clip as waiting, milliseconds. Attempts report every three
/// seconds.
const HEARTBEAT_TIMEOUT_MS: i64 = 15_000;

/// Silence of a batch after which its documents are read, milliseconds. Batches that wait are silent, too, so a short
/// delay would read them for nothing.
const RELOAD_DELAY_MS: i64 = 60_000;

/// How long an ended batch is kept, milliseconds: duplicate and late events arrive within this time.
const RETENTION_AFTER_END_MS: i64 = 60_000;

/// How long no record is looked for after a batch was found to have none, milliseconds.
const UNKNOWN_BATCH_TTL_MS: i64 = 60_000;

/// Batches in memory. With a thousand clips each they would take a gigabyte; a typical batch has fifteen.
pub(crate) const MAX_BATCHES: usize = 2_000;

/// The state of every batch that is not known to have ended.
#[derive(Debug, Default)]
pub(crate) struct FleetState {
    batches: BTreeMap<BatchId, Batch>,
    /// Batches without a record, and until when their records are not looked for again.
    unknown: BTreeMap<BatchId, i64>,
    speed: Speed,
    paused: bool,
    served_seconds: f64,
}

#[derive(Debug)]
struct Batch {
    clips: BTreeMap<ClipId, Clip>,
    /// When the last event arrived, or when the documents were last read, whichever is later.
    refreshed_at_ms: i64,
}

#[derive(Debug)]
struct Clip {
    work: Work,
    view: ClipView,
    heartbeat_at_ms: i64,
}

impl Clip {
    /// The worker of the current attempt, unless the attempt is silent.
    fn worker(&self, now_ms: i64) -> Option<&WorkerId> {
        let at_work = self.view.state == State::Processing && !matches!(self.view.phase, Phase::Queued | Phase::Done);
        let alive = now_ms - self.heartbeat_at_ms < HEARTBEAT_TIMEOUT_MS;
        self.view.attempt.as_ref().filter(|_| at_work && alive).map(|attempt| &attempt.worker)
    }
}

impl FleetState {
    /// A fleet without batches.
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, ..Self::default() }
    }

    /// How long clips take.
    pub(crate) fn speed(&self) -> &Speed {
        &self.speed
    }

    /// Sets whether workers lease no new clips.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether an event of a batch needs no reading of documents first.
    pub(crate) fn knows(&self, batch: &BatchId, now_ms: i64) -> bool {
        self.batches.contains_key(batch) || self.unknown.get(batch).is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// Records that a batch has no record: this fleet's dispatcher did not accept it.
    pub(crate) fn ignore(&mut self, batch: &BatchId, now_ms: i64) {
        self.unknown.retain(|_, until_ms| now_ms < *until_ms);
        if self.unknown.len() < MAX_BATCHES {
            self.unknown.insert(batch.clone(), now_ms + UNKNOWN_BATCH_TTL_MS);
        }
    }

    /// Adds a batch, or updates a known one from its documents: its clips with their work, and their views.
    pub(crate) fn load_batch(
        &mut self,
        id: &BatchId,
        clips: Vec<(ClipId, Work)>,
        mut views: BTreeMap<ClipId, ClipView>,
        now_ms: i64,
    ) {
        let batch =
            self.batches.entry(id.clone()).or_insert_with(|| Batch { clips: BTreeMap::new(), refreshed_at_ms: 0 });
        batch.refreshed_at_ms = now_ms;
        for (id, work) in clips {
            let documented = views.remove(&id).unwrap_or_default();
            let clip =
                batch.clips.entry(id).or_insert_with(|| Clip { work, view: ClipView::default(), heartbeat_at_ms: 0 });
            if is_newer(&documented, &clip.view) {
                clip.view = documented;
                clip.heartbeat_at_ms = now_ms;
            }
        }
    }

    /// Folds an event in. Returns whether there may be more work than before.
    pub(crate) fn fold(&mut self, event: &Event, now_ms: i64) -> bool {
        let Some(batch) = self.batches.get_mut(&event.batch.id) else { return false };
        batch.refreshed_at_ms = now_ms;
        let EventKind::Clip { id, event } = &event.kind else { return true };
        let Some(clip) = batch.clips.get_mut(id) else { return false };
        let before = (clip.view.state, clip.view.generation);
        let changed = clip.view.fold(event);
        // The final event of a replaced attempt must not count as a heartbeat of its successor.
        if clip.view.attempt.as_ref().map(|current| &current.id) == event.attempt.as_ref().map(|attempt| &attempt.id) {
            clip.heartbeat_at_ms = now_ms;
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

    /// Returns the slot-seconds of the clips that completed since the last call.
    pub(crate) fn take_served(&mut self) -> f64 {
        std::mem::take(&mut self.served_seconds)
    }

    /// Whether no further batch is loaded. Skipped batches are read once there is room.
    pub(crate) fn is_full(&self) -> bool {
        self.batches.len() >= MAX_BATCHES
    }

    /// The work that is left, and who does it.
    pub(crate) fn current_load(&self, now_ms: i64) -> Load {
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

    /// The workers that process a clip.
    pub(crate) fn busy_workers(&self, now_ms: i64) -> BTreeSet<WorkerId> {
        let clips = self.batches.values().flat_map(|batch| batch.clips.values());
        let open = clips.filter(|clip| !clip.view.state.is_terminal());
        open.filter_map(|clip| clip.worker(now_ms).cloned()).collect()
    }

    /// Removes batches that ended a while ago.
    pub(crate) fn prune(&mut self, now_ms: i64) {
        self.batches.retain(|_, batch| now_ms - batch.refreshed_at_ms < RETENTION_AFTER_END_MS || !batch.has_ended());
    }

    /// The batches whose documents have to be read because they have been silent, longest silence first, at most
    /// `limit`.
    pub(crate) fn stale(&self, now_ms: i64, limit: usize) -> Vec<BatchId> {
        let open = self.batches.iter().filter(|(_, batch)| !batch.has_ended());
        let mut stale: Vec<_> = open.filter(|(_, batch)| now_ms - batch.refreshed_at_ms >= RELOAD_DELAY_MS).collect();
        stale.sort_by_key(|(_, batch)| batch.refreshed_at_ms);
        stale.into_iter().take(limit).map(|(id, _)| id.clone()).collect()
    }

    /// Removes a batch whose record was deleted.
    pub(crate) fn forget(&mut self, batch: &BatchId) {
        self.batches.remove(batch);
    }

    /// Batches in memory.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }
}

impl Batch {
    fn has_ended(&self) -> bool {
        self.clips.values().all(|clip| clip.view.state.is_terminal())
    }
}

/// Whether a document's view is newer than the known one. Events may be ahead of documents, and documents ahead of
/// missed events.
fn is_newer(documented: &ClipView, known: &ClipView) -> bool {
    let order = |view: &ClipView| view.attempt.as_ref().map(|attempt| (attempt.number, attempt.started_at_ms));
    match documented.generation.cmp(&known.generation) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal if known.state.is_terminal() => false,
        std::cmp::Ordering::Equal => {
            let ended = documented.attempt.as_ref().map(|attempt| &attempt.id)
                == known.attempt.as_ref().map(|attempt| &attempt.id)
                && documented.phase == Phase::Queued
                && known.phase != Phase::Queued;
            documented.state.is_terminal() || order(documented) > order(known) || ended
        }
    }
}

#[cfg(test)]
mod tests;
