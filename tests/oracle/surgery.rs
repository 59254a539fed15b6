//! Edits of files that FFmpeg cannot write: edit lists, display matrices and colour tags of MP4, poses and colour tags
//! of Matroska.

use crate::source::Orientation;
use clipfleet_tests::webm::{Element, children, element};
use std::path::Path;

/// A box of an MP4.
#[derive(Debug, Clone)]
struct Mp4Box {
    kind: [u8; 4],
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    Boxes(Vec<Mp4Box>),
}

const PARENTS: [&[u8; 4]; 6] = [b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"];

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn parse(mut bytes: &[u8]) -> Vec<Mp4Box> {
    let mut boxes = Vec::new();
    while bytes.len() >= 8 {
        let size = be32(bytes, 0) as usize;
        assert!(size >= 8 && size <= bytes.len(), "a box of {size} bytes in {}", bytes.len());
        let kind: [u8; 4] = bytes[4..8].try_into().expect("4 bytes");
        let inner = &bytes[8..size];
        let content =
            if PARENTS.contains(&&kind) { Content::Boxes(parse(inner)) } else { Content::Bytes(inner.to_vec()) };
        boxes.push(Mp4Box { kind, content });
        bytes = &bytes[size..];
    }
    boxes
}

impl Mp4Box {
    fn write(&self, bytes: &mut Vec<u8>) {
        let begin = bytes.len();
        bytes.extend([0; 4]);
        bytes.extend(self.kind);
        match &self.content {
            Content::Bytes(inner) => bytes.extend(inner),
            Content::Boxes(boxes) => boxes.iter().for_each(|inner| inner.write(bytes)),
        }
        let size = (bytes.len() - begin) as u32;
        bytes[begin..begin + 4].copy_from_slice(&size.to_be_bytes());
    }

    fn boxes(&mut self) -> &mut Vec<Mp4Box> {
        match &mut self.content {
            Content::Boxes(boxes) => boxes,
            Content::Bytes(_) => panic!("{} holds no boxes", String::from_utf8_lossy(&self.kind)),
        }
    }

    fn child(&mut self, kind: &[u8; 4]) -> Option<&mut Mp4Box> {
        self.boxes().iter_mut().find(|child| child.kind == *kind)
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        match &mut self.content {
            Content::Bytes(bytes) => bytes,
            Content::Boxes(_) => panic!("{} holds boxes", String::from_utf8_lossy(&self.kind)),
        }
    }

    /// The bytes of the box at the end of a path.
    fn at(&mut self, path: &[&[u8; 4]]) -> Option<&mut Vec<u8>> {
        let mut here = self;
        for kind in path {
            here = here.child(kind)?;
        }
        Some(here.bytes())
    }

    fn tracks(&mut self) -> impl Iterator<Item = &mut Mp4Box> {
        self.boxes().iter_mut().filter(|child| child.kind == *b"trak")
    }

    fn is_video(&mut self) -> bool {
        self.at(&[b"mdia", b"hdlr"]).is_some_and(|hdlr| &hdlr[8..12] == b"vide")
    }
}

/// Changes the header of an MP4, wherever it is. If a header before the media grows, the chunk offsets are corrected.
fn change_header(path: &Path, change: impl FnOnce(&mut Mp4Box)) {
    let bytes = std::fs::read(path).expect("the source");
    let (begin, end) = header_range(&bytes);
    let mut header = parse(&bytes[begin..end]).swap_remove(0);
    change(&mut header);
    let mut written = Vec::new();
    header.write(&mut written);
    let growth = written.len() as i64 - (end - begin) as i64;
    let media_behind = find_box(&bytes, b"mdat").is_some_and(|media| media > begin);
    if media_behind && growth != 0 {
        header.tracks().for_each(|track| shift_chunks(track, growth));
        written.clear();
        header.write(&mut written);
    }
    std::fs::write(path, [&bytes[..begin], &written, &bytes[end..]].concat()).expect("the source");
}

fn shift_chunks(track: &mut Mp4Box, growth: i64) {
    if let Some(table) = track.at(&[b"mdia", b"minf", b"stbl", b"stco"]) {
        for at in (8..table.len()).step_by(4) {
            let moved = (i64::from(be32(table, at)) + growth) as u32;
            table[at..at + 4].copy_from_slice(&moved.to_be_bytes());
        }
    }
}

fn find_box(bytes: &[u8], kind: &[u8; 4]) -> Option<usize> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        if &bytes[at + 4..at + 8] == kind {
            return Some(at);
        }
        at += match be32(bytes, at) {
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().expect("8 bytes")) as usize,
            size => (size as usize).max(8),
        };
    }
    None
}

