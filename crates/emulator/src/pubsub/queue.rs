//! The backlog of one subscription: which subscriber holds which message, and until when. It has no I/O and no clock.
//!
//! ```text
//!              lease                       acknowledge
//!   Ready ───────────────▶ Leased ─────────────────────────▶ gone
//!     ▲                      │ hand back / expire
//!     │   delay over         ├──────────────▶ Delayed (retry policy)
//!     ├──────────────────────┼─────┘
//!     │                      └──────────────▶ Forwarding (last attempt) ──remove──▶ gone
//!     └───── redeliver_after ───────────────────┘
//! ```
//! A restart of the server has the same effect as the expiry of every lease.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

/// The server's ID of a message; it increases in publication order.
pub(super) type MessageId = u64;

/// Identifies an open stream of one subscription.
pub(super) type StreamId = u64;

/// Identifies one delivery of one message; clients send it back to settle the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckId {
    message: MessageId,
    lease: u64,
}

impl AckId {
    /// The message of this delivery.
    pub(super) fn message(self) -> MessageId {
        self.message
    }
}

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.message, self.lease)
    }
}

impl FromStr for AckId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (message, lease) = text.split_once('-').ok_or(())?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| ());
        Ok(Self { message: number(message)?, lease: number(lease)? })
    }
}

/// How a subscription handles messages that were not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Shortest and longest delay before redelivery; `None` means immediately.
    pub(super) backoff: Option<(Duration, Duration)>,
    /// The number of deliveries after which a message goes to the dead letter topic.
    pub(super) max_attempts: Option<u32>,
}

/// A message to add to the backlog.
#[derive(Debug)]
pub(super) struct Queued<M> {
    /// The message ID.
    pub(super) id: MessageId,
    /// Its content.
    pub(super) message: M,
    /// Its size for flow control, in bytes.
    pub(super) size: usize,
    /// Deliveries so far.
    pub(super) attempts: u32,
    /// When its retention ends.
    pub(super) expires: Instant,
}

/// One message leased to one subscriber.
#[derive(Debug)]
pub(super) struct Delivery<M> {
    /// The message ID.
    pub(super) id: MessageId,
    /// The ID that settles it.
    pub(super) ack_id: AckId,
    /// Its content.
    pub(super) message: M,
    /// 1 at the first delivery.
    pub(super) attempt: u32,
}

/// How much one lease call, or one stream, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes; a single larger message is still delivered.
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Delayed { until: Instant },
    Leased { stream: Option<StreamId>, deadline: Instant },
    Forwarding,
}

#[derive(Debug)]
struct Entry<M> {
    message: M,
    size: usize,
    attempts: u32,
    lease: u64,
    expires: Instant,
    state: State,
}

#[derive(Debug)]
struct Stream {
    limit: Capacity,
    held_messages: usize,
    held_bytes: usize,
    /// A lease on this stream expired, and its client has sent nothing since: the client may hang, with its connection
    /// still open.
    unresponsive: bool,
}

impl Stream {
    fn has_capacity(&self) -> bool {
        self.held_messages < self.limit.messages && self.held_bytes < self.limit.bytes
    }
}

/// The backlog.
#[derive(Debug)]
pub(super) struct Queue<M> {
    policy: Policy,
    entries: BTreeMap<MessageId, Entry<M>>,
    /// Ready messages, in delivery order. It may contain messages that are gone or no longer ready; those are skipped.
    ready: VecDeque<MessageId>,
    /// When the state of a leased or delayed message ends.
    timers: BTreeSet<(Instant, MessageId)>,
    streams: HashMap<StreamId, Stream>,
    exhausted: Vec<MessageId>,
    bytes: usize,
    next_lease: u64,
    next_stream: StreamId,
}

impl<M: Clone> Queue<M> {
    /// Creates an empty backlog. `first_lease` must be greater than every lease number that the same subscription used
    /// before a restart; otherwise, an old acknowledgement could settle a new delivery.
    pub(super) fn new(policy: Policy, first_lease: u64) -> Self {
        Self {
            policy,
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            streams: HashMap::new(),
            exhausted: Vec::new(),
            bytes: 0,
            next_lease: first_lease,
            next_stream: 0,
        }
    }

    /// Changes how messages that come back from now on are handled.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether there is a maximum of delivery attempts, so that they must be stored.
    pub(super) fn counts_attempts(&self) -> bool {
        self.policy.max_attempts.is_some()
    }

