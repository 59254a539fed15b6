//! What the service knows of the batches it has heard of lately: folded views, which of them are not yet written, and when
//! each may be written next. No I/O; time comes in.

use crate::{
    batch::Batch,
    write_state::{Deadline, Priority, WriteState},
};
use clipfleet_cloud::{Document, Version, Write};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId, ProjectId},
    job::{BatchContext, Event},
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// Batches kept in memory. One that is clean and was not heard of for longest makes room; it is read again when needed.
const MAX_BATCHES: usize = 2_000;

/// Clips of them, which is what takes the memory: about 6 kB each. What is not yet written stays even beyond; its leases bound it.
const MAX_CLIPS_KEPT: usize = 20_000;

/// How long a batch that is over is kept: events that were told twice, or late, come within it. So memory is that of what is at work.
const RETENTION_AFTER_END: Duration = Duration::from_secs(60);

/// A document that is due, as a write, with the key to confirm it by. Clips come first: what a batch counts is never written before it,
/// so that who reads the batch and then its clips knows at least as much as the batch says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Clip(BatchId, ClipId),
    Batch(BatchId),
}

impl Key {
    /// Whether it is the document of the batch that the other belongs to.
    pub(crate) fn is_batch_of(&self, other: &Self) -> bool {
        matches!(self, Key::Batch(batch) if batch == other.batch())
    }

    /// Where the document lies.
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

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BatchCache {
    batches: HashMap<BatchId, Batch>,
    /// Documents that differ from what is stored, by whose turn it is and when: a look at what is due visits nothing else.
    write_queue: BTreeSet<(Deadline, Key)>,
}

impl BatchCache {
    pub(crate) fn knows(&self, batch: &BatchId) -> bool {
        self.batches.contains_key(batch)
    }

    /// The project of a batch that is known.
    pub(crate) fn project(&self, batch: &BatchId) -> Option<&ProjectId> {
        self.batches.get(batch).map(Batch::project)
    }

    /// Takes up a batch as its documents say, or as new. The clips' were read after the batch's.
    pub(crate) fn load(&mut self, context: &BatchContext, batch: Option<&Document>, clips: &[Document], now: Instant) {
        self.make_room(now);
        self.batches.insert(context.id.clone(), Batch::load(context, batch, clips, now));
        self.schedule(&Key::Batch(context.id.clone()));
    }

    fn make_room(&mut self, now: Instant) {
        self.batches
            .retain(|_, batch| now.duration_since(batch.last_event_at) < RETENTION_AFTER_END || !batch.is_over());
        let clips = |batches: &HashMap<BatchId, Batch>| batches.values().map(Batch::clips).sum::<usize>();
        while self.batches.len() >= MAX_BATCHES || clips(&self.batches) >= MAX_CLIPS_KEPT {
            let clean = self.batches.iter().filter(|(_, batch)| batch.is_clean());
            let Some(oldest) = clean.min_by_key(|(_, batch)| batch.last_event_at).map(|(id, _)| id.clone()) else {
                return;
            };
            self.batches.remove(&oldest);
        }
    }

    /// Forgets a batch, unwritten changes included: its documents were changed by someone else.
    pub(crate) fn forget(&mut self, batch: &BatchId) {
        self.batches.remove(batch);
        self.write_queue.retain(|(_, key)| key.batch() != batch);
    }

    /// Folds an event into a batch that was taken up. Returns the documents that now wait to be written and cover the event.
    pub(crate) fn fold(&mut self, event: &Event, now: Instant) -> Vec<Key> {
        let id = &event.batch.id;
        let Some(batch) = self.batches.get_mut(id) else { return Vec::new() };
        let clips = batch.fold(&event.batch, &event.kind, now);
        let keys = clips.into_iter().map(|clip| Key::Clip(id.clone(), clip)).chain([Key::Batch(id.clone())]);
        keys.filter(|key| self.schedule(key)).collect()
    }

    /// Puts a document where its slate says it is due. Says whether it is to be written.
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

