//! What went wrong in a cloud call: a kind that code can act on and a text that people can.

use std::{error::Error, fmt};

/// Whose fault a failed call is, and so whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The topic, subscription, bucket, object or document does not exist.
    NotFound,
    /// A create-only write met something that is already there.
    AlreadyExists,
    /// A precondition (generation, update time) no longer holds: someone else wrote in between.
    Conflict,
    /// The service will never accept this request.
    Invalid,
    /// The caller lacks a permission or its credentials.
    Denied,
    /// Overloaded, unreachable or interrupted; the same call may succeed later.
    Unavailable,
}

/// A failed call to the cloud.
#[derive(Debug)]
pub struct CloudError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CloudError {
    /// An error whose text follows "failed to", for example `read gs://b/o: no such object`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps the error that this one translates.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind, to act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unavailable
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
