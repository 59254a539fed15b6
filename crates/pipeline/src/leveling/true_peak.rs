//! True peaks: the highest point of the curve through the samples, which lies between them more often than on one.
//!
//! After ITU-R BS.1770-4, annex 2: the sound is taken at four times its rate. What remains unseen between two of those points is at most
//! 0.2 dB below 12 kHz, and the standard's own meters do not see it either.

use std::{array, f64::consts::PI, sync::LazyLock};

/// Points between two samples, the left sample included.
const OVERSAMPLING: usize = 4;

/// Samples around a point from which it is interpolated, half of them on either side.
const TAPS: usize = 16;

/// Samples that must follow a sample before its peak is known.
pub const DELAY: usize = TAPS / 2;

/// Weights of the samples around the points at 1/4, 2/4 and 3/4 of the way from one sample to the next: a sinc under a Hann window.
static WEIGHTS: LazyLock<[[f32; TAPS]; OVERSAMPLING - 1]> = LazyLock::new(|| {
    array::from_fn(|point| {
        let at = (point + 1) as f64 / OVERSAMPLING as f64;
        let weight = |tap: usize| {
            let from = PI * (tap as f64 - (DELAY - 1) as f64 - at);
            from.sin() / from * (from / (2.0 * DELAY as f64)).cos().powi(2)
        };
        // A constant must stay what it is.
        let sum: f64 = (0..TAPS).map(weight).sum();
        array::from_fn(|tap| (weight(tap) / sum) as f32)
    })
});

/// Finds the peak at and behind each sample of a sound, the louder of its two sides.
#[derive(Debug, Clone)]
pub struct TruePeak {
    /// The samples around, the oldest first, each side twice in a row: a window of them is always in one piece.
    around: [[f32; 2 * TAPS]; 2],
    next: usize,
}

impl Default for TruePeak {
    fn default() -> Self {
        Self { around: [[0.0; 2 * TAPS]; 2], next: 0 }
    }
}

impl TruePeak {
    /// Takes the next sample and gives the peak from the sample [`DELAY`] before it up to the one behind that.
    pub fn push(&mut self, frame: [f32; 2]) -> f32 {
        let place = self.next;
        self.next = (place + 1) % TAPS;
        let mut peak = 0.0_f32;
        for (around, sample) in self.around.iter_mut().zip(frame) {
            (around[place], around[place + TAPS]) = (sample, sample);
            let window = &around[self.next..self.next + TAPS];
            peak = peak.max(window[DELAY - 1].abs());
            for weights in WEIGHTS.iter() {
                let point: f32 = window.iter().zip(weights).map(|(sample, weight)| sample * weight).sum();
                peak = peak.max(point.abs());
            }
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    fn highest(sound: impl Iterator<Item = [f32; 2]>) -> f32 {
        let mut meter = TruePeak::default();
        sound.map(|frame| meter.push(frame)).skip(4 * TAPS).fold(0.0, f32::max)
    }

    fn tone(of_rate: f32, phase: f32) -> impl Iterator<Item = [f32; 2]> {
        (0..4_800).map(move |n| [0.0, (TAU * (of_rate * n as f32).fract() + phase).sin()])
    }

    #[test]
    fn a_peak_between_the_samples_is_seen() {
        // Every sample lies 3 dB below the curve's top.
        let samples = tone(0.25, TAU / 8.0).fold(0.0_f32, |peak, frame| peak.max(frame[1].abs()));
        assert!((samples - 0.707).abs() < 0.001, "{samples}");
        let peak = highest(tone(0.25, TAU / 8.0));
        assert!((peak - 1.0).abs() < 0.01, "{peak}");
    }

    #[test]
    fn tones_of_every_pitch_have_their_true_height() {
        for of_rate in [0.001, 0.02, 0.1003, 0.1667, 0.2411, 0.3333] {
            let peak = 20.0 * highest(tone(of_rate, 0.3)).log10();
            assert!((-0.35..0.1).contains(&peak), "{of_rate}: {peak} dB");
        }
    }

    #[test]
    fn a_peak_belongs_to_its_sample() {
        let mut meter = TruePeak::default();
        let peaks: Vec<f32> =
            (0..64).map(|n| meter.push([if n == 20 { -1.0 } else { 0.0 }, 0.0])).skip(DELAY).collect();
        let top = peaks.iter().position(|peak| *peak == 1.0);
        assert_eq!(top, Some(20));
        assert!(peaks[..12].iter().chain(&peaks[30..]).all(|peak| *peak < 0.05));
    }
}
