//! Compares the audio of a file with the audio that entered the encoder: content and time. Pure.
//!
//! Only the audio's envelope is kept: its energy every two milliseconds, per channel. The envelope survives lossy
//! coding, and measures a delay as well as the waveform.

use crate::failure;
use clipfleet_domain::failure::Failure;
use std::{
    fmt,
    ops::{Range, RangeInclusive},
};

/// Samples per second in this module.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples per step: 2 ms, a twentieth of the slip that must be detected.
const STEP_SAMPLES: usize = 96;

const STEPS_PER_SECOND: usize = SAMPLE_RATE as usize / STEP_SAMPLES;

const STEP_MS: f64 = 1_000.0 / STEPS_PER_SECOND as f64;

/// Steps per window. Five seconds contain several syllables or bars, and a slip that begins later has a window of its
/// own.
const WINDOW_STEPS: usize = 5 * STEPS_PER_SECOND;

/// Maximum delay that is searched: a second in both directions.
const SEARCH_STEPS: usize = STEPS_PER_SECOND;

/// Slip that is a fault, milliseconds: half of the 40 ms that people notice, and that are promised.
const MAX_SLIP_MS: f64 = 20.0;

/// How much larger the correlation at another delay must be to be a slip. Repetitive audio correlates nearly as well at
/// other delays.
const SLIP_MARGIN: f64 = 0.05;

/// Minimum variation (standard deviation over mean) of a window that can be located. Steady tones and noise correlate
/// at any delay.
const MIN_VARIATION: f64 = 0.2;

/// Variation from which a window must be found again, and the minimum correlation for that.
const DISTINCT_VARIATION: f64 = 0.5;
const MIN_CORRELATION: f64 = 0.5;

/// Steps whose loudness is compared (100 ms), and the number of consecutive ones that are a fault.
const CHUNK_STEPS: usize = STEPS_PER_SECOND / 10;
const MIN_CHUNKS: usize = 3;

/// Levels in dB of full scale: the level that must not be lost, the decrease that counts as lost, and the maximum level
/// of silence. Encoders drop the highest frequencies, which alone hardly ever reach the first level.
const LOUD_DB: f32 = -45.0;
const MAX_LOSS_DB: f32 = 20.0;
const SILENCE_DB: f32 = -70.0;

/// Level from which a chunk is audible. An encoder may drop a single faint click, but not several consecutive audible
/// chunks.
const AUDIBLE_DB: f32 = -60.0;

/// The envelope of audio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    /// Energy of each step, left and right.
    energies: Vec<[f32; 2]>,
    /// End of the audio, samples.
    samples: u64,
}

impl Envelope {
    /// Adds stereo samples that begin at sample `at`. Samples before 0 are not audible.
    pub fn add(&mut self, at: i64, frames: &[[f32; 2]]) {
        let hidden = usize::try_from(-at).unwrap_or(0).min(frames.len());
        let frames = &frames[hidden..];
        let Ok(at) = u64::try_from(at + hidden as i64) else { return };
        let end = at + frames.len() as u64;
        self.samples = self.samples.max(end);
        let steps = end.div_ceil(STEP_SAMPLES as u64) as usize;
        if self.energies.len() < steps {
            self.energies.resize(steps, [0.0; 2]);
        }
        let mut position = at as usize;
        let mut rest = frames;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((STEP_SAMPLES - position % STEP_SAMPLES).min(rest.len()));
            let energy = &mut self.energies[position / STEP_SAMPLES];
            for [left, right] in now {
                energy[0] += left * left;
                energy[1] += right * right;
            }
            position += now.len();
            rest = later;
        }
    }

    /// End of the audio, milliseconds.
    pub fn end_ms(&self) -> f64 {
        self.samples as f64 * 1_000.0 / f64::from(SAMPLE_RATE)
    }

    /// Amplitudes of both channels together. Energies are added, because samples would cancel in channels of opposite
    /// phase.
    fn amplitudes(&self) -> Vec<f64> {
        self.energies.iter().map(|[left, right]| f64::from((left + right) / (2 * STEP_SAMPLES) as f32).sqrt()).collect()
    }

    /// Level of each chunk of one channel, dB of full scale.
    fn chunks_db(&self, side: usize, chunks: usize) -> Vec<f32> {
        let level = |chunk: usize| {
            let steps = self.energies.iter().skip(chunk * CHUNK_STEPS).take(CHUNK_STEPS);
            10.0 * (steps.map(|step| step[side]).sum::<f32>() / (CHUNK_STEPS * STEP_SAMPLES) as f32).max(1e-12).log10()
        };
        (0..chunks).map(level).collect()
    }
}

