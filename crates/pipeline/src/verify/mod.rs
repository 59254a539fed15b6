//! Verification of a file: its container, and its decoded content, are compared with the order and with what was
//! encoded.
//!
//! ```text
//! run ── Tap at both encoders ── encoder input ─────────────────┐
//!     └─ Tap after the encoder's tee ── encoder output ─┐       ├─ frames, audio, runs ── Verification ── Manifest
//!                                                       │ if equal
//! file ── container ── audio, packets ──────────────────┴─ decoded
//!                   └─ frames, if the packets are not those that were decoded during encoding
//! ```
//!
//! Decoding is most of the work. It is done during encoding, and most pictures that no other picture refers to are
//! skipped (see [`packets`]). The result is valid for the file because the file is shown to contain exactly the packets
//! that were decoded. If it does not, all of the file's own packets are decoded.
//!
//! A frozen, black, shifted or silent file is thereby never reported as completed, for about an eighth of a clip's CPU
//! time. Frozen or black pictures of the source are only noted in the manifest (see [`runs`]). Faults before the
//! encoder are found by the comparison with the source ([`reference`]), which samples frames, and by golden pictures in
//! tests.

pub mod audio;
pub mod container;
pub mod decode;
pub mod fingerprint;
pub mod frames;
pub mod loudness;
pub mod manifest;
pub mod packets;
pub mod reference;
pub mod runs;
pub mod tap;

use self::{
    decode::VideoMode,
    frames::{Decoded, Similarity},
    loudness::Levels,
    runs::Runs,
    tap::Observed,
};
use crate::{
    failure,
    mp4::Movie,
    plan::{Expected, installed::Installed},
};
use clipfleet_domain::failure::Failure;
use std::{path::Path, sync::Arc};

/// Maximum difference between the ends of audio and video, milliseconds. The same is promised for their starts.
const MAX_END_DIFFERENCE_MS: f64 = 40.0;

/// What was observed while a clip was made.
#[derive(Debug)]
pub struct Observations {
    /// Frames and audio that entered the encoders.
    pub encoder_input: Observed,
    /// Packets that left the video encoder, and the frames that were decoded from them.
    pub encoder_output: Observed,
    /// Pictures and audio that left the source's decoders.
    pub source: reference::tap::SourceObserved,
}

/// The result of verifying a good file.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// Whether the file's packets had to be decoded because they differ from those decoded during encoding.
    pub decoded_again: bool,
    /// Number of frames that were decoded and compared.
    pub compared: u32,
    /// How the clip agrees with its source.
    pub agreement: reference::Agreement,
    /// How similar the decoded frames are to those that entered the encoder.
    pub similarity: Similarity,
    /// How much later the audio is than the video, milliseconds, at the place with the largest offset.
    pub av_offset_ms: Option<f64>,
    /// How much later the audio ends than the video, milliseconds.
    pub end_difference_ms: f64,
    /// Frozen and black stretches of the encoder's input.
    pub input: Runs,
    /// Frozen and black stretches of the file.
    pub output: Runs,
    /// Loudness of the file.
    pub levels: Levels,
}

/// Checks a file against its expected properties and against the observations. `report` receives the finished share.
pub fn verify(
    path: &Path,
    expected: &Expected,
    observations: &Observations,
    installed: &Arc<Installed>,
    report: impl FnMut(f64),
) -> Result<(Movie, Verification), Failure> {
    let movie = container::check(path, expected)?;
    let verification = verify_content(path, expected, observations, installed, report)?;
    // The demuxer leaves out a last block that is only partly audible. The header counts samples, and was checked.
    let end_difference_ms = container::end_difference_ms(&movie, expected);
    Ok((movie, Verification { end_difference_ms, ..verification }))
}

/// The part of [`verify`] that does not rely on the container's declarations.
pub fn verify_content(
    path: &Path,
    expected: &Expected,
    observations: &Observations,
    installed: &Arc<Installed>,
    mut report: impl FnMut(f64),
) -> Result<Verification, Failure> {
    let Observations { encoder_input, encoder_output, source } = observations;
    if let Some(caps) = &encoder_input.unreadable {
        return Err(failure::internal(format!("pictures that enter the encoder cannot be looked at: {caps}")));
    }
    if encoder_input.frames.len() != expected.frames as usize {
        let count = encoder_input.frames.len();
        return Err(failure::encode_failed(format!("{count} of {} pictures reached the encoder", expected.frames)));
    }
    // A buffer is a picture or 1,024 samples.
    let buffers = u64::from(expected.frames) + expected.samples / 1_024;
    let mut decode = |mode| decode::decode(path, mode, installed, |count| report(count as f64 / buffers as f64));
    let mut file = decode(VideoMode::RecordPackets)?;
    let decoded_again = !file.packets.decodes_like(&encoder_output.packets);
    if decoded_again {
        file = decode(VideoMode::Decode)?;
    }
    let video = if decoded_again { &file } else { encoder_output };
    if let Some(caps) = &video.unreadable {
        return Err(failure::verify_failed(format!("its pictures are {caps}")));
    }
    let count = encoder_input.frames.len();
    let decoded = match decoded_again {
        true => Decoded::all(&video.frames, count),
        false => {
            let all: Vec<usize> = (0..count).collect();
            frames::check_times(&encoder_output.packets.times_ns(), &all, expected.fps)?;
            Decoded::at(&video.frames, &encoder_output.packets.decoded_times_ns(), expected.fps)
        }
    };
    let similarity = frames::compare(&encoder_input.frames, &decoded, expected.fps)?;
    let av_offset_ms = audio::compare(&encoder_input.audio, &file.audio)?;
    let agreement = reference::check(source, &file.sides, expected.fps)?;
    let end_ms = f64::from(expected.frames) * 1_000.0 / f64::from(expected.fps);
    let end_difference_ms = file.audio.end_ms() - end_ms;
    if end_difference_ms.abs() > MAX_END_DIFFERENCE_MS {
        let direction = if end_difference_ms < 0.0 { "before" } else { "after" };
        let message = format!("the sound ends {:.0} ms {direction} the picture", end_difference_ms.abs());
        return Err(failure::encode_slip(message));
    }
    let input = Decoded::all(&encoder_input.frames, count);
    let runs = |decoded: &Decoded<'_>| runs::find(&decoded.fingerprints(count), expected.fps);
    Ok(Verification {
        decoded_again,
        compared: decoded.indices.len() as u32,
        agreement,
        similarity,
        av_offset_ms,
        end_difference_ms,
        input: runs(&input),
        output: runs(&decoded),
        levels: file.loudness.as_ref().map(loudness::LoudnessMeter::levels).unwrap_or_default(),
    })
}
