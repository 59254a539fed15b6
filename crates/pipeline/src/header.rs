//! What the header of a source says, read by ourselves where GStreamer's demuxers leave it out or get it wrong.
//!
//! | what | why |
//! |---|---|
//! | edit lists of MP4 | the demuxer ends tracks early: see [`crate::edits`] |
//! | colours of MP4 (`colr`) | it reads the flag of full range from the wrong byte |
//! | turned and mirrored pictures of MP4 | it knows turns only |
//! | turned pictures of Matroska | it does not look |
//! | which tracks are enabled, default, chapters, encrypted | pads do not say it |
//! | byte order and channels of raw sound in QuickTime | it looks for them in the wrong place, or not at all |
//! | how long a track is | the demuxer's answer is the movie's |
//!
//! A demuxer must not act on what we act on, so it is given the header with some boxes hidden ([`Correction`]): the source
//! element reads the bytes anyway.

pub mod iso;
pub mod matroska;

use crate::{
    catalog::Kind,
    colours::Colours,
    container::Container,
    edits::EditList,
    failure,
    probe::Rotation,
    source::{ReadError, Source},
};
use clipfleet_domain::failure::Failure;
use std::sync::atomic::AtomicBool;

/// Largest header that is looked through. Ten hours of pictures at 60 a second and their sound need 40 MB.
pub const MAX_HEADER_BYTES: u64 = 256 << 20;

/// Bytes of a source as the demuxer shall see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// Where they lie.
    pub offset: u64,
    /// What stands there instead.
    pub bytes: Vec<u8>,
}

/// One track.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    /// Its number in the file: see [`crate::tracks::track_number`].
    pub id: u64,
    /// Pictures or sound; `None` for everything else.
    pub kind: Option<Kind>,
    /// Whether it is to be presented at all.
    pub disabled: bool,
    /// Whether the file recommends it among its like.
    pub default: bool,
    /// Whether its pictures are those of another track's chapters.
    pub chapters: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// How its pictures are turned, where the header says it.
    pub rotation: Option<Rotation>,
    /// What the container says of its colours.
    pub colours: Colours,
    /// Format of raw samples, by GStreamer's name, where the demuxer does not find it.
    pub sample_format: Option<&'static str>,
    /// Where the channels of raw samples belong, by the bits of `GstAudioChannelPosition`, where the demuxer does not find it.
    pub channel_mask: Option<u64>,
    /// What of it is shown when.
    pub edits: EditList,
    /// Where its media ends, nanoseconds of its own time line; `None` where the header does not tell.
    pub media_end_ns: Option<i64>,
}

impl Track {
    /// When it is over on the file's time line, as far as the header tells.
    pub fn end_ns(&self) -> Option<i64> {
        self.media_end_ns.map(|end| self.edits.movie_end(end))
    }
}

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// Its tracks, in the file's order. Empty where nothing of it could be read: then the demuxer is on its own.
    pub tracks: Vec<Track>,
    /// How long it says that the file is, nanoseconds.
    pub declared_ns: Option<i64>,
    /// What the demuxer shall see instead.
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

    /// The track of that number.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == number)
    }
}

/// Bytes of the source, fewer at its end.
fn bytes(source: &Source, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
    let pieces = source.read_raw(offset, length, &AtomicBool::new(false)).map_err(|error| match error {
        ReadError::Failed(failure) => failure,
        ReadError::Interrupted => failure::internal("reading the source was interrupted"),
    });
    pieces.map(|pieces| pieces.concat())
}
