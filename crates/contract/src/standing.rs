//! Where a clip stands, read from its status document by roles that do not write it.

use crate::names;
use clipfleet_domain::{
    attempt::Attempt,
    ids::{AttemptId, ClipId},
    progress::Phase,
    rendition::by_name,
    state::State,
    attempt_stats::AttemptCounts,
};

/// Where a clip stands, as far as its document says. The default is that of a clip without a document: queued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its state; queued while no document says otherwise.
    pub state: State,
    /// 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// The latest attempt of that generation.
    pub latest: Option<Latest>,
    /// What became of the attempts of that generation, the latest one apart if it may be at work still.
    pub counts: AttemptCounts,
    /// Last change; Unix time, milliseconds.
    pub updated_at_ms: i64,
}

/// The generations that retries asked for, by clip, from the whole numbers of a record's [`names::RECORD_RETRIED`].
pub fn retried<'a>(numbers: impl Iterator<Item = (&'a str, i64)>) -> impl Iterator<Item = (ClipId, u32)> {
    numbers.filter_map(|(clip, generation)| Some((ClipId::parse(clip).ok()?, u32::try_from(generation).ok()?)))
}

/// The latest attempt that a document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Which one.
    pub id: AttemptId,
    /// Counts from 1 within the generation.
    pub number: u32,
    /// Unix time, milliseconds.
    pub started_at_ms: i64,
    /// It has not said that it ended.
    pub open: bool,
}

impl Standing {
    /// The same, where it is known that a generation was asked for: the clip is queued in it until its document has heard of that.
    pub fn at_least(self, generation: u32) -> Self {
        if generation > self.generation { Self { generation, ..Self::default() } } else { self }
    }

    /// From a clip's document, given as readers of its fields: texts, whole numbers and instants (Unix time, milliseconds).
    pub fn read<'a>(
        text: impl Fn(&str) -> Option<&'a str>,
        integer: impl Fn(&str) -> Option<i64>,
        instant_ms: impl Fn(&str) -> Option<i64>,
    ) -> Self {
        let count = |field| integer(field).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let state = text(names::STATUS).and_then(|name| by_name(&State::ALL, name).ok()).unwrap_or_default();
        let phase = text(names::PHASE).and_then(|name| by_name(&Phase::ALL, name).ok()).unwrap_or_default();
        let id = text(names::ATTEMPT_ID).and_then(|id| AttemptId::parse(id).ok());
        let latest = id.map(|id| Latest {
            id,
            number: count(names::ATTEMPT),
            started_at_ms: instant_ms(names::ATTEMPT_STARTED_AT).unwrap_or(0),
            open: !matches!(phase, Phase::Queued | Phase::Done),
        });
        let counts = AttemptCounts {
            crashes: count(names::CRASHES),
            transient_failures: count(names::TRANSIENT_FAILURES),
            interruptions: count(names::INTERRUPTIONS),
            lost: count(names::LOST_ATTEMPTS),
        };
        let updated_at_ms = instant_ms(names::UPDATED_AT).unwrap_or(0);
        Self { state, generation: count(names::GENERATION), latest, counts, updated_at_ms }
    }

    /// Whether anyone still waits for this generation of the clip: it has not ended, and no later one was asked for.
    pub fn wants(&self, generation: u32) -> bool {
        self.generation < generation || (self.generation == generation && !self.state.is_terminal())
    }

    /// What is known of a generation of the clip: nothing while the document shows an earlier one.
    pub fn of_generation(self, generation: u32) -> Self {
        if self.generation == generation { self } else { Self { generation, ..Self::default() } }
    }

    /// The attempt that may be at work, if there is one.
    pub fn at_work(&self) -> Option<&Latest> {
        self.latest.as_ref().filter(|latest| latest.open && !self.state.is_terminal())
    }

    /// Whether another attempt at the same generation has begun after this one.
    pub fn supersedes(&self, generation: u32, attempt: &Attempt) -> bool {
        let order = |latest: &Latest| (latest.number, latest.started_at_ms, latest.id.clone());
        let ours = (attempt.number, attempt.started_at_ms, attempt.id.clone());
        let later = |latest: &Latest| latest.id != attempt.id && order(latest) > ours;
        self.generation == generation && self.latest.as_ref().is_some_and(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::ids::WorkerId;
    use std::collections::HashMap;

    fn standing(fields: &[(&'static str, &'static str)]) -> Standing {
        let fields: HashMap<&str, &str> = fields.iter().copied().collect();
        let number = |field: &str| fields.get(field)?.parse().ok();
        Standing::read(|field| fields.get(field).copied(), number, number)
    }

    fn attempt(id: &str, number: u32) -> Attempt {
        let worker = WorkerId::parse("w").unwrap();
        Attempt { id: AttemptId::parse(id).unwrap(), number, started_at_ms: 1_000, worker, sequence: 7 }
    }

    #[test]
    fn a_generation_is_wanted_until_it_ends_or_a_later_one_is() {
        let of = |status, generation| standing(&[("status", status), ("generation", generation)]);
        assert!(Standing::default().wants(0), "no document yet");
        assert!(of("processing", "1").wants(1));
        assert!(of("failed", "0").wants(1), "the fold has not heard of the retry yet");
        assert!(!of("cancelled", "1").wants(1));
        assert!(!of("queued", "2").wants(1));
    }

    #[test]
    fn an_attempt_is_at_work_until_it_or_the_clip_ended() {
        let of = |status, phase| standing(&[("status", status), ("phase", phase), ("attemptId", "a1")]);
        assert!(of("processing", "encoding").at_work().is_some());
        assert!(of("processing", "queued").at_work().is_none(), "it was handed back");
        assert!(of("cancelled", "encoding").at_work().is_none());
        assert!(standing(&[("status", "queued"), ("phase", "queued")]).at_work().is_none());
    }

    #[test]
    fn only_a_later_attempt_of_the_same_generation_supersedes() {
        let shown = standing(&[
            ("status", "processing"),
            ("phase", "fetching"),
            ("attempt", "2"),
            ("attemptId", "b"),
            ("attemptStartedAt", "1000"),
        ]);
        assert!(shown.supersedes(0, &attempt("z", 1)), "a higher number");
        assert!(shown.supersedes(0, &attempt("a", 2)), "the id decides between equals");
        assert!(!shown.supersedes(0, &attempt("b", 2)), "it is the same one");
        assert!(!shown.supersedes(0, &attempt("c", 2)));
        assert!(!shown.supersedes(0, &attempt("a", 3)));
        assert!(!shown.supersedes(1, &attempt("a", 1)), "another generation");
    }

    #[test]
    fn of_an_earlier_generation_nothing_counts() {
        let shown = standing(&[("generation", "1"), ("crashes", "2"), ("lostAttempts", "3"), ("attemptId", "a")]);
        assert_eq!((shown.counts.crashes, shown.counts.lost), (2, 3));
        assert_eq!(shown.clone().of_generation(1), shown);
        assert_eq!(shown.of_generation(2), Standing { generation: 2, ..Standing::default() });
    }
}
