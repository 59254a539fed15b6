//! How events fold into what people read.
//!
//! Events arrive at least once and in any order. A [`ClipView`] is therefore folded so that repeating an event changes nothing and
//! the order of events does not matter: percent and times are maxima or minima, the latest report of the latest attempt decides
//! what is shown, a higher generation replaces a lower one, and a terminal state stays. The one thing that order can decide is
//! which of two *contradicting* terminal events of a generation counts (a cancellation racing a completion): the first folded
//! wins, because people have already read it.
//!
//! ```text
//!            started            completed
//!  queued ───────────▶ processing ─────────▶ completed
//!    │                    │  │ failed
//!    │ cancelled          │  └─────────────▶ failed ────┐ requeued
//!    └────────────────────┴────────────────▶ cancelled ─┤ (generation + 1)
//!                                              queued ◀─┘
//! ```

mod batch;
#[cfg(test)]
mod tests;

pub use batch::BatchView;

use crate::{
    attempt::Attempt,
    attempt_stats::{AttemptEnd, AttemptOutcome, AttemptStats},
    cost::Usage,
    failure::{Class, Code, Failure},
    history::{GenerationEnd, History},
    progress::Phase,
    state::State,
};

/// Where the time of a clip went, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From acceptance to the start of the attempt that completed.
    pub queued_ms: i64,
    /// To the first picture of the source.
    pub fetch_ms: i64,
    /// Decode, reframe and encode.
    pub encode_ms: i64,
    /// Checks.
    pub verify_ms: i64,
    /// Making the result visible.
    pub upload_ms: i64,
    /// From acceptance to completion.
    pub total_ms: i64,
}

/// The result of a completed clip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// gs:// name.
    pub uri: String,
    /// Where it can be downloaded.
    pub url: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Milliseconds.
    pub duration_ms: i64,
    /// Adopted from earlier, equal work.
    pub reused: bool,
    /// Where the time went.
    pub timings: Timings,
    /// What it took.
    pub usage: Usage,
    /// What was made and how it was proved.
    pub manifest: ManifestRef,
    /// One picture of it.
    pub cover: CoverRef,
}

/// Where a clip's cover lies. Empty for clips made before there were any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoverRef {
    /// gs:// name.
    pub uri: String,
    /// Where it can be downloaded.
    pub url: String,
}

/// Where a clip's manifest lies. Empty for clips made before there were any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestRef {
    /// gs:// name.
    pub uri: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

/// How an attempt encodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// The encoder; empty until known.
    pub encoder: String,
    /// Why it is not the preferred one; empty when it is.
    pub fallback_reason: String,
    /// The decoder of the source's pictures; empty until known.
    pub decoder: String,
    /// Version of the GPU's driver, or `unknown`; empty where no GPU has a part in it.
    pub gpu_driver: String,
}

/// What can happen to a clip.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "few events are held at once, and the largest is the one that every clip ends with"
)]
pub enum ClipEventKind {
    /// Accepted, at first or again by an explicit retry (in a higher generation).
    Queued,
    /// An attempt began.
    Started,
    /// An attempt got on.
    Progressed {
        /// The stage.
        phase: Phase,
        /// 0 to 99.
        percent: u8,
        /// Seconds left, if known.
        eta_seconds: Option<u32>,
        /// How it encodes.
        encoding: Encoding,
    },
    /// The result is visible.
    Completed {
        /// The result.
        output: Output,
        /// How it was encoded.
        encoding: Encoding,
    },
    /// No result, and no further attempt.
    Failed(Failure),
    /// The attempt ended through no fault of the clip; another follows.
    Interrupted,
    /// The attempt met something that may pass; another follows.
    FailedTransiently(Failure),
    /// The attempt's media process died, hung or ran out of time; another follows.
    Crashed(Failure),
    /// Given up on request.
    Cancelled,
}

