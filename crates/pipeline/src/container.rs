//! What kind of file the source is, from its first bytes. Names and content types are not trusted.

use crate::{edits::EditList, elements::TimeLine};

/// A container that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MP4, MOV, M4V, 3GP.
    IsoMedia,
    /// The same in fragments, as browsers record it.
    IsoFragments,
    /// Matroska and WebM.
    Matroska,
}

impl Container {
    /// The element that takes it apart.
    pub fn demuxer(self) -> &'static str {
        match self {
            Container::IsoMedia | Container::IsoFragments => "qtdemux",
            Container::Matroska => "matroskademux",
        }
    }

    /// Whether a seek leads to the same times as reading from the beginning. Behind a seek into fragments, the demuxer counts from another
    /// zero.
    pub fn seeks_exactly(self) -> bool {
        self != Container::IsoFragments
    }

    /// How the time stamps of a track with that edit list become times of the file.
    pub fn time_line(self, edits: &EditList) -> TimeLine {
        match self {
            Container::IsoMedia | Container::IsoFragments => TimeLine::Edited(edits.clone()),
            Container::Matroska => TimeLine::Stamped,
        }
    }
}

/// Longest header that is looked through for signs of fragments; theirs are short, since what is in the fragments is not in it.
pub const FRAGMENTED_HEADER_BYTES: u64 = 1 << 20;

/// Where the header of a file ends that begins with `head`, if it lies there and is short.
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

/// Whether a whole header announces fragments.
pub fn is_fragmented(header: &[u8]) -> bool {
    header.windows(4).any(|kind| kind == b"mvex")
}

/// Bytes of the head that [`detect`] looks at.
pub const HEAD_BYTES: u64 = 512;

/// The container that begins with `head`, or a name for what it is instead.
pub fn detect(head: &[u8]) -> Result<Container, &'static str> {
    const MATROSKA: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
    /// Boxes that a file may begin with; `ftyp` is the rule, the others are old QuickTime.
    const BOXES: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];
    if head.starts_with(&MATROSKA) {
        return Ok(Container::Matroska);
    }
    let kind = head.get(4..8).unwrap_or_default();
    if kind == b"ftyp" && matches!(head.get(8..12), Some(b"heic" | b"mif1" | b"avif")) {
        return Err("a still picture");
    }
    if BOXES.contains(&kind) {
        return Ok(Container::IsoMedia);
    }
    let riff = head.get(8..12).unwrap_or_default();
    Err(match head {
        [b'R', b'I', b'F', b'F', ..] if riff == b"AVI " => "an AVI file",
        [b'R', b'I', b'F', b'F', ..] if riff == b"WAVE" => "a WAV sound file",
        [b'O', b'g', b'g', b'S', ..] => "an Ogg file",
        [b'F', b'L', b'V', ..] => "a Flash video file",
        [b'I', b'D', b'3', ..] | [0xff, 0xf1 | 0xf9 | 0xfa | 0xfb, ..] => "a sound file",
        [0x30, 0x26, 0xb2, 0x75, ..] => "a Windows Media file",
        [0xff, 0xd8, ..] | [0x89, b'P', b'N', b'G', ..] | [b'G', b'I', b'F', ..] => "a still picture",
        [b'P', b'K', ..] => "a ZIP archive",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [0x47, ..] if head.get(188) == Some(&0x47) => "an MPEG transport stream",
        [0, 0, 1, 0xba, ..] => "an MPEG program stream",
        text if text.trim_ascii_start().first() == Some(&b'<') => "a web page or XML",
        text if !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "text"
        }
        zeros if zeros.iter().all(|byte| *byte == 0) => "a block of zeros",
        _ => "of an unknown kind",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_first_bytes() {
        assert_eq!(detect(b"\0\0\0\x20ftypisom"), Ok(Container::IsoMedia));
        assert_eq!(detect(b"\0\0\0\x08wide\0\0"), Ok(Container::IsoMedia));
        assert_eq!(detect(b"\x1a\x45\xdf\xa3\x01"), Ok(Container::Matroska));
    }

    #[test]
    fn fragments_are_announced_in_the_header() {
        let header = b"\0\0\0\x0cftypisom\0\0\0\x18moov\0\0\0\x10mvex\0\0\0\0\0\0\0\0";
        assert_eq!(header_end(header), Some(36));
        assert!(is_fragmented(header));
        assert_eq!(header_end(b"\0\0\0\x0cftypisom\xff\xff\xff\xffmdat"), None);
        assert_eq!(header_end(b"\0\0\0\0moov"), None);
        assert!(!is_fragmented(&header[..20]));
    }

    #[test]
    fn other_files_are_named() {
        assert_eq!(detect(b"RIFF....AVI LIST"), Err("an AVI file"));
        assert_eq!(detect(b"<!doctype html>"), Err("a web page or XML"));
        assert_eq!(detect(b"hello"), Err("text"));
        assert_eq!(detect(&[7, 1, 2, 0x99]), Err("of an unknown kind"));
    }
}
