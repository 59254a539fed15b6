//! Compares both sides (channels) of a clip's audio with those of the source, by their energies. Pure.
//!
//! A gain that is equal on both sides is allowed, even if it changes with time, because loudness may have been
//! normalized. The comparison concerns the distribution of the energy between the sides, and between their sum and
//! their difference.

use super::downmix::Moment;
use crate::failure;
use clipfleet_domain::failure::Failure;
use std::f32::consts::PI;

/// Steps per second: 20 ms each, the maximum shift of the clip's audio due to its time stamps.
const STEPS_PER_SECOND: f64 = 50.0;

/// Steps per window: 200 ms, the length of a syllable or a note.
const WINDOW_STEPS: usize = 10;

/// Minimum level of a window of the source that is judged, and maximum distance from the loudest window, dB. An encoder
/// spends few bits on what is much quieter than the rest.
const AUDIBLE_DB: f32 = -50.0;
const MAX_BELOW_LOUDEST_DB: f32 = 35.0;

/// Minimum level of output that is not an encoder's noise, dB; maximum level of silence in a source.
const MIN_OUTPUT_DB: f32 = -45.0;
const SILENCE_DB: f32 = -70.0;

/// Differences of energy shares that a good encoder does not cause. Noise is coded with a smaller difference between
/// the sides than it has, which changes the share of the sum by up to 0.18. The balance of the sides does not change.
const MAX_SUM_DIFFERENCE: f32 = 0.2;
const MAX_BALANCE_DIFFERENCE: f32 = 0.12;

/// Minimum number of faulty windows: a percentage of the judged ones, and an absolute number.
const MIN_FAULTY_PERCENT: usize = 30;
const MIN_FAULTY_WINDOWS: usize = 3;

/// How much quieter than usual, relative to the source, a part must be to count as lost, dB.
const MAX_LOSS_DB: f32 = 20.0;

/// Gain that a clip may have without normalization, dB. Downmixing more than two channels reduces the level by up to 8
/// dB.
const GAIN_RANGE_DB: [f32; 2] = [-12.0, 7.0];

/// Difference in pitch that distinguishes sides and sounds (natural logarithm of the ratio), and the maximum pitch that
/// resampling does not change, Hz.
const MIN_PITCH_DIFFERENCE: f32 = 0.4;
const MAX_STABLE_PITCH_HZ: f32 = 6_000.0;

/// Pitch from which encoders drop audio because it is inaudible, Hz.
const INAUDIBLE_PITCH_HZ: f32 = 14_000.0;

/// Share of a low-frequency channel from which a window is not judged, because programs differ in whether they mix it
/// in.
const MAX_LOW_SHARE: f32 = 0.1;

/// Energies of 20 ms of audio.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Step {
    /// Left and right.
    sides: [f32; 2],
    /// Left times right.
    product: f32,
    /// Energies of the differences of neighbouring samples, per side.
    rises: [f32; 2],
    /// Energy of a low-frequency channel.
    low: f32,
    /// Number of samples.
    samples: f32,
    /// Samples per second.
    rate: f32,
}

/// The sides of audio, step by step from the clip's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sides {
    steps: Vec<Step>,
    last: [f32; 2],
}

impl Sides {
    /// Adds samples that begin `seconds` after the clip's start, at `rate` samples per second. Samples before the start
    /// or after `end` seconds are ignored.
    pub fn add(&mut self, seconds: f64, rate: u32, end: f64, moments: impl Iterator<Item = Moment>) {
        let rate = rate.max(1);
        // The current step, and the sample at which the next one begins.
        let (mut current, mut until) = (None, 0);
        for (index, Moment { sides, low }) in moments.enumerate() {
            if index >= until {
                let time = seconds + index as f64 / f64::from(rate);
                let number = (time * STEPS_PER_SECOND).floor();
                let begins = (((number + 1.0) / STEPS_PER_SECOND - seconds) * f64::from(rate)).ceil();
                until = (begins as usize).max(index + 1);
                current = (time >= 0.0 && time < end).then_some(number as usize);
                if let Some(number) = current.filter(|number| self.steps.len() <= *number) {
                    self.steps.resize(number + 1, Step::default());
                }
            }
            let last = std::mem::replace(&mut self.last, sides);
            let Some(step) = current.and_then(|number| self.steps.get_mut(number)) else { continue };
            for side in 0..2 {
                step.sides[side] += sides[side] * sides[side];
                step.rises[side] += (sides[side] - last[side]).powi(2);
            }
            step.product += sides[0] * sides[1];
            step.low += low * low;
            step.samples += 1.0;
            step.rate = rate as f32;
        }
    }

