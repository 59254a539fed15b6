//! Where a clip or a batch stands.

/// Where a clip or a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Accepted, not started.
    #[default]
    Queued,
    /// Started.
    Processing,
    /// Done, every output visible.
    Completed,
    /// A batch only: over, with some clips completed and some not.
    Partial,
    /// Over without a result.
    Failed,
    /// Given up on request.
    Cancelled,
}

impl State {
    /// Every state, with its name on the wire.
    pub const ALL: [(State, &'static str); 6] = [
        (State::Queued, "queued"),
        (State::Processing, "processing"),
        (State::Completed, "completed"),
        (State::Partial, "partial"),
        (State::Failed, "failed"),
        (State::Cancelled, "cancelled"),
    ];

    /// Whether nothing more will happen without an explicit retry.
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Queued | State::Processing)
    }
}
