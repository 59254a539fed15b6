//! The required behaviour of a queue.

use crate::Backend;
use bytes::Bytes;
use clipfleet_cloud::{Deliveries, Delivery, ErrorKind, Message};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Maximum wait for a delivery, except after a deadline.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait for a message that must not arrive.
const QUIET_PERIOD: Duration = Duration::from_millis(1500);

fn message(text: &str) -> Message {
    Message { data: Bytes::copy_from_slice(text.as_bytes()), attributes: BTreeMap::new() }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.data.to_vec()).unwrap()
}

async fn within(limit: Duration, deliveries: &mut Deliveries) -> Delivery {
    timeout(limit, deliveries.next()).await.expect("a delivery in time").expect("an open stream").unwrap()
}

async fn receive(deliveries: &mut Deliveries) -> Delivery {
    within(DELIVERY_TIMEOUT, deliveries).await
}

async fn assert_none(deliveries: &mut Deliveries) {
    if let Ok(received) = timeout(QUIET_PERIOD, deliveries.next()).await {
        panic!("unexpected message: {:?}", received.map(|received| received.map(|delivery| text(&delivery))));
    }
}

pub(crate) async fn a_published_message_arrives(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut deliveries = queue.subscribe(&subscription, 10);
    let attributes = BTreeMap::from([("batch".to_owned(), "b1".to_owned()), ("kind".to_owned(), "é".to_owned())]);
    let sent = Message { data: Bytes::from_static(&[0, 159, 146, 150]), attributes };
    let id = queue.publish(&topic, sent.clone()).await.unwrap();
    let delivery = receive(&mut deliveries).await;
    assert_eq!((&delivery.message, &delivery.message_id, delivery.delivery_attempt), (&sent, &id, 1));
    delivery.ack();
    deliveries.close().await;
}

pub(crate) async fn every_subscription_gets_its_own_copy(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let subscription = backend.subscription(&topic, |_| {}).await;
        streams.push(queue.subscribe(&subscription, 1));
    }
    let id = queue.publish(&topic, message("both")).await.unwrap();
    for stream in &mut streams {
        let delivery = receive(stream).await;
        assert_eq!(delivery.message_id, id);
        delivery.ack();
    }
}

pub(crate) async fn an_acked_message_is_not_redelivered(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut deliveries = queue.subscribe(&subscription, 1);
    queue.publish(&topic, message("once")).await.unwrap();
    receive(&mut deliveries).await.ack();
    assert_none(&mut deliveries).await;
    deliveries.close().await;
    assert_none(&mut queue.subscribe(&subscription, 1)).await;
}

pub(crate) async fn a_nacked_message_is_redelivered(backend: &Backend) {
    assert_redelivered(backend, Delivery::nack).await;
}

pub(crate) async fn a_dropped_message_is_redelivered(backend: &Backend) {
    assert_redelivered(backend, drop).await;
}

async fn assert_redelivered(backend: &Backend, nack: impl FnOnce(Delivery)) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut deliveries = queue.subscribe(&subscription, 1);
    let id = queue.publish(&topic, message("again")).await.unwrap();
    nack(receive(&mut deliveries).await);
    let second = within(Duration::from_secs(5), &mut deliveries).await;
    assert_eq!((text(&second), &second.message_id), ("again".into(), &id));
    second.ack();
    assert_none(&mut deliveries).await;
}

pub(crate) async fn a_nacked_message_waits_for_its_backoff(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let backoff = Some((Duration::from_secs(3), Duration::from_secs(600)));
    let subscription = backend.subscription(&topic, |spec| spec.backoff = backoff).await;
    let mut deliveries = queue.subscribe(&subscription, 1);
    queue.publish(&topic, message("later")).await.unwrap();
    receive(&mut deliveries).await.nack();
    let nacked = Instant::now();
    receive(&mut deliveries).await.ack();
    // Services randomise the nominal backoff. A much shorter wait would mean that there is none.
    assert!(nacked.elapsed() >= Duration::from_secs(2), "redelivered after {:?}", nacked.elapsed());
}

