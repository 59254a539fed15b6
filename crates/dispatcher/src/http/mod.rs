//! The HTTP API.
//!
//! ```text
//! GET  /v1/batches?ownerUid=&projectId=&status=&pageSize=&pageToken=   200 a page, the latest first · 400
//! POST /v1/batches                           202 accepted · 400 invalid · 409 id used for another request
//! GET  /v1/batches/{batch}                   200 · 404
//! GET  /v1/batches/{batch}/clips.zip         200 the completed clips · 404 · 409 none is completed
//! POST /v1/batches/{batch}:cancel|retry      202 · 404
//! POST /v1/batches/{batch}/clips/{clip}:cancel|retry   202 · 404 · 409 not in a state that can be retried
//! GET  /v1/dead-letters?after={batch}        200 a page of dead letters
//! GET  /v1/dead-letters/{batch}              200 the dead letters of a batch
//! POST /v1/dead-letters/{batch}:redrive      202 · 404; /clips/{clip}:redrive for one, 409 if it is not a dead letter
//! GET  /v1/fleet                             200 whether the fleet is paused, and the pools that scale themselves
//! GET  /v1/fleet/work                        200 queued clips, clips in progress, and their workers
//! POST /v1/fleet:pause|resume                200
//! ```

use crate::{accept, control::RetryFilter, dispatch::Dispatch, fleet::control_json, refusal::Refusal, work::WorkCache};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clipfleet_contract::{batch, documents::fleet_control::FleetControl, list::PageRequest};
use clipfleet_domain::{
    failure::{Code, Failure, FieldViolation},
    ids::{BatchId, ClipId},
    limits::MAX_REQUEST_BYTES,
};
use clipfleet_service::trace;
use futures::StreamExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument as _;

/// Concurrent requests; further ones wait. Each may hold a body of 2 MiB, and a few keep the publisher busy.
const MAX_CONCURRENT_REQUESTS: usize = 64;

/// Timeout for reading one body: 2 MiB over a bad link.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The routes of the API, without the health endpoints.
pub fn routes(dispatch: Arc<Dispatch>) -> Router {
    Router::new()
        .route("/v1/batches", get(list).post(accept))
        .route("/v1/batches/{batch}", get(show).post(act_on_batch))
        .route("/v1/batches/{batch}/clips.zip", get(download))
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
        .layer(from_fn_with_state(Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)), limit_concurrency))
        .layer(Extension(Arc::<WorkCache>::default()))
        .with_state(dispatch)
}

async fn limit_concurrency(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // The semaphore is never closed, so a permit always comes.
    let _permit = permits.acquire().await;
    let headers = request.headers().clone();
    trace::within_request(&headers, next.run(request)).await
}

async fn no_route(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let message = format!("there is no {method} {}; see the README for the routes", uri.path());
    ApiError(Refusal::NotFound(Failure::new(Code::NoSuchRoute, message)))
}

type ApiResult = Result<Response, ApiError>;

async fn accept(State(dispatch): State<Arc<Dispatch>>, headers: HeaderMap, body: Body) -> ApiResult {
    let attributes = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    accept_body(&dispatch, body).instrument(accept::span(attributes)).await
}

