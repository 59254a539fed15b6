//! The single port: gRPC (h2c), JSON (HTTP/1.1 or h2c) and the browsers' channels, distinguished by their paths.

use crate::{
    connection::ConnectionHandle,
    error::{error_body, http_code, json_response, json_result, stopping},
    faults::{self, Faults},
    firestore::{self, Firestore},
    limits,
    pubsub::{self, PubSub},
    storage::{self, Storage},
    unread, url,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::any,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The services that answer requests.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) pubsub: Arc<PubSub>,
    pub(crate) firestore: Arc<Firestore>,
    pub(crate) storage: Arc<Storage>,
    pub(crate) faults: Arc<Faults>,
    /// Cancelled when requests still in progress must end.
    pub(crate) abort: CancellationToken,
    /// Whether web pages from other machines may call, too.
    pub(crate) any_origin: bool,
}

/// The whole server as one service.
pub(crate) fn router(services: Services) -> Router {
    let inject_faults = middleware::from_fn_with_state(services.clone(), inject_faults);
    let guard = middleware::from_fn_with_state(services.clone(), guard);
    Router::new()
        .fallback(dispatch)
        .layer(inject_faults)
        .route(faults::PATH, any(manage_faults))
        .layer(guard)
        .layer(middleware::from_fn(unread::drain_request))
        .with_state(services)
}

/// The routes of Cloud Storage, for another server. Fault rules do not apply there: they break connections, which that
/// server owns.
pub(crate) fn storage_routes(storage: Arc<Storage>, abort: CancellationToken) -> Router {
    // With their version: without it, they would also be paths of a bucket named `storage`, `upload` or `download`.
    let paths = ["/storage/v1/{*path}", "/upload/storage/v1/{*path}", "/download/storage/v1/{*path}", "/v0/b/{*path}"];
    let routes = paths.into_iter().fold(Router::new(), |routes, path| routes.route(path, any(mounted_storage)));
    routes
        .route_layer(middleware::from_fn_with_state(abort, end_on_abort))
        .route_layer(middleware::from_fn(unread::drain_request))
        .with_state(storage)
}

async fn mounted_storage(State(storage): State<Arc<Storage>>, request: Request) -> Response {
    storage::mounted_rest(storage, request).await
}

/// Ends a request of another server when this one stops.
async fn end_on_abort(State(abort): State<CancellationToken>, request: Request, next: Next) -> Response {
    run_until_abort(&abort, request, next).await
}

async fn run_until_abort(abort: &CancellationToken, request: Request, next: Next) -> Response {
    tokio::select! {
        response = next.run(request) => response,
        () = abort.cancelled() => {
            let status = stopping();
            json_response(http_code(status.code()).0, &error_body(&status))
        }
    }
}

/// Applies the fault rules to a request and its response.
async fn inject_faults(
    State(services): State<Services>,
    ConnectInfo(connection): ConnectInfo<ConnectionHandle>,
    request: Request,
    next: Next,
) -> Response {
    faults::inject(&services.faults, &connection, request, next).await
}

/// Shows and changes the fault rules. This route is exempt from them.
async fn manage_faults(State(services): State<Services>, request: Request) -> Response {
    let faults = &services.faults;
    let method = request.method().clone();
    let changed = match method {
        Method::GET => Ok(()),
        Method::PUT => match axum::body::to_bytes(request.into_body(), limits::MAX_JSON_BODY_BYTES).await {
            Ok(rules) => faults.set(&rules).map_err(|bad| Status::invalid_argument(bad.to_string())),
            Err(_) => Err(Status::invalid_argument("the rules did not arrive")),
        },
        Method::DELETE => {
            faults.clear();
            Ok(())
        }
        _ => Err(Status::unimplemented(format!("{method} {}", faults::PATH))),
    };
    json_result(changed.map(|()| faults.show()))
}

/// Wraps every request: checks the origin of browsers, and ends the request when the server stops.
async fn guard(State(services): State<Services>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    if let Some(origin) = &origin
        && !services.any_origin
        && !is_local(origin)
    {
        // A page from elsewhere that runs in the user's browser does not act for the user.
        let status = Status::permission_denied("this server answers only web pages of this machine");
        return json_response(http_code(status.code()).0, &error_body(&status));
    }
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key("access-control-request-method");
    let requested_headers = request.headers().get("access-control-request-headers").cloned();
    let mut response =
        if preflight { Response::new(Body::empty()) } else { run_until_abort(&services.abort, request, next).await };
    if let Some(origin) = origin {
        allow_origin(response.headers_mut(), origin, requested_headers);
    }
    response
}

/// Whether an `Origin` is a page of this machine, on any port.
fn is_local(origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || host == "localhost" || host.ends_with(".localhost")
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue, requested_headers: Option<HeaderValue>) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let exposed = "X-HTTP-Session-Id, X-Client-Wire-Protocol, Location, Range, Content-Range, ETag, x-goog-generation, \
                   x-goog-metageneration, x-goog-hash, x-goog-stored-content-length";
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if let Some(requested_headers) = requested_headers {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested_headers);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    }
}

async fn dispatch(State(services): State<Services>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let channel = path.strip_prefix("/google.firestore.v1.Firestore/").and_then(|below| below.strip_suffix("/channel"));
    if let Some(name) = channel {
        return firestore::channel(services.firestore, name, request).await;
    }
    if let Some((service, method)) = grpc_method(&path)
        && request.method() == Method::POST
    {
        return match service {
            "google.pubsub.v1.Publisher" => pubsub::publisher(services.pubsub, method, request).await,
            "google.pubsub.v1.Subscriber" => pubsub::subscriber(services.pubsub, method, request).await,
            "google.firestore.v1.Firestore" => firestore::firestore(services.firestore, method, request).await,
            "google.storage.v2.Storage" => storage::storage(services.storage, method, request).await,
            _ => crate::grpc::unimplemented(&request),
        };
    }
    if let Some(path) = path.strip_prefix("/v1/") {
        return json_result(json_call(&services, &url::decode(path), request).await);
    }
    if path == "/" && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Response::new(Body::from("clipfleet-emulator: Pub/Sub, Firestore and Cloud Storage\n"));
    }
    storage::rest(services.storage, request).await
}

/// Matches `/google.some.v1.Service/Method`. No bucket can have such a name.
fn grpc_method(path: &str) -> Option<(&str, &str)> {
    path.trim_start_matches('/')
        .split_once('/')
        .filter(|(service, _)| service.starts_with("google.") && !service.ends_with('.'))
}

/// Pub/Sub and Firestore share `/v1/projects/P/`; the next segment distinguishes them.
async fn json_call(services: &Services, path: &str, request: Request) -> Result<serde_json::Value, Status> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, limits::MAX_JSON_BODY_BYTES).await.map_err(|_| {
        Status::invalid_argument(format!("the request is larger than {} bytes", limits::MAX_JSON_BODY_BYTES))
    })?;
    let query = parts.uri.query().unwrap_or_default();
    if path.split('/').nth(2) == Some("databases") {
        firestore::rest(&services.firestore, &parts.method, path, query, &body).await
    } else {
        pubsub::rest(&services.pubsub, &parts.method, path, query, &body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_are_local() {
        for local in ["http://localhost:3000", "http://127.0.0.1", "https://app.localhost:1", "http://[::1]:5173"] {
            assert!(is_local(&HeaderValue::from_static(local)), "{local}");
        }
        for remote in ["null", "https://example.com", "http://localhost.example.com", "http://10.0.0.1", "file://"] {
            assert!(!is_local(&HeaderValue::from_static(remote)), "{remote}");
        }
    }
}
