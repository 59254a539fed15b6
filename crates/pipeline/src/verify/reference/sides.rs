//! Whether both sides of a clip's sound are those of the source: energies in, findings out.
//!
//! A gain that is common to both sides, also one that changes with time, is allowed: loudness may have been normalised.
//! What counts is how the energy is divided between the sides, and between their sum and their difference.

use super::downmix::Moment;
use crate::failure;
use clipfleet_domain::failure::{Code, Failure};
use std::f32::consts::PI;

/// Steps in a second: 20 ms each, the most by which the clip's sound may be moved for its time stamps.
const STEPS_PER_SECOND: f64 = 50.0;

/// Steps of a window: 200 ms, in which a syllable or a note has its place.
const WINDOW: usize = 10;

/// Level from which a window of the source can be judged, and how far below the loudest one, dB. An encoder spends
/// little on what is far softer than the rest.
const AUDIBLE_DB: f32 = -50.0;
const RELATIVE_DB: f32 = 35.0;

/// Level from which what is heard is no noise of an encoder, dB; level up to which a source is silent.
const HEARD_DB: f32 = -45.0;
const SILENT_DB: f32 = -70.0;

/// Difference of a share of energy that a good encoder does not make. Noise is coded with fewer differences between the sides than it
/// has, which takes up to 0.18 from their sum's share; the balance of the sides stays.
const UNLIKE: f32 = 0.2;
const UNBALANCED: f32 = 0.12;

/// How many windows of those that are judged must be unlike: this share, and this many.
const SHARE_PERCENT: usize = 30;
const WINDOWS: usize = 3;

/// How much softer than usual, in relation to the source, a part of the sound is that got lost, dB.
const LOST_DB: f32 = 20.0;

/// What the gain of a clip may be whose loudness was not normalised, dB. Mixing down more than two channels takes up to
/// 8 dB.
const GAINS_DB: [f32; 2] = [-12.0, 7.0];

/// Pitch that tells sides and sounds apart (natural logarithm of the ratio), and the highest one that resampling does
/// not move, Hz.
const PITCH: f32 = 0.4;
const HIGHEST_PITCH: f32 = 6_000.0;

/// Pitch from which encoders leave sound out, since nobody hears it, Hz.
const UNHEARD_PITCH: f32 = 14_000.0;

/// Share of low frequencies of a channel of their own from which a window is not judged: mixing them in is a matter of
/// taste.
const LOW_SHARE: f32 = 0.1;

/// Energies of 20 ms of sound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Step {
    /// Left and right.
    sides: [f32; 2],
    /// Left times right.
    product: f32,
    /// Of the differences of neighbouring samples of each side.
    rises: [f32; 2],
    /// Of a channel of low frequencies.
    low: f32,
    /// Samples.
    samples: f32,
    /// Samples per second.
    rate: f32,
}

/// The sides of a sound, step by step from the clip's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sides {
    steps: Vec<Step>,
    last: [f32; 2],
}

impl Sides {
    /// Adds a stretch that begins `seconds` after the clip's start, at `rate` samples per second. What lies before the
    /// start is not heard, nor is what lies behind `end` seconds.
    pub fn add(&mut self, seconds: f64, rate: u32, end: f64, moments: impl Iterator<Item = Moment>) {
        let rate = rate.max(1);
        // The step of what comes next, and the sample with which another one begins.
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
        self.steps.chunks(WINDOW).map(|steps| steps.iter().copied().fold(Step::default(), Step::with)).collect()
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

    /// Share of the right side.
    fn right(&self) -> f32 {
        self.sides[1] / self.energy().max(f32::MIN_POSITIVE)
    }

    /// Share of the sum of both sides: 1 where they are alike, a half where they have nothing in common, 0 where they
    /// are opposites.
    fn sum(&self) -> f32 {
        let energy = self.energy();
        (energy + 2.0 * self.product) / (2.0 * energy).max(f32::MIN_POSITIVE)
    }

    /// What a tone of the same rises would have, Hz.
    fn pitch(&self, side: usize) -> f32 {
        let rise = (self.rises[side] / self.sides[side].max(f32::MIN_POSITIVE)).sqrt() / 2.0;
        self.rate / PI * rise.min(1.0).asin()
    }

    /// The pitch of the louder side.
    fn main_pitch(&self) -> f32 {
        self.pitch(usize::from(self.right() >= 0.5))
    }

    /// How much higher the left side is than the right, where both are heard: a logarithm.
    fn slant(&self) -> Option<f32> {
        let both = (0.02..0.98).contains(&self.right());
        let (left, right) = (self.pitch(0), self.pitch(1));
        (both && left.max(right) < HIGHEST_PITCH && left.min(right) > 0.0).then(|| (left / right).ln())
    }
}

/// How the sides agree.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Milliseconds of sound that were judged.
    pub compared_ms: u32,
    /// Mean difference of the sides' share of the energy.
    pub balance: f32,
    /// Mean difference of the share of their sum.
    pub sum: f32,
}

