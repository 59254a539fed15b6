//! Driving a built pipeline from start to end.
//!
//! ```text
//! build ── paused, first pad blocked ── one flushing seek to the key frame ── unblock, playing ── end | error | astray
//!      └── (no seek) ───────────────────────────────────────────────────────── playing ──┘
//! ```
//!
//! The seek happens before any data has passed the blocked pads, so nothing behind them is ever flushed. It goes to a key frame
//! and not to the exact place: the grids cut exactly, and they see true time stamps only if no decoder has clipped them.

use crate::{
    build::Built,
    bus::{self, ElementError, Event, Guard},
    elements::{FramesReport, SamplesReport},
    failure,
    plan::Plan,
    source::Source,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

/// Longest wait for the decoders to agree on formats before a seek. One that cannot agree says so later.
const AGREEING: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The output is complete.
    Complete(FramesReport, SamplesReport),
    /// The seek led behind the clip's start; begin earlier.
    Astray,
    /// The source ended too early.
    Short(FramesReport),
    /// An element failed.
    Failed(ElementError),
}

/// What a run tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// No picture of the clip yet.
    Fetching,
    /// That many frames have been encoded.
    Encoded(u32),
}

/// Runs to the end. `report` is called often.
pub fn run(built: &Built, plan: &Plan, source: &Source, mut report: impl FnMut(Progress)) -> Result<Outcome, Failure> {
    if let Some(seek) = plan.seek_ns {
        let Built { pipeline, demuxer, entries, .. } = built;
        match seek_blocked(pipeline, demuxer, entries, source, seek, || wait_for_key_frame(built))? {
            Sought::Yes => {}
            Sought::No => return Ok(Outcome::Astray),
            Sought::Empty => return Err(failure::source_truncated("it has no frames")),
            Sought::Failed(error) => return Ok(Outcome::Failed(error)),
        }
    }
    built.pipeline.start(gst::State::Playing)?;
    let start_ns = plan.start_ns();
    let mut stall = bus::StallGuard::new("making the clip");
    let mut gpu = bus::StallGuard::with_patience("waiting for the GPU", bus::GPU_STALL);
    loop {
        let event = built.pipeline.next_event();
        let frames = built.frames.report();
        let encoded = built.encoded.load(Ordering::Relaxed);
        // Pictures that are refreshed bit by bit are whole some time after the place that a seek leads to.
        let astray = frames.first_is_broken || frames.first_ns.is_some_and(|first| first > start_ns);
        if plan.seek_ns.is_some() && astray {
            return Ok(Outcome::Astray);
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
                let signs = source.reads() + u64::from(frames.dealt) + u64::from(encoded);
                // It owes nothing while bytes are missing, and nothing any more when the file is being written.
                if !plan.on_gpu || encoded == plan.expected.frames || source.is_waited_for() {
                    gpu.rest();
                }
                gpu.check(signs)?;
                stall.check(signs)?;
            }
        }
        std::thread::sleep(bus::STEP);
    }
}

/// How a seek went.
pub(crate) enum Sought {
    /// What comes next is from there.
    Yes,
    /// It is not possible.
    No,
    /// Nothing ever reaches the entries.
    Empty,
    /// An element failed.
    Failed(ElementError),
}

/// Starts a pipeline and seeks before any data has passed its entries; `before` is called when it has sought, and nothing has passed yet.
pub(crate) fn seek_blocked(
    pipeline: &Guard,
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
    let mut stall = bus::StallGuard::new("reading the head of the source");
    // One blocked pad is enough: it means that the headers are read.
    while first.recv_timeout(bus::STEP).is_err() {
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

/// What comes ahead of the data passes the blocked pads, and is still under way behind them. A GPU's decoder agrees on its format as soon
/// as it hears of one; flushed meanwhile, it would decode nothing any more.
fn wait_for_formats(entries: &[gst::Pad]) {
    let agreed = |entry: &gst::Pad| {
        let behind = entry.parent_element().and_then(|queue| queue.static_pad("src")?.peer());
        entry.current_caps().is_none() || behind.is_none_or(|pad| pad.current_caps().is_some())
    };
    let began = Instant::now();
    while began.elapsed() < AGREEING && !entries.iter().all(agreed) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Without an index, a seek may end between key frames. Not every decoder refuses what it cannot decode then, so it is not given any.
fn wait_for_key_frame(built: &Built) {
    let Some(pictures) = built.entries.first() else { return };
    pictures.add_probe(gst::PadProbeType::BUFFER, |_, info| match info.buffer() {
        // `Handled` consumes the buffer; `Drop` makes GStreamer release it a second time.
        Some(buffer) if buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) => gst::PadProbeReturn::Handled,
        Some(_) => gst::PadProbeReturn::Remove,
        None => gst::PadProbeReturn::Ok,
    });
}
