//! The tracks that the header of an MP4 or QuickTime file declares (ISO/IEC 14496-12 and the QuickTime File Format).

use super::{
    colour::{Declared, Range},
    orientation::Orientation,
    tracks::{Bytes, Track, number, vp_configuration},
};
use crate::plan::catalog::Kind;

/// Maximum number of boxes that are read within one box. A damaged file may declare any number.
const MAX_BOXES: usize = 4_096;

/// Maximum number of bytes that are read of a box. The boxes that are read here are far smaller.
const MAX_CONTENT: u64 = 1 << 20;

/// The position of a box's content.
#[derive(Debug, Clone, Copy)]
struct Content {
    kind: [u8; 4],
    begin: u64,
    end: u64,
}

struct File<'a, B: ?Sized>(&'a B);

impl<B: Bytes + ?Sized> File<'_, B> {
    /// The boxes in a range of the file. The content of boxes is not read.
    fn boxes(&self, mut begin: u64, end: u64, until: Option<&[u8; 4]>) -> Vec<Content> {
        let mut boxes = Vec::new();
        while begin + 8 <= end && boxes.len() < MAX_BOXES {
            let Some(head) = self.0.read(begin, 16) else { break };
            let (Some(size), Some(kind)) = (head.get(..4).and_then(number), head.get(4..8)) else { break };
            let (header, size) = match size {
                0 => (8, end - begin),
                1 => (16, head.get(8..16).and_then(number).unwrap_or(0)),
                size => (8, size),
            };
            if size < header || size > end - begin {
                break;
            }
            let kind: [u8; 4] = kind.try_into().unwrap_or_default();
            boxes.push(Content { kind, begin: begin + header, end: begin + size });
            if until == Some(&kind) {
                break;
            }
            begin += size;
        }
        boxes
    }

    fn find(&self, within: Content, kind: &[u8; 4]) -> Option<Content> {
        self.boxes(within.begin, within.end, Some(kind)).into_iter().find(|found| found.kind == *kind)
    }

    fn content(&self, found: Content) -> Option<Vec<u8>> {
        self.0.read(found.begin, (found.end - found.begin).min(MAX_CONTENT) as usize)
    }

    fn track(&self, trak: Content, movie: Orientation) -> Option<Track> {
        let tkhd = self.content(self.find(trak, b"tkhd")?)?;
        let mdia = self.find(trak, b"mdia")?;
        let handler = self.content(self.find(mdia, b"hdlr")?)?;
        let kind = match handler.get(8..12)? {
            b"vide" => Kind::Video,
            b"soun" => Kind::Audio,
            _ => return None,
        };
        let minf = self.find(mdia, b"minf")?;
        let stsd = self.content(self.find(self.find(minf, b"stbl")?, b"stsd")?)?;
        let entry = stsd.get(8..)?;
        let entry = entry.get(..number(entry.get(..4)?)? as usize).unwrap_or(entry);
        let wide = tkhd.first() == Some(&1);
        let (id, matrix) = if wide { (20, 52) } else { (12, 40) };
        let mut track = Track {
            id: number(tkhd.get(id..id + 4)?)?,
            kind,
            codec: entry.get(4..8)?.to_vec(),
            default: tkhd.get(3)? & 1 == 1,
            size: (0, 0),
            colours: Declared::default(),
            orientation: matrix_at(&tkhd, matrix).map(|track| track.then(movie)),
            configuration: Vec::new(),
        };
        if kind == Kind::Video {
            describe(&mut track, entry);
        }
        Some(track)
    }
}

/// The tracks of a file; `None` if it has no header.
pub fn tracks(bytes: &(impl Bytes + ?Sized)) -> Option<Vec<Track>> {
    let file = File(bytes);
    let moov = file.boxes(0, bytes.size(), Some(b"moov")).into_iter().find(|found| found.kind == *b"moov")?;
    let mvhd = file.content(file.find(moov, b"mvhd")?)?;
    let matrix = if mvhd.first() == Some(&1) { 48 } else { 36 };
    let movie = matrix_at(&mvhd, matrix).unwrap_or_default();
    let traks = file.boxes(moov.begin, moov.end, None).into_iter().filter(|found| found.kind == *b"trak");
    Some(traks.filter_map(|trak| file.track(trak, movie)).collect())
}

/// The first four numbers of a matrix: `a b u c d v x y w`, of which u and v are 0.
fn matrix_at(content: &[u8], position: usize) -> Option<Orientation> {
    let at = |index: usize| {
        let bytes = content.get(position + 4 * index..position + 4 * index + 4)?;
        Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)))
    };
    Orientation::from_matrix([at(0)?, at(1)?, at(3)?, at(4)?])
}

/// Reads a video sample description.
fn describe(track: &mut Track, entry: &[u8]) {
    let side = |at: usize| entry.get(at..at + 2).and_then(number).unwrap_or(0) as u32;
    track.size = (side(32), side(34));
    let mut rest = entry.get(86..).unwrap_or_default();
    while let Some(size) = rest.get(..4).and_then(number).filter(|size| *size >= 8) {
        let Some(found) = rest.get(..size as usize) else { break };
        let content = &found[8..];
        match &found[4..8] {
            b"colr" => track.colours = colour_box(content).unwrap_or_default().or(track.colours),
            b"vpcC" => {
                let declared = content.get(4..).and_then(vp_configuration);
                track.colours = track.colours.or(declared.unwrap_or_default());
            }
            b"avcC" | b"hvcC" | b"av1C" | b"esds" => track.configuration = content.to_vec(),
            _ => {}
        }
        rest = &rest[size as usize..];
    }
}

