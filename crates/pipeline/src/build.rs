//! From a [`Plan`] to a pipeline of GStreamer elements, not yet started. The plan's drawing is the pipeline's.

use crate::{
    backdrop::Backdrop,
    bus::{self, Guard},
    catalog::Kind,
    elements::{Canvas, FrameGridElement, Leveller, RangeLimiter, RangeSource, SampleGridElement, ToneMapper},
    failure,
    leveling::{Leveling, amplitude, limiter::Limiter},
    moving_crop::MovingCrop,
    plan::{Crop, ENCODED, Fit, Plan, SAMPLE_RATE, SCALER, Step, shown, stored_crop},
    source::Source,
    timing::SampleGrid,
    tracks,
};
use clipfleet_domain::{
    failure::Failure,
    reframe::{Region, fitted},
    rendition::Size,
};
use gst::prelude::*;
use gstreamer as gst;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A pipeline ready to start, with the places that its run looks at.
pub struct Built {
    /// The whole.
    pub pipeline: Guard,
    /// Where a seek goes to.
    pub demuxer: gst::Element,
    /// Where demuxed data arrives: the pads to block until the seek.
    pub entries: Vec<gst::Pad>,
    /// Decides which pictures are shown.
    pub frames: FrameGridElement,
    /// Decides which samples are heard.
    pub samples: SampleGridElement,
    /// Frames that left the encoder.
    pub encoded: Arc<AtomicU32>,
}

/// Builds a plan. Files lie in `directory`.
pub fn build(plan: &Plan, source: &Arc<Source>, directory: &Path) -> Result<Built, Failure> {
    let pipeline = Guard::new(gst::Pipeline::with_name("clip"));
    let demuxer = bus::make(plan.container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.clone().upcast(), demuxer.clone()])?;

    let mut grids = Grids::default();
    let video = chain(&plan.video, directory, &mut grids)?;
    let audio = chain(&plan.audio, directory, &mut grids)?;
    let output = chain(&plan.output, directory, &mut grids)?;
    let proof = chain(&plan.proof, directory, &mut grids)?;
    for elements in [&video, &audio, &output, &proof] {
        bus::add_linked(&pipeline, elements)?;
    }
    branch(&pipeline, &proof)?;
    let [mux, ..] = output.as_slice() else { return Err(failure::internal("a plan without a multiplexer")) };
    let encoded = count_frames(&into_mux(&video, mux, "video_%u")?);
    into_mux(&audio, mux, "audio_%u")?;

    grids.close(&input);
    let frames = grids.frames.ok_or_else(|| failure::internal("a plan without a frame grid"))?;
    let samples = grids.samples.ok_or_else(|| failure::internal("a plan without a sample grid"))?;
    close_behind(&pipeline, &frames)?;

    let mut entries = vec![(Kind::Video, plan.video_stream, first_pad(&video)?)];
    if plan.audio_from_source {
        entries.push((Kind::Audio, plan.audio_stream, first_pad(&audio)?));
    }
    tracks::connect(&demuxer, entries.clone());
    Ok(Built {
        pipeline,
        demuxer,
        entries: entries.into_iter().map(|(_, _, pad)| pad).collect(),
        frames,
        samples,
        encoded,
    })
}

/// The elements of a chain that deal out a clip, as they are made.
#[derive(Default)]
pub(crate) struct Grids {
    frames: Option<FrameGridElement>,
    /// Decides which samples are heard.
    pub(crate) samples: Option<SampleGridElement>,
}

impl Grids {
    /// Once all of them have dealt out the clip, nothing more is read.
    pub(crate) fn close(&self, input: &RangeSource) {
        let frames = self.frames.as_ref().map(|frames| frames.downgrade());
        let samples = self.samples.as_ref().map(|samples| samples.downgrade());
        input.read_until(move || {
            frames.as_ref().is_none_or(|frames| frames.upgrade().is_some_and(|frames| frames.is_over()))
                && samples.as_ref().is_none_or(|samples| samples.upgrade().is_some_and(|samples| samples.is_over()))
        });
    }
}

