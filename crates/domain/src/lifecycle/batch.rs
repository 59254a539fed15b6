//! The status of a batch, derived from its clips.

use super::{ClipView, State, earliest};

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
    /// Seconds until the last clip ends, if known for every clip.
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
        for clip in clips {
            seen += 1;
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
        batch.eta_seconds = if is_terminal || seen < total || !started { None } else { eta };
        batch.completed_at_ms = batch.completed_at_ms.filter(|_| is_terminal);
        batch
    }
}