fn header_range(bytes: &[u8]) -> (usize, usize) {
    let begin = find_box(bytes, b"moov").expect("a header");
    (begin, begin + be32(bytes, begin) as usize)
}

/// Marks the pictures of an MP4 as rotated. Like phones, it moves the rotated picture back into view.
pub(crate) fn turn_mp4(path: &Path, orientation: Orientation) {
    change_header(path, |header| {
        for track in header.tracks() {
            if !track.is_video() {
                continue;
            }
            let tkhd = track.at(&[b"tkhd"]).expect("a track header");
            assert_eq!(tkhd[0], 0, "a header of version 0");
            let (width, height) = (be32(tkhd, 76) as i32, be32(tkhd, 80) as i32);
            const ONE: i32 = 0x1_0000;
            let [a, b, c, d, x, y] = match orientation {
                Orientation::Upright => [ONE, 0, 0, ONE, 0, 0],
                Orientation::Right => [0, ONE, -ONE, 0, height, 0],
                Orientation::Half => [-ONE, 0, 0, -ONE, width, height],
                Orientation::Left => [0, -ONE, ONE, 0, 0, width],
                Orientation::MirrorHorizontal => [-ONE, 0, 0, ONE, width, 0],
                Orientation::MirrorVertical => [ONE, 0, 0, -ONE, 0, height],
            };
            for (index, value) in [a, b, 0, c, d, 0, x, y, 0x4000_0000].into_iter().enumerate() {
                tkhd[40 + index * 4..44 + index * 4].copy_from_slice(&value.to_be_bytes());
            }
        }
    });
}

/// Replaces the edit lists of all tracks: of what they kept so far, only these parts remain, milliseconds.
pub(crate) fn edit_mp4(path: &Path, parts: &[(u32, u32)]) {
    change_header(path, |header| {
        let movie_scale = be32(header.at(&[b"mvhd"]).expect("a movie header"), 12);
        let in_movie = |ms: u32| (u64::from(ms) * u64::from(movie_scale) / 1_000) as u32;
        let length: u32 = parts.iter().map(|(from, to)| in_movie(to - from)).sum();
        for track in header.tracks() {
            let scale = be32(track.at(&[b"mdia", b"mdhd"]).expect("a media header"), 12);
            let first = track.at(&[b"edts", b"elst"]).map_or(0, |list| first_media_time(list));
            let mut list = vec![0; 4];
            list.extend((parts.len() as u32).to_be_bytes());
            for (from, to) in parts {
                let media_time = first + (u64::from(*from) * u64::from(scale) / 1_000) as u32;
                list.extend([in_movie(to - from), media_time, 0x1_0000].into_iter().flat_map(u32::to_be_bytes));
            }
            let list = Mp4Box { kind: *b"elst", content: Content::Bytes(list) };
            let edits = Mp4Box { kind: *b"edts", content: Content::Boxes(vec![list]) };
            track.boxes().retain(|child| child.kind != *b"edts");
            track.boxes().insert(1, edits);
            track.at(&[b"tkhd"]).expect("a track header")[20..24].copy_from_slice(&length.to_be_bytes());
        }
        header.at(&[b"mvhd"]).expect("a movie header")[16..20].copy_from_slice(&length.to_be_bytes());
    });
}

