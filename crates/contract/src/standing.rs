//! Where a clip stands, read from its status document by roles that do not write it.

use clipfleet_domain::{lifecycle::State, rendition::by_name};

/// Where a clip stands, as far as its document says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its state; queued while no document says otherwise.
    pub state: State,
    /// 0 at first, one more at each explicit retry.
    pub generation: u32,
}

impl Standing {
    /// From the fields [`STATUS`](crate::names::STATUS) and [`GENERATION`](crate::names::GENERATION) of the document, where it has them.
    pub fn of(status: Option<&str>, generation: Option<i64>) -> Self {
        let state = status.and_then(|name| by_name(&State::ALL, name).ok()).unwrap_or_default();
        let generation = generation.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        Self { state, generation }
    }

    /// Whether anyone still waits for this generation of the clip: it has not ended, and no later one was asked for.
    pub fn wants(self, generation: u32) -> bool {
        self.generation < generation || (self.generation == generation && !self.state.is_terminal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_wanted_until_it_ends_or_a_later_one_is() {
        let standing = |status, generation| Standing::of(status, Some(generation));
        assert!(Standing::of(None, None).wants(0), "no document yet");
        assert!(standing(Some("processing"), 1).wants(1));
        assert!(standing(Some("failed"), 0).wants(1), "the fold has not heard of the retry yet");
        assert!(!standing(Some("cancelled"), 1).wants(1));
        assert!(!standing(Some("queued"), 2).wants(1));
    }
}
