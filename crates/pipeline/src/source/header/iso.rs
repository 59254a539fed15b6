//! Headers of MP4 and QuickTime (ISO/IEC 14496-12).

use super::{Header, MAX_HEADER_BYTES, Track, bytes};
use crate::{
    failure,
    plan::catalog::Kind,
    source::{
        blocks::{Correction, Source},
        boxes::{Boxes, box_size},
        colours::Colours,
        container::Container,
        edits::{Edit, EditList},
        rotation::Rotation,
    },
};
use clipfleet_domain::failure::Failure;
use std::io;

/// Name of a box whose content is skipped.
const HIDDEN: &[u8; 4] = b"free";

/// Offset of the compression id in QuickTime's audio sample entry, and the value for packets of variable size, which
/// every entry of version 2 has. With this value, the demuxer takes every raw sample for a packet, and stamps all of
/// them with the time of the first.
const COMPRESSION_ID: usize = 20;
const VARIABLE: u16 = 0xfffe;

/// How much longer than its samples a track is declared to the demuxer, seconds. The last pictures of a track with
/// B-frames are presented after the sum of the samples' durations, and decoders drop what is after the end of a track.
const MARGIN_SECONDS: u64 = 10;

/// Reads the header of a source, wherever it is in the file.
pub(super) fn read(container: Container, source: &Source) -> Result<Header, Failure> {
    let mut position = 0;
    while position + 8 <= source.size() {
        let head = bytes(source, position, 16)?;
        let Some((header, size)) = box_size(&head, source.size() - position) else { break };
        if &head[4..8] == b"moov" {
            if size > MAX_HEADER_BYTES {
                return Err(failure::source_header_too_large(size, MAX_HEADER_BYTES));
            }
            let content = bytes(source, position + header, size - header)?;
            let moov = Boxes::run(&content, position + header);
            // If the header is broken, the demuxer reports it.
            return Ok(header_of(container, &moov).unwrap_or_default());
        }
        position += size;
    }
    Ok(Header::default())
}

/// A 2x2 matrix that rotates by quarters or mirrors: a, b, c, d of the standard.
type Matrix = [i8; 4];

/// What a track's boxes declare, in their own units.
#[derive(Default)]
struct Raw {
    track: Track,
    matrix: Option<Matrix>,
    timescale: u32,
    /// Duration of the samples in the track's units, and the largest offset between decoding and presentation.
    samples: u64,
    largest_offset: u64,
    edits: Vec<(u64, i64)>,
    /// Tracks that contain this track's chapter pictures or texts.
    chapters: Vec<u32>,
    corrections: Vec<Correction>,
}

fn header_of(container: Container, moov: &Boxes<'_>) -> io::Result<Header> {
    let mut header = Header::default();
    let (mut timescale, mut matrix, mut raws) = (0, None, Vec::new());
    for (kind, content) in moov.iter() {
        match &kind {
            b"mvhd" => {
                timescale = content.versioned(12, 20)?;
                let duration = content.place(16, 24)?;
                let value = content.number(duration)?;
                header.declared_ns = nanoseconds(value, timescale).filter(|ns| *ns > 0);
                matrix = matrix_at(&content, if is_wide(&content)? { 48 } else { 36 });
                if container == Container::IsoMedia {
                    // With a duration, the demuxer would take tracks of less than a fifth of it for previews, and end
                    // longer tracks early.
                    header.corrections.push(correction(duration, 0));
                }
            }
            b"trak" => {
                let mut raw = Raw::default();
                raw.boxes(&content)?;
                raws.push(raw);
            }
            _ => {}
        }
    }
    let chapters: Vec<u32> = raws.iter().flat_map(|raw| raw.chapters.iter().copied()).collect();
    for raw in raws {
        header.corrections.extend(raw.corrections.iter().cloned());
        let mut track = raw.track(timescale, matrix, container);
        track.chapters = chapters.iter().any(|id| u64::from(*id) == track.id);
        header.tracks.push(track);
    }
    header.corrections.sort_by_key(|correction| correction.offset);
    Ok(header)
}

