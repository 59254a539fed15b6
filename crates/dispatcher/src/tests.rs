//! The dispatcher on the in-memory cloud, with the failures of a real one.

use crate::{
    Dispatch, Refusal, RetryFilter, intake,
    reconcile::{PROCESSING_TIMEOUT_MS, reconcile_page},
    repair::{DISPATCH_TIMEOUT_MS, repair_page},
    work::WorkCache,
};
use clipfleet_cloud::{
    Body, Cloud, ErrorKind, Fields, Message, NewObject, ObjectName, Precondition, SubscriptionSpec, Value, Write,
    fields_of,
    memory::{Call, Fault, Memory},
};
use clipfleet_contract::{batch, event, job, list::PageRequest, names, v1};
use clipfleet_domain::{
    access::AccessPolicy,
    failure::Code,
    ids::{BatchId, ClipId},
    job::{Event, EventKind},
};
use clipfleet_service::clock::Clock;
use futures::TryStreamExt as _;
use std::{
    collections::{BTreeMap, HashMap},
    io::{Cursor, Read as _},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

struct Stage {
    memory: Memory,
    cloud: Cloud,
    dispatch: Arc<Dispatch>,
    work: WorkCache,
}

impl Stage {
    async fn new() -> Self {
        let memory = Memory::new();
        let (cloud, _link) = memory.connect();
        for topic in [names::EXPORT_REQUESTS, names::CLIP_JOBS, names::PROGRESS_EVENTS] {
            cloud.queue.ensure_topic(topic).await.unwrap();
            let ack_deadline = Duration::from_secs(60);
            let spec = SubscriptionSpec {
                name: topic.into(),
                topic: topic.into(),
                ack_deadline,
                dead_letter: None,
                backoff: None,
            };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        cloud.objects.ensure_bucket("media").await.unwrap();
        let source = ObjectName::new("media", "a.mp4");
        cloud.objects.create(&source, NewObject::default(), Body::Bytes("video".into())).await.unwrap();
        let policy = AccessPolicy::of_buckets("media", &[]);
        let dispatch = Arc::new(Dispatch::new(cloud.clone(), policy, Clock::starting_at(1_000_000)));
        Self { memory, cloud, dispatch, work: WorkCache::default() }
    }

    /// Writes the documents that the status service would write now.
    async fn status(&self, clips: &[(&str, &str, i64)]) {
        let updated_at = UNIX_EPOCH + Duration::from_millis(self.dispatch.clock.now_ms() as u64);
        let state = |status: &str| ("status".to_owned(), Value::String(status.into()));
        let over = clips.iter().all(|(_, status, _)| !matches!(*status, "queued" | "processing"));
        let updated = ("updatedAt".to_owned(), Value::Timestamp(updated_at));
        let batch = Fields::from([state(if over { "failed" } else { "processing" }), updated.clone()]);
        let mut writes =
            vec![Write { path: "exportBatches/b1".into(), fields: batch, precondition: Precondition::None }];
        for (id, status, generation) in clips {
            let (status, code) = status.split_once(':').unwrap_or((status, ""));
            let error = Value::Map([("code".to_owned(), Value::String(code.into()))].into());
            let generation = ("generation".to_owned(), Value::Integer(*generation));
            let id_fields = [("clipId".to_owned(), Value::String((*id).into()))];
            let mut fields = Fields::from([state(status), generation, updated.clone(), ("error".to_owned(), error)]);
            fields.extend(id_fields);
            let path = format!("exportBatches/b1/clips/{id}");
            writes.push(Write { path, fields, precondition: Precondition::None });
        }
        self.cloud.documents.commit(writes).await.unwrap();
    }

    /// Handles a message of the topic; returns the event that it leads to, if it was refused.
    async fn receive(&self, message: &str) -> Option<Event> {
        let message = Message { data: message.to_owned().into(), attributes: BTreeMap::new() };
        self.cloud.queue.publish(names::EXPORT_REQUESTS, message).await.unwrap();
        let delivery = self.cloud.queue.subscribe(names::EXPORT_REQUESTS, 1).next().await.unwrap().unwrap();
        intake::handle(Arc::clone(&self.dispatch), delivery).await;
        assert_eq!(self.memory.unsettled(names::EXPORT_REQUESTS), 0, "every message is settled");
        let mut events = self.cloud.queue.subscribe(names::PROGRESS_EVENTS, 100);
        let mut refused = None;
        for _ in 0..self.memory.unsettled(names::PROGRESS_EVENTS) {
            let delivery = events.next().await.unwrap().unwrap();
            let event = event::decode(&delivery.message.data).unwrap();
            delivery.ack();
            refused = matches!(event.kind, EventKind::BatchRefused { .. }).then_some(event).or(refused);
        }
        refused
    }

    /// Writes the document of a batch, and its record if it has a source.
    async fn batch(&self, id: &str, owner: &str, status: &str, created_at_ms: i64, source: Option<&str>) {
        let fields = [
            ("ownerUid", Value::text(owner)),
            ("projectId", Value::text("p1")),
            ("status", Value::text(status)),
            ("createdAt", Value::instant(created_at_ms)),
            ("hasDeadLetters", Value::Bool(false)),
        ];
        let put = |path: String, fields| Write { path, fields, precondition: Precondition::None };
        let record = source.map(|uri| fields_of([("sourceUri", Value::text(uri)), ("request", Value::text("{}"))]));
        let record = record.map(|fields| put(format!("exportRequests/{id}"), fields));
        let writes = [put(format!("exportBatches/{id}"), fields_of(fields))].into_iter().chain(record);
        self.cloud.documents.commit(writes.collect()).await.unwrap();
    }

    /// The ids of all pages of a list.
    async fn list(&self, query: &[(&str, &str)]) -> Vec<Vec<String>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let parameters = query.iter().copied().chain([("pageToken", token.as_str())]);
            let query = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let page = self.dispatch.list(&PageRequest::parse(&query).unwrap()).await.unwrap();
            let ids = page["batches"].as_array().unwrap().iter();
            pages.push(ids.map(|batch| batch["batchId"].as_str().unwrap().to_owned()).collect());
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            if token.is_empty() {
                return pages;
            }
        }
    }

    /// Advances the time, then reconciles once.
    async fn reconcile_after(&self, ms: i64) {
        tokio::time::advance(Duration::from_millis(ms as u64)).await;
        reconcile_page(&self.dispatch, "").await.unwrap();
    }

    fn jobs(&self) -> usize {
        self.memory.unsettled(names::CLIP_JOBS)
    }

    /// Jobs on the queue by clip, with how often each was published.
    async fn jobs_by_clip(&self) -> BTreeMap<String, usize> {
        let mut deliveries = self.cloud.queue.subscribe(names::CLIP_JOBS, 100);
        let mut counted = BTreeMap::new();
        for _ in 0..self.jobs() {
            let delivery = deliveries.next().await.unwrap().unwrap();
            *counted.entry(job::decode(&delivery.message.data).unwrap().clip.id.to_string()).or_default() += 1;
            delivery.ack();
        }
        counted
    }
}

