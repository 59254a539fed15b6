//! The whole scaler on the in-memory cloud in virtual time, with a pool that records its calls.

use super::*;
use async_trait::async_trait;
use clipfleet_cloud::{
    ErrorKind, Fields, Message, Precondition, SubscriptionSpec, Value, Write,
    memory::{self},
};
use clipfleet_contract::{
    documents::{fleet_control, request::RequestRecord},
    event, names,
};
use clipfleet_domain::{
    attempt::Attempt,
    ids::{AttemptId, BatchId, ClipId, OwnerUid, ProjectId, WorkerId},
    job::{BatchContext, Event, EventKind, PinnedSource},
    lifecycle::{ClipEvent, ClipEventKind, Encoding, Output},
    source::ObjectUri,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

#[derive(Default)]
struct Recorder {
    count: Mutex<u32>,
    calls: Mutex<Vec<u32>>,
    busy: Mutex<usize>,
    failures: Mutex<u32>,
    /// The largest size that is not refused.
    quota: Mutex<Option<u32>>,
    /// Whether a refused size stays on record.
    keeps_refused: bool,
    /// How many of the next reads are denied.
    denied_reads: Mutex<u32>,
}

#[async_trait]
impl Backend for Recorder {
    fn name(&self) -> &str {
        "test"
    }

    fn ends_idle(&self) -> bool {
        true
    }

    async fn count(&self) -> Result<u32, CloudError> {
        let mut denied = self.denied_reads.lock();
        if *denied > 0 {
            *denied -= 1;
            return Err(CloudError::new(ErrorKind::Denied, "read it: permission denied"));
        }
        Ok(*self.count.lock())
    }

    async fn set(&self, count: u32, busy: &BTreeSet<WorkerId>, _: Duration) -> Result<(), CloudError> {
        self.calls.lock().push(count);
        *self.busy.lock() = busy.len();
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err(CloudError::new(ErrorKind::Unavailable, "set it: overloaded"));
        }
        if self.quota.lock().is_some_and(|quota| count > quota) {
            if self.keeps_refused {
                *self.count.lock() = count;
            }
            return Err(CloudError::new(ErrorKind::Quota, "set it: quota exceeded"));
        }
        *self.count.lock() = count;
        Ok(())
    }
}

struct Stage {
    cloud: Cloud,
    pool: Arc<Recorder>,
    overflow: Option<Arc<Recorder>>,
}

impl Stage {
    async fn new() -> Self {
        let cloud = memory::cloud();
        cloud.queue.ensure_topic(names::PROGRESS_EVENTS).await.unwrap();
        let spec = SubscriptionSpec {
            name: names::PROGRESS_EVENTS_SCALER.into(),
            topic: names::PROGRESS_EVENTS.into(),
            ack_deadline: Duration::from_secs(60),
            dead_letter: None,
            backoff: None,
        };
        cloud.queue.ensure_subscription(&spec).await.unwrap();
        Self { cloud, pool: Arc::default(), overflow: None }
    }

    fn scaler(&self, dry_run: bool) -> (CancellationToken, JoinHandle<Result<(), CloudError>>) {
        let policy = Policy { slots: 1, backlog_target_seconds: 60.0, max: 10, ..Policy::default() };
        let overflow = self.overflow.clone().map(|backend| OverflowConfig { backend, max: 4 });
        let config = Config { pool: "test".into(), policy, initial_rate: 0.3, dry_run, overflow };
        let (stop, readiness) = (CancellationToken::new(), health::Readiness::default());
        let (cloud, backend): (_, Arc<dyn Backend>) = (self.cloud.clone(), self.pool.clone());
        let clock = Clock::starting_at(1_000_000);
        (stop.clone(), tokio::spawn(scale(config, cloud, clock, backend, readiness, stop)))
    }

    /// Writes the dispatcher's record of a batch.
    async fn record(&self, batch: &str, clips: usize) {
        self.record_retried(batch, clips, 0).await;
    }