/// Compares the output with the encoder's input. Returns the delay of the audio, milliseconds, where it is largest;
/// `None` if no window varies enough.
pub fn compare(input: &Envelope, output: &Envelope) -> Result<Option<f64>, Failure> {
    let matches = find_all(&input.amplitudes(), &output.amplitudes());
    let recognized = || matches.iter().filter(|one| one.fit >= MIN_CORRELATION);
    // A slip is checked first, because audio at the wrong time is also missing at the right time.
    if let Some(slipped) = recognized().find(|one| one.late_ms.abs() >= MAX_SLIP_MS) {
        let direction = if slipped.late_ms < 0.0 { "early" } else { "late" };
        return Err(failure::encode_slip(format!("{slipped} is {:.0} ms {direction}", slipped.late_ms.abs())));
    }
    check_loudness(input, output)?;
    if let Some(unmatched) =
        matches.iter().find(|one| one.fit < MIN_CORRELATION && one.variation >= DISTINCT_VARIATION && one.audible)
    {
        return Err(failure::encode_mismatch(format!("{unmatched} is not the one encoded")));
    }
    Ok(recognized().map(|one| one.late_ms).max_by(|a, b| a.abs().total_cmp(&b.abs())))
}

/// Locates every window.
fn find_all(input: &[f64], output: &[f64]) -> Vec<Match> {
    // The remainder after the last window belongs to that window, because a short window is unreliable.
    let windows = (input.len() / WINDOW_STEPS).max(1);
    let end = |window: usize| if window + 1 == windows { input.len() } else { (window + 1) * WINDOW_STEPS };
    (0..windows).filter_map(|window| find(input, output, window * WINDOW_STEPS..end(window))).collect()
}

fn check_loudness(input: &Envelope, output: &Envelope) -> Result<(), Failure> {
    let chunks = input.energies.len() / CHUNK_STEPS;
    for (side, name) in ["left", "right"].into_iter().enumerate() {
        let pairs: Vec<(f32, f32)> =
            input.chunks_db(side, chunks).into_iter().zip(output.chunks_db(side, chunks)).collect();
        let lost = |&(input, output): &(f32, f32)| input > LOUD_DB && output < input - MAX_LOSS_DB;
        let gained = |&(input, output): &(f32, f32)| input < SILENCE_DB && output > LOUD_DB;
        if let Some((from, to)) = longest(&pairs, lost) {
            let message = format!("the {name} sound from {from} ms to {to} ms is missing");
            return Err(failure::encode_mismatch(message));
        }
        if let Some((from, to)) = longest(&pairs, gained) {
            let message = format!("the {name} side sounds from {from} ms to {to} ms, where silence was encoded");
            return Err(failure::encode_mismatch(message));
        }
    }
    Ok(())
}

/// The longest sequence of chunks of a kind, in milliseconds, if it is long enough.
fn longest(pairs: &[(f32, f32)], kind: impl Fn(&(f32, f32)) -> bool) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut from = 0;
    for (index, pair) in pairs.iter().enumerate() {
        if !kind(pair) {
            from = index + 1;
        } else if index + 1 - from >= MIN_CHUNKS && best.is_none_or(|(a, b)| index + 1 - from > b - a) {
            best = Some((from, index + 1));
        }
    }
    let ms = |chunk: usize| chunk * CHUNK_STEPS * 1_000 / STEPS_PER_SECOND;
    best.map(|(from, to)| (ms(from), ms(to)))
}

struct Match {
    range: Range<usize>,
    late_ms: f64,
    /// Correlation at that delay, at most 1.
    fit: f64,
    variation: f64,
    /// Whether there is more than a click.
    audible: bool,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |step: usize| step * 1_000 / STEPS_PER_SECOND;
        write!(f, "the sound from {} ms to {} ms", ms(self.range.start), ms(self.range.end))
    }
}

