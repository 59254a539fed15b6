//! WebChannel: how the Firebase web SDK carries Firestore's streams, since browsers cannot speak gRPC. A transport in front of
//! [`streams`](super::streams), which knows nothing of it.
//!
//! ```text
//!   POST ?VER=8            handshake: a new session, and its first messages ──> [[0,["c",SID,"",8,14,30000]]]
//!   POST ?SID&AID          more messages; what arrived is acknowledged     ──> [answered?, last array sent, bytes not acknowledged]
//!   GET  ?SID&AID&RID=rpc  held open: arrays as they come                  ──> [[1,[{response}]],[2,["noop"]],...] ...
//!   any  ?SID&TYPE=terminate
//! ```
//! Answers are chunks of `LENGTH\nJSON`. Arrays are numbered and kept until a later request acknowledges them (`AID`), messages are
//! numbered and taken once: a request that failed may be sent again. An error of the stream is an array, too, and reaches the SDK's
//! user with its code; a request that makes no sense is answered with HTTP 400 and says which parameter is wrong.

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

/// A stream that browsers may open.
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
    let answered = match service {
        Ok(service) => answer(&firestore, service, request).await,
        Err(status) => Err(status),
    };
    answered.unwrap_or_else(|status| json_response(http_code(status.code()).0, &error_body(&status)))
}

async fn answer(firestore: &Arc<Firestore>, service: Service, request: Request) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default());
    let session = parameters.session().map(|id| firestore.channels.find(id)).transpose()?;
    if parameters.terminates() {
        let session =
            session.ok_or_else(|| Status::invalid_argument("the parameter SID is missing; it says what ends"))?;
        session.end();
        return Ok(text(Body::empty()));
    }
    match (parts.method, session) {
        (Method::GET, Some(session)) => Ok(text(Body::from_stream(session.hold(&parameters.back_channel()?)?))),
        (Method::GET, None) => {
            Err(Status::invalid_argument("the parameter SID is missing; a handshake is a POST request"))
        }
        (Method::POST, Some(session)) => {
            session.hear(parameters.acknowledged()?)?;
            session.feed(messages(body).await?).await?;
            Ok(text(arrays::chunk(&session.outlook().to_string()).into()))
        }
        (Method::POST, None) => {
            parameters.check_version()?;
            let messages = messages(body).await?;
            let session = open(firestore, service)?;
            // A browser that is refused has no session, and one without any id could not end it.
            session.feed(messages).await.inspect_err(|_| session.end())?;
            let keep_alive = limits::CHANNEL_KEEP_ALIVE.as_millis();
            // The versions of the protocol and of the server's part of it.
            let greeting = format!(r#"[[0,["c","{}","",8,14,{keep_alive}]]]"#, session.id);
            let mut response = text(arrays::chunk(&greeting).into());
            if parameters.wants_session_header()
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
    let most = limits::JSON_BODY_BYTES;
    let body = axum::body::to_bytes(body, most).await;
    Messages::parse(&body.map_err(|_| Status::invalid_argument(format!("the request is larger than {most} bytes")))?)
}

/// A new session, with its stream behind it.
fn open(firestore: &Arc<Firestore>, service: Service) -> Result<Arc<Session>, Status> {
    let (session, fed) = firestore.channels.open()?;
    let requests =
        futures::stream::unfold(fed, |mut fed| async { fed.recv().await.map(|message| (message.text, fed)) });
    let firestore = Arc::clone(firestore);
    let responses = match service {
        Service::Listen => {
            let requests = requests.map(|text| messages::listen_from(&text)).boxed();
            streams::listen(Arc::clone(&firestore), requests).map_ok(|response| messages::listened(&response)).boxed()
        }
        Service::Write => {
            let requests = requests.map(|text| messages::write_from(&text)).boxed();
            streams::write(Arc::clone(&firestore), requests).map_ok(|response| messages::written(&response)).boxed()
        }
    };
    let (stop, id) = (firestore.stop.clone(), session.id.clone());
    session::spawn(Arc::clone(&session), responses, stop, async move { firestore.channels.forget(&id) });
    Ok(session)
}

/// An answer that browsers show to the page as it comes: they hold back the start of what they take a guess at.
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
