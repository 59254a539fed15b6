//! When a document was written, and when it must be written next.

use clipfleet_cloud::{Precondition, Version};
use std::time::Duration;
use tokio::time::Instant;

/// The interval between two writes of progress to a document: Firestore sustains one write a second. Changes of status
/// are written immediately.
pub(crate) const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The position of a document in the write queue.
pub(crate) type Deadline = (Priority, Instant);

/// The order of writes when more documents are due than can be written. If writes are slow, progress is written less
/// often, and ends are not delayed. A batch is written after the clips that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// A change of a clip's state.
    Clip,
    /// A change of a batch's state.
    Batch,
    /// Progress.
    Progress,
}

/// The state of a document in memory relative to the stored one.
#[derive(Debug, Default, Clone)]
pub(crate) struct WriteState {
    /// The stored version; `None` if the document does not exist.
    pub(crate) version: Option<Version>,
    /// When it must be written; `None` if it equals the stored one.
    pub(crate) due: Option<Instant>,
    /// Whether it must be written before other documents.
    pub(crate) urgent: bool,
    /// Its position in the write queue.
    pub(crate) scheduled: Option<Deadline>,
    /// Whether the store refuses even the reduced document. Then it is not written until the clip is retried.
    pub(crate) given_up: bool,
    written_at: Option<Instant>,
}

impl WriteState {
    /// The state of a document that was just read.
    pub(crate) fn stored(version: Version) -> Self {
        Self { version: Some(version), ..Self::default() }
    }

    /// Schedules a write: immediately, or when the interval has passed.
    pub(crate) fn touch(&mut self, urgent: bool, now: Instant) {
        let next = self.written_at.map_or(now, |written| written + WRITE_INTERVAL);
        let at = if urgent { now } else { next };
        self.urgent |= urgent;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Records a write.
    pub(crate) fn written(&mut self, version: Version, now: Instant) {
        self.given_up = false;
        (self.version, self.due, self.urgent, self.written_at) = (Some(version), None, false, Some(now));
    }

    /// Records that the document cannot be written.
    pub(crate) fn give_up(&mut self) {
        (self.due, self.urgent, self.given_up) = (None, false, true);
    }

    /// Postpones the next write.
    pub(crate) fn postpone(&mut self, until: Instant) {
        (self.due, self.urgent) = (Some(until), false);
    }

    pub(crate) fn precondition(&self) -> Precondition {
        self.version.map_or(Precondition::Absent, Precondition::Unchanged)
    }
}
