//! Listening to the clip's sound before the clip is made, to know how loud it is.
//!
//! ```text
//! RangeSource ── demuxer ── queue ── decode ── convert ── resample ── SampleGrid ── Meter ── fakesink      pictures are not decoded
//! ```
//!
//! The samples are those of the run: the same steps behind the queue, cut by the same grid.

use crate::{
    build::{self, Grids},
    bus::{self, ElementError, Event},
    catalog::Kind,
    elements::{RangeSource, stereo},
    failure,
    leveling::meter::{Measured, Meter},
    plan::Listening,
    run::{self, Sought},
    source::Source,
    tracks,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{mem, path::Path, sync::Arc};

/// How listening ended.
#[derive(Debug)]
pub enum Heard {
    /// All of the clip's sound was measured.
    All(Measured),
    /// The seek led behind the clip's start; begin earlier.
    Astray,
    /// An element failed.
    Failed(ElementError),
}

/// Measures the sound of a clip. `report` is told the share that is done.
pub fn listen(plan: &Listening, source: &Arc<Source>, mut report: impl FnMut(f64)) -> Result<Heard, Failure> {
    let pipeline = bus::Guard::new(gst::Pipeline::with_name("listen"));
    let demuxer = bus::make(plan.container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.clone().upcast(), demuxer.clone()])?;
    let mut grids = Grids::default();
    let mut chain = build::chain(&plan.steps, Path::new(""), &mut grids)?;
    grids.close(&input);
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
            Sought::No => return Ok(Heard::Astray),
            // A track without a sample is silent.
            Sought::Empty => return Ok(Heard::All(Measured::default())),
            Sought::Failed(error) => return Ok(Heard::Failed(error)),
        }
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallGuard::new("listening to the clip");
    loop {
        let event = pipeline.next_event();
        let heard = meter.lock().samples() as u64;
        if plan.seek_ns.is_some() && samples.report().first_ns.is_some_and(|first| first > plan.start_ns) {
            return Ok(Heard::Astray);
        }
        report(heard as f64 / plan.samples as f64);
        match event {
            Some(Event::Ended) => return Ok(Heard::All(mem::take(&mut *meter.lock()).finish())),
            Some(Event::Failed(error)) => return Ok(Heard::Failed(error)),
            None => stall.check(source.reads() + heard)?,
        }
        std::thread::sleep(bus::STEP);
    }
}

fn meter_at(pad: &gst::Pad) -> Arc<Mutex<Meter>> {
    let meter: Arc<Mutex<Meter>> = Arc::default();
    let listening = Arc::clone(&meter);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
            listening.lock().add(stereo(&map));
        }
        gst::PadProbeReturn::Ok
    });
    meter
}