/// An entry of an edit list that presents media, seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit {
    /// Its start on the file's timeline.
    pub(crate) movie: f64,
    /// Its start in the track's media.
    pub(crate) media: f64,
    pub(crate) length: f64,
}

/// The edit list of an MP4's track: the entries that present media. A track without a list is presented completely.
pub(crate) fn edit_list(path: &Path, track: usize) -> Vec<Edit> {
    let bytes = std::fs::read(path).expect("the source");
    let (begin, end) = header_range(&bytes);
    let mut header = parse(&bytes[begin..end]).swap_remove(0);
    let movie_scale = f64::from(be32(header.at(&[b"mvhd"]).expect("a movie header"), 12));
    let track = header.tracks().nth(track).expect("a track");
    let scale = f64::from(be32(track.at(&[b"mdia", b"mdhd"]).expect("a media header"), 12));
    let Some(list) = track.at(&[b"edts", b"elst"]) else {
        return vec![Edit { movie: 0.0, media: 0.0, length: f64::INFINITY }];
    };
    assert_eq!(list[0], 0, "a list of version 0");
    let (mut edits, mut elapsed) = (Vec::new(), 0.0);
    for at in (8..list.len()).step_by(12) {
        let (length, media_time) = (f64::from(be32(list, at)) / movie_scale, be32(list, at + 4));
        if media_time != u32::MAX {
            edits.push(Edit { movie: elapsed, media: f64::from(media_time) / scale, length });
        }
        elapsed += length;
    }
    edits
}

/// Makes the last picture of an MP4 last until a time, milliseconds: in its table, its track and its edit list.
pub(crate) fn hold_last_picture(path: &Path, until_ms: u32) {
    change_header(path, |header| {
        let movie_scale = be32(header.at(&[b"mvhd"]).expect("a movie header"), 12);
        for track in header.tracks() {
            if !track.is_video() {
                continue;
            }
            let media_header = track.at(&[b"mdia", b"mdhd"]).expect("a media header");
            let scale = be32(media_header, 12);
            let length = (u64::from(until_ms) * u64::from(scale) / 1_000) as u32;
            media_header[16..20].copy_from_slice(&length.to_be_bytes());
            let table = track.at(&[b"mdia", b"minf", b"stbl", b"stts"]).expect("a table of times");
            // The last picture gets its own row.
            let rows = be32(table, 4);
            let row = |table: &[u8], row: u32| (be32(table, 8 + row as usize * 8), be32(table, 12 + row as usize * 8));
            let before: u32 = (0..rows).map(|index| row(table, index)).map(|(count, delta)| count * delta).sum();
            let (count, delta) = row(table, rows - 1);
            let lasting = length - (before - delta);
            if count == 1 {
                let end = table.len();
                table[end - 4..].copy_from_slice(&lasting.to_be_bytes());
            } else {
                let end = table.len();
                table[end - 8..end - 4].copy_from_slice(&(count - 1).to_be_bytes());
                table.extend([1, lasting].into_iter().flat_map(u32::to_be_bytes));
                table[4..8].copy_from_slice(&(rows + 1).to_be_bytes());
            }
            let shown = (u64::from(until_ms) * u64::from(movie_scale) / 1_000) as u32;
            track.at(&[b"tkhd"]).expect("a track header")[20..24].copy_from_slice(&shown.to_be_bytes());
            if let Some(list) = track.at(&[b"edts", b"elst"]) {
                list[8..12].copy_from_slice(&shown.to_be_bytes());
            }
        }
    });
}

/// The media time of the first edit that shows something.
fn first_media_time(list: &[u8]) -> u32 {
    assert_eq!(list[0], 0, "a list of version 0");
    let times = (0..be32(list, 4) as usize).map(|entry| be32(list, 12 + entry * 12));
    times.into_iter().find(|time| *time != u32::MAX).unwrap_or(0)
}

