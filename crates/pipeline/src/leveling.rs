//! Bringing a clip to a loudness: from what was measured to one gain for the whole clip, and a limiter for what that makes too high. Pure.
//!
//! ```text
//! source ── decode ── SampleGrid ── Meter ── decide ─┐                                    (listen.rs)
//! source ── decode ── SampleGrid ────────────── Limiter (gain, ceiling) ── AAC ── …       (run.rs)
//! ```
//!
//! One gain keeps the ratio of loud and quiet: nothing pumps, and noise does not rise in pauses. The limiter takes a little loudness away, so
//! the gain is the one with which the limited sound reaches the target, found by trying gains on the measurement.

pub mod envelope;
pub mod limiter;
pub mod meter;
pub mod true_peak;

use crate::verify::loudness::Levels;
use clipfleet_domain::audio::NormalizeLoudness;
use meter::Measured;

/// Highest gain, dB. A clip at -50 LUFS is a microphone that was not plugged in; what more gain raises is its noise.
pub const MAX_GAIN_DB: f64 = 30.0;

/// How much loudness the limiter may take away, LU. Beyond it a sound is peaks alone, and the gain that it takes wrecks them.
const MAX_TAKEN_LU: f64 = 12.0;

/// How near to the target the search ends, LU: a tenth of what is promised.
const NEAR_LU: f64 = 0.05;

/// By how much AAC lets the peaks of a limited sound rise, dB: the ceiling of the limiter lies that much below the limit of the clip.
/// Measured at 128 kbit/s: 0.3 dB on speech, 0.9 on clicks, 1.1 to 1.7 on music, by the settings (`examples/aac_encoders.rs`).
const AAC_HEADROOM_DB: f64 = 1.5;

/// By how much a finished clip may exceed its limit, dB: two meters of the standard may differ by that much.
const PEAK_TOLERANCE_DB: f64 = 0.3;

/// How far a finished clip may be from its target, LU: what is promised is half a unit, and meters round.
const LOUDNESS_TOLERANCE_LU: f64 = 0.4;

/// What the encoder behind is allowed for. AAC has no bound for either, but hardly changes with a level a little lower or higher: what it
/// did to a clip is what it will do to the next one of the same sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// How far the limiter's ceiling lies below the clip's limit, dB.
    headroom_db: f64,
    /// Loudness that is lost, LU.
    loss_lu: f64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { headroom_db: AAC_HEADROOM_DB, loss_lu: 0.0 }
    }
}

/// What is done to a sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leveling {
    /// Gain of the whole, dB.
    pub gain_db: f64,
    /// Where the limiter begins, dB of full scale.
    pub ceiling_dbtp: f64,
}

/// What was found and decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Loudness of the source's sound within the clip, LUFS.
    pub source_lufs: Option<f64>,
    /// Its true peak, dB of full scale.
    pub source_dbtp: Option<f64>,
    /// What to do.
    pub action: Action,
}

/// Whether anything is done, and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// The sound stays as it is, for that reason.
    Leave(&'static str),
    /// The sound is brought to the target, or as near as it can be.
    Level {
        /// By these means.
        leveling: Leveling,
        /// The most by which the limiter turns it down, dB.
        limited_db: f64,
        /// Whether that reaches the target.
        reaches: bool,
    },
}

impl Decision {
    /// For a source without sound.
    pub const NO_SOUND: Self = Self { source_lufs: None, source_dbtp: None, action: Action::Leave("no_sound") };

    /// What to allow for instead, when a finished clip misses what was decided.
    pub fn missed(&self, asked: NormalizeLoudness, allowed: Allowance, made: Levels) -> Option<Allowance> {
        let Action::Level { reaches, .. } = self.action else { return None };
        let excess_db = made.true_peak_dbtp? - asked.true_peak_dbtp.as_db();
        let lost_lu = asked.target_lufs.as_db() - made.integrated_lufs?;
        let (too_high, too_far) = (excess_db > PEAK_TOLERANCE_DB, reaches && lost_lu.abs() > LOUDNESS_TOLERANCE_LU);
        (too_high || too_far).then_some(Allowance {
            headroom_db: allowed.headroom_db + if too_high { excess_db + PEAK_TOLERANCE_DB } else { 0.0 },
            loss_lu: allowed.loss_lu + if too_far { lost_lu } else { 0.0 },
        })
    }

