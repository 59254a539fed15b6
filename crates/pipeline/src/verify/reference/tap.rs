//! Observes a clip's pipeline for the comparison with the source. Buffers are not delayed, and only means of pictures
//! are kept.
//!
//! ```text
//! demuxer ─┬─ (packets, id of the track) ── decode ── (pictures) ── … ── (frames) ── encode
//!          └─ (id of the track) ── decode ── (samples) ── audioconvert …
//! ```

use super::{
    Job, Scope,
    cells::{Original, Sample},
    colour::{self, Levels, Matrix, Range, Reading, Samples},
    downmix::{self, Number},
    instants::Instants,
    planes::{Component, Rectangle},
    sides::Sides,
    tracks::Track,
    view::{self, CELLS, Stored},
};
use crate::{
    failure,
    graph::bus,
    source::{
        edits::Placed,
        time_line::{TimeLine, clip_time},
        tracks::track_number,
    },
};
use clipfleet_domain::{failure::Failure, rendition::Size};
use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use parking_lot::Mutex;
use std::{mem, sync::Arc};

/// Number of packets that are kept, and maximum bytes of each. Headers of a stream are at the beginning of its first
/// key frame.
const MAX_PACKETS: usize = 4;
const MAX_PACKET_BYTES: usize = 16 << 10;

/// The observations of a run.
#[derive(Debug, Default)]
pub struct SourceObserved {
    /// The tracks that the source declares.
    pub tracks: Arc<[Track]>,
    /// What is compared.
    pub scope: Scope,
    /// The first video packets.
    pub packets: Vec<Vec<u8>>,
    /// Number of the decoded video track.
    pub video_track: Option<u64>,
    /// Number of the decoded audio track.
    pub audio_track: Option<u64>,
    /// Chosen frames with their pictures.
    pub samples: Vec<Sample>,
    /// The source's audio.
    pub sides: Option<Sides>,
    /// Why video or audio is not compared; empty if it is.
    pub unreadable: Vec<String>,
}

/// An observer, shared with the pads that it observes.
#[derive(Debug)]
pub struct Tap {
    job: Job,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    observed: SourceObserved,
    instants: Instants,
    last_ns: Option<i64>,
    kept: Vec<Kept>,
    frames: Vec<(u32, Vec<Levels>)>,
    audio_end: Option<f64>,
}

#[derive(Debug)]
struct Kept {
    frame: u32,
    picture: usize,
    original: Original,
    /// The part of the output that shows it.
    output: Rectangle,
}

impl Tap {
    /// A tap for one run.
    pub fn new(job: Job) -> Arc<Self> {
        let instants = Instants::new(job.start_ns, job.fps, job.frames, job.seed);
        let state = State {
            observed: SourceObserved::default(),
            instants,
            last_ns: None,
            kept: Vec::new(),
            frames: Vec::new(),
            audio_end: None,
        };
        Arc::new(Self { job, state: Mutex::new(state) })
    }

    /// Observes a pipeline. `entries` are the pads at which the demuxer's streams arrive: video, and audio if there is
    /// any.
    pub fn attach(self: &Arc<Self>, pipeline: &gst::Pipeline, entries: &[gst::Pad]) -> Result<(), Failure> {
        let part = |name| pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a plan without {name}")));
        if let Some(pictures) = entries.first() {
            self.packets(pictures);
        }
        self.pictures(&bus::pad(&part("video-decoder")?, "src")?);
        self.frames(&bus::pad(&part("video-encoder")?, "sink")?);
        if let Some(audio) = entries.get(1) {
            self.audio_packets(audio);
            self.samples(&decoded(audio).ok_or_else(|| failure::internal("sound that is not converted"))?);
        }
        Ok(())
    }

