//! Errors of cloud calls: a kind for code to act on, and a text for people.

use std::{error::Error, fmt};

/// Why a call failed, and so whether to retry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The topic, subscription, bucket, object or document does not exist.
    NotFound,
    /// A create-only write found an existing object or document.
    AlreadyExists,
    /// A precondition (generation, update time) no longer holds: another writer was first.
    Conflict,
    /// The service will never accept this request.
    Invalid,
    /// The caller lacks a permission or its credentials.
    Denied,
    /// The project's quota, or the capacity of the region, does not allow this size; a smaller one may be allowed.
    Quota,
    /// The service is overloaded or unreachable, or the call was interrupted; the same call may succeed later.
    Unavailable,
}

/// Length of an error's text. A service, or a proxy in front of it, may send a whole page, and an error must not grow
/// with what a server sends.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// A failed call to the cloud.
pub struct CloudError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CloudError {
    /// An error whose text follows "failed to", for example `read gs://b/o: no such object`.
    ///
    /// The text may come from a foreign server, so it is truncated to [`MAX_MESSAGE_BYTES`] and its control characters
    /// become spaces.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: bounded(message.into()), source: None }
    }

    /// Sets the error that this one translates as its source.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Whether the service refuses for want of a permission or a resource, which an operator, or the propagation of a
    /// change, may provide later.
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind, ErrorKind::Denied | ErrorKind::NotFound)
    }
}

/// Truncates a message and replaces its control characters.
fn bounded(mut message: String) -> String {
    let length = message.len();
    if length > MAX_MESSAGE_BYTES {
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        message.truncate(end);
        message.push_str(&format!("… ({} bytes left out)", length - end));
    }
    if message.contains(char::is_control) { message.replace(char::is_control, " ") } else { message }
}

/// Omits the source, whose text may contain a server's whole response.
impl fmt::Debug for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudError").field("kind", &self.kind).field("message", &self.message).finish_non_exhaustive()
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_grow_with_a_servers_response() {
        let response = format!("read gs://b/o:\r\n{}", "ä".repeat(750_000));
        let cause = std::io::Error::other(response.clone());
        let error = CloudError::new(ErrorKind::Invalid, response).because(cause);
        let text = error.to_string();
        assert!(text.starts_with("read gs://b/o:  ä") && text.ends_with("ä… (1499016 bytes left out)"), "{text}");
        assert!(format!("{error:?}").len() < 2 * MAX_MESSAGE_BYTES);
    }
}
