//! Why a clip is not made in the best way there is.

/// The kind of a reason, for those who count. The later, the graver: a clip with several reasons counts by its gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// The graphics card, or its elements, cannot do this clip.
    Unsupported,
    /// An element is not installed, or the card lacks a part.
    Missing,
    /// The worker leaves the card out: it failed its test, or a process that used it died or hung.
    CardOff,
    /// An encoder of the processor failed.
    EncoderFailed,
    /// The card failed while the clip was made.
    CardFailed,
    /// What the card made was not what it was given.
    CardWrong,
}

impl Fallback {
    /// Every kind, with its name on the wire and in metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Unsupported, "unsupported"),
        (Self::Missing, "missing"),
        (Self::CardOff, "card_off"),
        (Self::EncoderFailed, "encoder_failed"),
        (Self::CardFailed, "card_failed"),
        (Self::CardWrong, "card_wrong"),
    ];

    /// Whether it speaks against the card rather than the clip: the processor made the same clip without trouble.
    pub fn blames_card(self) -> bool {
        matches!(self, Self::CardFailed | Self::CardWrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_the_card_is_graver_than_what_does_not() {
        let kinds = Fallback::ALL.map(|(kind, _)| kind);
        assert!(kinds.is_sorted());
        assert!(kinds.map(Fallback::blames_card).is_sorted());
    }
}
