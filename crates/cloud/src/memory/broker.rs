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

/// The answer to one who asks for a message.
pub(super) enum Taken {
    Leased {
        lease: u64,
        stored: Stored,
        delivery_attempt: u32,
    },
    /// None is due: ask again at that time or after the next change.
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

    pub(super) fn take(&mut self, name: &str, link: u64, now: Instant) -> Result<Taken, CloudError> {
        let nowhere = || missing(&format!("receive from {name}"), "subscription", name);
        let expired = self.subscriptions.get_mut(name).ok_or_else(nowhere)?.expire(now);
        for stored in expired {
            self.set_aside(name, stored, now);
        }
        let subscription = self.subscriptions.get_mut(name).ok_or_else(nowhere)?;
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
            self.set_aside(name, stored, now);
        }
    }

    pub(super) fn abandon(&mut self, link: u64, now: Instant) {
        self.subscriptions.values_mut().for_each(|subscription| subscription.abandon(link, now));
    }

    pub(super) fn unsettled(&self, name: &str) -> usize {
        self.subscriptions.get(name).map_or(0, Subscription::unsettled)
    }

    /// Publishes a message that had its last attempt to the dead-letter topic, labelled as the real service does.
    fn set_aside(&mut self, name: &str, stored: Stored, now: Instant) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let Some((topic, _)) = subscription.spec().dead_letter.clone() else { return };
        let mut message = stored.message.clone();
        let labels = [
            ("CloudPubSubDeadLetterSourceDeliveryCount", stored.attempts.to_string()),
            ("CloudPubSubDeadLetterSourceSubscription", name.to_owned()),
        ];
        message.attributes.extend(labels.map(|(label, value)| (label.to_owned(), value)));
        // Without the topic it stays in the subscription, as it does in the real service.
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