    fn windows(&self) -> Vec<Step> {
        self.steps.chunks(WINDOW_STEPS).map(|steps| steps.iter().copied().fold(Step::default(), Step::with)).collect()
    }
}

impl Step {
    fn with(self, other: Self) -> Self {
        let add = |[a, b]: [f32; 2], [c, d]: [f32; 2]| [a + c, b + d];
        Self {
            sides: add(self.sides, other.sides),
            product: self.product + other.product,
            rises: add(self.rises, other.rises),
            low: self.low + other.low,
            samples: self.samples + other.samples,
            rate: self.rate.max(other.rate),
        }
    }

    fn energy(&self) -> f32 {
        self.sides[0] + self.sides[1]
    }

    /// Level of both sides together, dB of full scale.
    fn db(&self) -> f32 {
        10.0 * (self.energy() / (2.0 * self.samples.max(1.0))).max(1e-12).log10()
    }

    /// Share of the right side in the energy.
    fn right(&self) -> f32 {
        self.sides[1] / self.energy().max(f32::MIN_POSITIVE)
    }

    /// Share of the sum of both sides: 1 if they are equal, a half if they are uncorrelated, 0 if they are opposite.
    fn sum(&self) -> f32 {
        let energy = self.energy();
        (energy + 2.0 * self.product) / (2.0 * energy).max(f32::MIN_POSITIVE)
    }

    /// Frequency of a tone with the same differences, Hz.
    fn pitch(&self, side: usize) -> f32 {
        let rise = (self.rises[side] / self.sides[side].max(f32::MIN_POSITIVE)).sqrt() / 2.0;
        self.rate / PI * rise.min(1.0).asin()
    }

    /// The pitch of the louder side.
    fn main_pitch(&self) -> f32 {
        self.pitch(usize::from(self.right() >= 0.5))
    }

    /// How much higher the pitch of the left side is than that of the right, as a logarithm, if both are audible.
    fn slant(&self) -> Option<f32> {
        let both = (0.02..0.98).contains(&self.right());
        let (left, right) = (self.pitch(0), self.pitch(1));
        (both && left.max(right) < MAX_STABLE_PITCH_HZ && left.min(right) > 0.0).then(|| (left / right).ln())
    }
}

/// How the sides agree.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Milliseconds of audio that were judged.
    pub compared_ms: u32,
    /// Mean difference of the right side's share.
    pub balance: f32,
    /// Mean difference of the sum's share.
    pub sum: f32,
}

struct Pair {
    number: usize,
    source: Step,
    output: Step,
}

/// Compares the output with the source. `normalized` says whether the loudness was normalized.
pub fn compare(source: &Sides, output: &Sides, normalized: bool) -> Result<Agreement, Failure> {
    let (sources, outputs) = (source.windows(), output.windows());
    let loudest = sources.iter().map(Step::db).fold(f32::MIN, f32::max);
    let pair = |(number, (source, output)): (usize, (&Step, &Step))| Pair { number, source: *source, output: *output };
    let pairs: Vec<Pair> = sources.iter().zip(&outputs).enumerate().map(pair).collect();
    check_silence(&pairs)?;
    let audible = |pair: &&Pair| {
        let db = pair.source.db();
        let loud = db > AUDIBLE_DB && db > loudest - MAX_BELOW_LOUDEST_DB;
        loud && pair.source.main_pitch() < INAUDIBLE_PITCH_HZ && pair.source.low < MAX_LOW_SHARE * pair.source.energy()
    };
    let pairs: Vec<&Pair> = pairs.iter().filter(audible).collect();
    check_gain(&pairs, normalized)?;
    // Silence has no sides.
    let pairs: Vec<&Pair> = pairs.into_iter().filter(|pair| pair.output.db() > SILENCE_DB).collect();
    check_sides(&pairs)?;
    check_pitch(&pairs)?;
    let mean = |value: fn(&Step) -> f32| {
        let sum: f32 = pairs.iter().map(|pair| (value(&pair.source) - value(&pair.output)).abs()).sum();
        sum / pairs.len().max(1) as f32
    };
    let compared_ms = (pairs.len() * WINDOW_STEPS * 1_000) as f64 / STEPS_PER_SECOND;
    Ok(Agreement { compared_ms: compared_ms as u32, balance: mean(Step::right), sum: mean(Step::sum) })
}

