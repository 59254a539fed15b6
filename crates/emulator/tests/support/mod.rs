//! Emulators on free ports, and Google's own clients connected to them.
#![allow(dead_code, reason = "each test file uses a part")]

use clipfleet_emulator::{Config, Emulator};
use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::{
    client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin},
    model::Message,
};
use google_cloud_storage::client::{Storage, StorageControl};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

/// An emulator with its own data folder.
pub(crate) struct TestServer {
    pub(crate) folder: TempDir,
    pub(crate) emulator: Emulator,
}

impl TestServer {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = start(folder.path()).await;
        Self { folder, emulator }
    }

    /// Stops the emulator and starts it again with the same folder, on another port.
    pub(crate) async fn restart(self) -> Self {
        self.emulator.stop().await;
        let emulator = start(self.folder.path()).await;
        Self { folder: self.folder, emulator }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.emulator.address())
    }

    pub(crate) async fn pubsub(&self) -> PubSub {
        PubSub::new(&self.url()).await
    }

    pub(crate) async fn storage(&self) -> Storage {
        storage(&self.url()).await
    }

    pub(crate) async fn storage_control(&self) -> StorageControl {
        let builder = StorageControl::builder().with_endpoint(self.url()).with_credentials(anonymous());
        builder.build().await.unwrap()
    }

    /// Creates a bucket.
    pub(crate) async fn bucket(&self) -> String {
        let control = self.storage_control().await;
        let bucket = control.create_bucket().set_parent("projects/_").set_bucket_id("clips").send().await.unwrap();
        bucket.name
    }
}

pub(crate) async fn start(folder: &Path) -> Emulator {
    let listen = "127.0.0.1:0".parse().unwrap();
    Emulator::start(Config { data: folder.into(), listen }).await.unwrap()
}

pub(crate) async fn storage(url: &str) -> Storage {
    Storage::builder().with_endpoint(url).with_credentials(anonymous()).build().await.unwrap()
}

pub(crate) fn anonymous() -> Credentials {
    anonymous::Builder::new().build()
}

pub(crate) const TOPIC: &str = "projects/test/topics/jobs";
pub(crate) const SUBSCRIPTION: &str = "projects/test/subscriptions/jobs-worker";
pub(crate) const DEAD_TOPIC: &str = "projects/test/topics/jobs-dead";
pub(crate) const DEAD_SUBSCRIPTION: &str = "projects/test/subscriptions/jobs-dead";

/// The Pub/Sub clients.
pub(crate) struct PubSub {
    pub(crate) url: String,
    pub(crate) topics: TopicAdmin,
    pub(crate) subscriptions: SubscriptionAdmin,
    pub(crate) subscriber: Subscriber,
}

impl PubSub {
    pub(crate) async fn new(url: &str) -> Self {
        let topics = TopicAdmin::builder().with_endpoint(url).with_credentials(anonymous());
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(url).with_credentials(anonymous());
        let subscriber = Subscriber::builder().with_endpoint(url).with_credentials(anonymous());
        Self {
            url: url.into(),
            topics: topics.build().await.unwrap(),
            subscriptions: subscriptions.build().await.unwrap(),
            subscriber: subscriber.build().await.unwrap(),
        }
    }

    /// Creates a topic with one plain subscription.
    pub(crate) async fn with_queue(self) -> Self {
        self.topics.create_topic().set_name(TOPIC).send().await.unwrap();
        self.subscriptions.create_subscription().set_name(SUBSCRIPTION).set_topic(TOPIC).send().await.unwrap();
        self
    }

    /// A publisher that sends every message immediately.
    pub(crate) async fn publisher(&self, topic: &str) -> Publisher {
        let builder = Publisher::builder(topic).with_endpoint(&self.url).with_credentials(anonymous());
        builder.set_message_count_threshold(1u32).build().await.unwrap()
    }

    pub(crate) async fn publish(&self, topic: &str, data: &str) -> String {
        let message = Message::new().set_data(data.to_owned());
        self.publisher(topic).await.publish(message).await.unwrap()
    }
}

/// Fails a test that hangs; a healthy test finishes long before the timeout.
pub(crate) async fn with_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("done within a minute")
}
