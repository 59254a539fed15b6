//! What will be done, as plain data: made from the order and the probed source without touching GStreamer, so that it can be
//! read, compared and tested on a machine without codecs or GPUs.
//!
//! ```text
//! RangeSource ── demuxer ─┬─ queue ── decode ── [deinterlace] ── FrameGrid ── queue ── [rotate] ── reframe, [tone map]
//!                         │                                              queue ── encode ── tee ─┬─ queue ──┐
//!                         │                               (the proof) fakesink ── decode ── queue ─┘          │
//!                         │                                                                         mp4mux ── filesink
//!                         └─ queue ── decode ── convert ── resample ── SampleGrid ── [Leveller] ── aac ── queue ┘
//!                            (or silence ── SampleGrid …)
//! ```
//!
//! A further feature (a layout, an effect, captions) is a further stage: a function that gives steps.

mod reframe;
mod video;

use crate::{
    catalog::{self, AAC_ENCODER, Encoder, PROOF_DECODER, Property},
    colours::Colours,
    container::Container,
    edits::{EditList, GoesBack},
    elements::TimeLine,
    failure,
    leveling::Leveling,
    probe::{Probed, Stream},
    route::Way,
    selftest,
    tracks::Selection,
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    clip::Window,
    crop_path::CropPath,
    failure::Failure,
    rendition::{Rendition, Size},
};
use std::fmt;

pub use reframe::{Crop, Fit, SCALER, shown, stored_crop};

/// Samples per second of every output.
pub const SAMPLE_RATE: u32 = 48_000;

/// Name of the output within the attempt's directory.
pub const OUTPUT_FILE: &str = "clip.mp4";

/// Where the multiplexer keeps the media until the header, which goes first, is known.
pub const MEDIA_FILE: &str = "clip.media";

/// Pictures in a GPU's memory.
const GPU_MEMORY: &str = "video/x-raw(memory:CUDAMemory)";

/// Name of the tee behind the encoder.
pub const ENCODED: &str = "encoded";

/// How long before the clip to seek to, nanoseconds, one after the other until the pictures that come include the clip's first. The
/// first does for every file with an index; it is not zero because sound decoders need a little of what lies before a cut to sound
/// right at it (Opus 80 ms, AAC one frame). Without an index a seek ends at some cluster, and only a key frame at or behind
/// it helps. After the last, the source is read from its beginning.
pub const PREROLLS_NS: [i64; 3] = [100_000_000, 5_000_000_000, 20_000_000_000];

/// How much of the end of a clip may be missing in the source, milliseconds. Players and editors show a duration that is
/// rounded up, or that of the longer track; the difference is a few frames.
pub const END_TOLERANCE_MS: i64 = 100;

/// One element of a pipeline, or a constraint between two.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A stock element.
    Element {
        /// Name of its factory.
        factory: &'static str,
        /// Its own name, where something refers to it.
        name: &'static str,
        /// Its settings.
        properties: Vec<Property>,
    },
    /// The format between two elements.
    Caps(String),
    /// The crop: an element of its own because it follows the picture if its size changes within the source.
    Crop(Crop),
    /// The whole picture scaled to what has room in the output; it follows the picture, too.
    Fit(Fit),
    /// What lies behind a picture that does not fill the output.
    Backdrop {
        /// Size of the output.
        target: Size,
    },
    /// A crop that moves, scaled to the size of the output; it follows the picture, too.
    MovingCrop {
        /// Where the window is when.
        path: CropPath,
        /// Size of the output.
        target: Size,
    },
    /// Brightness of high dynamic range becomes that of standard range.
    ToneMap,
    /// Numbers of full range become those of limited range.
    LimitRange,
    /// Pictures become frames of the output.
    Frames(Frames),
    /// Sound becomes samples of the output.
    Samples {
        /// Start of the clip on the source's time line, nanoseconds.
        start_ns: i64,
        /// Samples of the clip.
        samples: u64,
        /// How the sound's times become times of the source.
        time_line: TimeLine,
    },
    /// Sound is brought to its loudness.
    Loudness(Leveling),
}

