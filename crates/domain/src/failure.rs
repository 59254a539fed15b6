//! Why a clip or a batch failed: a stable code, a text for people, and whether trying again can help.

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as the client wrote it, for example `clips[3].endMs`.
    pub field: String,
    /// What is wrong, the value, and what would be right; reads after the field's name.
    pub reason: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// How a clip or batch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable, snake_case; listed with its remedy in the runbook.
    pub code: String,
    /// For people; names the value and the remedy.
    pub message: String,
    /// Whether the same work may succeed later.
    pub retryable: bool,
    /// The request's bad fields, when it was the request.
    pub details: Vec<FieldViolation>,
}

impl Failure {
    /// A failure that the same work will meet again.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, details: Vec::new() }
    }

    /// A failure that may not repeat.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::permanent(code, message) }
    }

    /// A request with bad fields.
    pub fn invalid(details: Vec<FieldViolation>) -> Self {
        let message = match details.as_slice() {
            [one] => format!("{}: {}", one.field, one.reason),
            many => format!("{} fields are invalid; see details", many.len()),
        };
        Self { details, ..Self::permanent("invalid_request", message) }
    }
}
