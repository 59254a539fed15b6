//! Normalizes the loudness of a clip: computes one gain for the whole clip from a measurement, and limits the peaks
//! that the gain raises too high. Pure.
//!
//! ```text
//! source ── decode ── SampleGrid ── Meter ── decide ─┐                                    (listen.rs)
//! source ── decode ── SampleGrid ────────────── Limiter (gain, ceiling) ── AAC ── …       (run.rs)
//! ```
//!
//! One gain preserves the dynamics: there is no pumping, and noise does not rise in pauses. The limiter reduces the
//! loudness a little. The gain is therefore the one with which the limited audio reaches the target, which is found by
//! trying gains on the measurement. The measurement keeps loudness and peak of every millisecond, and the limiter
//! decides by the same blocks, so the result is exact. The source is decoded twice, however much the limiter reduces.
//!
//! AAC raises peaks and removes some loudness. The limiter's ceiling is therefore 1.5 dB below the clip's limit, and a
//! clip that misses its target, measured after decoding, is made again.

pub mod envelope;
pub mod limiter;
pub mod meter;
pub mod true_peak;

use crate::verify::loudness::Levels;
use clipfleet_domain::audio::NormalizeLoudness;
use meter::Measured;

/// Maximum gain, dB. A clip at -50 LUFS is a microphone that was not plugged in, and more gain would only raise its
/// noise.
pub const MAX_GAIN_DB: f64 = 30.0;

/// Maximum loudness that the limiter may remove, LU. Audio that needs more consists only of peaks, which such a gain
/// would destroy.
const MAX_LIMITING_LU: f64 = 12.0;

/// Distance from the target at which the search ends, LU: a tenth of what is promised.
const SEARCH_TOLERANCE_LU: f64 = 0.05;

/// How much AAC may raise the peaks of limited audio, dB. The limiter's ceiling is this much below the clip's limit.
/// Measured at 128 kbit/s: 0.3 dB on speech, 0.9 on clicks, 1.1 to 1.7 on music, depending on the settings
/// (`examples/aac_encoders.rs`).
const AAC_HEADROOM_DB: f64 = 1.5;

/// How much a finished clip may exceed its peak limit, dB. Two meters that follow the standard may differ by this much.
const PEAK_TOLERANCE_DB: f64 = 0.3;

/// Maximum distance of a finished clip from its target, LU. Half a unit is promised, and meters round.
const LOUDNESS_TOLERANCE_LU: f64 = 0.4;

/// What is reserved for the changes that the encoder makes. AAC has no bound for either value. But the changes hardly
/// depend on small differences in level: the encoder will change the next clip of the same audio as it changed this
/// one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Distance of the limiter's ceiling below the clip's limit, dB.
    headroom_db: f64,
    /// Loudness that the encoder removes, LU.
    loss_lu: f64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { headroom_db: AAC_HEADROOM_DB, loss_lu: 0.0 }
    }
}

/// How the audio is changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoudnessSettings {
    /// Gain of the whole clip, dB.
    pub gain_db: f64,
    /// Ceiling of the limiter, dB of full scale.
    pub ceiling_dbtp: f64,
}

/// The measured values, and the decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Loudness of the source's audio within the clip, LUFS.
    pub source_lufs: Option<f64>,
    /// Its true peak, dB of full scale.
    pub source_dbtp: Option<f64>,
    /// The decision.
    pub action: Action,
}

/// Whether the audio is changed, and the predicted result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// The audio is not changed, for this reason.
    Leave(&'static str),
    /// The audio is brought to the target, or as near as possible.
    Adjust {
        /// The settings.
        settings: LoudnessSettings,
        /// The largest attenuation by the limiter, dB.
        limited_db: f64,
        /// Whether the target is reached.
        reaches: bool,
    },
}

impl Decision {
    /// The decision for a source without audio.
    pub const NO_AUDIO: Self = Self { source_lufs: None, source_dbtp: None, action: Action::Leave("no_sound") };

