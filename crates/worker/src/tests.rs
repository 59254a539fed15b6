//! The worker on a cloud in memory, with media that fail in every possible way, and the real status service to count
//! failures.

mod links;

use crate::{Dependencies, Media, MediaResult, Progress, SourceReader, make_clips};
use async_trait::async_trait;
use bytes::Bytes;
use clipfleet_cloud::{
    Body, Cloud, CloudError, Document, ErrorKind, Fields, Hosts, LinkKind, Message, NewObject, ObjectInfo, ObjectName,
    Objects, Precondition, SubscriptionSpec, Value, Write,
    memory::{Call, Fault, Link, Memory},
};
use clipfleet_contract::{
    batch,
    documents::fleet_control,
    job, names,
    v1::{ClipJob, TranscodeFinished},
};
use clipfleet_domain::{
    access::AccessPolicy,
    cost::{Instance, Prices, SlotPrice},
    failure::{Code, Failure},
    ids::WorkerId,
    job::{Job, PinnedSource},
    lifecycle::Encoding,
    limits::{MAX_LOST_ATTEMPTS, MAX_TRANSIENT_FAILURES, attempt_deadline_ms},
    progress::Phase,
};
use clipfleet_service::{clock::Clock, health::Readiness};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// The longest wait for a condition, in virtual time.
const TIMEOUT: Duration = Duration::from_secs(20 * 3_600);

/// What the fake media do in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Make the clip after this many seconds.
    Finish(u64),
    Crash,
    /// Fail transiently.
    Fail,
    /// Fail transiently because of the instance.
    FillDisk,
    /// Make the clip if the source is intact; otherwise blame the source.
    CheckSource,
    /// Read the source and crash.
    ReadAndCrash,
    /// Report the source as damaged, whether it is or not.
    BlameSource,
    /// Report a clip, and leave a link to a file of the worker under its name.
    LeaveLink,
    /// Never finish, but report progress.
    Hang,
}

/// Damages the next `left` reads, as a network may: a ranged read has no checksum.
struct DamagedReads {
    objects: Arc<dyn Objects>,
    left: Arc<AtomicU32>,
}

#[async_trait]
impl Objects for DamagedReads {
    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError> {
        let read = self.objects.read(name, generation, range).await?;
        let decrement = |left: u32| left.checked_sub(1);
        let damaged = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement).is_ok();
        Ok(if damaged { read.iter().map(|byte| !byte).collect() } else { read })
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        self.objects.ensure_bucket(bucket).await
    }

    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError> {
        self.objects.stat(name, generation).await
    }

    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError> {
        self.objects.create(name, new, body).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError> {
        self.objects.delete(name).await
    }

    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError> {
        self.objects.set_metadata(name, found, metadata).await
    }

    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        self.objects.signed_url(name, lifetime).await
    }

    fn hosts(&self) -> &Hosts {
        self.objects.hosts()
    }
}

struct FakeMedia {
    /// The action of each attempt.
    script: fn(u32) -> Action,
    /// Attempts so far.
    made: AtomicU32,
}

#[async_trait]
impl Media for FakeMedia {
    async fn make(&self, _: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult {
        let mut action = (self.script)(self.made.fetch_add(1, Ordering::Relaxed));
        progress(Phase::Encoding, 0.5, Encoding::default());
        if action == Action::CheckSource {
            let intact = source.read(0..5).await.unwrap() == b"video"[..];
            action = if intact { Action::Finish(1) } else { Action::BlameSource };
            // As if the process had begun to write.
            std::fs::write(directory.join("half.mp4"), "half").unwrap();
        }
        match action {
            Action::CheckSource => unreachable!("decided above"),
            Action::BlameSource => MediaResult::Failed(Failure::new(Code::SourceTruncated, "it breaks off")),
            Action::ReadAndCrash => {
                source.read(0..5).await.unwrap();
                MediaResult::Crashed("signal 11".into())
            }
            Action::Crash => MediaResult::Crashed("signal 11".into()),
            Action::Fail => MediaResult::Failed(Failure::new(Code::SourceUnavailable, "no answer")),
            Action::FillDisk => MediaResult::Failed(Failure::new(Code::ScratchFull, "no space left")),
            Action::Hang => loop {
                sleep(Duration::from_secs(1)).await;
                progress(Phase::Encoding, 0.6, Encoding::default());
            },
            Action::Finish(_) | Action::LeaveLink => {
                if let Action::Finish(seconds) = action {
                    sleep(Duration::from_secs(seconds)).await;
                    std::fs::write(directory.join("clip.mp4"), "clip").unwrap();
                } else {
                    std::os::unix::fs::symlink("/proc/self/environ", directory.join("clip.mp4")).unwrap();
                }
                std::fs::write(directory.join("cover.jpg"), "cover").unwrap();
                let (file, cover) = ("clip.mp4".to_owned(), "cover.jpg".to_owned());
                MediaResult::Finished(TranscodeFinished {
                    file,
                    cover,
                    manifest: "{}".into(),
                    ..TranscodeFinished::default()
                })
            }
        }
    }
}

struct Stage {
    memory: Memory,
    cloud: Cloud,
    clock: Clock,
    media: Arc<FakeMedia>,
    scratch: tempfile::TempDir,
    workers: AtomicU32,
    /// Reads of sources that are still to be damaged.
    damaged: Arc<AtomicU32>,
    /// Of the next workers.
    links: Option<LinkKind>,
    access: Option<AccessPolicy>,
    _status: JoinHandle<()>,
}

impl Stage {
    /// With the job of one clip in the queue.
    async fn new(script: fn(u32) -> Action) -> Self {
        let stage = Self::empty(script).await;
        stage.enqueue().await;
        stage
    }