    /// The same, with the first `retried` clips retried once.
    async fn record_retried(&self, batch: &str, clips: usize, retried: usize) {
        let clips: Vec<_> = (0..clips)
            .map(|n| serde_json::json!({"clipId": format!("c{n}"), "startMs": 1_000, "endMs": 31_000}))
            .collect();
        let request = serde_json::json!({"batchId": batch, "ownerUid": "u1", "projectId": "p1", "clips": clips,
            "source": {"uri": "gs://media/a.mp4"}, "output": {"quality": "1080p", "aspect": "9:16", "fps": 30}});
        let record = RequestRecord {
            digest: String::new(),
            request: clipfleet_contract::batch::from_json(request.to_string().as_bytes()).unwrap(),
            source: PinnedSource { uri: ObjectUri::parse("gs://media/a.mp4").unwrap(), generation: 1, size_bytes: 5 },
            accepted_at_ms: 1_000_000,
            dispatched: true,
            open: true,
            retried: (0..retried).map(|n| (ClipId::parse(&format!("c{n}")).unwrap(), 1)).collect(),
            repairs: 0,
            repaired_at_ms: 0,
        };
        let fields = record.to_fields().unwrap();
        let path = names::request_document(&BatchId::parse(batch).unwrap());
        let write = Write { path, fields, precondition: Precondition::Absent };
        self.cloud.documents.commit(vec![write]).await.unwrap();
    }

