//! Headers of Matroska and WebM (RFC 9559): the list of tracks, which is before the first cluster.

use super::{Header, Track, bytes};
use crate::{
    plan::catalog::Kind,
    source::{blocks::Source, colours::Colours, rotation::Rotation},
};
use clipfleet_domain::failure::Failure;

/// Maximum size of the list of tracks. It contains the codecs' headers, a few KiB each.
const MAX_TRACKS_BYTES: u64 = 4 << 20;

/// Maximum number of elements that are searched for the list of tracks. Writers put only a few before it.
const MAX_ELEMENTS: usize = 64;

mod id {
    pub(super) const EBML: u32 = 0x1A45_DFA3;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const CLUSTER: u32 = 0x1F43_B675;
    pub(super) const TRACKS: u32 = 0x1654_AE6B;
    pub(super) const TRACK_ENTRY: u32 = 0xAE;
    pub(super) const TRACK_NUMBER: u32 = 0xD7;
    pub(super) const TRACK_TYPE: u32 = 0x83;
    pub(super) const FLAG_ENABLED: u32 = 0xB9;
    pub(super) const FLAG_DEFAULT: u32 = 0x88;
    pub(super) const CONTENT_ENCRYPTION: u32 = 0x5035;
    pub(super) const CONTENT_ENCODINGS: u32 = 0x6D80;
    pub(super) const CONTENT_ENCODING: u32 = 0x6240;
    pub(super) const VIDEO: u32 = 0xE0;
    pub(super) const COLOUR: u32 = 0x55B0;
    pub(super) const MATRIX: u32 = 0x55B1;
    pub(super) const RANGE: u32 = 0x55B9;
    pub(super) const TRANSFER: u32 = 0x55BA;
    pub(super) const PRIMARIES: u32 = 0x55BB;
    pub(super) const PROJECTION: u32 = 0x7670;
    pub(super) const YAW: u32 = 0x7673;
    pub(super) const ROLL: u32 = 0x7675;
}

/// Reads the tracks of a source. What cannot be read is left out, and the demuxer reports the error.
pub(super) fn read(source: &Source) -> Result<Header, Failure> {
    let mut position = 0;
    for _ in 0..MAX_ELEMENTS {
        let head = bytes(source, position, 12)?;
        let Some((id, header, size)) = element(&head) else { break };
        match id {
            id::SEGMENT => position += header,
            id::TRACKS => {
                let size = size.unwrap_or(0).min(MAX_TRACKS_BYTES);
                return Ok(header_of(&bytes(source, position + header, size)?));
            }
            id::CLUSTER => break,
            // Only segments and clusters may be of unknown size.
            _ => match size {
                Some(size) if id == id::EBML || position > 0 => position = position.saturating_add(header + size),
                _ => break,
            },
        }
        if position >= source.size() {
            break;
        }
    }
    Ok(Header::default())
}

fn header_of(tracks: &[u8]) -> Header {
    let entries = children(tracks).filter(|(id, _)| *id == id::TRACK_ENTRY);
    Header { tracks: entries.map(|(_, entry)| track(entry)).collect(), ..Header::default() }
}

fn track(entry: &[u8]) -> Track {
    // Both flags are 1 unless the file declares otherwise.
    let mut track = Track { default: true, ..Track::default() };
    for (id, content) in children(entry) {
        match id {
            id::TRACK_NUMBER => track.id = unsigned(content),
            id::TRACK_TYPE => {
                track.kind = match unsigned(content) {
                    1 => Some(Kind::Video),
                    2 => Some(Kind::Audio),
                    _ => None,
                };
            }
            id::FLAG_ENABLED => track.disabled = unsigned(content) == 0,
            id::FLAG_DEFAULT => track.default = unsigned(content) != 0,
            id::CONTENT_ENCODINGS => {
                let encodings = children(content).filter(|(id, _)| *id == id::CONTENT_ENCODING);
                let mut encodings = encodings.flat_map(|(_, encoding)| children(encoding));
                track.encrypted = encodings.any(|(id, _)| id == id::CONTENT_ENCRYPTION);
            }
            id::VIDEO => video(&mut track, content),
            _ => {}
        }
    }
    track
}

fn video(track: &mut Track, content: &[u8]) {
    for (id, content) in children(content) {
        match id {
            id::COLOUR => track.colours = colours(content),
            id::PROJECTION => track.rotation = rotation(content),
            _ => {}
        }
    }
}

fn colours(content: &[u8]) -> Colours {
    let declared = |wanted| children(content).find(|(id, _)| *id == wanted).map(|(_, content)| unsigned(content));
    let code = |wanted| declared(wanted).and_then(|code| u8::try_from(code).ok()).unwrap_or(2);
    // 0 is "unspecified", 3 "by matrix and transfer".
    let full_range = match declared(id::RANGE) {
        Some(1) => Some(false),
        Some(2) => Some(true),
        _ => None,
    };
    Colours::from_codes(full_range, code(id::MATRIX), code(id::TRANSFER), code(id::PRIMARIES))
}