    async fn empty(script: fn(u32) -> Action) -> Self {
        let memory = Memory::new();
        let (cloud, _) = memory.connect();
        for topic in [names::CLIP_JOBS, names::CLIP_JOBS_DEAD_LETTER, names::PROGRESS_EVENTS] {
            cloud.queue.ensure_topic(topic).await.unwrap();
        }
        for (name, topic, dead_letter) in [
            (names::CLIP_JOBS_WORKER, names::CLIP_JOBS, Some((names::CLIP_JOBS_DEAD_LETTER.to_owned(), 100))),
            (names::CLIP_JOBS_DEAD_LETTER_STATUS, names::CLIP_JOBS_DEAD_LETTER, None),
            (names::PROGRESS_EVENTS_STATUS, names::PROGRESS_EVENTS, None),
        ] {
            let (name, topic, ack_deadline) = (name.to_owned(), topic.to_owned(), Duration::from_secs(20));
            let backoff = Some((Duration::from_secs(1), Duration::from_secs(30)));
            let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter, backoff };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        cloud.objects.ensure_bucket("media").await.unwrap();
        let source = ObjectName::new("media", "a.mp4");
        cloud.objects.create(&source, NewObject::default(), Body::Bytes("video".into())).await.unwrap();
        let clock = Clock::starting_at(1_000_000);
        let (status, readiness) = (memory.connect().0, Readiness::default());
        let status = clipfleet_status::fold(
            clipfleet_status::Config::default(),
            status,
            clock,
            readiness,
            CancellationToken::new(),
        );
        let _status = tokio::spawn(async move { drop(status.await) });
        let media = Arc::new(FakeMedia { script, made: AtomicU32::new(0) });
        let scratch = tempfile::tempdir().unwrap();
        let (workers, damaged) = (AtomicU32::new(0), Arc::default());
        let (links, access) = (Some(LinkKind::Firebase), None);
        Self { memory, cloud, clock, media, scratch, workers, damaged, links, access, _status }
    }

    fn job(&self) -> Job {
        let request = r#"{"batchId":"b1","ownerUid":"u1","projectId":"p1","source":{"uri":"gs://media/a.mp4"},
                          "clips":[{"clipId":"c1","startMs":0,"endMs":1000}]}"#;
        let policy = AccessPolicy::of_buckets("media", &[]);
        let batch = batch::check(&batch::from_json(request.as_bytes()).unwrap(), &policy, "").unwrap();
        let source = PinnedSource { uri: batch.source.uri.clone(), generation: 1, size_bytes: 5 };
        Job::new(&batch, batch.plan(1).unwrap().remove(0), source, 0, self.clock.now_ms())
    }

    async fn enqueue(&self) {
        self.enqueue_bytes(job::encode(&self.job())).await;
    }

    async fn enqueue_bytes(&self, data: Vec<u8>) {
        let message = Message { data: data.into(), ..Message::default() };
        self.cloud.queue.publish(names::CLIP_JOBS, message).await.unwrap();
    }

