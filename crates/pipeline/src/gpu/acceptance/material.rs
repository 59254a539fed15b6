//! The videos for the test: given files, or else two that are encoded here on the CPU.

use crate::{
    failure,
    graph::{
        build::{Grids, chain},
        bus::{self, Event, PipelineGuard, StallDetector},
    },
    plan::{
        Step,
        installed::Installed,
        step::{element, with},
    },
    source::{
        blocks::{Ranges, ReadError, Source, Ticket},
        probe,
    },
    timing::END_TOLERANCE_MS,
};
use bytes::Bytes;
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Maximum length of a file that is used, milliseconds.
const MAX_LENGTH_MS: i64 = 10_000;

/// Minimum rate at which a GPU must decode, crop and scale, pictures per second: a third of the rating of the L4's
/// decoder for H.264, which is 740 fps at 1080p, and a quarter of that at four times the pixels.
const MIN_FPS_1080: f64 = 240.0;
const MIN_FPS_2160: f64 = 60.0;

/// One file.
pub(super) struct Material {
    /// The name in the table.
    pub(super) name: String,
    /// Length that is used, milliseconds.
    pub(super) length_ms: i64,
    /// See [`MIN_FPS_1080`].
    pub(super) min_fps: f64,
    bytes: Bytes,
}

impl Material {
    /// A source without cached blocks.
    pub(super) fn open(&self) -> Result<Arc<Source>, Failure> {
        Ok(Arc::new(Source::new(Arc::new(InMemory(self.bytes.clone())))))
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// In memory, so that reading is not measured.
struct InMemory(Bytes);

impl Ranges for InMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn request(&self, offset: u64, length: u64) -> Ticket {
        let ticket = Ticket::default();
        let range = offset as usize..(offset + length) as usize;
        let outside = || ReadError::Failed(failure::internal(format!("{range:?} is outside the file")));
        ticket.settle(if range.end <= self.0.len() { Ok(self.0.slice(range.clone())) } else { Err(outside()) });
        ticket
    }
}

/// Reads the given files, or makes files in `directory`.
pub(super) fn gather(
    directory: &Path,
    named: &[PathBuf],
    installed: &Arc<Installed>,
) -> Result<Vec<Material>, Failure> {
    if named.is_empty() {
        let full = make(directory, "1080p", (1920, 1080), 10, MIN_FPS_1080)?;
        return Ok(vec![full, make(directory, "2160p", (3840, 2160), 4, MIN_FPS_2160)?]);
    }
    let recording = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let material = read(path, name, MAX_LENGTH_MS, 0.0)?;
        let declared =
            probe::probe(&material.open()?, installed)?.declared_ns.map_or(MAX_LENGTH_MS, |ns| ns / 1_000_000);
        // The end may be a picture earlier than declared.
        Ok(Material { length_ms: MAX_LENGTH_MS.min(declared - END_TOLERANCE_MS), ..material })
    };
    named.iter().map(recording).collect()
}

fn read(path: &Path, name: String, length_ms: i64, min_fps: f64) -> Result<Material, Failure> {
    let bytes = std::fs::read(path).map_err(|error| failure::internal(format!("{}: {error}", path.display())))?;
    Ok(Material { name, length_ms, min_fps, bytes: bytes.into() })
}

/// Encodes moving colour bars with a corner of random noise, as H.264 with HD colours.
pub(super) fn make(
    directory: &Path,
    name: &str,
    (width, height): (u32, u32),
    seconds: u32,
    min_fps: f64,
) -> Result<Material, Failure> {
    let (file, pictures) = (format!("{name}.mp4"), (seconds * 30).to_string());
    let steps = [
        with("videotestsrc", &[("pattern", "smpte"), ("horizontal-speed", "6"), ("num-buffers", &pictures)]),
        Step::Caps(format!("video/x-raw,format=I420,width={width},height={height},framerate=30/1,colorimetry=bt709")),
        with("x264enc", &[("speed-preset", "superfast"), ("pass", "qual"), ("quantizer", "18"), ("key-int-max", "60")]),
        Step::Caps("video/x-h264,profile=high".into()),
        element("mp4mux"),
        with("filesink", &[("location", &file)]),
    ];
    let pipeline = PipelineGuard::new(gst::Pipeline::with_name("material"));
    bus::add_linked(&pipeline, &chain(&steps, directory, &mut Grids::default())?)?;
    finish(&pipeline)?;
    read(&directory.join(&file), name.to_owned(), i64::from(seconds) * 1_000, min_fps)
}

/// Runs a pipeline to its end.
pub(super) fn finish(pipeline: &PipelineGuard) -> Result<(), Failure> {
    pipeline.start(gst::State::Playing)?;
    let mut stall = StallDetector::new("making material");
    loop {
        match pipeline.next_event() {
            Some(Event::Ended) => return Ok(()),
            Some(Event::Failed(error)) => return Err(failure::encode_failed(error)),
            None => stall.check(pipeline.query_position::<gst::ClockTime>().map_or(0, gst::ClockTime::nseconds))?,
        }
        std::thread::sleep(bus::POLL_INTERVAL);
    }
}
