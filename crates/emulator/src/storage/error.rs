//! The errors of Cloud Storage, common to JSON, XML and gRPC.

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

/// An error; the caller receives its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The bucket, object or upload does not exist.
    NotFound(String),
    /// The bucket exists, or is not empty.
    Conflict(String),
    /// A precondition does not hold.
    Precondition(String),
    /// A hold protects the object from being replaced or deleted.
    Held(String),
    /// The caller already has this state.
    NotModified,
    /// The request is malformed, or the bytes do not match their checksums.
    Invalid(String),
    /// No byte of the object is in the range; the value is the object's size.
    Range(u64),
    /// Too many concurrent uploads.
    Exhausted(String),
    /// A signature is wrong or expired. The details help the author of the signing program.
    Denied { status: StatusCode, code: &'static str, message: String, details: Vec<(&'static str, String)> },
    /// Google supports this, but this server does not.
    Unsupported(String),
    /// The disk failed.
    Disk(String),
    /// The disk is full.
    DiskFull(String),
    /// The server is stopping.
    Closed,
}

impl ApiError {
    /// The HTTP status, Cloud Storage's reason, and the text.
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
            // Google's clients silently retry every 5xx and 429 for a minute, but space is not freed in that time.
            Self::DiskFull(text) => (StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", text.clone()),
            Self::Closed => (StatusCode::SERVICE_UNAVAILABLE, "backendError", "the server is shutting down".into()),
        }
    }

    /// The error as a JSON response.
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

    /// The error as a response of Firebase Storage's API.
    pub(super) fn firebase_response(&self) -> Response {
        let (status, _, message) = self.parts();
        if status == StatusCode::NOT_MODIFIED {
            return self.response();
        }
        // Firebase's clients recognize a missing object by this text.
        let missing = if matches!(self, Self::NotFound(_)) { "Not Found.  Could not get object. " } else { "" };
        let body = json!({"error": {"code": status.as_u16(), "message": format!("{missing}{message}")}});
        self.with_range(json_response(status, &body))
    }

    /// The error as a response of the XML API.
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

    /// Adds the object's size if the requested range was invalid.
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

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let (_, _, message) = error.parts();
        match error {
            ApiError::NotFound(_) => Status::not_found(message),
            ApiError::Conflict(_) => Status::already_exists(message),
            ApiError::Precondition(_) => Status::failed_precondition(message),
            ApiError::Held(_) => Status::permission_denied(message),
            ApiError::NotModified => Status::aborted(message),
            ApiError::Invalid(_) => Status::invalid_argument(message),
            ApiError::Range(_) => Status::out_of_range(message),
            ApiError::Exhausted(_) => Status::resource_exhausted(message),
            ApiError::Denied { .. } => Status::permission_denied(message),
            ApiError::Unsupported(_) => Status::unimplemented(message),
            ApiError::Disk(_) => Status::internal(message),
            ApiError::DiskFull(_) => Status::resource_exhausted(message),
            ApiError::Closed => Status::unavailable(message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Closed,
            StoreError::Disk(_) => Self::Disk(format!("failed to {error}")),
            StoreError::Full(_) => Self::DiskFull(format!("failed to {error}")),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            let text = "failed to write the data folder: its disk is full";
            return Self::DiskFull(format!("{text} ({error}); free space on it, or use a data folder on another disk"));
        }
        Self::Disk(format!("failed to read or write the data folder: {error}"))
    }
}

/// Errors of the JSON helpers, which are gRPC statuses.
impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self::Invalid(status.message().into())
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Closed
    }
}
