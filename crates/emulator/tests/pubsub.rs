//! Pub/Sub with the official Rust clients.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::{
    model::{DeadLetterPolicy, Message, RetryPolicy},
    subscriber::{MessageStream, handler::Handler},
};
use std::{collections::HashSet, time::Duration};
use support::*;

fn stream(pubsub: &PubSub, subscription: &str, outstanding: i64) -> MessageStream {
    pubsub.subscriber.subscribe(subscription).set_max_outstanding_messages(outstanding).build()
}

async fn next(stream: &mut MessageStream) -> (String, Message, Handler) {
    let (message, handler) = with_timeout(stream.next()).await.expect("the stream continues").unwrap();
    (String::from_utf8(message.data.to_vec()).unwrap(), message, handler)
}

/// A queue that dead-letters a message at its fifth delivery.
async fn create_dead_lettering_queue(pubsub: &PubSub) {
    for topic in [TOPIC, DEAD_TOPIC] {
        pubsub.topics.create_topic().set_name(topic).send().await.unwrap();
    }
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(DEAD_TOPIC).set_max_delivery_attempts(5);
    let create = pubsub.subscriptions.create_subscription();
    create.set_name(SUBSCRIPTION).set_topic(TOPIC).set_dead_letter_policy(policy).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_message_arrives_with_its_attributes() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let publisher = pubsub.publisher(TOPIC).await;
    let mut stream = stream(&pubsub, SUBSCRIPTION, 10);
    let id = publisher.publish(Message::new().set_data("hello").set_attributes([("kind", "gpu")])).await.unwrap();
    let (data, message, handler) = next(&mut stream).await;
    assert_eq!((data.as_str(), &message.message_id), ("hello", &id));
    assert_eq!(message.attributes["kind"], "gpu");
    assert!(message.publish_time.is_some());
    assert_eq!(handler.delivery_attempt(), None, "counted only with a dead letter policy");
    handler.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nacked_message_is_redelivered() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let mut stream = stream(&pubsub, SUBSCRIPTION, 10);
    pubsub.publish(TOPIC, "again").await;
    let (_, first, handler) = next(&mut stream).await;
    handler.nack();
    let (_, second, handler) = next(&mut stream).await;
    assert_eq!(first.message_id, second.message_id);
    handler.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_redelivers_only_unacknowledged_messages() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    for text in ["one", "two", "three"] {
        pubsub.publish(TOPIC, text).await;
    }
    let mut open = stream(&pubsub, SUBSCRIPTION, 10);
    let mut held = Vec::new();
    for _ in 0..3 {
        let (data, _, handler) = next(&mut open).await;
        if data == "two" { handler.ack() } else { held.push(handler) }
    }
    // Shuts the stream down in order, so that the acknowledgement is sent before the server stops.
    let shutdown = open.shutdown_token();
    drop(held);
    drop(open);
    shutdown.shutdown().await;

    let server = server.restart().await;
    let pubsub = server.pubsub().await;
    let mut stream = stream(&pubsub, SUBSCRIPTION, 10);
    let mut texts = HashSet::new();
    for _ in 0..2 {
        let (data, _, handler) = next(&mut stream).await;
        texts.insert(data);
        handler.ack();
    }
    assert_eq!(texts, HashSet::from(["one".to_owned(), "three".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_always_fails_becomes_a_dead_letter() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await;
    create_dead_lettering_queue(&pubsub).await;
    let create = pubsub.subscriptions.create_subscription();
    create.set_name(DEAD_SUBSCRIPTION).set_topic(DEAD_TOPIC).send().await.unwrap();

    pubsub.publish(TOPIC, "poison").await;
    let mut failing = stream(&pubsub, SUBSCRIPTION, 1);
    for attempt in 1..=5 {
        let (_, _, handler) = next(&mut failing).await;
        assert_eq!(handler.delivery_attempt(), Some(attempt));
        handler.nack();
    }
    let mut dead = stream(&pubsub, DEAD_SUBSCRIPTION, 1);
    let (data, letter, handler) = next(&mut dead).await;
    assert_eq!(data, "poison");
    assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
    assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceSubscription"], "jobs-worker");
    assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"], "test");
    handler.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_attempts_are_counted_across_restarts() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await;
    create_dead_lettering_queue(&pubsub).await;
    pubsub.publish(TOPIC, "job").await;
    let mut open = stream(&pubsub, SUBSCRIPTION, 1);
    let (_, _, handler) = next(&mut open).await;
    assert_eq!(handler.delivery_attempt(), Some(1));
    std::mem::forget(handler);
    drop(open);
    let server = server.restart().await;
    let pubsub = server.pubsub().await;
    let (_, _, handler) = next(&mut stream(&pubsub, SUBSCRIPTION, 1)).await;
    assert_eq!(handler.delivery_attempt(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_at_most_its_limit() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let publisher = pubsub.publisher(TOPIC).await;
    for n in 0..10 {
        publisher.publish(Message::new().set_data(n.to_string())).await.unwrap();
    }
    let mut open = stream(&pubsub, SUBSCRIPTION, 3);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut open).await);
    }
    // A fourth message would arrive within a millisecond if the server sent it.
    let fourth = tokio::time::timeout(Duration::from_millis(300), open.next()).await;
    assert!(fourth.is_err(), "three are held");
    // The first stream does not block another one.
    let mut other = stream(&pubsub, SUBSCRIPTION, 100);
    let mut rest = HashSet::new();
    for _ in 0..7 {
        let (data, _, handler) = next(&mut other).await;
        handler.ack();
        rest.insert(data);
    }
    assert_eq!(rest.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_excludes_messages() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let name = "projects/test/subscriptions/gpu-only";
    let create = pubsub.subscriptions.create_subscription();
    create.set_name(name).set_topic(TOPIC).set_filter(r#"attributes.kind = "gpu""#).send().await.unwrap();
    let publisher = pubsub.publisher(TOPIC).await;
    publisher.publish(Message::new().set_data("c").set_attributes([("kind", "cpu")])).await.unwrap();
    publisher.publish(Message::new().set_data("g").set_attributes([("kind", "gpu")])).await.unwrap();
    let (data, _, handler) = next(&mut stream(&pubsub, name, 10)).await;
    assert_eq!(data, "g");
    handler.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_policy_delays_a_nacked_message() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await;
    pubsub.topics.create_topic().set_name(TOPIC).send().await.unwrap();
    let retry = RetryPolicy::new().set_minimum_backoff(google_cloud_wkt::Duration::clamp(1, 0));
    let create = pubsub.subscriptions.create_subscription();
    create.set_name(SUBSCRIPTION).set_topic(TOPIC).set_retry_policy(retry).send().await.unwrap();
    pubsub.publish(TOPIC, "job").await;
    let mut open = stream(&pubsub, SUBSCRIPTION, 1);
    let (_, _, handler) = next(&mut open).await;
    let nacked = std::time::Instant::now();
    handler.nack();
    next(&mut open).await.2.ack();
    assert!(nacked.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_stream_survives_a_restart_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = start(folder.path()).await;
    let listen = emulator.address();
    let pubsub = PubSub::new(&format!("http://{listen}")).await.with_queue().await;
    let mut open = stream(&pubsub, SUBSCRIPTION, 1);
    pubsub.publish(TOPIC, "before").await;
    next(&mut open).await.2.ack();
    // If the acknowledgement misses the stop, the message is redelivered.
    let waiting = tokio::spawn(async move {
        loop {
            let (data, _, handler) = next(&mut open).await;
            handler.ack();
            if data == "after" {
                return;
            }
        }
    });
    with_timeout(emulator.stop()).await;
    let config = clipfleet_emulator::Config { data: folder.path().into(), listen };
    let again = async {
        loop {
            match clipfleet_emulator::Emulator::start(config.clone()).await {
                // Another test got the port in the meantime and will release it.
                Err(clipfleet_emulator::StartError::Listen { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                started => return started.unwrap(),
            }
        }
    };
    let _emulator = with_timeout(again).await;
    pubsub.publish(TOPIC, "after").await;
    with_timeout(waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_calls_return_the_codes_of_the_real_service() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let code = |error: google_cloud_pubsub::Error| error.status().map(|status| status.code);
    let again = pubsub.topics.create_topic().set_name(TOPIC).send().await.unwrap_err();
    assert_eq!(again.http_status_code(), Some(409));
    assert_eq!(code(again), Some(Code::AlreadyExists));
    let missing = pubsub.topics.get_topic().set_topic("projects/test/topics/missing").send().await.unwrap_err();
    assert_eq!(code(missing), Some(Code::NotFound));
    let create = pubsub.subscriptions.create_subscription();
    let orphan = create.set_name("projects/test/subscriptions/orphan").set_topic("projects/test/topics/missing");
    assert_eq!(code(orphan.send().await.unwrap_err()), Some(Code::NotFound));
    for unsupported in [true, false] {
        let create = pubsub.subscriptions.create_subscription().set_name("projects/test/subscriptions/other");
        let create = create.set_topic(TOPIC);
        let create = create.set_enable_message_ordering(unsupported).set_enable_exactly_once_delivery(!unsupported);
        assert_eq!(code(create.send().await.unwrap_err()), Some(Code::Unimplemented));
    }
    let found = pubsub.subscriptions.get_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
    assert_eq!((found.topic.as_str(), found.ack_deadline_seconds), (TOPIC, 10));
    pubsub.subscriptions.delete_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
    let deleted = with_timeout(stream(&pubsub, SUBSCRIPTION, 1).next()).await;
    assert_eq!(deleted.unwrap().err().and_then(code), Some(Code::NotFound));
    pubsub.topics.delete_topic().set_topic(TOPIC).send().await.unwrap();
    let topics = pubsub.topics.list_topics().set_project("projects/test").send().await.unwrap();
    assert!(topics.topics.is_empty());
}

#[tokio::test]
async fn messages_can_be_sent_and_received_as_json() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    drop(pubsub);
    let http = reqwest::Client::new();
    let post = async |path: &str, body: &str| {
        let url = format!("{}/v1/{path}", server.url());
        let response = http.post(url).body(body.to_owned()).send().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str::<serde_json::Value>(&response.text().await.unwrap()).unwrap(),
        )
    };
    let (status, ids) =
        post(&format!("{TOPIC}:publish"), r#"{"messages":[{"data":"aGVsbG8=","attributes":{"a":"b"}}]}"#).await;
    assert_eq!((status, ids["messageIds"].as_array().unwrap().len()), (200, 1));
    let (_, pulled) = post(&format!("{SUBSCRIPTION}:pull"), r#"{"maxMessages":10}"#).await;
    let received = &pulled["receivedMessages"][0];
    assert_eq!(received["message"]["data"], "aGVsbG8=");
    assert_eq!(received["message"]["attributes"]["a"], "b");
    let ack = serde_json::json!({"ackIds": [received["ackId"]]}).to_string();
    assert_eq!(post(&format!("{SUBSCRIPTION}:acknowledge"), &ack).await.0, 200);
    let (_, empty) = post(&format!("{SUBSCRIPTION}:pull"), r#"{"maxMessages":10,"returnImmediately":true}"#).await;
    assert_eq!(empty, serde_json::json!({}), "like Google's emulator, the response omits empty lists");
    let (status, error) = post("projects/test/topics/missing:publish", r#"{"messages":[{"data":"eA=="}]}"#).await;
    assert_eq!((status, error["error"]["status"].as_str()), (404, Some("NOT_FOUND")));
}

#[tokio::test]
async fn an_expired_lease_gives_the_message_to_the_next_subscriber() {
    let server = TestServer::new().await;
    server.pubsub().await.with_queue().await.publish(TOPIC, "job").await;
    let http = reqwest::Client::new();
    let call = async |verb: &str, body: serde_json::Value| {
        let url = format!("{}/v1/{SUBSCRIPTION}:{verb}", server.url());
        let response = http.post(url).body(body.to_string()).send().await.unwrap().error_for_status().unwrap();
        serde_json::from_str::<serde_json::Value>(&response.text().await.unwrap()).unwrap()
    };
    let pull = serde_json::json!({"maxMessages": 1});
    let first = call("pull", pull.clone()).await["receivedMessages"][0].clone();
    call("modifyAckDeadline", serde_json::json!({"ackIds": [first["ackId"]], "ackDeadlineSeconds": 1})).await;
    // The server waits until the lease ends.
    let second = with_timeout(call("pull", pull)).await["receivedMessages"][0].clone();
    assert_eq!(second["message"], first["message"]);
    // The first subscriber is too late: the lease of the second remains.
    call("acknowledge", serde_json::json!({"ackIds": [first["ackId"]]})).await;
    call("modifyAckDeadline", serde_json::json!({"ackIds": [second["ackId"]], "ackDeadlineSeconds": 0})).await;
    let third = with_timeout(call("pull", serde_json::json!({"maxMessages": 1}))).await["receivedMessages"][0].clone();
    assert_eq!(third["message"], first["message"]);
}

#[tokio::test]
async fn an_update_changes_only_the_named_fields_of_a_topic() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let update = |mask: &str| {
        let topic = google_cloud_pubsub::model::Topic::new().set_name(TOPIC).set_labels([("team", "media")]);
        let mask = google_cloud_wkt::FieldMask::default().set_paths([mask]);
        pubsub.topics.update_topic().set_topic(topic).set_update_mask(mask).send()
    };
    assert_eq!(update("labels").await.unwrap().labels["team"], "media");
    let rejected = update("name").await.unwrap_err();
    assert_eq!(rejected.status().unwrap().code, Code::InvalidArgument);
    let server = server.restart().await;
    let found = server.pubsub().await.topics.get_topic().set_topic(TOPIC).send().await.unwrap();
    assert_eq!(found.labels["team"], "media");
}