fn ms(window: usize) -> usize {
    window * WINDOW_STEPS * 1_000 / STEPS_PER_SECOND as usize
}

fn mismatch(pairs: &[&Pair], what: &str) -> Failure {
    let from = pairs.first().map_or(0, |pair| ms(pair.number));
    let to = pairs.last().map_or(0, |pair| ms(pair.number + 1));
    failure::audio_mismatch(format!("{what}, between {from} ms and {to} ms"))
}

/// Whether this number of faulty windows is a fault.
fn proves(found: usize, judged: usize) -> bool {
    found >= MIN_FAULTY_WINDOWS && found * 100 >= judged * MIN_FAULTY_PERCENT
}

/// Finds audio where the source is silent. Windows beside ones with audio are ignored, because time stamps may be off
/// by a step or two.
fn check_silence(pairs: &[Pair]) -> Result<(), Failure> {
    let silent = |pair: &Pair| pair.source.db() < SILENCE_DB && pair.source.low <= pair.source.energy();
    let inner = |index: usize| pairs.get(index.saturating_sub(1)..(index + 2).min(pairs.len()));
    let added = |index: &usize| {
        inner(*index).is_some_and(|around| around.iter().all(silent)) && pairs[*index].output.db() > MIN_OUTPUT_DB
    };
    let added: Vec<&Pair> = (0..pairs.len()).filter(added).map(|index| &pairs[index]).collect();
    match added.len() >= MIN_FAULTY_WINDOWS {
        true => Err(mismatch(&added, "the clip sounds where the source is silent")),
        false => Ok(()),
    }
}

fn check_gain(pairs: &[&Pair], normalized: bool) -> Result<(), Failure> {
    let gain = |pair: &Pair| pair.output.db() - pair.source.db();
    let mut gains: Vec<f32> = pairs.iter().map(|pair| gain(pair)).collect();
    gains.sort_by(f32::total_cmp);
    let Some(usual) = gains.get(gains.len() / 2).copied() else { return Ok(()) };
    let [least, most] = GAIN_RANGE_DB;
    if pairs.len() >= MIN_FAULTY_WINDOWS && !normalized && !(least..=most).contains(&usual) {
        return Err(mismatch(pairs, &format!("the clip's sound is {usual:+.0} dB from the source's")));
    }
    let lost: Vec<&Pair> = pairs.iter().copied().filter(|pair| gain(pair) < usual - MAX_LOSS_DB).collect();
    match proves(lost.len(), pairs.len()) {
        true => Err(mismatch(&lost, "sound of the source is missing")),
        false => Ok(()),
    }
}