async fn accept_body(dispatch: &Dispatch, body: Body) -> ApiResult {
    let body = timeout(BODY_TIMEOUT, read_body(body)).await.unwrap_or_else(|_| {
        let message = format!("the request did not come within {} s", BODY_TIMEOUT.as_secs());
        Err(Failure::new(Code::MalformedRequest, message))
    });
    let body = body.map_err(Refusal::Invalid)?;
    let request = batch::from_json(&body).map_err(Refusal::Invalid)?;
    let accepted = dispatch.accept(&request).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

/// Reads a whole body. Of a body that is too large, a bounded part is read and discarded: a client that is still
/// sending would otherwise see a closed connection instead of the response.
async fn read_body(body: Body) -> Result<Vec<u8>, Failure> {
    const MAX_DISCARDED_BYTES: usize = 8 * MAX_REQUEST_BYTES;
    let (mut kept, mut received) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let unreadable =
            |error| Failure::new(Code::MalformedRequest, format!("the request could not be read: {error}"));
        let chunk = chunk.map_err(unreadable)?;
        received += chunk.len();
        if received <= MAX_REQUEST_BYTES {
            kept.extend_from_slice(&chunk);
        }
        if received > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if received <= MAX_REQUEST_BYTES {
        return Ok(kept);
    }
    Err(Failure::new(Code::RequestTooLarge, format!("the request must have at most {MAX_REQUEST_BYTES} bytes")))
}

async fn show(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> ApiResult {
    let id = parse("batchId", &id, BatchId::parse)?;
    Ok(Json(dispatch.show(&id).await?).into_response())
}

async fn list(State(dispatch): State<Arc<Dispatch>>, Query(query): Query<HashMap<String, String>>) -> ApiResult {
    let page = PageRequest::parse(&query).map_err(Refusal::Invalid)?;
    Ok(Json(dispatch.list(&page).await?).into_response())
}

async fn download(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> ApiResult {
    let id = parse("batchId", &id, BatchId::parse)?;
    let archive = dispatch.archive(&id).await?;
    let headers = [(header::CONTENT_TYPE, ZIP.to_owned()), (header::CONTENT_DISPOSITION, attachment(&archive.name))];
    Ok((headers, Body::from_stream(archive.into_stream())).into_response())
}

/// The media type of archives.
const ZIP: &str = "application/zip";

/// A header that makes browsers save a response under a name, which may hold any characters (RFC 6266).
fn attachment(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !"\"\\".contains(c) { c } else { '_' }).collect();
    let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

async fn act_on_batch(State(dispatch): State<Arc<Dispatch>>, Path(target): Path<String>) -> ApiResult {
    let (id, action) = parse_action(&target)?;
    apply_action(&dispatch, id, None, action).await
}

async fn act_on_clip(State(dispatch): State<Arc<Dispatch>>, Path((id, target)): Path<(String, String)>) -> ApiResult {
    let (clip, action) = parse_action(&target)?;
    apply_action(&dispatch, &id, Some(clip), action).await
}

fn split_action(target: &str) -> (&str, &str) {
    target.rsplit_once(':').unwrap_or((target, ""))
}

fn parse_action(target: &str) -> Result<(&str, Action), Refusal> {
    match split_action(target) {
        (id, "cancel") => Ok((id, Action::Cancel)),
        (id, "retry") => Ok((id, Action::Retry(RetryFilter::Ended))),
        (_, other) => Err(no_action(other, ":cancel or :retry")),
    }
}

/// An action on clips.
enum Action {
    Cancel,
    Retry(RetryFilter),
}

async fn apply_action(dispatch: &Dispatch, batch: &str, clip: Option<&str>, action: Action) -> ApiResult {
    let batch = parse("batchId", batch, BatchId::parse)?;
    let clip = clip.map(|clip| parse("clipId", clip, ClipId::parse)).transpose()?;
    let clips = match action {
        Action::Cancel => dispatch.cancel(&batch, clip.as_ref()).await?,
        Action::Retry(filter) => dispatch.retry(&batch, clip.as_ref(), filter).await?,
    };
    let clips: Vec<_> = clips.iter().map(|clip| json!({"clipId": clip.as_str()})).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({"batchId": batch.as_str(), "clips": clips}))).into_response())
}

async fn dead_letters(
    State(dispatch): State<Arc<Dispatch>>,
    Query(query): Query<HashMap<String, String>>,
) -> ApiResult {
    let after = query.get("after").map_or("", String::as_str);
    Ok(Json(dispatch.dead_letters(after).await?).into_response())
}

async fn dead_letters_of(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> ApiResult {
    let id = parse("batchId", &id, BatchId::parse)?;
    Ok(Json(json!({"deadLetters": dispatch.dead_letters_of(&id).await?})).into_response())
}

async fn redrive_batch(State(dispatch): State<Arc<Dispatch>>, Path(target): Path<String>) -> ApiResult {
    let id = parse_redrive(&target)?;
    apply_action(&dispatch, id, None, Action::Retry(RetryFilter::DeadLettered)).await
}

async fn redrive_clip(State(dispatch): State<Arc<Dispatch>>, Path((id, target)): Path<(String, String)>) -> ApiResult {
    let clip = parse_redrive(&target)?;
    apply_action(&dispatch, &id, Some(clip), Action::Retry(RetryFilter::DeadLettered)).await
}

fn parse_redrive(target: &str) -> Result<&str, Refusal> {
    match split_action(target) {
        (id, "redrive") => Ok(id),
        (_, other) => Err(no_action(other, ":redrive")),
    }
}

fn no_action(action: &str, known: &str) -> Refusal {
    let message = format!("there is no action {action:?}; use {known}");
    Refusal::NotFound(Failure::new(Code::NoSuchRoute, message))
}

async fn fleet(State(dispatch): State<Arc<Dispatch>>) -> ApiResult {
    Ok(Json(dispatch.show_fleet().await.map_err(Refusal::from)?).into_response())
}

async fn work(State(dispatch): State<Arc<Dispatch>>, Extension(cache): Extension<Arc<WorkCache>>) -> ApiResult {
    Ok(Json(cache.get(&dispatch).await?).into_response())
}

async fn pause(State(dispatch): State<Arc<Dispatch>>) -> ApiResult {
    Ok(fleet_response(dispatch.set_paused(true).await?))
}

async fn resume(State(dispatch): State<Arc<Dispatch>>) -> ApiResult {
    Ok(fleet_response(dispatch.set_paused(false).await?))
}

fn fleet_response(control: FleetControl) -> Response {
    Json(control_json(control)).into_response()
}

fn parse<T, E: ToString>(field: &str, text: &str, parser: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Refusal> {
    parser(text).map_err(|bad| Refusal::Invalid(Failure::invalid(vec![FieldViolation::new(field, bad.to_string())])))
}

/// A refusal as an HTTP response.
struct ApiError(Refusal);

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for ApiError {
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
