//! When a document was written, and when it is to be written next.

use clipfleet_cloud::{Precondition, Version};
use std::time::Duration;
use tokio::time::Instant;

/// At most one write per second and document, which is what Firestore sustains; a change of status goes out at once.
pub(crate) const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// A place on the board's agenda.
pub(crate) type Deadline = (Priority, Instant);

/// Whose turn it is when more is due than can be written: so progress is written less often where documents are written slowly, and an
/// end is told as soon as ever. What a batch counts is never written before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// A clip's change of state.
    Clip,
    /// A batch's.
    Batch,
    /// Progress.
    Progress,
}

/// A document's state of being written.
#[derive(Debug, Default, Clone)]
pub(crate) struct WriteState {
    /// What is stored; `None` while nothing is.
    pub(crate) version: Option<Version>,
    /// When it is to be written; `None` while it says what is stored.
    pub(crate) due: Option<Instant>,
    /// Whether that is at once, whatever else waits.
    pub(crate) urgent: bool,
    /// Where the board's agenda has it.
    pub(crate) scheduled: Option<Deadline>,
    /// Whether the store refuses even the least that the document could say. Nothing more is written until the clip
    /// starts over.
    pub(crate) given_up: bool,
    written_at: Option<Instant>,
}

impl WriteState {
    /// As a document says that is stored.
    pub(crate) fn stored(version: Version) -> Self {
        Self { version: Some(version), ..Self::default() }
    }

    /// Notes that the document must be written: at once, or when its second is over.
    pub(crate) fn touch(&mut self, urgent: bool, now: Instant) {
        let rested = self.written_at.map_or(now, |written| written + WRITE_INTERVAL);
        let at = if urgent { now } else { rested };
        self.urgent |= urgent;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Notes that it was.
    pub(crate) fn written(&mut self, version: Version, now: Instant) {
        self.given_up = false;
        (self.version, self.due, self.urgent, self.written_at) = (Some(version), None, false, Some(now));
    }

    /// Notes that the document cannot be written at all.
    pub(crate) fn give_up(&mut self) {
        (self.due, self.urgent, self.given_up) = (None, false, true);
    }

    /// Notes that the document is not to be written before then.
    pub(crate) fn postpone(&mut self, until: Instant) {
        (self.due, self.urgent) = (Some(until), false);
    }

    pub(crate) fn precondition(&self) -> Precondition {
        self.version.map_or(Precondition::Absent, Precondition::Unchanged)
    }
}
