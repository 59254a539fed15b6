//! Topics and their subscriptions.

use super::subscription::{Stored, Subscription};
use crate::{CloudError, ErrorKind, Message, SubscriptionSpec, queue::check_name};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{sync::futures::OwnedNotified, time::Instant};

#[derive(Default)]
pub(super) struct Broker {
    topics: BTreeSet<String>,
    subscriptions: BTreeMap<String, Subscription>,
    published: u64,
}

/// The result of taking a message from a subscription.
pub(super) enum Taken {
    Leased {
        lease: u64,
        stored: Stored,
        delivery_attempt: u32,
    },
    /// No message is due: try again at that time or after the next change.
    Nothing {
        until: Option<Instant>,
        changed: OwnedNotified,
    },
}

impl Broker {
    pub(super) fn add_topic(&mut self, topic: &str) -> Result<(), CloudError> {
        check_name(topic)?;
        self.topics.insert(topic.to_owned());
        Ok(())
    }

    pub(super) fn add_subscription(&mut self, spec: &SubscriptionSpec) -> Result<(), CloudError> {
        check_name(&spec.name)?;
        if !self.topics.contains(&spec.topic) {
            return Err(missing(&format!("create subscription {}", spec.name), "topic", &spec.topic));
        }
        self.subscriptions.entry(spec.name.clone()).or_insert_with(|| Subscription::new(spec.clone()));
        Ok(())
    }

    pub(super) fn publish(&mut self, topic: &str, message: Message, now: Instant) -> Result<String, CloudError> {
        if !self.topics.contains(topic) {
            return Err(missing(&format!("publish to {topic}"), "topic", topic));
        }
        self.published += 1;
        let id = self.published.to_string();
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.spec().topic == topic) {
            subscription.add(Stored { id: id.clone(), message: message.clone(), attempts: 0 }, now);
        }
        Ok(id)
    }

    /// Fails if there is no such subscription.
    pub(super) fn check_subscription(&self, name: &str) -> Result<(), CloudError> {
        let found = self.subscriptions.get(name).map(|_| ());
        found.ok_or_else(|| missing(&format!("receive from {name}"), "subscription", name))
    }

    pub(super) fn take(&mut self, name: &str, link: u64, now: Instant) -> Result<Taken, CloudError> {
        let not_found = || missing(&format!("receive from {name}"), "subscription", name);
        let expired = self.subscriptions.get_mut(name).ok_or_else(not_found)?.expire(now);
        for stored in expired {
            self.dead_letter(name, stored, now);
        }
        let subscription = self.subscriptions.get_mut(name).ok_or_else(not_found)?;
        let changed = subscription.watch();
        Ok(match subscription.take(link, now) {
            Some((lease, stored)) => {
                let delivery_attempt = subscription.delivery_attempt(&stored);
                Taken::Leased { lease, stored, delivery_attempt }
            }
            None => Taken::Nothing { until: subscription.next_due(), changed },
        })
    }

    pub(super) fn ack(&mut self, name: &str, lease: u64) {
        if let Some(subscription) = self.subscriptions.get_mut(name) {
            subscription.ack(lease);
        }
    }

    pub(super) fn nack(&mut self, name: &str, lease: u64, now: Instant) {
        let last = self.subscriptions.get_mut(name).and_then(|subscription| subscription.nack(lease, now));
        if let Some(stored) = last {
            self.dead_letter(name, stored, now);
        }
    }

    pub(super) fn abandon(&mut self, link: u64, now: Instant) {
        self.subscriptions.values_mut().for_each(|subscription| subscription.abandon(link, now));
    }

    pub(super) fn unsettled(&self, name: &str) -> usize {
        self.subscriptions.get(name).map_or(0, Subscription::unsettled)
    }

    /// Publishes a message after its last attempt to the dead-letter topic, with the attributes that the real service
    /// adds.
    fn dead_letter(&mut self, name: &str, stored: Stored, now: Instant) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let Some((topic, _)) = subscription.spec().dead_letter.clone() else { return };
        let mut message = stored.message.clone();
        let attributes = [
            ("CloudPubSubDeadLetterSourceDeliveryCount", stored.attempts.to_string()),
            ("CloudPubSubDeadLetterSourceSubscription", name.to_owned()),
        ];
        message.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        // If the topic does not exist, the message stays in the subscription, as in the real service.
        if self.publish(&topic, message, now).is_err()
            && let Some(subscription) = self.subscriptions.get_mut(name)
        {
            subscription.add(stored, now);
        }
    }
}

fn missing(doing: &str, what: &str, name: &str) -> CloudError {
    CloudError::new(ErrorKind::NotFound, format!("{doing}: no such {what} `{name}`"))
}
