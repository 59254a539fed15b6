//! The HTTP API.
//!
//! ```text
//! POST /v1/batches                           202 accepted · 400 invalid · 409 id used for another request
//! GET  /v1/batches/{batch}                   200 · 404
//! POST /v1/batches/{batch}:cancel|retry      202 · 404
//! POST /v1/batches/{batch}/clips/{clip}:cancel|retry   202 · 404 · 409 not in a state that can be retried
//! ```

use crate::accept::{Dispatch, Refusal};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clipfleet_contract::batch;
use clipfleet_domain::{
    failure::{Failure, FieldViolation},
    ids::{BatchId, ClipId},
    limits::MAX_REQUEST_BYTES,
};
use futures::StreamExt as _;
use serde_json::json;
use std::sync::Arc;

/// The routes of the API, without the health endpoints.
pub fn routes(dispatch: Arc<Dispatch>) -> Router {
    Router::new()
        .route("/v1/batches", post(accept))
        .route("/v1/batches/{batch}", get(show).post(act_on_batch))
        .route("/v1/batches/{batch}/clips/{clip}", post(act_on_clip))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .with_state(dispatch)
}

async fn no_route(method: axum::http::Method, uri: axum::http::Uri) -> Refused {
    let message = format!("there is no {method} {}; see the README for the routes", uri.path());
    Refused(Refusal::NotFound(Failure::permanent("no_such_route", message)))
}

type Answer = Result<Response, Refused>;

async fn accept(State(dispatch): State<Arc<Dispatch>>, body: Body) -> Answer {
    let body = read(body).await.map_err(Refusal::Invalid)?;
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
            |error| Failure::permanent("malformed_request", format!("the request could not be read: {error}"));
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
    Err(Failure::permanent("request_too_large", format!("the request must have at most {MAX_REQUEST_BYTES} bytes")))
}

async fn show(State(dispatch): State<Arc<Dispatch>>, Path(id): Path<String>) -> Answer {
    let id = parse("batchId", &id, BatchId::parse)?;
    Ok(Json(dispatch.show(&id).await?).into_response())
}

async fn act_on_batch(State(dispatch): State<Arc<Dispatch>>, Path(target): Path<String>) -> Answer {
    let (id, verb) = split_verb(&target);
    act(&dispatch, id, None, verb).await
}

async fn act_on_clip(State(dispatch): State<Arc<Dispatch>>, Path((id, target)): Path<(String, String)>) -> Answer {
    let (clip, verb) = split_verb(&target);
    act(&dispatch, &id, Some(clip), verb).await
}

fn split_verb(target: &str) -> (&str, &str) {
    target.rsplit_once(':').unwrap_or((target, ""))
}

async fn act(dispatch: &Dispatch, batch: &str, clip: Option<&str>, verb: &str) -> Answer {
    let batch = parse("batchId", batch, BatchId::parse)?;
    let clip = clip.map(|clip| parse("clipId", clip, ClipId::parse)).transpose()?;
    let clips = match verb {
        "cancel" => dispatch.cancel(&batch, clip.as_ref()).await?,
        "retry" => dispatch.retry(&batch, clip.as_ref()).await?,
        other => {
            let message = format!("there is no action {other:?}; use :cancel or :retry");
            return Err(Refusal::NotFound(Failure::permanent("no_such_route", message)).into());
        }
    };
    let clips: Vec<_> = clips.iter().map(|clip| json!({"clipId": clip.as_str()})).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({"batchId": batch.as_str(), "clips": clips}))).into_response())
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
            Refusal::Invalid(failure) if failure.code == "request_too_large" => {
                (StatusCode::PAYLOAD_TOO_LARGE, failure)
            }
            Refusal::Invalid(failure) => (StatusCode::BAD_REQUEST, failure),
            Refusal::Conflict(failure) => (StatusCode::CONFLICT, failure),
            Refusal::NotFound(failure) => (StatusCode::NOT_FOUND, failure),
            Refusal::Unavailable(error) => {
                tracing::warn!(%error, "request failed");
                let message = format!("failed to {error}; try again");
                (StatusCode::SERVICE_UNAVAILABLE, Failure::transient("unavailable", message))
            }
        };
        let details: Vec<_> =
            failure.details.iter().map(|bad| json!({"field": bad.field, "reason": bad.reason})).collect();
        let error = json!({"code": failure.code, "message": failure.message, "details": details});
        (status, Json(json!({ "error": error }))).into_response()
    }
}
