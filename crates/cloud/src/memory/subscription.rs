//! The messages of one subscription, as plain state without a task or a clock.
//!
//! ```text
//!   publish --> waiting --take--> leased --ack--> gone
//!                  ^                |
//!                  +--- backoff ----+-- nack, deadline --> (last attempt?) --> dead letter
//! ```

use crate::{Message, SubscriptionSpec};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

/// A message on its way through one subscription.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) message: Message,
    /// Deliveries so far.
    pub(super) attempts: u32,
}

struct Leased {
    stored: Stored,
    link: u64,
    /// When it is redelivered; none while its holder lives, because a living holder extends it in time.
    deadline: Option<Instant>,
}

pub(super) struct Subscription {
    spec: SubscriptionSpec,
    /// By the time they are due, then in the order of arrival.
    waiting: BTreeMap<(Instant, u64), Stored>,
    leased: BTreeMap<u64, Leased>,
    serial: u64,
    /// Wakes waiting streams in the order in which they began to wait. A watch channel would choose at random.
    changed: Arc<Notify>,
}

impl Subscription {
    pub(super) fn new(spec: SubscriptionSpec) -> Self {
        let (waiting, leased) = (BTreeMap::new(), BTreeMap::new());
        Self { spec, waiting, leased, serial: 0, changed: Arc::default() }
    }

    pub(super) fn spec(&self) -> &SubscriptionSpec {
        &self.spec
    }

    pub(super) fn unsettled(&self) -> usize {
        self.waiting.len() + self.leased.len()
    }

    /// Completes at the next change.
    pub(super) fn watch(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }

    pub(super) fn add(&mut self, stored: Stored, due: Instant) {
        let serial = self.next_serial();
        self.waiting.insert((due, serial), stored);
        self.changed.notify_waiters();
    }

    /// Leases the message that has been due longest.
    pub(super) fn take(&mut self, link: u64, now: Instant) -> Option<(u64, Stored)> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let mut stored = first.remove();
        stored.attempts += 1;
        let lease = self.next_serial();
        self.leased.insert(lease, Leased { stored: stored.clone(), link, deadline: None });
        Some((lease, stored))
    }

    /// The number of this delivery, as the service reports it: it counts only if there is a dead-letter topic.
    pub(super) fn delivery_attempt(&self, stored: &Stored) -> u32 {
        if self.spec.dead_letter.is_some() { stored.attempts } else { 1 }
    }

    /// When the next message becomes due, or the next lease expires, if nothing changes before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.first_key_value().map(|((due, _), _)| *due);
        let leased = self.leased.values().filter_map(|leased| leased.deadline);
        waiting.into_iter().chain(leased).min()
    }

    /// Settles a lease. Does nothing if it is no longer held.
    pub(super) fn ack(&mut self, lease: u64) {
        self.leased.remove(&lease);
        self.changed.notify_waiters();
    }

    /// Hands a message back. After its last attempt, it is returned instead, to become a dead letter.
    pub(super) fn nack(&mut self, lease: u64, now: Instant) -> Option<Stored> {
        let Leased { stored, .. } = self.leased.remove(&lease)?;
        match &self.spec.dead_letter {
            Some((_, attempts)) if stored.attempts >= *attempts => Some(stored),
            _ => {
                let due = now + self.backoff(stored.attempts);
                self.add(stored, due);
                None
            }
        }
    }

    /// Hands back every lease whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Stored> {
        let is_expired = |leased: &Leased| leased.deadline.is_some_and(|deadline| deadline <= now);
        let expired: Vec<u64> =
            self.leased.iter().filter(|(_, leased)| is_expired(leased)).map(|(lease, _)| *lease).collect();
        expired.into_iter().filter_map(|lease| self.nack(lease, now)).collect()
    }

    /// Starts the expiry of a dead process's leases.
    pub(super) fn abandon(&mut self, link: u64, now: Instant) {
        for leased in self.leased.values_mut().filter(|leased| leased.link == link) {
            leased.deadline = Some(now + self.spec.ack_deadline);
        }
        self.changed.notify_waiters();
    }

    /// The delay before a redelivery: doubled each time, without the jitter of the real service.
    fn backoff(&self, attempts: u32) -> Duration {
        self.spec.backoff.map_or(Duration::ZERO, |(shortest, longest)| {
            let factor = 2u32.saturating_pow(attempts.saturating_sub(1));
            shortest.saturating_mul(factor).min(longest)
        })
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(dead_letter: Option<(String, u32)>) -> Subscription {
        let backoff = Some((Duration::from_secs(10), Duration::from_secs(30)));
        let (name, topic) = ("s".to_owned(), "t".to_owned());
        Subscription::new(SubscriptionSpec { name, topic, ack_deadline: Duration::from_secs(60), dead_letter, backoff })
    }

    fn stored() -> Stored {
        Stored { id: "1".into(), message: Message::default(), attempts: 0 }
    }

    #[test]
    fn the_redelivery_delay_doubles_up_to_the_maximum() {
        let (mut subscription, mut now) = (subscription(None), Instant::now());
        subscription.add(stored(), now);
        for wait in [10, 20, 30, 30] {
            let (lease, _) = subscription.take(1, now).unwrap();
            assert!(subscription.nack(lease, now).is_none());
            assert_eq!(subscription.next_due(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
        }
    }

    #[test]
    fn the_lease_of_a_dead_process_expires() {
        let (mut subscription, now) = (subscription(None), Instant::now());
        subscription.add(stored(), now);
        let (lease, _) = subscription.take(1, now).unwrap();
        subscription.abandon(2, now);
        assert_eq!(subscription.next_due(), None, "the lease belongs to another process");
        subscription.abandon(1, now);
        let deadline = now + Duration::from_secs(60);
        assert_eq!(subscription.next_due(), Some(deadline));
        assert!(subscription.expire(deadline).is_empty());
        subscription.ack(lease);
        assert_eq!(subscription.unsettled(), 1, "an ack after the deadline settles nothing");
    }

    #[test]
    fn after_its_last_attempt_a_message_becomes_a_dead_letter() {
        let (mut subscription, mut now) = (subscription(Some(("dead".into(), 2))), Instant::now());
        subscription.add(stored(), now);
        let (lease, first) = subscription.take(1, now).unwrap();
        assert_eq!(subscription.delivery_attempt(&first), 1);
        assert!(subscription.nack(lease, now).is_none());
        now += Duration::from_secs(10);
        let (lease, second) = subscription.take(1, now).unwrap();
        assert_eq!(subscription.delivery_attempt(&second), 2);
        assert!(subscription.nack(lease, now).is_some());
        assert_eq!(subscription.unsettled(), 0);
    }
}
