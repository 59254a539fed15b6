//! What became of the attempts at one generation of a clip, so that crashes are told from interruptions.
//!
//! A set of attempts, each with the worst that was heard of its end: joining two such sets is a union and a maximum, so events may
//! come in any order and any number of times. It is bounded by keeping the latest ids (they begin with their time), which is the
//! same set whatever the order: an id once pushed out has that many later ones for ever.

use crate::{ids::AttemptId, limits::MAX_ATTEMPTS_REMEMBERED};
use std::collections::BTreeMap;

/// How an attempt ended without ending its clip. Later ones count more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// Through no fault of anything: its worker was told to stop. Free.
    Interrupted,
    /// By something that may pass.
    Postponed,
    /// Its media process died, hung or ran out of time.
    Crashed,
}

impl Ended {
    /// Every way, with its name in documents.
    pub const ALL: [(Ended, &'static str); 3] =
        [(Ended::Interrupted, "interrupted"), (Ended::Postponed, "postponed"), (Ended::Crashed, "crashed")];
}

/// How an attempt ended, and the code that says why (empty when there is nothing to say).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Setback {
    /// The way.
    pub ended: Ended,
    /// Stable, as in [`Failure`](crate::failure::Failure).
    pub code: String,
}

/// How many attempts ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// See [`Ended::Crashed`].
    pub crashes: u32,
    /// See [`Ended::Postponed`].
    pub postponements: u32,
    /// See [`Ended::Interrupted`].
    pub interruptions: u32,
    /// Started and never heard of again: their workers died.
    pub lost: u32,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally(BTreeMap<AttemptId, Option<Setback>>);

impl Tally {
    /// Notes that an attempt was heard of, and how it ended if it did.
    pub fn note(&mut self, attempt: &AttemptId, setback: Option<Setback>) {
        let known = self.0.entry(attempt.clone()).or_default();
        *known = known.take().max(setback);
        while self.0.len() > MAX_ATTEMPTS_REMEMBERED {
            self.0.pop_first();
        }
    }

    /// The attempts in the order of their ids.
    pub fn attempts(&self) -> impl Iterator<Item = (&AttemptId, Option<&Setback>)> {
        self.0.iter().map(|(id, setback)| (id, setback.as_ref()))
    }

    /// How many attempts ended.
    pub fn ends(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// How many ended in which way. `latest` may be at work still, and so is not counted as lost.
    pub fn counts(&self, latest: Option<&AttemptId>) -> Counts {
        let mut counts = Counts::default();
        for (id, setback) in &self.0 {
            match setback.as_ref().map(|setback| setback.ended) {
                Some(Ended::Crashed) => counts.crashes += 1,
                Some(Ended::Postponed) => counts.postponements += 1,
                Some(Ended::Interrupted) => counts.interruptions += 1,
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

    fn setback(ended: Ended) -> Option<Setback> {
        Some(Setback { ended, code: String::new() })
    }

    #[test]
    fn every_attempt_counts_once_by_its_end_and_the_latest_is_not_lost() {
        let mut tally = Tally::default();
        for (number, end) in [(1, Some(Ended::Crashed)), (2, Some(Ended::Interrupted)), (3, None), (4, None)] {
            tally.note(&id(number), end.and_then(setback));
            tally.note(&id(number), None);
        }
        let counts = Counts { crashes: 1, postponements: 0, interruptions: 1, lost: 1 };
        assert_eq!(tally.counts(Some(&id(4))), counts);
        assert_eq!(tally.counts(None).lost, 2);
    }

    #[test]
    fn only_the_latest_are_remembered_in_whatever_order_they_come() {
        let total = MAX_ATTEMPTS_REMEMBERED + 20;
        let fold = |order: &mut dyn Iterator<Item = usize>| {
            let mut tally = Tally::default();
            for number in order {
                tally.note(&id(number), setback(Ended::Postponed).filter(|_| number % 2 == 0));
                tally.note(&id(number), None);
            }
            tally
        };
        let forward = fold(&mut (0..total));
        assert_eq!(forward.attempts().count(), MAX_ATTEMPTS_REMEMBERED);
        assert_eq!(forward, fold(&mut (0..total).rev()));
        assert_eq!(forward, fold(&mut (0..total).map(|n| n * 41 % total)));
    }
}
