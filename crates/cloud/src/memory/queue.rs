//! [`Queue`] in memory: a task per stream around the [broker](super::broker).

use super::{Call, Client, broker::Taken};
use crate::{CloudError, Deliveries, Delivery, Lease, Message, Queue, SubscriptionSpec};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

#[async_trait]
impl Queue for Arc<Client> {
    async fn publish(&self, topic: &str, message: Message) -> Result<String, CloudError> {
        message.check(topic)?;
        let doing = format!("publish to {topic}");
        self.call(Call::Publish, &doing, |state| state.broker.publish(topic, message, Instant::now()))
    }

    fn subscribe(&self, subscription: &str, outstanding: usize) -> Deliveries {
        let outstanding = outstanding.max(1);
        let (sender, receiver) = mpsc::channel(outstanding);
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let feed = Feed {
            client: Arc::clone(self),
            subscription: subscription.to_owned(),
            permits: Arc::new(Semaphore::new(outstanding)),
            sender,
            closing: closing.clone(),
        };
        let done = closed.clone().drop_guard();
        tokio::spawn(async move {
            feed.run().await;
            drop(done);
        });
        Deliveries::new(receiver, closing, closed)
    }

    async fn check_access(&self, subscription: &str) -> Result<(), CloudError> {
        let doing = format!("receive from {subscription}");
        self.call(Call::Receive, &doing, |state| state.broker.check_subscription(subscription))
    }

    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError> {
        self.memory.lock().broker.add_topic(topic)
    }

    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError> {
        self.memory.lock().broker.add_subscription(spec)
    }
}

/// Feeds one stream.
struct Feed {
    client: Arc<Client>,
    subscription: String,
    permits: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Delivery, CloudError>>,
    closing: CancellationToken,
}

impl Feed {
    /// Ends when either side closes, or with an error if there is no such subscription.
    async fn run(self) {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            () = self.client.cut.cancelled() => {}
            () = self.deliver() => {}
        }
    }

    async fn deliver(&self) {
        while let Ok(permit) = self.permits.clone().acquire_owned().await {
            let delivery = self.next(permit).await;
            let ended = delivery.is_err();
            if self.sender.send(delivery).await.is_err() || ended {
                return;
            }
            // Other woken streams run first, so that messages are spread over all streams, as by the real service.
            tokio::task::yield_now().await;
        }
    }

    async fn next(&self, permit: OwnedSemaphorePermit) -> Result<Delivery, CloudError> {
        loop {
            let (until, changed) = match self.take()? {
                Taken::Leased { lease, stored, delivery_attempt } => {
                    let (client, subscription) = (Arc::clone(&self.client), self.subscription.clone());
                    let lease = MemoryLease { client, subscription, lease, _permit: permit };
                    return Ok(Delivery::new(stored.message, stored.id, delivery_attempt, Box::new(lease)));
                }
                Taken::Nothing { until, changed } => (until, changed),
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    fn take(&self) -> Result<Taken, CloudError> {
        let doing = format!("receive from {}", self.subscription);
        let link = self.client.link;
        self.client.call(Call::Receive, &doing, |state| state.broker.take(&self.subscription, link, Instant::now()))
    }
}

struct MemoryLease {
    client: Arc<Client>,
    subscription: String,
    lease: u64,
    _permit: OwnedSemaphorePermit,
}

impl Lease for MemoryLease {
    fn ack(self: Box<Self>) {
        if !self.client.cut.is_cancelled() {
            self.client.memory.lock().broker.ack(&self.subscription, self.lease);
        }
    }

    fn nack(self: Box<Self>) {
        if !self.client.cut.is_cancelled() {
            self.client.memory.lock().broker.nack(&self.subscription, self.lease, Instant::now());
        }
    }
}
