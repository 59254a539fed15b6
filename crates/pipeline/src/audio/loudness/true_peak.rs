//! True peaks: the maximum of the curve through the samples, which is more often between two samples than on one.
//!
//! According to ITU-R BS.1770-4, annex 2, the audio is oversampled by four. The maximum between two of those points is
//! missed by at most 0.2 dB below 12 kHz. Meters that follow the standard miss it, too.

use std::{array, f64::consts::PI, sync::LazyLock};

/// Points per sample, including the sample itself.
const OVERSAMPLING: usize = 4;

/// Number of samples that a point is interpolated from, half of them on each side.
const TAPS: usize = 16;

/// Number of following samples that are needed to compute a sample's peak.
pub const DELAY_SAMPLES: usize = TAPS / 2;

/// Interpolation weights for the points at 1/4, 2/4 and 3/4 between two samples: a sinc with a Hann window.
static WEIGHTS: LazyLock<[[f32; TAPS]; OVERSAMPLING - 1]> = LazyLock::new(|| {
    array::from_fn(|point| {
        let at = (point + 1) as f64 / OVERSAMPLING as f64;
        let weight = |tap: usize| {
            let from = PI * (tap as f64 - (DELAY_SAMPLES - 1) as f64 - at);
            from.sin() / from * (from / (2.0 * DELAY_SAMPLES as f64)).cos().powi(2)
        };
        // Normalized, so that a constant signal keeps its level.
        let sum: f64 = (0..TAPS).map(weight).sum();
        array::from_fn(|tap| (weight(tap) / sum) as f32)
    })
});

/// Computes the peak at and after each sample, over both channels.
#[derive(Debug, Clone)]
pub struct TruePeak {
    /// The surrounding samples, oldest first. Each channel is stored twice in a row, so that every window of samples is
    /// contiguous.
    around: [[f32; 2 * TAPS]; 2],
    next: usize,
}

impl Default for TruePeak {
    fn default() -> Self {
        Self { around: [[0.0; 2 * TAPS]; 2], next: 0 }
    }
}

impl TruePeak {
    /// Takes the next sample. Returns the peak from the sample [`DELAY_SAMPLES`] before it up to the sample after that.
    pub fn push(&mut self, frame: [f32; 2]) -> f32 {
        let place = self.next;
        self.next = (place + 1) % TAPS;
        let mut peak = 0.0_f32;
        for (around, sample) in self.around.iter_mut().zip(frame) {
            (around[place], around[place + TAPS]) = (sample, sample);
            let window = &around[self.next..self.next + TAPS];
            peak = peak.max(window[DELAY_SAMPLES - 1].abs());
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

    fn highest(audio: impl Iterator<Item = [f32; 2]>) -> f32 {
        let mut meter = TruePeak::default();
        audio.map(|frame| meter.push(frame)).skip(4 * TAPS).fold(0.0, f32::max)
    }

    fn tone(of_rate: f32, phase: f32) -> impl Iterator<Item = [f32; 2]> {
        (0..4_800).map(move |n| [0.0, (TAU * (of_rate * n as f32).fract() + phase).sin()])
    }

    #[test]
    fn a_peak_between_the_samples_is_found() {
        // Every sample is 3 dB below the maximum of the curve.
        let samples = tone(0.25, TAU / 8.0).fold(0.0_f32, |peak, frame| peak.max(frame[1].abs()));
        assert!((samples - 0.707).abs() < 0.001, "{samples}");
        let peak = highest(tone(0.25, TAU / 8.0));
        assert!((peak - 1.0).abs() < 0.01, "{peak}");
    }

    #[test]
    fn tones_of_every_pitch_have_their_true_peak() {
        for of_rate in [0.001, 0.02, 0.1003, 0.1667, 0.2411, 0.3333] {
            let peak = 20.0 * highest(tone(of_rate, 0.3)).log10();
            assert!((-0.35..0.1).contains(&peak), "{of_rate}: {peak} dB");
        }
    }

    #[test]
    fn a_peak_belongs_to_its_sample() {
        let mut meter = TruePeak::default();
        let peaks: Vec<f32> =
            (0..64).map(|n| meter.push([if n == 20 { -1.0 } else { 0.0 }, 0.0])).skip(DELAY_SAMPLES).collect();
        let top = peaks.iter().position(|peak| *peak == 1.0);
        assert_eq!(top, Some(20));
        assert!(peaks[..12].iter().chain(&peaks[30..]).all(|peak| *peak < 0.05));
    }
}