    /// Records the first packets of a video decoder, and the number of their track.
    pub fn packets(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| {
            let mut state = tap.state.lock();
            state.observed.video_track = state.observed.video_track.or(track_number(pad));
            if state.observed.packets.len() < MAX_PACKETS
                && let Ok(map) = buffer.map_readable()
            {
                state.observed.packets.push(map[..map.len().min(MAX_PACKET_BYTES)].to_vec());
            }
        });
    }

    /// Records the number of the audio track.
    pub fn audio_packets(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, _| {
            let mut state = tap.state.lock();
            state.observed.audio_track = state.observed.audio_track.or(track_number(pad));
        });
    }

    /// Observes the pictures at the decoder's output.
    pub fn pictures(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| tap.picture(pad, buffer));
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::EventView::Eos(_)) = info.event().map(|event| event.view()) {
                tap.state.lock().instants.complete();
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Observes the frames at the encoder's input.
    pub fn frames(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| tap.frame(pad, buffer));
    }

    /// Observes the samples at the decoder's output.
    pub fn samples(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| tap.audio(pad, buffer));
    }

    /// Takes the result, once everything has passed.
    pub fn take(&self) -> SourceObserved {
        let mut state = self.state.lock();
        let samples = state.samples(self.job.is_static());
        let (tracks, scope) = (Arc::clone(&self.job.tracks), self.job.scope);
        SourceObserved { samples, tracks, scope, ..mem::take(&mut state.observed) }
    }

    fn watch(
        self: &Arc<Self>,
        pad: &gst::Pad,
        handle: impl Fn(&Self, &gst::Pad, &gst::BufferRef) + Send + Sync + 'static,
    ) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                handle(&tap, pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn picture(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let mut state = self.state.lock();
        let time_ns = match place(pad, buffer, &self.job.video_time_line) {
            Some(Placed::At(time)) => Some(time),
            Some(Placed::CutOut | Placed::After) => None,
            None => state.last_ns,
        };
        let Some(time_ns) = time_ns else { return };
        state.last_ns = Some(time_ns);
        let (picture, frames) = state.instants.offer(time_ns);
        let track = state.observed.video_track.and_then(|id| self.job.tracks.iter().find(|track| track.id == id));
        for frame in frames {
            match self.original(pad, buffer, frame, track) {
                Ok((original, output)) => state.kept.push(Kept { frame, picture, original, output }),
                Err(why) => state.observed.record(why),
            }
        }
    }

    fn original(
        &self,
        pad: &gst::Pad,
        buffer: &gst::BufferRef,
        frame: u32,
        track: Option<&Track>,
    ) -> Result<(Original, Rectangle), String> {
        let caps = pad.current_caps().ok_or("pictures without a format")?;
        let info = gst_video::VideoInfo::from_caps(&caps).map_err(|_| format!("pictures are {caps}"))?;
        let orientation = track.ok_or("the track of pictures is not in the source's header")?.orientation;
        let orientation = orientation.ok_or("it cannot be told how pictures are turned")?;
        let aspect = (info.par().numer().max(1) as u32, info.par().denom().max(1) as u32);
        let size = Size { width: info.width(), height: info.height() };
        let stored = Stored { size, pixel_aspect: aspect, orientation };
        let ms = f64::from(frame) * 1_000.0 / f64::from(self.job.fps);
        let view = view::view(&self.job.reframe, stored, self.job.target, ms).ok_or("pictures without a crop")?;
        let part = view::stored_part(view.source, orientation);
        let (samples, bits, cells) = with_components(pad, buffer, |components| means(components, part))?;
        let cells = view::upright_cells(&cells, orientation);
        Ok((Original { samples, bits, rows: info.height(), cells }, view.output))
    }

    fn frame(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let event = pad.sticky_event::<gst::event::Segment>(0);
        let segment = event.as_ref().and_then(|event| event.segment().downcast_ref::<gst::ClockTime>());
        let Some(time_ns) = segment.and_then(|segment| clip_time(segment, buffer.pts())) else { return };
        let frame = (time_ns as f64 * f64::from(self.job.fps) / 1e9).round() as u32;
        let mut state = self.state.lock();
        let Some(output) = state.output_of(frame, self.job.is_static()) else { return };
        let reading = Reading { range: Range::Limited, matrix: Matrix::Bt709 };
        let cells = with_components(pad, buffer, |components| means(components, output));
        match cells {
            Ok((samples, bits, cells)) if samples == Samples::YCbCr => {
                let levels = cells.iter().filter_map(|cell| colour::converted(*cell, samples, bits, reading));
                let levels = levels.collect();
                state.frames.push((frame, levels));
            }
            Ok(_) => state.observed.record("frames have no colour differences".into()),
            Err(why) => state.observed.record(why),
        }
    }

    fn audio(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let mut state = self.state.lock();
        let Some(caps) = pad.current_caps() else { return };
        let Some((number, rate, shares, interleaved)) = audio_format(&caps) else {
            state.observed.record(format!("sound is {caps}"));
            return;
        };
        let placed = match place(pad, buffer, &self.job.audio_time_line) {
            Some(Placed::At(time)) => Some(time),
            // Parts between two entries of an edit list are not followed to the sample.
            Some(Placed::CutOut | Placed::After) => return,
            None => None,
        };
        let stamped = placed.map(|ns| (ns - self.job.start_ns) as f64 / 1e9);
        // Its own time stamp takes precedence over the end of the previous buffer: after a seek, a decoder clips the
        // first buffer only by metadata, and does not shorten its bytes.
        let Some(at) = stamped.or(state.audio_end) else { return };
        let Ok(map) = buffer.map_readable() else { return };
        let count = map.len() / (number.width() * shares.len()).max(1);
        let end = at + count as f64 / f64::from(rate);
        state.audio_end = Some(end);
        let length = self.job.seconds();
        let sides = state.observed.sides.get_or_insert_default();
        if end > 0.0 && at < length {
            sides.add(at, rate, length, downmix::moments(&map, number, &shares, interleaved));
        }
    }
}

impl State {
    /// The part of the output that shows the picture of a chosen frame.
    fn output_of(&self, frame: u32, is_static: bool) -> Option<Rectangle> {
        let (_, picture) = self.instants.shown().find(|(chosen, _)| *chosen == frame)?;
        self.kept(frame, picture, is_static).map(|kept| kept.output)
    }