    /// Bytes of all unacknowledged messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message. If it has no attempts left (it was leased when the server stopped), it is exhausted immediately.
    pub(super) fn publish(&mut self, new: Queued<M>) {
        let Queued { id, message, size, attempts, expires } = new;
        let is_exhausted = attempts > 0 && self.policy.max_attempts.is_some_and(|max| attempts >= max);
        let state = if is_exhausted { State::Forwarding } else { State::Ready };
        if self.entries.insert(id, Entry { message, size, attempts, lease: 0, expires, state }).is_some() {
            return;
        }
        self.bytes += size;
        if is_exhausted {
            self.exhausted.push(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Registers a stream with the limits on what it holds at a time.
    pub(super) fn open_stream(&mut self, limit: Capacity) -> StreamId {
        self.next_stream += 1;
        self.streams.insert(self.next_stream, Stream { limit, held_messages: 0, held_bytes: 0, unresponsive: false });
        self.next_stream
    }

    /// Removes a stream. Its messages stay leased until their deadline, because acknowledgements may still arrive.
    pub(super) fn close_stream(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Records that a stream's client sent a request; clients do so at least every 30 s. Returns true if the stream was
    /// unresponsive until now.
    pub(super) fn record_activity(&mut self, stream: StreamId) -> bool {
        self.streams.get_mut(&stream).is_some_and(|stream| std::mem::take(&mut stream.unresponsive))
    }

    /// Whether other streams are served first. The leases of a hanging client would only expire again.
    fn yields_to_others(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.unresponsive)
            && self.streams.values().any(|other| !other.unresponsive && other.has_capacity())
    }

    /// Leases ready messages until `now + deadline`: at most what `capacity` and the stream's limits allow, and at most
    /// the stream's fair share, so that a burst is spread over the open streams.
    pub(super) fn lease(
        &mut self,
        now: Instant,
        stream: Option<StreamId>,
        capacity: Capacity,
        deadline: Duration,
    ) -> Vec<Delivery<M>> {
        if stream.is_some_and(|stream| self.yields_to_others(stream)) {
            return Vec::new();
        }
        let share = if stream.is_some() { self.ready.len().div_ceil(self.streams.len().max(1)) } else { usize::MAX };
        let max = capacity.messages.min(share);
        let mut leased = Vec::new();
        let mut bytes = 0;
        while leased.len() < max
            && let Some(id) = self.next_ready()
        {
            let Some(entry) = self.entries.get_mut(&id) else { break };
            let fits = leased.is_empty() || bytes + entry.size <= capacity.bytes;
            if !fits || !reserve(&mut self.streams, stream, entry.size) {
                break;
            }
            self.ready.pop_front();
            bytes += entry.size;
            entry.attempts += 1;
            entry.lease = self.next_lease;
            entry.state = State::Leased { stream, deadline: now + deadline };
            self.next_lease += 1;
            self.timers.insert((now + deadline, id));
            let ack_id = AckId { message: id, lease: entry.lease };
            leased.push(Delivery { id, ack_id, message: entry.message.clone(), attempt: entry.attempts });
        }
        leased
    }

    /// Rotates the delivery order by the number of positions that `by` returns for the queue length.
    pub(super) fn rotate(&mut self, by: impl FnOnce(usize) -> usize) {
        let length = self.ready.len();
        self.ready.rotate_left(by(length).min(length));
    }

    /// Settles a message. Returns true if it is now removed from the backlog. An acknowledgement after the lease ended
    /// still counts while no other subscriber holds the message, because the work was done.
    pub(super) fn acknowledge(&mut self, ack: AckId) -> bool {
        let settles = self.entries.get(&ack.message).is_some_and(|entry| match entry.state {
            State::Leased { .. } => entry.lease == ack.lease,
            State::Ready | State::Delayed { .. } => true,
            State::Forwarding => false,
        });
        if settles {
            self.remove(ack.message);
        }
        settles
    }

    /// Moves the end of a lease to `now + deadline`. A lease that has ended stays ended.
    pub(super) fn extend(&mut self, ack: AckId, now: Instant, deadline: Duration) {
        if let Some(entry) = held(&mut self.entries, ack)
            && let State::Leased { deadline: end, .. } = &mut entry.state
        {
            self.timers.remove(&(*end, ack.message));
            *end = now + deadline;
            self.timers.insert((*end, ack.message));
        }
    }

    /// Hands a message back. Returns true if it was held.
    pub(super) fn hand_back(&mut self, ack: AckId, now: Instant) -> bool {
        let held = held(&mut self.entries, ack).is_some();
        if held {
            self.end_lease(ack.message, now);
        }
        held
    }

    /// Ends leases and delays that are due. Returns true if messages became ready.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let ready = self.ready.len();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match self.entries.get_mut(&id) {
                Some(&mut Entry { state: State::Leased { stream, .. }, .. }) => {
                    if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&stream)) {
                        stream.unresponsive = true;
                    }
                    self.end_lease(id, now);
                }
                Some(entry @ Entry { state: State::Delayed { .. }, .. }) => {
                    entry.state = State::Ready;
                    self.ready.push_back(id);
                }
                _ => {}
            }
        }
        self.ready.len() > ready
    }

    /// When [`expire`](Self::expire) must run next.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Returns messages that came back from their last delivery attempt, each once. The caller must answer each with
    /// [`remove`](Self::remove) or [`redeliver_after`](Self::redeliver_after).
    pub(super) fn take_exhausted(&mut self) -> Vec<(MessageId, M, u32)> {
        let entries = &self.entries;
        let exhausted = std::mem::take(&mut self.exhausted).into_iter();
        exhausted.filter_map(|id| entries.get(&id).map(|entry| (id, entry.message.clone(), entry.attempts))).collect()
    }

    /// Redelivers an exhausted message later, because it could not be forwarded.
    pub(super) fn redeliver_after(&mut self, id: MessageId, now: Instant, delay: Duration) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.state == State::Forwarding
        {
            entry.state = State::Delayed { until: now + delay };
            self.timers.insert((now + delay, id));
        }
    }

    /// Drops messages past their retention that no subscriber holds; returns their IDs.
    pub(super) fn remove_expired(&mut self, now: Instant) -> Vec<MessageId> {
        let expired = |(id, entry): (&MessageId, &Entry<M>)| {
            let held = matches!(entry.state, State::Leased { .. } | State::Forwarding);
            (!held && entry.expires <= now).then_some(*id)
        };
        let expired: Vec<_> = self.entries.iter().filter_map(expired).collect();
        for id in &expired {
            self.remove(*id);
        }
        expired
    }

    /// Removes a message in any state.
    pub(super) fn remove(&mut self, id: MessageId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.bytes -= entry.size;
        match entry.state {
            State::Leased { stream, deadline } => {
                self.timers.remove(&(deadline, id));
                release(&mut self.streams, stream, entry.size);
            }
            State::Delayed { until } => {
                self.timers.remove(&(until, id));
            }
            State::Ready | State::Forwarding => {}
        }
    }

    /// The first message that is really ready; drops other entries on the way.
    fn next_ready(&mut self) -> Option<MessageId> {
        while let Some(&id) = self.ready.front() {
            if self.entries.get(&id).is_some_and(|entry| entry.state == State::Ready) {
                return Some(id);
            }
            self.ready.pop_front();
        }
        None
    }

    fn end_lease(&mut self, id: MessageId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let State::Leased { stream, deadline } = entry.state {
            self.timers.remove(&(deadline, id));
            release(&mut self.streams, stream, entry.size);
        }
        if self.policy.max_attempts.is_some_and(|max| entry.attempts >= max) {
            entry.state = State::Forwarding;
            self.exhausted.push(id);
        } else if let Some((min, max)) = self.policy.backoff {
            // Doubling is capped at 2^20 so that the shift cannot overflow; any real maximum is reached long before.
            let delay = min.saturating_mul(1 << entry.attempts.saturating_sub(1).min(20)).min(max);
            entry.state = State::Delayed { until: now + delay };
            self.timers.insert((now + delay, id));
        } else {
            entry.state = State::Ready;
            self.ready.push_back(id);
        }
    }
}

fn held<M>(entries: &mut BTreeMap<MessageId, Entry<M>>, ack: AckId) -> Option<&mut Entry<M>> {
    let leased = |entry: &&mut Entry<M>| entry.lease == ack.lease && matches!(entry.state, State::Leased { .. });
    entries.get_mut(&ack.message).filter(leased)
}

/// Counts a message against its stream if the limits allow. A stream that holds nothing may take one message of any
/// size.
fn reserve(streams: &mut HashMap<StreamId, Stream>, stream: Option<StreamId>, size: usize) -> bool {
    let Some(stream) = stream else { return true };
    let Some(stream) = streams.get_mut(&stream) else { return false };
    let fits = stream.held_messages < stream.limit.messages
        && (stream.held_messages == 0 || stream.held_bytes + size <= stream.limit.bytes);
    if fits {
        stream.held_messages += 1;
        stream.held_bytes += size;
    }
    fits
}

fn release(streams: &mut HashMap<StreamId, Stream>, stream: Option<StreamId>, size: usize) {
    if let Some(stream) = stream.and_then(|stream| streams.get_mut(&stream)) {
        stream.held_messages -= 1;
        stream.held_bytes -= size;
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
