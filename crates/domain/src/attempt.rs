//! One real run at a clip, and the order among runs.

use crate::ids::{AttemptId, WorkerId};

/// Who reports, and when in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its own id.
    pub id: AttemptId,
    /// Counts from 1 within a generation of the clip.
    pub number: u32,
    /// Unix time, milliseconds.
    pub started_at_ms: i64,
    /// The worker that runs it.
    pub worker: WorkerId,
    /// Orders the reports of this attempt.
    pub sequence: u64,
}

impl Attempt {
    /// Later attempts, and later reports of one attempt, compare greater. Total, so that folding needs no luck.
    pub fn order(&self) -> (u32, i64, &str, u64) {
        (self.number, self.started_at_ms, self.id.as_str(), self.sequence)
    }
}
