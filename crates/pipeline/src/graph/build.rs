//! Builds a pipeline of GStreamer elements from a [`Plan`], without starting it. For its structure, see the drawing of
//! the plan.

use crate::{
    audio::loudness::{LoudnessSettings, amplitude, limiter::Limiter},
    elements::{Canvas, FrameGridElement, LoudnessElement, RangeLimiter, RangeSource, SampleGridElement, ToneMapper},
    failure,
    graph::bus::{self, PipelineGuard},
    picture::{backdrop::Backdrop, moving_crop::MovingCrop},
    plan::{
        Crop, ENCODED, Fit, Plan, SAMPLE_RATE, SCALER, Step,
        catalog::Kind,
        geometry::{shown, stored_crop},
    },
    source::{blocks::Source, tracks},
    timing::SampleGrid,
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

/// A pipeline that is ready to start.
pub struct Built {
    /// The pipeline.
    pub pipeline: PipelineGuard,
    /// The element to seek on.
    pub demuxer: gst::Element,
    /// The sink pads of the chains that follow the demuxer. They are blocked until the seek.
    pub entries: Vec<gst::Pad>,
    /// Chooses the pictures that are shown.
    pub frames: FrameGridElement,
    /// Chooses the samples.
    pub samples: SampleGridElement,
    /// Number of frames that left the encoder.
    pub encoded: Arc<AtomicU32>,
}

/// Builds a plan. Its files are in `directory`.
pub fn build(plan: &Plan, source: &Arc<Source>, directory: &Path) -> Result<Built, Failure> {
    let pipeline = PipelineGuard::new(gst::Pipeline::with_name("clip"));
    let demuxer = bus::make(plan.container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.clone().upcast(), demuxer.clone()])?;

    let mut grids = Grids::default();
    let video = chain(&plan.video, directory, &mut grids)?;
    let audio = chain(&plan.audio, directory, &mut grids)?;
    let output = chain(&plan.output, directory, &mut grids)?;
    let verification = chain(&plan.verification, directory, &mut grids)?;
    for elements in [&video, &audio, &output, &verification] {
        bus::add_linked(&pipeline, elements)?;
    }
    branch(&pipeline, &verification)?;
    let [mux, ..] = output.as_slice() else { return Err(failure::internal("a plan without a multiplexer")) };
    let encoded = count_frames(&into_mux(&video, mux, "video_%u")?);
    into_mux(&audio, mux, "audio_%u")?;

    grids.stop_reading_when_complete(&input);
    let frames = grids.frames.ok_or_else(|| failure::internal("a plan without a frame grid"))?;
    let samples = grids.samples.ok_or_else(|| failure::internal("a plan without a sample grid"))?;
    stop_decoder_when_complete(&pipeline, &frames)?;

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

/// The grids of a chain.
#[derive(Default)]
pub(crate) struct Grids {
    frames: Option<FrameGridElement>,
    /// Chooses the samples.
    pub(crate) samples: Option<SampleGridElement>,
}

impl Grids {
    /// Stops reading once all grids are complete.
    pub(crate) fn stop_reading_when_complete(&self, input: &RangeSource) {
        let frames = self.frames.as_ref().map(|frames| frames.downgrade());
        let samples = self.samples.as_ref().map(|samples| samples.downgrade());
        input.read_until(move || {
            frames.as_ref().is_none_or(|frames| frames.upgrade().is_some_and(|frames| frames.is_over()))
                && samples.as_ref().is_none_or(|samples| samples.upgrade().is_some_and(|samples| samples.is_over()))
        });
    }
}

/// Creates the elements of steps, without linking them. Their files are in `directory`.
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
        Step::Loudness(LoudnessSettings { gain_db, ceiling_dbtp }) => {
            let limiter = Limiter::new(amplitude(*gain_db) as f32, amplitude(*ceiling_dbtp) as f32);
            Ok(LoudnessElement::new(limiter, SAMPLE_RATE).upcast())
        }
    }
}

/// The crop is recomputed when the picture's size changes: a screen capture of a window changes its size with the
/// window.
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

/// Contains scaler and caps filter in one element, because the size must be set before the scaler negotiates.
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

/// Calls `update` with the size and pixel aspect ratio of the pictures that arrive at `pad`, before the first picture
/// of each size.
fn follow(
    pad: &gst::Pad,
    element: &gst::Element,
    update: impl Fn(&gst::Element, Size, (u32, u32)) + Send + Sync + 'static,
) {
    let weak = element.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
            && let Some(element) = weak.upgrade()
            && let Some((stored, aspect)) = picture_of(caps.caps())
        {
            update(&element, stored, aspect);
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

/// Links the tee after the encoder to verification.
fn branch(pipeline: &gst::Pipeline, verification: &[gst::Element]) -> Result<(), Failure> {
    let tee = pipeline.by_name(ENCODED).ok_or_else(|| failure::internal("a plan without a tee"))?;
    let from = tee.request_pad_simple("src_%u").ok_or_else(|| failure::internal("a tee without branches"))?;
    from.link(&first_pad(verification)?).map(|_| ()).map_err(failure::internal)
}

/// Stops feeding the decoder once the clip has its frames. Until then, pictures after the clip are dropped instead of
/// refused, because some decoders report a refusal as a failure.
fn stop_decoder_when_complete(pipeline: &gst::Pipeline, frames: &FrameGridElement) -> Result<(), Failure> {
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
