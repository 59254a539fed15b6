//! The surface of requests: batches, clips and their links.

use super::{Action, ApiResult, apply_action, no_action, parse, split_action};
use crate::{accept, authentication::Caller, control::RetryFilter, dispatch::Dispatch, refusal::Refusal};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse as _,
    routing::get,
};
use clipfleet_contract::{batch, list::PageRequest};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    limits::MAX_REQUEST_BYTES,
};
use futures::StreamExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::timeout;
use tracing::Instrument as _;

/// Timeout for reading one body: 2 MiB over a bad link.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Arc<Dispatch>> {
    Router::new()
        .route("/v1/batches", get(list).post(accept))
        .route("/v1/batches/{batch}", get(show).post(act_on_batch))
        .route("/v1/batches/{batch}/clips.zip", get(download))
        .route("/v1/batches/{batch}/clips/{clip}", get(links).post(act_on_clip))
}

async fn accept(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let attributes = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    accept_body(&dispatch, &caller, body).instrument(accept::span(attributes)).await
}

async fn accept_body(dispatch: &Dispatch, caller: &Caller, body: Body) -> ApiResult {
    let body = timeout(BODY_TIMEOUT, read_body(body)).await.unwrap_or_else(|_| {
        let message = format!("the request did not come within {} s", BODY_TIMEOUT.as_secs());
        Err(Failure::new(Code::MalformedRequest, message))
    });
    let body = body.map_err(Refusal::Invalid)?;
    let mut request = batch::from_json(&body).map_err(Refusal::Invalid)?;
    caller.claim(&mut request)?;
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

async fn show(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> ApiResult {
    let id = parse("batchId", &id, BatchId::parse)?;
    dispatch.check_caller(&caller, &id).await?;
    Ok(Json(dispatch.show(&id).await?).into_response())
}

async fn list(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<HashMap<String, String>>,
) -> ApiResult {
    let mut page = PageRequest::parse(&query).map_err(Refusal::Invalid)?;
    caller.limit(&mut page)?;
    Ok(Json(dispatch.list(&page).await?).into_response())
}

async fn download(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> ApiResult {
    let id = parse("batchId", &id, BatchId::parse)?;
    dispatch.check_caller(&caller, &id).await?;
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

async fn links(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path((id, target)): Path<(String, String)>,
) -> ApiResult {
    let (clip, action) = split_action(&target);
    if action != "links" {
        return Err(no_action(action, ":links").into());
    }
    let (id, clip) = (parse("batchId", &id, BatchId::parse)?, parse("clipId", clip, ClipId::parse)?);
    dispatch.check_caller(&caller, &id).await?;
    // A link may end within the hour, and is for this caller alone.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(dispatch.links(&id, &clip).await?)).into_response())
}

async fn act_on_batch(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<String>,
) -> ApiResult {
    let (id, action) = parse_action(&target)?;
    apply_action(&dispatch, &caller, id, None, action).await
}

async fn act_on_clip(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path((id, target)): Path<(String, String)>,
) -> ApiResult {
    let (clip, action) = parse_action(&target)?;
    apply_action(&dispatch, &caller, &id, Some(clip), action).await
}

fn parse_action(target: &str) -> Result<(&str, Action), Refusal> {
    match split_action(target) {
        (id, "cancel") => Ok((id, Action::Cancel)),
        (id, "retry") => Ok((id, Action::Retry(RetryFilter::Ended))),
        (_, other) => Err(no_action(other, ":cancel or :retry")),
    }
}
