//! Pub/Sub: topics, subscriptions, at-least-once delivery of messages.
//!
//! The durable state is in [`tables`]; each subscription also has a [`queue`] in memory. A publish is written and
//! synced, then added to the queues (by the store's writer, in commit order), then confirmed. An acknowledgement leaves
//! the queue immediately and is confirmed when its removal is synced. Leases are only in memory: after a restart, every
//! unacknowledged message is available immediately. Delivery attempts are queued for storage with the delivery, so they
//! are on disk before any later call about that message is answered.
//!
//! Not supported, and rejected by name: ordering, exactly-once delivery, push and exports, seek and snapshots, schemas,
//! transforms. Ordering keys of messages are stored and delivered, as the real service does for subscriptions without
//! ordering.

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
use queue::{AckId, Capacity, Delivery, StreamId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use subscription::{StoredMessage, Subscription};
use tables::NewMessage;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The running service.
pub(crate) struct PubSub {
    store: Store,
    ticker: Arc<Ticker>,
    state: Mutex<State>,
    /// Serializes changes to topics and subscriptions, each of which checks, stores and publishes its result.
    admin: tokio::sync::Mutex<()>,
    faults: Arc<Faults>,
    /// Cancelled when the server stops.
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, ps::Topic>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
}

impl PubSub {
    /// Loads the stored state and starts the timers.
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
        for (subscription, message) in found.messages {
            pubsub.ticker.raise(message.id);
            backlogs.entry(subscription).or_default().push(message);
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
                    pubsub.register(subscription);
                }
                Err(status) => tracing::error!(name, reason = status.message(), "invalid stored subscription skipped"),
            }
        }
        tokio::spawn(Arc::clone(&pubsub).sweep_expired());
        Ok(pubsub)
    }

    /// Stores messages for every subscription of the topic; returns their IDs when they are synced.
    pub(crate) async fn publish(&self, topic: &str, messages: Vec<ps::PubsubMessage>) -> Result<Vec<String>, Status> {
        if messages.is_empty() || messages.len() > limits::MAX_PUBLISH_MESSAGES {
            return Err(Status::invalid_argument(format!("publish 1 to {} messages", limits::MAX_PUBLISH_MESSAGES)));
        }
        names::check(topic, "topics")?;
        messages.iter().try_for_each(settings::check_message)?;
        if messages.iter().map(Message::encoded_len).sum::<usize>() > limits::MAX_MESSAGE_BYTES {
            return Err(Status::invalid_argument(format!(
                "a request has more than {} bytes",
                limits::MAX_MESSAGE_BYTES
            )));
        }
        let stored = {
            // Queued for storage under this lock, so that IDs increase in the order of the log.
            let state = self.state.lock();
            let publication = self.prepare(&state, topic, messages)?;
            let ids = publication.ids.clone();
            let Publication { rows, deliver, .. } = publication;
            let stored =
                self.store.write_then(move |transaction| tables::put_messages(transaction, &rows), |()| deliver());
            async move { stored.await.map(|()| ids) }
        };
        Ok(stored.await?)
    }

    /// Assigns message IDs and selects the subscriptions that receive the messages.
    fn prepare(&self, state: &State, topic: &str, messages: Vec<ps::PubsubMessage>) -> Result<Publication, Status> {
        if !state.topics.contains_key(topic) {
            return Err(not_found(topic));
        }
        let messages: Vec<_> = messages.into_iter().map(|message| self.assign_id(message)).collect();
        let ids = messages.iter().map(|(_, message, _)| message.message_id.clone()).collect();
        let mut rows = Vec::new();
        let mut deliveries = Vec::new();
        for subscription in state.subscriptions.values().filter(|subscription| subscription.is_attached_to(topic)) {
            let matching: Vec<_> = messages.iter().filter(|(_, message, _)| subscription.matches(message)).collect();
            let bytes = matching.iter().map(|(_, _, encoded)| encoded.len()).sum();
            if !subscription.has_capacity_for(bytes) {
                let name = subscription.name();
                return Err(Status::resource_exhausted(format!(
                    "the backlog of '{name}' is full; acknowledge or delete it"
                )));
            }
            let number = subscription.number;
            rows.extend(matching.iter().map(|(id, _, encoded)| NewMessage {
                subscription: number,
                id: *id,
                encoded: encoded.clone(),
            }));
            let stored = |(id, message, encoded): &&(u64, ps::PubsubMessage, Bytes)| StoredMessage {
                id: *id,
                encoded: encoded.clone(),
                published: message.publish_time,
                attempts: 0,
            };
            deliveries.push((Arc::clone(subscription), matching.iter().map(stored).collect::<Vec<_>>()));
        }
        let deliver = Box::new(move || {
            for (subscription, messages) in deliveries {
                subscription.publish(messages);
            }
        });
        Ok(Publication { ids, rows, deliver })
    }

    fn assign_id(&self, mut message: ps::PubsubMessage) -> (u64, ps::PubsubMessage, Bytes) {
        let id = self.ticker.tick();
        message.message_id = id.to_string();
        message.publish_time = Some(clock::timestamp(clock::now_micros()));
        let encoded = message.encode_to_vec().into();
        (id, message, encoded)
    }

    /// Returns a subscription.
    fn subscription(&self, name: &str) -> Result<Arc<Subscription>, Status> {
        names::check(name, "subscriptions")?;
        self.state.lock().subscriptions.get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// Leases ready messages and queues their attempt counts for storage.
    fn lease(
        &self,
        subscription: &Subscription,
        stream: Option<StreamId>,
        capacity: Capacity,
        deadline: Duration,
    ) -> Vec<ps::ReceivedMessage> {
        if !self.faults.are_off() {
            let name = subscription.name();
            subscription.rotate(|ready| self.faults.reorders(&name, ready));
        }
        let (leased, counts) = subscription.lease(stream, capacity, deadline);
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
        leased.into_iter().map(|delivery| received_message(subscription.number, delivery, counts)).collect()
    }

    /// Leases messages for a unary pull; waits a while for the first one.
    pub(crate) async fn pull(&self, request: ps::PullRequest) -> Result<Vec<ps::ReceivedMessage>, Status> {
        let subscription = self.subscription(&request.subscription)?;
        let max = usize::try_from(request.max_messages).unwrap_or(0).min(limits::MAX_DELIVERY_MESSAGES);
        if max == 0 {
            return Err(Status::invalid_argument("max_messages must be positive"));
        }
        let capacity = Capacity { messages: max, bytes: limits::MAX_DELIVERY_BYTES };
        let deadline = tokio::time::Instant::now() + limits::PULL_TIMEOUT;
        loop {
            // Registered before the lease, so that a message that arrives in between is not missed.
            let ready = subscription.ready.notified();
            let received = self.lease(&subscription, None, capacity, subscription.ack_deadline());
            if !received.is_empty() || returns_immediately(&request) {
                return Ok(received);
            }
            tokio::select! {
                () = ready => {}
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
                () = subscription.deleted.cancelled() => return Err(not_found(&request.subscription)),
                () = self.stop.cancelled() => return Err(stopping()),
            }
        }
    }

    /// Settles deliveries permanently.
    pub(crate) async fn acknowledge(&self, subscription: &str, acks: &[String]) -> Result<(), Status> {
        let subscription = self.subscription(subscription)?;
        let acks = parse(&subscription, acks)?;
        check_not_empty(&acks)?;
        Ok(self.settle(&subscription, acks).await?)
    }

    /// Removes the messages from the queue immediately; the returned future completes when they are removed from the
    /// disk.
    fn settle(
        &self,
        subscription: &Subscription,
        mut acks: Vec<AckId>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        if !self.faults.are_off() {
            acks.retain(|_| !self.faults.loses_ack(&subscription.name()));
        }
        let removed = subscription.acknowledge(&acks);
        let number = subscription.number;
        // Even if nothing was removed, the caller waits for the write: then all earlier changes are stored.
        self.store.write(move |transaction| tables::remove_messages(transaction, number, &removed))
    }

    /// Extends leases; a deadline of zero hands messages back.
    pub(crate) fn modify_deadline(&self, name: &str, acks: &[String], seconds: i32) -> Result<(), Status> {
        let subscription = self.subscription(name)?;
        let acks = parse(&subscription, acks)?;
        check_not_empty(&acks)?;
        subscription.modify(&acks, settings::deadline(seconds)?);
        Ok(())
    }

    /// Makes a subscription visible to publishers and subscribers, and starts its timer.
    fn register(self: &Arc<Self>, subscription: Arc<Subscription>) {
        self.state.lock().subscriptions.insert(subscription.name(), Arc::clone(&subscription));
        tokio::spawn(Arc::clone(self).run_timer(subscription));
    }

    /// A subscription's timer: ends leases and delays when they are due, and forwards messages without remaining
    /// attempts.
    async fn run_timer(self: Arc<Self>, subscription: Arc<Subscription>) {
        loop {
            let next = subscription.expire();
            for (id, message, attempts) in subscription.take_exhausted() {
                self.forward_dead_letter(&subscription, id, decode_message(message), attempts).await;
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
    async fn forward_dead_letter(
        &self,
        subscription: &Subscription,
        id: u64,
        message: ps::PubsubMessage,
        attempts: u32,
    ) {
        let settings = subscription.settings();
        let Some(policy) = settings.dead_letter_policy.as_ref() else {
            // The policy was removed in the meantime, so the message is redelivered.
            return subscription.redeliver_after(id, Duration::ZERO);
        };
        let message = dead_letter(message, &settings, attempts);
        let number = subscription.number;
        let stored = {
            let state = self.state.lock();
            match self.prepare(&state, &policy.dead_letter_topic, vec![message]) {
                Ok(Publication { rows, deliver, .. }) => Ok(self.store.write_then(
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
                    reason = status.message(),
                    "failed to forward a message to the dead letter topic"
                );
                subscription.redeliver_after(id, limits::DEAD_LETTER_RETRY_DELAY);
            }
        }
    }

    /// Periodically drops messages past their retention.
    async fn sweep_expired(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(limits::RETENTION_SWEEP_INTERVAL) => {}
                () = self.stop.cancelled() => return,
            }
            let subscriptions: Vec<_> = self.state.lock().subscriptions.values().cloned().collect();
            for subscription in subscriptions {
                let expired = subscription.remove_expired();
                if !expired.is_empty() {
                    tracing::info!(
                        subscription = subscription.name(),
                        messages = expired.len(),
                        "expired messages removed"
                    );
                    let number = subscription.number;
                    drop(self.store.write(move |transaction| tables::remove_messages(transaction, number, &expired)));
                }
            }
        }
    }
}

/// Messages that are ready to be stored and then delivered.
struct Publication {
    ids: Vec<String>,
    rows: Vec<NewMessage>,
    deliver: Box<dyn FnOnce() + Send>,
}

/// Decodes a queued message. This cannot fail, because every queued message was encoded here or decoded at startup.
fn decode_message(encoded: Bytes) -> ps::PubsubMessage {
    ps::PubsubMessage::decode(encoded).unwrap_or_default()
}

fn received_message(subscription: u64, delivery: Delivery<Bytes>, counts: bool) -> ps::ReceivedMessage {
    ps::ReceivedMessage {
        ack_id: format!("{subscription:x}-{}", delivery.ack_id),
        message: Some(decode_message(delivery.message)),
        // The real service reports attempts only for subscriptions with a dead letter policy.
        delivery_attempt: if counts { i32::try_from(delivery.attempt).unwrap_or(i32::MAX) } else { 0 },
    }
}

/// The message for the dead letter topic, with the attributes that the real service adds.
fn dead_letter(mut message: ps::PubsubMessage, from: &ps::Subscription, attempts: u32) -> ps::PubsubMessage {
    let (project, id) = names::split(&from.name);
    let published = message.publish_time.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut add =
        |name: &str, value: String| message.attributes.insert(format!("CloudPubSubDeadLetterSource{name}"), value);
    add("DeliveryCount", attempts.to_string());
    add("Subscription", id.to_owned());
    add("SubscriptionProject", project.to_owned());
    add("TopicPublishTime", published);
    message
}

/// Parses the ack IDs of clients. An ID that no delivery of this subscription ever had rejects the whole call; a stale
/// ID has no effect.
fn parse(subscription: &Subscription, acks: &[String]) -> Result<Vec<AckId>, Status> {
    let one = |ack: &String| {
        let parsed = ack.strip_prefix(&format!("{:x}-", subscription.number)).and_then(|ack| ack.parse().ok());
        parsed.ok_or_else(|| Status::invalid_argument(format!("the ack id '{ack}' is not of this subscription")))
    };
    acks.iter().map(one).collect()
}

fn check_not_empty(acks: &[AckId]) -> Result<(), Status> {
    if acks.is_empty() { Err(Status::invalid_argument("ack_ids must name at least one delivery")) } else { Ok(()) }
}

#[expect(deprecated, reason = "clients still send the field")]
fn returns_immediately(request: &ps::PullRequest) -> bool {
    request.return_immediately
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={name})"))
}
