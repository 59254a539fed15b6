//! Reads parts of the source's header that GStreamer's demuxers omit or read incorrectly.
//!
//! | what | why |
//! |---|---|
//! | edit lists of MP4 | the demuxer ends tracks early: see [`crate::source::edits`] |
//! | colours of MP4 (`colr`) | the demuxer reads the flag of full range from the wrong byte |
//! | rotated and mirrored pictures of MP4 | the demuxer supports only rotation |
//! | rotated pictures of Matroska | the demuxer ignores it |
//! | which tracks are enabled, default, chapters, encrypted | pads do not report it |
//! | byte order and channels of raw audio in QuickTime | the demuxer searches the wrong place, or not at all |
//! | the length of a track | the demuxer reports the movie's length |
//!
//! A demuxer must not apply what is applied here as well. It therefore gets the header with some boxes hidden
//! ([`Correction`]) by the source element.

pub mod iso;
pub mod matroska;

use crate::{
    failure,
    plan::catalog::Kind,
    source::{
        blocks::{Correction, ReadError, Source},
        colours::Colours,
        container::Container,
        edits::EditList,
        rotation::Rotation,
    },
};
use clipfleet_domain::failure::Failure;
use std::sync::atomic::AtomicBool;

/// Maximum size of a header. Ten hours of video at 60 frames per second with audio need 40 MB.
pub const MAX_HEADER_BYTES: u64 = 256 << 20;

/// One track.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    /// Its number in the file: see [`crate::source::tracks::track_number`].
    pub id: u64,
    /// Video or audio; `None` for everything else.
    pub kind: Option<Kind>,
    /// Whether it is excluded from presentation.
    pub disabled: bool,
    /// Whether the file recommends it among tracks of its kind.
    pub default: bool,
    /// Whether it contains the chapter pictures of another track.
    pub chapters: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// How its pictures are rotated, if the header declares it.
    pub rotation: Option<Rotation>,
    /// The colours that the container declares.
    pub colours: Colours,
    /// Format of raw samples, by GStreamer's name, if the demuxer does not find it.
    pub sample_format: Option<&'static str>,
    /// Channel positions of raw samples, as bits of `GstAudioChannelPosition`, if the demuxer does not find them.
    pub channel_mask: Option<u64>,
    /// Its edit list.
    pub edits: EditList,
    /// The end of its media, nanoseconds on its own time line; `None` if the header does not declare it.
    pub media_end_ns: Option<i64>,
}

impl Track {
    /// Its end on the file's time line, if the header declares it.
    pub fn end_ns(&self) -> Option<i64> {
        self.media_end_ns.map(|end| self.edits.movie_end(end))
    }
}

/// The contents of a header.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// Its tracks, in the file's order. Empty if the header could not be read; then only the demuxer's information is
    /// used.
    pub tracks: Vec<Track>,
    /// The declared length of the file, nanoseconds.
    pub declared_ns: Option<i64>,
    /// Replacements for the demuxer.
    pub corrections: Vec<Correction>,
}

impl Header {
    /// Reads the header of a source.
    pub fn read(container: Container, source: &Source) -> Result<Self, Failure> {
        match container {
            Container::IsoMedia | Container::IsoFragments => iso::read(container, source),
            Container::Matroska => matroska::read(source),
        }
    }

    /// The track with this number.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == number)
    }
}

/// Reads bytes of the source; fewer at its end.
fn bytes(source: &Source, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
    let pieces = source.read_raw(offset, length, &AtomicBool::new(false)).map_err(|error| match error {
        ReadError::Failed(failure) => failure,
        ReadError::Interrupted => failure::internal("reading the source was interrupted"),
    });
    pieces.map(|pieces| pieces.concat())
}
