//! Why a clip or a batch failed: a stable code, a text for people, and whether trying again can help.

pub use crate::code::{Class, Code, Fault};
use crate::{
    bounds::bounded,
    limits::{MAX_CAUSE_CHARS, MAX_DETAILS, MAX_MESSAGE_CHARS},
};

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as the client wrote it, for example `clips[3].endMs`.
    pub field: String,
    /// What is wrong, the value, and what would be right; reads after the field's name.
    pub reason: String,
}

/// How a clip or batch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable; listed with its remedy in the runbook.
    pub code: Code,
    /// For people; names the value and the remedy.
    pub message: String,
    /// Whether the same work may succeed later.
    pub retryable: bool,
    /// The request's bad fields, when it was the request.
    pub details: Vec<FieldViolation>,
}

impl Failure {
    /// A failure. Whether it is retryable follows from its code. The message may hold the words of a foreign server, so it is
    /// bounded here, where failures are made.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retryable = !matches!(code.class(), Some(Class::Permanent) | None);
        Self { code, message: bounded(&message.into(), MAX_CAUSE_CHARS), retryable, details: Vec::new() }
    }

    /// The queue gave the clip's job up after this many deliveries.
    pub fn dead_lettered(deliveries: &str) -> Self {
        let message = format!(
            "the clip was given up after {deliveries} deliveries of its job; see its failureCodes and the worker's log, then redrive it"
        );
        Self::new(Code::DeadLettered, message)
    }

    /// The same with words of ours before its message.
    #[must_use]
    pub fn preceded_by(self, context: &str) -> Self {
        let message = bounded(&format!("{context}{}", self.message), MAX_MESSAGE_CHARS);
        Self { message, ..self }
    }

    /// Its class. A code of another version is as permanent as its failure says.
    pub fn class(&self) -> Class {
        let unknown = if self.retryable { Class::Transient } else { Class::Permanent };
        self.code.class().unwrap_or(unknown)
    }

    /// Whether a clip was made and is not what it should be.
    pub fn is_bad_output(&self) -> bool {
        self.class() == Class::BadOutput
    }

    /// Whether it blames the bytes of the source, as a media process read them. A ranged read has no checksum, so the first such
    /// failure may be due to a damaged read.
    pub fn blames_source_bytes(&self) -> bool {
        let blames_object = matches!(self.code, Code::SourceGone | Code::SourceDenied);
        self.code.fault() == Some(Fault::Source) && self.class() == Class::Permanent && !blames_object
    }

    /// Whether the instance is at fault, and not the clip or a service.
    pub fn blames_instance(&self) -> bool {
        self.code.fault() == Some(Fault::Instance)
    }

    /// A request with bad fields, of which the first [`MAX_DETAILS`] are named.
    pub fn invalid(mut details: Vec<FieldViolation>) -> Self {
        let message = match details.as_slice() {
            [one] => format!("{}: {}", one.field, one.reason),
            many if many.len() > MAX_DETAILS => {
                format!("{} fields are invalid; details name the first {MAX_DETAILS}", many.len())
            }
            many => format!("{} fields are invalid; see details", many.len()),
        };
        details.truncate(MAX_DETAILS);
        Self { details, ..Self::new(Code::InvalidRequest, message) }
    }
}
