//! What a clip must show and sound like, independent of the pipeline that made it: computed from the source's own
//! headers, and from its decoded pictures and samples.
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
    tap::SourceObserved,
    tracks::{Bytes, Track},
};
use crate::{
    failure,
    source::{
        blocks::{ReadError, Source},
        time_line::TimeLine,
    },
};
use clipfleet_domain::{failure::Failure, reframe::Reframe, rendition::Size};
use std::sync::{Arc, atomic::AtomicBool};

/// The parts of an order that determine what a clip must show and sound like.
#[derive(Debug, Clone)]
pub struct Job {
    /// How pictures are reframed.
    pub reframe: Reframe,
    /// Size of a frame.
    pub target: Size,
    /// Frames per second.
    pub fps: u32,
    /// Number of frames.
    pub frames: u32,
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// Converts times of its video to times of the source.
    pub video_time_line: TimeLine,
    /// Converts times of its audio to times of the source.
    pub audio_time_line: TimeLine,
    /// The tracks that the source declares.
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

/// What is compared in video and audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// The scope for pictures.
    pub pictures: cells::Scope,
    /// Whether the loudness was normalized.
    pub normalized: bool,
}

/// How a clip agrees with its source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Agreement {
    /// Of the video.
    pub pictures: cells::Agreement,
    /// Of the audio.
    pub sides: sides::Agreement,
    /// What could not be compared, and why.
    pub unreadable: Vec<String>,
}

/// Compares the observations of a clip with its source's declarations, and its audio with the source's audio.
pub fn check(observed: &SourceObserved, output: &Sides, fps: u32) -> Result<Agreement, Failure> {
    let SourceObserved { tracks, scope, .. } = observed;
    for (id, kind) in [(observed.video_track, "picture"), (observed.audio_track, "audio")] {
        if let Some((id, better)) = id.and_then(|id| Some((id, tracks::better(tracks, id)?))) {
            let message = format!("it has {kind} track {id}, where track {} was to be taken", better.id);
            return Err(if kind == "audio" {
                failure::audio_mismatch(message)
            } else {
                failure::reframe_mismatch(message)
            });
        }
    }
    let track = observed.video_track.and_then(|id| tracks.iter().find(|track| track.id == id));
    let declared = track.map(|track| tracks::colours(track, &observed.packets));
    // If a declaration could not be read, levels are not compared.
    let levels = scope.pictures.levels && declared.is_some();
    let pictures = cells::Scope { levels, ..scope.pictures };
    let pictures = cells::compare(&observed.samples, declared.unwrap_or_default(), pictures, fps)?;
    let sides = match &observed.sides {
        Some(source) => sides::compare(source, output, scope.normalized)?,
        None => sides::Agreement::default(),
    };
    Ok(Agreement { pictures, sides, unreadable: observed.unreadable.clone() })
}

impl Bytes for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        // The raw bytes, because the demuxer gets corrected ones.
        match self.read_raw(offset, length as u64, &AtomicBool::new(false)) {
            Ok(pieces) => Some(pieces.concat()),
            Err(ReadError::Failed(_) | ReadError::Interrupted) => None,
        }
    }
}
