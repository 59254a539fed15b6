//! Clients survive a restart of the service. Only backends that the test can stop are tested.

use clipfleet_cloud::{
    Cloud, Fields, Message, Precondition, SubscriptionSpec, Write,
    google::{self, Endpoints},
};
use clipfleet_emulator::{Config, Emulator};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::time::{Instant, sleep, timeout};

const TOPIC: &str = "clip-jobs";
const SUBSCRIPTION: &str = "clip-jobs-worker";

async fn start(data: &Path, listen: SocketAddr) -> Emulator {
    let since = Instant::now();
    loop {
        match Emulator::start(Config { data: data.to_owned(), listen }).await {
            Ok(server) => return server,
            // The port may not be free immediately.
            Err(error) => assert!(since.elapsed() < Duration::from_secs(10), "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn connect(address: SocketAddr) -> Cloud {
    let address = Some(address.to_string());
    let (pubsub, firestore, storage) = (address.clone(), address.clone(), address);
    let endpoints = Endpoints { project: "clipfleet-local".into(), pubsub, firestore, storage, database: None };
    let cloud = google::connect(&endpoints).await.unwrap();
    cloud.queue.ensure_topic(TOPIC).await.unwrap();
    let (name, topic, ack_deadline) = (SUBSCRIPTION.to_owned(), TOPIC.to_owned(), Duration::from_secs(10));
    let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
    cloud.queue.ensure_subscription(&spec).await.unwrap();
    cloud
}

fn message(text: &'static str) -> Message {
    Message { data: text.into(), ..Message::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_survive_a_restart_of_the_service() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), "127.0.0.1:0".parse().unwrap()).await;
    let address = server.address();
    let cloud = connect(address).await;
    let mut deliveries = cloud.queue.subscribe(SUBSCRIPTION, 1);
    cloud.queue.publish(TOPIC, message("before")).await.unwrap();
    timeout(Duration::from_secs(10), deliveries.next()).await.unwrap().unwrap().unwrap().ack();
    // The ack is sent within a tenth of a second.
    sleep(Duration::from_millis(500)).await;

    server.stop().await;
    let write = Write { path: "c/d".into(), fields: Fields::new(), precondition: Precondition::None };
    let (queue, documents) = (cloud.queue.clone(), cloud.documents.clone());
    let published = tokio::spawn(async move { queue.publish(TOPIC, message("meanwhile")).await });
    let written = tokio::spawn(async move { documents.commit(vec![write]).await });
    sleep(Duration::from_secs(2)).await;
    let server = start(data.path(), address).await;
    let back = Instant::now();

    published.await.unwrap().unwrap();
    written.await.unwrap().unwrap();
    loop {
        let delivery = timeout(Duration::from_secs(30), deliveries.next()).await.unwrap().unwrap().unwrap();
        let text = delivery.message.data.clone();
        delivery.ack();
        if text == "meanwhile" {
            break;
        }
        assert_eq!(text, "before", "redelivered because its ack came too late");
    }
    println!("clients recovered {:.1} s after the restart", back.elapsed().as_secs_f32());
    deliveries.close().await;
    server.stop().await;
}