struct Pair {
    number: usize,
    source: Step,
    heard: Step,
}

/// Compares what is heard with the source. `leveled` is whether the loudness was normalised.
pub fn compare(source: &Sides, heard: &Sides, leveled: bool) -> Result<Agreement, Failure> {
    let (sources, heards) = (source.windows(), heard.windows());
    let loudest = sources.iter().map(Step::db).fold(f32::MIN, f32::max);
    let pair = |(number, (source, heard)): (usize, (&Step, &Step))| Pair { number, source: *source, heard: *heard };
    let pairs: Vec<Pair> = sources.iter().zip(&heards).enumerate().map(pair).collect();
    check_silence(&pairs)?;
    let audible = |pair: &&Pair| {
        let db = pair.source.db();
        let loud = db > AUDIBLE_DB && db > loudest - RELATIVE_DB;
        loud && pair.source.main_pitch() < UNHEARD_PITCH && pair.source.low < LOW_SHARE * pair.source.energy()
    };
    let pairs: Vec<&Pair> = pairs.iter().filter(audible).collect();
    check_gain(&pairs, leveled)?;
    // What is not heard at all has no sides.
    let pairs: Vec<&Pair> = pairs.into_iter().filter(|pair| pair.heard.db() > SILENT_DB).collect();
    check_sides(&pairs)?;
    check_pitch(&pairs)?;
    let mean = |value: fn(&Step) -> f32| {
        let sum: f32 = pairs.iter().map(|pair| (value(&pair.source) - value(&pair.heard)).abs()).sum();
        sum / pairs.len().max(1) as f32
    };
    let compared_ms = (pairs.len() * WINDOW * 1_000) as f64 / STEPS_PER_SECOND;
    Ok(Agreement { compared_ms: compared_ms as u32, balance: mean(Step::right), sum: mean(Step::sum) })
}

fn ms(window: usize) -> usize {
    window * WINDOW * 1_000 / STEPS_PER_SECOND as usize
}

fn mismatch(pairs: &[&Pair], what: &str) -> Failure {
    let from = pairs.first().map_or(0, |pair| ms(pair.number));
    let to = pairs.last().map_or(0, |pair| ms(pair.number + 1));
    failure::audio_mismatch(format!("{what}, between {from} ms and {to} ms"))
}

/// Whether so many of the windows that were judged prove a fault.
fn proves(found: usize, judged: usize) -> bool {
    found >= WINDOWS && found * 100 >= judged * SHARE_PERCENT
}

/// Sound where the source is silent. Windows beside others that sound are left out: time stamps may be off by a step or
/// two.
fn check_silence(pairs: &[Pair]) -> Result<(), Failure> {
    let silent = |pair: &Pair| pair.source.db() < SILENT_DB && pair.source.low <= pair.source.energy();
    let inner = |index: usize| pairs.get(index.saturating_sub(1)..(index + 2).min(pairs.len()));
    let added = |index: &usize| {
        inner(*index).is_some_and(|around| around.iter().all(silent)) && pairs[*index].heard.db() > HEARD_DB
    };
    let added: Vec<&Pair> = (0..pairs.len()).filter(added).map(|index| &pairs[index]).collect();
    match added.len() >= WINDOWS {
        true => Err(mismatch(&added, "the clip sounds where the source is silent")),
        false => Ok(()),
    }
}