    /// The cropped picture of a frame. Unless the crop moves, the picture that was kept for one frame is valid for all.
    fn kept(&self, frame: u32, picture: usize, is_static: bool) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.picture == picture && (is_static || kept.frame == frame))
    }

    fn samples(&self, is_static: bool) -> Vec<Sample> {
        let sample = |(frame, picture): (u32, usize)| {
            let (_, shown) = self.frames.iter().find(|(observed, _)| *observed == frame)?;
            let kept = |picture| self.kept(frame, picture, is_static).map(|kept| kept.original.clone());
            Some(Sample {
                frame,
                original: kept(picture)?,
                before: picture.checked_sub(1).and_then(kept),
                after: kept(picture + 1),
                shown: shown.clone(),
            })
        };
        self.instants.shown().filter_map(sample).collect()
    }
}

impl SourceObserved {
    fn record(&mut self, why: String) {
        if !self.unreadable.contains(&why) && self.unreadable.len() < MAX_PACKETS {
            self.unreadable.push(why);
        }
    }
}

/// The pad at which the samples of an audio stream are decoded, but neither mixed nor converted yet.
fn decoded(entry: &gst::Pad) -> Option<gst::Pad> {
    let mut pad = entry.clone();
    loop {
        let element = pad.parent_element()?;
        if element.factory().is_some_and(|factory| factory.name() == "audioconvert") {
            return Some(pad);
        }
        pad = element.static_pad("src")?.peer()?;
    }
}

fn place(pad: &gst::Pad, buffer: &gst::BufferRef, time_line: &TimeLine) -> Option<Placed> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let media_ns = time_line.media_time(event.segment().downcast_ref::<gst::ClockTime>()?, buffer.pts())?;
    Some(time_line.edits().place(media_ns))
}

type Cells = (Samples, u32, Vec<[f32; 3]>);

/// The means of each cell in a part of a picture.
fn means((samples, components): (Samples, &[Component<'_>]), part: Rectangle) -> Option<Cells> {
    let means: Option<Vec<Vec<f32>>> = components.iter().map(|component| component.means(part, CELLS, CELLS)).collect();
    let means = means?;
    let number = |component: usize, cell: usize| means.get(component).map_or(0.0, |means| means[cell]);
    let cells = (0..CELLS * CELLS).map(|cell| [0, 1, 2].map(|component| number(component, cell))).collect();
    Some((samples, components.first()?.bits, cells))
}

/// Reads the components of a picture that passes a pad. The error names what cannot be read.
fn with_components<T>(
    pad: &gst::Pad,
    buffer: &gst::BufferRef,
    read: impl FnOnce((Samples, &[Component<'_>])) -> Option<T>,
) -> Result<T, String> {
    let caps = pad.current_caps().ok_or("pictures without a format")?;
    let strange = || format!("pictures are {caps}");
    let in_memory =
        caps.features(0).is_none_or(|features| features.is_empty() || features.contains("memory:SystemMemory"));
    let info = gst_video::VideoInfo::from_caps(&caps).ok().filter(|_| in_memory).ok_or_else(strange)?;
    let format = info.format_info();
    let samples = if format.is_yuv() {
        Samples::YCbCr
    } else if format.is_rgb() {
        Samples::Rgb
    } else if format.is_gray() {
        Samples::Grey
    } else {
        return Err(strange());
    };
    let flags = format.flags();
    if flags.intersects(gst_video::VideoFormatFlags::COMPLEX | gst_video::VideoFormatFlags::PALETTE) {
        return Err(strange());
    }
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_| strange())?;
    let component = |component: usize| {
        let (bits, shift) = (format.depth()[component], format.shift()[component]);
        let index = format.plane()[component];
        let pixel_stride = usize::try_from(frame.comp_pstride(component as u32)).ok().filter(|stride| *stride > 0)?;
        ((8..=16).contains(&(bits + shift)) && bits >= 8).then_some(())?;
        Some(Component {
            bytes: frame.plane_data(index).ok()?.get(format.poffset()[component] as usize..)?,
            stride: usize::try_from(*frame.plane_stride().get(index as usize)?).ok()?,
            pixel_stride,
            width: frame.comp_width(component as u32) as usize,
            height: frame.comp_height(component as u32) as usize,
            bits,
            shift,
            big_endian: !flags.contains(gst_video::VideoFormatFlags::LE) && bits + shift > 8,
        })
    };
    let count = if samples == Samples::Grey { 1 } else { 3 };
    let components: Option<Vec<Component<'_>>> = (0..count).map(component).collect();
    components.and_then(|components| read((samples, &components))).ok_or_else(strange)
}

/// The sample format, the samples per second, the contribution of each channel, and whether the channels are
/// interleaved.
fn audio_format(caps: &gst::CapsRef) -> Option<(Number, u32, Vec<downmix::Share>, bool)> {
    let structure = caps.structure(0)?;
    let number = Number::from_name(structure.get::<&str>("format").ok()?)?;
    let count =
        |name| structure.get::<i32>(name).ok().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    let (rate, channels) = (count("rate")?, count("channels")?);
    let interleaved = structure.get::<&str>("layout").is_ok_and(|layout| layout == "interleaved");
    let mask = structure.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
    Some((number, rate, downmix::shares(channels as usize, mask), interleaved))
}
