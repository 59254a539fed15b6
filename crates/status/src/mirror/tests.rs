//! The mirror behind the whole service, on a cloud in memory and on virtual time.

use super::*;
use crate::{Config, fold};
use async_trait::async_trait;
use clipfleet_cloud::{
    Document, Documents, Fields, Message, Search, SubscriptionSpec, Value, Version,
    memory::{Call, Fault, Memory},
};
use clipfleet_domain::{ids::OwnerUid, job::BatchContext, lifecycle::ClipView, state::State, wire_name::WireName as _};
use clipfleet_service::{clock::Clock, health::Readiness};
use std::time::UNIX_EPOCH;
use tokio::time::Instant;

/// The recorded events of a batch on a fleet with one worker and one slot: two clips complete, one has a window beyond
/// the end of the source, and one is cancelled. Each line has the time since the first event in milliseconds, and the
/// message in hexadecimal.
const RECORDED: &str = include_str!("recorded.txt");

const CLIPS: [&str; 4] = ["clip-1", "wizard--clip-2", "too--late", "unwanted"];

struct Stage {
    memory: Memory,
    cloud: Cloud,
    stop: CancellationToken,
    folding: JoinHandle<Result<(), CloudError>>,
}

impl Stage {
    /// A status service with the mirror. `wrap` may change its cloud.
    async fn new(wrap: impl FnOnce(Cloud) -> Cloud) -> Self {
        let memory = Memory::new();
        let (cloud, _) = memory.connect();
        for (name, topic) in [
            (names::PROGRESS_EVENTS_STATUS, names::PROGRESS_EVENTS),
            (names::CLIP_JOBS_DEAD_LETTER_STATUS, names::CLIP_JOBS_DEAD_LETTER),
        ] {
            cloud.queue.ensure_topic(topic).await.unwrap();
            let (name, topic, ack_deadline) = (name.to_owned(), topic.to_owned(), Duration::from_secs(60));
            let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        let (theirs, stop) = (wrap(memory.connect().0), CancellationToken::new());
        let config = Config { legacy_mirror: true };
        let folding = fold(config, theirs, Clock::starting_at(0), Readiness::default(), stop.clone());
        Self { memory, cloud, stop, folding: tokio::spawn(folding) }
    }

    /// Creates the legacy product's document of the project.
    async fn with_project(self) -> Self {
        let note = Fields::from([("note".into(), Value::String("kept".into()))]);
        let clips = Fields::from([("clip-1".into(), Value::Map(note.clone())), ("other".into(), Value::Map(note))]);
        let title = Value::String("Talk".into());
        let fields = Fields::from([("title".into(), title), ("clipProcessing".into(), Value::Map(clips))]);
        let path = "wizardProjects/wizard--p-1".to_owned();
        self.cloud.documents.commit(vec![Write { path, fields, precondition: Precondition::Absent }]).await.unwrap();
        self
    }

    /// Publishes the recorded events at their recorded times.
    async fn replay(&self) {
        let started = Instant::now();
        for line in RECORDED.lines() {
            let (ms, hex) = line.split_once(' ').unwrap();
            tokio::time::sleep_until(started + Duration::from_millis(ms.parse().unwrap())).await;
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let data: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let message = Message { data: data.into(), ..Message::default() };
            self.cloud.queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
        }
    }

    async fn get(&self, path: &str) -> Option<Document> {
        self.cloud.documents.get(&[path.to_owned()]).await.unwrap().remove(0)
    }

    async fn job(&self, clip: &str) -> Option<Document> {
        self.get(&format!("wizardProcessingJobs/b1:{clip}")).await
    }

    /// The fields of a clip in the project's document.
    async fn clip(&self, clip: &str) -> Fields {
        let project = self.get("wizardProjects/wizard--p-1").await.unwrap();
        let Value::Map(clips) = &project.fields["clipProcessing"] else { panic!("{project:?}") };
        let Value::Map(clip) = &clips[clip] else { panic!("{clips:?}") };
        clip.clone()
    }

    /// Stops the service as a signal does.
    async fn end(self) -> Memory {
        self.stop.cancel();
        self.folding.await.unwrap().unwrap();
        self.memory
    }
}

/// Fields as one line, in the order of their names. Times are milliseconds since the batch was accepted.
fn line(fields: &Fields) -> String {
    let accepted = UNIX_EPOCH + Duration::from_millis(1_795_657_505_165);
    let value = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Timestamp(at) => format!("+{}", at.duration_since(accepted).unwrap().as_millis()),
        other => panic!("{other:?}"),
    };
    fields.iter().map(|(name, field)| format!("{name}={}", value(field))).collect::<Vec<_>>().join(" ")
}

