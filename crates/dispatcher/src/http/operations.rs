//! The surface of operations: dead letters and the fleet.

use super::{Action, ApiResult, apply_action, no_action, parse, split_action};
use crate::{
    authentication::Caller, control::RetryFilter, dispatch::Dispatch, fleet::control_json, refusal::Refusal,
    work::WorkCache,
};
use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use clipfleet_contract::documents::fleet_control::FleetControl;
use clipfleet_domain::ids::BatchId;
use serde_json::json;
use std::{collections::HashMap, sync::Arc};

pub(super) fn routes() -> Router<Arc<Dispatch>> {
    Router::new()
        .route("/v1/dead-letters", get(dead_letters))
        .route("/v1/dead-letters/{batch}", get(dead_letters_of).post(redrive_batch))
        .route("/v1/dead-letters/{batch}/clips/{clip}", post(redrive_clip))
        .route("/v1/fleet", get(fleet))
        .route("/v1/fleet/work", get(work))
        .route("/v1/fleet:pause", post(pause))
        .route("/v1/fleet:resume", post(resume))
        .layer(Extension(Arc::<WorkCache>::default()))
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

async fn redrive_batch(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<String>,
) -> ApiResult {
    let id = parse_redrive(&target)?;
    apply_action(&dispatch, &caller, id, None, Action::Retry(RetryFilter::DeadLettered)).await
}

async fn redrive_clip(
    State(dispatch): State<Arc<Dispatch>>,
    Extension(caller): Extension<Caller>,
    Path((id, target)): Path<(String, String)>,
) -> ApiResult {
    let clip = parse_redrive(&target)?;
    apply_action(&dispatch, &caller, &id, Some(clip), Action::Retry(RetryFilter::DeadLettered)).await
}

fn parse_redrive(target: &str) -> Result<&str, Refusal> {
    match split_action(target) {
        (id, "redrive") => Ok(id),
        (_, other) => Err(no_action(other, ":redrive")),
    }
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
