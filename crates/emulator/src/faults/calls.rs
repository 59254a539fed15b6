//! Faults of calls, injected around every request.

use super::{Fault, Faults};
use crate::{
    connection::ConnectionHandle,
    error::{error_body, http_code, json_response},
};
use axum::{body::Body, extract::Request, http::header, middleware::Next, response::Response};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Code, Status};

/// Answers a request, with the faults that the rules select.
pub(crate) async fn inject(faults: &Faults, connection: &ConnectionHandle, request: Request, next: Next) -> Response {
    if faults.are_off() {
        return next.run(request).await;
    }
    let name = call_name(&request);
    let call_fault = |fault: &Fault| match fault {
        Fault::Duplicate | Fault::Reorder | Fault::LoseAck => None,
        other => Some(*other),
    };
    let struck = faults.strike(&name, call_fault);
    for fault in &struck {
        tracing::debug!(call = name, ?fault, "fault injected");
        match *fault {
            Fault::Delay { ms } => sleep(Duration::from_millis(ms)).await,
            Fault::Refuse { code } => return error_response(&request, code.into()),
            Fault::Cut => return cut(connection),
            _ => {}
        }
    }
    let mut response = next.run(request).await;
    for fault in struck {
        match fault {
            Fault::LoseAnswer => return cut(connection),
            Fault::CutAnswer { after_bytes, after_ms } => {
                response = cut_within(connection, response, after_bytes, after_ms);
            }
            Fault::Corrupt { at } => response = corrupted(response, at),
            _ => {}
        }
    }
    response
}

/// The name of a call, as rules write it.
fn call_name(request: &Request) -> String {
    let path = request.uri().path();
    if is_grpc(request) { path.trim_start_matches('/').to_owned() } else { format!("{} {path}", request.method()) }
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn error_response(request: &Request, code: Code) -> Response {
    let status = Status::new(code, "refused on purpose: a fault rule of this local server");
    if is_grpc(request) { status.into_http() } else { json_response(http_code(code).0, &error_body(&status)) }
}

/// Breaks the connection. The returned response never leaves, because the connection is already broken.
fn cut(connection: &ConnectionHandle) -> Response {
    connection.cut();
    Response::new(Body::empty())
}

/// The response with every bit of one byte inverted.
fn corrupted(response: Response, at: u64) -> Response {
    let mut offset = at;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            frame.map_data(|data| {
                let position = usize::try_from(offset).ok().filter(|position| *position < data.len());
                offset = offset.saturating_sub(data.len() as u64);
                let Some(position) = position else { return data };
                // The fault applies once: no later frame contains the byte.
                offset = u64::MAX;
                let mut data = data.to_vec();
                data[position] = !data[position];
                data.into()
            })
        }))
    })
}

fn cut_within(connection: &ConnectionHandle, response: Response, bytes: Option<u64>, ms: Option<u64>) -> Response {
    if let Some(ms) = ms {
        let connection = connection.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(ms)).await;
            connection.cut();
        });
    }
    let Some(mut remaining) = bytes else { return response };
    let connection = connection.clone();
    response.map(|body| {
        // The body is cut frame by frame, so that the trailers of a response below the limit still arrive.
        Body::new(body.map_frame(move |frame| {
            frame.map_data(|data| {
                let allowed = usize::try_from(remaining).unwrap_or(usize::MAX).min(data.len());
                remaining -= allowed as u64;
                if allowed < data.len() {
                    connection.cut();
                }
                data.slice(..allowed)
            })
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use std::convert::Infallible;

    #[tokio::test]
    async fn one_byte_of_a_response_is_corrupted_in_any_frame() {
        for at in [0, 2, 3, 5, 6] {
            let frames = ["ab", "c", "def"].map(|frame| Ok::<_, Infallible>(Bytes::from_static(frame.as_bytes())));
            let response = Response::new(Body::from_stream(futures::stream::iter(frames)));
            let bytes = corrupted(response, at).into_body().collect().await.unwrap().to_bytes();
            let mut expected = b"abcdef".to_vec();
            expected.iter_mut().skip(at as usize).take(1).for_each(|byte| *byte = !*byte);
            assert_eq!(bytes, expected, "at {at}");
        }
    }
}
