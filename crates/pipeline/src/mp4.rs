//! Reads the header of an MP4 file as far as it determines what is presented when, and corrects the audio's edit list
//! in place.

use crate::source::boxes::{Boxes, Place, box_size, broken};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Maximum size of a header. Ten minutes at 60 frames per second need less than 2 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// One entry of an edit list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Length on the movie's time line, in its time scale.
    pub duration: u64,
    /// Start of the presented part in the track, in its time scale; -1 for an empty edit.
    pub media_time: i64,
    place: Place,
}

/// One track.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// `vide` or `soun`.
    pub handler: [u8; 4],
    /// Units per second of the following times.
    pub timescale: u32,
    /// Type of the sample entry: `avc1`, `mp4a`.
    pub codec: [u8; 4],
    /// Width and height in pixels, of a video track.
    pub size: (u16, u16),
    /// Pixel aspect ratio, width to height; 1:1 if the file declares none.
    pub pixel_aspect: (u32, u32),
    /// H.264 profile, of a video track.
    pub profile: u8,
    /// H.264 profile, constraints and level, of a video track: the six digits of `avc1.64001f`.
    pub profile_level: [u8; 3],
    /// Channels and samples per second, of an audio track.
    pub audio: (u16, u32),
    /// Runs of samples (frames): their number, and the duration of each.
    pub durations: Vec<(u32, u32)>,
    /// Composition offset of the first sample.
    pub first_offset: i64,
    /// Numbers of key frames, from 1; `None` if every frame is one.
    pub keys: Option<Vec<u32>>,
    /// Number of samples.
    pub samples: u32,
    /// The edit list.
    pub edits: Vec<Edit>,
    duration: Place,
}

/// The header of an MP4 file.
#[derive(Debug, Clone, Default)]
pub struct Movie {
    /// Whether the header is before the media.
    pub header_first: bool,
    /// Whether the last box ends at the end of the file.
    pub whole: bool,
    /// Units per second of the edits' durations.
    pub timescale: u32,
    /// Its tracks.
    pub tracks: Vec<Track>,
    duration: Place,
}

impl Movie {
    /// Reads the header of a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut movie = Self::default();
        let (mut position, mut media_seen) = (0, false);
        while position + 8 <= length {
            file.seek(SeekFrom::Start(position))?;
            let mut head = [0; 16];
            let have = (&file).take(16).read(&mut head)?;
            let (header, size) = box_size(&head[..have], length - position).ok_or_else(|| broken("a box header"))?;
            match &head[4..8] {
                b"mdat" => media_seen = true,
                b"moov" if size <= MAX_HEADER_BYTES => {
                    movie.header_first = !media_seen;
                    file.seek(SeekFrom::Start(position + header))?;
                    let mut bytes = vec![0; (size - header) as usize];
                    file.read_exact(&mut bytes)?;
                    movie.header(&Boxes::run(&bytes, position + header))?;
                }
                _ => {}
            }
            position += size;
        }
        movie.whole = position == length && media_seen;
        Ok(movie)
    }

    /// The track with this handler, if there is exactly one.
    pub fn track(&self, handler: &[u8; 4]) -> Option<&Track> {
        let mut tracks = self.tracks.iter().filter(|track| track.handler == *handler);
        tracks.next().filter(|_| tracks.next().is_none())
    }

    fn header(&mut self, moov: &Boxes<'_>) -> io::Result<()> {
        for (kind, content) in moov.iter() {
            match &kind {
                b"mvhd" => {
                    self.timescale = content.versioned(12, 20)?;
                    self.duration = content.place(16, 24)?;
                }
                b"trak" => {
                    let mut track = Track { pixel_aspect: (1, 1), ..Track::default() };
                    track.boxes(&content)?;
                    self.tracks.push(track);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Track {
    fn boxes(&mut self, boxes: &Boxes<'_>) -> io::Result<()> {
        for (kind, content) in boxes.iter() {
            match &kind {
                b"edts" | b"mdia" | b"minf" | b"stbl" => self.boxes(&content)?,
                b"mdhd" => self.timescale = content.versioned(12, 20)?,
                b"tkhd" => self.duration = content.place(20, 28)?,
                b"hdlr" if self.handler == [0; 4] => self.handler = content.array(8)?,
                b"elst" => self.edits(&content)?,
                b"stsd" => self.description(&content)?,
                b"stts" => {
                    for index in 0..content.u32(4)? as usize {
                        self.durations.push((content.u32(8 + 8 * index)?, content.u32(12 + 8 * index)?));
                    }
                }
                b"ctts" => self.first_offset = i64::from(content.u32(12)? as i32),
                b"stss" => {
                    let count = content.u32(4)? as usize;
                    self.keys = Some((0..count).map(|index| content.u32(8 + 4 * index)).collect::<io::Result<_>>()?);
                }
                b"stsz" => self.samples = content.u32(8)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn edits(&mut self, elst: &Boxes<'_>) -> io::Result<()> {
        let wide = elst.u32(0)? >> 24 == 1;
        for index in 0..elst.u32(4)? as usize {
            let at = 8 + index * if wide { 20 } else { 12 };
            let (duration, media_time) = if wide {
                (elst.u64(at)?, elst.u64(at + 8)? as i64)
            } else {
                (u64::from(elst.u32(at)?), i64::from(elst.u32(at + 4)? as i32))
            };
            let place = Place { offset: elst.offset + at as u64, wide };
            self.edits.push(Edit { duration, media_time, place });
        }
        Ok(())
    }

    fn description(&mut self, stsd: &Boxes<'_>) -> io::Result<()> {
        let entries = Boxes::run(stsd.bytes.get(8..).unwrap_or_default(), 0);
        let Some((codec, entry)) = entries.iter().next() else { return Err(broken("stsd")) };
        self.codec = codec;
        if codec == *b"mp4a" {
            self.audio = (entry.u16(16)?, entry.u32(24)? >> 16);
            return Ok(());
        }
        self.size = (entry.u16(24)?, entry.u16(26)?);
        let details = Boxes::run(entry.bytes.get(78..).unwrap_or_default(), 0);
        for (kind, content) in details.iter() {
            match &kind {
                b"pasp" => self.pixel_aspect = (content.u32(0)?, content.u32(4)?),
                b"avcC" => {
                    let [_, profile, constraints, level] = content.array(0)?;
                    (self.profile, self.profile_level) = (profile, [profile, constraints, level]);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes the audio begin `skip` of its units into its track, and the movie end after `duration` of its units. The
/// encoder's output begins this much before its input. The multiplexer does not know that, and counts it as part of the
/// length.
pub fn shift_audio(path: &Path, skip: u32, duration: u64) -> io::Result<()> {
    let movie = Movie::read(path)?;
    let track = movie.track(b"soun").ok_or_else(|| broken("the audio track"))?;
    let [edit] = track.edits.as_slice() else { return Err(broken("the audio track's edit list")) };
    let mut file = OpenOptions::new().write(true).open(path)?;
    for place in [movie.duration, track.duration, edit.place] {
        place.write(&mut file, duration)?;
    }
    edit.place.next().write(&mut file, skip.into())
}
