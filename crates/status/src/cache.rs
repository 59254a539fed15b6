//! The batches in memory: folded views, the documents that must be written, and when each may be written next. No I/O;
//! time is an argument.

use crate::{
    batch::Batch,
    write_state::{Deadline, Priority, WriteState},
};
use clipfleet_cloud::{Document, Version, Write};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::Failure,
    ids::{BatchId, ClipId, ProjectId},
    job::{BatchContext, Event},
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// The maximum number of batches in memory. The least recently used one without unwritten changes is evicted, and
/// loaded again when needed.
const MAX_BATCHES: usize = 2_000;

/// The maximum number of their clips, which take about 6 kB of memory each. Clips with unwritten changes stay even
/// beyond it; the number of unsettled events bounds them.
const MAX_CLIPS: usize = 20_000;

/// How long a batch that has ended stays in memory: repeated and late events arrive within this time. So the memory is
/// mainly that of active batches.
const RETENTION_AFTER_END: Duration = Duration::from_secs(60);

/// Identifies a document. Clips compare less than batches, so they are written first: a client that reads a batch and
/// then its clips finds at least what the batch counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Clip(BatchId, ClipId),
    Batch(BatchId),
}

impl Key {
    /// Whether this is the document of the batch that the other document belongs to.
    pub(crate) fn is_batch_of(&self, other: &Self) -> bool {
        matches!(self, Key::Batch(batch) if batch == other.batch())
    }

    /// Path of the document.
    pub(crate) fn path(&self) -> String {
        match self {
            Key::Batch(batch) => names::batch_document(batch),
            Key::Clip(batch, clip) => names::clip_document(batch, clip),
        }
    }

    pub(crate) fn batch(&self) -> &BatchId {
        match self {
            Key::Batch(batch) | Key::Clip(batch, _) => batch,
        }
    }

    fn clip(&self) -> Option<&ClipId> {
        match self {
            Key::Batch(_) => None,
            Key::Clip(_, clip) => Some(clip),
        }
    }
}

/// The batches in memory.
#[derive(Debug, Default)]
pub(crate) struct BatchCache {
    batches: HashMap<BatchId, Batch>,
    /// The documents that must be written, by priority and time. So finding what is due visits no other documents.
    write_queue: BTreeSet<(Deadline, Key)>,
}

impl BatchCache {
    /// Whether a batch is in memory.
    pub(crate) fn contains(&self, batch: &BatchId) -> bool {
        self.batches.contains_key(batch)
    }

    /// The project of a batch in memory.
    pub(crate) fn project(&self, batch: &BatchId) -> Option<&ProjectId> {
        self.batches.get(batch).map(Batch::project)
    }

    /// Loads a batch from its documents, or creates a new one. The clips' documents must be read after the batch's.
    pub(crate) fn load(&mut self, context: &BatchContext, batch: Option<&Document>, clips: &[Document], now: Instant) {
        self.evict(now);
        self.batches.insert(context.id.clone(), Batch::load(context, batch, clips, now));
        self.schedule(&Key::Batch(context.id.clone()));
    }

    fn evict(&mut self, now: Instant) {
        self.batches
            .retain(|_, batch| now.duration_since(batch.last_event_at) < RETENTION_AFTER_END || !batch.has_ended());
        let clips = |batches: &HashMap<BatchId, Batch>| batches.values().map(Batch::clips).sum::<usize>();
        while self.batches.len() >= MAX_BATCHES || clips(&self.batches) >= MAX_CLIPS {
            let clean = self.batches.iter().filter(|(_, batch)| batch.is_clean());
            let Some(oldest) = clean.min_by_key(|(_, batch)| batch.last_event_at).map(|(id, _)| id.clone()) else {
                return;
            };
            self.batches.remove(&oldest);
        }
    }

    /// Removes a batch with its unwritten changes, because another instance changed its documents.
    pub(crate) fn remove(&mut self, batch: &BatchId) {
        self.batches.remove(batch);
        self.write_queue.retain(|(_, key)| key.batch() != batch);
    }

