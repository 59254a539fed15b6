//! The tracks that the header of a Matroska or WebM file declares (RFC 9559).

use super::{
    colour::{Declared, Range},
    orientation::Orientation,
    tracks::{Bytes, Track, number},
};
use crate::plan::catalog::Kind;

const EBML: u64 = 0x1a45_dfa3;
const SEGMENT: u64 = 0x1853_8067;
const SEEK_HEAD: u64 = 0x114d_9b74;
const CLUSTER: u64 = 0x1f43_b675;
const TRACKS: u64 = 0x1654_ae6b;

/// Maximum number of elements that are read on one level. A damaged file may contain any number.
const MAX_ELEMENTS: usize = 4_096;

/// Maximum number of bytes that are read of the list of tracks. Fonts and pictures are in other elements.
const MAX_TRACKS: u64 = 4 << 20;

/// An element: its id and its content.
type Element<'a> = (u64, &'a [u8]);

/// The tracks of a file; `None` if their list is not found.
pub fn tracks(bytes: &(impl Bytes + ?Sized)) -> Option<Vec<Track>> {
    let (mut position, end) = segment(bytes)?;
    let begin = position;
    let mut seeks = Vec::new();
    for _ in 0..MAX_ELEMENTS {
        let (id, content, next) = element_at(bytes, position, end)?;
        match id {
            TRACKS => return list(bytes, content, next),
            SEEK_HEAD => seeks = bytes.read(content, (next - content).min(MAX_TRACKS) as usize)?,
            // After the first cluster, only the index helps.
            CLUSTER => break,
            _ => {}
        }
        position = next;
    }
    let entry = children(&seeks).find_map(|(id, entry)| {
        let field = |wanted| children(entry).find(|(id, _)| *id == wanted).and_then(|(_, content)| number(content));
        (id == 0x4dbb && field(0x53ab) == Some(TRACKS)).then(|| field(0x53ac)).flatten()
    })?;
    let (id, content, next) = element_at(bytes, begin.checked_add(entry)?, end)?;
    (id == TRACKS).then(|| list(bytes, content, next)).flatten()
}

/// Start and end of the content of the file's segment.
fn segment(bytes: &(impl Bytes + ?Sized)) -> Option<(u64, u64)> {
    let (id, _, next) = element_at(bytes, 0, bytes.size())?;
    let (segment, content, end) = element_at(bytes, next, bytes.size())?;
    (id == EBML && segment == SEGMENT).then_some((content, end))
}

/// The id of an element in the file, and start and end of its content.
fn element_at(bytes: &(impl Bytes + ?Sized), position: u64, end: u64) -> Option<(u64, u64, u64)> {
    let head = bytes.read(position, 12)?;
    let (id, size, header) = header(&head)?;
    let content = position + header as u64;
    // An element of unknown size, as in live recordings, extends to the end.
    let next = size.map_or(end, |size| content.saturating_add(size).min(end));
    (content <= end).then_some((id, content, next))
}

/// Id, size and header length of an element. A size with all bits set is unknown.
fn header(bytes: &[u8]) -> Option<(u64, Option<u64>, usize)> {
    let width = bytes.first()?.leading_zeros() as usize + 1;
    let id = number(bytes.get(..width).filter(|_| width <= 4)?)?;
    let rest = &bytes[width..];
    let size_width = rest.first()?.leading_zeros() as usize + 1;
    let size = number(rest.get(..size_width).filter(|_| size_width <= 8)?)?;
    let mask = (1_u64 << (7 * size_width)) - 1;
    Some((id, Some(size & mask).filter(|size| *size != mask), width + size_width))
}

fn children(bytes: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (id, size, header) = header(rest)?;
        let content = rest.get(header..)?;
        let content = content.get(..usize::try_from(size?).ok()?).unwrap_or(content);
        rest = &rest[header + content.len()..];
        Some((id, content))
    })
    .take(MAX_ELEMENTS)
}

fn list(bytes: &(impl Bytes + ?Sized), begin: u64, end: u64) -> Option<Vec<Track>> {
    let content = bytes.read(begin, (end - begin).min(MAX_TRACKS) as usize)?;
    Some(children(&content).filter(|(id, _)| *id == 0xae).filter_map(|(_, entry)| track(entry)).collect())
}

fn track(entry: &[u8]) -> Option<Track> {
    let mut kind = None;
    let mut track = Track {
        id: 0,
        kind: Kind::Video,
        codec: Vec::new(),
        default: true,
        size: (0, 0),
        colours: Declared::default(),
        orientation: Some(Orientation::default()),
        configuration: Vec::new(),
    };
    for (id, content) in children(entry) {
        match id {
            0xd7 => track.id = number(content)?,
            0x83 => kind = number(content),
            // A track is enabled and default unless it declares otherwise.
            0x88 | 0xb9 => track.default &= number(content)? != 0,
            0x86 => track.codec = content.iter().copied().take_while(|byte| *byte != 0).collect(),
            0x63a2 => track.configuration = content.to_vec(),
            0xe0 => video(&mut track, content),
            _ => {}
        }
    }
    track.kind = match kind? {
        1 => Kind::Video,
        2 => Kind::Audio,
        _ => return None,
    };
    Some(track)
}

