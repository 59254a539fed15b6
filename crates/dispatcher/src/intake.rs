//! Requests from the topic. Each is dispatched; refused, which becomes a `failed` batch document; or handed back
//! because a service is unavailable. No request is dropped, and none is redelivered forever.

use crate::{accept, dispatch::Dispatch, record, refusal::Refusal};
use clipfleet_cloud::{CloudError, Delivery, Subscription};
use clipfleet_contract::{batch, names, v1};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, OwnerUid, ProjectId},
    job::{BatchContext, Event, EventKind},
};
use clipfleet_service::{health::Readiness, trace};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Concurrent requests: a batch of a thousand clips alone keeps the publisher busy, so a few suffice.
const MAX_REQUESTS_IN_FLIGHT: usize = 8;

/// The owner or project in the documents of a refused request that names no usable one. No signed-in user has this uid.
const UNKNOWN: &str = "unknown";

pub(crate) async fn run(
    dispatch: Arc<Dispatch>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let received = readiness.condition(names::EXPORT_REQUESTS_DISPATCHER);
    let report = move |state: Result<(), &CloudError>| received.set(state);
    let queue = Arc::clone(&dispatch.cloud.queue);
    let mut requests = Subscription::open(queue, names::EXPORT_REQUESTS_DISPATCHER, MAX_REQUESTS_IN_FLIGHT, report);
    readiness.ready(json!({"role": "dispatcher"}));
    let mut handlers = JoinSet::new();
    let ended = loop {
        // Biased, so that a simulation is reproducible. Few requests are in flight, so their ends cannot starve new
        // ones.
        tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            Some(_) = handlers.join_next() => {}
            request = requests.next() => match request {
                Some(Ok(delivery)) => {
                    let span = accept::span(trace::pairs(&delivery.message.attributes));
                    handlers.spawn(handle(Arc::clone(&dispatch), delivery).instrument(span));
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
        }
    };
    if let Err(error) = &ended {
        tracing::error!(%error, "no requests are received any more");
    }
    while handlers.join_next().await.is_some() {}
    requests.close().await;
    ended
}

pub(crate) async fn handle(dispatch: Arc<Dispatch>, delivery: Delivery) {
    let settled = match batch::from_message(&delivery.message.data) {
        Ok(mut request) => {
            if request.batch_id.is_empty() {
                // Derived, not random: a redelivery of the message must name the same batch.
                request.batch_id = derived_id(&delivery.message_id);
            }
            match dispatch.accept(&request).await {
                Ok(_) => Ok(()),
                Err(Refusal::Unavailable(error)) => Err(error),
                Err(
                    Refusal::Conflict(failure)
                    | Refusal::Invalid(failure)
                    | Refusal::NotFound(failure)
                    | Refusal::Unauthenticated(failure)
                    | Refusal::Forbidden(failure),
                ) => refuse(&dispatch, &request, &delivery.message_id, failure).await,
            }
        }
        Err(failure) => {
            let request = batch::ids_of_malformed(&delivery.message.data);
            refuse(&dispatch, &request, &delivery.message_id, failure).await
        }
    };
    match settled {
        Ok(()) => delivery.ack(),
        Err(error) => {
            tracing::warn!(message_id = delivery.message_id, %error, "request handed back");
            delivery.nack();
        }
    }
}

fn derived_id(message_id: &str) -> String {
    let safe = message_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(100);
    ["m-".to_owned(), safe.collect()].concat()
}

/// Publishes why a request is refused, for the document of its batch. If the id belongs to an accepted request, that
/// one's clips are made as if nothing had happened, and its document shows the conflict.
async fn refuse(
    dispatch: &Dispatch,
    request: &v1::ExportBatch,
    message_id: &str,
    failure: Failure,
) -> Result<(), CloudError> {
    let derived = derived_id(message_id);
    let known = [request.batch_id.as_str(), derived.as_str(), UNKNOWN].iter().find_map(|id| BatchId::parse(id).ok());
    let Some(id) = known else { return Ok(()) };
    let accepted = record::load(&dispatch.cloud, &id).await?.and_then(|stored| record::recorded(&stored.record).ok());
    let (batch, failure) = match accepted {
        Some(accepted) => (Some(BatchContext::of(&accepted)), conflict(failure)),
        None => (refused_context(id.clone(), request), failure),
    };
    let Some(batch) = batch else { return Ok(()) };
    tracing::warn!(batch = %id, code = failure.code.as_str(), "request refused: {}", failure.message);
    metrics::counter!("clipfleet_batches_refused_total", "code" => failure.code.to_string()).increment(1);
    let kind = EventKind::BatchRefused { at_ms: dispatch.clock.now_ms(), failure };
    dispatch.publish_event(&Event { batch, kind }).await
}

/// The refusal of a request whose id belongs to an accepted one.
fn conflict(failure: Failure) -> Failure {
    match failure.code {
        Code::BatchIdConflict => failure,
        _ => {
            let message = format!("another request used this batchId and was refused: {}", failure.message);
            Failure::new(Code::BatchIdConflict, message)
        }
    }
}

/// What the document of a refused request says of its batch.
fn refused_context(id: BatchId, request: &v1::ExportBatch) -> Option<BatchContext> {
    let owner = OwnerUid::parse(&request.owner_uid).or_else(|_| OwnerUid::parse(UNKNOWN)).ok()?;
    let project = ProjectId::parse(&request.project_id).or_else(|_| ProjectId::parse(UNKNOWN)).ok()?;
    let size = u32::try_from(request.clips.len()).unwrap_or(u32::MAX);
    Some(BatchContext { id, owner, project, size })
}
