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
pub mod tracks;
pub mod view;
pub mod vpx;

use self::tracks::Bytes;
use crate::source::{ReadError, Source};
use std::sync::atomic::AtomicBool;

impl Bytes for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        match Source::read(self, offset, length as u64, &AtomicBool::new(false)) {
            Ok(pieces) => Some(pieces.concat()),
            Err(ReadError::Failed(_) | ReadError::Interrupted) => None,
        }
    }
}
