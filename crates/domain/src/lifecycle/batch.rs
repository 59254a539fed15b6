//! What the clips of a batch come to.

use super::{ClipView, State, earliest};

/// A batch as people read it: derived from its clips, never stored knowledge of its own. Times are Unix time, milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchView {
    /// Where it stands.
    pub state: State,
    /// Mean over the clips, 0 to 100; a clip that is over counts as 100.
    pub percent: u8,
    /// Clips in all.
    pub total: u32,
    /// Clips with a result.
    pub completed: u32,
    /// Clips that failed.
    pub failed: u32,
    /// Clips given up on request.
    pub cancelled: u32,
    /// Of the failed ones, those that the queue gave up.
    pub dead_lettered: u32,
    /// Seconds until the last clip ends, if that is known of every clip.
    pub eta_seconds: Option<u32>,
    /// First accepted.
    pub created_at_ms: Option<i64>,
    /// Last change.
    pub updated_at_ms: i64,
    /// Over.
    pub completed_at_ms: Option<i64>,
}

impl BatchView {
    /// Sums up `total` clips, of which the views seen so far are given.
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
        let over = batch.completed + batch.failed + batch.cancelled;
        batch.percent = u8::try_from(sum / u64::from(total.max(seen).max(1))).unwrap_or(100);
        batch.state = match () {
            () if over < total || seen == 0 => {
                if started {
                    State::Processing
                } else {
                    State::Queued
                }
            }
            () if batch.completed == over => State::Completed,
            () if batch.cancelled == over => State::Cancelled,
            () if batch.completed > 0 => State::Partial,
            () => State::Failed,
        };
        let ended = batch.state.is_terminal();
        batch.eta_seconds = if ended || seen < total || !started { None } else { eta };
        batch.completed_at_ms = batch.completed_at_ms.filter(|_| ended);
        batch
    }
}