/// Locates a window of the input in the output. `None` if it varies too little, or is too quiet.
fn find(input: &[f64], output: &[f64], range: Range<usize>) -> Option<Match> {
    let stretch = input.get(range.clone())?;
    let mean = stretch.iter().sum::<f64>() / stretch.len() as f64;
    let deviation = (stretch.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / stretch.len() as f64).sqrt();
    let variation = deviation / mean.max(f64::MIN_POSITIVE);
    if mean < 10.0_f64.powf(f64::from(SILENCE_DB) / 20.0) || variation < MIN_VARIATION {
        return None;
    }
    let level = |chunk: &[f64]| chunk.iter().map(|value| value * value).sum::<f64>() / chunk.len() as f64;
    let threshold = 10.0_f64.powf(f64::from(AUDIBLE_DB) / 10.0);
    let audible = stretch.chunks(CHUNK_STEPS).filter(|chunk| level(chunk) > threshold).count() >= MIN_CHUNKS;
    let fit = |lag: isize| correlation(input, output, &range, lag);
    let reach = SEARCH_STEPS.min(stretch.len() / 2) as isize;
    // The largest delay that is not a slip. A peak at the edge must be treated like any other.
    let near = (MAX_SLIP_MS / STEP_MS) as isize - 1;
    let best = |lags: RangeInclusive<isize>| {
        lags.map(|lag| (lag, fit(lag))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    };
    let (close, far) = (best(-near..=near), best(-reach..=reach));
    let (lag, peak) = if far.1 > close.1 + SLIP_MARGIN { far } else { close };
    // The maximum of the parabola through the best delay and its neighbours.
    let (before, after) = (fit(lag - 1), fit(lag + 1));
    let bend = before - 2.0 * peak + after;
    let between = if bend < 0.0 { ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
    Some(Match { range, late_ms: (lag as f64 + between) * STEP_MS, fit: peak, variation, audible })
}

/// Correlation of a window of the input with the output `lag` steps later, where both exist.
fn correlation(input: &[f64], output: &[f64], range: &Range<usize>, lag: isize) -> f64 {
    let begin = range.start.max(usize::try_from(-lag).unwrap_or(0));
    let end = range.end.min(output.len().saturating_add_signed(-lag));
    if begin >= end || (end - begin) * 2 < range.len() {
        return 0.0;
    }
    let one = &input[begin..end];
    let other = &output[begin.saturating_add_signed(lag)..end.saturating_add_signed(lag)];
    let count = one.len() as f64;
    let (mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in one.iter().zip(other) {
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    let spread = (aa - a * a / count) * (bb - b * b / count);
    if spread <= 0.0 { 0.0 } else { (ab - a * b / count) / spread.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;

    /// Twelve seconds of bursts of noise at irregular times.
    fn speech() -> Vec<[f32; 2]> {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let mut frames = Vec::new();
        while frames.len() < 12 * SAMPLE_RATE as usize {
            let (loud, length) = (random() * 0.5, 1_000 + (random() * 12_000.0) as usize);
            frames.extend((0..length).map(|_| [loud * (random() - 0.5), loud * (random() - 0.5)]));
        }
        frames
    }

    fn envelope(at: i64, frames: &[[f32; 2]]) -> Envelope {
        let mut envelope = Envelope::default();
        frames.chunks(1_024).enumerate().for_each(|(index, chunk)| envelope.add(at + index as i64 * 1_024, chunk));
        envelope
    }

    fn outcome(output: &Envelope) -> Result<Option<f64>, Failure> {
        compare(&envelope(0, &speech()), output)
    }

    #[test]
    fn the_same_audio_has_no_delay() {
        let late = outcome(&envelope(0, &speech())).expect("alike").expect("a place");
        assert!(late.abs() < 0.01, "{late}");
    }

    #[test]
    fn a_small_delay_is_measured_and_a_larger_one_fails() {
        for (samples, ms) in [(240, 5.0), (-480, -10.0), (48, 1.0)] {
            let late = outcome(&envelope(samples, &speech())).expect("alike").expect("a place");
            assert!((late - ms).abs() < 0.6, "{late} instead of {ms}");
        }
        for ms in [-500, -40, 40, 500] {
            let failed = outcome(&envelope(ms * 48, &speech())).expect_err("a failure");
            assert_eq!(failed.code, Code::EncodeSlip);
            let words = format!("{} ms {}", ms.abs(), if ms < 0 { "early" } else { "late" });
            assert!(failed.message.contains(&words), "{}", failed.message);
        }
    }

    #[test]
    fn a_slip_that_begins_in_the_middle_is_found_there() {
        let mut frames = speech();
        frames.drain(6 * SAMPLE_RATE as usize..6 * SAMPLE_RATE as usize + 4_800);
        let failed = outcome(&envelope(0, &frames)).expect_err("a failure");
        assert!(failed.code == Code::EncodeSlip && failed.message.contains("100 ms early"), "{failed:?}");
    }

    #[test]
    fn smooth_audio_correlates_nearly_as_well_elsewhere_and_is_not_late() {
        // A single swell whose maximum the codec moved: 20 ms earlier the correlation is larger, but only slightly.
        let swell = |top: f32| -> Vec<[f32; 2]> {
            let at = |n: usize| (n as f32 / 33_600.0).powf(top) * std::f32::consts::PI;
            (0..33_600).map(|n| [0.3 * at(n).sin() * if n % 2 == 0 { 1.0 } else { -1.0 }; 2]).collect()
        };
        let (input, output) = (swell(1.0), swell(0.84));
        let matches =
            find(&envelope(0, &input).amplitudes(), &envelope(0, &output).amplitudes(), 0..350).expect("a place");
        assert!(matches.fit > 0.99 && matches.late_ms < -17.0, "{} at {}", matches.fit, matches.late_ms);
        compare(&envelope(0, &input), &envelope(0, &output)).expect("alike");
    }

    #[test]
    fn missing_audio_and_missing_channels_are_found() {
        let mute = |from: usize, to: usize, side: usize| {
            let mut frames = speech();
            frames[from * 4_800..to * 4_800].iter_mut().for_each(|frame| frame[side] = 0.0);
            outcome(&envelope(0, &frames)).expect_err("a failure")
        };
        for failed in [outcome(&Envelope::default()).expect_err("a failure"), mute(0, 120, 1), mute(40, 46, 0)] {
            assert!(failed.code == Code::EncodeMismatch && failed.message.contains("missing"), "{failed:?}");
        }
    }

    #[test]
    fn other_audio_is_found() {
        let mut frames = speech();
        frames.reverse();
        let failed = outcome(&envelope(0, &frames)).expect_err("a failure");
        assert!(["encode_mismatch", "encode_slip"].contains(&failed.code.as_str()), "{failed:?}");
        let silence = vec![[0.0; 2]; frames.len()];
        let failed = compare(&envelope(0, &silence), &envelope(0, &frames)).expect_err("a failure");
        assert!(failed.message.contains("silence was encoded"), "{failed:?}");
    }

    #[test]
    fn silence_and_steady_tones_cannot_be_located() {
        let silence = envelope(0, &vec![[0.0; 2]; 96_000]);
        assert_eq!(compare(&silence, &silence).expect("alike"), None);
        let tone: Vec<[f32; 2]> = (0..96_000).map(|n| [(n as f32 * 0.13).sin(); 2]).collect();
        assert_eq!(compare(&envelope(0, &tone), &envelope(0, &tone)).expect("alike"), None);
    }

    #[test]
    fn a_lone_click_that_the_encoder_drops_is_no_fault() {
        let silence = vec![[0.0; 2]; 96_000];
        let mut click = silence.clone();
        click[40_000..40_048].fill([0.3; 2]);
        assert_eq!(compare(&envelope(0, &click), &envelope(0, &silence)).expect("alike"), None);
    }

    #[test]
    fn audio_before_the_beginning_is_ignored() {
        let envelope = envelope(-1_024, &vec![[0.5; 2]; 2_048]);
        assert_eq!(envelope.samples, 1_024);
        assert_eq!(envelope.energies.len(), 11);
    }
}
