//! The dispatcher on a cloud in memory, with the failures a real one has.

use crate::{
    Dispatch, Refusal,
    repair::{GRACE_MS, mend},
};
use clipfleet_cloud::{
    Body, Cloud, ErrorKind, NewObject, ObjectName, SubscriptionSpec,
    memory::{Call, Fault, Memory},
};
use clipfleet_contract::{batch, job, names, v1};
use clipfleet_domain::{batch::BucketPolicy, ids::BatchId};
use clipfleet_service::clock::Clock;
use std::{collections::BTreeMap, time::Duration};

struct Stage {
    memory: Memory,
    cloud: Cloud,
    dispatch: Dispatch,
}

impl Stage {
    async fn new() -> Self {
        let memory = Memory::new();
        let (cloud, _link) = memory.connect();
        for topic in [names::CLIP_JOBS, names::PROGRESS_EVENTS] {
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
        let policy = BucketPolicy { default_bucket: "media".into(), allowed: vec!["media".into()] };
        let dispatch = Dispatch::new(cloud.clone(), policy, Clock::starting_at(1_000_000));
        Self { memory, cloud, dispatch }
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
async fn a_batch_is_dispatched_once_however_often_it_is_sent() {
    let stage = Stage::new().await;
    let first = stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    let second = stage.dispatch.accept(&request(&["c1", "c2"])).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1), ("c2".into(), 1)]));
    let other = stage.dispatch.accept(&request(&["c1"])).await;
    assert!(matches!(other, Err(Refusal::Conflict(failure)) if failure.code == "batch_id_conflict"));
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_broke_off_is_finished_by_the_repair() {
    let stage = Stage::new().await;
    // The batch's own fact goes out, but its confirmation is lost: no job was published yet.
    stage.memory.fail_next(Call::Publish, Fault::AnswerLost);
    let broken = stage.dispatch.accept(&request(&["c1", "c2", "c3"])).await;
    assert!(matches!(broken, Err(Refusal::Unavailable(_))));
    mend(&stage.dispatch).await.unwrap();
    assert_eq!(stage.jobs(), 0, "it may still be under way elsewhere");
    tokio::time::advance(Duration::from_millis(GRACE_MS as u64 + 1)).await;
    mend(&stage.dispatch).await.unwrap();
    assert_eq!(stage.jobs_by_clip().await.len(), 3);
    mend(&stage.dispatch).await.unwrap();
    assert_eq!(stage.jobs(), 0, "what is finished is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_was_lost_still_leads_to_every_job() {
    let stage = Stage::new().await;
    stage.memory.fail_next(Call::Commit, Fault::AnswerLost);
    assert!(stage.dispatch.accept(&request(&["c1"])).await.is_err());
    // The client sends again, as it should: known, and left to the repair.
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    tokio::time::advance(Duration::from_millis(GRACE_MS as u64 + 1)).await;
    mend(&stage.dispatch).await.unwrap();
    assert_eq!(stage.jobs_by_clip().await, BTreeMap::from([("c1".into(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_is_no_fault_of_the_request() {
    let stage = Stage::new().await;
    for call in [Call::Get, Call::Stat, Call::Commit] {
        stage.memory.fail_next(call, Fault::Refused(ErrorKind::Unavailable));
        assert!(matches!(stage.dispatch.accept(&request(&["c1"])).await, Err(Refusal::Unavailable(_))), "{call:?}");
    }
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    assert_eq!(stage.jobs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_documents_is_shown_as_queued_and_an_unknown_one_not_at_all() {
    let stage = Stage::new().await;
    stage.dispatch.accept(&request(&["c1"])).await.unwrap();
    let shown = stage.dispatch.show(&BatchId::parse("b1").unwrap()).await.unwrap();
    assert_eq!((&shown["status"], &shown["totalClips"]), (&"queued".into(), &1.into()));
    let unknown = stage.dispatch.show(&BatchId::parse("b2").unwrap()).await;
    assert!(matches!(unknown, Err(Refusal::NotFound(_))));
}