/// The rotation of a flat projection: `ProjectionPoseRoll` is in degrees counter-clockwise, and a yaw of 180 degrees
/// mirrors.
fn rotation(projection: &[u8]) -> Option<Rotation> {
    let degrees =
        |wanted| children(projection).find(|(id, _)| *id == wanted).map_or(0.0, |(_, content)| float(content));
    let (roll, yaw) = (degrees(id::ROLL).rem_euclid(360.0), degrees(id::YAW).rem_euclid(360.0));
    let mirrored = (yaw - 180.0).abs() < 1.0;
    let quarters = (roll / 90.0).round();
    if (roll - quarters * 90.0).abs() > 1.0 {
        return None;
    }
    Some(match (quarters as u32 % 4, mirrored) {
        (0, false) => Rotation::None,
        (1, false) => Rotation::Left,
        (2, false) => Rotation::Half,
        (3, false) => Rotation::Right,
        (0, true) => Rotation::MirrorHorizontal,
        (1, true) => Rotation::Transverse,
        (2, true) => Rotation::MirrorVertical,
        _ => Rotation::Transpose,
    })
}

/// Id, length of the header, and size (unless unknown) of the element that begins here.
fn element(head: &[u8]) -> Option<(u32, u64, Option<u64>)> {
    let width = head.first()?.leading_zeros() as usize + 1;
    let id = head.get(..width).filter(|_| width <= 4)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let rest = &head[width..];
    let marker = rest.first()?.leading_zeros() as usize + 1;
    let digits = rest.get(..marker).filter(|_| marker <= 8)?;
    let first = u64::from(digits[0]) & ((1 << (8 - marker)) - 1);
    let size = digits[1..].iter().fold(first, |size, byte| size << 8 | u64::from(*byte));
    let unknown = size == (1 << (7 * marker)) - 1;
    Some((id, (width + marker) as u64, (!unknown).then_some(size)))
}

/// The child elements, up to the first broken one.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, header, size) = element(bytes)?;
        let content = bytes.get(header as usize..)?;
        let content = content.get(..usize::try_from(size?).ok()?)?;
        bytes = &bytes[header as usize + content.len()..];
        Some((id, content))
    })
}

fn unsigned(content: &[u8]) -> u64 {
    content.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn float(content: &[u8]) -> f64 {
    match content.len() {
        4 => content.try_into().map_or(0.0, |bytes| f64::from(f32::from_be_bytes(bytes))),
        8 => content.try_into().map_or(0.0, f64::from_be_bytes),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: u32, content: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [id, vec![0x40 | (content.len() >> 8) as u8, content.len() as u8], content.to_vec()].concat()
    }

    fn rolled(roll: f32, yaw: f32) -> Option<Rotation> {
        rotation(&[of(id::ROLL, &roll.to_be_bytes()), of(id::YAW, &f64::from(yaw).to_be_bytes())].concat())
    }

    #[test]
    fn tracks_are_read_with_flags_colours_and_rotation() {
        let colour = [of(id::RANGE, &[2]), of(id::MATRIX, &[1]), of(id::TRANSFER, &[1])].concat();
        let projection = of(id::PROJECTION, &of(id::ROLL, &(-90.0_f32).to_be_bytes()));
        let video = of(id::VIDEO, &[of(id::COLOUR, &colour), projection].concat());
        let first = of(id::TRACK_ENTRY, &[of(id::TRACK_NUMBER, &[1]), of(id::TRACK_TYPE, &[1]), video].concat());
        let encryption = of(id::CONTENT_ENCODINGS, &of(id::CONTENT_ENCODING, &of(id::CONTENT_ENCRYPTION, &[])));
        let second = [of(id::TRACK_NUMBER, &[2]), of(id::TRACK_TYPE, &[2]), of(id::FLAG_DEFAULT, &[0]), encryption];
        let header = header_of(&[first, of(id::TRACK_ENTRY, &second.concat())].concat());
        let [video, audio] = header.tracks.as_slice() else { panic!("{header:?}") };
        assert_eq!((video.id, video.kind, video.default), (1, Some(Kind::Video), true));
        assert_eq!(video.colours, Colours::from_codes(Some(true), 1, 1, 2));
        assert_eq!(video.rotation, Some(Rotation::Right));
        assert_eq!((audio.id, audio.default, audio.encrypted), (2, false, true));
    }

    #[test]
    fn roll_is_counter_clockwise_and_a_yaw_of_180_degrees_mirrors() {
        assert_eq!(rolled(90.0, 0.0), Some(Rotation::Left));
        assert_eq!(rolled(180.0, 0.0), Some(Rotation::Half));
        assert_eq!(rolled(0.0, 180.0), Some(Rotation::MirrorHorizontal));
        assert_eq!(rolled(12.0, 0.0), None);
    }

    #[test]
    fn sizes_of_every_width_and_unknown_sizes_are_read() {
        assert_eq!(element(&[0xAE, 0x85]), Some((0xAE, 2, Some(5))));
        assert_eq!(element(&[0x16, 0x54, 0xAE, 0x6B, 0x41, 0x00]), Some((id::TRACKS, 6, Some(0x100))));
        assert_eq!(element(&[0x18, 0x53, 0x80, 0x67, 0xFF]), Some((id::SEGMENT, 5, None)));
        assert_eq!(element(&[0x18, 0x53, 0x80, 0x67, 0x01, 255, 255, 255, 255, 255, 255, 255]).unwrap().2, None);
        assert_eq!(element(&[0]), None);
    }
}
