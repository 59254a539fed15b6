//! Runs a built pipeline from start to end.
//!
//! ```text
//! build ── paused, first pad blocked ── one flushing seek to the key frame ── unblock, playing ── end, error, overshot
//!      └── (no seek) ───────────────────────────────────────────────────────── playing ──┘
//! ```
//!
//! The seek happens before any data has passed the blocked pads, so that nothing after them is ever flushed. It goes to
//! a key frame instead of the exact position: the grids cut exactly, and they need time stamps that no decoder has
//! clipped.

use crate::{
    elements::{FramesReport, SamplesReport},
    failure,
    graph::{
        build::Built,
        bus::{self, ElementError, Event, PipelineGuard},
    },
    plan::Plan,
    source::blocks::Source,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

/// Maximum time for the decoders to negotiate formats before a seek. A decoder that cannot negotiate reports an error
/// later.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The output is complete.
    Complete(FramesReport, SamplesReport),
    /// The seek ended after the clip's start; start from an earlier position.
    SeekOvershot,
    /// The source ended too early.
    Short(FramesReport),
    /// An element failed.
    Failed(ElementError),
}

/// Progress of a run.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// No picture of the clip yet.
    Fetching,
    /// This number of frames has been encoded.
    Encoded(u32),
}

/// Runs to the end. `report` is called often.
pub fn run(built: &Built, plan: &Plan, source: &Source, mut report: impl FnMut(Progress)) -> Result<Outcome, Failure> {
    if let Some(seek) = plan.seek_ns {
        let Built { pipeline, demuxer, entries, .. } = built;
        match seek_blocked(pipeline, demuxer, entries, source, seek, || wait_for_key_frame(built))? {
            Sought::Yes => {}
            Sought::No => return Ok(Outcome::SeekOvershot),
            Sought::Empty => return Err(failure::source_truncated("it has no frames")),
            Sought::Failed(error) => return Ok(Outcome::Failed(error)),
        }
    }
    built.pipeline.start(gst::State::Playing)?;
    let start_ns = plan.start_ns();
    let mut stall = bus::StallDetector::new("making the clip");
    let mut gpu = bus::StallDetector::with_timeout("waiting for the GPU", bus::GPU_STALL_TIMEOUT);
    loop {
        let event = built.pipeline.next_event();
        let frames = built.frames.report();
        let encoded = built.encoded.load(Ordering::Relaxed);
        // Streams with gradual refresh have complete pictures only some time after the position of a seek.
        let overshot = frames.first_is_broken || frames.first_ns.is_some_and(|first| first > start_ns);
        if plan.seek_ns.is_some() && overshot {
            return Ok(Outcome::SeekOvershot);
        }
        report(match frames.first_shown {
            None => Progress::Fetching,
            Some(_) => Progress::Encoded(encoded),
        });
        match event {
            Some(Event::Ended) => return Ok(Outcome::Complete(frames, built.samples.report())),
            Some(Event::Failed(_)) if frames.short => return Ok(Outcome::Short(frames)),
            Some(Event::Failed(error)) => return Ok(Outcome::Failed(error)),
            None => {
                let signs = source.reads() + u64::from(frames.emitted) + u64::from(encoded);
                // No picture is expected from the GPU while bytes are missing, or after the last frame, while the file
                // is being written.
                if !plan.on_gpu || encoded == plan.expected.frames || source.is_blocked() {
                    gpu.reset();
                }
                gpu.check(signs)?;
                stall.check(signs)?;
            }
        }
        std::thread::sleep(bus::POLL_INTERVAL);
    }
}

/// The result of a seek.
pub(crate) enum Sought {
    /// The next data is from the new position.
    Yes,
    /// Seeking is not possible.
    No,
    /// No data ever reaches the entries.
    Empty,
    /// An element failed.
    Failed(ElementError),
}

/// Starts a pipeline, and seeks before any data has passed its entries. `before` is called after the seek and before
/// any data passes.
pub(crate) fn seek_blocked(
    pipeline: &PipelineGuard,
    demuxer: &gst::Element,
    entries: &[gst::Pad],
    source: &Source,
    seek_ns: i64,
    before: impl FnOnce(),
) -> Result<Sought, Failure> {
    let (blocked, first) = mpsc::channel();
    let mut probes = Vec::new();
    for pad in entries {
        let blocked = Mutex::new(blocked.clone());
        let mask = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        let id = pad.add_probe(mask, move |_, _| {
            let _ = blocked.lock().send(());
            gst::PadProbeReturn::Ok
        });
        probes.push((pad, id));
    }
    pipeline.start(gst::State::Paused)?;
    let mut stall = bus::StallDetector::new("reading the head of the source");
    // One blocked pad shows that the headers have been read.
    while first.recv_timeout(bus::POLL_INTERVAL).is_err() {
        match pipeline.next_event() {
            Some(Event::Failed(error)) => return Ok(Sought::Failed(error)),
            Some(Event::Ended) => return Ok(Sought::Empty),
            None => stall.check(source.reads())?,
        }
    }
    wait_for_formats(entries);
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
    let position = gst::ClockTime::from_nseconds(seek_ns.max(0) as u64);
    let sought = demuxer.seek_simple(flags, position).is_ok();
    before();
    for (pad, id) in probes {
        if let Some(id) = id {
            pad.remove_probe(id);
        }
    }
    Ok(if sought { Sought::Yes } else { Sought::No })
}

/// Events before the data pass the blocked pads and are still being processed after them. A GPU's decoder negotiates
/// its format as soon as it gets the caps. If it were flushed during that, it would never decode anything.
fn wait_for_formats(entries: &[gst::Pad]) {
    let agreed = |entry: &gst::Pad| {
        let source_pad = entry.parent_element().and_then(|queue| queue.static_pad("src")?.peer());
        entry.current_caps().is_none() || source_pad.is_none_or(|pad| pad.current_caps().is_some())
    };
    let began = Instant::now();
    while began.elapsed() < FORMAT_TIMEOUT && !entries.iter().all(agreed) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Without an index, a seek may end between key frames. Some decoders do not refuse pictures that they cannot decode,
/// so pictures before the first key frame are dropped.
fn wait_for_key_frame(built: &Built) {
    let Some(pictures) = built.entries.first() else { return };
    pictures.add_probe(gst::PadProbeType::BUFFER, |_, info| match info.buffer() {
        // `Handled` consumes the buffer. `Drop` makes GStreamer release it a second time.
        Some(buffer) if buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) => gst::PadProbeReturn::Handled,
        Some(_) => gst::PadProbeReturn::Remove,
        None => gst::PadProbeReturn::Ok,
    });
}