    /// Starts a worker with two slots.
    fn worker(&self) -> (Link, CancellationToken, JoinHandle<io::Result<()>>) {
        let (cloud, link) = self.memory.connect();
        let objects = Arc::new(DamagedReads { objects: cloud.objects.clone(), left: Arc::clone(&self.damaged) });
        let cloud = Cloud { objects, ..cloud };
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let (media, scratch) = (Arc::clone(&self.media) as Arc<dyn Media>, self.scratch.path().to_owned());
        let id = WorkerId::parse(&format!("w-{number:03}")).unwrap();
        let (clock, sleep_clock) = (self.clock, Arc::new(|| Duration::ZERO));
        let price = SlotPrice::of(&Instance::default(), &Prices::default(), 2);
        let (links, access) = (self.links, self.access.clone());
        let dependencies = Dependencies {
            id,
            cloud,
            clock,
            sleep_clock,
            media,
            slots: 2,
            scratch,
            cache_mib: 16,
            price,
            links,
            access,
        };
        let stop = CancellationToken::new();
        (link, stop.clone(), tokio::spawn(make_clips(dependencies, stop)))
    }

    async fn document(&self) -> Option<Document> {
        self.cloud.documents.get(&["exportBatches/b1/clips/c1".to_owned()]).await.unwrap().remove(0)
    }

