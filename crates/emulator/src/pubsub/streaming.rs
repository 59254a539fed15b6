//! StreamingPull: delivers messages as fast as the client's limits allow, and receives acknowledgements.
//!
//! The stream ends with `UNAVAILABLE` when the server stops (clients reconnect), with `NOT_FOUND` when the subscription
//! is deleted, and with `OK` only after the client has closed its half. Clients do not reconnect after any other `OK`.

use super::{AckId, Capacity, PubSub, StreamId, Subscription, not_found, ps, settings};
use crate::{
    error::stopping,
    grpc::{self, Responses, respond},
    limits,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Status, Streaming};

type Sender = grpc::Sender<ps::StreamingPullResponse>;
type Requests = Streaming<ps::StreamingPullRequest>;

/// Serves one stream.
pub(super) fn streaming_pull(pubsub: Arc<PubSub>, requests: Requests) -> Responses<ps::StreamingPullResponse> {
    // Only one response is buffered: a lease should start when its message can be sent, not before.
    respond(1, |sender| async move { serve(&pubsub, requests, &sender).await })
}

/// One open stream; dropping it closes the stream of the subscription.
struct OpenStream<'a> {
    pubsub: &'a PubSub,
    subscription: Arc<Subscription>,
    stream: StreamId,
    /// The duration of its leases.
    deadline: Duration,
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.subscription.close_stream(self.stream);
    }
}

async fn serve(pubsub: &PubSub, mut requests: Requests, sender: &Sender) -> Result<(), Status> {
    let first = tokio::select! {
        first = requests.message() => first?,
        () = pubsub.stop.cancelled() => return Err(stopping()),
    };
    let Some(first) = first else { return Ok(()) };
    let heartbeats = first.protocol_version >= 1;
    let mut open = OpenStream::new(pubsub, &first)?;
    open.handle(&first)?;

    let mut heartbeat =
        tokio::time::interval_at(Instant::now() + limits::HEARTBEAT_INTERVAL, limits::HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let subscription = Arc::clone(&open.subscription);
    let ready = subscription.ready.notified();
    tokio::pin!(ready);
    ready.as_mut().enable();
    // Whether the backlog may have messages: false between an empty lease and the next notification.
    let mut may_have_messages = true;
    loop {
        tokio::select! {
            biased;
            () = pubsub.stop.cancelled() => return Err(stopping()),
            () = subscription.deleted.cancelled() => return Err(not_found(&subscription.name())),
            () = sender.closed() => return Ok(()),
            request = requests.message() => match request? {
                Some(request) => {
                    check_subsequent(&request)?;
                    open.handle(&request)?;
                }
                None => return Ok(()),
            },
            () = &mut ready => {
                // Registered again before the next lease, so that a message that arrives in between is not missed.
                ready.set(subscription.ready.notified());
                ready.as_mut().enable();
                may_have_messages = true;
            }
            permit = sender.reserve(), if may_have_messages => {
                let Ok(permit) = permit else { return Ok(()) };
                match open.lease() {
                    messages if messages.is_empty() => may_have_messages = false,
                    messages => permit.send(Ok(response(messages))),
                }
            }
            _ = heartbeat.tick(), if heartbeats => {
                if let Ok(permit) = sender.try_reserve() {
                    permit.send(Ok(response(Vec::new())));
                }
            }
        }
    }
}

impl<'a> OpenStream<'a> {
    fn new(pubsub: &'a PubSub, first: &ps::StreamingPullRequest) -> Result<Self, Status> {
        let subscription = pubsub.subscription(&first.subscription)?;
        let deadline = settings::stream_deadline(first.stream_ack_deadline_seconds)?;
        parse_all(&subscription, first)?;
        // Documented: zero or less means no limit.
        let limit = |requested: i64| usize::try_from(requested).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let limits =
            Capacity { messages: limit(first.max_outstanding_messages), bytes: limit(first.max_outstanding_bytes) };
        let stream = subscription.open_stream(limits);
        Ok(Self { pubsub, subscription, stream, deadline })
    }

    fn handle(&mut self, request: &ps::StreamingPullRequest) -> Result<(), Status> {
        let (settled, extended) = parse_all(&self.subscription, request)?;
        self.subscription.record_activity(self.stream);
        if request.stream_ack_deadline_seconds != 0 {
            self.deadline = settings::stream_deadline(request.stream_ack_deadline_seconds)?;
        }
        if !settled.is_empty() {
            // Clients do not wait for the confirmation of acknowledgements on a stream.
            drop(self.pubsub.settle(&self.subscription, settled));
        }
        for (ack, seconds) in extended.iter().zip(&request.modify_deadline_seconds) {
            self.subscription.modify(std::slice::from_ref(ack), settings::deadline(*seconds)?);
        }
        Ok(())
    }

    fn lease(&self) -> Vec<ps::ReceivedMessage> {
        let capacity = Capacity { messages: limits::MAX_DELIVERY_MESSAGES, bytes: limits::MAX_DELIVERY_BYTES };
        self.pubsub.lease(&self.subscription, Some(self.stream), capacity, self.deadline)
    }
}

/// The deliveries that a request settles, and those whose leases it changes.
fn parse_all(
    subscription: &Subscription,
    request: &ps::StreamingPullRequest,
) -> Result<(Vec<AckId>, Vec<AckId>), Status> {
    if request.modify_deadline_ack_ids.len() != request.modify_deadline_seconds.len() {
        return Err(Status::invalid_argument("modify_deadline_ack_ids and modify_deadline_seconds differ in length"));
    }
    Ok((super::parse(subscription, &request.ack_ids)?, super::parse(subscription, &request.modify_deadline_ack_ids)?))
}

/// Rejects fields that only the first request of a stream may have.
fn check_subsequent(request: &ps::StreamingPullRequest) -> Result<(), Status> {
    let set = [
        ("subscription", !request.subscription.is_empty()),
        ("max_outstanding_messages", request.max_outstanding_messages != 0),
        ("max_outstanding_bytes", request.max_outstanding_bytes != 0),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((name, _)) => Err(Status::invalid_argument(format!("only the first request of a stream may have {name}"))),
        None => Ok(()),
    }
}

fn response(received_messages: Vec<ps::ReceivedMessage>) -> ps::StreamingPullResponse {
    let properties = ps::streaming_pull_response::SubscriptionProperties {
        exactly_once_delivery_enabled: false,
        message_ordering_enabled: false,
    };
    ps::StreamingPullResponse {
        received_messages,
        subscription_properties: Some(properties),
        ..ps::StreamingPullResponse::default()
    }
}
