//! The queue of one process: messages are duplicated, delayed, reordered, or redelivered only after a lease expired.

use crate::{mutation::Mutation, process::Process, topology, version};
use async_trait::async_trait;
use clipfleet_cloud::{CloudError, Deliveries, Delivery, ErrorKind, Lease, Message, Queue, SubscriptionSpec};
use clipfleet_contract::names;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct SimQueue(pub(crate) Arc<Process>);

#[async_trait]
impl Queue for SimQueue {
    async fn publish(&self, topic: &str, message: Message) -> Result<String, CloudError> {
        let process = &self.0;
        if process.world.has(Mutation::UnconfirmedPublish) {
            // Confirms immediately, then publishes without a retry.
            let (process, topic) = (Arc::clone(process), topic.to_owned());
            tokio::spawn(async move { publish(&process, &topic, message).await });
            return Ok(String::new());
        }
        publish(process, topic, message).await
    }

    fn subscribe(&self, subscription: &str, outstanding: usize) -> Deliveries {
        let (sender, receiver) = mpsc::channel(outstanding);
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let feed = Feed {
            process: Arc::clone(&self.0),
            subscription: subscription.to_owned(),
            deadline: topology::deadline(subscription),
            capacity: Arc::new(Semaphore::new(outstanding)),
            sender,
            closing: closing.clone(),
        };
        let inner = self.0.world.cloud.queue.subscribe(subscription, outstanding);
        let done = closed.clone().drop_guard();
        tokio::spawn(async move {
            feed.run(inner).await;
            drop(done);
        });
        Deliveries::new(receiver, closing, closed)
    }

    async fn check_access(&self, subscription: &str) -> Result<(), CloudError> {
        self.0.call("check access", self.0.world.cloud.queue.check_access(subscription)).await
    }

    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError> {
        self.0.world.cloud.queue.ensure_topic(topic).await
    }

    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError> {
        self.0.world.cloud.queue.ensure_subscription(spec).await
    }
}

async fn publish(process: &Arc<Process>, topic: &str, message: Message) -> Result<String, CloudError> {
    let (sender, to, called_at) = (Arc::clone(process), topic.to_owned(), Instant::now());
    let effect = async move {
        let world = &sender.world;
        let lost = to == names::CLIP_JOBS && world.occurs("a job was lost", |faults| faults.job_lost);
        let id = match lost {
            true => "nowhere".to_owned(),
            false => world.cloud.queue.publish(&to, message.clone()).await?,
        };
        let labels: Vec<&str> = message.attributes.values().map(String::as_str).collect();
        world.trace(&sender.name, format_args!("publishes {to} {id} {}", labels.join(" ")));
        world.observe(|checker, counts| checker.published(&sender.name, called_at, &to, &message.data, counts));
        Ok(id)
    };
    process.send(&format!("publish to {topic}"), effect).await
}

/// Feeds one stream of deliveries.
#[derive(Clone)]
struct Feed {
    process: Arc<Process>,
    subscription: String,
    deadline: Duration,
    /// A delivery is in flight until there is capacity for it; its lease counts from when the queue delivered it.
    capacity: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Delivery, CloudError>>,
    closing: CancellationToken,
}

impl Feed {
    async fn run(self, mut inner: Deliveries) {
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                () = self.process.wait_until_dead() => break,
                () = self.process.wait_until_denied() => {
                    self.process.world.count("a stream was denied");
                    let denied = CloudError::new(ErrorKind::Denied, "receive: denied by the simulation");
                    let _ = self.sender.send(Err(denied)).await;
                    break;
                }
                delivery = inner.next() => match delivery {
                    Some(Ok(delivery)) => self.schedule(delivery),
                    Some(Err(error)) => { let _ = self.sender.send(Err(error)).await; }
                    None => break,
                },
            }
        }
        inner.close().await;
    }

    /// Schedules a delivery, perhaps twice.
    fn schedule(&self, delivery: Delivery) {
        let world = &self.process.world;
        let (message, id, attempt) = (delivery.message.clone(), delivery.message_id.clone(), delivery.delivery_attempt);
        world.trace(&self.process.name, format_args!("leases {} {id} attempt {attempt}", self.subscription));
        let twice = world.occurs("a delivery was duplicated", |faults| faults.duplicated);
        world.observe(|checker, counts| checker.delivered(&self.subscription, &message.data, twice, counts));
        let number = if world.has(Mutation::EarlyAck(topology::static_name(&self.subscription))) {
            delivery.ack();
            None
        } else {
            Some(self.process.leases.add(&self.subscription, self.deadline, delivery))
        };
        if let Some(number) = number
            && world.occurs("a lease expired in a running process", |faults| faults.lease_lost)
        {
            let (process, delay) = (Arc::clone(&self.process), world.draw_ms(0, 30_000));
            tokio::spawn(async move {
                sleep(delay).await;
                process.leases.expire(&process, number);
            });
        }
        tokio::spawn(self.clone().deliver(message.clone(), id.clone(), attempt, number));
        if twice {
            tokio::spawn(self.clone().deliver(message, id, attempt, None));
        }
    }

    async fn deliver(self, message: Message, id: String, attempt: u32, number: Option<u64>) {
        let Self { process, subscription, capacity, sender, closing, .. } = self;
        let arriving = async {
            let delay = if process.world.occurs("a delivery was delayed", |faults| faults.delayed) {
                process.world.draw_ms(100, 10_000)
            } else {
                process.world.draw_ms(0, 20)
            };
            sleep(delay).await;
            process.wait_until_running().await;
            capacity.acquire_owned().await.ok()
        };
        let permit = tokio::select! {
            biased;
            () = closing.cancelled() => None,
            permit = arriving => permit,
        };
        let arrived = permit.is_some();
        let message = version::decoded_by(&process, &subscription, message);
        let holder = Arc::clone(&process);
        let lease = SimLease { process, number, _permit: permit };
        let delivery = Delivery::new(message, id, attempt, Box::new(lease));
        // A delivery that did not arrive before the stream closed is nacked when it is dropped.
        if arrived {
            if subscription == names::CLIP_JOBS_WORKER {
                holder.world.observe(|checker, _| checker.job_received(&holder.name));
            }
            let _ = sender.send(Ok(delivery)).await;
        }
    }
}

/// The lease of one delivery. The lease of a duplicate settles nothing.
struct SimLease {
    process: Arc<Process>,
    number: Option<u64>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl SimLease {
    fn settle(&self, done: bool) {
        if let Some(number) = self.number.filter(|_| !self.process.world.lock().ended) {
            self.process.leases.settle(&self.process, number, done);
        }
    }
}

impl Lease for SimLease {
    fn ack(self: Box<Self>) {
        self.settle(true);
    }

    fn nack(self: Box<Self>) {
        self.settle(false);
    }
}