impl Raw {
    fn boxes(&mut self, boxes: &Boxes<'_>) -> io::Result<()> {
        for (kind, content) in boxes.iter() {
            match &kind {
                b"edts" => {
                    self.boxes(&content)?;
                    self.hide(&content);
                }
                b"mdia" | b"minf" | b"stbl" | b"tref" => self.boxes(&content)?,
                b"tkhd" => {
                    self.track.id = content.versioned(12, 20)?.into();
                    self.track.disabled = content.u32(0)? & 1 == 0;
                    self.track.default = !self.track.disabled;
                    self.matrix = matrix_at(&content, if is_wide(&content)? { 52 } else { 40 });
                }
                b"chap" => {
                    self.chapters.extend((0..content.bytes.len() / 4).filter_map(|index| content.u32(4 * index).ok()));
                }
                b"mdhd" => {
                    self.timescale = content.versioned(12, 20)?;
                    let place = content.place(16, 24)?;
                    let declared = content.number(place)?;
                    if declared > 0 {
                        self.track.media_end_ns = nanoseconds(declared, self.timescale);
                        let margin = u64::from(self.timescale) * MARGIN_SECONDS;
                        self.corrections.push(correction(place, declared.saturating_add(margin)));
                    }
                }
                // The media's handler. QuickTime has a second one, for the data, in `minf`.
                b"hdlr" if self.track.kind.is_none() => {
                    self.track.kind = match &content.array(8)? {
                        b"vide" => Some(Kind::Video),
                        b"soun" => Some(Kind::Audio),
                        _ => None,
                    };
                }
                b"elst" => self.edit_list(&content)?,
                b"stsd" => self.description(&content)?,
                b"stts" => {
                    for index in 0..content.u32(4)? as usize {
                        let (count, delta) = (content.u32(8 + 8 * index)?, content.u32(12 + 8 * index)?);
                        self.samples = self.samples.saturating_add(u64::from(count) * u64::from(delta));
                    }
                }
                b"ctts" => {
                    for index in 0..content.u32(4)? as usize {
                        let offset = content.u32(12 + 8 * index)? as i32;
                        self.largest_offset = self.largest_offset.max(u64::try_from(offset).unwrap_or(0));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn edit_list(&mut self, elst: &Boxes<'_>) -> io::Result<()> {
        let wide = is_wide(elst)?;
        for index in 0..elst.u32(4)? as usize {
            let at = 8 + index * if wide { 20 } else { 12 };
            self.edits.push(if wide {
                (elst.u64(at)?, elst.u64(at + 8)? as i64)
            } else {
                (u64::from(elst.u32(at)?), i64::from(elst.u32(at + 4)? as i32))
            });
        }
        Ok(())
    }

    fn description(&mut self, stsd: &Boxes<'_>) -> io::Result<()> {
        let entries = Boxes::run(stsd.bytes.get(8..).unwrap_or_default(), stsd.offset + 8);
        for (codec, entry) in entries.iter() {
            self.track.encrypted |= matches!(&codec, b"encv" | b"enca");
            if self.track.kind == Some(Kind::Audio) {
                self.audio_description(&codec, &entry)?;
            }
            // Boxes follow the 78 bytes of a video sample entry.
            let details = entry.bytes.get(78..).filter(|_| self.track.kind == Some(Kind::Video));
            let details = Boxes::run(details.unwrap_or_default(), entry.offset + 78);
            for (_, content) in details.iter().filter(|(kind, _)| kind == b"colr") {
                let full_range = match &content.array::<4>(0)? {
                    b"nclx" => Some(content.array::<1>(10)?[0] & 0x80 != 0),
                    b"nclc" => None,
                    _ => continue,
                };
                let code = |at| content.u16(at).map(|code| u8::try_from(code).unwrap_or(2));
                self.track.colours = Colours::from_codes(full_range, code(8)?, code(6)?, code(4)?);
                self.hide(&content);
            }
        }
        Ok(())
    }

    /// QuickTime's audio sample entries have three versions of different lengths. Boxes follow.
    fn audio_description(&mut self, codec: &[u8; 4], entry: &Boxes<'_>) -> io::Result<()> {
        let header = match entry.u16(8)? {
            0 => 28,
            1 => 44,
            _ => 64,
        };
        let is_raw = matches!(codec, b"sowt" | b"twos" | b"lpcm" | b"raw " | b"in24" | b"in32" | b"fl32" | b"fl64");
        if is_raw && entry.u16(COMPRESSION_ID)? == VARIABLE {
            let (offset, bytes) = (entry.offset + COMPRESSION_ID as u64, vec![0; 2]);
            self.corrections.push(Correction { offset, bytes });
        }
        let boxes = Boxes::run(entry.bytes.get(header..).unwrap_or_default(), 0);
        for (kind, content) in boxes.iter().filter(|_| is_raw) {
            match &kind {
                b"chan" => self.track.channel_mask = channel_mask(content.u32(4)?, content.u32(8)?),
                b"wave" => {
                    let order = content.iter().find(|(kind, _)| kind == b"enda");
                    if order.map(|(_, enda)| enda.u16(0)).transpose()? == Some(1) {
                        self.track.sample_format = little_endian(codec);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the demuxer skip the box with this content.
    fn hide(&mut self, content: &Boxes<'_>) {
        self.corrections.push(Correction { offset: content.name_offset(), bytes: HIDDEN.to_vec() });
    }

    fn track(self, movie_timescale: u32, movie: Option<Matrix>, container: Container) -> Track {
        let matrix = self.matrix.zip(movie).map(|(track, movie)| product(track, movie)).or(self.matrix);
        let of_samples = Some(self.samples).filter(|samples| *samples > 0 && container == Container::IsoMedia);
        let shown = of_samples.and_then(|samples| nanoseconds(samples + self.largest_offset, self.timescale));
        Track {
            rotation: matrix.and_then(rotation),
            edits: edits(&self.edits, self.timescale, movie_timescale),
            media_end_ns: shown.or(self.track.media_end_ns),
            ..self.track
        }
    }
}

/// Formats that the demuxer takes for big-endian.
fn little_endian(codec: &[u8; 4]) -> Option<&'static str> {
    Some(match codec {
        b"in24" => "S24LE",
        b"in32" => "S32LE",
        b"fl32" => "F32LE",
        b"fl64" => "F64LE",
        _ => return None,
    })
}

/// The channel positions of a Core Audio layout, for surround audio in the order of the positions. `None` for other
/// layouts, for channels without positions, and for layouts without a centre channel, which recorders use for separate
/// channels.
fn channel_mask(layout: u32, bitmap: u32) -> Option<u64> {
    const USE_BITMAP: u32 = 1 << 16;
    const CENTRE: u64 = 1 << 2;
    if layout == USE_BITMAP {
        // The first nine bits are the same in GStreamer. After them, GStreamer has a second subwoofer before the side
        // channels.
        let sides = u64::from(bitmap >> 9 & 3) << 10;
        return Some(u64::from(bitmap & 0x1ff) | sides).filter(|mask| mask & CENTRE != 0);
    }
    Some(match layout >> 16 {
        113 => 0x7,   // left, right, centre
        115 => 0x107, // left, right, centre, rear centre
        117 => 0x37,  // left, right, centre, rear left, rear right
        121 => 0x3f,  // the same with a subwoofer
        125 => 0x13f, // and a rear centre
        126 => 0xff,  // and left and right of the centre
        _ => return None,
    })
}

/// The entries that present media.
fn edits(entries: &[(u64, i64)], timescale: u32, movie_timescale: u32) -> EditList {
    let (mut edits, mut elapsed) = (Vec::new(), 0_u64);
    for (duration, media_time) in entries {
        let begin = nanoseconds(elapsed, movie_timescale);
        elapsed = elapsed.saturating_add(*duration);
        let Ok(media_time) = u64::try_from(*media_time) else { continue };
        let (Some(movie_ns), Some(media_ns), Some(end)) =
            (begin, nanoseconds(media_time, timescale), nanoseconds(elapsed, movie_timescale))
        else {
            continue;
        };
        // Fragmented files declare 0, because the length is unknown when the list is written.
        let length_ns = (*duration > 0).then_some(end - movie_ns);
        edits.push(Edit { movie_ns, media_ns, length_ns });
        if length_ns.is_none() {
            break;
        }
    }
    EditList::new(edits)
}

fn nanoseconds(units: u64, timescale: u32) -> Option<i64> {
    let ns = u128::from(units) * 1_000_000_000;
    (timescale > 0).then(|| i64::try_from(ns / u128::from(timescale)).ok()).flatten()
}

fn correction(place: crate::source::boxes::Place, value: u64) -> Correction {
    let bytes = match place.wide {
        true => value.to_be_bytes().to_vec(),
        // The largest value means "unknown".
        false => u32::try_from(value).unwrap_or(u32::MAX - 1).to_be_bytes().to_vec(),
    };
    Correction { offset: place.offset, bytes }
}

fn is_wide(content: &Boxes<'_>) -> io::Result<bool> {
    Ok(content.u32(0)? >> 24 == 1)
}

/// The rotation of a transformation matrix, if it only rotates by quarters and mirrors.
fn matrix_at(content: &Boxes<'_>, at: usize) -> Option<Matrix> {
    let sign = |at| content.u32(at).ok().map(|number| (number as i32).signum() as i8);
    let number = |at| content.u32(at).ok().map(|number| i64::from((number as i32).unsigned_abs()));
    let matrix = [sign(at)?, sign(at + 4)?, sign(at + 12)?, sign(at + 16)?];
    let sizes = [number(at)?, number(at + 4)?, number(at + 12)?, number(at + 16)?];
    // Some writers write 0.9999 for 1, or a small number instead of 0.
    let largest = *sizes.iter().max()?;
    let clear: Vec<i8> =
        matrix.iter().zip(sizes).map(|(sign, size)| if size * 2 > largest { *sign } else { 0 }).collect();
    Matrix::try_from(clear).ok()
}

/// Applies `first`, then `second`.
fn product([a, b, c, d]: Matrix, [e, f, g, h]: Matrix) -> Matrix {
    [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h]
}

/// The effect of a matrix on a picture whose rows run downwards.
fn rotation(matrix: Matrix) -> Option<Rotation> {
    Some(match matrix {
        [1, 0, 0, 1] => Rotation::None,
        [0, 1, -1, 0] => Rotation::Right,
        [-1, 0, 0, -1] => Rotation::Half,
        [0, -1, 1, 0] => Rotation::Left,
        [-1, 0, 0, 1] => Rotation::MirrorHorizontal,
        [1, 0, 0, -1] => Rotation::MirrorVertical,
        [0, 1, 1, 0] => Rotation::Transpose,
        [0, -1, -1, 0] => Rotation::Transverse,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn boxed(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        [&(content.len() as u32 + 8).to_be_bytes(), kind.as_slice(), &content].concat()
    }

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A header with one video track that is presented from its third second on, rotated right, in full range.
    fn header() -> Vec<u8> {
        let unit = 0x1_0000_u32;
        let identity = [unit, 0, 0, 0, unit, 0, 0, 0, 0x4000_0000];
        let right = [0, unit, 0, unit.wrapping_neg(), 0, 0, 0, 0, 0x4000_0000];
        let mvhd = [&[0, 0, 0, 1_000, 5_000, unit, 0, 0, 0][..], &identity].concat();
        let tkhd = [&[3, 0, 0, 7, 0, 5_000, 0, 0, 0, 0][..], &right].concat();
        let nclx = [b"nclx".as_slice(), &[0, 1, 0, 1, 0, 1, 0x80]].concat();
        let entry = boxed(b"avc1", &[&[0; 78], &boxed(b"colr", &[&nclx])]);
        let stbl = [
            boxed(b"stsd", &[&numbers(&[0, 1]), &entry]),
            boxed(b"stts", &[&numbers(&[0, 1, 80, 1_000])]),
            boxed(b"ctts", &[&numbers(&[0, 2, 1, 2_000, 79, 1_000])]),
        ];
        let mdia = [
            boxed(b"mdhd", &[&numbers(&[0, 0, 0, 10_000, 80_000, 0])]),
            boxed(b"hdlr", &[&[0; 8], b"vide"]),
            boxed(b"minf", &[&boxed(b"stbl", &[&stbl.concat()])]),
        ];
        let edts = boxed(b"edts", &[&boxed(b"elst", &[&numbers(&[0, 2, 1_000, u32::MAX, unit, 4_000, 30_000, unit])])]);
        let trak = [boxed(b"tkhd", &[&numbers(&tkhd)]), edts, boxed(b"mdia", &[&mdia.concat()])];
        [boxed(b"mvhd", &[&numbers(&mvhd)]), boxed(b"trak", &[&trak.concat()])].concat()
    }

    #[test]
    fn a_track_is_read_with_its_edits_colours_and_rotation() {
        let bytes = header();
        let header = header_of(Container::IsoMedia, &Boxes::run(&bytes, 100)).unwrap();
        assert_eq!(header.declared_ns, Some(5 * S));
        let [track] = header.tracks.as_slice() else { panic!("{header:?}") };
        assert_eq!((track.id, track.kind, track.disabled), (7, Some(Kind::Video), false));
        assert_eq!(track.rotation, Some(Rotation::Right));
        assert_eq!(track.colours, Colours::from_codes(Some(true), 1, 1, 1));
        let edit = Edit { movie_ns: S, media_ns: 3 * S, length_ns: Some(4 * S) };
        assert_eq!(track.edits, EditList::new(vec![edit]));
        assert_eq!((track.media_end_ns, track.end_ns()), (Some(82 * S / 10), Some(5 * S)));
    }

    #[test]
    fn the_demuxer_sees_neither_edits_nor_colours_nor_an_early_end() {
        let mut bytes = header();
        let header = header_of(Container::IsoMedia, &Boxes::run(&bytes, 0)).unwrap();
        for Correction { offset, bytes: shown } in &header.corrections {
            bytes[*offset as usize..][..shown.len()].copy_from_slice(shown);
        }
        let shown = header_of(Container::IsoMedia, &Boxes::run(&bytes, 0)).unwrap();
        assert_eq!(shown.declared_ns, None);
        assert_eq!((&shown.tracks[0].edits, shown.tracks[0].colours), (&EditList::default(), Colours::default()));
        assert!(bytes.windows(4).any(|kind| kind == b"free") && !bytes.windows(4).any(|kind| kind == b"edts"));
    }

    #[test]
    fn raw_audio_of_version_2_is_not_declared_as_packets_of_variable_size() {
        // Reserved bytes, the index, version 2, and what every entry of that version contains.
        let fixed = [&[0; 7][..], &[1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 16, 0xff, 0xfe], &[0; 42]].concat();
        for (codec, corrected) in [(b"lpcm", true), (b"mp4a", false)] {
            let stsd = [numbers(&[0, 1]), boxed(codec, &[&fixed])].concat();
            let mut raw = Raw { track: Track { kind: Some(Kind::Audio), ..Track::default() }, ..Raw::default() };
            raw.description(&Boxes::run(&stsd, 100)).unwrap();
            // After the eight bytes of `stsd` and the eight bytes of the entry.
            let expected = Correction { offset: 100 + 16 + 20, bytes: vec![0, 0] };
            assert_eq!(raw.corrections, if corrected { vec![expected] } else { vec![] });
        }
    }

    #[test]
    fn raw_audio_of_quicktime_is_read_with_its_byte_order_and_positions() {
        let wave = boxed(b"wave", &[&boxed(b"frma", &[b"fl32"]), &boxed(b"enda", &[&[0, 1]])]);
        let chan = boxed(b"chan", &[&numbers(&[0, 121 << 16 | 6, 0, 0])]);
        let mut fixed = [0; 44];
        fixed[9] = 1;
        let stsd = [numbers(&[0, 1]), boxed(b"fl32", &[&fixed, &wave, &chan])].concat();
        let mut raw = Raw { track: Track { kind: Some(Kind::Audio), ..Track::default() }, ..Raw::default() };
        raw.description(&Boxes::run(&stsd, 0)).unwrap();
        assert_eq!((raw.track.sample_format, raw.track.channel_mask), (Some("F32LE"), Some(0x3f)));
        assert_eq!(channel_mask(147 << 16 | 8, 0), None, "discrete channels");
        assert_eq!(channel_mask(108 << 16 | 4, 0), None, "four channels");
        assert_eq!(channel_mask(1 << 16, 0x60f), Some(0xc0f), "5.1 with side speakers");
    }

    #[test]
    fn mirrored_pictures_are_distinguished_from_rotated_ones() {
        assert_eq!(rotation([-1, 0, 0, 1]), Some(Rotation::MirrorHorizontal));
        assert_eq!(rotation(product([0, 1, -1, 0], [-1, 0, 0, -1])), Some(Rotation::Left));
        assert_eq!(rotation([1, 1, 0, 1]), None);
    }

    #[test]
    fn a_list_without_lengths_extends_to_the_end() {
        let list = edits(&[(0, 1_024)], 48_000, 1_000);
        let edit = Edit { movie_ns: 0, media_ns: 21_333_333, length_ns: None };
        assert_eq!(list, EditList::new(vec![edit]));
    }
}
