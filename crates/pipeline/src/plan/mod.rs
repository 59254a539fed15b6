//! The plan of a clip, as plain data. It is made from the order and the probed source without GStreamer, so that it can
//! be read, compared and tested on a machine without codecs or a GPU.
//!
//! ```text
//! RangeSource ── demuxer ─┬─ queue ── decode ── [deinterlace] ── FrameGrid ── queue ── [rotate] ── reframe, [tone map]
//!                         │                                              queue ── encode ── tee ─┬─ queue ──┐
//!                         │                          (verification) fakesink ── decode ── queue ─┘          │
//!                         │                                                                         mp4mux ── filesink
//!                         └─ queue ── decode ── convert ── resample ── SampleGrid ── [Loudness] ── aac ── queue ┘
//!                            (or silence ── SampleGrid …)
//! ```
//!
//! A new feature (a layout, an effect, captions) is a new stage: a function that returns steps.

pub mod audio;
pub mod catalog;
pub mod geometry;
pub mod installed;
pub(crate) mod reframe;
pub mod registry;
pub mod route;
pub mod step;
pub(crate) mod video;

use crate::{
    audio::loudness::LoudnessSettings,
    failure,
    plan::route::Route,
    source::{
        container::Container,
        edits::GoesBack,
        probe::Probed,
        time_line::TimeLine,
        tracks::{Selection, Stream},
    },
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    clip::Window,
    failure::Failure,
    rendition::{Rendition, Size},
};
use std::fmt;
use step::{named, verification_steps};

pub use reframe::SCALER;
pub use step::{Crop, Fit, Frames, Step};

/// Samples per second of every output.
pub const SAMPLE_RATE: u32 = 48_000;

/// Name of the output within the attempt's directory.
pub const OUTPUT_FILE: &str = "clip.mp4";

/// File in which the multiplexer keeps the media until it can write the header, which comes first.
pub const MEDIA_FILE: &str = "clip.media";

/// Name of the tee after the encoder.
pub const ENCODED: &str = "encoded";

/// How long before the clip to seek to, nanoseconds. The values are tried in this order until the decoded pictures
/// include the clip's first one.
///
/// The first value is enough for every file with an index. It is not zero because audio decoders need some data before
/// a cut to decode correctly at the cut (Opus 80 ms, AAC one frame). Without an index a seek ends at some cluster, and
/// only a key frame at or before the clip's start helps. After the last value, the source is read from its beginning.
pub const PREROLLS_NS: [i64; 3] = [100_000_000, 5_000_000_000, 20_000_000_000];

/// Properties that the output must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Size of the picture.
    pub size: Size,
    /// Frames per second.
    pub fps: u32,
    /// Number of frames.
    pub frames: u32,
    /// Number of audible samples.
    pub samples: u64,
}

impl Expected {
    /// Length of the output, milliseconds.
    pub fn duration_ms(&self) -> i64 {
        (i64::from(self.frames) * 1_000 + i64::from(self.fps) / 2) / i64::from(self.fps)
    }
}

/// A pipeline that has not been built yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The source's container.
    pub container: Container,
    /// Position to start reading, nanoseconds on the time line of the earliest track; `None` for the beginning.
    pub seek_ns: Option<i64>,
    /// The demuxer's video stream.
    pub video_stream: Selection,
    /// The demuxer's audio stream.
    pub audio_stream: Selection,
    /// From the demuxer's video stream to the multiplexer.
    pub video: Vec<Step>,
    /// From the demuxer's audio stream, or from silence, to the multiplexer.
    pub audio: Vec<Step>,
    /// Whether `audio` begins at the demuxer.
    pub audio_from_source: bool,
    /// From the multiplexer to the file.
    pub output: Vec<Step>,
    /// Decodes the encoder's output: from the tee after the encoder to the sink at which verification observes the
    /// frames.
    pub verification: Vec<Step>,
    /// Properties of the output.
    pub expected: Expected,
    /// Whether a GPU is used.
    pub on_gpu: bool,
}

/// How the source is read at the ends of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How long before the clip to start reading: one of [`PREROLLS_NS`], or `None` to read from the beginning.
    pub preroll_ns: Option<i64>,
    /// Whether the source's last picture is known to last until the clip ends.
    pub holds_last_picture: bool,
}

impl Reach {
    /// Works for every clip, but is slow.
    pub const FROM_THE_BEGINNING: Self = Self { preroll_ns: None, holds_last_picture: false };
}

