//! Whether the sound that a file makes is the sound that entered the encoder, at the same time: numbers in, findings out.
//!
//! What is kept of a sound is its energy, every two milliseconds and per side. The course of the energy survives lossy coding, and is
//! as good as the waveform for finding how late it is.

use crate::failure;
use clipfleet_domain::failure::{Code, Failure};
use std::{
    fmt,
    ops::{Range, RangeInclusive},
};

/// Samples per second of everything here.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples of a step: 2 ms, a twentieth of the slip that must be found.
const STEP: usize = 96;

const STEPS_PER_SECOND: usize = SAMPLE_RATE as usize / STEP;

const STEP_MS: f64 = 1_000.0 / STEPS_PER_SECOND as f64;

/// Steps compared at a time: five seconds hold some syllables or bars, and a slip that begins later shows in its own window.
const WINDOW: usize = 5 * STEPS_PER_SECOND;

/// How late or early sound is looked for: a second.
const REACH: usize = STEPS_PER_SECOND;

/// Slip that fails, milliseconds: half of the 40 ms that people notice and that is promised.
const SLIP_MS: f64 = 20.0;

/// How much better another place must fit before it is believed: sounds that repeat fit nearly as well there.
const CLEARLY: f64 = 0.05;

/// Variation (deviation over mean) from which a window's course says where it belongs; steady tones and noise fit anywhere.
const UNEVEN: f64 = 0.2;

/// Variation from which the course must be found again, and how well.
const DISTINCT: f64 = 0.5;
const RECOGNIZED: f64 = 0.5;

/// Steps whose loudness is compared: 100 ms; and how many in a row prove a loss.
const CHUNK: usize = STEPS_PER_SECOND / 10;
const CHUNKS: usize = 3;

/// Loudness in dB of full scale: what must not vanish, how much less counts as vanished, and what counts as silence.
/// Encoders drop the highest tones, which alone are hardly ever this loud.
const LOUD_DB: f32 = -45.0;
const LOST_DB: f32 = 20.0;
const SILENT_DB: f32 = -70.0;

/// Loudness from which a chunk counts as something to hear. An encoder may drop a lone faint click, but no row of such chunks.
const AUDIBLE_DB: f32 = -60.0;

/// The course of a sound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// Energy of each step, left and right.
    energies: Vec<[f32; 2]>,
    /// Where the sound ends, samples.
    samples: u64,
}

impl Course {
    /// Adds a stretch that begins at sample `at`: pairs of left and right. What lies before 0 is not heard.
    pub fn add(&mut self, at: i64, frames: &[[f32; 2]]) {
        let hidden = usize::try_from(-at).unwrap_or(0).min(frames.len());
        let frames = &frames[hidden..];
        let Ok(at) = u64::try_from(at + hidden as i64) else { return };
        let end = at + frames.len() as u64;
        self.samples = self.samples.max(end);
        let steps = end.div_ceil(STEP as u64) as usize;
        if self.energies.len() < steps {
            self.energies.resize(steps, [0.0; 2]);
        }
        let mut position = at as usize;
        let mut rest = frames;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((STEP - position % STEP).min(rest.len()));
            let energy = &mut self.energies[position / STEP];
            for [left, right] in now {
                energy[0] += left * left;
                energy[1] += right * right;
            }
            position += now.len();
            rest = later;
        }
    }

    /// Where the sound ends, milliseconds.
    pub fn end_ms(&self) -> f64 {
        self.samples as f64 * 1_000.0 / f64::from(SAMPLE_RATE)
    }

    /// Amplitudes, both sides together: sums would cancel where the sides are opposites.
    fn amplitudes(&self) -> Vec<f64> {
        self.energies.iter().map(|[left, right]| f64::from((left + right) / (2 * STEP) as f32).sqrt()).collect()
    }

    /// Loudness of each chunk of one side, dB of full scale.
    fn chunks_db(&self, side: usize, chunks: usize) -> Vec<f32> {
        let level = |chunk: usize| {
            let steps = self.energies.iter().skip(chunk * CHUNK).take(CHUNK);
            10.0 * (steps.map(|step| step[side]).sum::<f32>() / (CHUNK * STEP) as f32).max(1e-12).log10()
        };
        (0..chunks).map(level).collect()
    }
}

/// Compares what is heard with what entered the encoder. Gives how late the sound is, milliseconds, where that is largest;
/// `None` when no part of it is uneven enough to say.
pub fn compare(entered: &Course, heard: &Course) -> Result<Option<f64>, Failure> {
    let found = find_all(&entered.amplitudes(), &heard.amplitudes());
    let recognized = || found.iter().filter(|found| found.fit >= RECOGNIZED);
    // Slip first: sound at the wrong time is also missing at the right one.
    if let Some(slipped) = recognized().find(|found| found.late_ms.abs() >= SLIP_MS) {
        let way = if slipped.late_ms < 0.0 { "early" } else { "late" };
        return Err(failure::encode_slip(format!("{slipped} is {:.0} ms {way}", slipped.late_ms.abs())));
    }
    check_loudness(entered, heard)?;
    if let Some(strange) =
        found.iter().find(|found| found.fit < RECOGNIZED && found.variation >= DISTINCT && found.audible)
    {
        return Err(failure::encode_mismatch(format!("{strange} is not the one encoded")));
    }
    Ok(recognized().map(|found| found.late_ms).max_by(|a, b| a.abs().total_cmp(&b.abs())))
}

