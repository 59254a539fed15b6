//! Timestamps in microseconds that never repeat, even when the system clock stops or steps back.

use prost_types::Timestamp;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Returns strictly increasing microseconds since the epoch. They serve as message IDs, generations and update times.
#[derive(Debug, Default)]
pub(crate) struct Ticker(AtomicU64);

impl Ticker {
    /// Returns the current time, or one microsecond after the last tick if that is later.
    pub(crate) fn tick(&self) -> u64 {
        let now = now_micros();
        let previous = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        previous.map_or(now, |last| now.max(last + 1))
    }

    /// Makes every later tick greater than `floor`, which was read from disk.
    pub(crate) fn raise(&self, floor: u64) {
        self.0.fetch_max(floor, Ordering::Relaxed);
    }
}

/// The system clock, in microseconds since the epoch.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}

/// Microseconds since the epoch as a protobuf timestamp.
pub(crate) fn timestamp(micros: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0),
    }
}

/// A protobuf timestamp as microseconds since the epoch, rounded down; times before the epoch are 0.
pub(crate) fn micros(at: &Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(at.nanos).unwrap_or(0) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_increase_beyond_the_stored_floor() {
        let ticker = Ticker::default();
        let first = ticker.tick();
        assert!(ticker.tick() > first);
        let future = first + 1_000_000_000;
        ticker.raise(future);
        assert_eq!(ticker.tick(), future + 1);
        assert_eq!(ticker.tick(), future + 2);
    }

    #[test]
    fn timestamps_keep_microseconds() {
        let at = 1_700_000_000_123_456;
        assert_eq!(micros(&timestamp(at)), at);
    }
}
