//! The audio of generated sources, and its analysis: every channel has its own tones, which change each second, and all
//! channels click at the same time in the middle of each second.
//!
//! The tones pause around each click. The tones identify the channel, the track and the second, and show the level; the
//! click shows the delay, and the pauses are silent.

use std::f64::consts::TAU;

/// Samples per second of all compared audio.
pub(crate) const RATE: usize = 48_000;

/// Tones of the channels of the first track in its first second, hertz. Those of the second track are higher.
const TONES: [f64; 6] = [400.0, 640.0, 880.0, 1_120.0, 1_360.0, 1_600.0];

const SECOND_TRACK: f64 = 1_500.0;

/// How much the tones rise each second, hertz; after five seconds they start again.
const STEP: f64 = 45.0;

const SECONDS: usize = 5;

/// The part of each second in which the tones pause.
const PAUSE: std::ops::Range<f64> = 0.42..0.62;

/// The time of the click in each second, and its duration.
const CLICK: f64 = 0.5;

const CLICK_SECONDS: f64 = 0.006;

/// Tones of a click. They are within the band of every sampling rate and codec.
const CLICK_TONES: [f64; 4] = [1_250.0, 1_750.0, 2_350.0, 2_950.0];

/// How much louder a click is.
const CLICK_GAIN: f64 = 2.4;

/// One channel of a source's audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Channel {
    /// The index of its tones.
    pub(crate) tone: usize,
    /// Amplitude of its tones: negative for the opposite phase, zero for silence.
    pub(crate) amplitude: f64,
}

/// The tone of a channel in a second of the source.
fn tone(track: usize, channel: usize, second: usize) -> f64 {
    TONES[channel] + SECOND_TRACK * track as f64 + STEP * (second % SECONDS) as f64
}

/// The audio of a track, interleaved, as 32-bit floating-point samples.
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
    // Each second starts at a new phase, so the tones are faded at its border, too.
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

/// Length of a measured block, samples.
pub(crate) const BLOCK: usize = RATE / 10;

const HOP: usize = RATE / 20;

/// The silence before and after a click, samples.
const AROUND_CLICK: usize = RATE * 55 / 1_000;

/// The maximum level of silence, decibels of full scale, and the minimum level of a tone.
pub(crate) const SILENT_DB: f64 = -70.0;

const TONE_DB: f64 = -40.0;

/// The samples of one channel.
pub(crate) type Side = [f64];

/// Level of a block of samples, decibels of full scale.
pub(crate) fn level_db(samples: &[f64]) -> f64 {
    let energy = samples.iter().map(|sample| sample * sample).sum::<f64>();
    10.0 * (energy / samples.len().max(1) as f64).max(1e-12).log10()
}

/// Where blocks with a steady tone begin, in reference audio.
pub(crate) fn steady_blocks(side: &Side) -> Vec<usize> {
    let steady = |from: &usize| {
        let block = &side[*from..*from + BLOCK];
        let levels: Vec<f64> = block.chunks(BLOCK / 5).map(level_db).collect();
        let (low, high) =
            levels.iter().fold((f64::MAX, f64::MIN), |(low, high), level| (low.min(*level), high.max(*level)));
        low > TONE_DB && high - low < 1.0
    };
    (HOP..side.len().saturating_sub(BLOCK + HOP)).step_by(HOP).filter(steady).collect()
}

/// Where silent blocks surrounded by silence begin, in reference audio.
pub(crate) fn silent_blocks(side: &Side) -> Vec<usize> {
    let silent = |from: &usize| {
        let (from, to) = (from.saturating_sub(HOP), (from + BLOCK / 2 + HOP).min(side.len()));
        side[from..to].chunks(HOP / 5).all(|part| level_db(part) < SILENT_DB)
    };
    (0..side.len().saturating_sub(BLOCK / 2)).step_by(HOP).filter(silent).collect()
}

/// Level of every tone that any channel may have, in a block: its frequency and its level in decibels of full scale.
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

/// Goertzel's algorithm. The window halves the amplitude.
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

/// The positions of clicks, samples, in reference audio: short bursts with silence before and after.
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

/// The energy centre around a click, samples; `None` if there is hardly any energy.
pub(crate) fn middle(side: &Side, click: usize) -> Option<f64> {
    let from = click.saturating_sub(AROUND_CLICK);
    let around = &side[from..(click + AROUND_CLICK).min(side.len())];
    let energy = around.iter().map(|sample| sample * sample);
    let total: f64 = energy.clone().sum();
    let moment: f64 = energy.enumerate().map(|(index, energy)| index as f64 * energy).sum();
    (total > 1e-2).then(|| from as f64 + moment / total)
}

/// The correlation of the two channels of a block: 1 if equal, -1 for opposite phases.
pub(crate) fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let product = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    product(left, right) / (product(left, left) * product(right, right)).sqrt().max(1e-9)
}