fn request(clips: &[&str]) -> v1::ExportBatch {
    let clips: Vec<String> =
        clips.iter().map(|id| format!(r#"{{"clipId":"{id}","startMs":0,"endMs":1000}}"#)).collect();
    let json = format!(
        r#"{{"batchId":"b1","ownerUid":"u1","projectId":"p1","source":{{"uri":"gs://media/a.mp4"}},"clips":[{}]}}"#,
        clips.join(",")
    );
    batch::from_json(json.as_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_submitted_twice_is_dispatched_once() {
    let stage = Stage::new().await;
    let first = stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    let second = stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1), ("c2".into(), 1)]));
    let other = stage.dispatch.accept(&request(&["c1"])).await;
    assert!(matches!(other, Err(Refusal::Conflict(failure)) if failure.code == Code::BatchIdConflict));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_refused_under_its_own_batch_id() {
    let stage = Stage::new().await;
    let malformed = [
        r#"{"batchId": "b1", "ownerUid": "u1", "projectId": "p1", "quality": 1080}"#,
        r#"{"batch_id": "b1", "owner_uid": "u1", "project_id": "p1", "qualty": "1080p"}"#,
        r#"{"batchId": "b1", "ownerUid": "u1", "projectId": "p1", "clips": [{"startMs": 1.5}]}"#,
        r#"{"batchId": "b1", "ownerUid": "u1", "projectId": "p1", "clips": "all"}"#,
    ];
    for message in malformed {
        let Event { batch, kind } = stage.receive(message).await.expect(message);
        assert_eq!((batch.id.as_str(), batch.owner.as_str(), batch.project.as_str()), ("b1", "u1", "p1"), "{message}");
        let EventKind::BatchRefused { failure, .. } = kind else { panic!("{message}") };
        assert_ne!(failure.code, Code::BatchIdConflict, "{message}");
    }
    let unreadable = stage.receive(r#"{"batchId": "b1", "#).await.unwrap();
    assert!(unreadable.batch.id.as_str().starts_with("m-"), "{unreadable:?}");
    let without_an_id = stage.receive(r#"{"batchId": 7, "ownerUid": "u1", "quality": 1080}"#).await.unwrap();
    assert!(without_an_id.batch.id.as_str().starts_with("m-"), "{without_an_id:?}");
    assert_eq!(without_an_id.batch.owner.as_str(), "u1");
}

#[tokio::test(start_paused = true)]
async fn a_used_batch_id_leads_to_a_conflict_of_the_accepted_batch() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    let text = |clips: &[&str]| serde_json::to_string(&request(clips)).unwrap();
    assert_eq!(stage.receive(&text(&["c1", "c2"])).await, None, "the same request again");
    let malformed = r#"{"batchId": "b1", "ownerUid": "somebody", "quality": 1080}"#;
    for other in [text(&["c1", "c2", "c3"]), malformed.to_owned()] {
        let Event { batch, kind } = stage.receive(&other).await.expect(&other);
        assert_eq!((batch.owner.as_str(), batch.size), ("u1", 2), "the batch is the accepted one: {other}");
        let EventKind::BatchRefused { failure, .. } = kind else { panic!("{other}") };
        assert_eq!(failure.code, Code::BatchIdConflict, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_are_listed_by_page_the_latest_first() {
    let stage = Stage::new().await;
    for (number, (owner, status)) in
        [("u1", "completed"), ("u2", "failed"), ("u1", "failed"), ("u1", "completed")].into_iter().enumerate()
    {
        let source = (number != 1).then_some("gs://media/a.mp4");
        stage.batch(&format!("b{number}"), owner, status, 1_000 + number as i64, source).await;
    }
    assert_eq!(stage.list(&[]).await, [["b3", "b2", "b1", "b0"]]);
    assert_eq!(stage.list(&[("pageSize", "3")]).await, [&["b3", "b2", "b1"][..], &["b0"]]);
    assert_eq!(stage.list(&[("ownerUid", "u1"), ("pageSize", "2")]).await, [&["b3", "b2"][..], &["b0"]]);
    assert_eq!(stage.list(&[("ownerUid", "u1"), ("status", "completed")]).await, [["b3", "b0"]]);
    assert_eq!(stage.list(&[("projectId", "another")]).await, [Vec::<String>::new()]);
    let page = stage.dispatch.list(&PageRequest::parse(&HashMap::new()).unwrap()).await.unwrap();
    let sources: Vec<_> = page["batches"].as_array().unwrap().iter().map(|batch| batch["sourceUri"].as_str()).collect();
    let source = Some("gs://media/a.mp4");
    assert_eq!(sources, [source, source, None, source], "a refused batch has no record");
    assert_eq!(page["batches"][0]["createdAt"], "1970-01-01T00:00:01.003+00:00");
}

#[tokio::test(start_paused = true)]
async fn the_archive_holds_the_completed_clips_under_the_name_of_the_source() {
    let stage = Stage::new().await;
    let id = BatchId::parse("b1").unwrap();
    assert!(matches!(stage.dispatch.archive(&id).await, Err(Refusal::NotFound(_))));
    stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await.unwrap();
    let none = stage.dispatch.archive(&id).await;
    assert!(matches!(none, Err(Refusal::Conflict(failure)) if failure.code == Code::NoCompletedClips));

    let content = vec![7; 9 << 20];
    for clip in ["c1", "c3"] {
        let fields = [("status", Value::text("completed")), ("outputUri", Value::String(format!("gs://media/{clip}")))];
        let path = format!("exportBatches/b1/clips/{clip}");
        let write = Write { path, fields: fields_of(fields), precondition: Precondition::None };
        stage.cloud.documents.commit(vec![write]).await.unwrap();
        let body = Body::Bytes(content.clone().into());
        stage.cloud.objects.create(&ObjectName::new("media", clip), NewObject::default(), body).await.unwrap();
    }
    let archive = stage.dispatch.archive(&id).await.unwrap();
    assert_eq!(archive.name, "a-clips.zip");
    let bytes: Vec<_> = archive.into_stream().try_collect().await.unwrap();
    assert!(bytes.iter().all(|chunk| chunk.len() <= 5 << 20), "the archive is streamed");
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes.concat())).unwrap();
    assert_eq!(zip.file_names().map(Result::unwrap).collect::<Vec<_>>(), ["a-c1.mp4", "a-c3.mp4"]);
    for index in 0..2 {
        let mut read = Vec::new();
        zip.by_index(index).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content, "an entry equals its file");
    }

    let gone = stage.dispatch.archive(&id).await.unwrap();
    stage.cloud.objects.delete(&ObjectName::new("media", "c3")).await.unwrap();
    assert!(gone.into_stream().try_collect::<Vec<_>>().await.is_err(), "an incomplete archive ends with an error");
    let gone = stage.dispatch.archive(&id).await;
    assert!(matches!(gone, Err(Refusal::NotFound(failure)) if failure.code == Code::OutputDeleted));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_dispatch_is_finished_by_the_repair() {
    let stage = Stage::new().await;
    // The batch's first event is published, but its confirmation is lost: no job is published.
    stage.memory.fail_next(Call::Publish, Fault::AnswerLost);
    let broken = stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await;
    assert!(matches!(broken, Err(Refusal::Unavailable(_))));
    repair_page(&stage.dispatch, "").await.unwrap();
    assert_eq!(stage.jobs(), 0, "another process may still dispatch it");
    tokio::time::advance(Duration::from_millis(DISPATCH_TIMEOUT_MS as u64 + 1)).await;
    repair_page(&stage.dispatch, "").await.unwrap();
    assert_eq!(stage.jobs_by_clip().await.len(), 3);
    repair_page(&stage.dispatch, "").await.unwrap();
    assert_eq!(stage.jobs(), 0, "a finished dispatch is not repeated");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_record_does_not_block_the_repair_or_count_of_others() {
    let stage = Stage::new().await;
    // Written by another version, and first in the order of ids.
    let fields = Fields::from([("dispatched".into(), Value::Bool(false)), ("open".into(), Value::Bool(true))]);
    let path = "exportRequests/a0".to_owned();
    stage.cloud.documents.commit(vec![Write { path, fields, precondition: Precondition::Absent }]).await.unwrap();
    stage.memory.fail_next(Call::Publish, Fault::Refused(ErrorKind::Unavailable));
    assert!(matches!(stage.dispatch.accept(&request(&["c1"])).await, Err(Refusal::Unavailable(_))));
    tokio::time::sleep(Duration::from_millis(DISPATCH_TIMEOUT_MS as u64)).await;
    repair_page(&stage.dispatch, "").await.unwrap();
    assert_eq!(stage.jobs(), 1);
    assert_eq!(stage.work.get(&stage.dispatch).await.unwrap()["queuedClips"], 1);
    stage.reconcile_after(24 * 3_600_000).await;
    assert_eq!(stage.jobs(), 2, "reconciliation continues, too");
}

#[tokio::test(start_paused = true)]
async fn batches_that_can_never_be_dispatched_do_not_hide_later_ones() {
    let stage = Stage::new().await;
    let fields = Fields::from([("dispatched".into(), Value::Bool(false))]);
    for number in 0..60 {
        let path = format!("exportRequests/a{number}");
        let write = Write { path, fields: fields.clone(), precondition: Precondition::Absent };
        stage.cloud.documents.commit(vec![write]).await.unwrap();
    }
    stage.memory.fail_next(Call::Publish, Fault::Refused(ErrorKind::Unavailable));
    assert!(matches!(stage.dispatch.accept(&request(&["c1"])).await, Err(Refusal::Unavailable(_))));
    tokio::time::sleep(Duration::from_millis(DISPATCH_TIMEOUT_MS as u64)).await;
    let next = repair_page(&stage.dispatch, "").await.unwrap();
    assert!(!next.is_empty() && stage.jobs() == 0, "the first page is full of them");
    assert_eq!(repair_page(&stage.dispatch, &next).await.unwrap(), "");
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test]
async fn a_request_whose_record_the_database_refuses_permanently_is_refused() {
    let stage = Stage::new().await;
    stage.memory.fail_next(Call::Commit, Fault::Refused(ErrorKind::Invalid));
    let Err(Refusal::Invalid(failure)) = stage.dispatch.accept(&request(&["c1"])).await else { panic!("refused") };
    assert_eq!((failure.code.as_str(), failure.retryable), ("document_refused", false));
    assert!(stage.dispatch.accept(&request(&["c1"])).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_was_lost_still_leads_to_every_job() {
    let stage = Stage::new().await;
    stage.memory.fail_next(Call::Commit, Fault::AnswerLost);
    assert!(stage.dispatch.accept(&request(&["c1"])).await.is_err());
    // The client retries, as it should. The batch is known, and the repair dispatches it.
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    tokio::time::advance(Duration::from_millis(DISPATCH_TIMEOUT_MS as u64 + 1)).await;
    repair_page(&stage.dispatch, "").await.unwrap();
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_service_does_not_make_a_request_invalid() {
    let stage = Stage::new().await;
    for call in [Call::Get, Call::Stat, Call::Commit] {
        stage.memory.fail_next(call, Fault::Refused(ErrorKind::Unavailable));
        assert!(matches!(stage.dispatch.accept(&request(&["c1"])).await, Err(Refusal::Unavailable(_))), "{call:?}");
    }
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_documents_is_shown_as_queued_and_an_unknown_one_is_not_found() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    let shown = stage.dispatch.show(&BatchId::parse("b1").unwrap()).await.unwrap();
    assert_eq!((&shown["status"], &shown["totalClips"]), (&"queued".into(), &1.into()));
    let unknown = stage.dispatch.show(&BatchId::parse("b2").unwrap()).await;
    assert!(matches!(unknown, Err(Refusal::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_clip_gets_its_job_again_with_growing_delays() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "completed", 0), ("c2", "processing", 2), ("c3", "queued", 0)]).await;
    stage.reconcile_after(PROCESSING_TIMEOUT_MS - 1_000).await;
    assert_eq!(stage.jobs(), 0, "the silence may be normal");
    stage.reconcile_after(1_000).await;
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c2".into(), 1), ("c3".into(), 1)]));
    stage.reconcile_after(2 * PROCESSING_TIMEOUT_MS - 1_000).await;
    assert_eq!(stage.jobs(), 0, "the timeout has doubled");
    stage.reconcile_after(1_000).await;
    assert_eq!(stage.jobs(), 2);
    stage.jobs_by_clip().await;
    // An update of a document restarts the wait.
    stage.reconcile_after(4 * PROCESSING_TIMEOUT_MS - 1_000).await;
    stage.status(&[("c1", "completed", 0), ("c2", "processing", 2), ("c3", "queued", 0)]).await;
    stage.reconcile_after(4 * PROCESSING_TIMEOUT_MS - 1_000).await;
    assert_eq!(stage.jobs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repaired_job_has_the_current_generation() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "processing", 3)]).await;
    stage.reconcile_after(PROCESSING_TIMEOUT_MS).await;
    let delivery = stage.cloud.queue.subscribe(names::CLIP_JOBS, 1).next().await.unwrap().unwrap();
    assert_eq!(job::decode(&delivery.message.data).unwrap().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_first_event_of_a_batch_is_published_again() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    stage.jobs_by_clip().await;
    let events = stage.memory.unsettled(names::PROGRESS_EVENTS);
    // Without a document, it looks like a queued batch, whose timeout is longer.
    stage.reconcile_after(PROCESSING_TIMEOUT_MS).await;
    assert_eq!(stage.jobs(), 0);
    stage.reconcile_after(3 * PROCESSING_TIMEOUT_MS).await;
    assert_eq!(stage.jobs_by_clip().await.len(), 2);
    assert_eq!(stage.memory.unsettled(names::PROGRESS_EVENTS), events + 1);
}

#[tokio::test(start_paused = true)]
async fn batches_of_a_paused_fleet_are_not_repaired() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "processing", 0)]).await;
    assert!(stage.dispatch.set_paused(true).await.unwrap().paused);
    stage.reconcile_after(5 * PROCESSING_TIMEOUT_MS).await;
    assert_eq!(stage.jobs(), 0);
    assert!(!stage.dispatch.set_paused(false).await.unwrap().paused);
    stage.reconcile_after(PROCESSING_TIMEOUT_MS - 1_000).await;
    assert_eq!(stage.jobs(), 0, "it was resumed only recently");
    stage.reconcile_after(1_000).await;
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_pause_does_not_undo_a_later_request() {
    let Stage { dispatch, .. } = Stage::new().await;
    let found = dispatch.fleet_document().await.unwrap();
    dispatch.set_paused(true).await.unwrap();
    dispatch.set_paused(false).await.unwrap();
    assert!(dispatch.write_paused(found, true).await.is_err());
    assert!(!dispatch.fleet_control().await.unwrap().paused);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_an_ended_batch_is_closed_until_a_retry() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "failed", 0)]).await;
    let open = async || crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len();
    assert_eq!(open().await, 1);
    stage.reconcile_after(1_000).await;
    assert_eq!(open().await, 0);
    let (b1, c1) = (BatchId::parse("b1").unwrap(), ClipId::parse("c1").unwrap());
    assert_eq!(stage.dispatch.retry(&b1, None, RetryFilter::Ended).await.unwrap(), [c1]);
    assert_eq!(open().await, 1);
    // The retry's job is lost, and so is its event.
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "queued", 1)]).await;
    stage.reconcile_after(PROCESSING_TIMEOUT_MS).await;
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clip_without_a_document_in_an_ended_batch_has_ended() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    let jobs = stage.jobs();
    // The store refuses the document of the second clip permanently, and the batch's document says how it ended.
    stage.status(&[("c1", "completed", 0)]).await;
    stage.reconcile_after(1_000).await;
    assert_eq!(crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len(), 0);
    stage.reconcile_after(48 * 3_600_000).await;
    assert_eq!(stage.jobs(), jobs, "its job is not published again");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_only_in_the_record_is_repaired_and_can_be_cancelled() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    stage.status(&[("c1", "failed", 0), ("c2", "completed", 0)]).await;
    let (b1, c1) = (BatchId::parse("b1").unwrap(), ClipId::parse("c1").unwrap());
    stage.dispatch.retry(&b1, None, RetryFilter::Ended).await.unwrap();
    stage.jobs_by_clip().await;
    // The status service is down, and the retry's job is lost.
    stage.reconcile_after(59_000).await;
    assert_eq!(crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len(), 1);
    assert_eq!(stage.jobs(), 0, "the silence may be normal");
    let events = stage.memory.unsettled(names::PROGRESS_EVENTS);
    stage.reconcile_after(1_000).await;
    let delivery = stage.cloud.queue.subscribe(names::CLIP_JOBS, 1).next().await.unwrap().unwrap();
    let job = job::decode(&delivery.message.data).unwrap();
    assert_eq!((&job.clip.id, job.generation), (&c1, 1));
    assert_eq!(stage.memory.unsettled(names::PROGRESS_EVENTS), events + 1);
    delivery.ack();
    assert_eq!(stage.dispatch.cancel(&b1, None).await.unwrap(), std::slice::from_ref(&c1));
    // No document shows the cancellation either, and another retry gets a generation of its own.
    assert_eq!(stage.dispatch.retry(&b1, None, RetryFilter::Ended).await.unwrap(), [c1]);
    let delivery = stage.cloud.queue.subscribe(names::CLIP_JOBS, 1).next().await.unwrap().unwrap();
    assert_eq!(job::decode(&delivery.message.data).unwrap().generation, 2);
    stage.status(&[("c1", "completed", 1), ("c2", "completed", 0)]).await;
    stage.reconcile_after(1_000).await;
    assert_eq!(crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len(), 1);
    stage.status(&[("c1", "completed", 2), ("c2", "completed", 0)]).await;
    stage.reconcile_after(1_000).await;
    assert_eq!(crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_retry_is_repaired_while_its_batch_is_in_progress() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "failed", 0), ("c2", "processing", 0)]).await;
    stage.memory.fail_next(Call::Publish, Fault::Refused(ErrorKind::Invalid));
    let b1 = BatchId::parse("b1").unwrap();
    assert!(stage.dispatch.retry(&b1, None, RetryFilter::Ended).await.is_err());
    stage.reconcile_after(59_000).await;
    stage.status(&[("c1", "failed", 0), ("c2", "processing", 0)]).await;
    assert_eq!(stage.jobs(), 0);
    stage.reconcile_after(1_000).await;
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_batch_beyond_the_job_limit_waits_for_the_next_scan() {
    let stage = Stage::new().await;
    let clips: Vec<String> = (0..1_000).map(|n| format!("c{n}")).collect();
    stage.dispatch.accept(&request(&clips.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    let after = v1::ExportBatch { batch_id: "b2".into(), ..request(&["c1"]) };
    stage.dispatch.accept(&after).await.unwrap();
    let before = stage.jobs();
    stage.reconcile_after(4 * PROCESSING_TIMEOUT_MS).await;
    assert_eq!(stage.jobs(), before + 1_000);
    assert_eq!(crate::record::open(&stage.cloud, "", 10).await.unwrap().records.len(), 2);
    stage.reconcile_after(0).await;
    assert_eq!(stage.jobs(), before + 1_001);
}

#[tokio::test(start_paused = true)]
async fn of_two_dispatchers_that_reconcile_at_once_one_publishes() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "processing", 0)]).await;
    tokio::time::advance(Duration::from_millis(PROCESSING_TIMEOUT_MS as u64)).await;
    let (one, other) = tokio::join!(reconcile_page(&stage.dispatch, ""), reconcile_page(&stage.dispatch, ""));
    one.unwrap();
    other.unwrap();
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_dead_letters_are_listed_and_redriven() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await.unwrap();
    stage.jobs_by_clip().await;
    stage.status(&[("c1", "failed:dead_lettered", 0), ("c2", "failed:source_gone", 0), ("c3", "completed", 0)]).await;
    let b1 = BatchId::parse("b1").unwrap();
    let letters = stage.dispatch.dead_letters_of(&b1).await.unwrap();
    assert_eq!((letters.len(), &letters[0]["clipId"]), (1, &"c1".into()));
    let c2 = ClipId::parse("c2").unwrap();
    let refused = stage.dispatch.retry(&b1, Some(&c2), RetryFilter::DeadLettered).await;
    assert!(matches!(refused, Err(Refusal::Conflict(failure)) if failure.code == Code::ClipNotDeadLettered));
    let redriven = stage.dispatch.retry(&b1, None, RetryFilter::DeadLettered).await.unwrap();
    assert_eq!(redriven, [ClipId::parse("c1").unwrap()]);
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn queued_and_processing_clips_are_counted_from_the_documents_of_open_batches() {
    let stage = Stage::new().await;
    let counted = async || {
        let work = stage.work.get(&stage.dispatch).await.unwrap();
        let open = work["batches"].as_array().unwrap().len();
        [work["queuedClips"].as_u64().unwrap(), work["processingClips"].as_u64().unwrap(), open as u64]
    };
    assert_eq!(counted().await, [0, 0, 0]);
    stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await.unwrap();
    assert_eq!(counted().await, [0, 0, 0], "the response is cached for a while");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(counted().await, [3, 0, 1], "without documents, all clips count as queued");
    stage.status(&[("c1", "completed", 0), ("c2", "processing", 0), ("c3", "queued", 0)]).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(counted().await, [1, 1, 1]);
    let work = stage.work.get(&stage.dispatch).await.unwrap();
    assert_eq!((&work["workers"][0]["clips"][0]["clipId"], &work["more"]), (&"c2".into(), &false.into()));
    stage.status(&[("c1", "completed", 0), ("c2", "failed", 0), ("c3", "cancelled", 0)]).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(counted().await, [0, 0, 0]);
}
