//! Audio with beeps at known times, and code that finds them again.

use crate::fixtures::SAMPLES_PER_MS;
use std::{path::Path, process::Command};

/// Time between two beeps, milliseconds.
pub const BEEP_INTERVAL_MS: u32 = 400;

/// When the first beep of a source starts, milliseconds. Not a multiple of a frame, nor of an AAC block.
pub const FIRST_BEEP_MS: u32 = 155;

const BEEP_MS: u32 = 40;

/// Audio with a beep every [`BEEP_INTERVAL_MS`] on the source's clock.
#[derive(Debug, Clone, Copy)]
pub struct Beeps {
    /// Where the audio starts on the source's clock, milliseconds.
    pub from_ms: u32,
    /// Where the audio ends.
    pub to_ms: u32,
}

impl Beeps {
    /// When its beeps start, milliseconds on the source's clock. Only complete beeps count.
    pub fn times_ms(&self) -> Vec<u32> {
        let all = (FIRST_BEEP_MS..).step_by(BEEP_INTERVAL_MS as usize);
        all.take_while(|begin| begin + BEEP_MS <= self.to_ms).filter(|begin| *begin >= self.from_ms).collect()
    }

    /// The beeps in a clip, milliseconds from the clip's start. Beeps that the clip cuts are left out.
    pub fn within(&self, start_ms: u32, end_ms: u32) -> Vec<f64> {
        let inside = |begin: &u32| *begin >= start_ms && begin + BEEP_MS <= end_ms;
        self.times_ms().into_iter().filter(inside).map(|begin| f64::from(begin - start_ms)).collect()
    }

    /// The audio as 16-bit samples.
    pub fn pcm(&self, channels: u32) -> Vec<u8> {
        let times = self.times_ms();
        let mut bytes = Vec::new();
        for index in self.from_ms * SAMPLES_PER_MS..self.to_ms * SAMPLES_PER_MS {
            let ms = index / SAMPLES_PER_MS;
            let beeping = times.iter().any(|begin| (*begin..begin + BEEP_MS).contains(&ms));
            // 1 kHz, at full amplitude immediately: its first sample is easy to find.
            let phase = f64::from(index % SAMPLES_PER_MS) / f64::from(SAMPLES_PER_MS);
            let value = if beeping { (phase * std::f64::consts::TAU).cos() * 20_000.0 } else { 0.0 };
            for _ in 0..channels {
                bytes.extend_from_slice(&(value as i16).to_le_bytes());
            }
        }
        bytes
    }
}

/// The decoded audio of a file.
#[derive(Debug)]
pub struct DecodedAudio {
    /// Left and right.
    pub samples: Vec<[i16; 2]>,
}

impl DecodedAudio {
    /// Decodes a file's audio as a player does, including the edit list.
    pub fn decode(path: &Path) -> Self {
        let output = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
            .arg(path)
            .args(["-map", "0:a:0", "-f", "s16le", "-ac", "2", "-ar", "48000", "pipe:1"])
            .output()
            .expect("ffmpeg must be installed for media tests");
        assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
        let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]);
        let samples = output.stdout.chunks_exact(4).map(|frame| [sample(&frame[..2]), sample(&frame[2..])]).collect();
        Self { samples }
    }

    /// Length, milliseconds.
    pub fn length_ms(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SAMPLES_PER_MS)
    }

    /// When beeps start, milliseconds. A beep that the start of the file cuts is left out.
    pub fn beeps_ms(&self) -> Vec<f64> {
        const BEEP_LEVEL: i32 = 6_000;
        const QUIET_SAMPLES: usize = 100 * SAMPLES_PER_MS as usize;
        let mut begins = Vec::new();
        let mut last_loud = None;
        for (index, [left, right]) in self.samples.iter().enumerate() {
            if i32::from(*left).abs().max(i32::from(*right).abs()) < BEEP_LEVEL {
                continue;
            }
            let fresh = last_loud.is_none_or(|last| index - last > QUIET_SAMPLES);
            if fresh && index > SAMPLES_PER_MS as usize {
                begins.push(index as f64 / f64::from(SAMPLES_PER_MS));
            }
            last_loud = Some(index);
        }
        begins
    }

    /// The loudest sample of each channel.
    pub fn peak(&self) -> [i32; 2] {
        [0, 1].map(|channel| self.samples.iter().map(|frame| i32::from(frame[channel]).abs()).max().unwrap_or(0))
    }

    /// How much louder the left channel is, dB, over the whole file. Lossy coding changes single samples by more than
    /// any real imbalance.
    pub fn balance_db(&self) -> f64 {
        let [left, right] =
            [0, 1].map(|channel| self.samples.iter().map(|frame| f64::from(frame[channel]).powi(2)).sum::<f64>());
        10.0 * (left.max(1.0) / right.max(1.0)).log10()
    }
}
