//! The HTTP API: two surfaces, requests (batches, clips and their links) and operations (dead letters and the fleet).
//!
//! ```text
//! GET  /v1/batches?ownerUid=&projectId=&status=&pageSize=&pageToken=   200 a page, the latest first · 400
//! POST /v1/batches                           202 accepted · 400 invalid · 409 id used for another request
//! GET  /v1/batches/{batch}                   200 · 404
//! GET  /v1/batches/{batch}/clips.zip         200 the completed clips · 404 · 409 none is completed
//! POST /v1/batches/{batch}:cancel|retry      202 · 404
//! POST /v1/batches/{batch}/clips/{clip}:cancel|retry   202 · 404 · 409 not in a state that can be retried
//! GET  /v1/batches/{batch}/clips/{clip}:links   200 links for now · 404 · 409 not completed, or links are disabled
//!
//! GET  /v1/dead-letters?after={batch}        200 a page of dead letters
//! GET  /v1/dead-letters/{batch}              200 the dead letters of a batch
//! POST /v1/dead-letters/{batch}:redrive      202 · 404; /clips/{clip}:redrive for one, 409 if it is not a dead letter
//! GET  /v1/fleet                             200 whether the fleet is paused, and the pools that scale themselves
//! GET  /v1/fleet/work                        200 queued clips, clips in progress, and their workers
//! POST /v1/fleet:pause|resume                200
//! ```
//!
//! Where callers are authenticated, every route answers 401 to a caller without a valid token. An owner's batches do
//! not exist for other owners (404), and operations are for operators (403).

mod operations;
mod requests;

use crate::{
    authentication::{Authentication, Caller},
    control::RetryFilter,
    dispatch::Dispatch,
    refusal::Refusal,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use clipfleet_domain::{
    failure::{Code, Failure, FieldViolation},
    ids::{BatchId, ClipId},
};
use clipfleet_service::trace;
use serde_json::json;
use std::{str::FromStr, sync::Arc};
use tokio::sync::Semaphore;

/// Concurrent requests; further ones wait. Each may hold a body of 2 MiB, and a few keep the publisher busy.
const MAX_CONCURRENT_REQUESTS: usize = 64;

/// Which routes are served. Surfaces can be served by different services, so that their callers reach no others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Surface {
    /// Both.
    #[default]
    All,
    /// Batches, clips and their links.
    Requests,
    /// Dead letters and the fleet.
    Operations,
}

impl FromStr for Surface {
    type Err = String;

    /// The error reads after the setting's name.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "requests" => Ok(Self::Requests),
            "operations" => Ok(Self::Operations),
            other => Err(format!("must be all, requests or operations, got {other:?}")),
        }
    }
}

/// How the API is served.
#[derive(Default)]
pub struct Api {
    /// Which routes.
    pub surface: Surface,
    /// Who calls; `None` if that is checked in front of the dispatcher, and every caller may do everything.
    pub authentication: Option<Authentication>,
}

/// The routes of the API, without the health endpoints.
pub fn routes(dispatch: Arc<Dispatch>, api: Api) -> Router {
    let Api { surface, authentication } = api;
    let requests = requests::routes();
    let operations = operations::routes().route_layer(from_fn(operators_only));
    let served = match surface {
        Surface::All => requests.merge(operations),
        Surface::Requests => requests,
        Surface::Operations => operations,
    };
    served
        .route_layer(from_fn_with_state(Arc::new(authentication), authenticate))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(from_fn_with_state(Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)), limit_concurrency))
        .with_state(dispatch)
}

/// Finds out who calls, before anything of the request is read.
async fn authenticate(
    State(authentication): State<Arc<Option<Authentication>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match &*authentication {
        Some(authentication) => authentication.caller(request.headers()).await,
        None => Ok(Caller::Operator),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => ApiError(refusal).into_response(),
    }
}

async fn operators_only(request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>().map_or(Ok(()), Caller::check_operator) {
        Ok(()) => next.run(request).await,
        Err(refusal) => ApiError(refusal).into_response(),
    }
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

fn split_action(target: &str) -> (&str, &str) {
    target.rsplit_once(':').unwrap_or((target, ""))
}

/// An action on clips.
enum Action {
    Cancel,
    Retry(RetryFilter),
}

async fn apply_action(
    dispatch: &Dispatch,
    caller: &Caller,
    batch: &str,
    clip: Option<&str>,
    action: Action,
) -> ApiResult {
    let batch = parse("batchId", batch, BatchId::parse)?;
    let clip = clip.map(|clip| parse("clipId", clip, ClipId::parse)).transpose()?;
    dispatch.check_caller(caller, &batch).await?;
    let clips = match action {
        Action::Cancel => dispatch.cancel(&batch, clip.as_ref()).await?,
        Action::Retry(filter) => dispatch.retry(&batch, clip.as_ref(), filter).await?,
    };
    let clips: Vec<_> = clips.iter().map(|clip| json!({"clipId": clip.as_str()})).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({"batchId": batch.as_str(), "clips": clips}))).into_response())
}

fn no_action(action: &str, known: &str) -> Refusal {
    let message = format!("there is no action {action:?}; use {known}");
    Refusal::NotFound(Failure::new(Code::NoSuchRoute, message))
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
            Refusal::Unauthenticated(failure) => (StatusCode::UNAUTHORIZED, failure),
            Refusal::Forbidden(failure) => (StatusCode::FORBIDDEN, failure),
            Refusal::Unavailable(error) => {
                tracing::warn!(%error, "request failed");
                let message = format!("failed to {error}; try again");
                (StatusCode::SERVICE_UNAVAILABLE, Failure::new(Code::Unavailable, message))
            }
        };
        let details: Vec<_> =
            failure.details.iter().map(|bad| json!({"field": bad.field, "reason": bad.reason})).collect();
        let error = json!({"code": failure.code.as_str(), "message": failure.message, "details": details});
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
