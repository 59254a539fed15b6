//! Why Cloud Storage refuses, once for JSON and once for gRPC.

use crate::{
    error::json_response,
    store::{StoreError, is_full},
};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::json;
use tonic::Status;

/// A refusal; the texts are shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The bucket, object or upload is not there.
    NotFound(String),
    /// The bucket exists, or is not empty.
    Conflict(String),
    /// A precondition does not hold.
    Precondition(String),
    /// A hold keeps the object from being replaced or deleted.
    Held(String),
    /// The caller has this state already.
    NotModified,
    /// The request is malformed, or the bytes are not what was promised.
    Invalid(String),
    /// No byte of the object lies in the range; its size is.
    Range(u64),
    /// Too many uploads at once.
    Exhausted(String),
    /// A signature is wrong, too old, or not what it seems. The details are for whoever wrote the signing program.
    Denied { status: StatusCode, code: &'static str, message: String, details: Vec<(&'static str, String)> },
    /// Google has this, this server does not.
    Unsupported(String),
    /// The disk failed.
    Disk(String),
    /// The disk has no room.
    DiskFull(String),
    /// The server stops.
    Closed,
}

impl Refusal {
    /// HTTP status, the reason Cloud Storage gives, and the text.
    fn parts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "notFound", text.clone()),
            Self::Conflict(text) => (StatusCode::CONFLICT, "conflict", text.clone()),
            Self::Precondition(text) => (StatusCode::PRECONDITION_FAILED, "conditionNotMet", text.clone()),
            Self::Held(text) => (StatusCode::FORBIDDEN, "objectUnderActiveHold", text.clone()),
            Self::NotModified => (StatusCode::NOT_MODIFIED, "notModified", "Not Modified".into()),
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, "invalid", text.clone()),
            Self::Range(_) => {
                let text = "The requested range cannot be satisfied.".into();
                (StatusCode::RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable", text)
            }
            Self::Exhausted(text) => (StatusCode::TOO_MANY_REQUESTS, "rateLimitExceeded", text.clone()),
            Self::Denied { status, message, .. } => (*status, "forbidden", message.clone()),
            Self::Unsupported(text) => (StatusCode::NOT_IMPLEMENTED, "notImplemented", text.clone()),
            Self::Disk(text) => (StatusCode::INTERNAL_SERVER_ERROR, "internalError", text.clone()),
            // Google's clients repeat every 5xx and 429 in silence for a minute; nothing frees space meanwhile.
            Self::DiskFull(text) => (StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", text.clone()),
            Self::Closed => (StatusCode::SERVICE_UNAVAILABLE, "backendError", "the server is shutting down".into()),
        }
    }

    /// As a JSON answer.
    pub(super) fn response(&self) -> Response {
        let (status, reason, message) = self.parts();
        if status == StatusCode::NOT_MODIFIED {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            return response;
        }
        let body = json!({"error": {
            "code": status.as_u16(),
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": reason}],
        }});
        self.with_range(json_response(status, &body))
    }

    /// As an answer of the XML API.
    pub(super) fn xml_response(&self) -> Response {
        let (status, _, message) = self.parts();
        if status == StatusCode::NOT_MODIFIED {
            return self.response();
        }
        let mut body = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code>", self.xml_code());
        let none = Vec::new();
        let details = if let Self::Denied { details, .. } = self { details } else { &none };
        for (name, text) in [("Message", message)].iter().chain(details) {
            body.push_str(&format!("<{name}>{}</{name}>", xml_text(text)));
        }
        body.push_str("</Error>");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("application/xml; charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        self.with_range(response)
    }

    fn xml_code(&self) -> &'static str {
        match self {
            Self::NotFound(text) if text.contains("bucket") => "NoSuchBucket",
            Self::NotFound(_) => "NoSuchKey",
            Self::Conflict(_) => "Conflict",
            Self::Precondition(_) => "PreconditionFailed",
            Self::Held(_) => "ObjectUnderActiveHold",
            Self::NotModified => "NotModified",
            Self::Invalid(_) => "InvalidArgument",
            Self::Range(_) => "InvalidRange",
            Self::Exhausted(_) => "SlowDown",
            Self::Denied { code, .. } => code,
            Self::Unsupported(_) => "NotImplemented",
            Self::Disk(_) => "InternalError",
            Self::DiskFull(_) => "EntityTooLarge",
            Self::Closed => "ServiceUnavailable",
        }
    }

    /// Tells a reader whose range was refused how long the object is.
    fn with_range(&self, mut response: Response) -> Response {
        if let Self::Range(size) = self
            && let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}"))
        {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (_, _, message) = refusal.parts();
        match refusal {
            Refusal::NotFound(_) => Status::not_found(message),
            Refusal::Conflict(_) => Status::already_exists(message),
            Refusal::Precondition(_) => Status::failed_precondition(message),
            Refusal::Held(_) => Status::permission_denied(message),
            Refusal::NotModified => Status::aborted(message),
            Refusal::Invalid(_) => Status::invalid_argument(message),
            Refusal::Range(_) => Status::out_of_range(message),
            Refusal::Exhausted(_) => Status::resource_exhausted(message),
            Refusal::Denied { .. } => Status::permission_denied(message),
            Refusal::Unsupported(_) => Status::unimplemented(message),
            Refusal::Disk(_) => Status::internal(message),
            Refusal::DiskFull(_) => Status::resource_exhausted(message),
            Refusal::Closed => Status::unavailable(message),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Closed,
            StoreError::Disk(_) => Self::Disk(format!("failed to {error}")),
            StoreError::Full(_) => Self::DiskFull(format!("failed to {error}")),
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            let text = "failed to write the data folder: its disk is full";
            return Self::DiskFull(format!("{text} ({error}); free space on it, or use a data folder on another disk"));
        }
        Self::Disk(format!("failed to read or write the data folder: {error}"))
    }
}

/// From the JSON helpers, which speak gRPC's language.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Invalid(status.message().into())
    }
}

impl From<tokio::task::JoinError> for Refusal {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Closed
    }
}
