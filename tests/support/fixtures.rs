//! Sources for media tests, made by FFmpeg from pictures that show their own number and audio that beeps at known
//! times.
//!
//! Every picture has a square of 4 by 4 black and white blocks in its middle, which encode the picture's number; see
//! [`crate::picture`]. The square survives cropping to any shape up to a zoom of 200 % and any scaling.

use crate::audio::Beeps;
use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Side of the square with the number, as a share of the picture's shorter side.
pub const MARK_SHARE: f64 = 0.25;

/// Samples per second of all generated audio.
pub const SAMPLE_RATE: u32 = 48_000;

/// The properties of a source. Start from [`Recipe::default`] or one of the named recipes.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Pixels across, as stored.
    pub width: u32,
    /// Pixels down, as stored.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Whether the rate is lower by a thousandth, as in NTSC television: 24 becomes 23.976.
    pub ntsc: bool,
    /// Number of pictures before any are left out.
    pub pictures: u32,
    /// FFmpeg's arguments for the video codec.
    pub video: &'static [&'static str],
    /// FFmpeg's arguments for the audio codec; `None` for a source without audio.
    pub audio: Option<&'static [&'static str]>,
    /// Number of audio channels.
    pub channels: u32,
    /// When the audio starts, milliseconds after the pictures.
    pub audio_delay_ms: u32,
    /// When the audio ends, milliseconds; `None` for the end of the pictures.
    pub audio_end_ms: Option<u32>,
    /// FFmpeg expression in `n` that is 0 for pictures to leave out.
    pub keep: Option<&'static str>,
    /// Filters at the end of the chain, for example a pixel shape.
    pub filter: Option<&'static str>,
    /// FFmpeg's arguments for the container, and the file's extension.
    pub container: (&'static [&'static str], &'static str),
    /// Degrees by which players rotate the picture, clockwise.
    pub rotation: u32,
    /// Whether to rewrite the file to look as if a browser's `MediaRecorder` wrote it.
    pub as_recorded_live: bool,
}

const H264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-bf", "3", "-pix_fmt", "yuv420p"];
const AAC: &[&str] = &["-c:a", "aac", "-b:a", "128k"];
const OPUS: &[&str] = &["-c:a", "libopus", "-b:a", "96k"];
const REALTIME_VP8: &[&str] =
    // A negative value fixes the speed. With a positive one, the encoder adapts its speed to the machine's load, and
    // the file differs each time.
    &[
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "-8",
        "-b:v",
        "3M",
        "-g",
        "75",
        "-pix_fmt",
        "yuv420p",
    ];
const REALTIME_VP9: &[&str] =
    &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "3M", "-g", "75", "-pix_fmt", "yuv420p"];
const LIVE_WEBM: &[&str] = &["-f", "webm", "-live", "1", "-cluster_time_limit", "1000"];

/// H.264 at exactly 6 Mbit/s, whatever the pictures show: a source that is large by its settings.
pub const H264_LARGE: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-g",
    "60",
    "-b:v",
    "6M",
    "-minrate",
    "6M",
    "-maxrate",
    "6M",
    "-bufsize",
    "6M",
    "-nal-hrd",
    "cbr",
    "-pix_fmt",
    "yuv420p",
];

impl Default for Recipe {
    /// Eight seconds of H.264 with B-frames and AAC, in an MP4 whose header comes first.
    fn default() -> Self {
        Self {
            width: 640,
            height: 360,
            fps: 30,
            ntsc: false,
            pictures: 240,
            video: H264,
            audio: Some(AAC),
            channels: 2,
            audio_delay_ms: 0,
            audio_end_ms: None,
            keep: None,
            filter: None,
            container: (&["-movflags", "+faststart"], "mp4"),
            rotation: 0,
            as_recorded_live: false,
        }
    }
}

impl Recipe {
    /// An MP4 whose header comes last.
    pub fn header_last() -> Self {
        Self { container: (&[], "mp4"), ..Self::default() }
    }

