//! Listening in on a clip's pipeline for what is compared with the source. Nothing is held up; of pictures only means
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
    bus,
    edits::Placed,
    elements::{TimeLine, clip_time},
    failure,
    tracks::track_number,
};
use clipfleet_domain::{failure::Failure, rendition::Size};
use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use parking_lot::Mutex;
use std::{mem, sync::Arc};

/// Packets that are kept, and bytes of each: headers of a stream are at the beginning of its first key frame.
const PACKETS: usize = 4;
const PACKET_BYTES: usize = 16 << 10;

/// What was seen and heard of a clip on its way.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the source declares of its tracks.
    pub tracks: Arc<[Track]>,
    /// What is compared.
    pub scope: Scope,
    /// The first packets of pictures.
    pub packets: Vec<Vec<u8>>,
    /// Number of the picture track that is decoded.
    pub video_track: Option<u64>,
    /// Number of the audio track that is decoded.
    pub audio_track: Option<u64>,
    /// Chosen frames beside their pictures.
    pub samples: Vec<Sample>,
    /// The source's sound.
    pub sides: Option<Sides>,
    /// Why pictures or sound are not compared; empty where they are.
    pub unreadable: Vec<String>,
}

/// Something that listens in, shared with the pads it listens to.
#[derive(Debug)]
pub struct Tap {
    job: Job,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: Seen,
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
    /// Where in the output it is shown.
    output: Rectangle,
}

impl Tap {
    /// One for a run of a clip.
    pub fn new(job: Job) -> Arc<Self> {
        let instants = Instants::new(job.start_ns, job.fps, job.frames, job.seed);
        let state = State {
            seen: Seen::default(),
            instants,
            last_ns: None,
            kept: Vec::new(),
            frames: Vec::new(),
            audio_end: None,
        };
        Arc::new(Self { job, state: Mutex::new(state) })
    }

    /// Listens in on a pipeline. `entries` are the pads where the demuxer's streams arrive: pictures, and sound if
    /// there is any.
    pub fn attach(self: &Arc<Self>, pipeline: &gst::Pipeline, entries: &[gst::Pad]) -> Result<(), Failure> {
        let element = |name| pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a plan without {name}")));
        if let Some(pictures) = entries.first() {
            self.packets(pictures);
        }
        self.pictures(&bus::pad(&element("video-decoder")?, "src")?);
        self.frames(&bus::pad(&element("video-encoder")?, "sink")?);
        if let Some(sound) = entries.get(1) {
            self.audio_packets(sound);
            self.samples(&decoded(sound).ok_or_else(|| failure::internal("sound that is not converted"))?);
        }
        Ok(())
    }