    /// What to do.
    pub fn leveling(&self) -> Option<Leveling> {
        match self.action {
            Action::Leave(_) => None,
            Action::Level { leveling, .. } => Some(leveling),
        }
    }
}

/// Decides on a sound.
pub fn decide(measured: &Measured, asked: NormalizeLoudness, allowed: Allowance) -> Decision {
    let target = asked.target_lufs.as_db() + allowed.loss_lu;
    let ceiling_dbtp = asked.true_peak_dbtp.as_db() - allowed.headroom_db;
    let source_lufs = measured.after(1.0, f64::INFINITY).lufs;
    let source_dbtp = Some(20.0 * measured.peak().log10()).filter(|level| level.is_finite());
    let after = |gain_db: f64| measured.after(amplitude(gain_db), amplitude(ceiling_dbtp));
    let action = match source_lufs {
        None if measured.is_empty() => Action::Leave("no_sound"),
        None if measured.is_too_short() => Action::Leave("too_short"),
        None => Action::Leave("too_quiet"),
        Some(source) => {
            let missing = |gain_db: f64| target - after(gain_db).lufs.unwrap_or(f64::NEG_INFINITY);
            let gain_db = gain(target - source, missing);
            let limited_db = after(gain_db).limited_db;
            let reaches = missing(gain_db) <= NEAR_LU;
            Action::Level { leveling: Leveling { gain_db, ceiling_dbtp }, limited_db, reaches }
        }
    };
    Decision { source_lufs, source_dbtp, action }
}

