//! What follows a failed attempt: another attempt, or the end of the clip.
//!
//! | the attempt | what follows | bound |
//! |---|---|---|
//! | failed permanently | the end of the clip | the first |
//! | crashed | another attempt, on another worker if there is one | [`MAX_CRASHES`] |
//! | failed transiently | another attempt, after the queue's backoff | [`MAX_TRANSIENT_FAILURES`] |
//! | was lost with its worker | another attempt, when its lease has expired | [`MAX_LOST_ATTEMPTS`] |
//! | was interrupted | another attempt, immediately | none: the clip is not at fault, and only operators interrupt |

use crate::{
    attempt_stats::AttemptCounts,
    failure::{Class, Code, Failure},
    lifecycle::ClipEventKind,
    limits::{MAX_CRASHES, MAX_LOST_ATTEMPTS, MAX_TRANSIENT_FAILURES},
};

/// The event that reports a failed attempt. `earlier` counts the attempts before it.
pub fn after_failure(failure: Failure, earlier: AttemptCounts) -> ClipEventKind {
    match failure.class() {
        Class::Permanent => ClipEventKind::Failed(failure),
        Class::Crash | Class::BadOutput if earlier.crashes + 1 >= MAX_CRASHES => {
            let crashes = earlier.crashes + 1;
            let context = format!(
                "{crashes} attempts crashed, hung or made a bad clip; the source may be damaged or exceed this \
                 worker's resources. The last one: "
            );
            ClipEventKind::Failed(Failure { retryable: false, ..failure }.preceded_by(&context))
        }
        Class::Crash | Class::BadOutput => ClipEventKind::Crashed(failure),
        Class::Transient if earlier.transient_failures + 1 >= MAX_TRANSIENT_FAILURES => {
            let context = format!("{} attempts failed; the last one: ", earlier.transient_failures + 1);
            ClipEventKind::Failed(failure.preceded_by(&context))
        }
        Class::Transient => ClipEventKind::FailedTransiently(failure),
    }
}

/// Why no further attempt starts, if too many were lost before it.
pub fn before_attempt(earlier: AttemptCounts) -> Option<Failure> {
    let AttemptCounts { lost, .. } = earlier;
    (lost >= MAX_LOST_ATTEMPTS).then(|| {
        let message = format!("{lost} attempts vanished together with their workers; see why workers die, then retry");
        Failure::new(Code::WorkerLost, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash() -> Failure {
        Failure::new(Code::PipelineCrashed, "signal 11")
    }

    #[test]
    fn the_third_crash_ends_the_clip_whatever_else_happened() {
        let counts = |crashes| AttemptCounts { crashes, transient_failures: 50, interruptions: 50, lost: 0 };
        assert!(matches!(after_failure(crash(), counts(0)), ClipEventKind::Crashed(_)));
        assert!(matches!(after_failure(crash(), counts(1)), ClipEventKind::Crashed(_)));
        let ClipEventKind::Failed(failure) = after_failure(crash(), counts(2)) else { panic!("ended") };
        assert_eq!((failure.code.as_str(), failure.retryable), ("pipeline_crashed", false));
        assert!(failure.message.contains("3 attempts") && failure.message.contains("signal 11"));
    }

    #[test]
    fn a_stall_counts_as_a_crash_however_it_was_reported() {
        let stall = Failure::new(Code::PipelineStalled, "no progress");
        assert!(matches!(after_failure(stall.clone(), AttemptCounts::default()), ClipEventKind::Crashed(_)));
        let counts = AttemptCounts { crashes: MAX_CRASHES - 1, ..AttemptCounts::default() };
        let ClipEventKind::Failed(failure) = after_failure(stall, counts) else { panic!("ended") };
        assert_eq!((failure.code.as_str(), failure.retryable), ("pipeline_stalled", false));
    }

    #[test]
    fn a_clip_that_fails_its_verification_is_not_made_ten_times() {
        let bad = Failure::new(Code::EncodeFrozen, "the output stands still");
        let counts = AttemptCounts { crashes: MAX_CRASHES - 1, ..AttemptCounts::default() };
        assert!(matches!(after_failure(bad.clone(), AttemptCounts::default()), ClipEventKind::Crashed(_)));
        assert!(matches!(after_failure(bad, counts), ClipEventKind::Failed(_)));
    }

    #[test]
    fn transient_failures_are_retried_up_to_a_limit_and_end_with_their_own_code() {
        let outage = || Failure::new(Code::SourceUnavailable, "no answer");
        let counts = |transient_failures| AttemptCounts { transient_failures, crashes: 2, ..AttemptCounts::default() };
        assert!(matches!(
            after_failure(outage(), counts(MAX_TRANSIENT_FAILURES - 2)),
            ClipEventKind::FailedTransiently(_)
        ));
        let ClipEventKind::Failed(failure) = after_failure(outage(), counts(MAX_TRANSIENT_FAILURES - 1)) else {
            panic!("ended")
        };
        assert_eq!((failure.code.as_str(), failure.retryable), ("source_unavailable", true));
    }

    #[test]
    fn a_permanent_failure_ends_the_clip_immediately_and_lost_attempts_end_it_late() {
        let kind = after_failure(Failure::new(Code::SourceGone, "gone"), AttemptCounts::default());
        assert!(matches!(kind, ClipEventKind::Failed(failure) if failure.code == Code::SourceGone));
        let lost = |lost| before_attempt(AttemptCounts { lost, interruptions: 90, ..AttemptCounts::default() });
        assert_eq!(lost(MAX_LOST_ATTEMPTS - 1), None);
        assert_eq!(lost(MAX_LOST_ATTEMPTS).unwrap().code, Code::WorkerLost);
    }
}
