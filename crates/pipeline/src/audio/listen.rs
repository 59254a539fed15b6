//! Measures the loudness of the clip's audio before the clip is made.
//!
//! ```text
//! RangeSource ── demuxer ── queue ── decode ── convert ── resample ── SampleGrid ── Meter ── fakesink
//! ```
//!
//! The samples are those of the encoding run: the steps after the queue are the same, and the same grid cuts them.

use crate::{
    audio::loudness::meter::{Measured, Meter},
    elements::{RangeSource, stereo},
    failure,
    graph::{
        build::{self, Grids},
        bus::{self, ElementError, Event},
        run::{self, Sought},
    },
    plan::{audio::ListenPlan, catalog::Kind},
    source::{blocks::Source, tracks},
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{mem, path::Path, sync::Arc};

/// How the measurement ended.
#[derive(Debug)]
pub enum Outcome {
    /// All of the clip's audio was measured.
    Complete(Measured),
    /// The seek ended after the clip's start; start from an earlier position.
    SeekOvershot,
    /// An element failed.
    Failed(ElementError),
}

/// Measures the audio of a clip. `report` receives the finished share.
pub fn listen(plan: &ListenPlan, source: &Arc<Source>, mut report: impl FnMut(f64)) -> Result<Outcome, Failure> {
    let pipeline = bus::PipelineGuard::new(gst::Pipeline::with_name("listen"));
    let demuxer = bus::make(plan.container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.clone().upcast(), demuxer.clone()])?;
    let mut grids = Grids::default();
    let mut chain = build::chain(&plan.steps, Path::new(""), &mut grids)?;
    grids.stop_reading_when_complete(&input);
    let samples = grids.samples.ok_or_else(|| failure::internal("a plan without a grid"))?;
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    let meter = meter_at(&bus::pad(&sink, "sink")?);
    chain.push(sink);
    bus::add_linked(&pipeline, &chain)?;
    let entry = build::first_pad(&chain)?;
    tracks::connect(&demuxer, vec![(Kind::Audio, plan.stream, entry.clone())]);

    if let Some(seek_ns) = plan.seek_ns {
        match run::seek_blocked(&pipeline, &demuxer, &[entry], source, seek_ns, || {})? {
            Sought::Yes => {}
            Sought::No => return Ok(Outcome::SeekOvershot),
            // A track without samples is silent.
            Sought::Empty => return Ok(Outcome::Complete(Measured::default())),
            Sought::Failed(error) => return Ok(Outcome::Failed(error)),
        }
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallDetector::new("listening to the clip");
    loop {
        let event = pipeline.next_event();
        let measured = meter.lock().samples() as u64;
        if plan.seek_ns.is_some() && samples.report().first_ns.is_some_and(|first| first > plan.start_ns) {
            return Ok(Outcome::SeekOvershot);
        }
        report(measured as f64 / plan.samples as f64);
        match event {
            Some(Event::Ended) => return Ok(Outcome::Complete(mem::take(&mut *meter.lock()).finish())),
            Some(Event::Failed(error)) => return Ok(Outcome::Failed(error)),
            None => stall.check(source.reads() + measured)?,
        }
        std::thread::sleep(bus::POLL_INTERVAL);
    }
}

fn meter_at(pad: &gst::Pad) -> Arc<Mutex<Meter>> {
    let meter: Arc<Mutex<Meter>> = Arc::default();
    let shared = Arc::clone(&meter);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
            shared.lock().add(stereo(&map));
        }
        gst::PadProbeReturn::Ok
    });
    meter
}