/// Hides the colour tags of an MP4's header from readers. The tags in the coded stream remain.
pub(crate) fn drop_colours_mp4(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the source");
    let places: Vec<usize> = bytes
        .windows(8)
        .enumerate()
        .filter(|(_, at)| *at == b"colrnclx" || *at == b"colrnclc")
        .map(|(at, _)| at)
        .collect();
    for at in places {
        bytes[at..at + 4].copy_from_slice(b"free");
    }
    std::fs::write(path, bytes).expect("the source");
}

const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const SEEK: u32 = 0x4dbb;
const SEEK_POSITION: u32 = 0x53ac;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const VIDEO: u32 = 0xe0;
const COLOUR: u32 = 0x55b0;
const PROJECTION: u32 = 0x7670;
const CUES: u32 = 0x1c53_bb6b;
const CUE_POINT: u32 = 0xbb;
const CUE_TRACK_POSITIONS: u32 = 0xb7;
const CUE_CLUSTER_POSITION: u32 = 0xf1;
const CRC: u32 = 0xbf;

/// Encodes an element with an eight-byte size.
fn encode(id: u32, content: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&id[..], &(1 << 56 | content.len() as u64).to_be_bytes(), content].concat()
}

/// The replacement of an element with an id and content; `None` keeps the element.
type Change<'a> = &'a dyn Fn(u32, &[u8]) -> Option<Vec<u8>>;

/// Rewrites the elements on the path to the video fields, and adjusts every reference to data behind them.
fn change_matroska(path: &Path, change: Change, extra: &[u8]) {
    let mut bytes = std::fs::read(path).expect("the source");
    let header = element(&bytes, 0);
    let segment = element(&bytes, header.end);
    assert_eq!(segment.id, SEGMENT, "a segment");
    let tracks = children(&bytes, segment).into_iter().find(|child| child.id == TRACKS).expect("tracks");
    let new = encode(TRACKS, &rewrite(&bytes, tracks, change, extra));
    let growth = new.len() as i64 - (tracks.end - tracks.begin) as i64;
    for child in children(&bytes, segment) {
        let path: &[u32] = match child.id {
            SEEK_HEAD => &[SEEK, SEEK_POSITION],
            CUES => &[CUE_POINT, CUE_TRACK_POSITIONS, CUE_CLUSTER_POSITION],
            _ => continue,
        };
        shift(&mut bytes, child, path, (tracks.begin - segment.content) as u64, growth);
    }
    let size = &mut bytes[segment.content - 8..segment.content];
    if size[0] == 1 && size[1..] != [0xff; 7] {
        let grown = u64::from_be_bytes(size.try_into().expect("8 bytes")).wrapping_add_signed(growth);
        size.copy_from_slice(&grown.to_be_bytes());
    }
    std::fs::write(path, [&bytes[..tracks.begin], &new, &bytes[tracks.end..]].concat()).expect("the source");
}

fn rewrite(bytes: &[u8], of: Element, change: Change, extra: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for child in children(bytes, of) {
        match child.id {
            TRACK_ENTRY | VIDEO => content.extend(encode(child.id, &rewrite(bytes, child, change, extra))),
            // The checksum would be wrong after the change.
            CRC => {}
            id => match change(id, &bytes[child.content..child.end]) {
                Some(changed) => content.extend(changed),
                None => content.extend(&bytes[child.begin..child.end]),
            },
        }
    }
    if of.id == VIDEO {
        content.extend(extra);
    }
    content
}

fn shift(bytes: &mut [u8], of: Element, path: &[u32], from: u64, growth: i64) {
    let Some((next, rest)) = path.split_first() else {
        let field = &mut bytes[of.content..of.end];
        let position = field.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if position > from {
            let moved = position.wrapping_add_signed(growth).to_be_bytes();
            let (spare, kept) = moved.split_at(8 - field.len());
            assert!(spare.iter().all(|byte| *byte == 0), "a position needs more bytes than it has");
            field.copy_from_slice(kept);
        }
        return;
    };
    for child in children(bytes, of) {
        if child.id == *next {
            shift(bytes, child, rest, from, growth);
        }
    }
}

