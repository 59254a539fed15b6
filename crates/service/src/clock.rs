//! The wall-clock time for messages and documents: one reading of the system clock at start, advanced by the runtime's
//! timer. It never runs backwards, and it follows a test's paused time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A clock that never runs backwards.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    /// Starts at the system clock's time.
    #[expect(clippy::disallowed_methods, reason = "the one reading from which every Clock goes on")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::starting_at(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Starts at a Unix time in milliseconds.
    pub fn starting_at(start_ms: i64) -> Self {
        Self { start: Instant::now(), start_ms }
    }

    /// Unix time, milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.start_ms + i64::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }
}
