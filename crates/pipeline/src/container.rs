//! What kind of file the source is, from its first bytes. Names and content types are not trusted.

use crate::elements::TimeLine;

/// A container that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MP4, MOV, M4V, 3GP.
    IsoMedia,
    /// Matroska and WebM.
    Matroska,
}

impl Container {
    /// The element that takes it apart.
    pub fn demuxer(self) -> &'static str {
        match self {
            Container::IsoMedia => "qtdemux",
            Container::Matroska => "matroskademux",
        }
    }

    /// Which of its time stamps agree between its streams.
    pub fn time_line(self) -> TimeLine {
        match self {
            Container::IsoMedia => TimeLine::Edited,
            Container::Matroska => TimeLine::Stamped,
        }
    }
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
    fn other_files_are_named() {
        assert_eq!(detect(b"RIFF....AVI LIST"), Err("an AVI file"));
        assert_eq!(detect(b"<!doctype html>"), Err("a web page or XML"));
        assert_eq!(detect(b"hello"), Err("text"));
        assert_eq!(detect(&[7, 1, 2, 0x99]), Err("of an unknown kind"));
    }
}
