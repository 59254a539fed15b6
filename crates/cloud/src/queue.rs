//! Messages that arrive at least once, in any order, each under a time-limited lease.

use crate::{CloudError, ErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Timeout of [`Deliveries::close`]: well within the 10 s in which a process has to stop, and ample for one call.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest body of a message; the service's own limit.
const MAX_MESSAGE_BYTES: usize = 10_000_000;

/// A message to publish: bytes and attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The body, at most 10 MB.
    pub data: Bytes,
    /// Attributes that subscribers can read without decoding the body.
    pub attributes: BTreeMap<String, String>,
}

impl Message {
    /// Refuses what the service would refuse. Checked before sending, because the service refuses a whole batch if one
    /// of its messages is invalid.
    pub(crate) fn check(&self, topic: &str) -> Result<(), CloudError> {
        let reason = match self.data.len() {
            0 if self.attributes.is_empty() => "it has neither a body nor attributes".to_owned(),
            length if length > MAX_MESSAGE_BYTES => {
                format!("its body of {length} bytes is over {MAX_MESSAGE_BYTES}")
            }
            _ => return Ok(()),
        };
        Err(CloudError::new(ErrorKind::Invalid, format!("publish to {topic}: {reason}")))
    }
}

/// Refuses a name of a topic or subscription that the service would refuse.
pub(crate) fn check_name(name: &str) -> Result<(), CloudError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    let fits = (3..=255).contains(&name.len()) && name.bytes().all(allowed);
    if fits && name.starts_with(|first: char| first.is_ascii_alphabetic()) && !name.starts_with("goog") {
        return Ok(());
    }
    let rule = "a name is 3 to 255 letters, digits and -_.~+%, begins with a letter and not with `goog`";
    Err(CloudError::new(ErrorKind::Invalid, format!("create `{name}`: {rule}")))
}

/// The configuration of a new subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSpec {
    /// Short name, for example `clip-jobs-worker`.
    pub name: String,
    /// Short name of its topic.
    pub topic: String,
    /// A message that is neither settled nor extended for this long is redelivered; 10 to 600 s.
    pub ack_deadline: Duration,
    /// The dead-letter topic, and the number of delivery attempts (5 to 100) after which a message goes there.
    pub dead_letter: Option<(String, u32)>,
    /// Shortest and longest delay before a message that was handed back is redelivered.
    pub backoff: Option<(Duration, Duration)>,
}

/// A queue service. Names are short; the implementation adds the project.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes a message. Returns its id once the service has stored it durably.
    async fn publish(&self, topic: &str, message: Message) -> Result<String, CloudError>;

    /// Opens a stream of deliveries with at most `outstanding` of them unsettled at any time. It reconnects by itself
    /// until it is closed. An error that a retry cannot fix (no such subscription) ends it and is returned by
    /// [`Deliveries::next`].
    fn subscribe(&self, subscription: &str, outstanding: usize) -> Deliveries;

    /// Asks whether this process may receive from the subscription: a stream shows it only by staying open. Fails with
    /// `Denied` or `NotFound` if not. A service that cannot tell (an emulator without IAM) allows it.
    async fn check_access(&self, subscription: &str) -> Result<(), CloudError>;

    /// Creates the topic unless it exists.
    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError>;

    /// Creates the subscription unless it exists.
    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError>;
}

/// The lease on one delivery. Exactly one of its methods is called, once. Dropping the [`Delivery`] hands the message
/// back.
pub trait Lease: Send + Sync {
    /// The message is done and should not be redelivered (best effort: it still may be).
    fn ack(self: Box<Self>);
    /// The message is handed back and will be redelivered.
    fn nack(self: Box<Self>);
}

/// One delivery of a message. Its lease is extended in the background for as long as this value lives.
pub struct Delivery {
    /// The message as published.
    pub message: Message,
    /// The service's id of the message, the same in every delivery.
    pub message_id: String,
    /// 1 at the first delivery. The service counts only for subscriptions with a dead-letter topic; otherwise, it is
    /// always 1.
    pub delivery_attempt: u32,
    lease: Option<Box<dyn Lease>>,
}

impl Delivery {
    /// A message with its lease.
    pub fn new(message: Message, message_id: String, delivery_attempt: u32, lease: Box<dyn Lease>) -> Self {
        Self { message, message_id, delivery_attempt, lease: Some(lease) }
    }

    /// Settles the message: it is done.
    pub fn ack(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.ack();
        }
    }

    /// Settles the message: it is handed back and will be redelivered.
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
    /// For implementations: the receiver, a token that this side cancels to close the stream, and a token that the
    /// feeding task cancels once the stream is closed and all undelivered messages were handed back.
    pub fn new(
        receiver: mpsc::Receiver<Result<Delivery, CloudError>>,
        closing: CancellationToken,
        closed: CancellationToken,
    ) -> Self {
        Self { receiver, closing, closed }
    }

    /// The next delivery; `None` after the end of the stream. Cancel-safe: a cancelled call loses no delivery.
    pub async fn next(&mut self) -> Option<Result<Delivery, CloudError>> {
        self.receiver.recv().await
    }

    /// Stops the stream, hands back the deliveries that [`next`](Self::next) did not return, and waits (at most 3 s)
    /// until the service has received that. Deliveries that were returned stay valid, but only those settled **before**
    /// this call are certain to be settled at the service.
    pub async fn close(mut self) {
        self.closing.cancel();
        self.receiver.close();
        let handed_back = async {
            // Not `try_recv`: it would miss a delivery that is being sent, which would then be held until its deadline.
            while self.receiver.recv().await.is_some() {}
            self.closed.cancelled().await;
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, handed_back).await;
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
