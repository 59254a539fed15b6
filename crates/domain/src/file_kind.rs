//! The kind of a file by its first bytes. Names and content types are not trusted.

/// A supported kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// MP4, MOV, M4V, 3GP.
    IsoMedia,
    /// Matroska and WebM.
    Matroska,
}

/// Number of bytes that [`detect`] needs.
pub const HEAD_BYTES: u64 = 512;

/// A file that is not a supported container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsupportedFile {
    /// Its common name, with an article.
    pub name: &'static str,
    /// What the user can do.
    pub remedy: Remedy,
}

/// What the user can do about an unsupported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Convert it: it contains a video in an unsupported format.
    Convert,
    /// Choose another file: it contains no video.
    ChooseAnother,
    /// Upload it again: it contains nothing, because the upload was interrupted.
    UploadAgain,
}

/// Detects the kind of a file from `head`. The error says what the file is instead.
pub fn detect(head: &[u8]) -> Result<FileKind, UnsupportedFile> {
    const MATROSKA: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
    if head.starts_with(&MATROSKA) {
        return Ok(FileKind::Matroska);
    }
    if begins_with_a_box(head) {
        return match still_picture(head) {
            Some(name) => Err(UnsupportedFile { name, remedy: Remedy::ChooseAnother }),
            None => Ok(FileKind::IsoMedia),
        };
    }
    let by_signature = SIGNATURES.iter().find(|(at, bytes, ..)| head.get(*at..).unwrap_or_default().starts_with(bytes));
    if let Some((_, _, name, remedy)) = by_signature {
        return Err(UnsupportedFile { name, remedy: *remedy });
    }
    let (name, remedy) = by_structure(head).unwrap_or(("of an unknown kind", Remedy::ChooseAnother));
    Err(UnsupportedFile { name, remedy })
}

/// Whether the file begins with a box of ISO media. Most files begin with `ftyp`. Segments and files of some cameras
/// begin with `styp` or `uuid`. The other boxes are from old QuickTime files.
fn begins_with_a_box(head: &[u8]) -> bool {
    const BOXES: [&[u8]; 10] =
        [b"ftyp", b"styp", b"uuid", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"junk"];
    let kind = head.get(4..8).unwrap_or_default();
    // Some box names are also words. In a text, the first letter is in the position of the length's first byte, and
    // only `mdat` can be that long.
    let is_text = head.first().is_some_and(|byte| *byte >= b' ') && kind != b"mdat";
    BOXES.contains(&kind) && !is_text
}

/// The name of a picture format based on ISO media, by its brand.
fn still_picture(head: &[u8]) -> Option<&'static str> {
    match (head.get(4..8)?, head.get(8..12)?) {
        (b"ftyp", b"heic" | b"heix" | b"mif1") => Some("a HEIF picture"),
        (b"ftyp", b"avif") => Some("an AVIF picture"),
        (b"ftyp", b"crx ") => Some("a raw photo (CR3)"),
        _ => None,
    }
}

