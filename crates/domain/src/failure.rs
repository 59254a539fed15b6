//! Why a clip or a batch failed: a stable code, a text for people, and whether a retry can succeed.

pub use crate::code::{Class, Code, Fault};
use crate::{
    bounds::bounded,
    limits::{MAX_CAUSE_CHARS, MAX_DETAILS, MAX_FIELD_CHARS, MAX_MESSAGE_CHARS, MAX_REASON_CHARS},
};

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as the client wrote it, for example `clips[3].endMs`.
    pub field: String,
    /// What is wrong, what is allowed, and the value; reads after the field's name.
    pub reason: String,
}

impl FieldViolation {
    /// A violation of one field. Both texts may contain text of a client, so both are bounded.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        Self { field: bounded(&field, MAX_FIELD_CHARS), reason: bounded(&reason, MAX_REASON_CHARS) }
    }
}

/// Why a clip or a batch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code; the runbook lists it with its remedy.
    pub code: Code,
    /// A text for people, with the value and the remedy.
    pub message: String,
    /// Whether the same work may succeed if retried.
    pub retryable: bool,
    /// The invalid fields, if the request was invalid.
    pub details: Vec<FieldViolation>,
}

impl Failure {
    /// A failure. Whether it is retryable follows from its code. The message may contain text of a foreign server, so
    /// it is bounded here.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retryable = !matches!(code.class(), Some(Class::Permanent) | None);
        Self { code, message: bounded(&message.into(), MAX_CAUSE_CHARS), retryable, details: Vec::new() }
    }

    /// The queue dead-lettered the clip's job after `deliveries` deliveries.
    pub fn dead_lettered(deliveries: &str) -> Self {
        let message = format!(
            "the clip was given up after {deliveries} deliveries of its job; see its failureCodes and the worker's \
             log, then redrive it"
        );
        Self::new(Code::DeadLettered, message)
    }

    /// The same failure with context before its message.
    #[must_use]
    pub fn preceded_by(self, context: &str) -> Self {
        let message = bounded(&format!("{context}{}", self.message), MAX_MESSAGE_CHARS);
        Self { message, ..self }
    }

    /// Its class. For a code of another version it follows from `retryable`.
    pub fn class(&self) -> Class {
        let unknown = if self.retryable { Class::Transient } else { Class::Permanent };
        self.code.class().unwrap_or(unknown)
    }

    /// Whether a clip was made, but failed its verification.
    pub fn is_bad_output(&self) -> bool {
        self.class() == Class::BadOutput
    }

    /// Whether it blames the bytes of the source, as a media process read them. A ranged read has no checksum, so the
    /// first such failure may be due to a damaged read.
    pub fn blames_source_bytes(&self) -> bool {
        let blames_object = matches!(self.code, Code::SourceGone | Code::SourceDenied);
        self.code.fault() == Some(Fault::Source) && self.class() == Class::Permanent && !blames_object
    }

    /// Whether the instance is at fault, and not the clip or a service.
    pub fn blames_instance(&self) -> bool {
        self.code.fault() == Some(Fault::Instance)
    }

    /// A request with invalid fields, of which the first [`MAX_DETAILS`] are listed.
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

    /// The same failure with each text within its limit, for failures that this process did not make.
    #[must_use]
    pub fn bounded(self) -> Self {
        let details = self.details.into_iter().take(MAX_DETAILS);
        Self {
            code: self.code,
            message: bounded(&self.message, MAX_MESSAGE_CHARS),
            retryable: self.retryable,
            details: details.map(|bad| FieldViolation::new(bad.field, bad.reason)).collect(),
        }
    }
}
