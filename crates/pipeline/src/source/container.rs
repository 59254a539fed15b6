//! The source's container, detected from its first bytes.

use crate::source::{edits::EditList, time_line::TimeLine};
use clipfleet_domain::file_kind::{self, FileKind, UnsupportedFile};

/// A supported container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MP4, MOV, M4V, 3GP.
    IsoMedia,
    /// Fragmented MP4, as browsers record it.
    IsoFragments,
    /// Matroska and WebM.
    Matroska,
}

impl Container {
    /// Every container.
    pub const ALL: [Self; 3] = [Self::IsoMedia, Self::IsoFragments, Self::Matroska];

    /// The element that demuxes it.
    pub fn demuxer(self) -> &'static str {
        match self {
            Container::IsoMedia | Container::IsoFragments => "qtdemux",
            Container::Matroska => "matroskademux",
        }
    }

    /// Whether times after a seek are the same as when reading from the beginning. After a seek into fragments, the
    /// demuxer counts from another zero. Such a file is therefore read from its beginning. Browsers record them, at
    /// most 300 s long.
    pub fn seeks_exactly(self) -> bool {
        self != Container::IsoFragments
    }

    /// Converts time stamps of a track with this edit list to times of the file.
    pub fn time_line(self, edits: &EditList) -> TimeLine {
        match self {
            Container::IsoMedia | Container::IsoFragments => TimeLine::Edited(edits.clone()),
            Container::Matroska => TimeLine::Stamped,
        }
    }
}

/// Maximum size of a header that is searched for signs of fragments. Headers of fragmented files are short, because the
/// sample tables are in the fragments.
pub const FRAGMENTED_HEADER_BYTES: u64 = 1 << 20;

/// The end of the header in a file that begins with `head`, if the header is in `head` and short enough.
pub fn header_end(head: &[u8]) -> Option<u64> {
    let mut at = 0_usize;
    loop {
        let begin = head.get(at..at + 8)?;
        let length = u32::from_be_bytes(begin[..4].try_into().ok()?);
        let end = at.checked_add(length as usize).filter(|end| *end > at + 7)?;
        if &begin[4..] == b"moov" {
            return u64::try_from(end).ok().filter(|end| *end <= FRAGMENTED_HEADER_BYTES);
        }
        at = end;
    }
}

/// Whether a complete header announces fragments.
pub fn is_fragmented(header: &[u8]) -> bool {
    header.windows(4).any(|kind| kind == b"mvex")
}

/// Detects the container from the first [`HEAD_BYTES`](clipfleet_domain::file_kind::HEAD_BYTES). The error says what
/// the file is instead. Fragments are told apart by the header, which is longer.
pub fn detect(head: &[u8]) -> Result<Container, UnsupportedFile> {
    file_kind::detect(head).map(|kind| match kind {
        FileKind::IsoMedia => Container::IsoMedia,
        FileKind::Matroska => Container::Matroska,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_detected_in_the_header() {
        let header = b"\0\0\0\x0cftypisom\0\0\0\x18moov\0\0\0\x10mvex\0\0\0\0\0\0\0\0";
        assert_eq!(header_end(header), Some(36));
        assert!(is_fragmented(header));
        assert_eq!(header_end(b"\0\0\0\x0cftypisom\xff\xff\xff\xffmdat"), None);
        assert_eq!(header_end(b"\0\0\0\0moov"), None);
        assert!(!is_fragmented(&header[..20]));
    }
}
