//! StreamingPull: messages pushed to a client as fast as its limits allow, acknowledgements on the way back.
//!
//! The stream ends with `UNAVAILABLE` when the server stops (clients reconnect), `NOT_FOUND` when the subscription goes,
//! and `OK` only after the client itself has closed its half: clients take any other `OK` for the end of the world.

use super::{AckId, PubSub, Room, StreamId, Subscription, not_found, ps, settings};
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
    // One response under way at a time: a lease should start when its message can leave, not before.
    respond(1, |sender| async move { serve(&pubsub, requests, &sender).await })
}

/// One open stream; leaves the subscription when dropped.
struct Open<'a> {
    pubsub: &'a PubSub,
    subscription: Arc<Subscription>,
    stream: StreamId,
    /// How long its leases last.
    deadline: Duration,
}

impl Drop for Open<'_> {
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
    let mut open = Open::new(pubsub, &first)?;
    open.handle(&first)?;

    let mut heartbeat = tokio::time::interval_at(Instant::now() + limits::HEARTBEAT, limits::HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let subscription = Arc::clone(&open.subscription);
    let ready = subscription.ready.notified();
    tokio::pin!(ready);
    ready.as_mut().enable();
    // Whether looking at the backlog may find something; false between an empty look and the next wake-up.
    let mut promising = true;
    loop {
        tokio::select! {
            biased;
            () = pubsub.stop.cancelled() => return Err(stopping()),
            () = subscription.deleted.cancelled() => return Err(not_found(&subscription.name())),
            () = sender.closed() => return Ok(()),
            request = requests.message() => match request? {
                Some(request) => {
                    check_further(&request)?;
                    open.handle(&request)?;
                }
                None => return Ok(()),
            },
            () = &mut ready => {
                // Registered again before looking, so that what arrives in between is not missed.
                ready.set(subscription.ready.notified());
                ready.as_mut().enable();
                promising = true;
            }
            permit = sender.reserve(), if promising => {
                let Ok(permit) = permit else { return Ok(()) };
                match open.lease() {
                    messages if messages.is_empty() => promising = false,
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

impl<'a> Open<'a> {
    fn new(pubsub: &'a PubSub, first: &ps::StreamingPullRequest) -> Result<Self, Status> {
        let subscription = pubsub.subscription(&first.subscription)?;
        let deadline = settings::stream_deadline(first.stream_ack_deadline_seconds)?;
        parse_all(&subscription, first)?;
        // Zero and less are no limit, as documented.
        let limit = |asked: i64| usize::try_from(asked).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let limits =
            Room { messages: limit(first.max_outstanding_messages), bytes: limit(first.max_outstanding_bytes) };
        let stream = subscription.open_stream(limits);
        Ok(Self { pubsub, subscription, stream, deadline })
    }

    fn handle(&mut self, request: &ps::StreamingPullRequest) -> Result<(), Status> {
        let (settled, extended) = parse_all(&self.subscription, request)?;
        self.subscription.heard(self.stream);
        if request.stream_ack_deadline_seconds != 0 {
            self.deadline = settings::stream_deadline(request.stream_ack_deadline_seconds)?;
        }
        if !settled.is_empty() {
            // Nobody waits for acknowledgements on a stream.
            drop(self.pubsub.settle(&self.subscription, settled));
        }
        for (ack, seconds) in extended.iter().zip(&request.modify_deadline_seconds) {
            self.subscription.modify(std::slice::from_ref(ack), settings::deadline(*seconds)?);
        }
        Ok(())
    }

    fn lease(&self) -> Vec<ps::ReceivedMessage> {
        let room = Room { messages: limits::DELIVERY_MESSAGES, bytes: limits::DELIVERY_BYTES };
        self.pubsub.lease(&self.subscription, Some(self.stream), room, self.deadline)
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

/// Refuses what only the first request of a stream may have.
fn check_further(request: &ps::StreamingPullRequest) -> Result<(), Status> {
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