/// The final job of every clip, without its ids.
const GOLDEN: [&str; 4] = [
    "completedAt=+2643 createdAt=+0 error=- outputUrl=http://127.0.0.1:43219/storage/v1/b/clipfleet-local/o/\
     processed-clips%2Fu1%2Fclip-1-d9970eca9b337da948cb.mp4?alt=media progress=100 startedAt=+12 status=completed \
     updatedAt=+2643",
    "completedAt=+5521 createdAt=+0 error=- outputUrl=http://127.0.0.1:43219/storage/v1/b/clipfleet-local/o/\
     processed-clips%2Fu1%2Fwizard--clip-2-dfac18c2f53bb66ce3eb.mp4?alt=media progress=100 startedAt=+2737 \
     status=completed updatedAt=+5521",
    "completedAt=+8429 createdAt=+0 error=the window 9000-60000 ms lies beyond the end of the source at 12000 ms; \
     choose an end of at most 12000 ms outputUrl=- progress=5 startedAt=+5535 status=failed updatedAt=+8429",
    "completedAt=+1081 createdAt=+0 error=the export was cancelled outputUrl=- progress=0 startedAt=- status=failed \
     updatedAt=+1081",
];

#[tokio::test(start_paused = true)]
async fn a_recorded_batch_gives_exactly_the_fields_of_the_legacy_product() {
    let stage = Stage::new(|cloud| cloud).await.with_project().await;
    let started = Instant::now();
    let watching = async {
        let mut seen: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
        while started.elapsed() < Duration::from_secs(11) {
            for clip in CLIPS {
                let Some(job) = stage.job(clip).await else { continue };
                let now =
                    (job.field("status").as_text().unwrap().to_owned(), job.field("progress").as_integer().unwrap());
                let states = seen.entry(clip).or_default();
                if states.last() != Some(&now) {
                    states.push(now);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        seen
    };
    let (seen, ()) = tokio::join!(watching, stage.replay());

    for (clip, golden) in CLIPS.into_iter().zip(GOLDEN) {
        let golden = golden.replacen("completedAt", &format!("batchId=b1 clipId={clip} completedAt"), 1);
        let golden = golden.replacen(" outputUrl=", &format!(" jobId=b1:{clip} outputUrl="), 1);
        let mut job = stage.job(clip).await.unwrap().fields;
        assert_eq!(job.remove("ownerUid"), Some(Value::String("u1".into())));
        assert_eq!(job.remove("projectId"), Some(Value::String("wizard--p-1".into())));
        assert_eq!(line(&job), golden);
        for ours in ["batchId", "clipId"] {
            job.remove(ours);
        }
        let mut shown = stage.clip(clip).await;
        if clip == "clip-1" {
            assert_eq!(shown.remove("note"), Some(Value::String("kept".into())), "fields of the page stay");
        }
        assert_eq!(shown, job, "the project has the same fields");
    }
    let states =
        |clip: &str| seen[clip].iter().map(|(status, progress)| format!("{status} {progress}")).collect::<Vec<_>>();
    let (first, last) = (states("clip-1"), states("unwanted"));
    assert_eq!(last, ["queued 0", "failed 0"]);
    assert_eq!(first.first().map(String::as_str), Some("queued 0"));
    assert!(first.iter().any(|state| state.starts_with("processing")), "{first:?}");
    for clip in CLIPS {
        let percents: Vec<i64> = seen[clip].iter().map(|(_, percent)| *percent).collect();
        assert!(percents.is_sorted(), "{percents:?}");
    }
    let project = stage.get("wizardProjects/wizard--p-1").await.unwrap();
    assert_eq!((project.field("title").as_text(), project.fields.len()), (Some("Talk"), 2));
    assert_eq!(stage.clip("other").await.len(), 1);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_polls_every_five_seconds_sees_each_end() {
    let stage = Stage::new(|cloud| cloud).await.with_project().await;
    let started = Instant::now();
    // Polls as the legacy page does: until the status is one of these two, or it times out.
    let polling = async {
        let mut waiting = CLIPS.to_vec();
        let mut ends = BTreeMap::new();
        while !waiting.is_empty() && started.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let clips = stage.get("wizardProjects/wizard--p-1").await.unwrap();
            let Value::Map(clips) = &clips.fields["clipProcessing"] else { panic!("{clips:?}") };
            waiting.retain(|clip| {
                let Some(Value::Map(shown)) = clips.get(*clip) else { return true };
                match &shown.get("status") {
                    Some(Value::String(status)) if ["completed", "failed"].contains(&status.as_str()) => {
                        ends.insert(
                            *clip,
                            (status.clone(), shown["outputUrl"] != Value::Null, started.elapsed().as_secs()),
                        );
                        false
                    }
                    _ => true,
                }
            });
        }
        ends
    };
    let (ends, ()) = tokio::join!(polling, stage.replay());
    let end = |status: &str, url, at| (status.to_owned(), url, at);
    assert_eq!(ends["clip-1"], end("completed", true, 5));
    assert_eq!(ends["unwanted"], end("failed", false, 5));
    assert_eq!(ends["wizard--clip-2"], end("completed", true, 10));
    assert_eq!(ends["too--late"], end("failed", false, 10));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_project_is_not_created_and_its_jobs_are_written() {
    let stage = Stage::new(|cloud| cloud).await;
    stage.replay().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.get("wizardProjects/wizard--p-1").await, None);
    assert_eq!(stage.job("clip-1").await.unwrap().field("status").as_text(), Some("completed"));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_latest_changes_are_mirrored_before_the_service_stops() {
    let stage = Stage::new(|cloud| cloud).await.with_project().await;
    stage.replay().await;
    // The end is folded and written, but its write interval has not passed.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let memory = stage.end().await;
    let documents = memory.connect().0.documents;
    let job = documents.get(&["wizardProcessingJobs/b1:too--late".to_owned()]).await.unwrap().remove(0).unwrap();
    assert_eq!(job.field("status").as_text(), Some("failed"));
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_could_not_mirror_another_mirrors_when_it_loads_the_batch() {
    let stage = Stage::new(without_mirror).await.with_project().await;
    stage.replay().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.job("clip-1").await, None);
    let memory = stage.end().await;
    let (theirs, stop) = (memory.connect().0, CancellationToken::new());
    let folding =
        fold(Config { legacy_mirror: true }, theirs, Clock::starting_at(0), Readiness::default(), stop.clone());
    let folding = tokio::spawn(folding);
    let stage = Stage { cloud: memory.connect().0, memory, stop, folding };
    // An event of the batch is redelivered.
    let last = RECORDED.lines().last().unwrap().split_once(' ').unwrap().1;
    let byte = |at| u8::from_str_radix(&last[at..at + 2], 16).unwrap();
    let data: Vec<u8> = (0..last.len()).step_by(2).map(byte).collect();
    let message = Message { data: data.into(), ..Message::default() };
    stage.cloud.queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (clip, status) in CLIPS.into_iter().zip(["completed", "completed", "failed", "failed"]) {
        assert_eq!(stage.job(clip).await.unwrap().field("status").as_text(), Some(status));
    }
    stage.end().await;
}

/// A store in which each write of the mirror takes this long.
struct Slow(Cloud, Duration);

#[async_trait]
impl Documents for Slow {
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
        self.0.documents.get(paths).await
    }

    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
        self.0.documents.list(collection).await
    }

    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
        self.0.documents.find(collection, search).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        self.0.documents.commit(writes).await
    }

    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
        tokio::time::sleep(self.1).await;
        self.0.documents.amend(writes, amendment).await
    }
}