/// How pictures become frames of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// Frames per second.
    pub fps: u32,
    /// Frames of the clip.
    pub frames: u32,
    /// Frames at the end that may repeat the source's last picture.
    pub max_repeats: u32,
    /// How the pictures' times become times of the source.
    pub time_line: TimeLine,
    /// What is said of their colours outside of what the decoder reads.
    pub colours: Colours,
    /// Whether full range is made limited behind, so that nothing before that may touch it.
    pub range_is_limited_later: bool,
}

/// What the output must turn out to be.
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
    /// What is taken apart.
    pub container: Container,
    /// Where to begin reading, nanoseconds on the time line of the earliest track; `None` for the beginning.
    pub seek_ns: Option<i64>,
    /// Which of the demuxer's streams has the pictures.
    pub video_stream: Selection,
    /// Which of the demuxer's streams has the sound.
    pub audio_stream: Selection,
    /// From the demuxer's picture stream to the multiplexer.
    pub video: Vec<Step>,
    /// From the demuxer's sound stream, or from silence, to the multiplexer.
    pub audio: Vec<Step>,
    /// Whether `audio` begins at the demuxer.
    pub audio_from_source: bool,
    /// From the multiplexer to the file.
    pub output: Vec<Step>,
    /// What is encoded, decoded again: from the tee at the end of the encoder to where the proof looks at it.
    pub proof: Vec<Step>,
    /// What comes out.
    pub expected: Expected,
    /// Whether a GPU has a part in it.
    pub on_gpu: bool,
}

/// How reading goes about the ends of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How long before the clip to begin: one of [`PREROLLS_NS`], or `None` to read from the beginning.
    pub preroll_ns: Option<i64>,
    /// Whether the last picture is known to stand until the clip ends.
    pub holds_last_picture: bool,
}

impl Reach {
    /// What any clip can be made with, slowly.
    pub const FROM_THE_BEGINNING: Self = Self { preroll_ns: None, holds_last_picture: false };
}

/// Plans one clip by one way.
pub fn plan(order: &Transcode, probed: &Probed, way: &Way, reach: Reach) -> Result<Plan, Failure> {
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
        video: video::steps(order, &Probed { video, ..probed.clone() }, way, reach.holds_last_picture, &expected)?,
        audio_from_source: audio.is_some(),
        audio: audio_steps(audio, start_ns(window), &expected),
        output: output_steps(),
        proof: proof_steps(),
        expected,
        on_gpu: way.uses_gpu(),
    })
}

/// What is listened to before a clip is made whose loudness is asked for: the clip's sound alone, up to its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Listening {
    /// What is taken apart.
    pub container: Container,
    /// Where to begin reading, nanoseconds on the track's own time line; `None` for the beginning.
    pub seek_ns: Option<i64>,
    /// Which of the demuxer's streams has the sound.
    pub stream: Selection,
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// Samples of the clip.
    pub samples: u64,
    /// From the demuxer's sound stream to the clip's samples.
    pub steps: Vec<Step>,
}

/// Plans listening to a clip; `None` for a source without sound. `preroll_ns` is as in [`Reach`].
pub fn listening(order: &Transcode, probed: &Probed, preroll_ns: Option<i64>) -> Result<Option<Listening>, Failure> {
    let Some(audio) = &probed.audio else { return Ok(None) };
    let window = order.clip.window;
    let (samples, start_ns) = (expected(window, &order.rendition).samples, start_ns(window));
    let audio = within(audio, window)?;
    let seek_ns = seek(window, probed, [Some(&audio), None], preroll_ns);
    // Nobody waits for another stream here, so no more than a queue's second is read ahead.
    let queue = named("queue", "audio-in", &[]);
    let steps = sound_steps(queue, &audio, start_ns, samples);
    Ok(Some(Listening { container: probed.container, seek_ns, stream: audio.selection, start_ns, samples, steps }))
}

/// Clips count on the file's own time line, as players, FFmpeg and transcripts do.
fn start_ns(window: Window) -> i64 {
    window.start_ms() * 1_000_000
}