/// Window by window.
fn find_all(entered: &[f64], heard: &[f64]) -> Vec<Found> {
    // What remains behind the last window is looked at with it, since little says little.
    let windows = (entered.len() / WINDOW).max(1);
    let end = |window: usize| if window + 1 == windows { entered.len() } else { (window + 1) * WINDOW };
    (0..windows).filter_map(|window| find(entered, heard, window * WINDOW..end(window))).collect()
}

fn check_loudness(entered: &Course, heard: &Course) -> Result<(), Failure> {
    let chunks = entered.energies.len() / CHUNK;
    for (side, name) in ["left", "right"].into_iter().enumerate() {
        let pairs: Vec<(f32, f32)> =
            entered.chunks_db(side, chunks).into_iter().zip(heard.chunks_db(side, chunks)).collect();
        let lost = |&(entered, heard): &(f32, f32)| entered > LOUD_DB && heard < entered - LOST_DB;
        let gained = |&(entered, heard): &(f32, f32)| entered < SILENT_DB && heard > LOUD_DB;
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

/// The longest row of chunks of a kind, in milliseconds, if it is long enough.
fn longest(pairs: &[(f32, f32)], kind: impl Fn(&(f32, f32)) -> bool) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut from = 0;
    for (index, pair) in pairs.iter().enumerate() {
        if !kind(pair) {
            from = index + 1;
        } else if index + 1 - from >= CHUNKS && best.is_none_or(|(a, b)| index + 1 - from > b - a) {
            best = Some((from, index + 1));
        }
    }
    let ms = |chunk: usize| chunk * CHUNK * 1_000 / STEPS_PER_SECOND;
    best.map(|(from, to)| (ms(from), ms(to)))
}

struct Found {
    range: Range<usize>,
    late_ms: f64,
    /// Correlation there, at most 1.
    fit: f64,
    variation: f64,
    /// Whether there is more to hear than a click.
    audible: bool,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |step: usize| step * 1_000 / STEPS_PER_SECOND;
        write!(f, "the sound from {} ms to {} ms", ms(self.range.start), ms(self.range.end))
    }
}