    /// Waits until the clip's document meets a condition.
    async fn until(&self, condition: impl Fn(&Document) -> bool) -> Document {
        let waiting = async {
            loop {
                match self.document().await.filter(&condition) {
                    Some(document) => return document,
                    None => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let Ok(document) = tokio::time::timeout(TIMEOUT, waiting).await else {
            panic!("the condition is not met: {:#?}", self.document().await);
        };
        document
    }

    async fn ended(&self) -> Document {
        self.until(|document| !matches!(document.field("status").as_text(), Some("queued" | "processing"))).await
    }

    fn made(&self) -> u32 {
        self.media.made.load(Ordering::Relaxed)
    }

    /// Whether an object exists whose name is that of the result with another suffix.
    async fn exists(&self, suffix: &str) -> bool {
        let output = self.job().output;
        let name = output.object().strip_suffix(".mp4").unwrap().to_owned() + suffix;
        self.cloud.objects.stat(&ObjectName::new("media", name), None).await.is_ok()
    }
}

fn code(document: &Document) -> &str {
    match document.fields.get("error") {
        Some(Value::Map(error)) => match &error["code"] {
            Value::String(code) => code,
            _ => "",
        },
        _ => "",
    }
}

fn counts(document: &Document) -> [i64; 4] {
    ["crashes", "transientFailures", "interruptions", "lostAttempts"]
        .map(|field| document.field(field).as_integer().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_disk_is_full_leases_no_jobs_for_a_while() {
    let stage = Stage::new(|_| Action::FillDisk).await;
    // A nacked job is redelivered after 1, 2, 4 s and so on. Between the first two attempts the worker leases no other
    // job.
    for _ in 0..20 {
        stage.enqueue().await;
    }
    let (_link, _stop, _worker) = stage.worker();
    stage.until(|document| document.field("transientFailures").as_integer() == Some(1)).await;
    sleep(Duration::from_millis(1_500)).await;
    // Both slots had leased a job when the first one failed.
    assert!(stage.made() <= 2, "{} attempts", stage.made());
    stage.until(|document| document.field("transientFailures").as_integer() >= Some(4)).await;
    let before = stage.made();
    sleep(Duration::from_secs(7)).await;
    assert!(stage.made() <= before + 1, "{} attempts after {before}", stage.made());
}

#[tokio::test(start_paused = true)]
async fn the_third_crash_ends_the_clip_and_the_job_is_gone() {
    let stage = Stage::new(|_| Action::Crash).await;
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((code(&document), counts(&document), stage.made()), ("pipeline_crashed", [3, 0, 0, 0], 3));
    sleep(Duration::from_secs(200)).await;
    assert_eq!((stage.memory.unsettled(names::CLIP_JOBS_WORKER), stage.made()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_the_media_process_left_is_never_uploaded() {
    let stage = Stage::new(|_| Action::LeaveLink).await;
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((code(&document), counts(&document), stage.made()), ("pipeline_crashed", [3, 0, 0, 0], 3));
    assert!(!stage.exists(".mp4").await);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_read_causes_a_second_reading_and_no_failure() {
    let stage = Stage::new(|_| Action::CheckSource).await;
    stage.damaged.store(1, Ordering::Relaxed);
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!(
        (document.field("status").as_text(), document.field("attempt").as_integer()),
        (Some("completed"), Some(1))
    );
    assert_eq!((counts(&document), stage.made()), ([0, 0, 0, 0], 2));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_source_is_read_twice_and_fails_in_the_first_attempt() {
    let stage = Stage::new(|_| Action::BlameSource).await;
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!(
        (code(&document), document.field("attempt").as_integer(), stage.made()),
        ("source_truncated", Some(1), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn blocks_read_before_a_crash_are_not_cached_for_the_next_attempt() {
    // The first attempt reads damaged bytes and crashes, as decoders may.
    let stage = Stage::new(|made| if made == 0 { Action::ReadAndCrash } else { Action::CheckSource }).await;
    stage.damaged.store(1, Ordering::Relaxed);
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((document.field("status").as_text(), counts(&document)), (Some("completed"), [1, 0, 0, 0]));
    assert_eq!(stage.made(), 2, "the second attempt read intact bytes");
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_a_bounded_number_of_times() {
    let stage = Stage::new(|_| Action::Fail).await;
    let (_worker, started) = (stage.worker(), Instant::now());
    let document = stage.ended().await;
    assert_eq!((code(&document), stage.made()), ("source_unavailable", MAX_TRANSIENT_FAILURES));
    // 1, 2, 4, 8, 16 and four times 30 seconds between ten attempts.
    assert_eq!(started.elapsed().as_secs(), 151);
}

#[tokio::test(start_paused = true)]
async fn a_clip_completes_after_transient_failures_and_crashes() {
    const ACTIONS: [Action; 5] = [Action::Fail, Action::Crash, Action::Fail, Action::Crash, Action::Finish(1)];
    let stage = Stage::new(|attempt| ACTIONS[attempt as usize]).await;
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((document.field("status").as_text(), counts(&document)), (Some("completed"), [2, 2, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn interruptions_do_not_count_against_the_clip() {
    let stage = Stage::new(|attempt| if attempt < 12 { Action::Hang } else { Action::Finish(1) }).await;
    for number in 1..=12 {
        let (_, stop, worker) = stage.worker();
        stage.until(|document| document.field("attempt").as_integer() == Some(number)).await;
        sleep(Duration::from_secs(5)).await;
        let stopped = Instant::now();
        stop.cancel();
        worker.await.unwrap().unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(5), "handed back in time");
    }
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((document.field("status").as_text(), counts(&document)), (Some("completed"), [0, 0, 12, 0]));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_finishes_is_ended_by_its_deadline_and_counts_as_a_crash() {
    let stage = Stage::new(|_| Action::Hang).await;
    let (_worker, started) = (stage.worker(), Instant::now());
    let document = stage.ended().await;
    assert_eq!((code(&document), counts(&document)), ("pipeline_overdue", [3, 0, 0, 0]));
    let deadline_seconds = attempt_deadline_ms(1_000).unsigned_abs() / 1_000;
    assert_eq!(started.elapsed().as_secs(), 3 * deadline_seconds + 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn lost_attempts_are_replaced_within_a_minute_and_end_the_clip_eventually() {
    let stage = Stage::new(|_| Action::Hang).await;
    for number in 1..=i64::from(MAX_LOST_ATTEMPTS) {
        let (link, _, worker) = stage.worker();
        let waited = Instant::now();
        stage.until(|document| document.field("attempt").as_integer() == Some(number)).await;
        assert!(waited.elapsed() < Duration::from_secs(60), "{number}: {:?}", waited.elapsed());
        sleep(Duration::from_secs(5)).await;
        link.cut();
        worker.abort();
    }
    let _worker = stage.worker();
    let document = stage.ended().await;
    assert_eq!((code(&document), stage.made()), ("worker_lost", MAX_LOST_ATTEMPTS));
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_waits_for_the_first_and_is_acked() {
    let stage = Stage::new(|_| Action::Finish(60)).await;
    let (_one, _other) = (stage.worker(), stage.worker());
    stage.until(|document| document.field("phase").as_text() == Some("encoding")).await;
    stage.enqueue().await;
    let document = stage.ended().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!((document.field("attempt").as_integer(), stage.made()), (Some(1), 1));
    assert_eq!(stage.memory.unsettled(names::CLIP_JOBS_WORKER), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_process_publishes_nothing_more_for_its_clip() {
    let stage = Stage::new(|attempt| if attempt == 0 { Action::Finish(8) } else { Action::Hang }).await;
    let _worker = stage.worker();
    stage.until(|document| document.field("phase").as_text() == Some("encoding")).await;
    // The process stalls. When it wakes, the media finish and the lease is lost at the same moment.
    tokio::time::advance(Duration::from_secs(8)).await;
    let document = stage.until(|document| document.field("attempt").as_integer() == Some(2)).await;
    assert_eq!(
        (document.field("status").as_text(), document.field("lostAttempts").as_integer()),
        (Some("processing"), Some(1))
    );
    assert!(!stage.exists(".mp4").await, "nothing was made visible");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_sees_a_later_one_stops_and_publishes_nothing() {
    let stage = Stage::new(|_| Action::Hang).await;
    let _worker = stage.worker();
    let document = stage.until(|document| document.field("phase").as_text() == Some("encoding")).await;
    let mut fields: Fields = document.fields.clone();
    fields.insert("attempt".into(), Value::Integer(7));
    fields.insert("attemptId".into(), Value::String("w-other-1".into()));
    let write = Write { path: document.path.clone(), fields, precondition: Precondition::None };
    stage.cloud.documents.commit(vec![write]).await.unwrap();
    let directory = stage.scratch.path().join("w-000").join(document.field("attemptId").as_text().unwrap());
    assert!(directory.exists());
    sleep(Duration::from_secs(3)).await;
    assert!(!directory.exists(), "it stopped and cleaned up");
}

#[tokio::test(start_paused = true)]
async fn objects_of_an_unfinished_attempt_are_removed() {
    let stage = Stage::new(|_| Action::Finish(1)).await;
    // The manifest of the first attempt cannot be stored; its cover can.
    stage.memory.fail_next(Call::Create, Fault::Refused(clipfleet_cloud::ErrorKind::Unavailable));
    let _worker = stage.worker();
    let first = stage.until(|document| document.field("attempt").as_integer() == Some(1)).await;
    let document = stage.ended().await;
    assert_eq!((document.field("status").as_text(), counts(&document)), (Some("completed"), [0, 1, 0, 0]));
    assert!(stage.exists(".mp4").await);
    for (document, expected) in [(&document, true), (&first, false)] {
        let attempt = document.field("attemptId").as_text().unwrap();
        for kind in ["jpg", "manifest.json"] {
            assert_eq!(stage.exists(&format!(".{attempt}.{kind}")).await, expected, "{kind} of {attempt}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_leases_nothing_and_finishes_its_clips() {
    let stage = Stage::new(|_| Action::Finish(30)).await;
    let set_paused = async |paused| {
        let fields = Fields::from([("paused".to_owned(), Value::Bool(paused))]);
        let write = Write { path: fleet_control::PATH.into(), fields, precondition: Precondition::None };
        stage.cloud.documents.commit(vec![write]).await.unwrap();
    };
    set_paused(true).await;
    let _worker = stage.worker();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(stage.made(), 0, "it started during a pause");
    set_paused(false).await;
    stage.until(|document| document.field("phase").as_text() == Some("encoding")).await;
    set_paused(true).await;
    assert_eq!(stage.ended().await.field("status").as_text(), Some("completed"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stage.memory.unsettled(names::CLIP_JOBS_WORKER), 0, "its delivery was settled during the pause");
}

/// The job as other versions may publish it: what a change does to the message and, since the dispatcher of that
/// version computes it, to the settings hash.
fn job_of_another_version(job: &Job, change: impl FnOnce(&mut ClipJob)) -> Vec<u8> {
    let mut message = ClipJob::decode(&job::encode(job)[..]).unwrap();
    change(&mut message);
    message.encode_to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_version_is_handed_back_and_made_by_nobody() {
    type Change = fn(&mut ClipJob);
    let later_setting: Change = |job| job.settings_hash = "0123456789abcdef0123".into();
    let later_word: Change = |job| job.clip.as_mut().unwrap().reframe.as_mut().unwrap().mode = "follow".into();
    let later_quality: Change = |job| job.output.as_mut().unwrap().quality = "4320p".into();
    let later_feature: Change = |job| job.features.push("captions".into());
    let earlier_version: Change = |job| job.settings_hash = String::new();
    for (name, change) in [
        ("a setting that is lost in decoding", later_setting),
        ("an unknown word", later_word),
        ("an unknown quality", later_quality),
        ("no hash", earlier_version),
        ("a feature of a later version", later_feature),
    ] {
        let stage = Stage::empty(|_| Action::Finish(3)).await;
        stage.enqueue_bytes(job_of_another_version(&stage.job(), change)).await;
        let _worker = stage.worker();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(stage.memory.unsettled(names::CLIP_JOBS_WORKER), 1, "{name}: kept for a worker of that version");
        assert_eq!(code(&stage.ended().await), "dead_lettered", "{name}: after the last delivery attempt");
        assert_eq!(stage.made(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_field_that_changes_no_setting_is_made() {
    let stage = Stage::empty(|_| Action::Finish(3)).await;
    let mut job = job_of_another_version(&stage.job(), |_| {});
    // Field 999, a varint.
    job.extend([0xb8, 0x3e, 0x01]);
    stage.enqueue_bytes(job).await;
    let _worker = stage.worker();
    assert_eq!(stage.ended().await.field("status").as_text(), Some("completed"));
}