/// The elements of some steps, not yet connected. Files lie in `directory`.
pub(crate) fn chain(steps: &[Step], directory: &Path, grids: &mut Grids) -> Result<Vec<gst::Element>, Failure> {
    steps.iter().map(|step| element(step, directory, grids)).collect()
}

fn element(step: &Step, directory: &Path, grids: &mut Grids) -> Result<gst::Element, Failure> {
    match step {
        Step::Element { factory, name, properties } => {
            let element = bus::make(factory)?;
            if !name.is_empty() {
                bus::set(&element, "name", name)?;
            }
            for (name, value) in properties {
                let is_file = matches!(*name, "location" | "faststart-file");
                let path = is_file.then(|| directory.join(value).to_string_lossy().into_owned());
                bus::set(&element, name, path.as_deref().unwrap_or(value))?;
            }
            Ok(element)
        }
        Step::Caps(caps) => {
            let element = bus::make("capsfilter")?;
            let caps: gst::Caps = caps.parse().map_err(failure::internal)?;
            element.set_property("caps", caps);
            Ok(element)
        }
        Step::Crop(crop) => crop_element(*crop),
        Step::Fit(fit) => fit_element(fit),
        Step::LimitRange => Ok(RangeLimiter::new().upcast()),
        Step::ToneMap => Ok(ToneMapper::new().upcast()),
        Step::Backdrop { target } => Ok(Canvas::new(*target, Box::new(Backdrop::new(*target))).upcast()),
        Step::MovingCrop { path, target } => {
            let crop = MovingCrop::new(path.clone(), *target);
            Ok(Canvas::new(*target, Box::new(crop)).upcast())
        }
        Step::Frames(frames) => {
            let grid = FrameGridElement::new(frames);
            grids.frames = Some(grid.clone());
            Ok(grid.upcast())
        }
        Step::Samples { start_ns, samples, time_line } => {
            let grid = SampleGrid::new(*start_ns, SAMPLE_RATE, *samples);
            let grid = SampleGridElement::new(grid, time_line.clone(), SAMPLE_RATE);
            grids.samples = Some(grid.clone());
            Ok(grid.upcast())
        }
        Step::Loudness(Leveling { gain_db, ceiling_dbtp }) => {
            let limiter = Limiter::new(amplitude(*gain_db) as f32, amplitude(*ceiling_dbtp) as f32);
            Ok(Leveller::new(limiter, SAMPLE_RATE).upcast())
        }
    }
}

/// The crop follows the picture: a capture of a window changes its size when the window does.
fn crop_element(crop: Crop) -> Result<gst::Element, Failure> {
    let element = bus::make("videocrop")?;
    set_margins(&element, crop.margins);
    let framing = (crop.position, crop.zoom);
    follow(&bus::pad(&element, "sink")?, &element, move |element, stored, aspect| {
        if let Ok(margins) = stored_crop(framing, stored, aspect, crop.target) {
            set_margins(element, margins);
        }
    });
    Ok(element)
}

/// Scaler and wanted size in one, since the size must be there before the scaler asks for it.
fn fit_element(fit: &Fit) -> Result<gst::Element, Failure> {
    let (scaler, wanted) = (bus::make("videoconvertscale")?, bus::make("capsfilter")?);
    for (name, value) in SCALER {
        bus::set(&scaler, name, value)?;
    }
    let caps: gst::Caps = fit.caps(fit.size).parse().map_err(failure::internal)?;
    wanted.set_property("caps", caps);
    let bin = gst::Bin::new();
    bin.add_many([&scaler, &wanted]).map_err(failure::internal)?;
    scaler.link(&wanted).map_err(failure::internal)?;
    for pad in [bus::pad(&scaler, "sink")?, bus::pad(&wanted, "src")?] {
        bin.add_pad(&gst::GhostPad::with_target(&pad).map_err(failure::internal)?).map_err(failure::internal)?;
    }
    let fit = fit.clone();
    follow(&bus::pad(&scaler, "sink")?, &wanted, move |wanted, stored, aspect| {
        let fitted = fitted(shown(stored, aspect), fit.target).ok();
        let caps = fitted.and_then(|Region { width, height, .. }| fit.caps(Size { width, height }).parse().ok());
        if let Some(caps) = caps.filter(|caps: &gst::Caps| *caps != wanted.property::<gst::Caps>("caps")) {
            wanted.set_property("caps", caps);
        }
    });
    Ok(bin.upcast())
}