/// Where a stretch of what entered is heard. `None` when it is too even, or too quiet, to say.
fn find(entered: &[f64], heard: &[f64], range: Range<usize>) -> Option<Found> {
    let stretch = entered.get(range.clone())?;
    let mean = stretch.iter().sum::<f64>() / stretch.len() as f64;
    let deviation = (stretch.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / stretch.len() as f64).sqrt();
    let variation = deviation / mean.max(f64::MIN_POSITIVE);
    if mean < 10.0_f64.powf(f64::from(SILENT_DB) / 20.0) || variation < UNEVEN {
        return None;
    }
    let level = |chunk: &[f64]| chunk.iter().map(|value| value * value).sum::<f64>() / chunk.len() as f64;
    let threshold = 10.0_f64.powf(f64::from(AUDIBLE_DB) / 10.0);
    let audible = stretch.chunks(CHUNK).filter(|chunk| level(chunk) > threshold).count() >= CHUNKS;
    let fit = |lag: isize| correlation(entered, heard, &range, lag);
    let reach = REACH.min(stretch.len() / 2) as isize;
    // The last places that are no slip: one at the edge must be believed as any other that is.
    let near = (SLIP_MS / STEP_MS) as isize - 1;
    let best = |lags: RangeInclusive<isize>| {
        lags.map(|lag| (lag, fit(lag))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    };
    let (close, far) = (best(-near..=near), best(-reach..=reach));
    let (lag, peak) = if far.1 > close.1 + CLEARLY { far } else { close };
    // The top of the parabola through the best place and its neighbours.
    let (before, after) = (fit(lag - 1), fit(lag + 1));
    let bend = before - 2.0 * peak + after;
    let between = if bend < 0.0 { ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
    Some(Found { range, late_ms: (lag as f64 + between) * STEP_MS, fit: peak, variation, audible })
}

/// How well a stretch of what entered fits what is heard `lag` steps later, where both are.
fn correlation(entered: &[f64], heard: &[f64], range: &Range<usize>, lag: isize) -> f64 {
    let begin = range.start.max(usize::try_from(-lag).unwrap_or(0));
    let end = range.end.min(heard.len().saturating_add_signed(-lag));
    if begin >= end || (end - begin) * 2 < range.len() {
        return 0.0;
    }
    let one = &entered[begin..end];
    let other = &heard[begin.saturating_add_signed(lag)..end.saturating_add_signed(lag)];
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

    fn course(at: i64, frames: &[[f32; 2]]) -> Course {
        let mut course = Course::default();
        frames.chunks(1_024).enumerate().for_each(|(index, chunk)| course.add(at + index as i64 * 1_024, chunk));
        course
    }

    fn outcome(heard: &Course) -> Result<Option<f64>, Failure> {
        compare(&course(0, &speech()), heard)
    }

    #[test]
    fn the_same_sound_is_not_late() {
        let late = outcome(&course(0, &speech())).expect("alike").expect("a place");
        assert!(late.abs() < 0.01, "{late}");
    }

    #[test]
    fn a_little_late_is_measured_and_more_fails() {
        for (samples, ms) in [(240, 5.0), (-480, -10.0), (48, 1.0)] {
            let late = outcome(&course(samples, &speech())).expect("alike").expect("a place");
            assert!((late - ms).abs() < 0.6, "{late} instead of {ms}");
        }
        for ms in [-500, -40, 40, 500] {
            let failed = outcome(&course(ms * 48, &speech())).expect_err("a failure");
            assert_eq!(failed.code, Code::EncodeSlip);
            let words = format!("{} ms {}", ms.abs(), if ms < 0 { "early" } else { "late" });
            assert!(failed.message.contains(&words), "{}", failed.message);
        }
    }

    #[test]
    fn a_slip_that_begins_in_the_middle_is_found_there() {
        let mut frames = speech();
        frames.drain(6 * SAMPLE_RATE as usize..6 * SAMPLE_RATE as usize + 4_800);
        let failed = outcome(&course(0, &frames)).expect_err("a failure");
        assert!(failed.code == Code::EncodeSlip && failed.message.contains("100 ms early"), "{failed:?}");
    }

    #[test]
    fn a_smooth_sound_fits_nearly_as_well_elsewhere_and_is_not_late() {
        // One swell, whose top coding moved: 20 ms earlier it fits better, but by next to nothing.
        let swell = |top: f32| -> Vec<[f32; 2]> {
            let at = |n: usize| (n as f32 / 33_600.0).powf(top) * std::f32::consts::PI;
            (0..33_600).map(|n| [0.3 * at(n).sin() * if n % 2 == 0 { 1.0 } else { -1.0 }; 2]).collect()
        };
        let (entered, heard) = (swell(1.0), swell(0.84));
        let found = find(&course(0, &entered).amplitudes(), &course(0, &heard).amplitudes(), 0..350).expect("a place");
        assert!(found.fit > 0.99 && found.late_ms < -17.0, "{} at {}", found.fit, found.late_ms);
        compare(&course(0, &entered), &course(0, &heard)).expect("alike");
    }

    #[test]
    fn missing_sound_and_missing_sides_are_found() {
        let mute = |from: usize, to: usize, side: usize| {
            let mut frames = speech();
            frames[from * 4_800..to * 4_800].iter_mut().for_each(|frame| frame[side] = 0.0);
            outcome(&course(0, &frames)).expect_err("a failure")
        };
        for failed in [outcome(&Course::default()).expect_err("a failure"), mute(0, 120, 1), mute(40, 46, 0)] {
            assert!(failed.code == Code::EncodeMismatch && failed.message.contains("missing"), "{failed:?}");
        }
    }

    #[test]
    fn another_sound_is_found() {
        let mut frames = speech();
        frames.reverse();
        let failed = outcome(&course(0, &frames)).expect_err("a failure");
        assert!(["encode_mismatch", "encode_slip"].contains(&failed.code.as_str()), "{failed:?}");
        let silence = vec![[0.0; 2]; frames.len()];
        let failed = compare(&course(0, &silence), &course(0, &frames)).expect_err("a failure");
        assert!(failed.message.contains("silence was encoded"), "{failed:?}");
    }

    #[test]
    fn silence_and_steady_tones_are_nowhere() {
        let silence = course(0, &vec![[0.0; 2]; 96_000]);
        assert_eq!(compare(&silence, &silence).expect("alike"), None);
        let tone: Vec<[f32; 2]> = (0..96_000).map(|n| [(n as f32 * 0.13).sin(); 2]).collect();
        assert_eq!(compare(&course(0, &tone), &course(0, &tone)).expect("alike"), None);
    }

    #[test]
    fn a_lone_click_that_the_encoder_drops_is_no_fault() {
        let silence = vec![[0.0; 2]; 96_000];
        let mut click = silence.clone();
        click[40_000..40_048].fill([0.3; 2]);
        assert_eq!(compare(&course(0, &click), &course(0, &silence)).expect("alike"), None);
    }

    #[test]
    fn sound_before_the_beginning_is_not_heard() {
        let course = course(-1_024, &vec![[0.5; 2]; 2_048]);
        assert_eq!(course.samples, 1_024);
        assert_eq!(course.energies.len(), 11);
    }
}
