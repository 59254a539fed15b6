//! The state of a clip or a batch.

use crate::wire_name::WireName;

/// The state of a clip or a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Accepted, not started.
    #[default]
    Queued,
    /// Started.
    Processing,
    /// Ended; every result is visible.
    Completed,
    /// Only of a batch: it has ended, and some of its clips completed.
    Partial,
    /// Ended without a result.
    Failed,
    /// Cancelled by request.
    Cancelled,
}

impl WireName for State {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Queued, "queued"),
        (Self::Processing, "processing"),
        (Self::Completed, "completed"),
        (Self::Partial, "partial"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
    ];
}

impl State {
    /// Whether only an explicit retry can change it.
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Queued | State::Processing)
    }
}
