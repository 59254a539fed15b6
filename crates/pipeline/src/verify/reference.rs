//! What a clip must show and sound like, known without the pipeline that made it: from the source's own headers and
//! from its decoded pictures and samples, by arithmetic of our own.
//!
//! ```text
//! source's bytes ── tracks (iso, matroska) ── colours, orientation ─┐
//! first packet ──── avc, hevc, vpx, mpeg ──── colours ──────────────┤
//! decoded pictures ── instants ── planes, view ─────────────────────┼─ cells ── Agreement, or what is wrong
//! frames that enter the encoder ──────── planes ────────────────────┘
//! decoded samples ── sides ──┐
//! the file's samples ────────┴─ sides ── Agreement, or what is wrong
//! ```

pub mod avc;
pub mod bits;
pub mod cells;
pub mod colour;
pub mod downmix;
pub mod hevc;
pub mod instants;
pub mod iso;
pub mod matroska;
pub mod mpeg;
pub mod nal;
pub mod orientation;
pub mod planes;
pub mod sides;
pub mod tap;
pub mod tracks;
pub mod view;
pub mod vpx;

use self::{
    sides::Sides,
    tap::Seen,
    tracks::{Bytes, Track},
};
use crate::{
    elements::TimeLine,
    failure,
    source::{ReadError, Source},
};
use clipfleet_domain::{failure::Failure, reframe::Reframe, rendition::Size};
use std::sync::{Arc, atomic::AtomicBool};

/// What is to be made, as far as it decides what must be seen and heard.
#[derive(Debug, Clone)]
pub struct Job {
    /// How pictures are fitted.
    pub reframe: Reframe,
    /// Size of a frame.
    pub target: Size,
    /// Frames per second.
    pub fps: u32,
    /// Frames.
    pub frames: u32,
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// How times of its pictures become times of the source.
    pub video_time_line: TimeLine,
    /// How times of its sound become times of the source.
    pub audio_time_line: TimeLine,
    /// What the source declares of its tracks.
    pub tracks: Arc<[Track]>,
    /// What is compared.
    pub scope: Scope,
    /// Chooses the frames that are compared.
    pub seed: u64,
}

impl Job {
    /// Whether every frame shows the same part of the picture.
    fn is_static(&self) -> bool {
        !matches!(&self.reframe, Reframe::CropPath(path) if path.steady().is_none())
    }

    fn seconds(&self) -> f64 {
        f64::from(self.frames) / f64::from(self.fps.max(1))
    }
}

/// What pictures and sound are compared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Brightness and colours of pictures.
    pub pictures: cells::Scope,
    /// Whether the loudness was normalised.
    pub leveled: bool,
}

/// How a clip agrees with its source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Agreement {
    /// Its pictures.
    pub pictures: cells::Agreement,
    /// Its sound.
    pub sides: sides::Agreement,
    /// What could not be compared, and why.
    pub unreadable: Vec<String>,
}

/// Compares what was seen of a clip with what its source declares, and what is heard of it with the source's sound.
pub fn check(seen: &Seen, heard: &Sides, fps: u32) -> Result<Agreement, Failure> {
    let Seen { tracks, scope, .. } = seen;
    for (id, kind) in [(seen.video_track, "picture"), (seen.audio_track, "audio")] {
        if let Some((id, better)) = id.and_then(|id| Some((id, tracks::better(tracks, id)?))) {
            let message = format!("it has {kind} track {id}, where track {} was to be taken", better.id);
            return Err(if kind == "audio" {
                failure::audio_mismatch(message)
            } else {
                failure::reframe_mismatch(message)
            });
        }
    }
    let track = seen.video_track.and_then(|id| tracks.iter().find(|track| track.id == id));
    let declared = track.map(|track| tracks::colours(track, &seen.packets));
    // What is not declared because it could not be read is not compared.
    let levels = scope.pictures.levels && declared.is_some();
    let pictures = cells::Scope { levels, ..scope.pictures };
    let pictures = cells::compare(&seen.samples, declared.unwrap_or_default(), pictures, fps)?;
    let sides = match &seen.sides {
        Some(source) => sides::compare(source, heard, scope.leveled)?,
        None => sides::Agreement::default(),
    };
    Ok(Agreement { pictures, sides, unreadable: seen.unreadable.clone() })
}

impl Bytes for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        // The demuxer is shown other bytes.
        match self.read_raw(offset, length as u64, &AtomicBool::new(false)) {
            Ok(pieces) => Some(pieces.concat()),
            Err(ReadError::Failed(_) | ReadError::Interrupted) => None,
        }
    }
}