/// The stream with what of its edit list a clip shows.
fn within(stream: &Stream, window: Window) -> Result<Stream, Failure> {
    let TimeLine::Edited(edits) = &stream.time_line else { return Ok(stream.clone()) };
    let edits = edits.within(start_ns(window), window.end_ms() * 1_000_000);
    let edits = edits.map_err(|GoesBack(at_ns)| failure::source_edits_go_back(window, at_ns / 1_000_000))?;
    Ok(Stream { time_line: TimeLine::Edited(edits), ..stream.clone() })
}

/// Where reading begins, so early that each of the streams is there when the clip begins.
fn seek(window: Window, probed: &Probed, streams: [Option<&Stream>; 2], preroll_ns: Option<i64>) -> Option<i64> {
    let preroll_ns = preroll_ns.filter(|_| probed.container.seeks_exactly())?;
    let streams = streams.into_iter().flatten();
    let begin = streams.map(|stream| stream.time_line.edits().media_time(start_ns(window))).min()?;
    Some(begin - preroll_ns).filter(|seek| *seek > probed.picture.time_ns)
}

impl Plan {
    /// The same with its sound brought to its loudness.
    pub fn leveled(mut self, leveling: Option<Leveling>) -> Self {
        let grid = self.audio.iter().position(|step| matches!(step, Step::Samples { .. }));
        if let Some((grid, leveling)) = grid.zip(leveling) {
            self.audio.insert(grid + 1, Step::Loudness(leveling));
        }
        self
    }

    /// How times of the pictures become times of the source.
    pub fn video_time_line(&self) -> TimeLine {
        let mut lines = self.video.iter().filter_map(|step| match step {
            Step::Frames(frames) => Some(frames.time_line.clone()),
            _ => None,
        });
        lines.next().unwrap_or(TimeLine::Stamped)
    }

    /// How times of the sound become times of the source.
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
    // As long as the picture, to the sample: every rate on offer divides 48,000.
    let samples = u64::from(frames) * u64::from(SAMPLE_RATE / fps);
    Expected { size: rendition.size(), fps, frames, samples }
}

fn audio_steps(stream: Option<Stream>, start_ns: i64, expected: &Expected) -> Vec<Step> {
    let samples = expected.samples;
    let mut steps = match &stream {
        // Unlimited, as is the queue behind the encoder: the two streams of a file may lie any distance apart, and the
        // multiplexer takes both at the same pace. What waits here is compressed.
        Some(stream) => sound_steps(unlimited_queue("audio-in"), stream, start_ns, samples),
        None => vec![
            with("audiotestsrc", &[("wave", "silence"), ("samplesperbuffer", "4800")]),
            sound_format(),
            Step::Samples { start_ns: 0, samples, time_line: TimeLine::Edited(EditList::NONE) },
        ],
    };
    steps.push(Step::Element { factory: AAC_ENCODER, name: "audio-encoder", properties: catalog::aac() });
    steps.push(unlimited_queue("audio-out"));
    steps
}

/// From the demuxer's sound stream to the clip's samples.
fn sound_steps(queue: Step, stream: &Stream, start_ns: i64, samples: u64) -> Vec<Step> {
    let mut steps = vec![queue];
    steps.extend(stream.parser.map(element));
    steps.extend([element(stream.decoder.element), element("audioconvert"), element("audioresample")]);
    // However many channels there are: the grid mixes them.
    steps.push(Step::Caps(format!("audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE}")));
    steps.push(Step::Samples { start_ns, samples, time_line: stream.time_line.clone() });
    steps
}

/// Left and right, as the encoder takes them.
fn sound_format() -> Step {
    Step::Caps(format!(
        "audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE},channels=2,channel-mask=(bitmask)0x3"
    ))
}

fn output_steps() -> Vec<Step> {
    vec![
        named("mp4mux", "mux", &[("faststart", "true"), ("faststart-file", MEDIA_FILE)]),
        named("filesink", "file", &[("location", OUTPUT_FILE)]),
    ]
}

/// Decoded while it is encoded, since the pictures of a finished file would have to be waited for.
fn proof_steps() -> Vec<Step> {
    vec![
        // What waits here is compressed.
        unlimited_queue("proof-in"),
        named(PROOF_DECODER, "proof-decoder", &[]),
        named("fakesink", "proof-out", &[("sync", "false"), ("async", "false")]),
    ]
}

