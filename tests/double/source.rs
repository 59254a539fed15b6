//! Sources for a GPU double, whose decoder shows a pattern instead of the picture: plain grey, which encodes quickly,
//! with real audio.

use clipfleet_tests::{audio::Beeps, fixtures};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Pictures per second of every source.
pub(crate) const FPS: u32 = 30;

/// Pictures from one key frame to the next.
pub(crate) const GROUP: u32 = 60;

/// H.264 with B-frames, as in typical uploads.
pub(crate) const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "scenecut=0"];

const TAGS: [&str; 8] =
    ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"];

/// The properties of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Pixels across and down, as stored.
    pub(crate) stored: (u32, u32),
    /// Its length.
    pub(crate) seconds: u32,
    /// FFmpeg's arguments for the video codec.
    pub(crate) video: &'static [&'static str],
    /// FFmpeg's name of the pixel format.
    pub(crate) format: &'static str,
    /// An FFmpeg filter, for example for the pixel shape.
    pub(crate) filter: &'static str,
    /// The file's extension.
    pub(crate) container: &'static str,
    /// Degrees by which players rotate the picture, clockwise.
    pub(crate) rotation: u32,
}

impl Source {
    /// A typical upload.
    pub(crate) fn hd() -> Self {
        Self {
            stored: (1920, 1080),
            seconds: 3,
            video: H264,
            format: "yuv420p",
            filter: "null",
            container: "mp4",
            rotation: 0,
        }
    }

    /// The same in another size.
    pub(crate) fn of(stored: (u32, u32)) -> Self {
        Self { stored, ..Self::hd() }
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        self.stored
    }

    /// The beeps of its audio.
    pub(crate) fn beeps(&self) -> Beeps {
        Beeps { from_ms: 0, to_ms: self.seconds * 1_000 }
    }

    /// Makes the file.
    ///
    /// # Panics
    /// If FFmpeg fails.
    pub(crate) fn make(&self, directory: &Path) -> PathBuf {
        let path = directory.join("source").with_extension(self.container);
        let pcm = directory.join("audio.pcm");
        std::fs::write(&pcm, self.beeps().pcm(2)).expect("writing the audio");
        let (width, height) = self.stored;
        let grey = format!("color=c=gray:s={width}x{height}:r={FPS}:d={}", self.seconds);
        let group = GROUP.to_string();
        let audio = if self.container == "webm" { "libopus" } else { "aac" };
        let done = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", &grey])
            .args(["-f", "s16le", "-ar", "48000", "-ac", "2", "-i"])
            .arg(&pcm)
            .args(["-vf", self.filter, "-pix_fmt", self.format, "-g", &group])
            .args(self.video)
            .args(TAGS)
            .args(["-c:a", audio])
            .arg(&path)
            .status()
            .expect("ffmpeg must be installed for media tests");
        assert!(done.success(), "ffmpeg could not make {self:?}");
        fixtures::turn(&path, self.rotation);
        path
    }
}
