//! One open stream of deliveries from Pub/Sub.
//!
//! ```text
//!   service ==StreamingPull==> MessageStream --(Message, Handler)--> feed --bounded channel--> Deliveries::next
//!              ^ ack, nack, extend <-- lease loop of the client <-- Handler <-- Lease <-- Delivery
//! ```
//! The stream has a task of its own because asking it for the next message is not cheap to cancel: until the service has
//! sent something, each abandoned `next` opens and drops a whole connection.

use super::{errors, retry};
use crate::{CloudError, Deliveries, Delivery, Lease, Message, queue::CLOSE_WAIT};
use futures::FutureExt as _;
use google_cloud_pubsub::{
    client::Subscriber,
    model,
    subscriber::{MessageStream, handler::Handler},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// How far ahead a lease is extended; the client does so in the background every quarter of a minute. This is how long the
/// message of a worker that died (or lost its network) stays lost, so it must be well under the promised minute even with
/// the subscription's backoff added. Shorter buys little: the client renews at latest 2 s before the end in any case.
const EXTENSION: Duration = Duration::from_secs(20);

/// When extension stops although the delivery lives. A backstop against a holder that hangs; far longer than any honest
/// piece of work, for past it the message comes again while the first holder still works on it.
const LEASE: Duration = Duration::from_secs(6 * 3600);

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
    /// The promised limit, kept on our side too: the service counts anew for each connection, and connections end every
    /// half hour or so while deliveries of the old one are still being worked on.
    permits: Arc<Semaphore>,
    sender: Sender,
    closing: CancellationToken,
}

/// How one stream ended.
enum End {
    /// Our side closed, or nobody listens any more.
    Closed,
    /// By an error that another attempt will not mend.
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
            // The stream goes, its lease loop stays: deliveries that are out keep their leases and can be settled.
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
            .set_max_lease_extension(EXTENSION)
            .set_max_lease(LEASE)
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
                    // The service closed the stream in good order, which it does when it restarts.
                    None => return End::Lost { delivered },
                },
            };
            delivered += 1;
            let sent = async {
                let permit = self.permits.clone().acquire_owned().await.ok();
                self.sender.send(Ok(delivery(message, handler, permit))).await
            };
            // Dropping `sent` drops the delivery, and that hands it back.
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return End::Closed,
                sent = sent => if sent.is_err() { return End::Closed },
            }
        }
    }

    /// Ends a stream so that the service can give its messages to others at once.
    async fn hand_back(&self, mut stream: MessageStream) {
        // What the client received and we did not see yet. Bounded, for the service may send more as we hand back.
        for _ in 0..self.outstanding {
            match stream.next().now_or_never() {
                Some(Some(Ok(unseen))) => drop(unseen),
                _ => break,
            }
        }
        // In this order: while the stream lives the service keeps assigning messages to it, even after the token.
        let token = stream.shutdown_token();
        drop(stream);
        // Ends once every delivery is settled and the service told; one that is still out must not hold us up for ever.
        let _ = tokio::time::timeout(CLOSE_WAIT, token.shutdown()).await;
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
