//! WebChannel: how the Firebase web SDK carries Firestore's streams, because browsers cannot use gRPC. It is a
//! transport in front of [`streams`](super::streams), which does not depend on it.
//!
//! ```text
//!   POST ?VER=8            handshake: a new session, and its first messages ──> [[0,["c",SID,"",8,14,30000]]]
//!   POST ?SID&AID          more messages; what arrived is acknowledged     ──> [GET open?, last array, unacknowledged]
//!   GET  ?SID&AID&RID=rpc  held open: arrays as they come                  ──> [[1,[{response}]],[2,["noop"]],...] ...
//!   any  ?SID&TYPE=terminate
//! ```
//! A response consists of chunks of `LENGTH\nJSON`. Arrays are numbered and kept until a later request acknowledges
//! them (`AID`). Messages are numbered and processed once, so a browser may repeat a failed request. An error of the
//! stream is sent as an array and reaches the SDK's user with its code. An invalid request gets HTTP 400 with the name
//! of the wrong parameter.

mod arrays;
mod form;
mod messages;
mod session;
mod sessions;

pub(super) use sessions::Sessions;

use super::{Firestore, streams};
use crate::{
    error::{error_body, http_code, json_response},
    limits,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, header},
    response::Response,
};
use form::{Messages, Parameters};
use futures::{StreamExt, TryStreamExt};
use session::Session;
use std::sync::Arc;
use tonic::Status;

/// A stream that browsers can open.
#[derive(Debug, Clone, Copy)]
enum Service {
    Listen,
    Write,
}

/// Answers a request to `/google.firestore.v1.Firestore/{name}/channel`.
pub(crate) async fn channel(firestore: Arc<Firestore>, name: &str, request: Request) -> Response {
    let service = match name {
        "Listen" => Ok(Service::Listen),
        "Write" => Ok(Service::Write),
        _ => Err(Status::unimplemented(format!("{name} has no channel on this local server"))),
    };
    let result = match service {
        Ok(service) => respond(&firestore, service, request).await,
        Err(status) => Err(status),
    };
    result.unwrap_or_else(|status| json_response(http_code(status.code()).0, &error_body(&status)))
}

async fn respond(firestore: &Arc<Firestore>, service: Service, request: Request) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default());
    let session = parameters.session().map(|id| firestore.channels.find(id)).transpose()?;
    if parameters.terminates() {
        let session =
            session.ok_or_else(|| Status::invalid_argument("the parameter SID is missing; it says what ends"))?;
        session.close();
        return Ok(text(Body::empty()));
    }
    match (parts.method, session) {
        (Method::GET, Some(session)) => {
            Ok(text(Body::from_stream(session.open_back_channel(&parameters.back_channel()?)?)))
        }
        (Method::GET, None) => {
            Err(Status::invalid_argument("the parameter SID is missing; a handshake is a POST request"))
        }
        (Method::POST, Some(session)) => {
            session.acknowledge(parameters.acknowledged()?)?;
            session.enqueue(messages(body).await?).await?;
            Ok(text(arrays::chunk(&session.status().to_string()).into()))
        }
        (Method::POST, None) => {
            parameters.check_version()?;
            let messages = messages(body).await?;
            let session = open(firestore, service)?;
            // The rejected browser has no session ID, so it could not end the session.
            session.enqueue(messages).await.inspect_err(|_| session.close())?;
            let keep_alive = limits::CHANNEL_KEEP_ALIVE_INTERVAL.as_millis();
            // 8 is the version of the protocol, 14 that of the server.
            let handshake = format!(r#"[[0,["c","{}","",8,14,{keep_alive}]]]"#, session.id);
            let mut response = text(arrays::chunk(&handshake).into());
            if parameters.requests_session_header()
                && let Ok(id) = HeaderValue::from_str(&session.id)
            {
                response.headers_mut().insert("x-http-session-id", id);
            }
            Ok(response)
        }
        (method, _) => Err(Status::unimplemented(format!("{method} is no method of a channel"))),
    }
}

async fn messages(body: Body) -> Result<Messages, Status> {
    let max = limits::MAX_JSON_BODY_BYTES;
    let body = axum::body::to_bytes(body, max).await;
    Messages::parse(&body.map_err(|_| Status::invalid_argument(format!("the request is larger than {max} bytes")))?)
}

/// Opens a session with its stream.
fn open(firestore: &Arc<Firestore>, service: Service) -> Result<Arc<Session>, Status> {
    let (session, queued) = firestore.channels.open()?;
    let requests = futures::stream::unfold(queued, |mut queued| async {
        queued.recv().await.map(|message| (message.text, queued))
    });
    let firestore = Arc::clone(firestore);
    let responses = match service {
        Service::Listen => {
            let requests = requests.map(|text| messages::listen_from(&text)).boxed();
            streams::listen(Arc::clone(&firestore), requests)
                .map_ok(|response| messages::listen_response(&response))
                .boxed()
        }
        Service::Write => {
            let requests = requests.map(|text| messages::write_from(&text)).boxed();
            streams::write(Arc::clone(&firestore), requests)
                .map_ok(|response| messages::write_response(&response))
                .boxed()
        }
    };
    let (stop, id) = (firestore.stop.clone(), session.id.clone());
    session::spawn(Arc::clone(&session), responses, stop, async move { firestore.channels.remove(&id) });
    Ok(session)
}

/// A response that browsers pass to the page as it arrives. Without these headers they buffer the beginning to guess
/// the content type.
fn text(body: Body) -> Response {
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache, no-store, max-age=0, must-revalidate"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
