//! Requests from the topic. Each ends in one of three ways: dispatched; refused, which becomes a `failed` batch document; or
//! handed back because something did not answer. None is dropped and none circles.

use crate::{accept, dispatch::Dispatch, refusal::Refusal};
use clipfleet_cloud::{CloudError, Delivery};
use clipfleet_contract::{batch, names, v1};
use clipfleet_domain::{
    failure::Failure,
    ids::{BatchId, OwnerUid, ProjectId},
    job::{BatchContext, Event, EventKind},
};
use clipfleet_service::{health::Readiness, trace};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Requests worked on at once: a batch of a thousand clips keeps the publisher busy by itself, so a few suffice.
const REQUESTS_IN_FLIGHT: usize = 8;

/// Stands in the documents of a refused request whose owner or project is unusable. No signed-in user has this uid.
const UNKNOWN: &str = "unknown";

pub(crate) async fn run(
    dispatch: Arc<Dispatch>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut requests = dispatch.cloud.queue.subscribe(names::EXPORT_REQUESTS_DISPATCHER, REQUESTS_IN_FLIGHT);
    readiness.ready(json!({"role": "dispatcher"}));
    let mut working = JoinSet::new();
    let ended = loop {
        // In this order, so that a simulation repeats: few requests are in flight, so their ends keep none waiting.
        tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            Some(_) = working.join_next() => {}
            request = requests.next() => match request {
                Some(Ok(delivery)) => {
                    let span = accept::span(trace::texts(&delivery.message.attributes));
                    working.spawn(handle(Arc::clone(&dispatch), delivery).instrument(span));
                 }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
        }
    };
    if let Err(error) = &ended {
        readiness.not_ready(error.to_string());
    }
    while working.join_next().await.is_some() {}
    requests.close().await;
    ended
}

async fn handle(dispatch: Arc<Dispatch>, delivery: Delivery) {
    let settled = match batch::from_message(&delivery.message.data) {
        Ok(mut request) => {
            if request.batch_id.is_empty() {
                // Derived, not random: a second delivery of the same message must mean the same batch.
                request.batch_id = derived_id(&delivery.message_id);
            }
            match dispatch.accept(&request).await {
                Ok(_) => Ok(()),
                // Documents under this id tell of the other request and stay as they are.
                Err(Refusal::Conflict(failure)) => {
                    tracing::warn!(
                        batch = request.batch_id,
                        code = failure.code.as_str(),
                        "request ignored: {}",
                        failure.message
                    );
                    Ok(())
                }
                Err(Refusal::Invalid(failure) | Refusal::NotFound(failure)) => {
                    refuse(&dispatch, &request, &delivery.message_id, failure).await
                }
                Err(Refusal::Unavailable(error)) => Err(error),
            }
        }
        Err(failure) => refuse(&dispatch, &v1::ExportBatch::default(), &delivery.message_id, failure).await,
    };
    match settled {
        Ok(()) => delivery.ack(),
        Err(error) => {
            tracing::warn!(message = delivery.message_id, %error, "request handed back");
            delivery.nack();
        }
    }
}

fn derived_id(message_id: &str) -> String {
    let safe = message_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(100);
    ["m-".to_owned(), safe.collect()].concat()
}

async fn refuse(
    dispatch: &Dispatch,
    request: &v1::ExportBatch,
    message_id: &str,
    failure: Failure,
) -> Result<(), CloudError> {
    let derived = derived_id(message_id);
    let known = [request.batch_id.as_str(), derived.as_str(), UNKNOWN].iter().find_map(|id| BatchId::parse(id).ok());
    let owner = OwnerUid::parse(&request.owner_uid).or_else(|_| OwnerUid::parse(UNKNOWN)).ok();
    let project = ProjectId::parse(&request.project_id).or_else(|_| ProjectId::parse(UNKNOWN)).ok();
    let (Some(id), Some(owner), Some(project)) = (known, owner, project) else { return Ok(()) };
    tracing::warn!(batch = %id, code = failure.code.as_str(), "request refused: {}", failure.message);
    metrics::counter!("clipfleet_batches_refused_total", "code" => failure.code.to_string()).increment(1);
    let size = u32::try_from(request.clips.len()).unwrap_or(u32::MAX);
    let kind = EventKind::BatchRefused { at_ms: dispatch.clock.now_ms(), failure };
    dispatch.report(&Event { batch: BatchContext { id, owner, project, size }, kind }).await
}
