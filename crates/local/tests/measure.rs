//! Numbers, not assertions: `cargo test --release -p clipfleet-local --test measure -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use google_cloud_pubsub::{client::Publisher, model::Message};
use google_cloud_storage::model_ext::ReadRange;
use std::time::{Duration, Instant};
use support::*;

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn publish_to_receive() {
    let bench = Bench::new().await;
    let pubsub = bench.pubsub().await.with_queue().await;
    let publisher = pubsub.publisher(TOPIC).await;
    let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
    let (mut received, mut confirmed) = (Vec::new(), Vec::new());
    for _ in 0..1_000 {
        let begun = Instant::now();
        let publish = publisher.publish(Message::new().set_data("x"));
        let (_, handler) = stream.next().await.unwrap().unwrap();
        received.push(begun.elapsed());
        publish.await.unwrap();
        confirmed.push(begun.elapsed());
        handler.ack();
    }
    println!("publish to receive: {}", percentiles(received));
    println!("publish to confirmation: {}", percentiles(confirmed));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn publish_throughput() {
    let bench = Bench::new().await;
    let pubsub = bench.pubsub().await.with_queue().await;
    let single = pubsub.publisher(TOPIC).await;
    let builder = Publisher::builder(TOPIC).with_endpoint(bench.url()).with_credentials(anonymous());
    let batched = builder.build().await.unwrap();
    for (name, publisher) in [("one message per request", single), ("default batching", batched)] {
        let count = 10_000;
        let begun = Instant::now();
        let publishes: Vec<_> =
            (0..count).map(|_| publisher.publish(Message::new().set_data("x".repeat(200)))).collect();
        for publish in publishes {
            publish.await.unwrap();
        }
        println!("{name}: {count} messages, {:.0} per second", f64::from(count) / begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
    for _ in 0..20_000 {
        stream.next().await.unwrap().unwrap().1.ack();
    }
    println!("received: 20000 messages, {:.0} per second", 20_000.0 / begun.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn objects() {
    let bench = Bench::new().await;
    let bucket = bench.bucket().await;
    let client = bench.storage().await;
    let content = bytes::Bytes::from(vec![7_u8; 256 << 20]);
    let begun = Instant::now();
    client.write_object(&bucket, "big", content).send_buffered().await.unwrap();
    println!("upload: {:.0} MiB/s", 256.0 / begun.elapsed().as_secs_f64());
    let read = async |range| {
        let mut response = client.read_object(&bucket, "big").set_read_range(range).send().await.unwrap();
        while response.next().await.transpose().unwrap().is_some() {}
    };
    let begun = Instant::now();
    read(ReadRange::all()).await;
    println!("download: {:.0} MiB/s", 256.0 / begun.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for n in 0..500_u64 {
        let begun = Instant::now();
        read(ReadRange::segment(n * 500_000, 65_536)).await;
        times.push(begun.elapsed());
    }
    println!("ranged read of 64 KiB: {}", percentiles(times));
    let mut times = Vec::new();
    for n in 0..200 {
        let begun = Instant::now();
        client.write_object(&bucket, format!("small-{n}"), "x".repeat(4_096)).send_unbuffered().await.unwrap();
        times.push(begun.elapsed());
    }
    println!("write of 4 KiB: {}", percentiles(times));
}