    /// The documents that may be written now, those first whose turn it is. Clips stand before batches.
    pub(crate) fn due(&self, now: Instant, at_most: usize) -> Vec<(Key, Write)> {
        // What is urgent is due since it was touched, so the agenda's order is that of time from there on.
        let due = self.write_queue.iter().take_while(|((_, due), _)| *due <= now).map(|(_, key)| key);
        let mut due: Vec<&Key> = due.take(at_most).collect();
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

    /// The least that a document could say instead of what the store refused. Nothing for one that says no more than
    /// that anyway.
    pub(crate) fn reduced(&self, key: &Key, refused: &Failure) -> Option<Write> {
        self.batches.get(key.batch())?.reduced_write(key.clip(), refused)
    }

    /// Notes that a document was written as [`reduced`](Self::reduced): it says no more than that from now on.
    pub(crate) fn reduce(&mut self, key: &Key, refused: &Failure, now: Instant) {
        if let Some(batch) = self.batches.get_mut(key.batch()) {
            batch.reduce(key.clip(), refused, now);
        }
        self.schedule(&Key::Batch(key.batch().clone()));
    }

    /// The document of a clip's batch as it would be once the clip's own was given up.
    pub(crate) fn batch_without(&self, key: &Key, refused: &Failure) -> Option<Write> {
        let mut batch = self.batches.get(key.batch())?.clone();
        batch.give_up(key.clip()?, refused);
        Some(batch.write())
    }

    /// Notes that a document cannot be written at all.
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

    /// Notes that a document is not to be written before then.
    pub(crate) fn postpone(&mut self, key: &Key, until: Instant) {
        if let Some(write_state) = self.write_state(key) {
            write_state.postpone(until);
        }
        self.schedule(key);
    }

    /// Notes that a document was written as it stood in [`due`](Self::due). Nothing was folded in between: one task does both.
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
        failure::Failure,
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
    async fn progress_waits_for_the_second_and_a_status_does_not() {
        let mut cache = BatchCache::default();
        let start = Instant::now();
        cache.load(&context(), None, &[], start);
        let queued =
            EventKind::BatchQueued { at_ms: 1, clips: ["c1", "c2"].map(|id| ClipId::parse(id).unwrap()).into() };
        assert_eq!(cache.fold(&Event { batch: context(), kind: queued }, start).len(), 3);
        assert_eq!(write_all(&mut cache, start).len(), 3);

        cache.fold(&clip_event(ClipEventKind::Started, 1), start);
        assert_eq!(write_all(&mut cache, start).len(), 2, "a change of status goes out at once");

        cache.fold(&progressed(20), start);
        assert!(write_all(&mut cache, start).is_empty(), "progress waits");
        assert_eq!(cache.next_due(), Some(start + WRITE_INTERVAL));
        let writes = write_all(&mut cache, start + WRITE_INTERVAL);
        assert_eq!(writes[0].fields["progress"], Value::Integer(20));
        assert_eq!(writes[1].fields["progress"], Value::Integer(10));
        assert!(matches!(writes[0].precondition, Precondition::Unchanged(_)));
    }

    #[tokio::test]
    async fn the_end_of_an_attempt_does_not_wait() {
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
    async fn a_batch_that_lacks_what_its_clips_tell_is_written_again_and_its_percent_never_falls() {
        let now = Instant::now();
        let mut cache = BatchCache::default();
        cache.load(&context(), None, &[], now);
        cache.fold(&progressed(40), now);
        let before = write_all(&mut cache, now);
        cache.fold(&clip_event(ClipEventKind::Failed(Failure::new(Code::SourceGone, "gone")), 50), now);
        let clip = stored(&write_all(&mut cache, now)[0]);

        // Another instance, or a later one: the clip's end was written and settled, the batch does not count it.
        let mut batch = stored(&before[1]);
        batch.fields.insert("progress".into(), Value::Integer(60));
        let mut cache = BatchCache::default();
        cache.load(&context(), Some(&batch), std::slice::from_ref(&clip), now);
        let writes = write_all(&mut cache, now);
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].fields["failedClips"], Value::Integer(1));
        assert_eq!(writes[0].fields["progress"], Value::Integer(60), "people have read it");
        let mut cache = BatchCache::default();
        cache.load(&context(), Some(&stored(&writes[0])), &[clip], now);
        assert!(write_all(&mut cache, now).is_empty(), "it lacks nothing now");
    }

    #[tokio::test]
    async fn a_batch_stays_as_old_as_people_have_read_whatever_its_clips_tell() {
        let now = Instant::now();
        let mut cache = BatchCache::default();
        cache.load(&context(), None, &[], now);
        cache.fold(&clip_event(ClipEventKind::Started, 1), now);
        // The clip's creation is told to another instance, which has written the batch and not yet the clip.
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
    async fn an_event_that_changes_nothing_waits_for_no_write() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        cache.load(&context(), None, &[], now);
        cache.fold(&progressed(20), now);
        write_all(&mut cache, now);
        assert!(cache.fold(&progressed(20), now).is_empty());
    }

    #[tokio::test]
    async fn what_is_written_makes_room_for_what_is_new() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        let of = |number: usize| BatchContext { id: BatchId::parse(&format!("b{number}")).unwrap(), ..context() };
        let clips: Vec<ClipId> = (0..1_000).map(|number| ClipId::parse(&format!("c{number}")).unwrap()).collect();
        let batches = MAX_CLIPS_KEPT / clips.len() + 5;
        for number in 0..batches {
            let context = of(number);
            cache.load(&context, None, &[], now + Duration::from_millis(number as u64));
            let kind = EventKind::BatchQueued { at_ms: 1, clips: clips.clone() };
            for key in cache.fold(&Event { batch: context, kind }, now + Duration::from_millis(number as u64)) {
                cache.written(&key, Version { seconds: 1, nanos: 0 }, now);
            }
        }
        assert_eq!(cache.batches.values().map(Batch::clips).sum::<usize>(), MAX_CLIPS_KEPT);
        assert!(!cache.knows(&of(0).id) && cache.knows(&of(batches - 1).id));
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
    async fn what_is_over_is_forgotten_after_a_while_and_what_is_at_work_is_not() {
        let mut cache = BatchCache::default();
        let now = Instant::now();
        let of = |id: &str| BatchContext { id: BatchId::parse(id).unwrap(), size: 1, ..context() };
        for id in ["done", "at-work"] {
            cache.load(&of(id), None, &[], now);
            cache.fold(&Event { batch: of(id), ..progressed(20) }, now);
        }
        let end = clip_event(ClipEventKind::Cancelled, 90);
        cache.fold(&Event { batch: of("done"), ..end }, now);
        let later = now + RETENTION_AFTER_END;
        cache.load(&of("new"), None, &[], later);
        assert!(cache.knows(&of("done").id), "its end is not written yet");
        write_all(&mut cache, later);
        cache.load(&of("newer"), None, &[], later + RETENTION_AFTER_END);
        assert!(!cache.knows(&of("done").id) && cache.knows(&of("at-work").id));
        assert!(write_all(&mut cache, later + RETENTION_AFTER_END).is_empty(), "and nothing of it is due");
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
        assert!(
            matches!(&writes[0].fields["error"], Value::Map(error) if error["code"] == Value::String("invalid_request".into()))
        );
    }
}
