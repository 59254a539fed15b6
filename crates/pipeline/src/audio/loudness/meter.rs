//! Measures energy and peaks of audio, millisecond by millisecond. The loudness after any gain and the limiter can be
//! predicted from these values alone. A source is therefore decoded once, however many gains are tried.
//!
//! Eight bytes are kept per millisecond: 29 MB for an hour, 5 MB for the longest clip. Loudness is integrated according
//! to ITU-R BS.1770-4. Verification measures the finished clip with an independent meter (`verify/loudness.rs`).

use super::{
    envelope::{self, BLOCK_SAMPLES, GainEnvelope},
    true_peak::{self, TruePeak},
};

/// Blocks between the starts of two gating windows (100 ms), and hops per gating window (400 ms).
const HOP_BLOCKS: usize = 100;
const WINDOW_HOPS: usize = 4;

/// Loudness below which a window never counts, LUFS, and loudness relative to the mean below which it does not count,
/// LU.
const ABSOLUTE_GATE_LUFS: f64 = -70.0;
const RELATIVE_GATE_LU: f64 = -10.0;

/// The two stages of the K-weighting at 48 kHz, b0 b1 b2 a1 a2, as printed in the standard: a shelf for the head, and a
/// high-pass.
const SHELF: [f64; 5] =
    [1.535_124_859_586_97, -2.691_696_189_406_38, 1.198_392_810_852_85, -1.690_659_293_182_41, 0.732_480_774_215_85];
const HIGH_PASS: [f64; 5] = [1.0, -2.0, 1.0, -1.990_047_454_833_98, 0.990_072_250_366_21];

/// A running measurement.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    filters: [[Biquad; 2]; 2],
    true_peak: TruePeak,
    samples: usize,
    measured: Measured,
}

/// The result of a measurement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Mean square of each block after the K-weighting, both channels together.
    energies: Vec<f32>,
    /// True peak of each block.
    peaks: Vec<f32>,
}

/// The predicted result of a gain and a limiter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// Integrated loudness, LUFS; `None` if nothing is loud enough to count, or for less than 400 ms.
    pub lufs: Option<f64>,
    /// The largest attenuation by the limiter, dB.
    pub limited_db: f64,
}

impl Meter {
    /// Adds the next stereo samples.
    pub fn add(&mut self, frames: impl IntoIterator<Item = [f32; 2]>) {
        for frame in frames {
            self.add_energy(frame);
            self.add_peak(frame);
            self.samples += 1;
        }
    }

    /// Number of samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Ends the measurement, at the end of the audio.
    pub fn finish(mut self) -> Measured {
        let samples = self.samples;
        while self.samples < samples + true_peak::DELAY_SAMPLES {
            self.add_peak([0.0; 2]);
            self.samples += 1;
        }
        self.measured.peaks.resize(self.measured.energies.len(), 0.0);
        self.measured
    }

    fn add_energy(&mut self, frame: [f32; 2]) {
        let weighted = |(stages, sample): (&mut [Biquad; 2], f32)| {
            let [shelf, high_pass] = stages;
            high_pass.next(shelf.next(f64::from(sample), &SHELF), &HIGH_PASS).powi(2)
        };
        let energy: f64 = self.filters.iter_mut().zip(frame).map(weighted).sum();
        add(&mut self.measured.energies, self.samples, |sum| *sum += energy as f32 / BLOCK_SAMPLES as f32);
    }

    fn add_peak(&mut self, frame: [f32; 2]) {
        let peak = self.true_peak.push(frame);
        if let Some(sample) = self.samples.checked_sub(true_peak::DELAY_SAMPLES) {
            add(&mut self.measured.peaks, sample, |highest| *highest = highest.max(peak));
        }
    }
}

fn add(blocks: &mut Vec<f32>, sample: usize, add: impl FnOnce(&mut f32)) {
    if sample / BLOCK_SAMPLES == blocks.len() {
        blocks.push(0.0);
    }
    if let Some(block) = blocks.last_mut() {
        add(block);
    }
}

impl Measured {
    /// Predicts the result of a gain and a limiter with this ceiling. Both are amplitudes.
    pub fn predict(&self, gain: f64, ceiling: f64) -> Predicted {
        let (gain, mut least) = (gain as f32, 1.0_f32);
        let mut limiter = GainEnvelope::new(ceiling as f32);
        let peaks = self.peaks.iter().map(|peak| peak * gain).chain([0.0; envelope::DELAY_BLOCKS]);
        let gains = peaks.filter_map(|peak| limiter.push(peak));
        let energies = self.energies.iter().zip(gains).map(|(energy, [from, to])| {
            least = least.min(from).min(to);
            // The mean square of a linear gain from one value to another.
            f64::from(energy * gain * gain * (from * from + from * to + to * to) / 3.0)
        });
        let lufs = integrated(energies);
        Predicted { lufs, limited_db: 0.0 - 20.0 * f64::from(least).log10() }
    }

    /// Highest true peak, an amplitude.
    pub fn peak(&self) -> f64 {
        f64::from(self.peaks.iter().copied().fold(0.0, f32::max))
    }

