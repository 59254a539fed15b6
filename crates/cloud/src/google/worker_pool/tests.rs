//! Against a double that answers as the Admin API does: the pool with its etag, a change under an update mask as an operation, and errors in
//! Google's JSON form.

use super::*;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::time::Instant;

const NAME: &str = "projects/p/locations/europe-west4/workerPools/clipfleet-worker-gpu";

#[derive(Default)]
struct Double {
    count: i64,
    etag: u64,
    /// Answers to changes that come before one is taken.
    refusals: VecDeque<u16>,
    /// What the operation of the next change ends with.
    operation_error: Option<Value>,
    /// Looks at an operation before it is done.
    slowness: u32,
    /// The pool changes by another's hand between reading and writing.
    disturbed: bool,
    changes: Vec<(HashMap<String, String>, Value)>,
    reads: u32,
}

type Shared = Arc<Mutex<Double>>;

fn refusal(status: u16) -> Response {
    let code = match status {
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        500 => "INTERNAL",
        _ => "UNAVAILABLE",
    };
    let body = json!({"error": {"code": status, "message": format!("told so: {code}."), "status": code}});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn read(State(double): State<Shared>, Path(pool): Path<String>) -> Response {
    let mut double = double.lock();
    double.reads += 1;
    if pool != "clipfleet-worker-gpu" {
        let body = json!({"error": {"code": 404, "message": "Resource 'x' was not found", "status": "NOT_FOUND"}});
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    let shown = json!({"name": NAME, "etag": double.etag.to_string(), "generation": "3", "launchStage": "GA",
                       "scaling": {"manualInstanceCount": double.count},
                       "template": {"containers": [{"image": "i", "resources": {"limits": {"cpu": "8"}}}]}});
    if double.disturbed {
        double.etag += 1;
    }
    Json(shown).into_response()
}

async fn change(
    State(double): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    let mut double = double.lock();
    double.changes.push((query, body.clone()));
    if let Some(status) = double.refusals.pop_front() {
        return refusal(status);
    }
    if body["etag"].as_str() != Some(double.etag.to_string().as_str()) {
        return refusal(409);
    }
    double.count = body["scaling"]["manualInstanceCount"].as_i64().unwrap();
    double.etag += 1;
    Json(json!({"name": "projects/p/locations/europe-west4/operations/o1", "done": false})).into_response()
}

async fn operation(State(double): State<Shared>) -> Json<Value> {
    let mut double = double.lock();
    let name = "projects/p/locations/europe-west4/operations/o1";
    if double.slowness > 0 {
        double.slowness -= 1;
        return Json(json!({"name": name}));
    }
    Json(match double.operation_error.take() {
        Some(error) => json!({"name": name, "done": true, "error": error}),
        None => json!({"name": name, "done": true, "response":
                       {"@type": "type.googleapis.com/google.cloud.run.v2.WorkerPool", "name": NAME}}),
    })
}

async fn start(double: Double) -> (WorkerPool, Shared) {
    let double = Arc::new(Mutex::new(double));
    let router = Router::new()
        .route("/v2/projects/p/locations/europe-west4/workerPools/{pool}", get(read).patch(change))
        .route("/v2/projects/p/locations/europe-west4/operations/o1", get(operation))
        .with_state(Arc::clone(&double));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (WorkerPool::connect(NAME, Some(&address)).await.unwrap(), double)
}

/// The pool's size, and the changes asked for.
fn seen(double: &Shared) -> (i64, usize) {
    let double = double.lock();
    (double.count, double.changes.len())
}

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_size_is_read_and_set_and_nothing_else_is_touched() {
    let (pool, double) = start(Double { count: 2, slowness: 2, ..Double::default() }).await;
    assert_eq!(pool.instances().await.unwrap(), 2);
    pool.set_instances(5, WITHIN).await.unwrap();
    assert_eq!(pool.instances().await.unwrap(), 5);
    let double = double.lock();
    let [(query, body)] = &double.changes[..] else { panic!("{:?}", double.changes) };
    assert_eq!(query["updateMask"], "scaling.manualInstanceCount");
    assert_eq!(query.get("forceNewRevision").map_or("false", String::as_str), "false");
    assert_eq!(body, &json!({"name": NAME, "etag": "0", "scaling": {"manualInstanceCount": 5}}));
    assert_eq!(double.slowness, 0, "the operation was waited for");
}

#[tokio::test]
async fn none_at_all_can_be_asked_for() {
    let (pool, double) = start(Double { count: 2, ..Double::default() }).await;
    pool.set_instances(0, WITHIN).await.unwrap();
    assert_eq!(double.lock().changes[0].1["scaling"], json!({"manualInstanceCount": 0}));
    assert_eq!(pool.instances().await.unwrap(), 0);
}

#[tokio::test]
async fn an_overloaded_service_is_asked_again() {
    let refusals = [429, 503, 500].into();
    let (pool, double) = start(Double { refusals, ..Double::default() }).await;
    pool.set_instances(3, WITHIN).await.unwrap();
    assert_eq!(pool.instances().await.unwrap(), 3);
    assert_eq!(seen(&double), (3, 4));
}

#[tokio::test]
async fn a_pool_that_someone_else_changed_is_a_conflict_and_is_not_written() {
    let (pool, double) = start(Double { count: 1, disturbed: true, ..Double::default() }).await;
    let error = pool.set_instances(3, WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(seen(&double), (1, 1));
    assert!(error.to_string().starts_with(&format!("set the size of {NAME} to 3: ")), "{error}");
}

#[tokio::test]
async fn what_waiting_cannot_mend_is_told_at_once() {
    let (pool, double) = start(Double { refusals: [403].into(), ..Double::default() }).await;
    let error = pool.set_instances(3, WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), double.lock().changes.len()), (ErrorKind::Denied, 1));
    let address = "127.0.0.1:1";
    let (other, _) = start(Double::default()).await;
    let missing = WorkerPool { name: NAME.replace("gpu", "tpu"), ..other };
    assert_eq!(missing.instances().await.unwrap_err().kind(), ErrorKind::NotFound);
    for name in ["clipfleet-worker-gpu", "projects/p/locations/l/services/s", "projects//locations/l/workerPools/w"] {
        assert_eq!(WorkerPool::connect(name, Some(address)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn an_operation_that_fails_says_why() {
    let error = json!({"code": 8, "message": "Quota exceeded for total allowable GPUs."});
    let (pool, _) = start(Double { operation_error: Some(error), ..Double::default() }).await;
    let error = pool.set_instances(9, WITHIN).await.unwrap_err();
    assert!(error.to_string().ends_with("Quota exceeded for total allowable GPUs"), "{error}");
}

#[tokio::test]
async fn an_operation_that_takes_long_is_left_to_the_service() {
    let (pool, double) = start(Double { slowness: 1_000, ..Double::default() }).await;
    let pool = WorkerPool { watched: Duration::from_secs(2), ..pool };
    pool.set_instances(4, WITHIN).await.unwrap();
    assert!(double.lock().slowness > 0, "it was not waited for to its end");
    assert_eq!(seen(&double), (4, 1));
}

#[tokio::test]
async fn a_service_that_stays_overloaded_is_given_up_in_time() {
    let refusals = std::iter::repeat_n(503, 1_000).collect();
    let (pool, double) = start(Double { refusals, ..Double::default() }).await;
    let started = Instant::now();
    let error = pool.set_instances(3, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        started.elapsed() < retry::RETRY_LIMIT,
        "as long as a call that may take its time: {:?}",
        started.elapsed()
    );
    assert_eq!(double.lock().count, 0);
}
