//! How a clip's audio is processed. Levels are integers, so that equal requests compare and hash as equal.

/// A level, or a difference of levels, in hundredths of a decibel. (An LU is a decibel.)
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

    /// Parses a level within bounds, rounded to a hundredth. `None` if it is out of bounds or not a number.
    fn within(level: f64, low: i32, high: i32) -> Option<Self> {
        (f64::from(low)..=f64::from(high)).contains(&level).then(|| Self((level * 100.0).round() as i32))
    }
}

/// Normalization of a clip to a loudness by EBU R 128, with a limit of the true peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NormalizeLoudness {
    /// Target of the integrated loudness, LUFS.
    pub target_lufs: CentiDb,
    /// Highest true peak, dB of full scale.
    pub true_peak_dbtp: CentiDb,
}

impl NormalizeLoudness {
    /// Parses a loudness that can be reached without audible noise or distortion, LUFS.
    pub fn parse_target(lufs: f64) -> Result<CentiDb, String> {
        let refused = || format!("must lie between -40 and -5 LUFS (-14 is what platforms play shorts at), got {lufs}");
        CentiDb::within(lufs, -40, -5).ok_or_else(refused)
    }

    /// Parses a peak that a file can represent, dB of full scale.
    pub fn parse_true_peak(dbtp: f64) -> Result<CentiDb, String> {
        let refused = || format!("must lie between -9 and 0 dBTP (-1.5 leaves players some room), got {dbtp}");
        CentiDb::within(dbtp, -9, 0).ok_or_else(refused)
    }
}

impl Default for NormalizeLoudness {
    /// The loudness at which the large platforms play shorts, and a peak that survives their own encoding.
    fn default() -> Self {
        Self { target_lufs: CentiDb::whole(-14), true_peak_dbtp: CentiDb::hundredths(-150) }
    }
}

/// How a clip's audio is processed; by default it is left unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Audio {
    /// Normalization of its loudness; `None` leaves it unchanged.
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
    fn levels_that_are_out_of_range_or_not_numbers_are_refused_with_their_value() {
        for wrong in [-40.01, -4.99, 14.0, f64::NAN, f64::INFINITY] {
            let reason = NormalizeLoudness::parse_target(wrong).unwrap_err();
            assert!(reason.contains("-40 and -5 LUFS") && reason.ends_with(&format!("got {wrong}")), "{reason}");
        }
        for wrong in [-9.01, 0.01, f64::NAN, f64::NEG_INFINITY] {
            let reason = NormalizeLoudness::parse_true_peak(wrong).unwrap_err();
            assert!(reason.contains("-9 and 0 dBTP") && reason.ends_with(&format!("got {wrong}")), "{reason}");
        }
    }
}
