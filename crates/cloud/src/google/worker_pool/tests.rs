//! Tests against a fake of the Admin API: the pool with its etag, a change under an update mask as an operation, and
//! errors in Google's JSON form.

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
struct Fake {
    count: i64,
    etag: u64,
    /// Statuses of the changes that are refused before one is accepted.
    refusals: VecDeque<u16>,
    /// The error of every change.
    change_error: Option<(u16, &'static str, &'static str)>,
    /// Whether operations may not be read.
    operations_denied: bool,
    /// The error of the next change's operation.
    operation_error: Option<Value>,
    /// Reads of an operation until it is done.
    pending_reads: u32,
    /// Whether another writer changes the pool between a read and a write.
    concurrent_writer: bool,
    changes: Vec<(HashMap<String, String>, Value)>,
    reads: u32,
}

type Shared = Arc<Mutex<Fake>>;

fn refusal(status: u16) -> Response {
    let code = match status {
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        500 => "INTERNAL",
        _ => "UNAVAILABLE",
    };
    let body = json!({"error": {"code": status, "message": format!("refused: {code}."), "status": code}});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn read(State(fake): State<Shared>, Path(pool): Path<String>) -> Response {
    let mut fake = fake.lock();
    fake.reads += 1;
    if pool != "clipfleet-worker-gpu" {
        let body = json!({"error": {"code": 404, "message": "Resource 'x' was not found", "status": "NOT_FOUND"}});
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    let shown = json!({"name": NAME, "etag": fake.etag.to_string(), "generation": "3", "launchStage": "GA",
                       "scaling": {"manualInstanceCount": fake.count},
                       "template": {"containers": [{"image": "i", "resources": {"limits": {"cpu": "8"}}}]}});
    if fake.concurrent_writer {
        fake.etag += 1;
    }
    Json(shown).into_response()
}

async fn change(
    State(fake): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    let mut fake = fake.lock();
    fake.changes.push((query, body.clone()));
    if let Some(status) = fake.refusals.pop_front() {
        return refusal(status);
    }
    if let Some((status, code, message)) = fake.change_error {
        let body = json!({"error": {"code": status, "message": message, "status": code}});
        return (StatusCode::from_u16(status).unwrap(), Json(body)).into_response();
    }
    if body["etag"].as_str() != Some(fake.etag.to_string().as_str()) {
        return refusal(409);
    }
    fake.count = body["scaling"]["manualInstanceCount"].as_i64().unwrap();
    fake.etag += 1;
    Json(json!({"name": "projects/p/locations/europe-west4/operations/o1", "done": false})).into_response()
}

async fn operation(State(fake): State<Shared>) -> Response {
    let mut fake = fake.lock();
    if fake.operations_denied {
        return refusal(403);
    }
    let name = "projects/p/locations/europe-west4/operations/o1";
    if fake.pending_reads > 0 {
        fake.pending_reads -= 1;
        return Json(json!({"name": name})).into_response();
    }
    Json(match fake.operation_error.take() {
        Some(error) => json!({"name": name, "done": true, "error": error}),
        None => json!({"name": name, "done": true, "response":
                       {"@type": "type.googleapis.com/google.cloud.run.v2.WorkerPool", "name": NAME}}),
    })
    .into_response()
}

async fn start(fake: Fake) -> (WorkerPool, Shared) {
    let fake = Arc::new(Mutex::new(fake));
    let router = Router::new()
        .route("/v2/projects/p/locations/europe-west4/workerPools/{pool}", get(read).patch(change))
        .route("/v2/projects/p/locations/europe-west4/operations/o1", get(operation))
        .with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (WorkerPool::connect(NAME, Some(&address)).await.unwrap(), fake)
}

/// The pool's size, and the number of requested changes.
fn state(fake: &Shared) -> (i64, usize) {
    let fake = fake.lock();
    (fake.count, fake.changes.len())
}

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_size_is_read_and_set_and_nothing_else_changes() {
    let (pool, fake) = start(Fake { count: 2, pending_reads: 2, ..Fake::default() }).await;
    assert_eq!(pool.instances().await.unwrap(), 2);
    pool.set_instances(5, WITHIN).await.unwrap();
    assert_eq!(pool.instances().await.unwrap(), 5);
    let fake = fake.lock();
    let [(query, body)] = &fake.changes[..] else { panic!("{:?}", fake.changes) };
    assert_eq!(query["updateMask"], "scaling.manualInstanceCount");
    assert_eq!(query.get("forceNewRevision").map_or("false", String::as_str), "false");
    assert_eq!(body, &json!({"name": NAME, "etag": "0", "scaling": {"manualInstanceCount": 5}}));
    assert_eq!(fake.pending_reads, 0, "the operation was awaited");
}

#[tokio::test]
async fn the_size_can_be_zero() {
    let (pool, fake) = start(Fake { count: 2, ..Fake::default() }).await;
    pool.set_instances(0, WITHIN).await.unwrap();
    assert_eq!(fake.lock().changes[0].1["scaling"], json!({"manualInstanceCount": 0}));
    assert_eq!(pool.instances().await.unwrap(), 0);
}

#[tokio::test]
async fn a_call_to_an_overloaded_service_is_retried() {
    let refusals = [429, 503, 500].into();
    let (pool, fake) = start(Fake { refusals, ..Fake::default() }).await;
    pool.set_instances(3, WITHIN).await.unwrap();
    assert_eq!(pool.instances().await.unwrap(), 3);
    assert_eq!(state(&fake), (3, 4));
}

#[tokio::test]
async fn a_concurrent_change_is_a_conflict_and_is_not_overwritten() {
    let (pool, fake) = start(Fake { count: 1, concurrent_writer: true, ..Fake::default() }).await;
    let error = pool.set_instances(3, WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(state(&fake), (1, 1));
    assert!(error.to_string().starts_with(&format!("set the size of {NAME} to 3: ")), "{error}");
}

#[tokio::test]
async fn a_permanent_error_is_returned_at_once() {
    let (pool, fake) = start(Fake { refusals: [403].into(), ..Fake::default() }).await;
    let error = pool.set_instances(3, WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), fake.lock().changes.len()), (ErrorKind::Denied, 1));
    let address = "127.0.0.1:1";
    let (other, _) = start(Fake::default()).await;
    let missing = WorkerPool { name: NAME.replace("gpu", "tpu"), ..other };
    assert_eq!(missing.instances().await.unwrap_err().kind(), ErrorKind::NotFound);
    for name in ["clipfleet-worker-gpu", "projects/p/locations/l/services/s", "projects//locations/l/workerPools/w"] {
        assert_eq!(WorkerPool::connect(name, Some(address)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_failed_operation_returns_its_error() {
    let error = json!({"code": 8, "message": "Quota exceeded for total allowable GPUs."});
    let (pool, _) = start(Fake { operation_error: Some(error), ..Fake::default() }).await;
    let error = pool.set_instances(9, WITHIN).await.unwrap_err();
    assert!(error.to_string().ends_with("Quota exceeded for total allowable GPUs"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Quota);
}

#[tokio::test]
async fn an_operation_that_may_not_be_read_has_been_accepted() {
    let (pool, fake) = start(Fake { operations_denied: true, ..Fake::default() }).await;
    pool.set_instances(2, WITHIN).await.unwrap();
    assert_eq!(state(&fake), (2, 1));
}

#[tokio::test]
async fn quota_conflict_and_precondition_are_told_apart() {
    let cases = [
        // As reported by users of new projects.
        (
            400,
            "INVALID_ARGUMENT",
            "Max instances must be set to 2 or fewer in order to set the requested total GPUs. Quota violated: \
             NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion requested: 3 allowed: 2",
            ErrorKind::Quota,
        ),
        (400, "FAILED_PRECONDITION", "Quota violated: MemAllocPerProjectRegion", ErrorKind::Quota),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded for total allowable CPU per project per region.", ErrorKind::Quota),
        (400, "FAILED_PRECONDITION", "The revision is not ready.", ErrorKind::Invalid),
        (400, "INVALID_ARGUMENT", "Unknown field.", ErrorKind::Invalid),
        (409, "ABORTED", "Conflict for resource: version '1' was specified.", ErrorKind::Conflict),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute'.",
            ErrorKind::Unavailable,
        ),
    ];
    for (status, code, message, kind) in cases {
        let (pool, fake) = start(Fake { change_error: Some((status, code, message)), ..Fake::default() }).await;
        let error = pool.set_instances(3, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code} {message}: {error}");
        assert_eq!(fake.lock().count, 0);
    }
}

#[tokio::test]
async fn a_slow_operation_is_not_awaited_to_its_end() {
    let (pool, fake) = start(Fake { pending_reads: 1_000, ..Fake::default() }).await;
    let pool = WorkerPool { watch_timeout: Duration::from_secs(2), ..pool };
    pool.set_instances(4, WITHIN).await.unwrap();
    assert!(fake.lock().pending_reads > 0, "the operation has not ended");
    assert_eq!(state(&fake), (4, 1));
}

#[tokio::test]
async fn a_change_fails_in_time_if_the_service_stays_overloaded() {
    let refusals = std::iter::repeat_n(503, 1_000).collect();
    let (pool, fake) = start(Fake { refusals, ..Fake::default() }).await;
    let started = Instant::now();
    let error = pool.set_instances(3, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < retry::RETRY_LIMIT, "limited by `within`: {:?}", started.elapsed());
    assert_eq!(fake.lock().count, 0);
}
