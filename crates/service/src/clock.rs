//! The time of day for messages and documents, from one reading of the system clock at start and the runtime's own timer
//! since: it never runs backwards, and it obeys a test's paused time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A clock that never runs backwards.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    /// Set by the system's clock.
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::starting_at(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Set to a Unix time in milliseconds.
    pub fn starting_at(start_ms: i64) -> Self {
        Self { start: Instant::now(), start_ms }
    }

    /// Unix time, milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.start_ms + i64::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }
}