fn check_sides(pairs: &[&Pair]) -> Result<(), Failure> {
    let unbalanced = |pair: &Pair, right: f32| (pair.output.right() - right).abs() > MAX_BALANCE_DIFFERENCE;
    let balance: Vec<&Pair> = pairs.iter().copied().filter(|pair| unbalanced(pair, pair.source.right())).collect();
    let sum = |pair: &&Pair| (pair.output.sum() - pair.source.sum()).abs() > MAX_SUM_DIFFERENCE;
    let mixed: Vec<&Pair> = pairs.iter().copied().filter(sum).collect();
    let most = |pairs: &[&Pair], what: &dyn Fn(&Pair) -> bool| {
        pairs.iter().filter(|pair| what(pair)).count() * 2 > pairs.len()
    };
    if proves(balance.len(), pairs.len()) {
        let what = if most(&balance, &|pair| !unbalanced(pair, 1.0 - pair.source.right())) {
            "left and right changed places"
        } else if most(&balance, &|pair| pair.output.sum() > 1.0 - MAX_SUM_DIFFERENCE / 2.0) {
            "both channels are alike where the source's are not"
        } else if most(&balance, &|pair| pair.output.right() < pair.source.right()) {
            "the right side is missing or too soft"
        } else {
            "the left side is missing or too soft"
        };
        return Err(mismatch(&balance, what));
    }
    if proves(mixed.len(), pairs.len()) {
        let what = match most(&mixed, &|pair| pair.output.sum() > pair.source.sum()) {
            true => "both channels are alike where the source's are not",
            false => "the sides have less in common than the source's",
        };
        return Err(mismatch(&mixed, what));
    }
    Ok(())
}

