//! The HTTP API.
//!
//! ```text
//! POST /v1/batches                           202 accepted · 400 invalid · 409 id used for another request
//! GET  /v1/batches/{batch}                   200 · 404
//! POST /v1/batches/{batch}:cancel|retry      202 · 404
//! POST /v1/batches/{batch}/clips/{clip}:cancel|retry   202 · 404 · 409 not in a state that can be retried
//! GET  /v1/dead-letters?after={batch}        200 a page of clips that the queue gave up
//! GET  /v1/dead-letters/{batch}              200 those of a batch
//! POST /v1/dead-letters/{batch}:redrive      202 · 404; /clips/{clip}:redrive for one, 409 when it is none
//! GET  /v1/fleet                             200 whether the fleet is paused
//! GET  /v1/fleet/work                        200 what waits, what is made, and by which workers
//! POST /v1/fleet:pause|resume                200
//! ```

use crate::{accept, control::RetryFilter, dispatch::Dispatch, refusal::Refusal, work::WorkCache};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clipfleet_contract::{batch, documents::fleet_control::FleetControl, rfc3339};
use clipfleet_domain::{
    failure::{Code, Failure, FieldViolation},
    ids::{BatchId, ClipId},
    limits::MAX_REQUEST_BYTES,
};
use futures::StreamExt as _;
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument as _;

/// Requests worked on at once; more wait for their turn. Each may hold a body of 2 MiB, and the publisher is busy with a few.
const REQUESTS_AT_ONCE: usize = 64;

/// Longest time of reading one body: 2 MiB over a bad link.
const READING: Duration = Duration::from_secs(30);

/// The routes of the API, without the health endpoints.
pub fn routes(dispatch: Arc<Dispatch>) -> Router {
    Router::new()
        .route("/v1/batches", post(accept))
        .route("/v1/batches/{batch}", get(show).post(act_on_batch))
        .route("/v1/batches/{batch}/clips/{clip}", post(act_on_clip))
        .route("/v1/dead-letters", get(dead_letters))
        .route("/v1/dead-letters/{batch}", get(dead_letters_of).post(redrive_batch))
        .route("/v1/dead-letters/{batch}/clips/{clip}", post(redrive_clip))
        .route("/v1/fleet", get(fleet))
        .route("/v1/fleet/work", get(work))
        .route("/v1/fleet:pause", post(pause))
        .route("/v1/fleet:resume", post(resume))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(from_fn_with_state(Arc::new(Semaphore::new(REQUESTS_AT_ONCE)), take_turns))
        .layer(Extension(Arc::<WorkCache>::default()))
        .with_state(dispatch)
}

async fn take_turns(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // The semaphore is never closed, so a permit always comes.
    let _permit = turns.acquire().await;
    next.run(request).await
}

async fn no_route(method: axum::http::Method, uri: axum::http::Uri) -> Refused {
    let message = format!("there is no {method} {}; see the README for the routes", uri.path());
    Refused(Refusal::NotFound(Failure::new(Code::NoSuchRoute, message)))
}

type Answer = Result<Response, Refused>;

async fn accept(State(dispatch): State<Arc<Dispatch>>, headers: HeaderMap, body: Body) -> Answer {
    let texts = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    accept_body(&dispatch, body).instrument(accept::span(texts)).await
}

async fn accept_body(dispatch: &Dispatch, body: Body) -> Answer {
    let body = timeout(READING, read(body)).await.unwrap_or_else(|_| {
        let message = format!("the request did not come within {} s", READING.as_secs());
        Err(Failure::new(Code::MalformedRequest, message))
    });
    let body = body.map_err(Refusal::Invalid)?;
    let request = batch::from_json(&body).map_err(Refusal::Invalid)?;
    let accepted = dispatch.accept(&request).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

/// Reads a whole body. One that is too large is read on for a while and thrown away: a client that is still sending would
/// otherwise meet a closed connection instead of the answer.
async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    const READ_ON: usize = 8 * MAX_REQUEST_BYTES;
    let (mut kept, mut seen) = (Vec::new(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let unreadable =
            |error| Failure::new(Code::MalformedRequest, format!("the request could not be read: {error}"));
        let piece = piece.map_err(unreadable)?;
        seen += piece.len();
        if seen <= MAX_REQUEST_BYTES {
            kept.extend_from_slice(&piece);
        }
        if seen > READ_ON {
            break;
        }
    }
    if seen <= MAX_REQUEST_BYTES {
        return Ok(kept);
    }
    Err(Failure::new(Code::RequestTooLarge, format!("the request must have at most {MAX_REQUEST_BYTES} bytes")))
}

async fn show(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> Answer {
    let id = parse("batchId", &id, BatchId::parse)?;
    Ok(Json(dispatch.show(&id).await?).into_response())
}

async fn act_on_batch(State(dispatch): State<Arc<Dispatch>>, Path(target): Path<String>) -> Answer {
    let (id, verb) = verb_of(&target)?;
    act(&dispatch, id, None, verb).await
}

async fn act_on_clip(State(dispatch): State<Arc<Dispatch>>, Path((id, target)): Path<(String, String)>) -> Answer {
    let (clip, verb) = verb_of(&target)?;
    act(&dispatch, &id, Some(clip), verb).await
}

fn split_verb(target: &str) -> (&str, &str) {
    target.rsplit_once(':').unwrap_or((target, ""))
}

fn verb_of(target: &str) -> Result<(&str, Verb), Refusal> {
    match split_verb(target) {
        (id, "cancel") => Ok((id, Verb::Cancel)),
        (id, "retry") => Ok((id, Verb::Retry(RetryFilter::Ended))),
        (_, other) => Err(no_action(other, ":cancel or :retry")),
    }
}

/// What can be done to clips.
enum Verb {
    Cancel,
    Retry(RetryFilter),
}

async fn act(dispatch: &Dispatch, batch: &str, clip: Option<&str>, verb: Verb) -> Answer {
    let batch = parse("batchId", batch, BatchId::parse)?;
    let clip = clip.map(|clip| parse("clipId", clip, ClipId::parse)).transpose()?;
    let clips = match verb {
        Verb::Cancel => dispatch.cancel(&batch, clip.as_ref()).await?,
        Verb::Retry(filter) => dispatch.retry(&batch, clip.as_ref(), filter).await?,
    };
    let clips: Vec<_> = clips.iter().map(|clip| json!({"clipId": clip.as_str()})).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({"batchId": batch.as_str(), "clips": clips}))).into_response())
}