fn video(track: &mut Track, content: &[u8]) {
    for (id, content) in children(content) {
        match id {
            0xb0 => track.size.0 = number(content).unwrap_or(0) as u32,
            0xba => track.size.1 = number(content).unwrap_or(0) as u32,
            0x55b0 => track.colours = colours(content),
            0x7670 => track.orientation = projection(content),
            _ => {}
        }
    }
}

fn colours(content: &[u8]) -> Declared {
    let field = |wanted| children(content).find(|(id, _)| *id == wanted).and_then(|(_, content)| number(content));
    let range = match field(0x55b9) {
        Some(1) => Some(Range::Limited),
        Some(2) => Some(Range::Full),
        _ => None,
    };
    Declared::from_codes(range, field(0x55ba).unwrap_or(2) as u32, field(0x55b1).unwrap_or(2) as u32)
}

/// A flat picture may be rolled (counter-clockwise, in degrees), and mirrored by a yaw of 180 degrees.
fn projection(content: &[u8]) -> Option<Orientation> {
    let field = |wanted| children(content).find(|(id, _)| *id == wanted).map(|(_, content)| content);
    let degrees = |wanted| field(wanted).map_or(Some(0.0), float);
    if field(0x7671).and_then(number).unwrap_or(0) != 0 || degrees(0x7674)? != 0.0 {
        return None;
    }
    let (yaw, roll) = (degrees(0x7673)?, degrees(0x7675)?);
    let mirrored = yaw != 0.0;
    if mirrored && yaw.abs() != 180.0 {
        return None;
    }
    // As in FFmpeg: rotated first and mirrored then, with the opposite roll.
    let turned = Orientation::from_rotation(if mirrored { roll } else { -roll }, false)?;
    let mirror = Orientation::from_rotation(0.0, mirrored)?;
    Some(turned.then(mirror))
}

fn float(content: &[u8]) -> Option<f64> {
    match content.len() {
        0 => Some(0.0),
        4 => Some(f64::from(f32::from_be_bytes(content.try_into().ok()?))),
        8 => Some(f64::from_be_bytes(content.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::colour::Matrix;

    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        [
            id,
            &[
                0x10 | (content.len() >> 24) as u8,
                (content.len() >> 16) as u8,
                (content.len() >> 8) as u8,
                content.len() as u8,
            ],
            content,
        ]
        .concat()
    }

    fn file(roll: f32) -> Vec<u8> {
        let colour = [element(&[0x55, 0xb1], &[6]), element(&[0x55, 0xb9], &[2])].concat();
        let projection = element(&[0x76, 0x75], &roll.to_be_bytes());
        let video = [
            element(&[0xb0], &640_u16.to_be_bytes()),
            element(&[0xba], &360_u16.to_be_bytes()),
            element(&[0x55, 0xb0], &colour),
            element(&[0x76, 0x70], &projection),
        ];
        let entry = [
            element(&[0xd7], &[3]),
            element(&[0x83], &[1]),
            element(&[0x88], &[0]),
            element(&[0x86], b"V_VP9\0"),
            element(&[0xe0], &video.concat()),
        ];
        let tracks = element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &entry.concat()));
        // A segment of unknown size, as in a live recording.
        let segment = [&[0x18, 0x53, 0x80, 0x67, 0xff][..], &element(&[0xec], &[0; 9]), &tracks].concat();
        [element(&[0x1a, 0x45, 0xdf, 0xa3], b"header"), segment].concat()
    }

    #[test]
    fn a_track_is_read_with_its_size_colours_and_orientation() {
        let tracks = tracks(file(90.0).as_slice()).expect("a list of tracks");
        let [track] = tracks.as_slice() else { panic!("{tracks:?}") };
        assert_eq!((track.id, track.kind, track.codec.as_slice()), (3, Kind::Video, &b"V_VP9"[..]));
        assert_eq!((track.default, track.size), (false, (640, 360)));
        let colours = Declared { range: Some(Range::Full), matrix: Some(Matrix::Bt601), high_range: false };
        assert_eq!(track.colours, colours);
        // A roll is counter-clockwise.
        assert_eq!(track.orientation, Orientation::from_rotation(270.0, false));
    }

    #[test]
    fn damaged_headers_end_and_give_what_was_read() {
        let file = file(0.0);
        for length in 0..file.len() {
            let _ = tracks(&file[..length]);
        }
        for position in 0..file.len() {
            for value in [0, 0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[position] = value;
                let _ = tracks(damaged.as_slice());
            }
        }
    }
}