    /// Whether there is no audio.
    pub fn is_empty(&self) -> bool {
        self.energies.is_empty()
    }

    /// Whether the audio is too short to have a loudness, which is defined from 400 ms on.
    pub fn is_too_short(&self) -> bool {
        self.energies.len() < HOP_BLOCKS * WINDOW_HOPS
    }
}

/// Integrated loudness of the windows that count.
fn integrated(energies: impl Iterator<Item = f64>) -> Option<f64> {
    let energies: Vec<f64> = energies.collect();
    let hops: Vec<f64> =
        energies.chunks_exact(HOP_BLOCKS).map(|hop| hop.iter().sum::<f64>() / HOP_BLOCKS as f64).collect();
    let windows: Vec<f64> =
        hops.windows(WINDOW_HOPS).map(|window| window.iter().sum::<f64>() / WINDOW_HOPS as f64).collect();
    let ungated = mean(&windows, ABSOLUTE_GATE_LUFS)?;
    mean(&windows, ABSOLUTE_GATE_LUFS.max(ungated + RELATIVE_GATE_LU))
}

fn mean(windows: &[f64], gate: f64) -> Option<f64> {
    let lufs = |energy: f64| 10.0 * energy.log10() - 0.691;
    let (mut sum, mut count) = (0.0, 0);
    for energy in windows.iter().filter(|energy| lufs(**energy) > gate) {
        sum += energy;
        count += 1;
    }
    (count > 0).then(|| lufs(sum / f64::from(count)))
}

#[derive(Debug, Clone, Copy, Default)]
struct Biquad([f64; 2]);

impl Biquad {
    fn next(&mut self, input: f64, [b0, b1, b2, a1, a2]: &[f64; 5]) -> f64 {
        let [one, two] = self.0;
        let output = b0 * input + one;
        self.0 = [b1 * input - a1 * output + two, b2 * input - a2 * output];
        output
    }
}

#[cfg(test)]
mod tests {
    use super::{super::limiter::Limiter, *};
    use crate::verify::loudness::LoudnessMeter;

    /// Six seconds of syllables of noise with pauses, on both channels, one of them attenuated.
    fn speech(crest: i32) -> Vec<[f32; 2]> {
        let mut state = 3_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let mut frames = Vec::new();
        while frames.len() < 6 * 48_000 {
            let (loud, length) = (random().powi(2), 2_000 + (random() * 12_000.0) as usize);
            frames.extend((0..length).map(|_| {
                let sample = loud * (2.0 * random() - 1.0).powi(crest);
                [sample, 0.5 * sample]
            }));
        }
        frames
    }

    fn measured(frames: &[[f32; 2]]) -> Measured {
        let mut meter = Meter::default();
        frames.chunks(997).for_each(|piece| meter.add(piece.iter().copied()));
        meter.finish()
    }

    #[test]
    fn another_meter_of_the_same_standard_agrees() {
        for crest in [1, 5] {
            let frames = speech(crest);
            let mut other = LoudnessMeter::new().expect("a meter");
            other.add(&frames);
            let levels = other.levels();
            let measured = measured(&frames);
            let lufs = measured.predict(1.0, 10.0).lufs.expect("loudness");
            assert!((lufs - levels.integrated_lufs.expect("loudness")).abs() < 0.05, "{lufs} {levels:?}");
            let peak = 20.0 * measured.peak().log10();
            assert!((peak - levels.true_peak_dbtp.expect("a peak")).abs() < 0.3, "{peak} {levels:?}");
        }
    }

    #[test]
    fn the_predicted_loudness_matches_the_limiters_output() {
        for (crest, gain, ceiling) in [(1, 3.0, 0.5), (5, 6.0, 0.7), (9, 20.0, 0.8)] {
            let frames = speech(crest);
            let (mut limiter, mut done) = (Limiter::new(gain, ceiling), Vec::new());
            limiter.push(frames.iter().copied(), &mut done);
            limiter.finish(&mut done);
            let mut other = LoudnessMeter::new().expect("a meter");
            other.add(&done);
            let lufs = other.levels().integrated_lufs.expect("loudness");
            let predicted = measured(&frames).predict(gain.into(), ceiling.into());
            assert!(predicted.limited_db > 3.0, "{predicted:?}");
            assert!((lufs - predicted.lufs.expect("loudness")).abs() < 0.1, "{lufs} {predicted:?}");
        }
    }

    #[test]
    fn silence_very_quiet_and_very_short_audio_has_no_loudness() {
        let lufs = |frames: &[[f32; 2]]| measured(frames).predict(1.0, 1.0).lufs;
        assert_eq!(lufs(&[]), None);
        assert_eq!(lufs(&vec![[0.0; 2]; 48_000]), None);
        let tone = |amplitude: f32, count: usize| -> Vec<[f32; 2]> {
            (0..count).map(|n| [amplitude * (n as f32 * 0.13).sin(); 2]).collect()
        };
        assert_eq!(lufs(&tone(0.0002, 48_000)), None);
        assert_eq!(lufs(&tone(0.5, 19_199 - 48)), None);
        assert!(lufs(&tone(0.5, 19_200)).is_some());
    }
}