    async fn publish(&self, batch: &str, kind: EventKind) {
        let context = BatchContext {
            id: BatchId::parse(batch).unwrap(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: ProjectId::parse("p1").unwrap(),
            size: 1,
        };
        let data = event::encode(&Event { batch: context, kind }).into();
        self.cloud.queue.publish(names::PROGRESS_EVENTS, Message { data, ..Message::default() }).await.unwrap();
    }

    async fn submit(&self, batch: &str, clips: usize) {
        self.record(batch, clips).await;
        self.publish(batch, EventKind::BatchQueued { at_ms: 1_000_000, clips: vec![] }).await;
    }

    async fn publish_clip(&self, batch: &str, clip: usize, worker: &str, kind: ClipEventKind) {
        let attempt = Attempt {
            id: AttemptId::parse(&format!("a{clip}")).unwrap(),
            number: 1,
            started_at_ms: 1_000_000,
            worker: WorkerId::parse(worker).unwrap(),
            sequence: if kind == ClipEventKind::Started { 1 } else { 2 },
        };
        let event = ClipEvent { generation: 0, at_ms: 1_010_000, attempt: Some(attempt), kind };
        self.publish(batch, EventKind::Clip { id: ClipId::parse(&format!("c{clip}")).unwrap(), event }).await;
    }

    async fn complete(&self, batch: &str, clip: usize) {
        let kind = ClipEventKind::Completed { output: Output::default(), encoding: Encoding::default() };
        self.publish_clip(batch, clip, "w1", kind).await;
    }

    fn calls(&self) -> Vec<u32> {
        self.pool.calls.lock().clone()
    }

    async fn until(&self, calls: &[u32]) -> Duration {
        let started = Instant::now();
        while self.calls() != calls {
            assert!(started.elapsed() < Duration::from_secs(120), "{:?} instead of {calls:?}", self.calls());
            sleep(Duration::from_millis(10)).await;
        }
        started.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn workers_are_requested_within_a_second_and_removed_after_the_batch() {
    let stage = Stage::new().await;
    let (stop, scaling) = stage.scaler(false);
    sleep(Duration::from_secs(5)).await;
    // Thirty clips of ten slot-seconds each within a minute need five workers.
    stage.submit("b1", 30).await;
    let requested = stage.until(&[5]).await;
    assert!(requested <= Duration::from_secs(1), "{requested:?}");
    for clip in 0..30 {
        stage.complete("b1", clip).await;
    }
    let idle = stage.until(&[5, 0]).await;
    assert!(idle >= Duration::from_secs(8) && idle < Duration::from_secs(20), "{idle:?}");
    stop.cancel();
    scaling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_pool_receives_the_busy_workers_and_keeps_them() {
    let stage = Stage::new().await;
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    stage.until(&[5]).await;
    for clip in 2..30 {
        stage.complete("b1", clip).await;
    }
    let reporting = async {
        loop {
            for clip in 0..2 {
                stage.publish_clip("b1", clip, ["w1", "w2"][clip], ClipEventKind::Started).await;
            }
            sleep(Duration::from_secs(3)).await;
        }
    };
    tokio::select! {
        () = reporting => {}
        _ = stage.until(&[5, 2]) => {}
    }
    assert_eq!(*stage.pool.busy.lock(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_scaler_reads_the_batches_whose_events_it_missed() {
    let stage = Stage::new().await;
    // Another scaler acknowledged the events and died.
    stage.record("b1", 12).await;
    stage.record("b2", 18).await;
    let (_stop, _scaling) = stage.scaler(false);
    stage.until(&[5]).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_only_in_the_record_gets_workers() {
    let stage = Stage::new().await;
    stage.record_retried("b1", 30, 12).await;
    let cancelled = |clip: usize| Write {
        path: format!("exportBatches/b1/clips/c{clip}"),
        fields: Fields::from([("status".into(), Value::String("cancelled".into()))]),
        precondition: Precondition::None,
    };
    stage.cloud.documents.commit((0..30).map(cancelled).collect()).await.unwrap();
    let (_stop, _scaling) = stage.scaler(false);
    stage.until(&[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_from_a_scaler_that_died() {
    let stage = Stage::new().await;
    let (_first_stop, first) = stage.scaler(false);
    sleep(Duration::from_secs(1)).await;
    let (stop, second) = stage.scaler(false);
    stage.submit("b1", 30).await;
    stage.until(&[5]).await;
    first.abort();
    stage.submit("b2", 30).await;
    let took = stage.until(&[5, 10]).await;
    assert!(took < Duration::from_secs(25), "{took:?}");
    stop.cancel();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_one_of_several_scalers_sets_the_size() {
    let stage = Stage::new().await;
    let scalers = [stage.scaler(false), stage.scaler(false), stage.scaler(false)];
    sleep(Duration::from_secs(5)).await;
    stage.submit("b1", 30).await;
    stage.until(&[5]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.calls(), [5]);
    // A leader that stops in an orderly way lets a follower lead at once. The follower finds nothing to change.
    scalers[0].0.cancel();
    sleep(Duration::from_secs(5)).await;
    stage.submit("b2", 30).await;
    let took = stage.until(&[5, 10]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scaler_that_was_replaced_sets_nothing() {
    let stage = Stage::new().await;
    let (_stop, _scaling) = stage.scaler(false);
    sleep(Duration::from_secs(5)).await;
    // Another scaler has written the document, and this one does not know it yet.
    let fields = Fields::from([("leader".into(), Value::String("another".into()))]);
    let write = Write { path: LeadershipDocument::path("test"), fields, precondition: Precondition::None };
    stage.cloud.documents.commit(vec![write]).await.unwrap();
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(stage.calls(), Vec::<u32>::new());
    // The other scaler writes nothing more: leadership is acquired again, and missed batches are read.
    stage.until(&[5]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sets_nothing() {
    let stage = Stage::new().await;
    let (_stop, _scaling) = stage.scaler(true);
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.calls(), Vec::<u32>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_size_change_is_retried() {
    let stage = Stage::new().await;
    *stage.pool.failures.lock() = 3;
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    let took = stage.until(&[5, 5, 5, 5]).await;
    assert!(took >= Duration::from_secs(6), "with growing delays: {took:?}");
    assert_eq!(stage.pool.count().await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_size_set_by_another_writer_is_corrected() {
    let stage = Stage::new().await;
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    stage.until(&[5]).await;
    *stage.pool.count.lock() = 1;
    stage.until(&[5, 5]).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_fleet_gets_no_workers_until_it_is_resumed() {
    let stage = Stage::new().await;
    let pause = |paused| Write {
        path: fleet_control::PATH.into(),
        fields: Fields::from([("paused".into(), Value::Bool(paused))]),
        precondition: Precondition::None,
    };
    stage.cloud.documents.commit(vec![pause(true)]).await.unwrap();
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.calls(), Vec::<u32>::new());
    stage.cloud.documents.commit(vec![pause(false)]).await.unwrap();
    stage.until(&[5]).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_messages_and_unknown_batches_do_no_harm() {
    let stage = Stage::new().await;
    let (_stop, scaling) = stage.scaler(false);
    let garbage = Message { data: "garbage".into(), ..Message::default() };
    stage.cloud.queue.publish(names::PROGRESS_EVENTS, garbage).await.unwrap();
    stage.publish_clip("unrecorded", 0, "w1", ClipEventKind::Started).await;
    stage.submit("b1", 30).await;
    stage.until(&[5]).await;
    assert!(!scaling.is_finished());
}

/// The document that `/v1/fleet` shows.
async fn leadership(stage: &Stage) -> LeadershipDocument {
    let found = stage.cloud.documents.get_one(LeadershipDocument::path("test")).await.unwrap();
    LeadershipDocument::from_document(&found.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_size_that_the_quota_refuses_is_halved_towards_the_last_good_one() {
    for keeps_refused in [false, true] {
        let pool = Recorder { quota: Mutex::new(Some(2)), keeps_refused, ..Recorder::default() };
        let stage = Stage { pool: Arc::new(pool), ..Stage::new().await };
        let (_stop, _scaling) = stage.scaler(false);
        stage.submit("b1", 30).await;
        // A refused size that is still on record is corrected; otherwise there is nothing more to set.
        let calls: &[u32] = if keeps_refused { &[5, 2, 3, 2] } else { &[5, 2, 3] };
        let took = stage.until(calls).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(stage.pool.count().await.unwrap(), 2);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(stage.calls(), calls, "it is remembered");
        assert_eq!(leadership(&stage).await.limit, Some(2), "and said");
        // Minutes later, more is granted.
        *stage.pool.quota.lock() = None;
        sleep(Duration::from_secs(5 * 60)).await;
        assert_eq!(stage.pool.count().await.unwrap(), 5);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(leadership(&stage).await.limit, None);
    }
}

#[tokio::test(start_paused = true)]
async fn another_pool_helps_out_until_the_fleet_is_idle() {
    let pool = Recorder { quota: Mutex::new(Some(3)), ..Recorder::default() };
    let stage = Stage { pool: Arc::new(pool), overflow: Some(Arc::default()), ..Stage::new().await };
    let helpers = stage.overflow.clone().unwrap();
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(stage.pool.count().await.unwrap(), 3);
    // Two of five workers are missing, and each is replaced by two.
    assert_eq!(helpers.calls.lock().last(), Some(&4));
    *stage.pool.quota.lock() = None;
    sleep(Duration::from_secs(6 * 60)).await;
    assert_eq!((stage.pool.count().await.unwrap(), helpers.count().await.unwrap()), (5, 4));
    for clip in 0..30 {
        stage.complete("b1", clip).await;
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!((stage.pool.count().await.unwrap(), helpers.count().await.unwrap()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_comes_late_is_waited_for() {
    let pool = Recorder { denied_reads: Mutex::new(10), ..Recorder::default() };
    let stage = Stage { pool: Arc::new(pool), ..Stage::new().await };
    let (_stop, scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(330)).await;
    assert_eq!(stage.calls(), [5]);
    assert!(!scaling.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_scaler_that_may_not_read_its_pool_ends_with_the_error() {
    let pool = Recorder { denied_reads: Mutex::new(u32::MAX), ..Recorder::default() };
    let stage = Stage { pool: Arc::new(pool), ..Stage::new().await };
    let (_stop, scaling) = stage.scaler(false);
    sleep(Duration::from_secs(12 * 60)).await;
    assert!(scaling.is_finished());
    assert_eq!(scaling.await.unwrap().unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_refused_size_that_stayed_on_record_does_not_deceive_the_next_leader() {
    // The leader before died between the refusal and its next write.
    let pool = Recorder { quota: Mutex::new(Some(2)), keeps_refused: true, ..Recorder::default() };
    *pool.count.lock() = 5;
    let stage = Stage { pool: Arc::new(pool), ..Stage::new().await };
    let (_stop, _scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    sleep(Duration::from_secs(110)).await;
    assert_eq!(stage.calls(), Vec::<u32>::new(), "five instances may be about to start");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.calls(), [5, 2, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_knows_the_limit() {
    let pool = Recorder { quota: Mutex::new(Some(2)), keeps_refused: true, ..Recorder::default() };
    let stage = Stage { pool: Arc::new(pool), ..Stage::new().await };
    let (stop, scaling) = stage.scaler(false);
    stage.submit("b1", 30).await;
    stage.until(&[5, 2, 3, 2]).await;
    sleep(Duration::from_secs(5)).await;
    stop.cancel();
    scaling.await.unwrap().unwrap();
    *stage.pool.count.lock() = 5;
    let (_stop, _scaling) = stage.scaler(false);
    let took = stage.until(&[5, 2, 3, 2, 2]).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}