    /// Notes the packets that a picture decoder is given, and of which track they are.
    pub fn packets(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| {
            let mut state = tap.state.lock();
            state.seen.video_track = state.seen.video_track.or(track_number(pad));
            if state.seen.packets.len() < PACKETS
                && let Ok(map) = buffer.map_readable()
            {
                state.seen.packets.push(map[..map.len().min(PACKET_BYTES)].to_vec());
            }
        });
    }

    /// Notes which track sound is decoded of.
    pub fn audio_packets(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, _| {
            let mut state = tap.state.lock();
            state.seen.audio_track = state.seen.audio_track.or(track_number(pad));
        });
    }

    /// Looks at the pictures as they leave the decoder.
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

    /// Looks at the frames as they enter the encoder.
    pub fn frames(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| tap.frame(pad, buffer));
    }

    /// Listens to the samples as they leave the decoder.
    pub fn samples(self: &Arc<Self>, pad: &gst::Pad) {
        self.watch(pad, |tap, pad, buffer| tap.sound(pad, buffer));
    }

    /// What was seen, once everything has passed.
    pub fn take(&self) -> Seen {
        let mut state = self.state.lock();
        let samples = state.samples(self.job.is_static());
        let (tracks, scope) = (Arc::clone(&self.job.tracks), self.job.scope);
        Seen { samples, tracks, scope, ..mem::take(&mut state.seen) }
    }

    fn watch(
        self: &Arc<Self>,
        pad: &gst::Pad,
        see: impl Fn(&Self, &gst::Pad, &gst::BufferRef) + Send + Sync + 'static,
    ) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                see(&tap, pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn picture(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let mut state = self.state.lock();
        let time_ns = match place(pad, buffer, &self.job.video_time_line) {
            Some(Placed::At(time)) => Some(time),
            Some(Placed::CutOut | Placed::Behind) => None,
            None => state.last_ns,
        };
        let Some(time_ns) = time_ns else { return };
        state.last_ns = Some(time_ns);
        let (picture, frames) = state.instants.offer(time_ns);
        let track = state.seen.video_track.and_then(|id| self.job.tracks.iter().find(|track| track.id == id));
        for frame in frames {
            match self.original(pad, buffer, frame, track) {
                Ok((original, output)) => state.kept.push(Kept { frame, picture, original, output }),
                Err(why) => state.seen.note(why),
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
            Ok(_) => state.seen.note("frames have no colour differences".into()),
            Err(why) => state.seen.note(why),
        }
    }

    fn sound(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let mut state = self.state.lock();
        let Some(caps) = pad.current_caps() else { return };
        let Some((number, rate, shares, interleaved)) = sound_format(&caps) else {
            state.seen.note(format!("sound is {caps}"));
            return;
        };
        let placed = match place(pad, buffer, &self.job.audio_time_line) {
            Some(Placed::At(time)) => Some(time),
            // What an edit list cuts out between two entries is not followed to the sample.
            Some(Placed::CutOut | Placed::Behind) => return,
            None => None,
        };
        let stamped = placed.map(|ns| (ns - self.job.start_ns) as f64 / 1e9);
        // By its own time, and not behind what came before: a decoder cuts the first buffer behind a seek by a note on it
        // and leaves its bytes as long as they were.
        let Some(at) = stamped.or(state.audio_end) else { return };
        let Ok(map) = buffer.map_readable() else { return };
        let count = map.len() / (number.width() * shares.len()).max(1);
        let end = at + count as f64 / f64::from(rate);
        state.audio_end = Some(end);
        let length = self.job.seconds();
        let sides = state.seen.sides.get_or_insert_default();
        if end > 0.0 && at < length {
            sides.add(at, rate, length, downmix::moments(&map, number, &shares, interleaved));
        }
    }
}

impl State {
    /// Where in the output the picture of a chosen frame is shown.
    fn output_of(&self, frame: u32, is_static: bool) -> Option<Rectangle> {
        let (_, picture) = self.instants.shown().find(|(chosen, _)| *chosen == frame)?;
        self.kept(frame, picture, is_static).map(|kept| kept.output)
    }

    /// A picture as it is cropped in a frame. Unless the crop moves, what was kept for one frame is good for every
    /// other.
    fn kept(&self, frame: u32, picture: usize, is_static: bool) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.picture == picture && (is_static || kept.frame == frame))
    }

    fn samples(&self, is_static: bool) -> Vec<Sample> {
        let sample = |(frame, picture): (u32, usize)| {
            let (_, shown) = self.frames.iter().find(|(seen, _)| *seen == frame)?;
            let kept = |picture| self.kept(frame, picture, is_static).map(|kept| kept.original.clone());
            Some(Sample {
                frame,
                original: kept(picture)?,
                before: picture.checked_sub(1).and_then(kept),
                behind: kept(picture + 1),
                shown: shown.clone(),
            })
        };
        self.instants.shown().filter_map(sample).collect()
    }
}

impl Seen {
    fn note(&mut self, why: String) {
        if !self.unreadable.contains(&why) && self.unreadable.len() < PACKETS {
            self.unreadable.push(why);
        }
    }
}

/// Where the samples of an audio stream are decoded, but neither mixed nor converted yet.
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

/// The means of each cell of a part of a picture.
fn means((samples, components): (Samples, &[Component<'_>]), part: Rectangle) -> Option<Cells> {
    let means: Option<Vec<Vec<f32>>> = components.iter().map(|component| component.means(part, CELLS, CELLS)).collect();
    let means = means?;
    let number = |component: usize, cell: usize| means.get(component).map_or(0.0, |means| means[cell]);
    let cells = (0..CELLS * CELLS).map(|cell| [0, 1, 2].map(|component| number(component, cell))).collect();
    Some((samples, components.first()?.bits, cells))
}

/// The components of a picture that passes a pad; an error names what cannot be read.
fn with_components<T>(
    pad: &gst::Pad,
    buffer: &gst::BufferRef,
    look: impl FnOnce((Samples, &[Component<'_>])) -> Option<T>,
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
    components.and_then(|components| look((samples, &components))).ok_or_else(strange)
}

/// How samples are written, how many there are in a second, where each channel is heard, and whether the channels
/// alternate.
fn sound_format(caps: &gst::CapsRef) -> Option<(Number, u32, Vec<downmix::Share>, bool)> {
    let structure = caps.structure(0)?;
    let number = Number::from_name(structure.get::<&str>("format").ok()?)?;
    let count =
        |name| structure.get::<i32>(name).ok().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    let (rate, channels) = (count("rate")?, count("channels")?);
    let interleaved = structure.get::<&str>("layout").is_ok_and(|layout| layout == "interleaved");
    let mask = structure.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
    Some((number, rate, downmix::shares(channels as usize, mask), interleaved))
}
