//! Responses that are sent before the whole request was read. Over HTTP/1.1 the connection would close while the caller
//! still sends, and the caller would see a broken connection instead of the response. So the rest of the request is
//! read, within limits.

use crate::limits;
use axum::{body::Body, extract::Request, http::Version, middleware::Next, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::timeout;

/// A body that can still be read after its handler stopped reading.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl axum::body::HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.lock().size_hint()
    }
}

/// Answers a request and reads what its handler left unread.
pub(crate) async fn drain_request(request: Request, next: Next) -> Response {
    // HTTP/2 can end one stream and keep the connection.
    if request.version() >= Version::HTTP_2 || axum::body::HttpBody::is_end_stream(request.body()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    let _ = timeout(limits::UNREAD_TIMEOUT, discard(body)).await;
    response
}

async fn discard(mut body: SharedBody) {
    let mut bytes = 0;
    while bytes < limits::MAX_UNREAD_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}
