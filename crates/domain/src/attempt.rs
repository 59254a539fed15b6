//! One attempt at a clip, and the order among attempts.

use crate::ids::{AttemptId, WorkerId};

/// An attempt that reports, and the position of the report among its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The attempt's id.
    pub id: AttemptId,
    /// Counts from 1 within a generation of the clip.
    pub number: u32,
    /// Unix time, milliseconds.
    pub started_at_ms: i64,
    /// The worker that runs the attempt.
    pub worker: WorkerId,
    /// Orders the reports of this attempt.
    pub sequence: u64,
}

impl Attempt {
    /// Later attempts, and later reports of one attempt, compare greater. The order is total, so that folding is
    /// deterministic.
    pub fn order(&self) -> (u32, i64, &str, u64) {
        (self.number, self.started_at_ms, self.id.as_str(), self.sequence)
    }
}
