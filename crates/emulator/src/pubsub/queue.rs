//! The backlog of one subscription: who holds which message, and until when. No I/O, no clock of its own.
//!
//! ```text
//!              lease                       acknowledge
//!   Ready ───────────────▶ Leased ─────────────────────────▶ gone
//!     ▲                      │ return / expire
//!     │   backoff over       ├──────────────▶ Waiting (retry policy)
//!     ├──────────────────────┼─────┘
//!     │                      └──────────────▶ Forwarding (last attempt) ──remove──▶ gone
//!     └─────────── keep ────────────────────────┘
//! ```
//! A restart of the server is the expiry of every lease.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

/// The server's name of a message; increasing in the order of publication.
pub(super) type MessageId = u64;

/// Names an open stream of one subscription.
pub(super) type StreamId = u64;

/// Names one delivery of one message; what clients send back to settle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckId {
    message: MessageId,
    lease: u64,
}

impl AckId {
    /// The message it is about.
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

/// How a subscription treats what comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Shortest and longest wait before redelivery; `None` is at once.
    pub(super) backoff: Option<(Duration, Duration)>,
    /// Deliveries after which a message goes to the dead letter topic.
    pub(super) max_attempts: Option<u32>,
}

/// A message as it waits for a subscriber.
#[derive(Debug)]
pub(super) struct Waiting<M> {
    /// Its id.
    pub(super) id: MessageId,
    /// Its content.
    pub(super) message: M,
    /// What it counts against flow control, in bytes.
    pub(super) size: usize,
    /// Deliveries so far.
    pub(super) attempts: u32,
    /// When it is given up.
    pub(super) expires: Instant,
}

/// One message leased to one subscriber.
#[derive(Debug)]
pub(super) struct Delivery<M> {
    /// The message's id.
    pub(super) id: MessageId,
    /// What settles it.
    pub(super) ack_id: AckId,
    /// Its content.
    pub(super) message: M,
    /// 1 at the first delivery.
    pub(super) attempt: u32,
}

/// How much one lease call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Messages.
    pub(super) messages: usize,
    /// Bytes; a single larger message still goes.
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Waiting { until: Instant },
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
    limit: Room,
    held_messages: usize,
    held_bytes: usize,
    /// A lease of it ran out, and nothing came from its client since: it may be frozen, with its connection still open.
    silent: bool,
}

impl Stream {
    fn has_room(&self) -> bool {
        self.held_messages < self.limit.messages && self.held_bytes < self.limit.bytes
    }
}

/// The backlog.
#[derive(Debug)]
pub(super) struct Queue<M> {
    policy: Policy,
    entries: BTreeMap<MessageId, Entry<M>>,
    /// Ready messages, first to deliver first. May name messages that are gone or no longer ready; those are skipped.
    ready: VecDeque<MessageId>,
    /// When the state of a leased or waiting message ends.
    timers: BTreeSet<(Instant, MessageId)>,
    streams: HashMap<StreamId, Stream>,
    exhausted: Vec<MessageId>,
    bytes: usize,
    next_lease: u64,
    next_stream: StreamId,
}

impl<M: Clone> Queue<M> {
    /// An empty backlog. `first_lease` must be greater than any lease number of an earlier life of the same subscription, or
    /// an old acknowledgement could settle a new delivery.
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

    /// Changes how messages that come back from now on are treated.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether delivery attempts end somewhere, and so must be remembered.
    pub(super) fn counts_attempts(&self) -> bool {
        self.policy.max_attempts.is_some()
    }