pub(crate) async fn at_most_outstanding_unsettled(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    for number in 0..5 {
        queue.publish(&topic, message(&number.to_string())).await.unwrap();
    }
    let mut deliveries = queue.subscribe(&subscription, 2);
    let mut seen = BTreeSet::new();
    let (first, second) = (receive(&mut deliveries).await, receive(&mut deliveries).await);
    assert_none(&mut deliveries).await;
    seen.extend([text(&first), text(&second)]);
    first.ack();
    let third = receive(&mut deliveries).await;
    assert_none(&mut deliveries).await;
    seen.insert(text(&third));
    second.ack();
    third.ack();
    for _ in 0..2 {
        let delivery = receive(&mut deliveries).await;
        seen.insert(text(&delivery));
        delivery.ack();
    }
    assert_eq!(seen.len(), 5);
}

pub(crate) async fn two_streams_share_the_work(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let (mut one, mut other) = (queue.subscribe(&subscription, 1), queue.subscribe(&subscription, 1));
    for number in 0..2 {
        queue.publish(&topic, message(&number.to_string())).await.unwrap();
    }
    let (first, second) = (receive(&mut one).await, receive(&mut other).await);
    assert_ne!(text(&first), text(&second));
    first.ack();
    second.ack();
}

pub(crate) async fn a_held_message_stays_leased_past_its_deadline(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut holder = queue.subscribe(&subscription, 1);
    queue.publish(&topic, message("long work")).await.unwrap();
    let delivery = receive(&mut holder).await;
    let mut other = queue.subscribe(&subscription, 1);
    // Past the subscription's deadline (10 s) and past one extension by the client (20 s).
    if let Ok(stolen) = timeout(Duration::from_secs(25), other.next()).await {
        panic!("delivered to another while held: {:?}", stolen.map(|stolen| stolen.map(|delivery| text(&delivery))));
    }
    delivery.ack();
    assert_none(&mut other).await;
}

pub(crate) async fn an_unsettled_message_returns_after_the_deadline(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let id = queue.publish(&topic, message("orphan")).await.unwrap();
    assert_eq!(backend.die_holding_delivery(&subscription).await, id);
    let died = Instant::now();
    let mut deliveries = queue.subscribe(&subscription, 1);
    // The guarantee to users: the clip of a dead worker starts on another within a minute.
    let delivery = within(Duration::from_secs(60), &mut deliveries).await;
    assert_eq!(delivery.message_id, id);
    delivery.ack();
    println!("returned {:.1} s after its holder died", died.elapsed().as_secs_f32());
}

pub(crate) async fn a_message_is_dead_lettered_after_the_last_attempt(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let (topic, dead) = (backend.topic().await, backend.topic().await);
    let policy = Some((dead.clone(), 5));
    let subscription = backend.subscription(&topic, |spec| spec.dead_letter = policy).await;
    let dead_letter_subscription = backend.subscription(&dead, |_| {}).await;
    let mut deliveries = queue.subscribe(&subscription, 1);
    let sent = Message { attributes: BTreeMap::from([("clip".into(), "c1".into())]), ..message("poison") };
    queue.publish(&topic, sent).await.unwrap();
    for attempt in 1..=5 {
        let delivery = receive(&mut deliveries).await;
        assert_eq!(delivery.delivery_attempt, attempt);
        delivery.nack();
    }
    let mut dead_letters = queue.subscribe(&dead_letter_subscription, 1);
    let letter = receive(&mut dead_letters).await;
    assert_eq!(text(&letter), "poison");
    assert_eq!(letter.message.attributes.get("clip").map(String::as_str), Some("c1"), "its attributes are kept");
    letter.ack();
    assert_none(&mut deliveries).await;
}