    /// The allowance for another attempt, if a finished clip misses the decided values.
    pub fn missed(&self, requested: NormalizeLoudness, allowed: Allowance, made: Levels) -> Option<Allowance> {
        let Action::Adjust { reaches, .. } = self.action else { return None };
        let excess_db = made.true_peak_dbtp? - requested.true_peak_dbtp.as_db();
        let lost_lu = requested.target_lufs.as_db() - made.integrated_lufs?;
        let (too_high, too_far) = (excess_db > PEAK_TOLERANCE_DB, reaches && lost_lu.abs() > LOUDNESS_TOLERANCE_LU);
        (too_high || too_far).then_some(Allowance {
            headroom_db: allowed.headroom_db + if too_high { excess_db + PEAK_TOLERANCE_DB } else { 0.0 },
            loss_lu: allowed.loss_lu + if too_far { lost_lu } else { 0.0 },
        })
    }

    /// The settings, if the audio is changed.
    pub fn settings(&self) -> Option<LoudnessSettings> {
        match self.action {
            Action::Leave(_) => None,
            Action::Adjust { settings, .. } => Some(settings),
        }
    }
}

/// Decides how to change the audio.
pub fn decide(measured: &Measured, requested: NormalizeLoudness, allowed: Allowance) -> Decision {
    let target = requested.target_lufs.as_db() + allowed.loss_lu;
    let ceiling_dbtp = requested.true_peak_dbtp.as_db() - allowed.headroom_db;
    let source_lufs = measured.predict(1.0, f64::INFINITY).lufs;
    let source_dbtp = Some(20.0 * measured.peak().log10()).filter(|level| level.is_finite());
    let predict = |gain_db: f64| measured.predict(amplitude(gain_db), amplitude(ceiling_dbtp));
    let action = match source_lufs {
        None if measured.is_empty() => Action::Leave("no_sound"),
        None if measured.is_too_short() => Action::Leave("too_short"),
        None => Action::Leave("too_quiet"),
        Some(source) => {
            let missing = |gain_db: f64| target - predict(gain_db).lufs.unwrap_or(f64::NEG_INFINITY);
            let gain_db = gain(target - source, missing);
            let limited_db = predict(gain_db).limited_db;
            let reaches = missing(gain_db) <= SEARCH_TOLERANCE_LU;
            Action::Adjust { settings: LoudnessSettings { gain_db, ceiling_dbtp }, limited_db, reaches }
        }
    };
    Decision { source_lufs, source_dbtp, action }
}

