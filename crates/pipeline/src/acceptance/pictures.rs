//! The pictures of a clip as they reach its encoder, by one way or by two side by side.
//!
//! ```text
//! RangeSource ── demuxer ── queue ── decode ── FrameGrid ── crop ── scale ── fakesink      the plan of a clip, up to its encoder
//! ```

use super::{
    likeness::{Comparison, Planes},
    material::Material,
};
use crate::{
    build::{self, Grids},
    bus::{self, Event, Guard},
    catalog::Kind,
    elements::RangeSource,
    failure,
    plan::{self, Reach, Step},
    probe::Probed,
    route::Way,
    tracks,
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

/// Pictures that either side may be ahead.
const AHEAD: usize = 4;

/// Longest wait for a picture of one side; a picture takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at a picture where it would enter the encoder.
type Look = dyn Fn(&gst::Pad, &gst::BufferRef) + Send + Sync;

/// An order and the way that it takes.
type Side<'a> = (&'a Transcode, &'a Way);

/// Compares two sides picture by picture.
pub(super) fn compare(sides: [Side<'_>; 2], probed: &Probed, material: &Material) -> Result<Comparison, Failure> {
    let (order, way) = sides[0];
    let frames = plan::plan(order, probed, way, Reach::FROM_THE_BEGINNING)?.expected.frames;
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (order, way) in sides {
            let (send, receive) = sync_channel(AHEAD);
            let send = Mutex::new(send);
            let look = move |pad: &gst::Pad, buffer: &gst::BufferRef| {
                // Whoever compares may have given up.
                let _ = send.lock().send(tap::with_planes(pad, buffer, Planes::of));
            };
            running.push((scope.spawn(move || pass(order, probed, way, material, Arc::new(look))), receive));
        }
        let [one, other] = <[_; 2]>::try_from(running).map_err(|_| failure::internal("two sides"))?;
        let compared = side_by_side(&one.1, &other.1, frames);
        // Not before: a side that nobody listens to any more must be able to end.
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
            let picture =
                side.recv_timeout(PATIENCE).map_err(|error| format!("picture {frame} of the {name}: {error}"))?;
            picture.ok_or_else(|| format!("picture {frame} of the {name} cannot be read"))
        };
        comparison.add(&next(one, "GPU")?, &next(other, "CPU")?)?;
    }
    Ok(comparison)
}

/// Pictures per second by one way, from the first to the last: what starting takes is paid once a clip.
pub(super) fn speed(order: &Transcode, probed: &Probed, way: &Way, material: &Material) -> Result<f64, Failure> {
    let times = Arc::new(Mutex::new(None::<(Instant, Instant, u32)>));
    let noted = Arc::clone(&times);
    let look = move |_: &gst::Pad, _: &gst::BufferRef| {
        let now = Instant::now();
        let mut times = noted.lock();
        *times = Some(times.map_or((now, now, 0), |(first, _, more)| (first, now, more + 1)));
    };
    pass(order, probed, way, material, Arc::new(look))?;
    let (first, last, more) = times.lock().ok_or_else(|| failure::internal("no picture came"))?;
    Ok(f64::from(more) / (last - first).as_secs_f64().max(f64::EPSILON))
}

/// Runs the plan of a way up to its encoder; all pictures that enter it are looked at.
fn pass(order: &Transcode, probed: &Probed, way: &Way, material: &Material, look: Arc<Look>) -> Result<(), Failure> {
    let plan = plan::plan(order, probed, way, Reach::FROM_THE_BEGINNING)?;
    let source = material.open()?;
    let pipeline = Guard::new(gst::Pipeline::with_name("pictures"));
    let demuxer = bus::make(plan.container.demuxer())?;
    bus::add_linked(&pipeline, &[RangeSource::new(Arc::clone(&source)).upcast(), demuxer.clone()])?;
    let is_encoder = |step: &Step| matches!(step, Step::Element { name: "video-encoder", .. });
    let before =
        plan.video.iter().position(is_encoder).ok_or_else(|| failure::internal("a plan without an encoder"))?;
    let mut chain = build::chain(&plan.video[..before], Path::new(""), &mut Grids::default())?;
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    bus::pad(&sink, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer() {
            look(pad, buffer);
        }
        gst::PadProbeReturn::Ok
    });
    chain.push(sink);
    bus::add_linked(&pipeline, &chain)?;
    tracks::connect(&demuxer, vec![(Kind::Video, plan.video_stream, build::first_pad(&chain)?)]);
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallGuard::new("comparing pictures");
    loop {
        match pipeline.next_event() {
            Some(Event::Ended) => return Ok(()),
            Some(Event::Failed(error)) => return Err(failure::encode_failed(error)),
            None => stall.check(source.reads() + seen.load(Ordering::Relaxed))?,
        }
        std::thread::sleep(bus::STEP);
    }
}
