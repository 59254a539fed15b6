//! The attempts at one generation of a clip and how each ended, so that crashes are distinguished from interruptions.
//!
//! This is a set of attempts, each with its worst reported end. Joining two such sets is a union and a maximum, so
//! events may arrive in any order and any number of times. The set keeps only the latest ids, which begin with their
//! time. So the same ids remain in whatever order they arrive.

use crate::{code::Code, ids::AttemptId, limits::MAX_ATTEMPTS_REMEMBERED, wire_name::WireName};
use std::collections::BTreeMap;

/// How an attempt ended without ending its clip. The variants are ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptOutcome {
    /// Its worker was told to stop. Does not count against the clip.
    Interrupted,
    /// It failed, but another attempt may succeed.
    FailedTransiently,
    /// Its media process died, hung, ran out of time or made a bad clip.
    Crashed,
}

impl WireName for AttemptOutcome {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Interrupted, "interrupted"),
        (Self::FailedTransiently, "failed_transiently"),
        (Self::Crashed, "crashed"),
    ];
}

/// How an attempt ended, and why if it failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptEnd {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// As in [`Failure`](crate::failure::Failure).
    pub code: Option<Code>,
}

/// How many attempts ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptCounts {
    /// See [`AttemptOutcome::Crashed`].
    pub crashes: u32,
    /// See [`AttemptOutcome::FailedTransiently`].
    pub transient_failures: u32,
    /// See [`AttemptOutcome::Interrupted`].
    pub interruptions: u32,
    /// Lost with their workers: they started and never reported an end.
    pub lost: u32,
}

/// The attempts by id. An attempt without an end is active, or was lost with its worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptStats(BTreeMap<AttemptId, Option<AttemptEnd>>);

impl AttemptStats {
    /// Records that an attempt exists, and how it ended, if it has.
    pub fn record(&mut self, attempt: &AttemptId, end: Option<AttemptEnd>) {
        let known = self.0.entry(attempt.clone()).or_default();
        *known = known.take().max(end);
        while self.0.len() > MAX_ATTEMPTS_REMEMBERED {
            self.0.pop_first();
        }
    }

    /// The attempts in the order of their ids.
    pub fn attempts(&self) -> impl Iterator<Item = (&AttemptId, Option<&AttemptEnd>)> {
        self.0.iter().map(|(id, end)| (id, end.as_ref()))
    }

    /// How many attempts ended.
    pub fn ends(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// How many ended in which way. `latest` may still be active, so it does not count as lost.
    pub fn counts(&self, latest: Option<&AttemptId>) -> AttemptCounts {
        let mut counts = AttemptCounts::default();
        for (id, end) in &self.0 {
            match end.as_ref().map(|end| end.outcome) {
                Some(AttemptOutcome::Crashed) => counts.crashes += 1,
                Some(AttemptOutcome::FailedTransiently) => counts.transient_failures += 1,
                Some(AttemptOutcome::Interrupted) => counts.interruptions += 1,
                None if latest != Some(id) => counts.lost += 1,
                None => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> AttemptId {
        AttemptId::parse(&format!("a-{number:04}")).unwrap()
    }

    fn end(outcome: AttemptOutcome) -> Option<AttemptEnd> {
        Some(AttemptEnd { outcome, code: None })
    }

    #[test]
    fn every_attempt_counts_once_by_its_end_and_the_latest_is_not_lost() {
        let mut stats = AttemptStats::default();
        for (number, outcome) in
            [(1, Some(AttemptOutcome::Crashed)), (2, Some(AttemptOutcome::Interrupted)), (3, None), (4, None)]
        {
            stats.record(&id(number), outcome.and_then(end));
            stats.record(&id(number), None);
        }
        let counts = AttemptCounts { crashes: 1, transient_failures: 0, interruptions: 1, lost: 1 };
        assert_eq!(stats.counts(Some(&id(4))), counts);
        assert_eq!(stats.counts(None).lost, 2);
    }

    #[test]
    fn only_the_latest_attempts_are_kept_in_whatever_order_they_arrive() {
        let total = MAX_ATTEMPTS_REMEMBERED + 20;
        let fold = |order: &mut dyn Iterator<Item = usize>| {
            let mut stats = AttemptStats::default();
            for number in order {
                stats.record(&id(number), end(AttemptOutcome::FailedTransiently).filter(|_| number % 2 == 0));
                stats.record(&id(number), None);
            }
            stats
        };
        let forward = fold(&mut (0..total));
        assert_eq!(forward.attempts().count(), MAX_ATTEMPTS_REMEMBERED);
        assert_eq!(forward, fold(&mut (0..total).rev()));
        assert_eq!(forward, fold(&mut (0..total).map(|n| n * 41 % total)));
    }
}
