//! One open stream of deliveries from Pub/Sub.
//!
//! ```text
//!   service ==StreamingPull==> MessageStream --(Message, Handler)--> feed --bounded channel--> Deliveries::next
//!              ^ ack, nack, extend <-- lease loop of the client <-- Handler <-- Lease <-- Delivery
//! ```
//! The stream has a task of its own because cancelling a call to its `next` is expensive: until the service has sent a
//! message, each cancelled call opens and drops a connection.

use super::{errors, retry};
use crate::{CloudError, Deliveries, Delivery, Lease, Message, queue::CLOSE_TIMEOUT};
use futures::FutureExt as _;
use google_cloud_pubsub::{
    client::Subscriber,
    model,
    subscriber::{MessageStream, handler::Handler},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// How far ahead the client extends a lease; it does so in the background every 15 seconds. After a worker died or lost
/// its network, its message is not redelivered for this long, so this plus the subscription's backoff (at most 30 s,
/// which counts expired leases, too) must be well below the guaranteed minute. A shorter time gains little: the client
/// renews at least 2 s before the end in any case.
const LEASE_EXTENSION: Duration = Duration::from_secs(20);

/// When extension stops even if the delivery is still held: a backstop against a holder that hangs. It is far longer
/// than any real job, because afterwards the message is redelivered while the first holder still works on it.
const MAX_LEASE: Duration = Duration::from_secs(6 * 3600);

type Sender = mpsc::Sender<Result<Delivery, CloudError>>;

/// Opens the stream and feeds it until either side ends it. Must be called within a runtime.
pub(super) fn open(subscriber: Subscriber, subscription: String, outstanding: usize) -> Deliveries {
    let outstanding = outstanding.max(1);
    let (sender, receiver) = mpsc::channel(outstanding);
    let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
    let feed = Feed {
        subscriber,
        subscription,
        outstanding,
        permits: Arc::new(Semaphore::new(outstanding)),
        sender,
        closing: closing.clone(),
    };
    let done = closed.clone().drop_guard();
    tokio::spawn(async move {
        feed.run().await;
        drop(done);
    });
    Deliveries::new(receiver, closing, closed)
}

struct Feed {
    subscriber: Subscriber,
    subscription: String,
    outstanding: usize,
    /// Enforces the limit on this side, too: the service counts anew for each connection, and connections end about
    /// every half hour while their deliveries are still being processed.
    permits: Arc<Semaphore>,
    sender: Sender,
    closing: CancellationToken,
}

/// How one stream ended.
enum End {
    /// This side closed the stream or dropped the receiver.
    Closed,
    /// By an error that a retry cannot fix.
    Failed(CloudError),
    /// By the service or the network, after this many deliveries.
    Lost { delivered: u64 },
}

impl Feed {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let mut stream = self.stream();
            match self.pump(&mut stream).await {
                End::Closed => return self.hand_back(stream).await,
                End::Failed(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                End::Lost { delivered } => failures = if delivered > 0 { 1 } else { failures + 1 },
            }
            // Only the stream is dropped, not its lease loop: outstanding deliveries keep their leases and can be
            // settled.
            drop(stream);
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(retry::delay(failures)) => {}
            }
        }
    }

    fn stream(&self) -> MessageStream {
        self.subscriber
            .subscribe(self.subscription.as_str())
            .set_max_outstanding_messages(i64::try_from(self.outstanding).unwrap_or(i64::MAX))
            .set_max_lease_extension(LEASE_EXTENSION)
            .set_max_lease(MAX_LEASE)
            .build()
    }

    async fn pump(&self, stream: &mut MessageStream) -> End {
        let doing = || format!("receive from {}", self.subscription);
        let mut delivered = 0;
        loop {
            let (message, handler) = tokio::select! {
                biased;
                () = self.closing.cancelled() => return End::Closed,
                next = stream.next() => match next {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(error)) => match errors::call(&doing(), error) {
                        error if error.is_transient() => {
                            tracing::warn!(subscription = self.subscription, %error, "stream lost");
                            return End::Lost { delivered };
                        }
                        error => return End::Failed(error),
                    },
                    // The service closed the stream in an orderly way, as it does when it restarts.
                    None => return End::Lost { delivered },
                },
            };
            delivered += 1;
            let sent = async {
                let permit = self.permits.clone().acquire_owned().await.ok();
                self.sender.send(Ok(delivery(message, handler, permit))).await
            };
            // Dropping `sent` drops the delivery, which hands it back.
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return End::Closed,
                sent = sent => if sent.is_err() { return End::Closed },
            }
        }
    }

    /// Closes a stream and hands its messages back, so that the service can deliver them to others at once.
    async fn hand_back(&self, mut stream: MessageStream) {
        // Messages that the client has buffered. The loop is bounded because the service may send more meanwhile.
        for _ in 0..self.outstanding {
            match stream.next().now_or_never() {
                Some(Some(Ok(buffered))) => drop(buffered),
                _ => break,
            }
        }
        // The stream is dropped first: while it exists, the service assigns messages to it, even after a shutdown.
        let token = stream.shutdown_token();
        drop(stream);
        // Completes once every delivery is settled and the service confirmed it. An outstanding delivery must not block
        // the close forever.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, token.shutdown()).await;
    }
}

fn delivery(message: model::Message, handler: Handler, permit: Option<OwnedSemaphorePermit>) -> Delivery {
    let attempt = handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(1);
    let body = Message { data: message.data, attributes: message.attributes.into_iter().collect() };
    Delivery::new(body, message.message_id, attempt, Box::new(PubsubLease { handler, _permit: permit }))
}

struct PubsubLease {
    handler: Handler,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lease for PubsubLease {
    fn ack(self: Box<Self>) {
        self.handler.ack();
    }

    fn nack(self: Box<Self>) {
        self.handler.nack();
    }
}