    /// Folds an event into a batch in memory. Returns the documents that must be written before the event may be acked.
    pub(crate) fn fold(&mut self, event: &Event, now: Instant) -> Vec<Key> {
        let id = &event.batch.id;
        let Some(batch) = self.batches.get_mut(id) else { return Vec::new() };
        let clips = batch.fold(&event.batch, &event.kind, now);
        let keys = clips.into_iter().map(|clip| Key::Clip(id.clone(), clip)).chain([Key::Batch(id.clone())]);
        keys.filter(|key| self.schedule(key)).collect()
    }

    /// Updates a document's position in the write queue. Returns whether it must be written.
    fn schedule(&mut self, key: &Key) -> bool {
        let Some(write_state) = self.write_state(key) else { return false };
        let priority = match key {
            _ if !write_state.urgent => Priority::Progress,
            Key::Clip(..) => Priority::Clip,
            Key::Batch(_) => Priority::Batch,
        };
        let deadline = write_state.due.map(|due| (priority, due));
        let before = std::mem::replace(&mut write_state.scheduled, deadline);
        if before != deadline {
            if let Some(before) = before {
                self.write_queue.remove(&(before, key.clone()));
            }
            self.write_queue.extend(deadline.map(|deadline| (deadline, key.clone())));
        }
        deadline.is_some()
    }

    fn write_state(&mut self, key: &Key) -> Option<&mut WriteState> {
        self.batches.get_mut(key.batch())?.write_state(key.clip())
    }

    /// The documents to write now: at most `limit`, by priority, and clips before batches.
    pub(crate) fn due(&self, now: Instant, limit: usize) -> Vec<(Key, Write)> {
        // Urgent documents come first and are always due. Behind them the queue is ordered by time.
        let due = self.write_queue.iter().take_while(|((_, due), _)| *due <= now).map(|(_, key)| key);
        let mut due: Vec<&Key> = due.take(limit).collect();
        due.sort_unstable();
        due.into_iter().filter_map(|key| Some((key.clone(), self.write(key)?))).collect()
    }

