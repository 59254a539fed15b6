//! Messages that arrive at least once, in any order, each under a time-limited lease.

use crate::{CloudError, ErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The longest wait in [`Deliveries::close`]: well inside the 10 s a process gets to stop, and ample for one call.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// The largest body of a message; the service's own limit.
const MESSAGE_BYTES: usize = 10_000_000;

/// What is published: bytes and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The body, at most 10 MB.
    pub data: Bytes,
    /// Labels that subscriptions can see without reading the body.
    pub attributes: BTreeMap<String, String>,
}

impl Message {
    /// Refuses what the service would refuse. Checked before sending, because messages travel in batches and the service
    /// refuses the whole batch for the fault of one.
    pub(crate) fn check(&self, topic: &str) -> Result<(), CloudError> {
        let reason = match self.data.len() {
            0 if self.attributes.is_empty() => "it has neither a body nor attributes".to_owned(),
            length if length > MESSAGE_BYTES => format!("its body of {length} bytes is over {MESSAGE_BYTES}"),
            _ => return Ok(()),
        };
        Err(CloudError::new(ErrorKind::Invalid, format!("publish to {topic}: {reason}")))
    }
}

/// Refuses a topic's or subscription's name that the service would refuse.
pub(crate) fn check_name(name: &str) -> Result<(), CloudError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    let fits = (3..=255).contains(&name.len()) && name.bytes().all(allowed);
    if fits && name.starts_with(|first: char| first.is_ascii_alphabetic()) && !name.starts_with("goog") {
        return Ok(());
    }
    let rule = "a name is 3 to 255 letters, digits and -_.~+%, begins with a letter and not with `goog`";
    Err(CloudError::new(ErrorKind::Invalid, format!("create `{name}`: {rule}")))
}

/// How a subscription is to be made when it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSpec {
    /// Short name, for example `clip-jobs-worker`.
    pub name: String,
    /// Short name of its topic.
    pub topic: String,
    /// A message neither settled nor extended for this long is delivered again; 10 to 600 s.
    pub ack_deadline: Duration,
    /// Where a message goes after its last delivery attempt: topic and number of attempts (5 to 100).
    pub dead_letter: Option<(String, u32)>,
    /// Shortest and longest wait before a handed-back message is delivered again.
    pub backoff: Option<(Duration, Duration)>,
}

/// A queue service. Names are short; the project is the implementation's business.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Returns when the service has taken the message for good, with the id it gave it.
    async fn publish(&self, topic: &str, message: Message) -> Result<String, CloudError>;

    /// Opens a stream of deliveries with at most `outstanding` of them unsettled at any time. It reconnects by itself until
    /// closed; an error that waiting cannot mend (no such subscription) ends it and is returned by [`Deliveries::next`].
    fn subscribe(&self, subscription: &str, outstanding: usize) -> Deliveries;

    /// Creates the topic unless it exists.
    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError>;

    /// Creates the subscription unless it exists.
    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError>;
}

/// The right to one delivery. Exactly one of the two verbs is called, once; dropping the owner hands back.
pub trait Lease: Send + Sync {
    /// The message is dealt with and will not come again (best effort: it still may).
    fn ack(self: Box<Self>);
    /// The message is handed back for another delivery.
    fn nack(self: Box<Self>);
}

/// One delivery of a message. Its lease is extended in the background for as long as this value lives.
pub struct Delivery {
    /// The message as published.
    pub message: Message,
    /// The service's id of the message, the same in every delivery.
    pub message_id: String,
    /// 1 at the first delivery; counted by the service, and only for subscriptions with a dead letter (else always 1).
    pub delivery_attempt: u32,
    lease: Option<Box<dyn Lease>>,
}

impl Delivery {
    /// Puts a lease around a message.
    pub fn new(message: Message, message_id: String, delivery_attempt: u32, lease: Box<dyn Lease>) -> Self {
        Self { message, message_id, delivery_attempt, lease: Some(lease) }
    }

    /// Settles: done with.
    pub fn ack(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.ack();
        }
    }

    /// Settles: hand back, deliver again.
    pub fn nack(self) {}
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.nack();
        }
    }
}

/// An open stream of deliveries.
pub struct Deliveries {
    receiver: mpsc::Receiver<Result<Delivery, CloudError>>,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Deliveries {
    /// For implementations: the receiving end, a token this side cancels to close the stream, and a token the feeding task
    /// cancels once the service knows and everything undelivered was handed back.
    pub fn new(
        receiver: mpsc::Receiver<Result<Delivery, CloudError>>,
        closing: CancellationToken,
        closed: CancellationToken,
    ) -> Self {
        Self { receiver, closing, closed }
    }

    /// The next delivery; `None` after the stream ended. Safe to cancel: nothing is lost in a dropped call.
    pub async fn next(&mut self) -> Option<Result<Delivery, CloudError>> {
        self.receiver.recv().await
    }

    /// Stops the stream, hands back what it held and was not taken by [`next`](Self::next), and waits (at most 3 s) until
    /// the service was told. Deliveries already taken stay valid and must still be settled **before** this call to be
    /// sure that their settlement reaches the service.
    pub async fn close(mut self) {
        self.closing.cancel();
        self.receiver.close();
        let handed_back = async {
            // Not `try_recv`: a delivery on its way in would be missed, and held until the deadline.
            while self.receiver.recv().await.is_some() {}
            self.closed.cancelled().await;
        };
        let _ = tokio::time::timeout(CLOSE_WAIT, handed_back).await;
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
