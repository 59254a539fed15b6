//! The sound of generated sources, and reading it: every channel has tones of its own, which change each second, and
//! all channels click together in the middle of each second.
//!
//! The tones pause around each click. So a signal tells which channel of which track it is, which second, and how loud;
//! the click tells the delay, and the pauses are silent.

use std::f64::consts::TAU;

/// Samples per second of everything that is compared.
pub(crate) const RATE: usize = 48_000;

/// Tones of the channels of the first track in its first second, hertz; those of the second track lie above.
const TONES: [f64; 6] = [400.0, 640.0, 880.0, 1_120.0, 1_360.0, 1_600.0];

const SECOND_TRACK: f64 = 1_500.0;

/// How much higher each second sounds; after five seconds it begins anew.
const STEP: f64 = 45.0;

const SECONDS: usize = 5;

/// Share of each second in which the tones pause.
const PAUSE: std::ops::Range<f64> = 0.42..0.62;

/// When in each second it clicks, and for how long.
const CLICK: f64 = 0.5;

const CLICK_SECONDS: f64 = 0.006;

/// Tones that make a click. They are within the band of every sampling rate and codec.
const CLICK_TONES: [f64; 4] = [1_250.0, 1_750.0, 2_350.0, 2_950.0];

/// How much louder a click is.
const CLICK_GAIN: f64 = 2.4;

/// One channel of a source's sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Channel {
    /// Whose tones it has.
    pub(crate) tone: usize,
    /// Amplitude of its tones; below zero for the opposite phase, zero for silence.
    pub(crate) amplitude: f64,
}

/// The tone of a channel in a second of the source.
fn tone(track: usize, channel: usize, second: usize) -> f64 {
    TONES[channel] + SECOND_TRACK * track as f64 + STEP * (second % SECONDS) as f64
}

/// The sound of a track, interleaved, as 32-bit floating-point numbers.
pub(crate) fn pcm(track: usize, channels: &[Channel], rate: u32, seconds: f64) -> Vec<u8> {
    let count = (seconds * f64::from(rate)).round() as usize;
    let mut bytes = Vec::with_capacity(count * channels.len() * 4);
    for index in 0..count {
        let time = index as f64 / f64::from(rate);
        for channel in channels {
            bytes.extend_from_slice(&(sample(track, channel, time) as f32).to_le_bytes());
        }
    }
    bytes
}

fn sample(track: usize, channel: &Channel, time: f64) -> f64 {
    let (second, within) = (time as usize, time.fract());
    let edge = |distance: f64| (distance / 0.005).clamp(0.0, 1.0);
    let loud = if within < PAUSE.start { edge(PAUSE.start - within) } else { edge(within - PAUSE.end) };
    // Each second begins anew, so its seam is faded, too.
    let loud = loud * edge(within).min(edge(1.0 - within));
    let steady = loud * (TAU * tone(track, channel.tone, second) * within).sin();
    let since = within - CLICK;
    let click = if (0.0..CLICK_SECONDS).contains(&since) {
        let envelope = (TAU / 2.0 * since / CLICK_SECONDS).sin();
        let tones = CLICK_TONES.iter().map(|tone| (TAU * tone * since).sin()).sum::<f64>();
        envelope * tones / CLICK_TONES.len() as f64 * CLICK_GAIN
    } else {
        0.0
    };
    channel.amplitude * (steady + click)
}

/// Length of what is measured at once, samples.
pub(crate) const BLOCK: usize = RATE / 10;

const HOP: usize = RATE / 20;

/// How far around a click it is quiet, samples.
const AROUND_CLICK: usize = RATE * 55 / 1_000;

/// The level of silence, decibels of full scale, and what counts as sound.
pub(crate) const SILENT_DB: f64 = -70.0;

const SOUNDING_DB: f64 = -40.0;

/// One side of a sound.
pub(crate) type Side = [f64];

/// Level of a stretch of sound, decibels of full scale.
pub(crate) fn level_db(samples: &[f64]) -> f64 {
    let energy = samples.iter().map(|sample| sample * sample).sum::<f64>();
    10.0 * (energy / samples.len().max(1) as f64).max(1e-12).log10()
}

