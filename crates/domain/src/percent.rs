//! What every window of a picture is computed from: exact percentages, and pictures that a window can be taken of.

use crate::{
    limits::{MAX_SOURCE_SIDE, MIN_SOURCE_SIDE},
    rendition::Size,
};

/// A percentage in thousandths: exact where a floating-point number would wobble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MilliPercent(u32);

impl MilliPercent {
    /// Takes a percentage within `low..=high`, rounded to a thousandth of a percent.
    pub fn parse(percent: f64, low: u32, high: u32) -> Result<Self, String> {
        if !(f64::from(low)..=f64::from(high)).contains(&percent) {
            return Err(format!("must lie between {low} and {high} percent, got {percent}"));
        }
        Ok(Self((percent * 1_000.0).round() as u32))
    }

    /// A whole percentage.
    pub const fn whole(percent: u32) -> Self {
        Self(percent * 1_000)
    }

    /// Thousandths of a percent.
    pub(crate) const fn thousandths(self) -> u32 {
        self.0
    }

    /// The percentage.
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// Refuses pictures that no crop can be taken from.
pub(crate) fn check_source(source: Size) -> Result<(), String> {
    for side in [source.width, source.height] {
        if !(MIN_SOURCE_SIDE..=MAX_SOURCE_SIDE).contains(&side) {
            return Err(format!(
                "picture of {source} has a side outside {MIN_SOURCE_SIDE} to {MAX_SOURCE_SIDE} pixels"
            ));
        }
    }
    Ok(())
}
