//! The steps of a plan: elements, and constraints between two elements.

use crate::{
    audio::loudness::LoudnessSettings,
    plan::catalog::{Property, VERIFICATION_DECODER},
    source::{colours::Colours, time_line::TimeLine},
};
use clipfleet_domain::{crop_path::CropPath, percent::MilliPercent, rendition::Size};
use std::fmt;

/// Pictures in the GPU's memory.
pub(crate) const GPU_MEMORY: &str = "video/x-raw(memory:CUDAMemory)";

/// One element of a pipeline, or a constraint between two.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A stock element.
    Element {
        /// Name of its factory.
        factory: &'static str,
        /// Its own name; empty if nothing refers to it.
        name: &'static str,
        /// Its settings.
        properties: Vec<Property>,
    },
    /// The format between two elements.
    Caps(String),
    /// The crop. It is a step of its own because it is recomputed when the picture's size changes within the source.
    Crop(Crop),
    /// The whole picture, scaled to fit into the output. It is recomputed when the picture's size changes.
    Fit(Fit),
    /// The background of a picture that does not fill the output.
    Backdrop {
        /// Size of the output.
        target: Size,
    },
    /// A moving crop, scaled to the size of the output. It is recomputed when the picture's size changes.
    MovingCrop {
        /// Positions of the window over time.
        path: CropPath,
        /// Size of the output.
        target: Size,
    },
    /// Maps high dynamic range to standard range.
    ToneMap,
    /// Converts full range to limited range.
    LimitRange,
    /// Pictures become frames of the output.
    Frames(Frames),
    /// Audio becomes samples of the output.
    Samples {
        /// Start of the clip on the source's time line, nanoseconds.
        start_ns: i64,
        /// Number of samples of the clip.
        samples: u64,
        /// Converts the audio's times to times of the source.
        time_line: TimeLine,
    },
    /// Normalizes the loudness.
    Loudness(LoudnessSettings),
}

/// How pictures become frames of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// Frames per second.
    pub fps: u32,
    /// Number of frames of the clip.
    pub frames: u32,
    /// Number of frames at the end that may repeat the source's last picture.
    pub max_repeats: u32,
    /// Converts the pictures' times to times of the source.
    pub time_line: TimeLine,
    /// Colours that are declared outside of what the decoder reads.
    pub colours: Colours,
    /// Whether a later step limits the range, so that no step before it may change the range.
    pub range_is_limited_later: bool,
}

/// A crop of stored pixels, and the values it is computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// Position of the window.
    pub position: MilliPercent,
    /// Magnification.
    pub zoom: MilliPercent,
    /// Size of the output. The crop has the same aspect ratio.
    pub target: Size,
    /// Pixels cut off: left, top, right, bottom.
    pub margins: [u32; 4],
}

/// The whole picture, scaled, and the values its size is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Size of the output that the picture must fit into.
    pub target: Size,
    /// Size of the scaled picture.
    pub size: Size,
    /// Frames per second.
    pub fps: u32,
}

impl Fit {
    /// Caps of a picture of this size, as the backdrop takes it.
    pub fn caps(&self, size: Size) -> String {
        frame_format("I420", size, self.fps)
    }
}

/// Caps of frames of the output.
pub(crate) fn frame_format(format: &str, Size { width, height }: Size, fps: u32) -> String {
    format!(
        "video/x-raw,format={format},width={width},height={height},framerate={fps}/1,\
         pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive"
    )
}

/// An element without a name or settings.
pub(crate) fn element(factory: &'static str) -> Step {
    named(factory, "", &[])
}

/// An element with settings.
pub(crate) fn with(factory: &'static str, properties: &[(&'static str, &str)]) -> Step {
    named(factory, "", properties)
}

/// An element with a name and settings.
pub(crate) fn named(factory: &'static str, name: &'static str, properties: &[(&'static str, &str)]) -> Step {
    let properties = properties.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Step::Element { factory, name, properties }
}

/// A queue without limits, for compressed data.
pub(crate) fn unlimited_queue(name: &'static str) -> Step {
    named("queue", name, &[("max-size-buffers", "0"), ("max-size-bytes", "0"), ("max-size-time", "0")])
}

/// A queue for decoded pictures, which are large. Three of them keep the threads on both sides busy.
pub(crate) fn short_queue(name: &'static str) -> Step {
    named("queue", name, &[("max-size-buffers", "3"), ("max-size-bytes", "0"), ("max-size-time", "0")])
}

/// Decodes the encoder's output while it is encoded. Decoding the finished file instead would take additional time.
pub(crate) fn verification_steps() -> Vec<Step> {
    vec![
        // This queue holds compressed data.
        unlimited_queue("verification-in"),
        named(VERIFICATION_DECODER, "verification-decoder", &[]),
        named("fakesink", "verification-out", &[("sync", "false"), ("async", "false")]),
    ]
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
            Step::Loudness(LoudnessSettings { gain_db, ceiling_dbtp }) => {
                write!(f, "loudness gain={gain_db:.2}dB ceiling={ceiling_dbtp:.2}dBTP")
            }
        }
    }
}