/// Tells `element` the size and pixel shape of the pictures that arrive at `pad`, before the first of each size.
fn follow(
    pad: &gst::Pad,
    element: &gst::Element,
    tell: impl Fn(&gst::Element, Size, (u32, u32)) + Send + Sync + 'static,
) {
    let weak = element.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
            && let Some(element) = weak.upgrade()
            && let Some((stored, aspect)) = picture_of(caps.caps())
        {
            tell(&element, stored, aspect);
        }
        gst::PadProbeReturn::Ok
    });
}

fn picture_of(caps: &gst::CapsRef) -> Option<(Size, (u32, u32))> {
    let structure = caps.structure(0)?;
    let side = |name| u32::try_from(structure.get::<i32>(name).ok()?).ok();
    let stored = Size { width: side("width")?, height: side("height")? };
    let aspect = structure.get::<gst::Fraction>("pixel-aspect-ratio").unwrap_or(gst::Fraction::new(1, 1));
    Some((stored, (u32::try_from(aspect.numer()).ok()?, u32::try_from(aspect.denom()).ok()?)))
}

fn set_margins(element: &gst::Element, margins: [u32; 4]) {
    for (name, margin) in ["left", "top", "right", "bottom"].into_iter().zip(margins) {
        element.set_property(name, margin as i32);
    }
}

pub(crate) fn first_pad(elements: &[gst::Element]) -> Result<gst::Pad, Failure> {
    let first = elements.first().ok_or_else(|| failure::internal("an empty chain"))?;
    bus::pad(first, "sink")
}

fn into_mux(elements: &[gst::Element], mux: &gst::Element, template: &str) -> Result<gst::Pad, Failure> {
    let last = elements.last().ok_or_else(|| failure::internal("an empty chain"))?;
    let from = bus::pad(last, "src")?;
    let into = mux.request_pad_simple(template).ok_or_else(|| failure::internal("the multiplexer takes no stream"))?;
    from.link(&into).map_err(failure::internal)?;
    Ok(from)
}

/// What leaves the encoder goes to the proof, too.
fn branch(pipeline: &gst::Pipeline, proof: &[gst::Element]) -> Result<(), Failure> {
    let tee = pipeline.by_name(ENCODED).ok_or_else(|| failure::internal("a plan without a tee"))?;
    let from = tee.request_pad_simple("src_%u").ok_or_else(|| failure::internal("a tee without branches"))?;
    from.link(&first_pad(proof)?).map(|_| ()).map_err(failure::internal)
}

/// Once the clip has its frames, the decoder gets no more. Its output is dropped meanwhile and not refused, which not every decoder takes for
/// anything but a failure.
fn close_behind(pipeline: &gst::Pipeline, frames: &FrameGridElement) -> Result<(), Failure> {
    let decoder = pipeline.by_name("video-decoder").ok_or_else(|| failure::internal("a plan without a decoder"))?;
    let frames = frames.downgrade();
    bus::pad(&decoder, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if !frames.upgrade().is_some_and(|frames| frames.is_over()) {
            return gst::PadProbeReturn::Ok;
        }
        info.flow_res = Err(gst::FlowError::Eos);
        gst::PadProbeReturn::Handled
    });
    Ok(())
}

fn count_frames(pad: &gst::Pad) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    count
}
