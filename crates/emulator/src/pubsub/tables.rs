//! Pub/Sub's tables and the operations on them.

use super::{ps, queue::MessageId, subscription::StoredMessage};
use crate::store::decode;
use bytes::Bytes;
use prost::Message;
use redb::{Error, ReadableTable, TableDefinition, WriteTransaction};

/// Topics by name.
const TOPICS: TableDefinition<&str, &[u8]> = TableDefinition::new("pubsub_topics");
/// [`Row`]s by name.
const SUBSCRIPTIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("pubsub_subscriptions");
/// Unacknowledged messages by subscription number and message ID. A message is stored once per subscription, so that
/// settling it is one removal and no references are counted.
const MESSAGES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("pubsub_messages");
/// Delivery attempts by the same key; only for subscriptions with a dead letter policy.
const ATTEMPTS: TableDefinition<(u64, u64), u32> = TableDefinition::new("pubsub_attempts");

/// A stored subscription. Its number is never reused: a subscription that is deleted and created again under the same
/// name gets a new one, so it does not inherit messages.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Row {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) subscription: Option<ps::Subscription>,
}

/// A message for one subscription.
pub(super) struct NewMessage {
    /// The subscription's number.
    pub(super) subscription: u64,
    /// The message ID.
    pub(super) id: MessageId,
    /// The encoded message.
    pub(super) encoded: Bytes,
}

/// The state that was stored at startup.
#[derive(Default)]
pub(super) struct StoredState {
    pub(super) topics: Vec<ps::Topic>,
    pub(super) subscriptions: Vec<Row>,
    /// Messages with the numbers of their subscriptions.
    pub(super) messages: Vec<(u64, StoredMessage)>,
}

/// Creates missing tables and reads them all.
pub(super) fn load(transaction: &WriteTransaction) -> Result<StoredState, Error> {
    let mut found = StoredState::default();
    for row in transaction.open_table(TOPICS)?.iter()? {
        found.topics.push(decode(row?.1.value())?);
    }
    for row in transaction.open_table(SUBSCRIPTIONS)?.iter()? {
        found.subscriptions.push(decode(row?.1.value())?);
    }
    let attempts = transaction.open_table(ATTEMPTS)?;
    for row in transaction.open_table(MESSAGES)?.iter()? {
        let (key, value) = row?;
        let (subscription, id) = key.value();
        let attempts = attempts.get((subscription, id))?.map_or(0, |attempts| attempts.value());
        let published = decode::<ps::PubsubMessage>(value.value())?.publish_time;
        let encoded = Bytes::copy_from_slice(value.value());
        found.messages.push((subscription, StoredMessage { id, encoded, published, attempts }));
    }
    Ok(found)
}

/// Stores a new or changed topic.
pub(super) fn put_topic(transaction: &WriteTransaction, topic: &ps::Topic) -> Result<(), Error> {
    transaction.open_table(TOPICS)?.insert(topic.name.as_str(), topic.encode_to_vec().as_slice())?;
    Ok(())
}

/// Removes a topic.
pub(super) fn remove_topic(transaction: &WriteTransaction, name: &str) -> Result<(), Error> {
    transaction.open_table(TOPICS)?.remove(name)?;
    Ok(())
}

/// Stores a new or changed subscription.
pub(super) fn put_subscription(
    transaction: &WriteTransaction,
    number: u64,
    subscription: &ps::Subscription,
) -> Result<(), Error> {
    let row = Row { number, subscription: Some(subscription.clone()) };
    let name = subscription.name.as_str();
    transaction.open_table(SUBSCRIPTIONS)?.insert(name, row.encode_to_vec().as_slice())?;
    Ok(())
}

/// Removes a subscription and its backlog.
pub(super) fn remove_subscription(transaction: &WriteTransaction, number: u64, name: &str) -> Result<(), Error> {
    let all = (number, 0)..=(number, u64::MAX);
    transaction.open_table(SUBSCRIPTIONS)?.remove(name)?;
    transaction.open_table(MESSAGES)?.retain_in(all.clone(), |_, _| false)?;
    transaction.open_table(ATTEMPTS)?.retain_in(all, |_, _| false)?;
    Ok(())
}

/// Stores messages.
pub(super) fn put_messages(transaction: &WriteTransaction, messages: &[NewMessage]) -> Result<(), Error> {
    let mut table = transaction.open_table(MESSAGES)?;
    for message in messages {
        table.insert((message.subscription, message.id), &message.encoded[..])?;
    }
    Ok(())
}

/// Removes messages that were settled.
pub(super) fn remove_messages(transaction: &WriteTransaction, number: u64, ids: &[MessageId]) -> Result<(), Error> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut attempts = transaction.open_table(ATTEMPTS)?;
    for id in ids {
        messages.remove((number, *id))?;
        attempts.remove((number, *id))?;
    }
    Ok(())
}

/// Stores the delivery attempts of messages that still exist.
pub(super) fn put_attempts(
    transaction: &WriteTransaction,
    number: u64,
    counts: &[(MessageId, u32)],
) -> Result<(), Error> {
    let messages = transaction.open_table(MESSAGES)?;
    let mut attempts = transaction.open_table(ATTEMPTS)?;
    for (id, count) in counts {
        if messages.get((number, *id))?.is_some() {
            attempts.insert((number, *id), *count)?;
        }
    }
    Ok(())
}
