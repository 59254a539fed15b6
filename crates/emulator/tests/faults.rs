//! Fault rules, as seen by Google's own clients.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use google_cloud_pubsub::{model::Message, subscriber::handler::Handler};
use google_cloud_storage::model_ext::ReadRange;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::*;

impl TestServer {
    async fn faults(&self, rules: Value) -> Value {
        let http = reqwest::Client::new();
        let put = http.put(format!("{}/_clipfleet/faults", self.url())).body(rules.to_string());
        put.send().await.unwrap().json().await.unwrap()
    }

    /// How often the first rule struck.
    async fn struck(&self) -> u64 {
        let shown: Value =
            reqwest::get(format!("{}/_clipfleet/faults", self.url())).await.unwrap().json().await.unwrap();
        shown["rules"][0]["struck"].as_u64().unwrap()
    }
}

fn single_rule(on: &str, fault: Value, times: u64) -> Value {
    json!({"seed": 1, "rules": [{"on": on, "fault": fault, "times": times}]})
}

/// Receives `count` messages and acknowledges each.
async fn receive(pubsub: &PubSub, count: usize) -> Vec<String> {
    let stream = pubsub.subscriber.subscribe(SUBSCRIPTION).set_max_lease_extension(Duration::from_secs(10));
    let mut stream = stream.build();
    let mut received = Vec::new();
    while received.len() < count {
        let (message, handler): (Message, Handler) = with_timeout(stream.next()).await.unwrap().unwrap();
        received.push(String::from_utf8(message.data.to_vec()).unwrap());
        handler.ack();
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_publish_is_retried() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server
        .faults(single_rule("google.pubsub.v1.Publisher/Publish", json!({"refuse": {"code": "UNAVAILABLE"}}), 2))
        .await;
    with_timeout(pubsub.publish(TOPIC, "a")).await;
    assert_eq!(server.struck().await, 2);
    assert_eq!(receive(&pubsub, 1).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_response_duplicates_a_message() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server.faults(single_rule("google.pubsub.v1.Publisher/Publish", json!("lose_answer"), 1)).await;
    with_timeout(pubsub.publish(TOPIC, "a")).await;
    assert_eq!(receive(&pubsub, 2).await, ["a", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_call_has_no_effect() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server.faults(single_rule("google.pubsub.v1.Publisher/Publish", json!("cut"), 1)).await;
    with_timeout(pubsub.publish(TOPIC, "a")).await;
    with_timeout(pubsub.publish(TOPIC, "b")).await;
    let mut received = receive(&pubsub, 2).await;
    received.sort();
    assert_eq!(received, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_reopened() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    let fault = json!({"cut_answer": {"after_ms": 200}});
    server.faults(single_rule("google.pubsub.v1.Subscriber/StreamingPull", fault, 2)).await;
    // A message that is lost with its stream is delivered again when its lease ends.
    let subscribe = pubsub.subscriber.subscribe(SUBSCRIPTION);
    let mut stream = subscribe.set_max_lease_extension(Duration::from_secs(10)).build();
    for n in 0..6 {
        pubsub.publish(TOPIC, &n.to_string()).await;
        with_timeout(stream.next()).await.unwrap().unwrap().1.ack();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(server.struck().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_again_while_its_receiver_works_on_it() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server.faults(single_rule(SUBSCRIPTION, json!("duplicate"), 1)).await;
    pubsub.publish(TOPIC, "a").await;
    let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
    let (_, first) = with_timeout(stream.next()).await.unwrap().unwrap();
    let (message, second) = with_timeout(stream.next()).await.unwrap().unwrap();
    assert_eq!(message.data, "a");
    second.ack();
    first.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_redelivers_the_message() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server.faults(single_rule("*/subscriptions/jobs-worker", json!("lose_ack"), 1)).await;
    pubsub.publish(TOPIC, "a").await;
    // The second delivery follows when the lease of the first ends.
    assert_eq!(receive(&pubsub, 2).await, ["a", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_reordered_and_complete() {
    let server = TestServer::new().await;
    let pubsub = server.pubsub().await.with_queue().await;
    server.faults(json!({"seed": 4, "rules": [{"on": "*", "fault": "reorder"}]})).await;
    let sent: Vec<_> = (0..50).map(|n| format!("{n:02}")).collect();
    for text in &sent {
        pubsub.publish(TOPIC, text).await;
    }
    // Messages that the stream holds when it is dropped are delivered again when their leases end.
    let subscribe = pubsub.subscriber.subscribe(SUBSCRIPTION).set_max_outstanding_messages(1);
    let mut stream = subscribe.set_max_lease_extension(Duration::from_secs(10)).build();
    let mut received = Vec::new();
    for _ in 0..10 {
        let (message, handler) = with_timeout(stream.next()).await.unwrap().unwrap();
        received.push(String::from_utf8(message.data.to_vec()).unwrap());
        handler.ack();
    }
    assert_ne!(received, sent[..10], "not the order of publication");
    drop(stream);
    received.extend(receive(&pubsub, 40).await);
    received.sort();
    assert_eq!(received, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_download_is_resumed() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let client = server.storage().await;
    let content = bytes::Bytes::from((0..8_000_000_u32).map(|n| (n / 251).to_le_bytes()[0]).collect::<Vec<_>>());
    client.write_object(&bucket, "big", content.clone()).send_unbuffered().await.unwrap();
    server
        .faults(single_rule("GET /storage/v1/b/clips/o/big", json!({"cut_answer": {"after_bytes": 3_000_000}}), 2))
        .await;
    let mut response = client.read_object(&bucket, "big").set_read_range(ReadRange::all()).send().await.unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = with_timeout(response.next()).await.transpose().unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == content, "{} bytes of {}", read.len(), content.len());
    assert_eq!(server.struck().await, 2);
}

#[tokio::test]
async fn a_delay_affects_only_matching_calls() {
    let server = TestServer::new().await;
    server.faults(single_rule("GET /storage/v1/b", json!({"delay": {"ms": 300}}), 1)).await;
    let started = Instant::now();
    assert_eq!(reqwest::get(format!("{}/", server.url())).await.unwrap().status(), 200);
    assert_eq!(server.struck().await, 0);
    reqwest::get(format!("{}/storage/v1/b", server.url())).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn rules_are_validated_shown_and_removed() {
    let server = TestServer::new().await;
    let rejected = server.faults(json!({"rules": [{"on": "*", "fault": {"refuse": {"code": "NO"}}}]})).await;
    assert_eq!(rejected["error"]["status"], "INVALID_ARGUMENT");
    let message = rejected["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("rules[0].fault.refuse.code: unknown variant `NO`"), "{message}");

    let everything = single_rule("*", json!({"refuse": {"code": "RESOURCE_EXHAUSTED"}}), 1_000);
    assert_eq!(server.faults(everything).await["rules"][0]["struck"], 0);
    let url = format!("{}/storage/v1/b", server.url());
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 429);
    // The address of the rules is exempt from them.
    let http = reqwest::Client::new();
    let ended: Value =
        http.delete(format!("{}/_clipfleet/faults", server.url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(ended["rules"], json!([]));
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
}