fn check_gain(pairs: &[&Pair], leveled: bool) -> Result<(), Failure> {
    let gain = |pair: &Pair| pair.heard.db() - pair.source.db();
    let mut gains: Vec<f32> = pairs.iter().map(|pair| gain(pair)).collect();
    gains.sort_by(f32::total_cmp);
    let Some(usual) = gains.get(gains.len() / 2).copied() else { return Ok(()) };
    let [least, most] = GAINS_DB;
    if pairs.len() >= WINDOWS && !leveled && !(least..=most).contains(&usual) {
        return Err(mismatch(pairs, &format!("the clip's sound is {usual:+.0} dB from the source's")));
    }
    let lost: Vec<&Pair> = pairs.iter().copied().filter(|pair| gain(pair) < usual - LOST_DB).collect();
    match proves(lost.len(), pairs.len()) {
        true => Err(mismatch(&lost, "sound of the source is missing")),
        false => Ok(()),
    }
}

fn check_sides(pairs: &[&Pair]) -> Result<(), Failure> {
    let unlike = |pair: &Pair, right: f32| (pair.heard.right() - right).abs() > UNBALANCED;
    let balance: Vec<&Pair> = pairs.iter().copied().filter(|pair| unlike(pair, pair.source.right())).collect();
    let sum = |pair: &&Pair| (pair.heard.sum() - pair.source.sum()).abs() > UNLIKE;
    let mixed: Vec<&Pair> = pairs.iter().copied().filter(sum).collect();
    let most = |pairs: &[&Pair], what: &dyn Fn(&Pair) -> bool| {
        pairs.iter().filter(|pair| what(pair)).count() * 2 > pairs.len()
    };
    if proves(balance.len(), pairs.len()) {
        let what = if most(&balance, &|pair| !unlike(pair, 1.0 - pair.source.right())) {
            "left and right changed places"
        } else if most(&balance, &|pair| pair.heard.sum() > 1.0 - UNLIKE / 2.0) {
            "both sides sound alike where the source's do not"
        } else if most(&balance, &|pair| pair.heard.right() < pair.source.right()) {
            "the right side is missing or too soft"
        } else {
            "the left side is missing or too soft"
        };
        return Err(mismatch(&balance, what));
    }
    if proves(mixed.len(), pairs.len()) {
        let what = match most(&mixed, &|pair| pair.heard.sum() > pair.source.sum()) {
            true => "both sides sound alike where the source's do not",
            false => "the sides have less in common than the source's",
        };
        return Err(mismatch(&mixed, what));
    }
    Ok(())
}

