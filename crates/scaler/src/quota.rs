//! What the platform was found to allow: the sizes between the last one that it accepted and the smallest one that it
//! refused for want of quota or capacity.
//!
//! A refused size is halved towards the last good one. Both bounds move towards each other with every answer, so the
//! largest size that fits is found in a few writes:
//!
//! ```text
//!   good 0 ───────── ceiling 5 ───────── refused 10      5 accepted: good 5, the ceiling is 7
//! ```

use std::time::Duration;
use tokio::time::Instant;

/// How long a refusal is remembered. Afterwards the size that the load calls for is tried again: quota may have been
/// granted, and a region gets new GPUs all the time.
const MEMORY: Duration = Duration::from_secs(5 * 60);

/// The sizes that the platform accepted and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeLimit {
    good: u32,
    refused: u32,
    until: Instant,
}

impl SizeLimit {
    /// The limit after `refused` was refused. `current` is the size that ran before.
    pub(crate) fn after_refusal(known: Option<Self>, current: u32, refused: u32) -> Self {
        let refused = known.map_or(refused, |limit| limit.refused.min(refused));
        // A quota may have been lowered below what ran.
        let good = known.map_or(current, |limit| limit.good).min(refused.saturating_sub(1));
        Self { good, refused, until: Instant::now() + MEMORY }
    }

    /// The limit of an earlier leader, which had got as far as `ceiling`.
    pub(crate) fn of_predecessor(ceiling: u32) -> Self {
        Self { good: ceiling, refused: ceiling.saturating_add(1), until: Instant::now() + MEMORY }
    }

    /// The limit after `accepted` was accepted; `None` if it shows that the refusal is over.
    pub(crate) fn after_acceptance(self, accepted: u32) -> Option<Self> {
        (accepted < self.refused).then_some(Self { good: self.good.max(accepted), ..self })
    }

    /// The largest size to try.
    pub(crate) fn ceiling(&self) -> u32 {
        self.good + (self.refused - self.good) / 2
    }

    /// The size that ran when a larger one was refused.
    pub(crate) fn good(&self) -> u32 {
        self.good
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that are set on a platform that allows `allowed`, until the last one stays.
    fn tried(current: u32, wanted: u32, allowed: u32) -> Vec<u32> {
        let (mut limit, mut size, mut tried) = (None, wanted, Vec::new());
        loop {
            tried.push(size);
            assert!(tried.len() < 40, "{tried:?}");
            limit = match (size <= allowed, limit) {
                (false, known) => Some(SizeLimit::after_refusal(known, current, size)),
                (true, known) => known.and_then(|limit: SizeLimit| limit.after_acceptance(size)),
            };
            let next = wanted.min(limit.map_or(wanted, |limit| limit.ceiling()));
            if next == size {
                return tried;
            }
            size = next;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_size_that_fits_is_found() {
        assert_eq!(tried(0, 3, 3), [3]);
        assert_eq!(tried(0, 3, 2), [3, 1, 2]);
        assert_eq!(tried(0, 3, 1), [3, 1, 2, 1]);
        assert_eq!(tried(0, 1, 0), [1, 0]);
        assert_eq!(tried(4, 10, 4), [10, 7, 5, 4]);
        for allowed in 0..100 {
            let tried = tried(0, 100, allowed);
            assert_eq!(tried.last(), Some(&allowed), "{tried:?}");
            assert!(tried.len() <= 14, "{tried:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_that_was_lowered_is_followed() {
        let limit = SizeLimit::after_refusal(None, 8, 9);
        assert_eq!(limit.ceiling(), 8);
        let lowered = SizeLimit::after_refusal(Some(limit), 8, 8);
        assert_eq!((lowered.good(), lowered.ceiling()), (7, 7));
        assert_eq!(limit.after_acceptance(9), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_forgotten_after_minutes() {
        let limit = SizeLimit::after_refusal(None, 0, 3);
        assert!(!limit.is_over());
        tokio::time::advance(MEMORY).await;
        assert!(limit.is_over());
    }
}