impl ClipEventKind {
    /// How the attempt that tells this ended, if not well. The last of several like it, which ended its clip, counts like the others.
    fn attempt_end(&self) -> Option<AttemptEnd> {
        let end = |outcome, code: Option<&Code>| Some(AttemptEnd { outcome, code: code.cloned() });
        match self {
            Self::Interrupted => end(AttemptOutcome::Interrupted, None),
            Self::FailedTransiently(failure) => end(AttemptOutcome::FailedTransiently, Some(&failure.code)),
            Self::Crashed(failure) => end(AttemptOutcome::Crashed, Some(&failure.code)),
            Self::Failed(failure) => match failure.class() {
                Class::Crash | Class::BadOutput => end(AttemptOutcome::Crashed, Some(&failure.code)),
                Class::Transient => end(AttemptOutcome::FailedTransiently, Some(&failure.code)),
                Class::Permanent => None,
            },
            _ => None,
        }
    }

    /// The state in which this leaves its clip for good.
    fn end(&self) -> Option<State> {
        match self {
            Self::Completed { .. } => Some(State::Completed),
            Self::Failed(_) => Some(State::Failed),
            Self::Cancelled => Some(State::Cancelled),
            _ => None,
        }
    }
}

/// Something that happened to a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipEvent {
    /// Of the clip: 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// Unix time, milliseconds.
    pub at_ms: i64,
    /// Who reports; `None` when it is no attempt.
    pub attempt: Option<Attempt>,
    /// What happened.
    pub kind: ClipEventKind,
}

impl ClipEvent {
    /// Whether this is a later report of progress by the same attempt, whose percent never falls: then it tells all that the earlier one
    /// did, and a document that lost both needs only this one again.
    pub fn supersedes(&self, earlier: &Self) -> bool {
        let (Some(own), Some(other)) = (&self.attempt, &earlier.attempt) else { return false };
        let progress = |event: &Self| matches!(event.kind, ClipEventKind::Progressed { .. });
        progress(self)
            && progress(earlier)
            && self.generation == earlier.generation
            && own.id == other.id
            && own.sequence > other.sequence
    }
}

/// A clip as people read it. Times are Unix time, milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClipView {
    /// Of the clip: 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// Where it stands.
    pub state: State,
    /// The stage of the latest attempt.
    pub phase: Phase,
    /// 0 to 100; never falls within a generation.
    pub percent: u8,
    /// Seconds left, if known.
    pub eta_seconds: Option<u32>,
    /// The latest report of the latest attempt.
    pub attempt: Option<Attempt>,
    /// How the latest attempt encodes.
    pub encoding: Encoding,
    /// The result, when completed.
    pub output: Option<Output>,
    /// The reason, when failed.
    pub failure: Option<Failure>,
    /// First accepted.
    pub created_at_ms: Option<i64>,
    /// First attempt of this generation.
    pub started_at_ms: Option<i64>,
    /// Last change.
    pub updated_at_ms: i64,
    /// Over.
    pub completed_at_ms: Option<i64>,
    /// What became of the attempts of this generation.
    pub stats: AttemptStats,
    /// How earlier generations ended.
    pub history: History,
}

impl ClipView {
    /// Folds one event in. Says whether anything changed.
    pub fn fold(&mut self, event: &ClipEvent) -> bool {
        let before = self.clone();
        self.created_at_ms = earliest(self.created_at_ms, event.at_ms);
        if event.generation > self.generation {
            self.begin(event.generation);
        }
        if event.generation == self.generation {
            self.fold_current(event);
        } else if let Some(state) = event.kind.end() {
            self.history.record(
                event.generation,
                GenerationEnd { state, at_ms: event.at_ms, failure: failure_of(&event.kind) },
            );
        }
        *self != before
    }

    /// Starts over, remembering how the clip ended before.
    fn begin(&mut self, generation: u32) {
        let mut before = std::mem::take(self);
        if before.state.is_terminal() {
            let at_ms = before.completed_at_ms.unwrap_or(before.updated_at_ms);
            let end = GenerationEnd { state: before.state, at_ms, failure: before.failure };
            before.history.record(before.generation, end);
        }
        let (created_at_ms, history) = (before.created_at_ms, before.history);
        *self = Self { generation, created_at_ms, history, ..Self::default() };
    }

