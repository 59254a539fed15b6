//! The stable codes of failures: one row each, with its class and who is at fault. The runbook has the same rows with
//! meaning and remedy. A test compares the two.

use crate::{bounds::bounded, limits::MAX_CODE_CHARS};
use std::fmt;

/// What a failure means for its attempt; see [`retry_policy`](crate::retry_policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Every attempt would fail in the same way: the clip ends.
    Permanent,
    /// Another attempt may succeed: one follows, up to a limit.
    Transient,
    /// The media process died, hung, ran out of time or could not encode. Three such failures of one clip are
    /// attributed to the clip; each wastes a full attempt.
    Crash,
    /// The clip was made, but failed its verification. Counts as a crash.
    BadOutput,
}

/// Who is at fault. Decides the section of the runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The sender of the request.
    Request,
    /// The source, or the permissions on it.
    Source,
    /// The fleet.
    Fleet,
    /// The instance that the attempt ran on: every clip would fail there, and none on another instance.
    Instance,
}

macro_rules! codes {
    ($($variant:ident, $text:literal, $class:ident, $fault:ident;)*) => {
        /// A stable code; its text, in snake_case, is what clients see.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Code {
            $($variant,)*
            /// A code of another version of the fleet.
            Other(String),
        }

        impl Code {
            /// Every code of this version.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The text.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// The code of a text; an unknown one is kept, within its bound.
            pub fn parse(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(bounded(other, MAX_CODE_CHARS)),
                }
            }

            /// Its class; `None` for a code of another version.
            pub fn class(&self) -> Option<Class> {
                match self {
                    $(Self::$variant => Some(Class::$class),)*
                    Self::Other(_) => None,
                }
            }

            /// Who is at fault; `None` for a code of another version.
            pub fn fault(&self) -> Option<Fault> {
                match self {
                    $(Self::$variant => Some(Fault::$fault),)*
                    Self::Other(_) => None,
                }
            }
        }
    };
}

codes! {
    MalformedJson, "malformed_json", Permanent, Request;
    MalformedMessage, "malformed_message", Permanent, Request;
    MalformedRequest, "malformed_request", Permanent, Request;
    RequestTooLarge, "request_too_large", Permanent, Request;
    InvalidRequest, "invalid_request", Permanent, Request;
    SourceNotFound, "source_not_found", Permanent, Request;
    SourceTooLarge, "source_too_large", Permanent, Request;
    BatchIdConflict, "batch_id_conflict", Permanent, Request;
    BatchNotFound, "batch_not_found", Permanent, Request;
    ClipNotFound, "clip_not_found", Permanent, Request;
    ClipNotRetryable, "clip_not_retryable", Permanent, Request;
    ClipNotDeadLettered, "clip_not_dead_lettered", Permanent, Request;
    NoCompletedClips, "no_completed_clips", Permanent, Request;
    OutputDeleted, "output_deleted", Permanent, Request;
    NoSuchRoute, "no_such_route", Permanent, Request;
    Unauthenticated, "unauthenticated", Permanent, Request;
    Forbidden, "forbidden", Permanent, Request;
    ClipNotCompleted, "clip_not_completed", Permanent, Request;
    LinksDisabled, "links_disabled", Permanent, Request;
    SourceForbidden, "source_forbidden", Permanent, Request;
    OutputForbidden, "output_forbidden", Permanent, Request;
    SourceEmpty, "source_empty", Permanent, Source;
    SourceNotMedia, "source_not_media", Permanent, Source;
    SourceTruncated, "source_truncated", Permanent, Source;
    SourceHasNoVideo, "source_has_no_video", Permanent, Source;
    SourceCodecUnsupported, "source_codec_unsupported", Permanent, Source;
    SourceUnsupported, "source_unsupported", Permanent, Source;
    SourceSizeUnsupported, "source_size_unsupported", Permanent, Source;
    SourceEncrypted, "source_encrypted", Permanent, Source;
    SourceHeaderTooLarge, "source_header_too_large", Permanent, Source;
    SourceEditsGoBack, "source_edits_go_back", Permanent, Source;
    WindowBeyondEnd, "window_beyond_end", Permanent, Source;
    SourceGone, "source_gone", Permanent, Source;
    SourceDenied, "source_denied", Permanent, Source;
    SourceUnavailable, "source_unavailable", Transient, Source;
    Unavailable, "unavailable", Transient, Fleet;
    EncoderUnavailable, "encoder_unavailable", Permanent, Fleet;
    EncodeFailed, "encode_failed", Crash, Fleet;
    VerifyFailed, "verify_failed", BadOutput, Fleet;
    EncodeFrozen, "encode_frozen", BadOutput, Fleet;
    EncodeBlack, "encode_black", BadOutput, Fleet;
    EncodeSlip, "encode_slip", BadOutput, Fleet;
    EncodeMismatch, "encode_mismatch", BadOutput, Fleet;
    ReframeMismatch, "reframe_mismatch", BadOutput, Fleet;
    ReframeSlip, "reframe_slip", BadOutput, Fleet;
    AudioMismatch, "audio_mismatch", BadOutput, Fleet;
    PipelineStalled, "pipeline_stalled", Crash, Fleet;
    PipelineCrashed, "pipeline_crashed", Crash, Fleet;
    PipelineOverdue, "pipeline_overdue", Crash, Fleet;
    WorkerLost, "worker_lost", Transient, Fleet;
    ScratchUnavailable, "scratch_unavailable", Transient, Instance;
    ScratchFull, "scratch_full", Transient, Instance;
    OutputUnavailable, "output_unavailable", Transient, Fleet;
    OutputDenied, "output_denied", Permanent, Fleet;
    OutputRefused, "output_refused", Permanent, Fleet;
    PipelineNotStarted, "pipeline_not_started", Transient, Instance;
    PipelineProtocol, "pipeline_protocol", Permanent, Fleet;
    OutputConflict, "output_conflict", Permanent, Fleet;
    DeadLettered, "dead_lettered", Transient, Fleet;
    DocumentRefused, "document_refused", Transient, Fleet;
    Internal, "internal", Transient, Fleet;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back_and_an_unknown_one_is_kept() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), *code);
            assert!(code.class().is_some() && code.fault().is_some());
        }
        let other = Code::parse("of_tomorrow");
        assert_eq!((other.as_str(), other.class()), ("of_tomorrow", None));
        assert!(Code::parse(&"x".repeat(1_000)).as_str().chars().count() <= MAX_CODE_CHARS);
    }
}