async fn dead_letters(State(dispatch): State<Arc<Dispatch>>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let after = query.get("after").map_or("", String::as_str);
    Ok(Json(dispatch.dead_letters(after).await?).into_response())
}

async fn dead_letters_of(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> Answer {
    let id = parse("batchId", &id, BatchId::parse)?;
    Ok(Json(json!({"deadLetters": dispatch.dead_letters_of(&id).await?})).into_response())
}

async fn redrive_batch(State(dispatch): State<Arc<Dispatch>>, Path(target): Path<String>) -> Answer {
    act(&dispatch, redriven(&target)?, None, Verb::Retry(RetryFilter::DeadLettered)).await
}

async fn redrive_clip(State(dispatch): State<Arc<Dispatch>>, Path((id, target)): Path<(String, String)>) -> Answer {
    act(&dispatch, &id, Some(redriven(&target)?), Verb::Retry(RetryFilter::DeadLettered)).await
}

fn redriven(target: &str) -> Result<&str, Refusal> {
    match split_verb(target) {
        (id, "redrive") => Ok(id),
        (_, other) => Err(no_action(other, ":redrive")),
    }
}

fn no_action(verb: &str, known: &str) -> Refusal {
    let message = format!("there is no action {verb:?}; use {known}");
    Refusal::NotFound(Failure::new(Code::NoSuchRoute, message))
}

async fn fleet(State(dispatch): State<Arc<Dispatch>>) -> Answer {
    Ok(fleet_answer(dispatch.fleet_control().await.map_err(Refusal::from)?))
}

async fn work(State(dispatch): State<Arc<Dispatch>>, Extension(cache): Extension<Arc<WorkCache>>) -> Answer {
    Ok(Json(cache.get(&dispatch).await?).into_response())
}

async fn pause(State(dispatch): State<Arc<Dispatch>>) -> Answer {
    Ok(fleet_answer(dispatch.set_paused(true).await?))
}

async fn resume(State(dispatch): State<Arc<Dispatch>>) -> Answer {
    Ok(fleet_answer(dispatch.set_paused(false).await?))
}

fn fleet_answer(control: FleetControl) -> Response {
    Json(json!({"paused": control.paused, "since": control.changed_at_ms.map(rfc3339)})).into_response()
}

fn parse<T, E: ToString>(field: &str, text: &str, parser: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Refusal> {
    parser(text).map_err(|bad| Refusal::Invalid(Failure::invalid(vec![FieldViolation::new(field, bad.to_string())])))
}

/// A refusal as an answer.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, failure) = match self.0 {
            Refusal::Invalid(failure) if failure.code == Code::RequestTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, failure)
            }
            Refusal::Invalid(failure) => (StatusCode::BAD_REQUEST, failure),
            Refusal::Conflict(failure) => (StatusCode::CONFLICT, failure),
            Refusal::NotFound(failure) => (StatusCode::NOT_FOUND, failure),
            Refusal::Unavailable(error) => {
                tracing::warn!(%error, "request failed");
                let message = format!("failed to {error}; try again");
                (StatusCode::SERVICE_UNAVAILABLE, Failure::new(Code::Unavailable, message))
            }
        };
        let details: Vec<_> =
            failure.details.iter().map(|bad| json!({"field": bad.field, "reason": bad.reason})).collect();
        let error = json!({"code": failure.code.as_str(), "message": failure.message, "details": details});
        (status, Json(json!({ "error": error }))).into_response()
    }
}