/// Marks the pictures of a Matroska file as rotated, by a pose as FFmpeg 6.1 and newer write it: a roll counts
/// counter-clockwise, and a yaw of half a turn mirrors before it.
pub(crate) fn turn_matroska(path: &Path, orientation: Orientation) {
    let (yaw, roll) = match orientation {
        Orientation::Upright => (0.0, 0.0),
        Orientation::Right => (0.0, -90.0),
        Orientation::Half => (0.0, 180.0),
        Orientation::Left => (0.0, 90.0),
        Orientation::MirrorHorizontal => (180.0, 0.0),
        Orientation::MirrorVertical => (180.0, 180.0),
    };
    pose_matroska(path, yaw, roll);
}

/// Writes a pose into every video track of a Matroska file.
pub(crate) fn pose_matroska(path: &Path, yaw: f32, roll: f32) {
    const TYPE: u32 = 0x7671;
    const YAW: u32 = 0x7673;
    const PITCH: u32 = 0x7674;
    const ROLL: u32 = 0x7675;
    let field = |id, degrees: f32| encode(id, &degrees.to_be_bytes());
    let pose = [encode(TYPE, &[0]), field(YAW, yaw), field(PITCH, 0.0), field(ROLL, roll)].concat();
    change_matroska(path, &|_, _| None, &encode(PROJECTION, &pose));
}

/// Removes the colour tags from a Matroska file. The tags in the coded stream remain.
pub(crate) fn drop_colours_matroska(path: &Path) {
    change_matroska(path, &|id, _| (id == COLOUR).then(Vec::new), &[]);
}

const CLUSTER: u32 = 0x1f43_b675;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
const SIMPLE_BLOCK: u32 = 0xa3;
const CODEC_PRIVATE: u32 = 0x63a2;

/// Converts the H.264 of a Matroska file, whose only video track is `track`, to the form that Chromium records: units
/// behind start codes, and no codec header outside the stream. The units must have four bytes of length, and the
/// parameter sets must be in the stream.
pub(crate) fn as_byte_stream_matroska(path: &Path, track: u8) {
    change_matroska(path, &|id, _| (id == CODEC_PRIVATE).then(Vec::new), &[]);
    let mut bytes = std::fs::read(path).expect("the source");
    let header = element(&bytes, 0);
    let segment = element(&bytes, header.end);
    let clusters = children(&bytes, segment).into_iter().filter(|child| child.id == CLUSTER);
    let groups = clusters.flat_map(|cluster| children(&bytes, cluster));
    let blocks: Vec<Element> = groups
        .flat_map(|child| if child.id == BLOCK_GROUP { children(&bytes, child) } else { vec![child] })
        .filter(|child| matches!(child.id, BLOCK | SIMPLE_BLOCK) && bytes[child.content] == 0x80 | track)
        .collect();
    assert!(!blocks.is_empty(), "no pictures in track {track}");
    for block in blocks {
        let mut at = block.content + 4;
        while at + 4 <= block.end {
            let length = be32(&bytes, at) as usize;
            bytes[at..at + 4].copy_from_slice(&[0, 0, 0, 1]);
            at += 4 + length;
        }
        assert_eq!(at, block.end, "units with four bytes of length");
    }
    std::fs::write(path, bytes).expect("the source");
}

/// Renames all boxes of a type in the header, for example a sample entry.
pub(crate) fn rename(path: &Path, from: &[u8; 4], to: &[u8; 4]) {
    let mut bytes = std::fs::read(path).expect("the source");
    let (begin, end) = header_range(&bytes);
    let places: Vec<usize> = (begin..end - 4).filter(|at| &bytes[*at..*at + 4] == from).collect();
    assert!(!places.is_empty(), "no {} in the header", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + 4].copy_from_slice(to);
    }
    std::fs::write(path, bytes).expect("the source");
}
