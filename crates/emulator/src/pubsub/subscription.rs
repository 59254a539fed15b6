//! A running subscription: its backlog behind a lock, notifications for waiting streams, and the timer that ends
//! leases.

use super::{
    filter::Filter,
    ps,
    queue::{AckId, Capacity, Delivery, Policy, Queue, Queued, StreamId},
};
use crate::limits;
use bytes::Bytes;
use parking_lot::Mutex;
use prost_types::Timestamp;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A stored message. It stays encoded in the backlog, because a million messages may be queued and each is read once.
pub(super) struct StoredMessage {
    /// The message ID.
    pub(super) id: u64,
    /// The encoded message.
    pub(super) encoded: Bytes,
    /// When it was published.
    pub(super) published: Option<Timestamp>,
    /// Deliveries so far.
    pub(super) attempts: u32,
}

/// A running subscription.
pub(super) struct Subscription {
    /// Its number in the store.
    pub(super) number: u64,
    /// Selects the messages that it receives.
    pub(super) filter: Option<Filter>,
    /// Notifies those that wait for messages.
    pub(super) ready: Notify,
    /// Notifies the timer of an earlier deadline or an exhausted message.
    pub(super) rearm: Notify,
    /// Cancelled when the subscription is deleted.
    pub(super) deleted: CancellationToken,
    inner: Mutex<Inner>,
}

struct Inner {
    settings: ps::Subscription,
    queue: Queue<Bytes>,
    /// When the timer wakes next. The timer is not notified of later deadlines.
    armed: Option<Instant>,
}

impl Subscription {
    /// Creates a subscription without messages; for `first_lease` see [`Queue::new`].
    pub(super) fn new(number: u64, settings: ps::Subscription, first_lease: u64) -> Result<Self, Status> {
        let filter = Filter::parse(&settings.filter).map_err(Status::invalid_argument)?;
        let queue = Queue::new(policy(&settings), first_lease);
        Ok(Self {
            number,
            filter,
            ready: Notify::new(),
            rearm: Notify::new(),
            deleted: CancellationToken::new(),
            inner: Mutex::new(Inner { settings, queue, armed: None }),
        })
    }

    /// Its settings, as the API shows them.
    pub(super) fn settings(&self) -> ps::Subscription {
        self.inner.lock().settings.clone()
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.inner.lock().settings.name.clone()
    }

    /// Whether it is attached to this topic.
    pub(super) fn is_attached_to(&self, topic: &str) -> bool {
        self.inner.lock().settings.topic == topic
    }

    /// Replaces the settings. The filter does not change, as in the real service.
    pub(super) fn reconfigure(&self, settings: ps::Subscription) {
        let mut inner = self.inner.lock();
        inner.queue.set_policy(policy(&settings));
        inner.settings = settings;
    }