/// The gain with which nothing is missing, from the one with which nothing would be missing without a limiter.
fn gain(unlimited_db: f64, missing_lu: impl Fn(f64) -> f64) -> f64 {
    let mut low = unlimited_db.min(MAX_GAIN_DB);
    if missing_lu(low) <= NEAR_LU {
        return low;
    }
    let mut high = (unlimited_db + MAX_TAKEN_LU).min(MAX_GAIN_DB);
    if missing_lu(high) > 0.0 {
        return high;
    }
    // Each round halves what is at most twelve decibels.
    while high - low > NEAR_LU {
        let middle = (low + high) / 2.0;
        if missing_lu(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

/// Of a level in decibels.
pub fn amplitude(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}

#[cfg(test)]
mod tests {
    use super::{meter::Meter, *};
    use clipfleet_domain::audio::CentiDb;

    /// Three seconds of a tone, with a click of another height twice a second.
    fn sound(tone: f32, click: f32) -> Measured {
        let mut meter = Meter::default();
        meter.add((0..144_000_u32).map(|n| {
            let amplitude = if n % 24_000 < 48 { click } else { tone };
            [amplitude * (n as f32 * 0.130_899_7).sin(); 2]
        }));
        meter.finish()
    }

    fn asked(target: i32, peak: i32) -> NormalizeLoudness {
        NormalizeLoudness { target_lufs: CentiDb::whole(target), true_peak_dbtp: CentiDb::whole(peak) }
    }

    fn decided(measured: &Measured, target: i32, peak: i32) -> (f64, f64, f64) {
        let decision = decide(measured, asked(target, peak), Allowance::default());
        let Action::Level { leveling, limited_db, .. } = decision.action else { panic!("{decision:?}") };
        assert_eq!(leveling.ceiling_dbtp, f64::from(peak) - AAC_HEADROOM_DB);
        let after = measured.after(amplitude(leveling.gain_db), amplitude(leveling.ceiling_dbtp));
        (leveling.gain_db, limited_db, after.lufs.expect("loudness"))
    }

    #[test]
    fn a_sound_with_room_gets_the_difference_and_no_limiter() {
        for (tone, target) in [(0.1, -14), (0.01, -23), (0.8, -30)] {
            let measured = sound(tone, tone);
            let source = measured.after(1.0, f64::INFINITY).lufs.expect("loudness");
            let (gain, limited, lufs) = decided(&measured, target, -1);
            assert_eq!((gain, limited), (f64::from(target) - source, 0.0));
            assert!((lufs - f64::from(target)).abs() < 0.01, "{lufs}");
        }
    }

    #[test]
    fn a_limited_sound_gets_more_gain_until_it_is_loud_enough() {
        let measured = sound(0.05, 0.9);
        let source = measured.after(1.0, f64::INFINITY).lufs.expect("loudness");
        let (gain, limited, lufs) = decided(&measured, -12, -2);
        assert!(gain > -12.0 - source + 0.2, "{gain} {source}");
        assert!(limited > 6.0, "{limited}");
        assert!((lufs + 12.0).abs() < 0.1, "{lufs}");
    }

    #[test]
    fn no_gain_is_out_of_proportion() {
        assert_eq!(decided(&sound(0.0006, 0.0006), -14, -1).0, MAX_GAIN_DB);
        let measured = sound(0.0, 1.0);
        let source = measured.after(1.0, f64::INFINITY).lufs.expect("loudness");
        let (gain, _, lufs) = decided(&measured, -8, -6);
        assert_eq!(gain, -8.0 - source + MAX_TAKEN_LU);
        assert!(lufs < -8.5, "{lufs}");
    }

    #[test]
    fn what_the_encoder_did_is_allowed_for_next_time() {
        let (asked, measured, allowed) = (asked(-14, -1), sound(0.05, 0.9), Allowance::default());
        let decision = decide(&measured, asked, allowed);
        let missed = |lufs: f64, peak: f64| {
            let levels = Levels { integrated_lufs: Some(lufs), true_peak_dbtp: Some(peak), sample_peak_dbfs: None };
            let tenths = |level: f64| (level * 10.0).round() / 10.0;
            decision.missed(asked, allowed, levels).map(|next| (tenths(next.headroom_db), tenths(next.loss_lu)))
        };
        assert_eq!(missed(-14.3, -0.75), None);
        assert_eq!(missed(-14.0, -0.5), Some((2.3, 0.0)));
        assert_eq!(missed(-14.5, -1.5), Some((1.5, 0.5)));
        let next = Allowance { headroom_db: 2.5, loss_lu: 0.5 };
        let (first, second) = (decision.leveling().expect("a gain"), decide(&measured, asked, next).leveling());
        let second = second.expect("a gain");
        assert!(second.gain_db > first.gain_db + 0.5 && second.ceiling_dbtp == -3.5, "{first:?} {second:?}");
        // What cannot be reached is not tried again.
        let far = decide(&sound(0.0, 1.0), self::asked(-8, -6), allowed);
        let levels = Levels { integrated_lufs: Some(-12.0), true_peak_dbtp: Some(-7.0), sample_peak_dbfs: None };
        assert_eq!(far.missed(self::asked(-8, -6), allowed, levels), None);
    }

    #[test]
    fn what_has_no_loudness_is_left_alone() {
        let left = |measured: &Measured| decide(measured, asked(-14, -1), Allowance::default());
        assert_eq!(left(&sound(0.0, 0.0)).action, Action::Leave("too_quiet"));
        assert_eq!(left(&sound(0.0, 0.0)).source_dbtp, None);
        assert_eq!(left(&Measured::default()).action, Action::Leave("no_sound"));
        let mut moment = Meter::default();
        moment.add([[0.5; 2]; 9_600]);
        assert_eq!(left(&moment.finish()).action, Action::Leave("too_short"));
        assert_eq!(left(&sound(0.0001, 0.0001)).leveling(), None);
    }
}
