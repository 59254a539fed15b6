//! What is done to a clip's sound. Levels are integers, so that equal requests are equal to the last digit and hash alike.

/// A level or a difference of levels in hundredths of a decibel (or of an LU, which is one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CentiDb(i32);

impl CentiDb {
    /// Whole decibels.
    pub const fn whole(db: i32) -> Self {
        Self(db * 100)
    }

    /// Hundredths of a decibel.
    pub const fn hundredths(hundredths: i32) -> Self {
        Self(hundredths)
    }

    /// The level.
    pub fn as_db(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Takes a level within whole bounds, rounded to a hundredth; `None` outside of them and for what is no number.
    fn within(level: f64, low: i32, high: i32) -> Option<Self> {
        (f64::from(low)..=f64::from(high)).contains(&level).then(|| Self((level * 100.0).round() as i32))
    }
}

/// Bringing a clip to a loudness after EBU R 128, under a limit of its true peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NormalizeLoudness {
    /// Integrated loudness to reach, LUFS.
    pub target_lufs: CentiDb,
    /// Highest true peak, dB of full scale.
    pub true_peak_dbtp: CentiDb,
}

impl NormalizeLoudness {
    /// A loudness that can be reached without noise or distortion taking over, LUFS.
    pub fn parse_target(lufs: f64) -> Result<CentiDb, String> {
        let wrong = || format!("must lie between -40 and -5 LUFS (-14 is what platforms play shorts at), got {lufs}");
        CentiDb::within(lufs, -40, -5).ok_or_else(wrong)
    }

    /// A peak that a file can hold, dB of full scale.
    pub fn parse_true_peak(dbtp: f64) -> Result<CentiDb, String> {
        let wrong = || format!("must lie between -9 and 0 dBTP (-1.5 leaves players some room), got {dbtp}");
        CentiDb::within(dbtp, -9, 0).ok_or_else(wrong)
    }
}

impl Default for NormalizeLoudness {
    /// What the large platforms play shorts at, and a peak that survives their own encoding.
    fn default() -> Self {
        Self { target_lufs: CentiDb::whole(-14), true_peak_dbtp: CentiDb::hundredths(-150) }
    }
}

/// What is done to the sound of a clip; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Audio {
    /// Whether it is brought to a loudness.
    pub normalize_loudness: Option<NormalizeLoudness>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_exact_to_a_hundredth() {
        assert_eq!(NormalizeLoudness::parse_target(-14.0), Ok(NormalizeLoudness::default().target_lufs));
        assert_eq!(NormalizeLoudness::parse_true_peak(-1.504), Ok(NormalizeLoudness::default().true_peak_dbtp));
        assert_eq!(NormalizeLoudness::parse_target(-23.45).map(CentiDb::as_db), Ok(-23.45));
        assert_eq!(NormalizeLoudness::parse_true_peak(-0.0), Ok(CentiDb::whole(0)));
    }

    #[test]
    fn levels_out_of_range_and_no_numbers_are_refused_with_their_value() {
        for wrong in [-40.01, -4.99, 14.0, f64::NAN, f64::INFINITY] {
            let said = NormalizeLoudness::parse_target(wrong).unwrap_err();
            assert!(said.contains("-40 and -5 LUFS") && said.ends_with(&format!("got {wrong}")), "{said}");
        }
        for wrong in [-9.01, 0.01, f64::NAN, f64::NEG_INFINITY] {
            let said = NormalizeLoudness::parse_true_peak(wrong).unwrap_err();
            assert!(said.contains("-9 and 0 dBTP") && said.ends_with(&format!("got {wrong}")), "{said}");
        }
    }
}