/// Plans a clip on one route.
pub fn plan(order: &Transcode, probed: &Probed, route: &Route, reach: Reach) -> Result<Plan, Failure> {
    let window = order.clip.window;
    let expected = expected(window, &order.rendition);
    let video = within(&probed.video, window)?;
    let audio = probed.audio.as_ref().map(|audio| within(audio, window)).transpose()?;
    let seek_ns = seek(window, probed, [Some(&video), audio.as_ref()], reach.preroll_ns);
    Ok(Plan {
        container: probed.container,
        seek_ns,
        video_stream: video.selection,
        audio_stream: audio.as_ref().map_or_else(Selection::default, |audio| audio.selection),
        video: video::steps(order, &Probed { video, ..probed.clone() }, route, reach.holds_last_picture, &expected)?,
        audio_from_source: audio.is_some(),
        audio: audio::steps(audio, start_ns(window), &expected),
        output: output_steps(),
        verification: verification_steps(),
        expected,
        on_gpu: route.uses_gpu(),
    })
}

/// Clip times count on the file's own time line, as in players, FFmpeg and transcripts.
fn start_ns(window: Window) -> i64 {
    window.start_ms() * 1_000_000
}

/// The stream with its edit list reduced to what the clip shows.
fn within(stream: &Stream, window: Window) -> Result<Stream, Failure> {
    let TimeLine::Edited(edits) = &stream.time_line else { return Ok(stream.clone()) };
    let edits = edits.within(start_ns(window), window.end_ms() * 1_000_000);
    let edits = edits.map_err(|GoesBack(at_ns)| failure::source_edits_go_back(window, at_ns / 1_000_000))?;
    Ok(Stream { time_line: TimeLine::Edited(edits), ..stream.clone() })
}

/// The position to start reading, early enough for each of the streams.
fn seek(window: Window, probed: &Probed, streams: [Option<&Stream>; 2], preroll_ns: Option<i64>) -> Option<i64> {
    let preroll_ns = preroll_ns.filter(|_| probed.container.seeks_exactly())?;
    let streams = streams.into_iter().flatten();
    let begin = streams.map(|stream| stream.time_line.edits().media_time(start_ns(window))).min()?;
    Some(begin - preroll_ns).filter(|seek| *seek > probed.picture.time_ns)
}

impl Plan {
    /// The same plan with its loudness normalized.
    pub fn with_loudness(mut self, settings: Option<LoudnessSettings>) -> Self {
        let grid = self.audio.iter().position(|step| matches!(step, Step::Samples { .. }));
        if let Some((grid, settings)) = grid.zip(settings) {
            self.audio.insert(grid + 1, Step::Loudness(settings));
        }
        self
    }

    /// Converts times of the pictures to times of the source.
    pub fn video_time_line(&self) -> TimeLine {
        let mut lines = self.video.iter().filter_map(|step| match step {
            Step::Frames(frames) => Some(frames.time_line.clone()),
            _ => None,
        });
        lines.next().unwrap_or(TimeLine::Stamped)
    }

    /// Converts times of the audio to times of the source.
    pub fn audio_time_line(&self) -> TimeLine {
        let mut lines = self.audio.iter().filter_map(|step| match step {
            Step::Samples { time_line, .. } => Some(time_line.clone()),
            _ => None,
        });
        lines.next().unwrap_or(TimeLine::Stamped)
    }

    /// Start of the clip on the source's time line, nanoseconds.
    pub fn start_ns(&self) -> i64 {
        let mut starts = self.video.iter().filter_map(|step| match step {
            Step::Frames(frames) => Some(frames.start_ns),
            _ => None,
        });
        starts.next_back().unwrap_or(0)
    }
}

fn expected(window: Window, rendition: &Rendition) -> Expected {
    let fps = rendition.fps;
    let frames = window.frames(fps);
    // The audio is exactly as long as the video, because every supported rate divides 48,000.
    let samples = u64::from(frames) * u64::from(SAMPLE_RATE / fps);
    Expected { size: rendition.size(), fps, frames, samples }
}

fn output_steps() -> Vec<Step> {
    vec![
        named("mp4mux", "mux", &[("faststart", "true"), ("faststart-file", MEDIA_FILE)]),
        named("filesink", "file", &[("location", OUTPUT_FILE)]),
    ]
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seek_ns {
            Some(seek) => writeln!(f, "range-source ! {} seek={seek}ns", self.container.demuxer())?,
            None => writeln!(f, "range-source ! {}", self.container.demuxer())?,
        }
        for (title, steps) in [
            ("video", &self.video),
            ("audio", &self.audio),
            ("output", &self.output),
            ("verification", &self.verification),
        ] {
            writeln!(f, "{title}")?;
            steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
