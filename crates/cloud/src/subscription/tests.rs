//! Refusals at start, later, for a while and for good, in virtual time.

use super::*;
use crate::{
    ErrorKind, Message, REFUSAL_LIMIT, SubscriptionSpec,
    memory::{Call, Memory},
    refusal::MAX_RETRY_DELAY,
};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

/// A topic and its subscription.
async fn create(queue: &dyn Queue) {
    let (name, topic, ack_deadline) = ("jobs-worker".to_owned(), "jobs".to_owned(), Duration::from_secs(60));
    queue.ensure_topic("jobs").await.unwrap();
    let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
    queue.ensure_subscription(&spec).await.unwrap();
}

async fn publish(queue: &dyn Queue) {
    queue.publish("jobs", Message { data: "clip".into(), ..Message::default() }).await.unwrap();
}

/// A subscription, and what it reported: `None` for allowed.
fn open(queue: &Arc<dyn Queue>) -> (Subscription, Arc<Mutex<Vec<Option<ErrorKind>>>>) {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let reports = Arc::clone(&reported);
    let report = move |state: Result<(), &CloudError>| reports.lock().push(state.err().map(CloudError::kind));
    (Subscription::open(Arc::clone(queue), "jobs-worker", 1, report), reported)
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_still_propagating_is_waited_for() {
    let memory = Memory::new();
    let queue = memory.connect().0.queue;
    create(&*queue).await;
    publish(&*queue).await;
    memory.refuse(Call::Receive, ErrorKind::Denied);
    let (mut jobs, reported) = open(&queue);
    let granting = async {
        sleep(Duration::from_secs(7 * 60)).await;
        assert!(reported.lock().iter().all(|kind| *kind == Some(ErrorKind::Denied)));
        memory.allow(Call::Receive);
    };
    let (received, ()) = tokio::join!(jobs.next(), granting);
    assert_eq!(received.unwrap().unwrap().message.data, "clip");
    assert_eq!(reported.lock().last(), Some(&None));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_created_later_is_waited_for() {
    let queue = Memory::new().connect().0.queue;
    let (mut jobs, reported) = open(&queue);
    let creating = async {
        sleep(Duration::from_secs(90)).await;
        create(&*queue).await;
        publish(&*queue).await;
    };
    let (received, ()) = tokio::join!(jobs.next(), creating);
    received.unwrap().unwrap().ack();
    assert_eq!(reported.lock().first(), Some(&Some(ErrorKind::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_lasts_is_returned() {
    let memory = Memory::new();
    let queue = memory.connect().0.queue;
    create(&*queue).await;
    memory.refuse(Call::Receive, ErrorKind::Denied);
    let (mut jobs, _) = open(&queue);
    let started = Instant::now();
    let error = jobs.next().await.unwrap().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        (REFUSAL_LIMIT..REFUSAL_LIMIT + MAX_RETRY_DELAY * 2).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_the_whole_limit() {
    let memory = Memory::new();
    let queue = memory.connect().0.queue;
    create(&*queue).await;
    let (mut jobs, reported) = open(&queue);
    for round in 1..=3 {
        memory.refuse(Call::Receive, ErrorKind::Denied);
        publish(&*queue).await;
        assert!(timeout(REFUSAL_LIMIT * 3 / 4, jobs.next()).await.is_err(), "round {round}");
        memory.allow(Call::Receive);
        jobs.next().await.unwrap().unwrap().ack();
        assert_eq!(reported.lock().last(), Some(&None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_counts_as_allowed() {
    let queue = Memory::new().connect().0.queue;
    create(&*queue).await;
    let (mut jobs, reported) = open(&queue);
    assert!(timeout(Duration::from_millis(1), jobs.next()).await.is_err());
    assert_eq!(*reported.lock(), [None]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_without_limit() {
    let memory = Memory::new();
    let queue = memory.connect().0.queue;
    create(&*queue).await;
    memory.refuse(Call::Receive, ErrorKind::Unavailable);
    let (mut jobs, _) = open(&queue);
    assert!(timeout(REFUSAL_LIMIT * 3, jobs.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_request_is_returned_at_once() {
    let memory = Memory::new();
    let queue = memory.connect().0.queue;
    memory.refuse(Call::Receive, ErrorKind::Invalid);
    let (mut jobs, _) = open(&queue);
    let started = Instant::now();
    assert_eq!(jobs.next().await.unwrap().err().unwrap().kind(), ErrorKind::Invalid);
    assert_eq!(started.elapsed(), Duration::ZERO);
}
