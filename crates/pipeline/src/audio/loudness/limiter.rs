//! Applies one gain to all audio, and limits the peaks that exceed a ceiling. Both channels get the same gain, so that
//! the stereo image does not move. The output has the length of the input, and every sample keeps its position.

use super::{
    envelope::{self, BLOCK_SAMPLES, GainEnvelope},
    true_peak::{self, TruePeak},
};
use std::collections::VecDeque;

/// Samples that are held back until the following peaks are known.
const HELD_SAMPLES: usize = (envelope::DELAY_BLOCKS + 1) * BLOCK_SAMPLES + true_peak::DELAY_SAMPLES;

/// The state of a limiter.
#[derive(Debug, Clone)]
pub struct Limiter {
    gain: f32,
    meter: TruePeak,
    envelope: GainEnvelope,
    held: VecDeque<[f32; 2]>,
    /// Samples that the peak meter still needs before its first result.
    warm_up: usize,
    peak: f32,
    measured: usize,
}

impl Limiter {
    /// Multiplies by `gain` and keeps true peaks below the amplitude `ceiling`.
    pub fn new(gain: f32, ceiling: f32) -> Self {
        let (meter, envelope) = (TruePeak::default(), GainEnvelope::new(ceiling));
        let held = VecDeque::with_capacity(HELD_SAMPLES + BLOCK_SAMPLES);
        Self { gain, meter, envelope, held, warm_up: true_peak::DELAY_SAMPLES, peak: 0.0, measured: 0 }
    }

    /// Takes the next stereo samples, and appends the finished ones to `done`.
    pub fn push(&mut self, frames: impl IntoIterator<Item = [f32; 2]>, done: &mut Vec<[f32; 2]>) {
        for frame in frames {
            let frame = frame.map(|sample| sample * self.gain);
            self.held.push_back(frame);
            self.measure(frame, done);
        }
    }

    /// Appends the samples that were held back, at the end of the audio.
    pub fn finish(&mut self, done: &mut Vec<[f32; 2]>) {
        while !self.held.is_empty() {
            self.measure([0.0; 2], done);
        }
    }

    fn measure(&mut self, frame: [f32; 2], done: &mut Vec<[f32; 2]>) {
        let peak = self.meter.push(frame);
        if self.warm_up > 0 {
            self.warm_up -= 1;
            return;
        }
        self.peak = self.peak.max(peak);
        self.measured += 1;
        if self.measured < BLOCK_SAMPLES {
            return;
        }
        let gains = self.envelope.push(self.peak);
        (self.peak, self.measured) = (0.0, 0);
        if let Some([from, to]) = gains {
            let ready = self.held.drain(..BLOCK_SAMPLES.min(self.held.len()));
            done.extend(ready.enumerate().map(|(index, frame)| {
                let gain = from + (to - from) * index as f32 / BLOCK_SAMPLES as f32;
                frame.map(|sample| sample * gain)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    const SAMPLE_RATE: usize = 48_000;

    /// The limiter's output for audio that arrives in uneven pieces.
    fn limited(gain: f32, ceiling: f32, audio: &[[f32; 2]]) -> Vec<[f32; 2]> {
        let (mut limiter, mut done) = (Limiter::new(gain, ceiling), Vec::new());
        audio.chunks(1_000).for_each(|piece| limiter.push(piece.iter().copied(), &mut done));
        limiter.finish(&mut done);
        done
    }

    /// The true peak by an independent meter.
    fn true_peak(audio: &[[f32; 2]]) -> f64 {
        let mut meter = ebur128::EbuR128::new(2, SAMPLE_RATE as u32, ebur128::Mode::TRUE_PEAK).expect("a meter");
        meter.add_frames_f32(audio.as_flattened()).expect("stereo");
        meter.true_peak(0).expect("a peak").max(meter.true_peak(1).expect("a peak"))
    }

    fn noise() -> Vec<[f32; 2]> {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..2 * SAMPLE_RATE).map(|_| [random(), random() * random()]).collect()
    }

    #[test]
    fn audio_below_the_ceiling_is_only_multiplied() {
        let audio: Vec<[f32; 2]> = noise().into_iter().map(|frame| frame.map(|sample| sample * 0.1)).collect();
        let expected: Vec<[f32; 2]> = audio.iter().map(|frame| frame.map(|sample| sample * 3.0)).collect();
        assert!(limited(3.0, 0.9, &audio) == expected);
        assert!(limited(1.0, 0.5, &vec![[0.25, -0.25]; 5_000]) == vec![[0.25, -0.25]; 5_000]);
    }

    #[test]
    fn nothing_is_added_lost_or_moved() {
        for length in [0, 1, 7, 47, 48, 49, 335, 336, 344, 345, 4_800, 4_801] {
            let mut audio = vec![[0.0; 2]; length];
            if let Some(frame) = audio.last_mut() {
                *frame = [2.0, -1.0];
            }
            let done = limited(1.0, 0.5, &audio);
            assert_eq!(done.len(), length);
            assert!(done.iter().rev().skip(1).all(|frame| *frame == [0.0; 2]), "{length}");
            if let Some([left, right]) = done.last() {
                assert!((0.4..=0.5).contains(left) && (right * -2.0 - left).abs() < 1e-6, "{length}: {left} {right}");
            }
        }
    }

    #[test]
    fn a_peak_between_the_samples_is_limited() {
        let tone: Vec<[f32; 2]> =
            (0..SAMPLE_RATE).map(|n| [(TAU * (n % 4) as f32 / 4.0 + TAU / 8.0).sin(); 2]).collect();
        let done = limited(1.0, 0.8, &tone);
        let highest = done.iter().fold(0.0_f32, |peak, [left, _]| peak.max(left.abs()));
        assert!(highest < 0.58, "the samples themselves, 3 dB lower: {highest}");
        assert!(true_peak(&done[2_400..45_600]) < 0.8 * 1.01);
    }

    #[test]
    fn noise_does_not_overshoot() {
        for gain in [1.0, 4.0, 15.0] {
            let peak = true_peak(&limited(gain, 0.5, &noise()));
            // 0.2 dB: two meters that follow the standard differ by this much on noise up to half the sample rate.
            assert!(peak < 0.5 * 1.024, "gain {gain}: {peak}");
            assert!(peak > 0.45, "gain {gain}: {peak}");
        }
    }

    #[test]
    fn the_level_recovers_after_a_peak() {
        let burst = |n: usize| (SAMPLE_RATE / 2..SAMPLE_RATE / 2 + 2_400).contains(&n);
        let amplitude = |n: usize| if burst(n) { 1.0 } else { 0.2 };
        let audio: Vec<[f32; 2]> =
            (0..2 * SAMPLE_RATE).map(|n| [amplitude(n) * (TAU * (n as f32 / 48.0).fract()).sin(); 2]).collect();
        let done = limited(1.0, 0.4, &audio);
        let level = |from: usize| done[from..from + 480].iter().fold(0.0_f32, |peak, [left, _]| peak.max(left.abs()));
        assert!((level(SAMPLE_RATE / 4) - 0.2).abs() < 0.001);
        assert!((0.38..0.4001).contains(&level(SAMPLE_RATE / 2 + 960)), "{}", level(SAMPLE_RATE / 2 + 960));
        assert!(level(SAMPLE_RATE / 2 + 2_880) < 0.11, "{}", level(SAMPLE_RATE / 2 + 2_880));
        assert!(level(SAMPLE_RATE / 2 + 2_400 + 19_200) > 0.195, "{}", level(SAMPLE_RATE / 2 + 2_400 + 19_200));
    }
}
