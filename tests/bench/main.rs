//! The benchmarks of `make bench`, all measured in this run. No benchmark asserts a speed.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

mod emulator;
mod media;
mod scaling;
mod status;

use crate::status::SimulatedClip;
use clipfleet_cloud::Message;
use clipfleet_contract::names;
use clipfleet_domain::lifecycle::ClipEventKind;
use clipfleet_tests::fleet::{Fleet, clips, request, text};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Samples of each latency.
const SAMPLES: usize = 300;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let source = media::h264(directory.path());
    println!("CPU threads: {}", std::thread::available_parallelism().unwrap());

    // `make bench` runs all. An argument runs only the benchmark of that name.
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let selected = |name: &str| names.is_empty() || names.iter().any(|selected| selected == name);
    if selected("scaler") {
        scaling::figures();
    }
    if selected("emulator") {
        emulator::figures(directory.path()).await;
    }
    if selected("fleet") {
        let idle = Fleet::start(&directory.path().join("idle"), 0, 1).await;
        queue_latency(&idle).await;
        document_latency(&idle).await;
        fan_out(&idle, &source).await;
    }
    if selected("status") {
        status::measure(directory.path()).await;
    }
    if selected("media") {
        let fleet = Fleet::start(&directory.path().join("data"), 1, 1).await;
        let uri = fleet.upload(&source, "source.mp4").await;
        overhead(&fleet, &uri).await;
        media::against_ffmpeg(&fleet, directory.path()).await;
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn print_latency(name: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |percent: usize| samples[(samples.len() * percent / 100).min(samples.len() - 1)].as_secs_f64() * 1_000.0;
    println!("{name}: p50 {:.1} ms, p99 {:.1} ms, {} samples", at(50), at(99), samples.len());
}

/// From publishing to receiving one message through the emulator's Pub/Sub, with the official client on both sides.
async fn queue_latency(fleet: &Fleet) {
    let queue = &fleet.cloud.queue;
    emulator::ensure_queue(&fleet.cloud, "bench", "bench").await;
    let mut deliveries = queue.subscribe("bench", 100);
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let started = Instant::now();
        let message = Message { data: "x".into(), ..Message::default() };
        let (published, delivery) = tokio::join!(queue.publish("bench", message), deliveries.next());
        published.unwrap();
        samples.push(started.elapsed());
        delivery.unwrap().unwrap().ack();
    }
    deliveries.close().await;
    print_latency("queue, publish to receive (confirmed and durable)", samples);
}

/// From publishing an event to reading its batch's document. The status changes each time, because progress is written
/// only once a second.
async fn document_latency(fleet: &Fleet) {
    let mut samples = Vec::new();
    for n in 0..SAMPLES {
        let mut clip = SimulatedClip::new(&format!("latency-{n}"), 1, "c1");
        let (message, path) = (clip.event(ClipEventKind::Started, 1), names::batch_document(&clip.batch.id));
        let started = Instant::now();
        fleet.cloud.queue.publish(names::PROGRESS_EVENTS, message).await.unwrap();
        loop {
            let document = fleet.document(&path).await;
            if document.is_some_and(|document| text(&document, "status") == "processing") {
                break;
            }
        }
        samples.push(started.elapsed());
    }
    print_latency("event published to document read", samples);
}

/// From sending a batch of 1,000 clips to its answer, which follows the confirmation of the last job.
async fn fan_out(fleet: &Fleet, source: &Path) {
    let uri = fleet.upload(source, "source.mp4").await;
    let ids: Vec<String> = (0..1_000).map(|n| format!("clip-{n}")).collect();
    let windows: Vec<(&str, i64, i64)> = ids.iter().map(|id| (id.as_str(), 0, 1_000)).collect();
    let mut seconds = Vec::new();
    for n in 0..5 {
        let started = Instant::now();
        fleet.submit(&request(&format!("fan-out-{n}"), &uri, &windows)).await;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "fan-out of 1,000 clips, sent to last job confirmed: {:.0} ms, {:.0} clips/s (median of 5)",
        seconds[2] * 1_000.0,
        1_000.0 / seconds[2]
    );
}

/// The overhead of the fleet: total time minus the pipeline's own phases, for short clips one after the other.
async fn overhead(fleet: &Fleet, uri: &str) {
    let mut samples = Vec::new();
    for n in 0..10 {
        let id = format!("overhead-{n}");
        fleet.submit(&request(&id, uri, &[(&id, n * 1_000, n * 1_000 + 1_000)])).await;
        let timings = clips(&fleet.finished(&id).await)[&id]["timings"].clone();
        let ms = |name: &str| timings[name].as_u64().unwrap();
        let media = ms("fetchMs") + ms("encodeMs") + ms("verifyMs");
        samples.push(Duration::from_millis(ms("totalMs").saturating_sub(media)));
    }
    print_latency("chain per clip apart from media work, acceptance to completion", samples);
}
