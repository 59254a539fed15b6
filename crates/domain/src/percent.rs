//! Exact percentages, from which the windows of a picture are computed.

/// A percentage, exact to a thousandth, so that equal requests compare and hash as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MilliPercent(u32);

impl MilliPercent {
    /// Parses a percentage within `low..=high`, rounded to a thousandth of a percent.
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