pub(crate) async fn close_nacks_messages_that_were_not_received(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    for number in 0..4 {
        queue.publish(&topic, message(&number.to_string())).await.unwrap();
    }
    let mut closing = queue.subscribe(&subscription, 4);
    let done = receive(&mut closing).await;
    let mut seen = BTreeSet::from([text(&done)]);
    // Enough time for the other three to reach the client.
    sleep(Duration::from_secs(1)).await;
    done.ack();
    let started = Instant::now();
    closing.close().await;
    // Closing waits up to three seconds for unsettled messages.
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "all messages were settled, but closing took {:?}",
        started.elapsed()
    );
    let mut next = queue.subscribe(&subscription, 4);
    for _ in 0..3 {
        let delivery = within(Duration::from_secs(5), &mut next).await;
        assert!(seen.insert(text(&delivery)), "{} was redelivered", text(&delivery));
        delivery.ack();
    }
}

pub(crate) async fn a_delivery_can_be_settled_after_close(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut closing = queue.subscribe(&subscription, 1);
    queue.publish(&topic, message("late")).await.unwrap();
    let late = receive(&mut closing).await;
    closing.close().await;
    late.ack();
    // The client needs a moment to send the ack. A message that was not settled would return within 25 s.
    sleep(Duration::from_secs(1)).await;
    let mut next = queue.subscribe(&subscription, 1);
    if let Ok(received) = timeout(Duration::from_secs(25), next.next()).await {
        panic!("redelivered: {:?}", received.map(|received| received.map(|delivery| text(&delivery))));
    }
}

pub(crate) async fn a_thousand_messages_published_together_all_arrive(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let subscription = backend.subscription(&topic, |_| {}).await;
    let mut deliveries = queue.subscribe(&subscription, 100);
    let started = Instant::now();
    let publishing = (0..1000).map(|number| {
        let (queue, topic) = (queue.clone(), topic.clone());
        tokio::spawn(async move { queue.publish(&topic, message(&number.to_string())).await.unwrap() })
    });
    let publishing: Vec<_> = publishing.collect();
    let mut ids = BTreeSet::new();
    for task in publishing {
        ids.insert(task.await.unwrap());
    }
    let published = started.elapsed();
    assert_eq!(ids.len(), 1000, "every message has a unique id");
    let mut seen = BTreeSet::new();
    while seen.len() < 1000 {
        let delivery = receive(&mut deliveries).await;
        seen.insert(text(&delivery));
        delivery.ack();
    }
    println!("1000 messages published in {published:?}, settled in {:?}", started.elapsed());
}

pub(crate) async fn existing_topics_and_subscriptions_can_be_ensured_again(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let topic = backend.topic().await;
    let mut spec = None;
    let subscription = backend.subscription(&topic, |made| spec = Some(made.clone())).await;
    queue.publish(&topic, message("kept")).await.unwrap();
    queue.ensure_topic(&topic).await.unwrap();
    queue.ensure_subscription(&spec.unwrap()).await.unwrap();
    receive(&mut queue.subscribe(&subscription, 1)).await.ack();
}

pub(crate) async fn a_missing_topic_or_subscription_is_not_found(backend: &Backend) {
    let queue = &backend.cloud.queue;
    let error = queue.publish(&backend.name("missing"), message("lost")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let mut deliveries = queue.subscribe(&backend.name("missing"), 1);
    let error = timeout(DELIVERY_TIMEOUT, deliveries.next())
        .await
        .unwrap()
        .unwrap()
        .map(|delivery| text(&delivery))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(timeout(DELIVERY_TIMEOUT, deliveries.next()).await.unwrap().is_none(), "the error ends the stream");
}

pub(crate) async fn an_empty_message_is_invalid(backend: &Backend) {
    let topic = backend.topic().await;
    let error = backend.cloud.queue.publish(&topic, Message::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

pub(crate) async fn a_name_that_breaks_the_rules_is_invalid(backend: &Backend) {
    for name in ["ab", "1st", "google-jobs", "a/b/c", "é-topic"] {
        let error = backend.cloud.queue.ensure_topic(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
    }
}