    /// What adds up counts even when it arrives after the end: else the order of events would show.
    fn fold_current(&mut self, event: &ClipEvent) {
        if let Some(attempt) = &event.attempt {
            self.started_at_ms = earliest(self.started_at_ms, attempt.started_at_ms);
            self.stats.record(&attempt.id, event.kind.attempt_end());
        }
        if let ClipEventKind::Progressed { percent, .. } = &event.kind {
            self.percent = self.percent.max((*percent).min(99));
        }
        if self.state.is_terminal() {
            if self.ended_from_outside() {
                self.show(event.attempt.as_ref());
            }
            return;
        }
        self.updated_at_ms = self.updated_at_ms.max(event.at_ms);
        match &event.kind {
            ClipEventKind::Queued => {}
            ClipEventKind::Started => self.report(event, Phase::Fetching, None, &Encoding::default()),
            ClipEventKind::Progressed { phase, eta_seconds, encoding, .. } => {
                self.report(event, *phase, *eta_seconds, encoding);
            }
            ClipEventKind::Interrupted | ClipEventKind::FailedTransiently(_) | ClipEventKind::Crashed(_) => {
                self.report(event, Phase::Queued, None, &Encoding::default());
            }
            ClipEventKind::Completed { output, encoding } => {
                self.percent = 100;
                self.output = Some(output.clone());
                self.encoding = encoding.clone();
                self.end(event, State::Completed);
            }
            ClipEventKind::Failed(failure) => {
                self.failure = Some(failure.clone());
                self.end(event, State::Failed);
            }
            ClipEventKind::Cancelled => self.end(event, State::Cancelled),
        }
    }

    /// Whether the clip failed because the queue gave its job up.
    pub fn is_dead_lettered(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.code == Code::DeadLettered)
    }

    /// Shows what an attempt says, unless something later is already shown.
    fn report(&mut self, event: &ClipEvent, phase: Phase, eta_seconds: Option<u32>, encoding: &Encoding) {
        self.state = State::Processing;
        if self.show(event.attempt.as_ref()) {
            self.phase = phase;
            self.eta_seconds = eta_seconds;
            self.encoding = encoding.clone();
        }
    }

    /// Shows an attempt, unless a later report is already shown. Says whether it does.
    fn show(&mut self, attempt: Option<&Attempt>) -> bool {
        let Some(attempt) = attempt else { return false };
        let later = self.attempt.as_ref().is_none_or(|shown| shown.order() < attempt.order());
        if later {
            self.attempt = Some(attempt.clone());
        }
        later
    }

    /// Whether no attempt told how the clip ended. Then the latest one is shown, even if it is heard of only now.
    fn ended_from_outside(&self) -> bool {
        self.state == State::Cancelled || self.is_dead_lettered()
    }

    /// Ends the generation. The latest attempt stays shown unless the ending names one. Without a result no encoding is shown: the
    /// reports that told it may come after the end.
    fn end(&mut self, event: &ClipEvent, state: State) {
        self.state = state;
        self.phase = Phase::Done;
        self.eta_seconds = None;
        self.updated_at_ms = event.at_ms;
        self.completed_at_ms = Some(event.at_ms);
        if event.attempt.is_some() {
            self.attempt.clone_from(&event.attempt);
        }
        if state != State::Completed {
            self.encoding = Encoding::default();
        }
    }
}

fn failure_of(kind: &ClipEventKind) -> Option<Failure> {
    match kind {
        ClipEventKind::Failed(failure) => Some(failure.clone()),
        _ => None,
    }
}

fn earliest(known: Option<i64>, at_ms: i64) -> Option<i64> {
    Some(known.map_or(at_ms, |known| known.min(at_ms)))
}