fn without_mirror(cloud: Cloud) -> Cloud {
    Cloud { documents: Arc::new(Slow(cloud.clone(), Duration::from_secs(86_400))), ..cloud }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_does_not_block_the_writer() {
    let stage = Stage::new(without_mirror).await.with_project().await;
    stage.replay().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let batch = stage.get("exportBatches/b1").await.unwrap();
    assert_eq!(batch.field("status").as_text(), Some("partial"), "the status documents are written");
    assert_eq!(stage.memory.unsettled(names::PROGRESS_EVENTS_STATUS), 0, "their events are acked");
    let stopping = Instant::now();
    stage.end().await;
    assert!(stopping.elapsed() <= CLOSE_TIMEOUT + Duration::from_millis(10), "{:?}", stopping.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_mirror_whose_calls_fail_catches_up() {
    let stage = Stage::new(|cloud| cloud).await.with_project().await;
    stage.replay().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Only the mirror makes calls now.
    stage.memory.fail_next(Call::Get, Fault::Refused(ErrorKind::Unavailable));
    stage.memory.fail_next(Call::Commit, Fault::AnswerLost);
    tokio::time::sleep(RETRY_DELAY * 2 + WRITE_INTERVAL * 2).await;
    assert_eq!(stage.job("too--late").await.unwrap().field("status").as_text(), Some("failed"));
    assert_eq!(stage.clip("too--late").await["status"], Value::String("failed".into()));
    stage.end().await;
}

#[test]
fn pending_clips_are_a_set_and_bounded() {
    let (pending, project) = (Pending::default(), ProjectId::parse("p1").unwrap());
    let batch = BatchId::parse("b1").unwrap();
    let clip = |number: usize| (batch.clone(), ClipId::parse(&format!("c{number}")).unwrap());
    for _ in 0..3 {
        pending.add(&project, [clip(1)]);
    }
    let count = || pending.lock().values().map(BTreeSet::len).sum::<usize>();
    assert_eq!(count(), 1);
    pending.add(&project, (0..MAX_PENDING + 100).map(clip));
    assert_eq!(count(), MAX_PENDING);
    pending.add(&ProjectId::parse("p2").unwrap(), [clip(1)]);
    assert_eq!(count(), MAX_PENDING);
}

#[tokio::test(start_paused = true)]
async fn several_instances_converge() {
    // One instance writes what it read four seconds earlier; the others write in between.
    let late = Duration::from_secs(4);
    let slow = |cloud: Cloud| Cloud { documents: Arc::new(Slow(cloud.clone(), late)), ..cloud };
    let stage = Stage::new(slow).await.with_project().await;
    let (stop, config) = (stage.stop.clone(), Config { legacy_mirror: true });
    let others: Vec<_> = (0..2)
        .map(|_| {
            let cloud = stage.memory.connect().0;
            tokio::spawn(fold(config, cloud, Clock::starting_at(0), Readiness::default(), stop.clone()))
        })
        .collect();
    stage.replay().await;
    tokio::time::sleep(late * 5).await;
    for (clip, status) in CLIPS.into_iter().zip(["completed", "completed", "failed", "failed"]) {
        assert_eq!(stage.job(clip).await.unwrap().field("status").as_text(), Some(status), "{clip}");
        assert_eq!(stage.clip(clip).await["status"], Value::String(status.into()), "{clip}");
    }
    stage.end().await;
    for other in others {
        other.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_fails_if_another_instance_mirrored_the_clip_since_it_was_read() {
    let cloud = Memory::new().connect().0;
    let slow = Cloud { documents: Arc::new(Slow(cloud.clone(), Duration::from_secs(4))), ..cloud.clone() };
    let (project, batch) = (ProjectId::parse("p1").unwrap(), BatchId::parse("b1").unwrap());
    let clip = ClipId::parse("c1").unwrap();
    let clips = Clips::from([(batch.clone(), clip.clone())]);
    let put = async |path: String, fields: Fields| {
        cloud.documents.commit(vec![Write { path, fields, precondition: Precondition::None }]).await.unwrap();
    };
    let put_clip = async |state: State| {
        let context = BatchContext {
            id: batch.clone(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: project.clone(),
            size: 1,
        };
        let view = ClipView { state, ..ClipView::default() };
        let document = ClipDocument { batch: context, clip: clip.clone(), view };
        put(document.path(), document.to_fields()).await;
    };
    put(wizard::project_path(&project), Fields::new()).await;
    // Once without an existing job, and once with one.
    for (before, after) in [(State::Queued, State::Processing), (State::Failed, State::Completed)] {
        put_clip(before).await;
        let quick = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put_clip(after).await;
            update(&cloud, &project, &clips).await
        };
        let (late, quick) = tokio::join!(update(&slow, &project, &clips), quick);
        quick.unwrap();
        let refused = late.unwrap_err().kind();
        assert!(matches!(refused, ErrorKind::Conflict | ErrorKind::AlreadyExists), "{refused:?}");
        let job = cloud.documents.get(&[wizard::job_path(&batch, &clip)]).await.unwrap().remove(0).unwrap();
        assert_eq!(job.field("status").as_text(), Some(after.name()));
    }
}