    /// H.264 and AAC in Matroska, with an index.
    pub fn matroska() -> Self {
        Self { container: (&[], "mkv"), ..Self::default() }
    }

    /// H.265 in MP4.
    pub fn hevc() -> Self {
        const HEVC: &[&str] = &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-tag:v",
            "hvc1",
            "-pix_fmt",
            "yuv420p",
            "-x265-params",
            "log-level=error:keyint=60",
        ];
        Self { video: HEVC, ..Self::default() }
    }

    /// VP8 and Vorbis in WebM, with an index.
    pub fn webm_vp8_vorbis() -> Self {
        const VORBIS: &[&str] = &["-c:a", "libvorbis"];
        Self { video: REALTIME_VP8, audio: Some(VORBIS), container: (&[], "webm"), ..Self::default() }
    }

    /// A recording of a browser's `MediaRecorder`: VP8 and Opus, irregular pictures, no duration, no index, clusters of
    /// unknown size.
    pub fn recorded_vp8() -> Self {
        // Three of ten pictures are missing in one place, one of seven in another: gaps of 133 ms and of 67 ms.
        let keep = Some(r"not(between(mod(n\,10)\,3\,5))*not(eq(mod(n\,7)\,1))");
        let container = (LIVE_WEBM, "webm");
        Self { video: REALTIME_VP8, audio: Some(OPUS), keep, container, as_recorded_live: true, ..Self::default() }
    }

    /// The same with VP9.
    pub fn recorded_vp9() -> Self {
        Self { video: REALTIME_VP9, ..Self::recorded_vp8() }
    }

    /// The number of each picture in the file, and when it is shown, milliseconds.
    pub fn shown(&self) -> Vec<(u32, f64)> {
        let kept = |n: u32| match self.keep {
            None => true,
            Some(expression) if expression == Self::recorded_vp8().keep.unwrap_or_default() => {
                !(3..=5).contains(&(n % 10)) && n % 7 != 1
            }
            Some(expression) => panic!("no Rust form of {expression}; add it here"),
        };
        let slower = if self.ntsc { 1.001 } else { 1.0 };
        let time = |n: u32| f64::from(n) * 1_000.0 * slower / f64::from(self.fps);
        (0..self.pictures).filter(|n| kept(*n)).map(|n| (n, time(n))).collect()
    }

    /// The beeps of the audio.
    pub fn beeps(&self) -> Beeps {
        let end = self.pictures * 1_000 / self.fps;
        Beeps { from_ms: self.audio_delay_ms, to_ms: self.audio_end_ms.unwrap_or(end).min(end) }
    }

    /// Makes the source in `directory`. Panics if that fails; FFmpeg's messages are on standard error.
    pub fn make(&self, directory: &Path, name: &str) -> PathBuf {
        let (container, extension) = self.container;
        let path = directory.join(format!("{name}.{extension}"));
        let pcm = directory.join(format!("{name}.pcm"));
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "gray"]);
        command.args(["-s", &format!("{}x{}", self.width, self.height), "-r", &self.rate(), "-i", "pipe:0"]);
        if let Some(audio) = self.audio {
            std::fs::write(&pcm, self.beeps().pcm(self.channels)).expect("writing the audio");
            let delay = format!("{}ms", self.audio_delay_ms);
            command.args(["-itsoffset", &delay, "-f", "s16le", "-ar", &SAMPLE_RATE.to_string()]);
            command.args(["-ac", &self.channels.to_string(), "-i"]).arg(&pcm).args(audio);
        }
        let select = self.keep.map(|keep| format!("select='{keep}'"));
        let filters: Vec<&str> = select.as_deref().into_iter().chain(self.filter).collect();
        if !filters.is_empty() {
            command.args(["-vf", &filters.join(","), "-fps_mode", "passthrough"]);
        }
        // Without random ids and dates, a recipe always gives the same file.
        command.args(self.video).args(["-fflags", "+bitexact"]).args(container).arg(&path);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("ffmpeg must be installed for media tests");
        let mut pictures = BufWriter::new(child.stdin.take().expect("a pipe"));
        for number in 0..self.pictures {
            pictures.write_all(&self.picture(number)).expect("ffmpeg ended early; see its messages above");
        }
        drop(pictures);
        assert!(child.wait().expect("ffmpeg").success(), "ffmpeg could not make {name}");
        turn(&path, self.rotation);
        if self.as_recorded_live {
            crate::webm::as_recorded_live(&path);
        }
        let _ = std::fs::remove_file(pcm);
        path
    }

    fn rate(&self) -> String {
        if self.ntsc { format!("{}000/1001", self.fps) } else { self.fps.to_string() }
    }

    /// One picture: moving diagonal stripes, and the number in the middle.
    fn picture(&self, number: u32) -> Vec<u8> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut pixels = vec![0; width * height];
        for (y, row) in pixels.chunks_exact_mut(width).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let wave = (x + y / 2 + number as usize * 5) % 128;
                *pixel = 60 + wave.min(128 - wave) as u8 * 2;
            }
        }
        // In a picture that is stored rotated, the number is rotated too, so that it is upright when shown.
        let side = f64::from(self.width.min(self.height)) * MARK_SHARE;
        let block = side / 4.0;
        let (left, top) = ((self.width as f64 - side) / 2.0, (self.height as f64 - side) / 2.0);
        let bits = mark(number);
        for y in top as usize..(top + side) as usize {
            for x in left as usize..(left + side) as usize {
                let (column, row) = ((x as f64 - left) / block, (y as f64 - top) / block);
                let (column, row) = stored_block(column as u32, row as u32, self.rotation);
                pixels[y * width + x] = if bits >> (row * 4 + column) & 1 == 1 { 235 } else { 16 };
            }
        }
        pixels
    }
}

