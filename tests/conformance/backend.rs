//! The implementations under test.

use clipfleet_cloud::{
    Cloud, ObjectName, SubscriptionSpec,
    google::{self, Endpoints},
    memory::Memory,
};
use clipfleet_emulator::{Config, Emulator};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// One implementation, with unique names so that checks can share a service.
pub(crate) struct Backend {
    pub(crate) cloud: Cloud,
    service: Service,
    scope: String,
    named: AtomicU32,
}

enum Service {
    Memory(Memory),
    Emulator { endpoints: Endpoints, server: Box<Emulator>, _data: TempDir },
    External(Endpoints),
}

impl Backend {
    pub(crate) fn memory() -> Self {
        let memory = Memory::new();
        Self::new(memory.connect().0, Service::Memory(memory))
    }

    pub(crate) async fn emulator() -> Self {
        let data = TempDir::new().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Emulator::start(Config { data: data.path().to_owned(), listen }).await.unwrap();
        let address = Some(server.address().to_string());
        let endpoints = Endpoints {
            project: "clipfleet-local".into(),
            pubsub: address.clone(),
            firestore: address.clone(),
            storage: address,
            database: None,
        };
        let cloud = google::connect(&endpoints).await.unwrap();
        Self::new(cloud, Service::Emulator { endpoints, server: Box::new(server), _data: data })
    }

    pub(crate) async fn external() -> Self {
        let address = |name: &str| Some(std::env::var(name).unwrap_or_else(|_| panic!("set {name} to an address")));
        let endpoints = Endpoints {
            project: std::env::var("GOOGLE_CLOUD_PROJECT").unwrap_or_else(|_| "clipfleet-conformance".into()),
            pubsub: address("PUBSUB_EMULATOR_HOST"),
            firestore: address("FIRESTORE_EMULATOR_HOST"),
            storage: address("STORAGE_EMULATOR_HOST"),
            database: None,
        };
        Self::new(google::connect(&endpoints).await.unwrap(), Service::External(endpoints))
    }

    fn new(cloud: Cloud, service: Service) -> Self {
        static BACKENDS: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let scope = format!("t{now}-{}", BACKENDS.fetch_add(1, Ordering::Relaxed));
        Self { cloud, service, scope, named: AtomicU32::new(0) }
    }

    /// A name that no other check uses.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}-{}", self.scope, self.named.fetch_add(1, Ordering::Relaxed))
    }

    /// A new topic.
    pub(crate) async fn topic(&self) -> String {
        let topic = self.name("topic");
        self.cloud.queue.ensure_topic(&topic).await.unwrap();
        topic
    }

    /// A new subscription of a topic, with the shortest deadline, no dead letter topic and no backoff, except for what
    /// `change` sets.
    pub(crate) async fn subscription(&self, topic: &str, change: impl FnOnce(&mut SubscriptionSpec)) -> String {
        let mut spec = SubscriptionSpec {
            name: self.name("subscription"),
            topic: topic.to_owned(),
            ack_deadline: Duration::from_secs(10),
            dead_letter: None,
            backoff: None,
        };
        change(&mut spec);
        self.cloud.queue.ensure_subscription(&spec).await.unwrap();
        spec.name
    }

    /// The name of an object in an existing bucket.
    pub(crate) async fn object(&self, object: &str) -> ObjectName {
        let bucket = format!("clipfleet-{}", self.scope);
        self.cloud.objects.ensure_bucket(&bucket).await.unwrap();
        ObjectName::new(bucket, object)
    }

    /// The same services, with another database.
    pub(crate) async fn with_database(&self, id: &str) -> Cloud {
        let (Service::Emulator { endpoints, .. } | Service::External(endpoints)) = &self.service else {
            unreachable!("memory has one database")
        };
        let endpoints = Endpoints { database: Some(id.to_owned()), ..endpoints.clone() };
        google::connect(&endpoints).await.unwrap()
    }

    /// Receives one delivery in another process, which dies without settling it. Returns the id of the message.
    pub(crate) async fn die_holding_delivery(&self, subscription: &str) -> String {
        let (Service::Emulator { endpoints, .. } | Service::External(endpoints)) = &self.service else {
            return self.die_in_memory(subscription).await;
        };
        let (endpoints, subscription) = (endpoints.clone(), subscription.to_owned());
        let process = move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let delivery = runtime.block_on(async {
                let cloud = google::connect(&endpoints).await.unwrap();
                let mut deliveries = cloud.queue.subscribe(&subscription, 1);
                let delivery = deliveries.next().await.unwrap().unwrap();
                // Neither is dropped, because that would nack the message. The runtime ends, and with it the
                // connections and the lease extension.
                std::mem::forget(deliveries);
                delivery
            });
            let id = delivery.message_id.clone();
            std::mem::forget(delivery);
            runtime.shutdown_background();
            id
        };
        tokio::task::spawn_blocking(process).await.unwrap()
    }

    async fn die_in_memory(&self, subscription: &str) -> String {
        let Service::Memory(memory) = &self.service else { unreachable!("the other backends use processes") };
        let (cloud, link) = memory.connect();
        let delivery = cloud.queue.subscribe(subscription, 1).next().await.unwrap().unwrap();
        link.cut();
        delivery.message_id.clone()
    }

    pub(crate) async fn stop(self) {
        if let Service::Emulator { server, .. } = self.service {
            server.stop().await;
        }
    }
}
