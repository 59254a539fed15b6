//! How loud the result is, after EBU R 128. Told, not judged: what is loud in the source is loud in the clip.

use super::sound::SAMPLE_RATE;
use ebur128::{EbuR128, Mode};
use std::fmt;

/// A measurement under way.
pub struct Loudness(EbuR128);

impl fmt::Debug for Loudness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loudness")
    }
}

/// What a measurement found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Levels {
    /// Integrated loudness, LUFS. `None` for silence and for sounds shorter than the 400 ms it is defined on.
    pub integrated_lufs: Option<f64>,
    /// True peak, dB of full scale; `None` for silence.
    pub true_peak_dbtp: Option<f64>,
    /// Largest sample, dB of full scale; `None` for silence.
    pub sample_peak_dbfs: Option<f64>,
}

impl Loudness {
    /// A measurement of stereo sound.
    pub fn new() -> Option<Self> {
        EbuR128::new(2, SAMPLE_RATE, Mode::I | Mode::TRUE_PEAK | Mode::SAMPLE_PEAK).ok().map(Self)
    }

    /// Adds the next pairs of left and right.
    pub fn add(&mut self, frames: &[[f32; 2]]) {
        // It refuses only channels and rates that it was not made for.
        let _ = self.0.add_frames_f32(frames.as_flattened());
    }

    /// What was found so far.
    pub fn levels(&self) -> Levels {
        let peak = |one: fn(&EbuR128, u32) -> Result<f64, ebur128::Error>| {
            let sides = [0, 1].map(|side| one(&self.0, side).unwrap_or(0.0));
            Some(20.0 * sides[0].max(sides[1]).log10()).filter(|level| level.is_finite())
        };
        Levels {
            integrated_lufs: self.0.loudness_global().ok().filter(|loudness| loudness.is_finite()),
            true_peak_dbtp: peak(EbuR128::true_peak),
            sample_peak_dbfs: peak(EbuR128::sample_peak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of 997 Hz at -20 dB of full scale on both sides has -20 LUFS by definition (3.01 dB below per side, two sides).
    #[test]
    fn the_reference_tone_has_the_reference_loudness() {
        let tone = |n: u32| [(f64::from(n) * 997.0 / 48_000.0 * std::f64::consts::TAU).sin() as f32 * 0.1; 2];
        let mut loudness = Loudness::new().expect("a measurement");
        loudness.add(&(0..4 * SAMPLE_RATE).map(tone).collect::<Vec<_>>());
        let levels = loudness.levels();
        assert!((levels.integrated_lufs.expect("loudness") + 20.0).abs() < 0.1, "{levels:?}");
        assert!((levels.sample_peak_dbfs.expect("a peak") + 20.0).abs() < 0.1, "{levels:?}");
        assert!((levels.true_peak_dbtp.expect("a peak") + 20.0).abs() < 0.1, "{levels:?}");
    }

    #[test]
    fn silence_has_no_level() {
        let mut loudness = Loudness::new().expect("a measurement");
        loudness.add(&vec![[0.0; 2]; 96_000]);
        assert_eq!(loudness.levels(), Levels::default());
    }
}