/// Signatures of file types: offset, bytes, name, and remedy. The first match applies.
const SIGNATURES: [(usize, &[u8], &str, Remedy); 59] = {
    use Remedy::{ChooseAnother, Convert};
    [
        (8, b"AVI ", "an AVI file", Convert),
        (8, b"WAVE", "a WAV audio file", ChooseAnother),
        (8, b"AIFF", "an AIFF audio file", ChooseAnother),
        (8, b"AIFC", "an AIFF audio file", ChooseAnother),
        (0, b"OggS", "an Ogg file", Convert),
        (0, b"FLV\x01", "a Flash Video (FLV) file", Convert),
        (0, b"FWS", "a Flash (SWF) file", ChooseAnother),
        (0, b"CWS", "a Flash (SWF) file", ChooseAnother),
        (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media (WMV, ASF) file", Convert),
        (0, b"\xb7\xd8\x00\x20\x37\x49\xda\x11", "a Windows TV recording (WTV)", Convert),
        (0, b"\x06\x0e\x2b\x34", "an MXF file", Convert),
        (0, b".RMF", "a RealMedia file", Convert),
        (0, b"DKIF", "an IVF file", Convert),
        (0, b"YUV4MPEG2 ", "an uncompressed video (Y4M)", Convert),
        (0, b"nut/multimedia container", "a NUT file", Convert),
        (0, b"\x1f\x07\x00", "a raw DV stream", Convert),
        (0, b"\x12\x00\x0a", "a raw AV1 stream", Convert),
        (0, b"\x00\x00\x01\xba", "an MPEG program stream (MPG, VOB)", Convert),
        (0, b"\x00\x00\x01\xb3", "a raw MPEG-2 video stream", Convert),
        (0, b"\x00\x00\x01\xb0", "a raw MPEG-4 video stream", Convert),
        (4, b"RED1", "a RED camera (R3D) file", Convert),
        (4, b"RED2", "a RED camera (R3D) file", Convert),
        (4, b"moof", "a fragment of an MP4 file without the file's header", Convert),
        (4, b"sidx", "a fragment of an MP4 file without the file's header", Convert),
        (0, b"#EXTM3U", "an HLS playlist, which only names the video's parts", ChooseAnother),
        (0, b"version https://git-lfs", "a Git LFS pointer", ChooseAnother),
        (0, b"fLaC", "a FLAC audio file", ChooseAnother),
        (0, b"ID3", "an MP3 audio file", ChooseAnother),
        (0, b"\xff\xfb", "an MP3 audio file", ChooseAnother),
        (0, b"\xff\xfa", "an MP3 audio file", ChooseAnother),
        (0, b"\xff\xf3", "an MP3 audio file", ChooseAnother),
        (0, b"\xff\xf2", "an MP3 audio file", ChooseAnother),
        (0, b"\xff\xf1", "an AAC audio file", ChooseAnother),
        (0, b"\xff\xf9", "an AAC audio file", ChooseAnother),
        (0, b"\x0b\x77", "an AC-3 audio file", ChooseAnother),
        (0, b"#!AMR", "an AMR audio file", ChooseAnother),
        (0, b"caff", "a CAF audio file", ChooseAnother),
        (0, b"MThd", "a MIDI file", ChooseAnother),
        (0, b"\xff\xd8\xff", "a JPEG picture", ChooseAnother),
        (0, b"\x89PNG", "a PNG picture", ChooseAnother),
        (0, b"GIF8", "a GIF picture or animation", ChooseAnother),
        (0, b"II*\0", "a TIFF picture", ChooseAnother),
        (0, b"MM\0*", "a TIFF picture", ChooseAnother),
        (4, b"jP  ", "a JPEG 2000 picture", ChooseAnother),
        (0, b"8BPS", "a Photoshop file", ChooseAnother),
        (0, b"PK\x03\x04", "a ZIP archive", ChooseAnother),
        (0, b"PK\x05\x06", "a ZIP archive", ChooseAnother),
        (0, b"Rar!", "a RAR archive", ChooseAnother),
        (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", ChooseAnother),
        (0, b"\x1f\x8b", "a gzip archive", ChooseAnother),
        (0, b"BZh", "a bzip2 archive", ChooseAnother),
        (0, b"\xfd7zXZ\0", "an xz archive", ChooseAnother),
        (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", ChooseAnother),
        (257, b"ustar", "a tar archive", ChooseAnother),
        (0, b"%PDF", "a PDF document", ChooseAnother),
        (0, b"\xd0\xcf\x11\xe0", "an Office document", ChooseAnother),
        (0, b"\x7fELF", "a program", ChooseAnother),
        (0, b"SQLite format 3", "a database", ChooseAnother),
        (0, b"\xff\xfe", "text", ChooseAnother),
    ]
};

/// File types that have no fixed signature.
fn by_structure(head: &[u8]) -> Option<(&'static str, Remedy)> {
    use Remedy::{ChooseAnother, Convert, UploadAgain};
    let repeats = |byte: u8, at: usize, every: usize| (0..2).all(|n| head.get(at + n * every) == Some(&byte));
    if repeats(0x47, 0, 188) || repeats(0x47, 0, 204) {
        return Some(("an MPEG transport stream (TS)", Convert));
    }
    // Each packet follows a 4-byte time stamp.
    if repeats(0x47, 4, 192) {
        return Some(("a transport stream of a camera or a Blu-ray disc (M2TS, MTS)", Convert));
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        const ANIMATED: u8 = 2;
        let animated = head.get(12..16) == Some(b"VP8X") && head.get(20).is_some_and(|flags| flags & ANIMATED != 0);
        return Some((if animated { "an animated WebP picture" } else { "a WebP picture" }, ChooseAnother));
    }
    if let Some(name) = raw_stream(head) {
        return Some((name, Convert));
    }
    if head.is_empty() {
        return None;
    }
    if head.iter().all(|byte| *byte == 0) {
        return Some(("a block of zeros", UploadAgain));
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if text.first() == Some(&b'<') {
        let manifest = text.windows(4).any(|word| word == b"<MPD");
        let name = if manifest { "a DASH manifest, which only names the video's parts" } else { "a web page or XML" };
        return Some((name, ChooseAnother));
    }
    // The head may end within a character.
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => "",
    };
    // Signatures that are also the beginning of words are checked after text.
    match head {
        _ if !whole.is_empty() && is_text(whole) => Some(("text", ChooseAnother)),
        [b'B', b'M', ..] => Some(("a BMP picture", ChooseAnother)),
        [b'M', b'Z', ..] => Some(("a Windows program", ChooseAnother)),
        _ => None,
    }
}

/// The name of an H.264 or HEVC stream without a container, by the first unit after a start code.
fn raw_stream(head: &[u8]) -> Option<&'static str> {
    let unit = head.strip_prefix(b"\0\0\0\x01").or_else(|| head.strip_prefix(b"\0\0\x01"))?;
    match unit {
        // Parameter sets and access unit delimiters. The second byte of HEVC is the layer and temporal id.
        [0x40 | 0x42 | 0x44 | 0x46 | 0x4e, 1, ..] => Some("a raw HEVC (H.265) stream"),
        [0x09 | 0x06 | 0x67 | 0x27 | 0x47, ..] => Some("a raw H.264 stream"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_detected_by_their_first_bytes() {
        assert_eq!(detect(b"\0\0\0\x20ftypisom"), Ok(FileKind::IsoMedia));
        assert_eq!(detect(b"\0\0\0\x08wide\0\0"), Ok(FileKind::IsoMedia));
        assert_eq!(detect(b"\x1a\x45\xdf\xa3\x01"), Ok(FileKind::Matroska));
    }

    #[test]
    fn iso_media_may_begin_with_several_boxes_and_a_text_with_such_a_word_is_text() {
        for kind in ["ftyp", "styp", "uuid", "moov", "mdat", "wide", "free", "skip", "pnot", "junk"] {
            let head = [b"\0\0\0\x20".as_slice(), kind.as_bytes(), b"isom"].concat();
            assert_eq!(detect(&head), Ok(FileKind::IsoMedia), "{kind}");
        }
        assert_eq!(detect(b"\xff\xff\xff\xf0mdat\x12\x34"), Ok(FileKind::IsoMedia), "3.9 GiB of media");
        assert_eq!(detect(b"The free lunch").unwrap_err().name, "text");
    }

    /// A head with these bytes at a position.
    fn at(place: usize, bytes: &[u8]) -> Vec<u8> {
        [vec![0x99; place], bytes.to_vec(), vec![0x99; 512 - place]].concat()
    }

    /// Packets of this length, with a sync byte at position `mark`.
    fn packets(length: usize, mark: usize) -> Vec<u8> {
        (0..512).map(|n| if n % length == mark { 0x47 } else { 0x80 | (n % 7) as u8 }).collect()
    }

    #[test]
    fn other_files_are_named_with_a_remedy() {
        use Remedy::{ChooseAnother, Convert, UploadAgain};
        let files: Vec<(Vec<u8>, &str, Remedy)> = vec![
            (b"RIFF....AVI LIST".to_vec(), "an AVI file", Convert),
            (b"RIFF....WAVEfmt ".to_vec(), "a WAV audio file", ChooseAnother),
            (b"RIFF....WEBPVP8X\x0a\0\0\0\x12\0\0\0".to_vec(), "an animated WebP picture", ChooseAnother),
            (b"RIFF....WEBPVP8X\x0a\0\0\0\x10\0\0\0".to_vec(), "a WebP picture", ChooseAnother),
            (b"RIFF....WEBPVP8 ".to_vec(), "a WebP picture", ChooseAnother),
            (b"OggS\0\x02".to_vec(), "an Ogg file", Convert),
            (b"FLV\x01\x05".to_vec(), "a Flash Video (FLV) file", Convert),
            (at(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9"), "a Windows Media (WMV, ASF) file", Convert),
            (at(0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01"), "an MXF file", Convert),
            (at(0, b"\0\0\x01\xba\x44"), "an MPEG program stream (MPG, VOB)", Convert),
            (packets(188, 0), "an MPEG transport stream (TS)", Convert),
            (packets(204, 0), "an MPEG transport stream (TS)", Convert),
            (packets(192, 4), "a transport stream of a camera or a Blu-ray disc (M2TS, MTS)", Convert),
            (at(0, b"\0\0\0\x01\x67\x64\0\x1f"), "a raw H.264 stream", Convert),
            (at(0, b"\0\0\0\x01\x09\xf0\0\0"), "a raw H.264 stream", Convert),
            (at(0, b"\0\0\x01\x06\x05\xff"), "a raw H.264 stream", Convert),
            (at(0, b"\0\0\0\x01\x40\x01\x0c"), "a raw HEVC (H.265) stream", Convert),
            (at(0, b"\0\0\0\x01\x46\x01\x50"), "a raw HEVC (H.265) stream", Convert),
            (at(0, b"\x12\0\x0a\x0b"), "a raw AV1 stream", Convert),
            (b"\0\0\0\x20moof\0\0".to_vec(), "a fragment of an MP4 file without the file's header", Convert),
            (b"#EXTM3U\n#EXT".to_vec(), "an HLS playlist, which only names the video's parts", ChooseAnother),
            (b"\0\0\0\x1cftypheic".to_vec(), "a HEIF picture", ChooseAnother),
            (b"\0\0\0\x1cftypavif".to_vec(), "an AVIF picture", ChooseAnother),
            (at(0, b"\xff\xd8\xff\xe0"), "a JPEG picture", ChooseAnother),
            (at(0, b"BM\x36\0\0\0\0\0\0\0"), "a BMP picture", ChooseAnother),
            (b"BMW, an essay".to_vec(), "text", ChooseAnother),
            (at(257, b"ustar"), "a tar archive", ChooseAnother),
            (b"<!doctype html>".to_vec(), "a web page or XML", ChooseAnother),
            (
                b"<?xml version='1.0'?><MPD>".to_vec(),
                "a DASH manifest, which only names the video's parts",
                ChooseAnother,
            ),
            (b"hello".to_vec(), "text", ChooseAnother),
            ("grüß".as_bytes()[..6].to_vec(), "text", ChooseAnother),
            ("grüß".as_bytes()[..5].to_vec(), "text", ChooseAnother),
            (vec![0; 512], "a block of zeros", UploadAgain),
            (vec![7, 1, 2, 0x99], "of an unknown kind", ChooseAnother),
            (Vec::new(), "of an unknown kind", ChooseAnother),
        ];
        for (head, name, remedy) in files {
            assert_eq!(detect(&head), Err(UnsupportedFile { name, remedy }));
        }
    }

    #[test]
    fn no_signature_hides_another() {
        for (index, (at, bytes, name, _)) in SIGNATURES.iter().enumerate() {
            let hidden =
                SIGNATURES[..index].iter().find(|(first, prefix, ..)| first == at && bytes.starts_with(prefix));
            assert_eq!(hidden, None, "{name}");
        }
    }
}
