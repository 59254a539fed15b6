//! Pub/Sub: topics, subscriptions, messages at least once.
//!
//! What is durable is in [`tables`]; what is fast is in memory, in one [`queue`] per subscription. A publish is written,
//! synced, then shown to the queues (by the store's writer, in commit order), then confirmed. An acknowledgement leaves the
//! queue at once and is confirmed when its removal is synced. Leases live in memory only: a restart makes every
//! unacknowledged message available at once. Delivery attempts are queued for storage with the delivery, so they are on disk
//! before any later call about that message is answered.
//!
//! Not here yet, and refused by name: ordering, exactly-once, push and exports, seek and snapshots, schemas, transforms.
//! Ordering keys on messages are carried along, as the real service does for subscriptions without ordering.

mod admin;
mod filter;
mod grpc;
mod json;
mod names;
mod queue;
mod rest;
mod settings;
mod streaming;
mod subscription;
mod tables;

pub(crate) use grpc::{publisher, subscriber};
pub(crate) use rest::handle as rest;

use crate::{
    clock::{self, Ticker},
    error::stopping,
    faults::Faults,
    limits,
    store::{Store, StoreError},
};
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as ps;
use parking_lot::Mutex;
use prost::Message;
use queue::{AckId, Delivery, Room, StreamId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use subscription::{Parcel, Subscription};
use tables::{FoundMessage, NewMessage};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The running service.
pub(crate) struct PubSub {
    store: Store,
    ticker: Arc<Ticker>,
    state: Mutex<State>,
    /// Held by whoever changes topics or subscriptions: check, store, show, one after the other.
    admin: tokio::sync::Mutex<()>,
    faults: Arc<Faults>,
    /// Fires when the server stops.
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, ps::Topic>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
}

impl PubSub {
    /// Reads back what is stored and starts the timers.
    pub(crate) async fn start(
        store: Store,
        ticker: Arc<Ticker>,
        faults: Arc<Faults>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        let found = store.write(tables::load).await?;
        let pubsub = Arc::new(Self {
            store,
            ticker,
            state: Mutex::default(),
            admin: tokio::sync::Mutex::default(),
            faults,
            stop,
        });
        let mut backlogs: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for message in found.messages {
            pubsub.ticker.raise(message.id);
            let backlog = backlogs.entry(message.subscription).or_default();
            let FoundMessage { id, encoded, published, attempts, .. } = message;
            backlog.push(Parcel { id, encoded, published, attempts });
        }
        for topic in found.topics {
            pubsub.state.lock().topics.insert(topic.name.clone(), topic);
        }
        for row in found.subscriptions {
            pubsub.ticker.raise(row.number);
            let name = row.subscription.as_ref().map_or("", |settings| &settings.name).to_owned();
            match Subscription::new(row.number, row.subscription.unwrap_or_default(), pubsub.ticker.tick()) {
                Ok(subscription) => {
                    let subscription = Arc::new(subscription);
                    subscription.publish(backlogs.remove(&row.number).unwrap_or_default());
                    pubsub.run(subscription);
                }
                Err(status) => tracing::error!(name, message = status.message(), "stored subscription left out"),
            }
        }
        tokio::spawn(Arc::clone(&pubsub).forget_stale());
        Ok(pubsub)
    }

    /// Stores messages for every subscription of the topic; returns their ids once they are safe.
    pub(crate) async fn publish(&self, topic: &str, messages: Vec<ps::PubsubMessage>) -> Result<Vec<String>, Status> {
        if messages.is_empty() || messages.len() > limits::PUBLISH_MESSAGES {
            return Err(Status::invalid_argument(format!("publish 1 to {} messages", limits::PUBLISH_MESSAGES)));
        }
        names::check(topic, "topics")?;
        messages.iter().try_for_each(settings::check_message)?;
        if messages.iter().map(Message::encoded_len).sum::<usize>() > limits::MESSAGE_BYTES {
            return Err(Status::invalid_argument(format!("a request has more than {} bytes", limits::MESSAGE_BYTES)));
        }
        let stored = {
            // Stored in the order of this lock, so that ids increase in the order of the log.
            let state = self.state.lock();
            let post = self.address(&state, topic, messages)?;
            let ids = post.ids.clone();
            let Post { rows, deliver, .. } = post;
            let stored =
                self.store.write_then(move |transaction| tables::put_messages(transaction, &rows), |()| deliver());
            async move { stored.await.map(|()| ids) }
        };
        Ok(stored.await?)
    }

    /// Gives messages their ids and finds out who gets them.
    fn address(&self, state: &State, topic: &str, messages: Vec<ps::PubsubMessage>) -> Result<Post, Status> {
        if !state.topics.contains_key(topic) {
            return Err(not_found(topic));
        }
        let messages: Vec<_> = messages.into_iter().map(|message| self.stamp(message)).collect();
        let ids = messages.iter().map(|(_, message, _)| message.message_id.clone()).collect();
        let mut rows = Vec::new();
        let mut deliveries = Vec::new();
        for subscription in state.subscriptions.values().filter(|subscription| subscription.is_of(topic)) {
            let wanted: Vec<_> = messages.iter().filter(|(_, message, _)| subscription.wants(message)).collect();
            let bytes = wanted.iter().map(|(_, _, encoded)| encoded.len()).sum();
            if !subscription.has_room_for(bytes) {
                let name = subscription.name();
                return Err(Status::resource_exhausted(format!(
                    "the backlog of '{name}' is full; acknowledge or delete it"
                )));
            }
            let number = subscription.number;
            rows.extend(wanted.iter().map(|(id, _, encoded)| NewMessage {
                subscription: number,
                id: *id,
                encoded: encoded.clone(),
            }));
            let parcel = |(id, message, encoded): &&(u64, ps::PubsubMessage, Bytes)| Parcel {
                id: *id,
                encoded: encoded.clone(),
                published: message.publish_time,
                attempts: 0,
            };
            deliveries.push((Arc::clone(subscription), wanted.iter().map(parcel).collect::<Vec<_>>()));
        }
        let deliver = Box::new(move || {
            for (subscription, parcels) in deliveries {
                subscription.publish(parcels);
            }
        });
        Ok(Post { ids, rows, deliver })
    }

    fn stamp(&self, mut message: ps::PubsubMessage) -> (u64, ps::PubsubMessage, Bytes) {
        let id = self.ticker.tick();
        message.message_id = id.to_string();
        message.publish_time = Some(clock::timestamp(clock::now_micros()));
        let encoded = message.encode_to_vec().into();
        (id, message, encoded)
    }

    /// Finds a subscription.
    fn subscription(&self, name: &str) -> Result<Arc<Subscription>, Status> {
        names::check(name, "subscriptions")?;
        self.state.lock().subscriptions.get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// Leases ready messages and queues their attempt counts for storage.
    fn lease(
        &self,
        subscription: &Subscription,
        stream: Option<StreamId>,
        room: Room,
        deadline: Duration,
    ) -> Vec<ps::ReceivedMessage> {
        if !self.faults.are_off() {
            let name = subscription.name();
            subscription.turn(|ready| self.faults.reorders(&name, ready));
        }
        let (leased, counts) = subscription.lease(stream, room, deadline);
        if counts && !leased.is_empty() {
            let number = subscription.number;
            let attempts: Vec<_> = leased.iter().map(|delivery| (delivery.id, delivery.attempt)).collect();
            drop(self.store.write(move |transaction| tables::put_attempts(transaction, number, &attempts)));
        }
        for delivery in leased.iter().filter(|_| !self.faults.are_off()) {
            if self.faults.duplicates(&subscription.name()) {
                subscription.modify(&[delivery.ack_id], Duration::ZERO);
            }
        }
        leased.into_iter().map(|delivery| received(subscription.number, delivery, counts)).collect()
    }

    /// Takes messages for a unary pull; waits a while for the first.
    pub(crate) async fn pull(&self, request: ps::PullRequest) -> Result<Vec<ps::ReceivedMessage>, Status> {
        let subscription = self.subscription(&request.subscription)?;
        let most = usize::try_from(request.max_messages).unwrap_or(0).min(limits::DELIVERY_MESSAGES);
        if most == 0 {
            return Err(Status::invalid_argument("max_messages must be positive"));
        }
        let room = Room { messages: most, bytes: limits::DELIVERY_BYTES };
        let give_up = tokio::time::Instant::now() + limits::PULL_WAIT;
        loop {
            // Registered before looking, so that what arrives in between is not missed.
            let ready = subscription.ready.notified();
            let received = self.lease(&subscription, None, room, subscription.ack_deadline());
            if !received.is_empty() || request_is_immediate(&request) {
                return Ok(received);
            }
            tokio::select! {
                () = ready => {}
                () = tokio::time::sleep_until(give_up) => return Ok(Vec::new()),
                () = subscription.deleted.cancelled() => return Err(not_found(&request.subscription)),
                () = self.stop.cancelled() => return Err(stopping()),
            }
        }
    }

    /// Settles deliveries for good.
    pub(crate) async fn acknowledge(&self, subscription: &str, acks: &[String]) -> Result<(), Status> {
        let subscription = self.subscription(subscription)?;
        let acks = parse(&subscription, acks)?;
        check_any(&acks)?;
        Ok(self.settle(&subscription, acks).await?)
    }

    /// The first half, out of the queue, happens at once; the future is the second, off the disk.
    fn settle(
        &self,
        subscription: &Subscription,
        mut acks: Vec<AckId>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        if !self.faults.are_off() {
            acks.retain(|_| !self.faults.loses_ack(&subscription.name()));
        }
        let gone = subscription.acknowledge(&acks);
        let number = subscription.number;
        // Even when nothing was removed the caller waits its turn: what came before is then stored.
        self.store.write(move |transaction| tables::remove_messages(transaction, number, &gone))
    }

    /// Extends leases; zero hands messages back.
    pub(crate) fn modify_deadline(&self, name: &str, acks: &[String], seconds: i32) -> Result<(), Status> {
        let subscription = self.subscription(name)?;
        let acks = parse(&subscription, acks)?;
        check_any(&acks)?;
        subscription.modify(&acks, settings::deadline(seconds)?);
        Ok(())
    }

    /// Shows a subscription to publishers and subscribers, and starts its timer.
    fn run(self: &Arc<Self>, subscription: Arc<Subscription>) {
        self.state.lock().subscriptions.insert(subscription.name(), Arc::clone(&subscription));
        tokio::spawn(Arc::clone(self).keep_time(subscription));
    }

    /// A subscription's timer: ends leases and waits when they are due, and forwards what is out of attempts.
    async fn keep_time(self: Arc<Self>, subscription: Arc<Subscription>) {
        loop {
            let next = subscription.expire();
            for (id, message, attempts) in subscription.take_exhausted() {
                self.forward(&subscription, id, unpack(message), attempts).await;
            }
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = subscription.rearm.notified() => {}
                () = subscription.deleted.cancelled() => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Publishes an exhausted message to the dead letter topic and removes it here, in one change.
    async fn forward(&self, subscription: &Subscription, id: u64, message: ps::PubsubMessage, attempts: u32) {
        let settings = subscription.settings();
        let Some(policy) = settings.dead_letter_policy.as_ref() else {
            // The policy was taken away meanwhile: the message is an ordinary one again.
            return subscription.keep(id, Duration::ZERO);
        };
        let letter = dead_letter(message, &settings, attempts);
        let number = subscription.number;
        let stored = {
            let state = self.state.lock();
            match self.address(&state, &policy.dead_letter_topic, vec![letter]) {
                Ok(Post { rows, deliver, .. }) => Ok(self.store.write_then(
                    move |transaction| {
                        tables::put_messages(transaction, &rows)?;
                        tables::remove_messages(transaction, number, &[id])
                    },
                    |()| deliver(),
                )),
                Err(status) => Err(status),
            }
        };
        let forwarded = match stored {
            Ok(stored) => stored.await.map_err(Status::from),
            Err(status) => Err(status),
        };
        match forwarded {
            Ok(()) => subscription.remove(id),
            Err(status) => {
                tracing::warn!(
                    subscription = settings.name,
                    topic = policy.dead_letter_topic,
                    message = status.message(),
                    "dead letter not forwarded"
                );
                subscription.keep(id, limits::DEAD_LETTER_RETRY);
            }
        }
    }

    /// Drops messages past their retention, now and then.
    async fn forget_stale(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(limits::RETENTION_SWEEP) => {}
                () = self.stop.cancelled() => return,
            }
            let subscriptions: Vec<_> = self.state.lock().subscriptions.values().cloned().collect();
            for subscription in subscriptions {
                let stale = subscription.forget();
                if !stale.is_empty() {
                    tracing::info!(subscription = subscription.name(), messages = stale.len(), "past retention");
                    let number = subscription.number;
                    drop(self.store.write(move |transaction| tables::remove_messages(transaction, number, &stale)));
                }
            }
        }
    }
}

/// Messages ready to be stored and then delivered.
struct Post {
    ids: Vec<String>,
    rows: Vec<NewMessage>,
    deliver: Box<dyn FnOnce() + Send>,
}

/// A message that waited. Every one was encoded here or decoded at start, so it can be read.
fn unpack(encoded: Bytes) -> ps::PubsubMessage {
    ps::PubsubMessage::decode(encoded).unwrap_or_default()
}

fn received(subscription: u64, delivery: Delivery<Bytes>, counts: bool) -> ps::ReceivedMessage {
    ps::ReceivedMessage {
        ack_id: format!("{subscription:x}-{}", delivery.ack_id),
        message: Some(unpack(delivery.message)),
        // The real service counts only for subscriptions with a dead letter policy.
        delivery_attempt: if counts { i32::try_from(delivery.attempt).unwrap_or(i32::MAX) } else { 0 },
    }
}

/// The message as it goes to the dead letter topic, with the attributes of the real service.
fn dead_letter(mut letter: ps::PubsubMessage, from: &ps::Subscription, attempts: u32) -> ps::PubsubMessage {
    let (project, id) = names::split(&from.name);
    let published = letter.publish_time.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut note =
        |name: &str, value: String| letter.attributes.insert(format!("CloudPubSubDeadLetterSource{name}"), value);
    note("DeliveryCount", attempts.to_string());
    note("Subscription", id.to_owned());
    note("SubscriptionProject", project.to_owned());
    note("TopicPublishTime", published);
    letter
}

/// Ids of clients. One that no delivery of this subscription ever had refuses them all; one that is stale has no
/// effect.
fn parse(subscription: &Subscription, acks: &[String]) -> Result<Vec<AckId>, Status> {
    let one = |ack: &String| {
        let own = ack.strip_prefix(&format!("{:x}-", subscription.number)).and_then(|ack| ack.parse().ok());
        own.ok_or_else(|| Status::invalid_argument(format!("the ack id '{ack}' is not of this subscription")))
    };
    acks.iter().map(one).collect()
}

fn check_any(acks: &[AckId]) -> Result<(), Status> {
    if acks.is_empty() { Err(Status::invalid_argument("ack_ids must name at least one delivery")) } else { Ok(()) }
}

#[expect(deprecated, reason = "clients still send the field")]
fn request_is_immediate(request: &ps::PullRequest) -> bool {
    request.return_immediately
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={name})"))
}
