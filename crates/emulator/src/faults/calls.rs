//! Faults of calls, put around every request.

use super::{Fault, Faults};
use crate::{
    connection::Link,
    error::{error_body, http_code, json_response},
};
use axum::{body::Body, extract::Request, http::header, middleware::Next, response::Response};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Code, Status};

/// Answers a request, or does not, as the rules have it.
pub(crate) async fn around(faults: &Faults, link: &Link, request: Request, next: Next) -> Response {
    if faults.are_off() {
        return next.run(request).await;
    }
    let name = name(&request);
    let of_calls = |fault: &Fault| match fault {
        Fault::Duplicate | Fault::Reorder | Fault::LoseAck => None,
        other => Some(*other),
    };
    let struck = faults.strike(&name, of_calls);
    for fault in &struck {
        tracing::debug!(call = name, ?fault, "fault");
        match *fault {
            Fault::Delay { ms } => sleep(Duration::from_millis(ms)).await,
            Fault::Refuse { code } => return refusal(&request, code.into()),
            Fault::Cut => return cut(link),
            _ => {}
        }
    }
    let mut response = next.run(request).await;
    for fault in struck {
        match fault {
            Fault::LoseAnswer => return cut(link),
            Fault::CutAnswer { after_bytes, after_ms } => response = cut_within(link, response, after_bytes, after_ms),
            Fault::Corrupt { at } => response = corrupted(response, at),
            _ => {}
        }
    }
    response
}

/// A call as rules name it.
fn name(request: &Request) -> String {
    let path = request.uri().path();
    if is_grpc(request) { path.trim_start_matches('/').to_owned() } else { format!("{} {path}", request.method()) }
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn refusal(request: &Request, code: Code) -> Response {
    let status = Status::new(code, "refused on purpose: a fault rule of this local server");
    if is_grpc(request) { status.into_http() } else { json_response(http_code(code).0, &error_body(&status)) }
}

/// Breaks the connection; the response meets the break and never leaves.
fn cut(link: &Link) -> Response {
    link.cut();
    Response::new(Body::empty())
}

/// The answer with every bit of one of its bytes turned.
fn corrupted(response: Response, at: u64) -> Response {
    let mut before = at;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            frame.map_data(|data| {
                let place = usize::try_from(before).ok().filter(|place| *place < data.len());
                before = before.saturating_sub(data.len() as u64);
                let Some(place) = place else { return data };
                // It strikes once: no later frame has the byte.
                before = u64::MAX;
                let mut data = data.to_vec();
                data[place] = !data[place];
                data.into()
            })
        }))
    })
}

fn cut_within(link: &Link, response: Response, bytes: Option<u64>, ms: Option<u64>) -> Response {
    if let Some(ms) = ms {
        let link = link.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(ms)).await;
            link.cut();
        });
    }
    let Some(mut left) = bytes else { return response };
    let link = link.clone();
    response.map(|body| {
        // Frame by frame, so that the trailers of an answer that stays below the limit arrive.
        Body::new(body.map_frame(move |frame| {
            frame.map_data(|data| {
                let kept = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                left -= kept as u64;
                if kept < data.len() {
                    link.cut();
                }
                data.slice(..kept)
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
    async fn one_byte_of_a_corrupted_answer_is_another_wherever_frames_end() {
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