    /// When the next document becomes due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.write_queue.first().map(|((_, due), _)| *due)
    }

    fn write(&self, key: &Key) -> Option<Write> {
        let batch = self.batches.get(key.batch())?;
        match key.clip() {
            None => Some(batch.write()),
            Some(clip) => batch.clip_write(clip),
        }
    }

    /// The reduced form of a document that the store refused. `None` if the document cannot be reduced.
    pub(crate) fn reduced(&self, key: &Key, refused: &Failure) -> Option<Write> {
        self.batches.get(key.batch())?.reduced_write(key.clip(), refused)
    }

    /// Records that a document was written as [`reduced`](Self::reduced). It stays reduced from now on.
    pub(crate) fn reduce(&mut self, key: &Key, refused: &Failure, now: Instant) {
        if let Some(batch) = self.batches.get_mut(key.batch()) {
            batch.reduce(key.clip(), refused, now);
        }
        self.schedule(&Key::Batch(key.batch().clone()));
    }

    /// The document of a clip's batch with the end of the clip, whose own document is given up.
    pub(crate) fn batch_with_end_of(&self, key: &Key, refused: &Failure) -> Option<Write> {
        let mut batch = self.batches.get(key.batch())?.clone();
        batch.give_up(key.clip()?, refused);
        Some(batch.write())
    }

    /// Records that a document cannot be written.
    pub(crate) fn give_up(&mut self, key: &Key, refused: &Failure) {
        if let (Some(batch), Some(clip)) = (self.batches.get_mut(key.batch()), key.clip()) {
            batch.give_up(clip, refused);
        }
        if let Some(write_state) = self.write_state(key) {
            write_state.give_up();
        }
        self.schedule(key);
        self.schedule(&Key::Batch(key.batch().clone()));
    }

    /// Postpones the next write of a document.
    pub(crate) fn postpone(&mut self, key: &Key, until: Instant) {
        if let Some(write_state) = self.write_state(key) {
            write_state.postpone(until);
        }
        self.schedule(key);
    }

    /// Records that a document was written as returned by [`due`](Self::due). Nothing was folded in between, because
    /// one task does both.
    pub(crate) fn written(&mut self, key: &Key, version: Version, now: Instant) {
        if let Some(write_state) = self.write_state(key) {
            write_state.written(version, now);
        }
        self.schedule(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_state::WRITE_INTERVAL;
    use clipfleet_cloud::{Precondition, Value};
    use clipfleet_domain::{
        attempt::Attempt,
        failure::Code,
        ids::{AttemptId, OwnerUid, WorkerId},
        job::EventKind,
        lifecycle::{ClipEvent, ClipEventKind, Encoding},
        progress::Phase,
    };

    fn context() -> BatchContext {
        BatchContext {
            id: BatchId::parse("b1").unwrap(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: ProjectId::parse("p1").unwrap(),
            size: 2,
        }
    }

    fn clip_event(kind: ClipEventKind, sequence: u64) -> Event {
        let attempt = Attempt {
            id: AttemptId::parse("a1").unwrap(),
            number: 1,
            started_at_ms: 10,
            worker: WorkerId::parse("w1").unwrap(),
            sequence,
        };
        let event = ClipEvent { generation: 0, at_ms: 10, attempt: Some(attempt), kind };
        Event { batch: context(), kind: EventKind::Clip { id: ClipId::parse("c1").unwrap(), event } }
    }

    fn progressed(percent: u8) -> Event {
        let kind = ClipEventKind::Progressed {
            phase: Phase::Encoding,
            percent,
            eta_seconds: None,
            encoding: Encoding::default(),
        };
        clip_event(kind, u64::from(percent))
    }

    fn write_all(cache: &mut BatchCache, now: Instant) -> Vec<Write> {
        let due = cache.due(now, 100);
        for (n, (key, _)) in due.iter().enumerate() {
            cache.written(key, Version { seconds: 1, nanos: n as i32 }, now);
        }
        due.into_iter().map(|(_, write)| write).collect()
    }

    fn stored(write: &Write) -> Document {
        let version = Version { seconds: 7, nanos: 0 };
        Document { path: write.path.clone(), fields: write.fields.clone(), version }
    }

    #[tokio::test]
    async fn progress_is_written_once_a_second_and_a_status_immediately() {
        let mut cache = BatchCache::default();
        let start = Instant::now();
        cache.load(&context(), None, &[], start);
        let queued =
            EventKind::BatchQueued { at_ms: 1, clips: ["c1", "c2"].map(|id| ClipId::parse(id).unwrap()).into() };
        assert_eq!(cache.fold(&Event { batch: context(), kind: queued }, start).len(), 3);
        assert_eq!(write_all(&mut cache, start).len(), 3);

        cache.fold(&clip_event(ClipEventKind::Started, 1), start);
        assert_eq!(write_all(&mut cache, start).len(), 2, "a change of status is written immediately");

        cache.fold(&progressed(20), start);
        assert!(write_all(&mut cache, start).is_empty(), "progress waits");
        assert_eq!(cache.next_due(), Some(start + WRITE_INTERVAL));
        let writes = write_all(&mut cache, start + WRITE_INTERVAL);
        assert_eq!(writes[0].fields["progress"], Value::Integer(20));
        assert_eq!(writes[1].fields["progress"], Value::Integer(10));
        assert!(matches!(writes[0].precondition, Precondition::Unchanged(_)));
    }

    #[tokio::test]
    async fn the_end_of_an_attempt_is_written_immediately() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        cache.fold(&clip_event(ClipEventKind::Started, 1), now);
        write_all(&mut cache, now);
        cache.fold(&clip_event(ClipEventKind::Crashed(Failure::new(Code::PipelineCrashed, "signal 11")), 2), now);
        let writes = write_all(&mut cache, now);
        assert_eq!(writes[0].fields["crashes"], Value::Integer(1));
        assert_eq!(writes[0].fields["failureCodes"], Value::Array(vec![Value::String("pipeline_crashed".into())]));
    }

    #[tokio::test]
    async fn a_batch_that_lacks_an_end_of_a_clip_is_written_again_and_its_percent_never_falls() {
        let now = Instant::now();
        let mut cache = BatchCache::default();
        cache.load(&context(), None, &[], now);
        cache.fold(&progressed(40), now);
        let before = write_all(&mut cache, now);
        cache.fold(&clip_event(ClipEventKind::Failed(Failure::new(Code::SourceGone, "gone")), 50), now);
        let clip = stored(&write_all(&mut cache, now)[0]);

        // In another instance, or after a restart: the clip's end was written and acked, but the batch does not count
        // it.
        let mut batch = stored(&before[1]);
        batch.fields.insert("progress".into(), Value::Integer(60));
        let mut cache = BatchCache::default();
        cache.load(&context(), Some(&batch), std::slice::from_ref(&clip), now);
        let writes = write_all(&mut cache, now);
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].fields["failedClips"], Value::Integer(1));
        assert_eq!(writes[0].fields["progress"], Value::Integer(60), "clients have read it");
        let mut cache = BatchCache::default();
        cache.load(&context(), Some(&stored(&writes[0])), &[clip], now);
        assert!(write_all(&mut cache, now).is_empty(), "it lacks nothing anymore");
    }

    #[tokio::test]
    async fn the_creation_time_of_a_batch_never_increases() {
        let now = Instant::now();
        let mut cache = BatchCache::default();
        cache.load(&context(), None, &[], now);
        cache.fold(&clip_event(ClipEventKind::Started, 1), now);
        // Another instance received the clip's creation, and has written the batch but not yet the clip.
        let [clip, mut batch] = write_all(&mut cache, now).try_into().expect("a clip and its batch");
        batch.fields.insert("createdAt".into(), Value::instant(3));

        let mut cache = BatchCache::default();
        cache.load(&context(), Some(&stored(&batch)), &[stored(&clip)], now);
        cache.fold(&progressed(40), now);
        for write in cache.due(now + WRITE_INTERVAL, 100).into_iter().map(|(_, write)| write) {
            let created = write.fields["createdAt"].as_instant();
            assert_eq!(created, Some(if write.path == batch.path { 3 } else { 10 }), "{}", write.path);
        }
    }

    #[tokio::test]
    async fn a_dead_letter_shows_in_its_batch() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        cache.fold(&clip_event(ClipEventKind::Failed(Failure::dead_lettered("100")), 1), now);
        let writes = write_all(&mut cache, now);
        let batch = writes.iter().find(|write| write.path == "exportBatches/b1").unwrap();
        assert_eq!(batch.fields["hasDeadLetters"], Value::Bool(true));
        assert_eq!(batch.fields["deadLetteredClips"], Value::Integer(1));
    }

    #[tokio::test]
    async fn an_event_that_changes_nothing_is_acked_immediately() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        cache.fold(&progressed(20), now);
        write_all(&mut cache, now);
        assert!(cache.fold(&progressed(20), now).is_empty());
    }

    #[tokio::test]
    async fn written_batches_are_evicted_for_new_ones() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        let of = |number: usize| BatchContext { id: BatchId::parse(&format!("b{number}")).unwrap(), ..context() };
        let clips: Vec<ClipId> = (0..1_000).map(|number| ClipId::parse(&format!("c{number}")).unwrap()).collect();
        let batches = MAX_CLIPS / clips.len() + 5;
        for number in 0..batches {
            let context = of(number);
            cache.load(&context, None, &[], now + Duration::from_millis(number as u64));
            let kind = EventKind::BatchQueued { at_ms: 1, clips: clips.clone() };
            for key in cache.fold(&Event { batch: context, kind }, now + Duration::from_millis(number as u64)) {
                cache.written(&key, Version { seconds: 1, nanos: 0 }, now);
            }
        }
        assert_eq!(cache.batches.values().map(Batch::clips).sum::<usize>(), MAX_CLIPS);
        assert!(!cache.contains(&of(0).id) && cache.contains(&of(batches - 1).id));
    }

    #[tokio::test]
    async fn an_end_is_written_before_the_progress_of_others_and_before_the_batch_that_counts_it() {
        let mut cache = BatchCache::default();
        let start = Instant::now();
        let of = |id: &str| BatchContext { id: BatchId::parse(id).unwrap(), ..context() };
        for id in ["a", "b"] {
            cache.load(&of(id), None, &[], start);
            cache.fold(&Event { batch: of(id), ..progressed(20) }, start);
        }
        write_all(&mut cache, start);
        let now = start + WRITE_INTERVAL;
        cache.fold(&Event { batch: of("a"), ..progressed(30) }, start);
        cache.fold(&Event { batch: of("b"), ..clip_event(ClipEventKind::Cancelled, 90) }, now);
        let first: Vec<String> = cache.due(now, 1).into_iter().map(|(_, write)| write.path).collect();
        assert_eq!(first, ["exportBatches/b/clips/c1"]);
        assert_eq!(cache.due(now, 9).len(), 4);
    }

    #[tokio::test]
    async fn ended_batches_are_removed_after_a_while_and_active_ones_are_not() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        let of = |id: &str| BatchContext { id: BatchId::parse(id).unwrap(), size: 1, ..context() };
        for id in ["done", "active"] {
            cache.load(&of(id), None, &[], now);
            cache.fold(&Event { batch: of(id), ..progressed(20) }, now);
        }
        let end = clip_event(ClipEventKind::Cancelled, 90);
        cache.fold(&Event { batch: of("done"), ..end }, now);
        let later = now + RETENTION_AFTER_END;
        cache.load(&of("new"), None, &[], later);
        assert!(cache.contains(&of("done").id), "its end is not written yet");
        write_all(&mut cache, later);
        cache.load(&of("newer"), None, &[], later + RETENTION_AFTER_END);
        assert!(!cache.contains(&of("done").id) && cache.contains(&of("active").id));
        assert!(write_all(&mut cache, later + RETENTION_AFTER_END).is_empty(), "none of its documents is due");
    }

    #[tokio::test]
    async fn a_refused_batch_becomes_a_failed_document() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        let kind = EventKind::BatchRefused { at_ms: 5, failure: Failure::new(Code::InvalidRequest, "no") };
        cache.fold(&Event { batch: context(), kind }, now);
        let writes = write_all(&mut cache, now);
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].fields["status"], Value::String("failed".into()));
        let Value::Map(error) = &writes[0].fields["error"] else { panic!("{writes:?}") };
        assert_eq!(error["code"], Value::String("invalid_request".into()));
    }

    #[tokio::test]
    async fn a_conflict_is_shown_by_the_document_of_the_accepted_batch() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        let conflict = |at_ms, reason: &str| {
            let failure = Failure::new(Code::BatchIdConflict, reason);
            Event { batch: context(), kind: EventKind::BatchRefused { at_ms, failure } }
        };
        // The first event of the batch itself may come later.
        cache.fold(&conflict(5, "first"), now);
        let document = stored(&write_all(&mut cache, now)[0]);
        assert_eq!((document.field("status"), document.field("error")), (&Value::text("queued"), &Value::Null));
        assert_eq!(document.field("conflict").field("reason"), &Value::text("first"));
        assert_eq!(document.field("conflict").field("at"), &Value::instant(5));
        cache.fold(&conflict(9, "second"), now);
        cache.fold(&conflict(7, "late"), now);

        let later = now + Duration::from_secs(2);
        let document = stored(&write_all(&mut cache, later)[0]);
        assert_eq!(document.field("conflict").field("reason"), &Value::text("second"), "the latest");
        let mut restarted = BatchCache::default();
        restarted.load(&context(), Some(&document), &[], later);
        assert!(write_all(&mut restarted, later).is_empty(), "a restart knows it");
    }
}