    /// Bytes of all unacknowledged messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message. One that has no attempts left (it was leased when the server stopped) is exhausted at once.
    pub(super) fn publish(&mut self, new: Waiting<M>) {
        let Waiting { id, message, size, attempts, expires } = new;
        let spent = attempts > 0 && self.policy.max_attempts.is_some_and(|most| attempts >= most);
        let state = if spent { State::Forwarding } else { State::Ready };
        if self.entries.insert(id, Entry { message, size, attempts, lease: 0, expires, state }).is_some() {
            return;
        }
        self.bytes += size;
        if spent {
            self.exhausted.push(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Registers a stream with its limits on what it holds at a time.
    pub(super) fn open_stream(&mut self, limit: Room) -> StreamId {
        self.next_stream += 1;
        self.streams.insert(self.next_stream, Stream { limit, held_messages: 0, held_bytes: 0, silent: false });
        self.next_stream
    }

    /// Forgets a stream. What it holds stays leased until its deadline: its acknowledgements may still be on their way.
    pub(super) fn close_stream(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Notes that a stream's client has said something on it: all do every 30 s. True when that was not known.
    pub(super) fn heard(&mut self, stream: StreamId) -> bool {
        self.streams.get_mut(&stream).is_some_and(|stream| std::mem::take(&mut stream.silent))
    }

    /// Whether others are to be served first: what a frozen client is given only runs out again.
    fn yields(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.silent)
            && self.streams.values().any(|other| !other.silent && other.has_room())
    }

    /// Leases ready messages until `now + deadline`, as many as `room` and the stream's limits allow, and no more than the
    /// stream's fair share: a burst is spread over the open streams.
    pub(super) fn lease(
        &mut self,
        now: Instant,
        stream: Option<StreamId>,
        room: Room,
        deadline: Duration,
    ) -> Vec<Delivery<M>> {
        if stream.is_some_and(|stream| self.yields(stream)) {
            return Vec::new();
        }
        let share = if stream.is_some() { self.ready.len().div_ceil(self.streams.len().max(1)) } else { usize::MAX };
        let most = room.messages.min(share);
        let mut leased = Vec::new();
        let mut bytes = 0;
        while leased.len() < most
            && let Some(id) = self.next_ready()
        {
            let Some(entry) = self.entries.get_mut(&id) else { break };
            let fits = leased.is_empty() || bytes + entry.size <= room.bytes;
            if !fits || !admit(&mut self.streams, stream, entry.size) {
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

    /// Turns the order of delivery by as many places as `by` says of the number of messages in it.
    pub(super) fn turn(&mut self, by: impl FnOnce(usize) -> usize) {
        let length = self.ready.len();
        self.ready.rotate_left(by(length).min(length));
    }

    /// Settles a message. True when it is now gone from the backlog. An acknowledgement that comes after the lease ended
    /// still counts while nobody else holds the message: the work was done.
    pub(super) fn acknowledge(&mut self, ack: AckId) -> bool {
        let settles = self.entries.get(&ack.message).is_some_and(|entry| match entry.state {
            State::Leased { .. } => entry.lease == ack.lease,
            State::Ready | State::Waiting { .. } => true,
            State::Forwarding => false,
        });
        if settles {
            self.remove(ack.message);
        }
        settles
    }

    /// Moves the end of a lease to `now + deadline`. A lease that is over stays over.
    pub(super) fn extend(&mut self, ack: AckId, now: Instant, deadline: Duration) {
        if let Some(entry) = held(&mut self.entries, ack)
            && let State::Leased { deadline: end, .. } = &mut entry.state
        {
            self.timers.remove(&(*end, ack.message));
            *end = now + deadline;
            self.timers.insert((*end, ack.message));
        }
    }

    /// Hands a message back. True when it was held.
    pub(super) fn hand_back(&mut self, ack: AckId, now: Instant) -> bool {
        let held = held(&mut self.entries, ack).is_some();
        if held {
            self.end_lease(ack.message, now);
        }
        held
    }

    /// Ends leases past their deadline and waits that are over. True when messages became ready.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let ready = self.ready.len();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match self.entries.get_mut(&id) {
                Some(&mut Entry { state: State::Leased { stream, .. }, .. }) => {
                    if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&stream)) {
                        stream.silent = true;
                    }
                    self.end_lease(id, now);
                }
                Some(entry @ Entry { state: State::Waiting { .. }, .. }) => {
                    entry.state = State::Ready;
                    self.ready.push_back(id);
                }
                _ => {}
            }
        }
        self.ready.len() > ready
    }

    /// When [`expire`](Self::expire) has something to do next.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Messages that came back from their last delivery attempt, once; each must be answered with [`remove`](Self::remove) or
    /// [`keep`](Self::keep).
    pub(super) fn take_exhausted(&mut self) -> Vec<(MessageId, M, u32)> {
        let entries = &self.entries;
        let exhausted = std::mem::take(&mut self.exhausted).into_iter();
        exhausted.filter_map(|id| entries.get(&id).map(|entry| (id, entry.message.clone(), entry.attempts))).collect()
    }

    /// Offers an exhausted message again later: it could not be forwarded.
    pub(super) fn keep(&mut self, id: MessageId, now: Instant, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.state == State::Forwarding
        {
            entry.state = State::Waiting { until: now + wait };
            self.timers.insert((now + wait, id));
        }
    }

    /// Drops messages past their retention that nobody holds, and names them.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<MessageId> {
        let stale = |(id, entry): (&MessageId, &Entry<M>)| {
            let held = matches!(entry.state, State::Leased { .. } | State::Forwarding);
            (!held && entry.expires <= now).then_some(*id)
        };
        let stale: Vec<_> = self.entries.iter().filter_map(stale).collect();
        for id in &stale {
            self.remove(*id);
        }
        stale
    }

    /// Takes a message out, whatever its state.
    pub(super) fn remove(&mut self, id: MessageId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.bytes -= entry.size;
        match entry.state {
            State::Leased { stream, deadline } => {
                self.timers.remove(&(deadline, id));
                release(&mut self.streams, stream, entry.size);
            }
            State::Waiting { until } => {
                self.timers.remove(&(until, id));
            }
            State::Ready | State::Forwarding => {}
        }
    }

    /// The first message that is truly ready; drops names of others on the way.
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
        if self.policy.max_attempts.is_some_and(|most| entry.attempts >= most) {
            entry.state = State::Forwarding;
            self.exhausted.push(id);
        } else if let Some((least, most)) = self.policy.backoff {
            // Doubling is capped at 2^20 so that the shift cannot overflow; any real maximum is reached long before.
            let wait = least.saturating_mul(1 << entry.attempts.saturating_sub(1).min(20)).min(most);
            entry.state = State::Waiting { until: now + wait };
            self.timers.insert((now + wait, id));
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

/// Counts a message against its stream if the limits allow; one message always fits an empty-handed stream.
fn admit(streams: &mut HashMap<StreamId, Stream>, stream: Option<StreamId>, size: usize) -> bool {
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
