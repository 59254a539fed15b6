//! How the earlier generations of a clip ended, for a person who retried it.

use crate::{failure::Failure, limits::MAX_HISTORY, state::State};
use std::collections::BTreeMap;

/// How one generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationEnd {
    /// Failed or cancelled; or completed, if a retry overtook the completion.
    pub state: State,
    /// Unix time, milliseconds.
    pub at_ms: i64,
    /// Why, if it failed. Without details: they belong to requests, and take as much space as ten ends.
    pub failure: Option<Failure>,
}

/// The ends of the latest generations. If a generation has two ends, the one that is recorded first stays, as in a
/// clip's view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History(BTreeMap<u32, GenerationEnd>);

impl History {
    /// Records how a generation ended.
    pub fn record(&mut self, generation: u32, end: GenerationEnd) {
        let failure = end.failure.map(|failure| Failure { details: Vec::new(), ..failure });
        self.0.entry(generation).or_insert(GenerationEnd { failure, ..end });
        while self.0.len() > MAX_HISTORY {
            self.0.pop_first();
        }
    }

    /// The ends, earliest generation first.
    pub fn ends(&self) -> impl Iterator<Item = (u32, &GenerationEnd)> {
        self.0.iter().map(|(generation, end)| (*generation, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_ends_stay_in_whatever_order_they_arrive() {
        let end =
            |generation: u32| GenerationEnd { state: State::Cancelled, at_ms: i64::from(generation), failure: None };
        let total = MAX_HISTORY as u32 + 3;
        let (mut up, mut down) = (History::default(), History::default());
        (0..total).for_each(|generation| up.record(generation, end(generation)));
        (0..total).rev().for_each(|generation| down.record(generation, end(generation)));
        assert_eq!(up, down);
        assert_eq!(up.ends().map(|(generation, _)| generation).collect::<Vec<_>>(), (3..total).collect::<Vec<_>>());
    }
}
