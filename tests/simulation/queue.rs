//! The queue as one process sees it: messages come twice, late, out of order, or not again until someone's lease ran out.

use crate::{mutation::Mutation, process::Process, topology};
use async_trait::async_trait;
use clipfleet_cloud::{CloudError, Deliveries, Delivery, Lease, Message, Queue, SubscriptionSpec};
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
        if process.world.is(Mutation::UnconfirmedPublish) {
            // Says yes, then tries once.
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
            room: Arc::new(Semaphore::new(outstanding)),
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

    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError> {
        self.0.world.cloud.queue.ensure_topic(topic).await
    }

    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError> {
        self.0.world.cloud.queue.ensure_subscription(spec).await
    }
}

async fn publish(process: &Arc<Process>, topic: &str, message: Message) -> Result<String, CloudError> {
    let (sender, to, asked) = (Arc::clone(process), topic.to_owned(), Instant::now());
    let effect = async move {
        let world = &sender.world;
        let lost = to == names::CLIP_JOBS && world.happens("a job was lost", |weather| weather.job_lost);
        let id = match lost {
            true => "nowhere".to_owned(),
            false => world.cloud.queue.publish(&to, message.clone()).await?,
        };
        let labels: Vec<&str> = message.attributes.values().map(String::as_str).collect();
        world.trace(&sender.name, format_args!("publishes {to} {id} {}", labels.join(" ")));
        world.observe(|ledger, counts| ledger.published(&sender.name, asked, &to, &message.data, counts));
        Ok(id)
    };
    process.send(&format!("publish to {topic}"), effect).await
}

/// Feeds one stream.
#[derive(Clone)]
struct Feed {
    process: Arc<Process>,
    subscription: String,
    deadline: Duration,
    /// A delivery is on its way as long as there is room for it; its lease counts from when the queue gave it.
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Delivery, CloudError>>,
    closing: CancellationToken,
}

impl Feed {
    async fn run(self, mut inner: Deliveries) {
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                () = self.process.died() => break,
                delivery = inner.next() => match delivery {
                    Some(Ok(delivery)) => self.take(delivery),
                    Some(Err(error)) => { let _ = self.sender.send(Err(error)).await; }
                    None => break,
                },
            }
        }
        inner.close().await;
    }

    /// Sends a delivery on its way, perhaps twice.
    fn take(&self, delivery: Delivery) {
        let world = &self.process.world;
        let (message, id, attempt) = (delivery.message.clone(), delivery.message_id.clone(), delivery.delivery_attempt);
        world.trace(&self.process.name, format_args!("leases {} {id} attempt {attempt}", self.subscription));
        let twice = world.happens("a delivery came twice", |weather| weather.doubled);
        world.observe(|ledger, counts| ledger.delivered(&self.subscription, &message.data, twice, counts));
        let number = if world.is(Mutation::EarlyAck(topology::known(&self.subscription))) {
            delivery.ack();
            None
        } else {
            Some(self.process.holding.hold(&self.subscription, self.deadline, delivery))
        };
        if let Some(number) = number
            && world.happens("a lease was lost by the living", |weather| weather.lease_lost)
        {
            let (process, after) = (Arc::clone(&self.process), world.draw_ms(0, 30_000));
            tokio::spawn(async move {
                sleep(after).await;
                process.holding.lose(&process, number);
            });
        }
        tokio::spawn(self.clone().deliver(message.clone(), id.clone(), attempt, number));
        if twice {
            tokio::spawn(self.clone().deliver(message, id, attempt, None));
        }
    }

    async fn deliver(self, message: Message, id: String, attempt: u32, number: Option<u64>) {
        let Self { process, subscription, room, sender, closing, .. } = self;
        let arriving = async {
            let delay = if process.world.happens("a delivery was held up", |weather| weather.held_up) {
                process.world.draw_ms(100, 10_000)
            } else {
                process.world.draw_ms(0, 20)
            };
            sleep(delay).await;
            process.runs().await;
            room.acquire_owned().await.ok()
        };
        let permit = tokio::select! {
            biased;
            () = closing.cancelled() => None,
            permit = arriving => permit,
        };
        let arrived = permit.is_some();
        let holder = Arc::clone(&process);
        let lease = SimLease { process, number, _room: permit };
        let delivery = Delivery::new(message, id, attempt, Box::new(lease));
        // What did not arrive before the stream was closed is handed back by being dropped.
        if arrived {
            if subscription == names::CLIP_JOBS_WORKER {
                holder.world.observe(|ledger, _| ledger.job_taken(&holder.name));
            }
            let _ = sender.send(Ok(delivery)).await;
        }
    }
}

/// The lease on one delivery; that of a second copy settles nothing.
struct SimLease {
    process: Arc<Process>,
    number: Option<u64>,
    _room: Option<OwnedSemaphorePermit>,
}

impl SimLease {
    fn settle(&self, done: bool) {
        if let Some(number) = self.number.filter(|_| !self.process.world.lock().over) {
            self.process.holding.settle(&self.process, number, done);
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