/// The codec's number in the content of an `esds` box (ISO/IEC 14496-1, 7.2.6.6), for example 0x20 for MPEG-4 and 0x6c
/// for JPEG.
pub fn object_type(content: &[u8]) -> Option<u8> {
    let stream = descriptor(content.get(4..)?, 3)?;
    let flags = stream.get(2)?;
    let depends = if flags & 0x80 != 0 { 2 } else { 0 };
    let located = if flags & 0x40 != 0 { 1 + usize::from(*stream.get(3 + depends)?) } else { 0 };
    let clocked = if flags & 0x20 != 0 { 2 } else { 0 };
    descriptor(stream.get(3 + depends + located + clocked..)?, 4)?.first().copied()
}

/// The content of a descriptor, after the tag and the length, which has up to four bytes.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&[tag])?;
    let length = rest.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    rest.get(length..)
}

/// `nclx` of MP4 has a flag for full range; `nclc` of QuickTime has none.
fn colour_box(content: &[u8]) -> Option<Declared> {
    let code = |at: usize| content.get(at..at + 2).and_then(number).map(|code| code as u32);
    let range = match content.get(..4)? {
        b"nclx" => Some(if content.get(10)? & 128 != 0 { Range::Full } else { Range::Limited }),
        b"nclc" => None,
        _ => return None,
    };
    Some(Declared::from_codes(range, code(6)?, code(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::colour::Matrix;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(8 + content.len() as u32).to_be_bytes()[..], kind, content].concat()
    }

    fn matrix(numbers: [i32; 4]) -> Vec<u8> {
        let [a, b, c, d] = numbers.map(|number| number << 16);
        [a, b, 0, c, d, 0, 0, 0, 1 << 30].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn file() -> Vec<u8> {
        let tkhd =
            [&[0, 0, 0, 1][..], &[0; 8], &7_u32.to_be_bytes(), &[0; 24], &matrix([0, 1, -1, 0]), &[0; 8]].concat();
        let hdlr = [&[0; 8][..], b"vide", &[0; 12]].concat();
        let colr = boxed(b"colr", &[&b"nclx"[..], &[0, 1, 0, 16, 0, 9, 0x80]].concat());
        let entry = [&[0; 24][..], &1_920_u16.to_be_bytes(), &1_080_u16.to_be_bytes(), &[0; 50], &colr].concat();
        let stsd = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(b"avc1", &entry)].concat();
        let minf = boxed(b"minf", &boxed(b"stbl", &boxed(b"stsd", &stsd)));
        let mdia = boxed(b"mdia", &[boxed(b"hdlr", &hdlr), minf].concat());
        let trak = boxed(b"trak", &[boxed(b"tkhd", &tkhd), mdia].concat());
        let mvhd = boxed(b"mvhd", &[&[0; 36][..], &matrix([1, 0, 0, 1]), &[0; 28]].concat());
        let moov = boxed(b"moov", &[mvhd, trak].concat());
        [boxed(b"ftyp", b"isom"), boxed(b"mdat", &[0; 100]), moov].concat()
    }

    #[test]
    fn a_track_is_read_with_its_size_colours_and_orientation() {
        let tracks = tracks(file().as_slice()).expect("a header");
        let [track] = tracks.as_slice() else { panic!("{tracks:?}") };
        assert_eq!((track.id, track.kind, track.codec.as_slice()), (7, Kind::Video, &b"avc1"[..]));
        assert_eq!((track.default, track.size), (true, (1_920, 1_080)));
        let colours = Declared { range: Some(Range::Full), matrix: Some(Matrix::Bt2020), high_range: true };
        assert_eq!(track.colours, colours);
        assert_eq!(track.orientation, Orientation::from_rotation(90.0, false));
    }

    #[test]
    fn the_codec_of_an_elementary_stream_is_read_after_its_optional_fields() {
        // As FFmpeg writes it: 4-byte lengths and no optional fields.
        let plain = [&[0; 4][..], &[3, 0x80, 0x80, 0x80, 27, 0, 1, 0, 4, 0x80, 0x80, 0x80, 13, 0x6c]].concat();
        assert_eq!(object_type(&plain), Some(0x6c));
        let full = [&[0; 4][..], &[3, 34, 0, 1, 0xe0, 9, 9, 2, b'a', b'b', 9, 9, 4, 13, 0x61]].concat();
        assert_eq!(object_type(&full), Some(0x61));
        (0..full.len()).for_each(|length| assert_eq!(object_type(&full[..length]), None, "{length} bytes"));
    }

    #[test]
    fn damaged_headers_end_and_give_what_was_read() {
        let file = file();
        for length in 0..file.len() {
            let _ = tracks(&file[..length]);
        }
        for position in 0..file.len() {
            let mut damaged = file.clone();
            damaged[position] = 0xff;
            let _ = tracks(damaged.as_slice());
        }
        assert!(tracks(b"no header at all".as_slice()).is_none());
    }
}
