//! The pictures of a clip as they reach its encoder, on one route, or on two routes side by side.
//!
//! ```text
//! RangeSource ── demuxer ── queue ── decode ── FrameGrid ── crop ── scale ── fakesink
//! ```

use super::{
    material::Material,
    similarity::{Comparison, Planes},
};
use crate::{
    elements::RangeSource,
    failure,
    graph::{
        build::{self, Grids},
        bus::{self, Event, PipelineGuard},
    },
    plan::{self, Reach, Step, catalog::Kind, route::Route},
    source::{probe::Probed, tracks},
    verify::tap,
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

/// Number of pictures that one side may be ahead.
const MAX_AHEAD: usize = 4;

/// Maximum time to wait for a picture of one side. A picture takes milliseconds.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(60);

/// Receives the pictures at the encoder's input.
type Observer = dyn Fn(&gst::Pad, &gst::BufferRef) + Send + Sync;

/// An order and its route.
type Side<'a> = (&'a Transcode, &'a Route);

/// Compares two sides picture by picture.
pub(super) fn compare(sides: [Side<'_>; 2], probed: &Probed, material: &Material) -> Result<Comparison, Failure> {
    let (order, route) = sides[0];
    let frames = plan::plan(order, probed, route, Reach::FROM_THE_BEGINNING)?.expected.frames;
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (order, route) in sides {
            let (send, receive) = sync_channel(MAX_AHEAD);
            let send = Mutex::new(send);
            let observe = move |pad: &gst::Pad, buffer: &gst::BufferRef| {
                // The comparison may have ended.
                let _ = send.lock().send(tap::with_planes(pad, buffer, Planes::of));
            };
            running.push((scope.spawn(move || pass(order, probed, route, material, Arc::new(observe))), receive));
        }
        let [one, other] = <[_; 2]>::try_from(running).map_err(|_| failure::internal("two sides"))?;
        let compared = side_by_side(&one.1, &other.1, frames);
        // Dropped first, so that a side whose pictures are no longer received can end.
        drop((one.1, other.1));
        for side in [one.0, other.0] {
            side.join().map_err(|_| failure::internal("a comparison panicked"))??;
        }
        compared.map_err(failure::encode_mismatch)
    })
}

fn side_by_side(
    one: &Receiver<Option<Planes>>,
    other: &Receiver<Option<Planes>>,
    frames: u32,
) -> Result<Comparison, String> {
    let mut comparison = Comparison::default();
    for frame in 0..frames {
        let next = |side: &Receiver<Option<Planes>>, name: &str| {
            let picture = side
                .recv_timeout(PICTURE_TIMEOUT)
                .map_err(|error| format!("picture {frame} of the {name}: {error}"))?;
            picture.ok_or_else(|| format!("picture {frame} of the {name} cannot be read"))
        };
        comparison.add(&next(one, "GPU")?, &next(other, "CPU")?)?;
    }
    Ok(comparison)
}

/// Pictures per second on one route, measured from the first to the last picture. Start-up costs occur once per clip.
pub(super) fn speed(order: &Transcode, probed: &Probed, route: &Route, material: &Material) -> Result<f64, Failure> {
    let times = Arc::new(Mutex::new(None::<(Instant, Instant, u32)>));
    let recorded = Arc::clone(&times);
    let observe = move |_: &gst::Pad, _: &gst::BufferRef| {
        let now = Instant::now();
        let mut times = recorded.lock();
        *times = Some(times.map_or((now, now, 0), |(first, _, more)| (first, now, more + 1)));
    };
    pass(order, probed, route, material, Arc::new(observe))?;
    let (first, last, more) = times.lock().ok_or_else(|| failure::internal("no picture came"))?;
    Ok(f64::from(more) / (last - first).as_secs_f64().max(f64::EPSILON))
}

/// Runs a plan up to its encoder, and passes all pictures at the encoder's input to `observe`.
fn pass(
    order: &Transcode,
    probed: &Probed,
    route: &Route,
    material: &Material,
    observe: Arc<Observer>,
) -> Result<(), Failure> {
    let plan = plan::plan(order, probed, route, Reach::FROM_THE_BEGINNING)?;
    let source = material.open()?;
    let pipeline = PipelineGuard::new(gst::Pipeline::with_name("pictures"));
    let demuxer = bus::make(plan.container.demuxer())?;
    bus::add_linked(&pipeline, &[RangeSource::new(Arc::clone(&source)).upcast(), demuxer.clone()])?;
    let is_encoder = |step: &Step| matches!(step, Step::Element { name: "video-encoder", .. });
    let before =
        plan.video.iter().position(is_encoder).ok_or_else(|| failure::internal("a plan without an encoder"))?;
    let mut chain = build::chain(&plan.video[..before], Path::new(""), &mut Grids::default())?;
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    let count_ref = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&count_ref);
    bus::pad(&sink, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer() {
            observe(pad, buffer);
        }
        gst::PadProbeReturn::Ok
    });
    chain.push(sink);
    bus::add_linked(&pipeline, &chain)?;
    tracks::connect(&demuxer, vec![(Kind::Video, plan.video_stream, build::first_pad(&chain)?)]);
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallDetector::new("comparing pictures");
    loop {
        match pipeline.next_event() {
            Some(Event::Ended) => return Ok(()),
            Some(Event::Failed(error)) => return Err(failure::encode_failed(error)),
            None => stall.check(source.reads() + count_ref.load(Ordering::Relaxed))?,
        }
        std::thread::sleep(bus::POLL_INTERVAL);
    }
}
