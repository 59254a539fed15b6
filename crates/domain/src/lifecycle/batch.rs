//! The status of a batch, derived from its clips.

use super::{ClipView, State, earliest};
use crate::progress;

/// The status of a batch, as clients read it, derived from its clips. Times are Unix time, milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchView {
    /// The state.
    pub state: State,
    /// The mean of the clips, 0 to 100; a clip that has ended counts as 100.
    pub percent: u8,
    /// All clips.
    pub total: u32,
    /// Clips with a result.
    pub completed: u32,
    /// Clips that failed.
    pub failed: u32,
    /// Cancelled clips.
    pub cancelled: u32,
    /// Failed clips whose jobs the queue dead-lettered.
    pub dead_lettered: u32,
    /// Seconds until the last clip ends: the longest estimate if there is one for every clip, otherwise extrapolated
    /// from the progress of all clips, of which some still wait.
    pub eta_seconds: Option<u32>,
    /// When the batch was first accepted.
    pub created_at_ms: Option<i64>,
    /// The last change.
    pub updated_at_ms: i64,
    /// When the last clip ended.
    pub completed_at_ms: Option<i64>,
}

impl BatchView {
    /// The status of `total` clips, of which `clips` are known so far.
    pub fn of<'a>(clips: impl IntoIterator<Item = &'a ClipView>, total: u32) -> Self {
        let mut batch = Self { total, ..Self::default() };
        let (mut seen, mut sum, mut started, mut eta) = (0, 0, false, Some(0));
        let (mut started_at_ms, mut retried) = (None, false);
        for clip in clips {
            seen += 1;
            retried |= clip.generation > 0;
            started |= clip.state != State::Queued;
            sum += if clip.state.is_terminal() { 100 } else { u64::from(clip.percent) };
            match clip.state {
                State::Completed => batch.completed += 1,
                State::Failed | State::Partial => batch.failed += 1,
                State::Cancelled => batch.cancelled += 1,
                State::Queued | State::Processing => eta = eta.zip(clip.eta_seconds).map(|(a, b)| a.max(b)),
            }
            batch.dead_lettered += u32::from(clip.is_dead_lettered());
            batch.created_at_ms =
                clip.created_at_ms.map_or(batch.created_at_ms, |at| earliest(batch.created_at_ms, at));
            started_at_ms = clip.started_at_ms.map_or(started_at_ms, |at| earliest(started_at_ms, at));
            batch.updated_at_ms = batch.updated_at_ms.max(clip.updated_at_ms);
            batch.completed_at_ms = batch.completed_at_ms.max(clip.completed_at_ms);
        }
        let ended = batch.completed + batch.failed + batch.cancelled;
        batch.percent = u8::try_from(sum / u64::from(total.max(seen).max(1))).unwrap_or(100);
        batch.state = match () {
            () if ended < total || seen == 0 => {
                if started {
                    State::Processing
                } else {
                    State::Queued
                }
            }
            () if batch.completed == ended => State::Completed,
            () if batch.cancelled == ended => State::Cancelled,
            () if batch.completed > 0 => State::Partial,
            () => State::Failed,
        };
        let is_terminal = batch.state.is_terminal();
        let pace = |at_ms| progress::eta_seconds(0, batch.percent, batch.updated_at_ms - at_ms);
        // Of a batch with retries, the time since the first start says nothing about the pace.
        let eta = eta.or_else(|| started_at_ms.filter(|_| !retried).and_then(pace));
        batch.eta_seconds = if is_terminal || seen < total || !started { None } else { eta };
        batch.completed_at_ms = batch.completed_at_ms.filter(|_| is_terminal);
        batch
    }
}
