//! How events fold into the status that clients read.
//!
//! Events arrive at least once and in any order. Folding a [`ClipView`] is therefore idempotent and independent of the
//! order of events: percent and times are maxima or minima, the latest report of the latest attempt decides what is
//! shown, a higher generation replaces a lower one, and a terminal state is final. The order decides only between two
//! *contradicting* terminal events of a generation (a cancellation racing a completion): the event that is folded first
//! wins, because clients have already read it.
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
    bounds::bounded,
    cost::Usage,
    failure::{Class, Code, Failure},
    history::{GenerationEnd, History},
    limits::{MAX_LABEL_CHARS, MAX_MESSAGE_CHARS, MAX_URL_BYTES},
    progress::Phase,
    state::State,
};

/// How long each part of a clip took, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From acceptance to the start of the attempt that completed the clip.
    pub queued_ms: i64,
    /// Reading up to the first picture of the source.
    pub fetch_ms: i64,
    /// Decoding, reframing and encoding.
    pub encode_ms: i64,
    /// Verification.
    pub verify_ms: i64,
    /// Making the result visible.
    pub upload_ms: i64,
    /// From acceptance to completion.
    pub total_ms: i64,
}

/// The result of a completed clip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The `gs://` URI.
    pub uri: String,
    /// The download URL.
    pub url: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// Duration in milliseconds.
    pub duration_ms: i64,
    /// Whether the result of earlier, equal work was adopted.
    pub reused: bool,
    /// How long each part took.
    pub timings: Timings,
    /// The resources it used.
    pub usage: Usage,
    /// What was made and how it was verified.
    pub manifest: ManifestRef,
    /// One picture of the clip.
    pub cover: CoverRef,
}

impl Output {
    /// The same output without URLs that are too long: they come from object metadata and signers.
    #[must_use]
    pub fn bounded(self) -> Self {
        let sha256 = bounded(&self.manifest.sha256, MAX_LABEL_CHARS);
        Self {
            uri: bounded_url(self.uri),
            url: bounded_url(self.url),
            manifest: ManifestRef { uri: bounded_url(self.manifest.uri), sha256 },
            cover: CoverRef { uri: bounded_url(self.cover.uri), url: bounded_url(self.cover.url) },
            ..self
        }
    }
}

/// A URL, or an empty text if it is too long: a truncated URL would be useless.
fn bounded_url(url: String) -> String {
    if url.len() <= MAX_URL_BYTES { url } else { String::new() }
}

/// The object of a clip's cover. Empty for clips made before covers existed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoverRef {
    /// The `gs://` URI.
    pub uri: String,
    /// The download URL.
    pub url: String,
}

/// The object of a clip's manifest. Empty for clips made before manifests existed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestRef {
    /// The `gs://` URI.
    pub uri: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// How an attempt encodes a clip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// The encoder; empty until known.
    pub encoder: String,
    /// Why it is not the preferred encoder; empty if it is.
    pub fallback_reason: String,
    /// The decoder of the source's video; empty until known.
    pub decoder: String,
    /// Version of the GPU's driver, or `unknown`; empty if no GPU is used.
    pub gpu_driver: String,
}

impl Encoding {
    /// The same encoding with each text within its limit: the texts come from drivers and object metadata.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            encoder: bounded(&self.encoder, MAX_LABEL_CHARS),
            fallback_reason: bounded(&self.fallback_reason, MAX_MESSAGE_CHARS),
            decoder: bounded(&self.decoder, MAX_LABEL_CHARS),
            gpu_driver: bounded(&self.gpu_driver, MAX_LABEL_CHARS),
        }
    }
}

