//! A batch as the command line shows it.

use super::text;
use clipfleet_contract::v1::{BatchStatus, ClipStatus};
use std::time::Duration;

/// A clip of the batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClipView {
    pub(crate) name: String,
    /// Milliseconds, if it is known.
    pub(crate) length_ms: Option<i64>,
    pub(crate) state: ClipState,
}

/// What is the matter with a clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClipState {
    Queued,
    Running { percent: u32, phase: &'static str, eta_seconds: Option<u32> },
    Done { bytes: u64, work: Work },
    Failed { code: String },
    Cancelled,
}

/// The work that a completed clip was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It was made in this time, without the time in the queue.
    Made(Duration),
    /// An earlier result was found, and downloaded.
    Reused,
    /// An earlier result was found, and its file is here already.
    Unchanged,
}

impl Work {
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Made(time) => text::took(time),
            Self::Reused => "reused".to_owned(),
            Self::Unchanged => "unchanged".to_owned(),
        }
    }
}

impl ClipState {
    pub(crate) fn of(clip: &ClipStatus) -> Self {
        match clip.status.as_str() {
            "processing" => Self::Running {
                percent: clip.progress.min(100),
                phase: phase(&clip.phase),
                eta_seconds: clip.eta_seconds,
            },
            "completed" => Self::Done { bytes: u64::try_from(clip.output_size_bytes).unwrap_or(0), work: work(clip) },
            "failed" => Self::Failed { code: clip.error.as_ref().map_or("", |error| error.code.as_str()).to_owned() },
            "cancelled" => Self::Cancelled,
            _ => Self::Queued,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self, Self::Queued | Self::Running { .. })
    }
}

fn work(clip: &ClipStatus) -> Work {
    if clip.reused {
        return Work::Reused;
    }
    let timings = clip.timings.unwrap_or_default();
    Work::Made(Duration::from_millis(u64::try_from(timings.total_ms - timings.queued_ms).unwrap_or(0)))
}

/// The phase of an attempt in plain words.
fn phase(phase: &str) -> &'static str {
    match phase {
        "fetching" => "loading",
        "encoding" => "encoding",
        "verifying" => "verifying",
        "uploading" => "saving",
        _ => "starting",
    }
}

/// Whether a batch or a clip with this status has ended.
pub(crate) fn is_terminal(status: &str) -> bool {
    !matches!(status, "queued" | "processing" | "")
}

/// The clips of a status. `length_ms` returns the length of those that have not ended.
pub(crate) fn clips(status: &BatchStatus, length_ms: impl Fn(&str) -> Option<i64>) -> Vec<ClipView> {
    let view = |clip: &ClipStatus| ClipView {
        name: clip.clip_id.clone(),
        length_ms: length_ms(&clip.clip_id).or(Some(clip.duration_ms).filter(|length| *length > 0)),
        state: ClipState::of(clip),
    };
    status.clips.iter().map(view).collect()
}