/// Finds the gain that reaches the target, starting from the gain that would reach it without a limiter.
fn gain(unlimited_db: f64, missing_lu: impl Fn(f64) -> f64) -> f64 {
    let mut low = unlimited_db.min(MAX_GAIN_DB);
    if missing_lu(low) <= SEARCH_TOLERANCE_LU {
        return low;
    }
    let mut high = (unlimited_db + MAX_LIMITING_LU).min(MAX_GAIN_DB);
    if missing_lu(high) > 0.0 {
        return high;
    }
    // Each round halves an interval of at most 12 dB.
    while high - low > SEARCH_TOLERANCE_LU {
        let middle = (low + high) / 2.0;
        if missing_lu(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

/// Converts a level in decibels to an amplitude.
pub fn amplitude(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}

#[cfg(test)]
mod tests {
    use super::{meter::Meter, *};
    use clipfleet_domain::audio::CentiDb;

    /// Three seconds of a tone, with a click of another amplitude twice a second.
    fn audio(tone: f32, click: f32) -> Measured {
        let mut meter = Meter::default();
        meter.add((0..144_000_u32).map(|n| {
            let amplitude = if n % 24_000 < 48 { click } else { tone };
            [amplitude * (n as f32 * 0.130_899_7).sin(); 2]
        }));
        meter.finish()
    }

    fn requested(target: i32, peak: i32) -> NormalizeLoudness {
        NormalizeLoudness { target_lufs: CentiDb::whole(target), true_peak_dbtp: CentiDb::whole(peak) }
    }

    fn decided(measured: &Measured, target: i32, peak: i32) -> (f64, f64, f64) {
        let decision = decide(measured, requested(target, peak), Allowance::default());
        let Action::Adjust { settings, limited_db, .. } = decision.action else { panic!("{decision:?}") };
        assert_eq!(settings.ceiling_dbtp, f64::from(peak) - AAC_HEADROOM_DB);
        let predict = measured.predict(amplitude(settings.gain_db), amplitude(settings.ceiling_dbtp));
        (settings.gain_db, limited_db, predict.lufs.expect("loudness"))
    }

    #[test]
    fn audio_below_the_ceiling_gets_the_difference_and_no_limiting() {
        for (tone, target) in [(0.1, -14), (0.01, -23), (0.8, -30)] {
            let measured = audio(tone, tone);
            let source = measured.predict(1.0, f64::INFINITY).lufs.expect("loudness");
            let (gain, limited, lufs) = decided(&measured, target, -1);
            assert_eq!((gain, limited), (f64::from(target) - source, 0.0));
            assert!((lufs - f64::from(target)).abs() < 0.01, "{lufs}");
        }
    }

    #[test]
    fn limited_audio_gets_more_gain_until_it_reaches_the_target() {
        let measured = audio(0.05, 0.9);
        let source = measured.predict(1.0, f64::INFINITY).lufs.expect("loudness");
        let (gain, limited, lufs) = decided(&measured, -12, -2);
        assert!(gain > -12.0 - source + 0.2, "{gain} {source}");
        assert!(limited > 6.0, "{limited}");
        assert!((lufs + 12.0).abs() < 0.1, "{lufs}");
    }

    #[test]
    fn the_gain_is_bounded() {
        assert_eq!(decided(&audio(0.0006, 0.0006), -14, -1).0, MAX_GAIN_DB);
        let measured = audio(0.0, 1.0);
        let source = measured.predict(1.0, f64::INFINITY).lufs.expect("loudness");
        let (gain, _, lufs) = decided(&measured, -8, -6);
        assert_eq!(gain, -8.0 - source + MAX_LIMITING_LU);
        assert!(lufs < -8.5, "{lufs}");
    }

    #[test]
    fn the_encoders_changes_are_allowed_for_in_the_next_attempt() {
        let (requested, measured, allowed) = (requested(-14, -1), audio(0.05, 0.9), Allowance::default());
        let decision = decide(&measured, requested, allowed);
        let missed = |lufs: f64, peak: f64| {
            let levels = Levels { integrated_lufs: Some(lufs), true_peak_dbtp: Some(peak), sample_peak_dbfs: None };
            let tenths = |level: f64| (level * 10.0).round() / 10.0;
            decision.missed(requested, allowed, levels).map(|next| (tenths(next.headroom_db), tenths(next.loss_lu)))
        };
        assert_eq!(missed(-14.3, -0.75), None);
        assert_eq!(missed(-14.0, -0.5), Some((2.3, 0.0)));
        assert_eq!(missed(-14.5, -1.5), Some((1.5, 0.5)));
        let next = Allowance { headroom_db: 2.5, loss_lu: 0.5 };
        let (first, second) = (decision.settings().expect("a gain"), decide(&measured, requested, next).settings());
        let second = second.expect("a gain");
        assert!(second.gain_db > first.gain_db + 0.5 && second.ceiling_dbtp == -3.5, "{first:?} {second:?}");
        // A target out of reach is not tried again.
        let far = decide(&audio(0.0, 1.0), self::requested(-8, -6), allowed);
        let levels = Levels { integrated_lufs: Some(-12.0), true_peak_dbtp: Some(-7.0), sample_peak_dbfs: None };
        assert_eq!(far.missed(self::requested(-8, -6), allowed, levels), None);
    }

    #[test]
    fn audio_without_a_loudness_is_not_changed() {
        let left = |measured: &Measured| decide(measured, requested(-14, -1), Allowance::default());
        assert_eq!(left(&audio(0.0, 0.0)).action, Action::Leave("too_quiet"));
        assert_eq!(left(&audio(0.0, 0.0)).source_dbtp, None);
        assert_eq!(left(&Measured::default()).action, Action::Leave("no_sound"));
        let mut moment = Meter::default();
        moment.add([[0.5; 2]; 9_600]);
        assert_eq!(left(&moment.finish()).action, Action::Leave("too_short"));
        assert_eq!(left(&audio(0.0001, 0.0001)).settings(), None);
    }
}