/// The 16 blocks of a number: 12 bits and a 4-bit checksum.
pub fn mark(number: u32) -> u32 {
    let number = number & 0xfff;
    let check = (number ^ number >> 4 ^ number >> 8 ^ 0b1010) & 0xf;
    check << 12 | number
}

/// Which block of the upright mark is at a place of the stored one, for a picture that is rotated clockwise when shown.
fn stored_block(column: u32, row: u32, rotation: u32) -> (u32, u32) {
    match rotation {
        90 => (3 - row, column),
        180 => (3 - column, 3 - row),
        270 => (row, 3 - column),
        _ => (column, row),
    }
}

/// Marks a file as rotated clockwise. FFmpeg 5 writes the transformation when it copies with the tag `rotate`, which
/// counts counter-clockwise.
///
/// # Panics
/// If FFmpeg fails.
pub fn turn(path: &Path, degrees: u32) {
    if degrees == 0 {
        return;
    }
    let turned = path.with_extension("turned.mp4");
    let done = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-i"])
        .arg(path)
        .args(["-c", "copy", "-metadata:s:v:0", &format!("rotate={}", 360 - degrees)])
        .arg(&turned)
        .status()
        .expect("ffmpeg must be installed for media tests");
    assert!(done.success(), "ffmpeg could not rotate the picture");
    std::fs::rename(turned, path).expect("renaming");
}

/// Declares the H.264 of an MP4 or Matroska file as H.266. What follows is no valid H.266, as in a hostile file.
pub fn declare_h266(path: &Path) {
    const NAMES: [(&[u8], &[u8]); 3] =
        [(b"avc1", b"vvc1"), (b"avcC", b"vvcC"), (b"V_MPEG4/ISO/AVC", b"V_MPEGI/ISO/VVC")];
    let mut bytes = std::fs::read(path).expect("the source");
    let mut renamed = 0;
    for (old, new) in NAMES {
        let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(new);
            renamed += 1;
        }
    }
    assert!(renamed > 0, "{} has no H.264", path.display());
    std::fs::write(path, bytes).expect("writing");
}

/// A directory for the sources of one test run, deleted when dropped.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("clipfleet-media-").tempdir().expect("a temporary directory")
}

/// Samples per millisecond of generated audio.
pub const SAMPLES_PER_MS: u32 = SAMPLE_RATE / 1_000;