/// What can happen to a clip.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "few events are held at once, and the largest is the one that every clip ends with"
)]
pub enum ClipEventKind {
    /// Accepted: at first, or by an explicit retry, in a higher generation.
    Queued,
    /// An attempt started.
    Started,
    /// An attempt made progress.
    Progressed {
        /// The phase.
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
    /// The clip failed; no further attempt follows.
    Failed(Failure),
    /// The attempt ended because its worker was told to stop; another attempt follows.
    Interrupted,
    /// The attempt failed, but may succeed if repeated; another attempt follows.
    FailedTransiently(Failure),
    /// The attempt's media process died, hung, ran out of time or made a bad clip; another attempt follows.
    Crashed(Failure),
    /// Cancelled by request.
    Cancelled,
}

impl ClipEventKind {
    /// How the attempt that reports this ended, if it failed. A failure that ends the clip counts like the ones before
    /// it.
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

    /// The terminal state that this event puts its clip into.
    fn end(&self) -> Option<State> {
        match self {
            Self::Completed { .. } => Some(State::Completed),
            Self::Failed(_) => Some(State::Failed),
            Self::Cancelled => Some(State::Cancelled),
            _ => None,
        }
    }
}

/// An event of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipEvent {
    /// The clip's generation: 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// Unix time, milliseconds.
    pub at_ms: i64,
    /// The attempt that reports; `None` if the event is not from an attempt.
    pub attempt: Option<Attempt>,
    /// What happened.
    pub kind: ClipEventKind,
}

impl ClipEvent {
    /// Whether this is a later progress report of the same attempt. Percent never falls within an attempt, so folding
    /// this report has the same result as folding both.
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

/// The status of a clip, as clients read it. Times are Unix time, milliseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClipView {
    /// The clip's generation: 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// The state.
    pub state: State,
    /// The phase of the latest attempt.
    pub phase: Phase,
    /// 0 to 100; never falls within a generation.
    pub percent: u8,
    /// Seconds left, if known.
    pub eta_seconds: Option<u32>,
    /// The latest report of the latest attempt.
    pub attempt: Option<Attempt>,
    /// How the latest attempt encodes the clip.
    pub encoding: Encoding,
    /// The result, if completed.
    pub output: Option<Output>,
    /// The reason, if failed.
    pub failure: Option<Failure>,
    /// When the clip was first accepted.
    pub created_at_ms: Option<i64>,
    /// When the first attempt of this generation started.
    pub started_at_ms: Option<i64>,
    /// The last change.
    pub updated_at_ms: i64,
    /// When this generation ended.
    pub completed_at_ms: Option<i64>,
    /// The attempts of this generation and how they ended.
    pub stats: AttemptStats,
    /// How earlier generations ended.
    pub history: History,
}

impl ClipView {
    /// Folds one event. Returns whether anything changed.
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

    /// Starts a generation. The history records how the one before it ended.
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

    /// Folds an event of the current generation. Attempts and percent count even after the clip has ended; otherwise
    /// the order of events would make a difference.
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

    /// Whether the clip failed because the queue dead-lettered its job.
    pub fn is_dead_lettered(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.code == Code::DeadLettered)
    }

    /// Shows an attempt's report, unless a later one is already shown.
    fn report(&mut self, event: &ClipEvent, phase: Phase, eta_seconds: Option<u32>, encoding: &Encoding) {
        self.state = State::Processing;
        if self.show(event.attempt.as_ref()) {
            self.phase = phase;
            self.eta_seconds = eta_seconds;
            self.encoding = encoding.clone();
        }
    }

    /// Shows an attempt, unless a later report is already shown. Returns whether it is shown now.
    fn show(&mut self, attempt: Option<&Attempt>) -> bool {
        let Some(attempt) = attempt else { return false };
        let later = self.attempt.as_ref().is_none_or(|shown| shown.order() < attempt.order());
        if later {
            self.attempt = Some(attempt.clone());
        }
        later
    }

    /// Whether the clip was not ended by an attempt. Then the latest attempt is shown, even if its events arrive
    /// afterwards.
    fn ended_from_outside(&self) -> bool {
        self.state == State::Cancelled || self.is_dead_lettered()
    }

    /// Ends the generation. The attempt that ended the clip is shown, otherwise the latest one. Without a result no
    /// encoding is shown, because the reports that contain it may arrive after the end.
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
