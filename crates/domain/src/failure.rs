//! Why a clip or a batch failed: a stable code, a text for people, and whether trying again can help.

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

/// The code of a clip whose job the queue gave up after its last delivery.
pub const DEAD_LETTERED: &str = "dead_lettered";

/// Codes of attempts whose media process died, hung, ran out of time or could not encode, whatever the report says of trying again: what
/// happens three times at one clip is the clip's doing, and each time all its work was for nothing.
const CRASHES: [&str; 4] = ["pipeline_crashed", "pipeline_stalled", "pipeline_overdue", "encode_failed"];

/// Codes of clips that were made and are not what they should be. Their attempts count as crashes, too.
const OF_THE_PROOF: [&str; 8] = [
    "verify_failed",
    "encode_frozen",
    "encode_black",
    "encode_slip",
    "encode_mismatch",
    "reframe_mismatch",
    "reframe_slip",
    "audio_mismatch",
];

/// Codes of failures that the machine is to blame for: every clip would meet them there, and none elsewhere.
const OF_THE_MACHINE: [&str; 3] = ["scratch_unavailable", "scratch_full", "pipeline_not_started"];

/// What kind of failure, and so what follows it; see [`sequel`](crate::sequel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same work meets it again.
    Permanent,
    /// It may pass.
    Transient,
    /// The media process died, hung, ran out of time, or made a bad clip.
    Crash,
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
    /// A failure that the same work will meet again. The message may hold the words of a foreign server, so it is
    /// bounded here, where failures are made.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        let message = bounded(&message.into(), MAX_CAUSE_CHARS);
        Self { code: code.into(), message, retryable: false, details: Vec::new() }
    }

    /// A failure that may not repeat.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::permanent(code, message) }
    }

    /// The end of a media process that gave no last word, or gave none in time. `code` is one of the three there are.
    pub fn crash(code: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::permanent(code, message) }
    }

    /// The queue gave the clip's job up after this many deliveries.
    pub fn dead_lettered(deliveries: &str) -> Self {
        let message = format!(
            "the clip was given up after {deliveries} deliveries of its job; see its failureCodes and the worker's log, then redrive it"
        );
        Failure::transient("dead_lettered", message)
    }

    /// The same with words of ours before its message.
    #[must_use]
    pub fn preceded_by(self, context: &str) -> Self {
        let message = bounded(&format!("{context}{}", self.message), MAX_MESSAGE_CHARS);
        Self { message, ..self }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self.code.as_str() {
            code if CRASHES.contains(&code) || self.is_of_the_proof() => Class::Crash,
            _ if self.retryable => Class::Transient,
            _ => Class::Permanent,
        }
    }

    /// Whether a clip was made that is not what it should be.
    pub fn is_of_the_proof(&self) -> bool {
        OF_THE_PROOF.contains(&self.code.as_str())
    }

    /// Whether it is a verdict on the bytes of the source, as a media process read them. They have no checksum on their
    /// way, so the first such verdict may be about a damaged reading.
    pub fn is_of_the_source(&self) -> bool {
        let of_the_object = ["source_gone", "source_denied"].contains(&self.code.as_str());
        let of_the_bytes = self.code.starts_with("source_") || self.code == "window_beyond_end";
        !self.retryable && of_the_bytes && !of_the_object
    }

    /// Whether the machine is to blame, and not the clip or a service.
    pub fn is_the_machines(&self) -> bool {
        OF_THE_MACHINE.contains(&self.code.as_str())
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
        Self { details, ..Self::permanent("invalid_request", message) }
    }
}
