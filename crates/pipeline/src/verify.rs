//! Proof that a file is what was ordered and what was encoded: from its container, and from everything in it, decoded.
//!
//! ```text
//! run ── Tap at both encoders ── entered ──────────────────┐
//!     └─ Tap behind the encoder's tee ── made ─┐           ├─ pictures, sound, runs (pure) ── Proof ── Manifest
//!                                              │ if alike  │
//! file ── container ── sound, packets ─────────┴─ shown ───┘
//!                   └─ pictures, if the packets are not those that were decoded while they were made
//! ```
//!
//! Decoding is most of the work, so it is done beside the encoding, and pictures that no other refers to are mostly spared it (see
//! [`packets`]). It counts for the file because the file is shown to hold the very packets that were decoded; where it does not, the
//! file's own are decoded, all of them.

pub mod container;
pub mod decode;
pub mod fingerprint;
pub mod loudness;
pub mod manifest;
pub mod packets;
pub mod pictures;
pub mod reference;
pub mod runs;
pub mod sound;
pub mod tap;

use self::{
    decode::Pictures,
    loudness::Levels,
    pictures::{Likeness, Shown},
    runs::Runs,
    tap::Passed,
};
use crate::{catalog::Installed, failure, mp4::Movie, plan::Expected};
use clipfleet_domain::failure::Failure;
use std::{path::Path, sync::Arc};

/// How much earlier or later than the picture sound may end, milliseconds. What is promised of both ends.
const END_DIFFERENCE_MS: f64 = 40.0;

/// What was seen of a clip while it was made.
#[derive(Debug)]
pub struct Witnessed {
    /// Pictures and sound that entered the encoders.
    pub entered: Passed,
    /// Packets that left the picture's encoder, and the pictures that they decode to.
    pub made: Passed,
    /// What left the source's decoders.
    pub source: reference::tap::Seen,
}

/// What was proved of a good file.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Whether the file's pictures had to be decoded because they were not known.
    pub decoded_again: bool,
    /// Pictures that were decoded and compared.
    pub compared: u32,
    /// How the clip agrees with its source.
    pub agreement: reference::Agreement,
    /// How alike they are to those encoded.
    pub likeness: Likeness,
    /// How much later the sound is than the picture, milliseconds, where that is largest.
    pub av_offset_ms: Option<f64>,
    /// How much later the sound ends than the picture, milliseconds.
    pub end_difference_ms: f64,
    /// Standing and black stretches of what was encoded.
    pub input: Runs,
    /// Standing and black stretches of the file.
    pub output: Runs,
    /// Loudness of the file.
    pub levels: Levels,
}

/// Checks a file against what it is to be and what was seen when it was made. `report` hears the share that is done.
pub fn verify(
    path: &Path,
    expected: &Expected,
    witnessed: &Witnessed,
    installed: &Arc<Installed>,
    report: impl FnMut(f64),
) -> Result<(Movie, Proof), Failure> {
    let movie = container::check(path, expected)?;
    let proof = verify_content(path, expected, witnessed, installed, report)?;
    // The demuxer leaves out a last block that is heard in part only; the header counts to the sample, and is checked.
    let end_difference_ms = container::end_difference_ms(&movie, expected);
    Ok((movie, Proof { end_difference_ms, ..proof }))
}

/// The part of [`verify`] that believes nothing the container says about itself.
pub fn verify_content(
    path: &Path,
    expected: &Expected,
    witnessed: &Witnessed,
    installed: &Arc<Installed>,
    mut report: impl FnMut(f64),
) -> Result<Proof, Failure> {
    let Witnessed { entered, made, source } = witnessed;
    if let Some(caps) = &entered.unreadable {
        return Err(failure::internal(format!("pictures that enter the encoder cannot be looked at: {caps}")));
    }
    if entered.pictures.len() != expected.frames as usize {
        let seen = entered.pictures.len();
        return Err(failure::encode_failed(format!("{seen} of {} pictures reached the encoder", expected.frames)));
    }
    // A buffer is a picture or 1,024 samples.
    let buffers = u64::from(expected.frames) + expected.samples / 1_024;
    let mut decode =
        |pictures| decode::decode(path, pictures, installed, |count| report(count as f64 / buffers as f64));
    let mut shown = decode(Pictures::Mark)?;
    let decoded_again = !shown.packets.decode_alike(&made.packets);
    if decoded_again {
        shown = decode(Pictures::Look)?;
    }
    let decoded = if decoded_again { &shown } else { made };
    if let Some(caps) = &decoded.unreadable {
        return Err(failure::verify_failed(format!("its pictures are {caps}")));
    }
    let frames = entered.pictures.len();
    let pictures = match decoded_again {
        true => Shown::all(&decoded.pictures, frames),
        false => {
            let all: Vec<usize> = (0..frames).collect();
            pictures::check_places(&made.packets.times_ns(), &all, expected.fps)?;
            Shown::at(&decoded.pictures, &made.packets.due_ns(), expected.fps)
        }
    };
    let likeness = pictures::compare(&entered.pictures, &pictures, expected.fps)?;
    let av_offset_ms = sound::compare(&entered.sound, &shown.sound)?;
    let agreement = reference::check(source, &shown.sides, expected.fps)?;
    let end_ms = f64::from(expected.frames) * 1_000.0 / f64::from(expected.fps);
    let end_difference_ms = shown.sound.end_ms() - end_ms;
    if end_difference_ms.abs() > END_DIFFERENCE_MS {
        let way = if end_difference_ms < 0.0 { "before" } else { "after" };
        let message = format!("the sound ends {:.0} ms {way} the picture", end_difference_ms.abs());
        return Err(failure::encode_slip(message));
    }
    let entered = Shown::all(&entered.pictures, frames);
    let runs = |shown: &Shown<'_>| runs::find(&shown.prints(frames), expected.fps);
    Ok(Proof {
        decoded_again,
        compared: pictures.due.len() as u32,
        agreement,
        likeness,
        av_offset_ms,
        end_difference_ms,
        input: runs(&entered),
        output: runs(&pictures),
        levels: shown.loudness.as_ref().map(loudness::Loudness::levels).unwrap_or_default(),
    })
}
