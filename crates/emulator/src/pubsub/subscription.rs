//! A subscription at work: its backlog behind a lock, those who wait for it, and the timer that ends leases.

use super::{
    filter::Filter,
    ps,
    queue::{AckId, Delivery, Policy, Queue, Room, StreamId, Waiting},
};
use crate::limits;
use bytes::Bytes;
use parking_lot::Mutex;
use prost_types::Timestamp;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A stored message on its way into a backlog. It waits there encoded: a million may wait, and each is looked at once.
pub(super) struct Parcel {
    /// Its id.
    pub(super) id: u64,
    /// The encoded message.
    pub(super) encoded: Bytes,
    /// When it was published.
    pub(super) published: Option<Timestamp>,
    /// Deliveries so far.
    pub(super) attempts: u32,
}

/// A subscription at work.
pub(super) struct Subscription {
    /// Its number in the store.
    pub(super) number: u64,
    /// Which messages it wants.
    pub(super) filter: Option<Filter>,
    /// Wakes those who wait for messages.
    pub(super) ready: Notify,
    /// Wakes the timer: there may be an earlier deadline or an exhausted message.
    pub(super) rearm: Notify,
    /// Fires when the subscription is deleted.
    pub(super) deleted: CancellationToken,
    inner: Mutex<Inner>,
}

struct Inner {
    settings: ps::Subscription,
    queue: Queue<Bytes>,
    /// The time the timer sleeps until; spares it from being woken for later deadlines.
    armed: Option<Instant>,
}

impl Subscription {
    /// A subscription without messages; `first_lease` as for [`Queue::new`].
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

    /// Whether it draws on this topic.
    pub(super) fn is_of(&self, topic: &str) -> bool {
        self.inner.lock().settings.topic == topic
    }

    /// Replaces the settings; the filter is immutable, as in the real service.
    pub(super) fn reconfigure(&self, settings: ps::Subscription) {
        let mut inner = self.inner.lock();
        inner.queue.set_policy(policy(&settings));
        inner.settings = settings;
    }

    /// How long a lease lasts unless a stream says otherwise.
    pub(super) fn ack_deadline(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.inner.lock().settings.ack_deadline_seconds).unwrap_or(10))
    }

    /// Whether so many more bytes may wait here.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.inner.lock().queue.bytes() + bytes <= limits::BACKLOG_BYTES
    }

    /// Whether a message with these attributes is wanted.
    pub(super) fn wants(&self, message: &ps::PubsubMessage) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.wants(&message.attributes))
    }

    /// Makes stored messages available and wakes those who wait.
    pub(super) fn publish(&self, parcels: impl IntoIterator<Item = Parcel>) {
        let mut inner = self.inner.lock();
        let retention = retention(&inner.settings);
        for Parcel { id, encoded, published, attempts } in parcels {
            let expires = Instant::now() + retention.saturating_sub(age(published));
            let size = encoded.len();
            inner.queue.publish(Waiting { id, message: encoded, size, attempts, expires });
        }
        drop(inner);
        self.ready.notify_waiters();
    }

    /// Opens a stream with the limits its client asked for.
    pub(super) fn open_stream(&self, limit: Room) -> StreamId {
        self.inner.lock().queue.open_stream(limit)
    }

    /// Notes that a stream's client has said something.
    pub(super) fn heard(&self, stream: StreamId) {
        if self.inner.lock().queue.heard(stream) {
            self.ready.notify_waiters();
        }
    }

    /// Changes the order of delivery, see [`Queue::turn`].
    pub(super) fn turn(&self, by: impl FnOnce(usize) -> usize) {
        self.inner.lock().queue.turn(by);
    }

    /// Closes a stream; another may now have a larger share.
    pub(super) fn close_stream(&self, stream: StreamId) {
        self.inner.lock().queue.close_stream(stream);
        self.ready.notify_waiters();
    }

    /// Leases what is ready. The second value tells whether the attempts must be stored.
    pub(super) fn lease(
        &self,
        stream: Option<StreamId>,
        room: Room,
        deadline: Duration,
    ) -> (Vec<Delivery<Bytes>>, bool) {
        let mut inner = self.inner.lock();
        let leased = inner.queue.lease(Instant::now(), stream, room, deadline);
        self.rearm_if_earlier(&inner);
        let counts = inner.queue.counts_attempts();
        (leased, counts)
    }

    /// Settles deliveries; returns the ids of the messages that are now gone.
    pub(super) fn acknowledge(&self, acks: &[AckId]) -> Vec<u64> {
        let mut inner = self.inner.lock();
        let gone = acks.iter().filter(|ack| inner.queue.acknowledge(**ack)).map(|ack| ack.message()).collect();
        drop(inner);
        // A stream that was full has room again.
        self.ready.notify_waiters();
        gone
    }

    /// Extends leases, or hands back with a deadline of zero.
    pub(super) fn modify(&self, acks: &[AckId], deadline: Duration) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        if deadline.is_zero() {
            let handed_back = acks.iter().filter(|ack| inner.queue.hand_back(**ack, now)).count();
            drop(inner);
            if handed_back > 0 {
                // The timer learns of waits and of exhausted messages, streams of what is ready at once.
                self.rearm.notify_one();
                self.ready.notify_waiters();
            }
        } else {
            acks.iter().for_each(|ack| inner.queue.extend(*ack, now, deadline));
            self.rearm_if_earlier(&inner);
        }
    }

    /// Messages whose last attempt is over.
    pub(super) fn take_exhausted(&self) -> Vec<(u64, Bytes, u32)> {
        self.inner.lock().queue.take_exhausted()
    }

    /// Offers an exhausted message again later.
    pub(super) fn keep(&self, id: u64, wait: Duration) {
        self.inner.lock().queue.keep(id, Instant::now(), wait);
        self.rearm.notify_one();
    }

    /// Takes a message out for good.
    pub(super) fn remove(&self, id: u64) {
        self.inner.lock().queue.remove(id);
    }

    /// Drops messages past their retention and names them.
    pub(super) fn forget(&self) -> Vec<u64> {
        self.inner.lock().queue.forget(Instant::now())
    }

    /// Ends what is due, wakes those who wait, and says when to come again.
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

/// How long ago a message was published, by the system's clock: it may have been in another life of the server.
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
    let asked = settings.message_retention_duration.and_then(|wait| Duration::try_from(wait).ok());
    asked.unwrap_or(limits::RETENTION)
}