/// The pitch detects equally loud sides that were swapped, and other audio with the same envelope.
fn check_pitch(pairs: &[&Pair]) -> Result<(), Failure> {
    let slanted = |pair: &&Pair| {
        pair.source.slant().is_some_and(|slant| slant.abs() > MIN_PITCH_DIFFERENCE) && pair.output.slant().is_some()
    };
    let slanted: Vec<&Pair> = pairs.iter().copied().filter(slanted).collect();
    let turned = |pair: &&Pair| {
        let (source, output) = (pair.source.slant().unwrap_or(0.0), pair.output.slant().unwrap_or(0.0));
        source * output < 0.0 && output.abs() > MIN_PITCH_DIFFERENCE / 2.0
    };
    let turned: Vec<&Pair> = slanted.iter().copied().filter(turned).collect();
    if proves(turned.len(), slanted.len()) {
        return Err(mismatch(&turned, "left and right changed places"));
    }
    let low: Vec<&Pair> = pairs.iter().copied().filter(|pair| pair.source.main_pitch() < MAX_STABLE_PITCH_HZ).collect();
    let other = |pair: &&Pair| {
        let near = |side: usize| {
            (pair.output.pitch(side) / pair.source.pitch(side).max(1.0)).max(1e-6).ln().abs() < MIN_PITCH_DIFFERENCE
        };
        let is_audible = |side: usize| pair.source.sides[side] > 0.1 * pair.source.energy();
        !(0..2).any(|side| is_audible(side) && near(side))
    };
    let other: Vec<&Pair> = low.iter().copied().filter(other).collect();
    // An encoder's noise is high and changes the pitch of quiet audio. Other audio differs nearly everywhere.
    match other.len() >= MIN_FAULTY_WINDOWS && other.len() * 100 >= low.len() * (100 - MIN_FAULTY_PERCENT) {
        true => Err(mismatch(&other, "the clip has another sound than the source")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;

    const SAMPLE_RATE: u32 = 48_000;

    fn sides(seconds: f64, audio: impl Fn(f32) -> [f32; 2]) -> Sides {
        let count = (seconds * f64::from(SAMPLE_RATE)) as usize;
        let moment = |index| Moment { sides: audio(index as f32 / SAMPLE_RATE as f32), low: 0.0 };
        let mut sides = Sides::default();
        sides.add(0.0, SAMPLE_RATE, seconds, (0..count).map(moment));
        sides
    }

    fn tone(hertz: f32) -> impl Fn(f32) -> f32 {
        move |seconds| 0.3 * (2.0 * PI * hertz * seconds).sin()
    }

    fn panned(left: f32, right: f32) -> Sides {
        let (low, high) = (tone(440.0), tone(3_000.0));
        sides(2.0, move |seconds| [left * low(seconds), right * high(seconds)])
    }

    fn mixed() -> Sides {
        let (low, high) = (tone(440.0), tone(3_000.0));
        sides(2.0, move |seconds| [0.5 * (low(seconds) + high(seconds)); 2])
    }

    fn refused(source: &Sides, output: &Sides, words: &str) {
        let failed = compare(source, output, false).expect_err(words);
        assert!(failed.code == Code::AudioMismatch && failed.message.contains(words), "{failed:?} instead of {words}");
    }

    #[test]
    fn one_side_both_sides_and_opposite_sides_agree_with_themselves() {
        let opposite = sides(2.0, |seconds| [tone(300.0)(seconds), -tone(300.0)(seconds)]);
        let silence = sides(2.0, |_| [0.0; 2]);
        for audio in [panned(1.0, 0.0), panned(0.0, 1.0), panned(1.0, 1.0), mixed(), opposite, silence] {
            let agreement = compare(&audio, &audio, false).expect("agreement");
            assert!(agreement.balance < 0.01 && agreement.sum < 0.01, "{agreement:?}");
        }
    }

    #[test]
    fn a_gain_is_no_fault_with_normalization_and_a_large_one_is_without() {
        let (source, loud) = (panned(0.02, 0.02), panned(1.0, 1.0));
        compare(&source, &loud, true).expect("agreement");
        refused(&source, &loud, "dB from the source");
        compare(&panned(1.0, 1.0), &panned(0.6, 0.6), false).expect("agreement");
    }

    #[test]
    fn sides_that_were_mixed_are_found() {
        refused(&panned(1.0, 1.0), &mixed(), "both channels are alike");
        let left = sides(2.0, |seconds| [tone(440.0)(seconds), 0.0]);
        let centred = sides(2.0, |seconds| [0.7 * tone(440.0)(seconds); 2]);
        refused(&left, &centred, "both channels are alike");
    }

    #[test]
    fn swapped_sides_are_found_even_if_they_are_equally_loud() {
        refused(&panned(1.0, 0.0), &sides(2.0, |seconds| [0.0, tone(440.0)(seconds)]), "changed places");
        let swapped = sides(2.0, |seconds| [tone(3_000.0)(seconds), tone(440.0)(seconds)]);
        refused(&panned(1.0, 1.0), &swapped, "changed places");
    }

    #[test]
    fn a_missing_side_or_stretch_is_found() {
        refused(&panned(1.0, 1.0), &panned(1.0, 0.0), "right side is missing");
        refused(&panned(1.0, 1.0), &panned(0.0, 1.0), "left side is missing");
        let broken = sides(2.0, |seconds| if seconds < 1.2 { [tone(440.0)(seconds); 2] } else { [0.0; 2] });
        let whole = sides(2.0, |seconds| [tone(440.0)(seconds); 2]);
        refused(&whole, &broken, "missing");
        refused(&broken, &whole, "source is silent");
    }

    #[test]
    fn other_audio_is_found() {
        let tone_of = |hertz| sides(2.0, move |seconds| [tone(hertz)(seconds); 2]);
        refused(&tone_of(440.0), &tone_of(1_000.0), "another sound");
    }

    #[test]
    fn time_stamps_that_are_off_by_a_step_are_no_fault() {
        let bursts = |late: f32| {
            sides(4.0, move |seconds| {
                let seconds = seconds - late;
                let loud = f32::from(u8::from((seconds * 1.7).sin() > 0.2));
                [loud * tone(440.0)(seconds), loud * 0.3 * tone(900.0)(seconds)]
            })
        };
        compare(&bursts(0.0), &bursts(0.02), false).expect("agreement");
    }

    #[test]
    fn inaudible_audio_may_be_dropped() {
        let both = sides(2.0, |seconds| [tone(19_500.0)(seconds), 0.0]);
        compare(&both, &sides(2.0, |_| [0.0; 2]), false).expect("agreement");
    }

    #[test]
    fn the_sample_rate_makes_no_difference() {
        let mut source = Sides::default();
        let moment = |index: i32| Moment { sides: [tone(440.0)(index as f32 / 22_050.0), 0.0], low: 0.0 };
        source.add(0.0, 22_050, 2.0, (0..44_100).map(moment));
        let agreement = compare(&source, &panned(1.0, 0.0), false).expect("agreement");
        assert_eq!(agreement.compared_ms, 2_000);
    }
}