    /// The default duration of a lease.
    pub(super) fn ack_deadline(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.inner.lock().settings.ack_deadline_seconds).unwrap_or(10))
    }

    /// Whether the backlog can take this many more bytes.
    pub(super) fn has_capacity_for(&self, bytes: usize) -> bool {
        self.inner.lock().queue.bytes() + bytes <= limits::MAX_BACKLOG_BYTES
    }

    /// Whether the filter matches a message.
    pub(super) fn matches(&self, message: &ps::PubsubMessage) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&message.attributes))
    }

    /// Makes stored messages available and notifies those that wait.
    pub(super) fn publish(&self, messages: impl IntoIterator<Item = StoredMessage>) {
        let mut inner = self.inner.lock();
        let retention = retention(&inner.settings);
        for StoredMessage { id, encoded, published, attempts } in messages {
            let expires = Instant::now() + retention.saturating_sub(age(published));
            let size = encoded.len();
            inner.queue.publish(Queued { id, message: encoded, size, attempts, expires });
        }
        drop(inner);
        self.ready.notify_waiters();
    }

    /// Opens a stream with the limits that its client requested.
    pub(super) fn open_stream(&self, limit: Capacity) -> StreamId {
        self.inner.lock().queue.open_stream(limit)
    }

    /// Records that a stream's client sent a request.
    pub(super) fn record_activity(&self, stream: StreamId) {
        if self.inner.lock().queue.record_activity(stream) {
            self.ready.notify_waiters();
        }
    }

    /// Changes the delivery order, see [`Queue::rotate`].
    pub(super) fn rotate(&self, by: impl FnOnce(usize) -> usize) {
        self.inner.lock().queue.rotate(by);
    }

    /// Closes a stream; the share of the others may grow.
    pub(super) fn close_stream(&self, stream: StreamId) {
        self.inner.lock().queue.close_stream(stream);
        self.ready.notify_waiters();
    }

    /// Leases ready messages. The second value is whether the attempts must be stored.
    pub(super) fn lease(
        &self,
        stream: Option<StreamId>,
        capacity: Capacity,
        deadline: Duration,
    ) -> (Vec<Delivery<Bytes>>, bool) {
        let mut inner = self.inner.lock();
        let leased = inner.queue.lease(Instant::now(), stream, capacity, deadline);
        self.rearm_if_earlier(&inner);
        let counts = inner.queue.counts_attempts();
        (leased, counts)
    }

    /// Settles deliveries; returns the IDs of the removed messages.
    pub(super) fn acknowledge(&self, acks: &[AckId]) -> Vec<u64> {
        let mut inner = self.inner.lock();
        let removed = acks.iter().filter(|ack| inner.queue.acknowledge(**ack)).map(|ack| ack.message()).collect();
        drop(inner);
        // A full stream may have capacity again.
        self.ready.notify_waiters();
        removed
    }

    /// Extends leases; a deadline of zero hands messages back.
    pub(super) fn modify(&self, acks: &[AckId], deadline: Duration) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        if deadline.is_zero() {
            let nacked = acks.iter().filter(|ack| inner.queue.hand_back(**ack, now)).count();
            drop(inner);
            if nacked > 0 {
                // The timer must learn of delays and exhausted messages, the streams of ready messages.
                self.rearm.notify_one();
                self.ready.notify_waiters();
            }
        } else {
            acks.iter().for_each(|ack| inner.queue.extend(*ack, now, deadline));
            self.rearm_if_earlier(&inner);
        }
    }

    /// Returns messages whose last attempt ended.
    pub(super) fn take_exhausted(&self) -> Vec<(u64, Bytes, u32)> {
        self.inner.lock().queue.take_exhausted()
    }

    /// Redelivers an exhausted message later.
    pub(super) fn redeliver_after(&self, id: u64, wait: Duration) {
        self.inner.lock().queue.redeliver_after(id, Instant::now(), wait);
        self.rearm.notify_one();
    }

    /// Removes a message.
    pub(super) fn remove(&self, id: u64) {
        self.inner.lock().queue.remove(id);
    }

    /// Drops messages past their retention; returns their IDs.
    pub(super) fn remove_expired(&self) -> Vec<u64> {
        self.inner.lock().queue.remove_expired(Instant::now())
    }

    /// Ends leases and delays that are due, notifies those that wait, and returns when to run again.
    pub(super) fn expire(&self) -> Option<Instant> {
        let mut inner = self.inner.lock();
        let became_ready = inner.queue.expire(Instant::now());
        inner.armed = inner.queue.next_timer();
        let next = inner.armed;
        drop(inner);
        if became_ready {
            self.ready.notify_waiters();
        }
        next
    }

    fn rearm_if_earlier(&self, inner: &Inner) {
        let next = inner.queue.next_timer();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            self.rearm.notify_one();
        }
    }
}

/// The age of a message by the system clock; the message may be from before a restart.
fn age(published: Option<Timestamp>) -> Duration {
    let published = published.and_then(|at| SystemTime::try_from(at).ok());
    published.and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

fn policy(settings: &ps::Subscription) -> Policy {
    let wait = |wait: &Option<prost_types::Duration>, default| {
        wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(Duration::from_secs(default))
    };
    Policy {
        // Defaults of the real service: 10 s and 600 s.
        backoff: settings
            .retry_policy
            .as_ref()
            .map(|retry| (wait(&retry.minimum_backoff, 10), wait(&retry.maximum_backoff, 600))),
        max_attempts: settings
            .dead_letter_policy
            .as_ref()
            .map(|policy| u32::try_from(policy.max_delivery_attempts).unwrap_or(5)),
    }
}

fn retention(settings: &ps::Subscription) -> Duration {
    let configured = settings.message_retention_duration.and_then(|wait| Duration::try_from(wait).ok());
    configured.unwrap_or(limits::DEFAULT_RETENTION)
}