/// Equally loud sides that changed places, and other sounds of the same course, have other pitches.
fn check_pitch(pairs: &[&Pair]) -> Result<(), Failure> {
    let slanted =
        |pair: &&Pair| pair.source.slant().is_some_and(|slant| slant.abs() > PITCH) && pair.heard.slant().is_some();
    let slanted: Vec<&Pair> = pairs.iter().copied().filter(slanted).collect();
    let turned = |pair: &&Pair| {
        let (source, heard) = (pair.source.slant().unwrap_or(0.0), pair.heard.slant().unwrap_or(0.0));
        source * heard < 0.0 && heard.abs() > PITCH / 2.0
    };
    let turned: Vec<&Pair> = slanted.iter().copied().filter(turned).collect();
    if proves(turned.len(), slanted.len()) {
        return Err(mismatch(&turned, "left and right changed places"));
    }
    let low: Vec<&Pair> = pairs.iter().copied().filter(|pair| pair.source.main_pitch() < HIGHEST_PITCH).collect();
    let other = |pair: &&Pair| {
        let near =
            |side: usize| (pair.heard.pitch(side) / pair.source.pitch(side).max(1.0)).max(1e-6).ln().abs() < PITCH;
        let heard = |side: usize| pair.source.sides[side] > 0.1 * pair.source.energy();
        !(0..2).any(|side| heard(side) && near(side))
    };
    let other: Vec<&Pair> = low.iter().copied().filter(other).collect();
    // Noise of an encoder is high and moves the pitch of what is soft; another sound is another one nearly everywhere.
    match other.len() >= WINDOWS && other.len() * 100 >= low.len() * (100 - SHARE_PERCENT) {
        true => Err(mismatch(&other, "the clip has another sound than the source")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_RATE: u32 = 48_000;

    fn sides(seconds: f64, sound: impl Fn(f32) -> [f32; 2]) -> Sides {
        let count = (seconds * f64::from(SAMPLE_RATE)) as usize;
        let moment = |index| Moment { sides: sound(index as f32 / SAMPLE_RATE as f32), low: 0.0 };
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

    fn refused(source: &Sides, heard: &Sides, words: &str) {
        let failed = compare(source, heard, false).expect_err(words);
        assert!(failed.code == Code::AudioMismatch && failed.message.contains(words), "{failed:?} instead of {words}");
    }

    #[test]
    fn one_side_both_sides_and_opposite_sides_agree_with_themselves() {
        let opposite = sides(2.0, |seconds| [tone(300.0)(seconds), -tone(300.0)(seconds)]);
        let silence = sides(2.0, |_| [0.0; 2]);
        for sound in [panned(1.0, 0.0), panned(0.0, 1.0), panned(1.0, 1.0), mixed(), opposite, silence] {
            let agreement = compare(&sound, &sound, false).expect("agreement");
            assert!(agreement.balance < 0.01 && agreement.sum < 0.01, "{agreement:?}");
        }
    }

    #[test]
    fn a_gain_is_no_fault_where_loudness_is_normalised_and_a_great_one_is_otherwise() {
        let (source, loud) = (panned(0.02, 0.02), panned(1.0, 1.0));
        compare(&source, &loud, true).expect("agreement");
        refused(&source, &loud, "dB from the source");
        compare(&panned(1.0, 1.0), &panned(0.6, 0.6), false).expect("agreement");
    }

    #[test]
    fn sides_that_were_mixed_are_found() {
        refused(&panned(1.0, 1.0), &mixed(), "both sides sound alike");
        let left = sides(2.0, |seconds| [tone(440.0)(seconds), 0.0]);
        let centred = sides(2.0, |seconds| [0.7 * tone(440.0)(seconds); 2]);
        refused(&left, &centred, "both sides sound alike");
    }

    #[test]
    fn sides_that_changed_places_are_found_also_where_they_are_equally_loud() {
        refused(&panned(1.0, 0.0), &sides(2.0, |seconds| [0.0, tone(440.0)(seconds)]), "changed places");
        let swapped = sides(2.0, |seconds| [tone(3_000.0)(seconds), tone(440.0)(seconds)]);
        refused(&panned(1.0, 1.0), &swapped, "changed places");
    }

    #[test]
    fn a_side_or_a_stretch_that_is_missing_is_found() {
        refused(&panned(1.0, 1.0), &panned(1.0, 0.0), "right side is missing");
        refused(&panned(1.0, 1.0), &panned(0.0, 1.0), "left side is missing");
        let broken = sides(2.0, |seconds| if seconds < 1.2 { [tone(440.0)(seconds); 2] } else { [0.0; 2] });
        let whole = sides(2.0, |seconds| [tone(440.0)(seconds); 2]);
        refused(&whole, &broken, "missing");
        refused(&broken, &whole, "source is silent");
    }

    #[test]
    fn another_sound_is_found() {
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
    fn what_nobody_hears_may_be_left_out() {
        let both = sides(2.0, |seconds| [tone(19_500.0)(seconds), 0.0]);
        compare(&both, &sides(2.0, |_| [0.0; 2]), false).expect("agreement");
    }

    #[test]
    fn rates_make_no_difference() {
        let mut source = Sides::default();
        let moment = |index: i32| Moment { sides: [tone(440.0)(index as f32 / 22_050.0), 0.0], low: 0.0 };
        source.add(0.0, 22_050, 2.0, (0..44_100).map(moment));
        let agreement = compare(&source, &panned(1.0, 0.0), false).expect("agreement");
        assert_eq!(agreement.compared_ms, 2_000);
    }
}