/// Where blocks begin in which a tone is held, in a sound that is known to be right.
pub(crate) fn steady_blocks(side: &Side) -> Vec<usize> {
    let steady = |from: &usize| {
        let block = &side[*from..*from + BLOCK];
        let levels: Vec<f64> = block.chunks(BLOCK / 5).map(level_db).collect();
        let (low, high) =
            levels.iter().fold((f64::MAX, f64::MIN), |(low, high), level| (low.min(*level), high.max(*level)));
        low > SOUNDING_DB && high - low < 1.0
    };
    (HOP..side.len().saturating_sub(BLOCK + HOP)).step_by(HOP).filter(steady).collect()
}

/// Where blocks begin that are silent and have silence around them, in a sound that is known to be right.
pub(crate) fn silent_blocks(side: &Side) -> Vec<usize> {
    let silent = |from: &usize| {
        let (from, to) = (from.saturating_sub(HOP), (from + BLOCK / 2 + HOP).min(side.len()));
        side[from..to].chunks(HOP / 5).all(|part| level_db(part) < SILENT_DB)
    };
    (0..side.len().saturating_sub(BLOCK / 2)).step_by(HOP).filter(silent).collect()
}

/// Strength of every tone that any channel may have, in a block: its frequency and its level in decibels of full scale.
pub(crate) fn spectrum(block: &[f64]) -> Vec<(f64, f64)> {
    let tracks_and_channels = (0..2).flat_map(|track| (0..TONES.len()).map(move |channel| (track, channel)));
    let tones =
        tracks_and_channels.flat_map(|(track, channel)| (0..SECONDS).map(move |second| tone(track, channel, second)));
    let windowed: Vec<f64> = block
        .iter()
        .enumerate()
        .map(|(index, sample)| sample * (0.5 - 0.5 * (TAU * index as f64 / block.len() as f64).cos()))
        .collect();
    tones.map(|tone| (tone, strength_db(&windowed, tone))).collect()
}

/// Goertzel's algorithm. The window takes half of the amplitude.
fn strength_db(windowed: &[f64], frequency: f64) -> f64 {
    let turn = 2.0 * (TAU * frequency / RATE as f64).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in windowed {
        (last, before) = (sample + turn * last - before, last);
    }
    let power = last * last + before * before - turn * last * before;
    let amplitude = 4.0 * power.max(0.0).sqrt() / windowed.len() as f64;
    20.0 * (amplitude / 2.0_f64.sqrt()).max(1e-6).log10()
}

/// When it clicks, samples, in a sound that is known to be right: a short burst with quiet before and behind it.
pub(crate) fn clicks(side: &Side) -> Vec<usize> {
    let part = RATE / 500;
    let levels: Vec<f64> = side.chunks(part).map(level_db).collect();
    let quiet = |parts: &[f64]| parts.iter().all(|level| *level < -50.0);
    let (near, far) = (10, AROUND_CLICK / part);
    let mut found: Vec<usize> = Vec::new();
    for at in far..levels.len().saturating_sub(far) {
        let loudest = levels[at] > -35.0 && levels[at - 3..=at + 3].iter().all(|level| *level <= levels[at]);
        if loudest && quiet(&levels[at - far..at - near]) && quiet(&levels[at + near..at + far]) {
            found.push(at * part);
        }
    }
    found.dedup_by(|later, earlier| later.abs_diff(*earlier) < AROUND_CLICK);
    found
}

/// The middle of what sounds around a click, samples; `None` where hardly anything does.
pub(crate) fn middle(side: &Side, click: usize) -> Option<f64> {
    let from = click.saturating_sub(AROUND_CLICK);
    let around = &side[from..(click + AROUND_CLICK).min(side.len())];
    let energy = around.iter().map(|sample| sample * sample);
    let total: f64 = energy.clone().sum();
    let moment: f64 = energy.enumerate().map(|(index, energy)| index as f64 * energy).sum();
    (total > 1e-2).then(|| from as f64 + moment / total)
}

/// How alike the two sides of a block are: 1 for equal, -1 for opposite phases.
pub(crate) fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let product = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    product(left, right) / (product(left, left) * product(right, right)).sqrt().max(1e-9)
}
