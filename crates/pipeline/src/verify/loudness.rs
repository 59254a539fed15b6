//! Measures the loudness of the result according to EBU R 128. It is only reported, because a clip may be as loud as
//! its source.

use super::audio::SAMPLE_RATE;
use ebur128::{EbuR128, Mode};
use std::fmt;

/// A running measurement.
pub struct LoudnessMeter(EbuR128);

impl fmt::Debug for LoudnessMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loudness")
    }
}

/// The result of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Levels {
    /// Integrated loudness, LUFS. `None` for silence and for audio shorter than 400 ms.
    pub integrated_lufs: Option<f64>,
    /// True peak, dB of full scale; `None` for silence.
    pub true_peak_dbtp: Option<f64>,
    /// Largest sample, dB of full scale; `None` for silence.
    pub sample_peak_dbfs: Option<f64>,
}

impl LoudnessMeter {
    /// A meter for stereo audio.
    pub fn new() -> Option<Self> {
        EbuR128::new(2, SAMPLE_RATE, Mode::I | Mode::TRUE_PEAK | Mode::SAMPLE_PEAK).ok().map(Self)
    }

    /// Adds the next stereo samples.
    pub fn add(&mut self, frames: &[[f32; 2]]) {
        // This fails only for another number of channels.
        let _ = self.0.add_frames_f32(frames.as_flattened());
    }

    /// The result so far.
    pub fn levels(&self) -> Levels {
        let peak = |one: fn(&EbuR128, u32) -> Result<f64, ebur128::Error>| {
            let sides = [0, 1].map(|side| one(&self.0, side).unwrap_or(0.0));
            Some(20.0 * sides[0].max(sides[1]).log10()).filter(|level| level.is_finite())
        };
        Levels {
            integrated_lufs: self.0.loudness_global().ok().filter(|meter| meter.is_finite()),
            true_peak_dbtp: peak(EbuR128::true_peak),
            sample_peak_dbfs: peak(EbuR128::sample_peak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of 997 Hz at -20 dB of full scale in both channels has -20 LUFS by definition (-3.01 dB per channel, two
    /// channels).
    #[test]
    fn the_reference_tone_has_the_reference_loudness() {
        let tone = |n: u32| [(f64::from(n) * 997.0 / 48_000.0 * std::f64::consts::TAU).sin() as f32 * 0.1; 2];
        let mut meter = LoudnessMeter::new().expect("a measurement");
        meter.add(&(0..4 * SAMPLE_RATE).map(tone).collect::<Vec<_>>());
        let levels = meter.levels();
        assert!((levels.integrated_lufs.expect("loudness") + 20.0).abs() < 0.1, "{levels:?}");
        assert!((levels.sample_peak_dbfs.expect("a peak") + 20.0).abs() < 0.1, "{levels:?}");
        assert!((levels.true_peak_dbtp.expect("a peak") + 20.0).abs() < 0.1, "{levels:?}");
    }

    #[test]
    fn silence_has_no_level() {
        let mut meter = LoudnessMeter::new().expect("a measurement");
        meter.add(&vec![[0.0; 2]; 96_000]);
        assert_eq!(meter.levels(), Levels::default());
    }
}