/// What a GPU is tested with: moving pictures, through its memory if frames are made there, and decoded again.
pub fn self_test(encoder: &Encoder, lacking: &[&str], on_gpu: bool) -> Vec<Step> {
    trial("smpte", selftest::FRAMES, selftest::FRAMES, encoder, lacking, on_gpu)
}

/// A pattern of that many pictures, as they would be encoded for a clip, and decoded again.
pub fn trial(pattern: &str, frames: u32, fps: u32, encoder: &Encoder, lacking: &[&str], on_gpu: bool) -> Vec<Step> {
    let expected = Expected { size: Rendition::default().size(), fps, frames, samples: 0 };
    let (source, size) = (Size { width: 640, height: 360 }, expected.size);
    let mut steps = vec![
        with("videotestsrc", &[("pattern", pattern), ("horizontal-speed", "7"), ("num-buffers", &frames.to_string())]),
        Step::Caps(reframe::frame_format("NV12", source, fps)),
    ];
    match on_gpu {
        true => {
            steps.push(element("cudaupload"));
            steps.extend(reframe::scale_on_gpu(&expected, encoder));
        }
        false => steps.extend(reframe::scale(&Expected { size, ..expected }, encoder.format)),
    }
    steps.extend(video::encoder_steps(&Rendition { fps, ..Rendition::default() }, encoder, lacking));
    steps.extend(proof_steps());
    steps
}

fn element(factory: &'static str) -> Step {
    named(factory, "", &[])
}

fn with(factory: &'static str, properties: &[(&'static str, &str)]) -> Step {
    named(factory, "", properties)
}

fn named(factory: &'static str, name: &'static str, properties: &[(&'static str, &str)]) -> Step {
    let properties = properties.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Step::Element { factory, name, properties }
}

fn unlimited_queue(name: &'static str) -> Step {
    named("queue", name, &[("max-size-buffers", "0"), ("max-size-bytes", "0"), ("max-size-time", "0")])
}

/// Decoded pictures are large: three of them keep both sides busy.
fn short_queue(name: &'static str) -> Step {
    named("queue", name, &[("max-size-buffers", "3"), ("max-size-bytes", "0"), ("max-size-time", "0")])
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Element { factory, name, properties } => {
                write!(f, "{factory}")?;
                if !name.is_empty() {
                    write!(f, " name={name}")?;
                }
                properties.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
            Step::Caps(caps) => write!(f, "{caps}"),
            Step::Crop(Crop { margins: [left, top, right, bottom], .. }) => {
                write!(f, "crop left={left} top={top} right={right} bottom={bottom}")
            }
            Step::Fit(fit) => write!(f, "fit {}", fit.caps(fit.size)),
            Step::LimitRange => write!(f, "limit-range"),
            Step::ToneMap => write!(f, "tone-map"),
            Step::Backdrop { target } => write!(f, "backdrop size={target}"),
            Step::MovingCrop { path, target } => {
                write!(f, "moving-crop size={target} keyframes={}", path.keyframes().len())
            }
            Step::Frames(Frames { start_ns, fps, frames, max_repeats, .. }) => {
                write!(f, "frame-grid start={start_ns}ns fps={fps} frames={frames} max-repeats={max_repeats}")
            }
            Step::Samples { start_ns, samples, .. } => write!(f, "sample-grid start={start_ns}ns samples={samples}"),
            Step::Loudness(Leveling { gain_db, ceiling_dbtp }) => {
                write!(f, "leveller gain={gain_db:.2}dB ceiling={ceiling_dbtp:.2}dBTP")
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seek_ns {
            Some(seek) => writeln!(f, "range-source ! {} seek={seek}ns", self.container.demuxer())?,
            None => writeln!(f, "range-source ! {}", self.container.demuxer())?,
        }
        for (title, steps) in
            [("video", &self.video), ("audio", &self.audio), ("output", &self.output), ("proof", &self.proof)]
        {
            writeln!(f, "{title}")?;
            steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
