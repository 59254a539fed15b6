//! What the source really is, found by taking it apart up to its first decoded picture.
//!
//! ```text
//! RangeSource ── demuxer ─┬─ video_0 ── [parser] ── decoder ── fakesink      the first picture ends the probe
//!                         └─ all others ── fakesink
//! ```
//!
//! Headers are believed for what a decoder needs. Size, shape and the first time stamp come from the picture itself; frame
//! rate and duration are taken from nothing: time stamps decide, and the end shows itself.

use crate::{
    bus,
    catalog::{Decoder, Installed, Kind},
    container::{self, Container},
    elements::{RangeSource, TimeLine},
    failure,
    lock::lock,
    source::{ReadError, Source},
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video::{VideoColorMatrix, VideoColorRange, VideoInfo, VideoTransferFunction};
use std::sync::{Arc, Mutex, atomic::AtomicBool, mpsc};

/// How the stored picture must be turned to stand upright. Named as GStreamer's `video-direction` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Not at all.
    #[default]
    None,
    /// Clockwise by a quarter.
    Right,
    /// By a half.
    Half,
    /// Counter-clockwise by a quarter.
    Left,
    /// Mirrored left to right.
    MirrorHorizontal,
    /// Mirrored top to bottom.
    MirrorVertical,
    /// Mirrored about the diagonal from the upper left.
    Transpose,
    /// Mirrored about the diagonal from the upper right.
    Transverse,
}

impl Rotation {
    /// From the tag `image-orientation`.
    fn from_tag(tag: &str) -> Self {
        match tag {
            "rotate-90" => Rotation::Right,
            "rotate-180" => Rotation::Half,
            "rotate-270" => Rotation::Left,
            "flip-rotate-0" => Rotation::MirrorHorizontal,
            "flip-rotate-90" => Rotation::Transpose,
            "flip-rotate-180" => Rotation::MirrorVertical,
            "flip-rotate-270" => Rotation::Transverse,
            _ => Rotation::None,
        }
    }

    /// Value of `videoflip`'s `video-direction`.
    pub fn direction(self) -> &'static str {
        match self {
            Rotation::None => "identity",
            Rotation::Right => "90r",
            Rotation::Half => "180",
            Rotation::Left => "90l",
            Rotation::MirrorHorizontal => "horiz",
            Rotation::MirrorVertical => "vert",
            Rotation::Transpose => "ul-lr",
            Rotation::Transverse => "ur-ll",
        }
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Rotation::Right | Rotation::Left | Rotation::Transpose | Rotation::Transverse)
    }
}

/// The first picture of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across, as decoded.
    pub width: u32,
    /// Pixels down, as decoded.
    pub height: u32,
    /// Shape of a pixel, width to height.
    pub pixel_aspect: (u32, u32),
    /// Whether it consists of two fields.
    pub interlaced: bool,
    /// Whether its brightness is of high dynamic range: HLG, which phones record, or PQ.
    pub high_range: bool,
    /// Whether it has 8 bits and half as many colours in both directions.
    pub plain_samples: bool,
    /// Whether its colours are those of every output: ITU-R BT.709, limited range.
    pub plain_colours: bool,
    /// When it is shown, nanoseconds on the source's time line: where clip times count from.
    pub time_ns: i64,
}

/// One stream of the source.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// How it is decoded.
    pub decoder: &'static Decoder,
}

/// The source, as far as a plan needs it.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Its container.
    pub container: Container,
    /// Its picture track.
    pub video: Stream,
    /// Its sound track, if there is one.
    pub audio: Option<Stream>,
    /// Its first picture.
    pub picture: Picture,
    /// How its pictures are turned.
    pub rotation: Rotation,
    /// What its header says of its length, nanoseconds; never relied on, only quoted.
    pub declared_ns: Option<i64>,
}

/// The name that [`container::detect`] and the first bytes give.
pub fn container(source: &Source) -> Result<Container, Failure> {
    if source.size() == 0 {
        return Err(failure::source_empty());
    }
    let read = |length| {
        let pieces = source.read(0, length, &AtomicBool::new(false)).map_err(|error| match error {
            ReadError::Failed(failure) => failure,
            ReadError::Interrupted => failure::internal("reading the source was interrupted"),
        });
        pieces.map(|pieces| pieces.concat())
    };
    let head = read(container::HEAD_BYTES)?;
    let container = container::detect(&head).map_err(failure::source_not_media)?;
    let fragmented = match container::header_end(&head).filter(|_| container == Container::IsoMedia) {
        Some(end) => container::is_fragmented(&read(end)?),
        None => false,
    };
    Ok(if fragmented { Container::IsoFragments } else { container })
}

enum Finding {
    Streams,
    Picture(Picture),
    Undecodable { codec: String, remedy: String },
}

#[derive(Default)]
struct Streams {
    video: Option<Stream>,
    audio: Option<Stream>,
    rotation: Rotation,
}

/// Takes the source apart up to its first picture.
pub fn probe(source: &Arc<Source>, installed: &Arc<Installed>) -> Result<Probed, Failure> {
    let container = container(source)?;
    let pipeline = bus::Guard::new(gst::Pipeline::with_name("probe"));
    let demuxer = bus::make(container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.upcast(), demuxer.clone()])?;

    let (findings, found) = mpsc::channel();
    let streams = Arc::new(Mutex::new(Streams::default()));
    watch_pads(&pipeline, &demuxer, container.time_line(), installed, &streams, &findings);
    pipeline.start(gst::State::Playing)?;

    let mut stall = bus::StallGuard::new("reading the head of the source");
    let (mut all_streams, mut event) = (false, None);
    let picture = loop {
        // Looked for ahead of what was found: that all of it was found before the end.
        event = event.or_else(|| pipeline.next_event());
        match found.recv_timeout(bus::STEP) {
            Ok(Finding::Picture(picture)) => break picture,
            Ok(Finding::Undecodable { codec, remedy }) => {
                return Err(failure::source_codec_unsupported(&codec, remedy));
            }
            Ok(Finding::Streams) => {
                all_streams = true;
                if lock(&streams).video.is_none() {
                    return Err(failure::source_has_no_video());
                }
            }
            Err(_) => match &event {
                None => stall.check(source.reads())?,
                Some(event) => {
                    let failure = source.failure();
                    return Err(failure.unwrap_or_else(|| why_ended(event, all_streams, &lock(&streams))));
                }
            },
        }
    };
    let declared = demuxer.query_duration::<gst::ClockTime>().map(|length| length.nseconds() as i64);
    let streams = lock(&streams);
    let video = streams.video.ok_or_else(failure::source_has_no_video)?;
    Ok(Probed { container, video, audio: streams.audio, picture, rotation: streams.rotation, declared_ns: declared })
}

/// Why there is no picture.
fn why_ended(event: &bus::Event, all_streams: bool, streams: &Streams) -> Failure {
    match event {
        bus::Event::Ended if all_streams => failure::source_truncated("it has no picture that can be decoded"),
        bus::Event::Ended => failure::source_truncated("it ends within its header"),
        bus::Event::Failed(error) => match error.what {
            bus::What::Negotiation if streams.video.is_none() => failure::source_has_no_video(),
            _ => failure::source_truncated(error),
        },
    }
}

/// Connects each stream as it appears: the first of each kind to what decodes it, all others to nothing.
fn watch_pads(
    pipeline: &gst::Pipeline,
    demuxer: &gst::Element,
    time_line: TimeLine,
    installed: &Arc<Installed>,
    streams: &Arc<Mutex<Streams>>,
    findings: &mpsc::Sender<Finding>,
) {
    let (weak, installed, streams, sender) =
        (pipeline.downgrade(), Arc::clone(installed), Arc::clone(streams), findings.clone());
    demuxer.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let chosen = choose(pad, &installed, &mut lock(&streams));
        let linked = match chosen {
            Choice::Decode(decoder) => {
                watch_rotation(pad, &streams);
                decode(&pipeline, pad, decoder, time_line, &sender)
            }
            Choice::Ignore => discard(&pipeline, pad),
            Choice::Refuse { codec, remedy } => {
                let _ = sender.send(Finding::Undecodable { codec, remedy });
                discard(&pipeline, pad)
            }
        };
        if let Err(failure) = linked {
            gst::element_error!(pipeline, gst::CoreError::Failed, ("{}", failure.message));
        }
    });
    let sender = findings.clone();
    demuxer.connect_no_more_pads(move |_| {
        let _ = sender.send(Finding::Streams);
    });
}

enum Choice {
    Decode(&'static Decoder),
    Ignore,
    Refuse { codec: String, remedy: String },
}

/// The kind of a stream, by the name of its caps.
pub fn kind_of(caps: &gst::CapsRef) -> Option<Kind> {
    let name = caps.structure(0)?.name().as_str();
    match name.split('/').next()? {
        "video" | "image" => Some(Kind::Video),
        "audio" => Some(Kind::Audio),
        _ => None,
    }
}

fn choose(pad: &gst::Pad, installed: &Installed, streams: &mut Streams) -> Choice {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let slot = match kind_of(&caps) {
        Some(Kind::Video) if streams.video.is_none() => &mut streams.video,
        Some(Kind::Audio) if streams.audio.is_none() => &mut streams.audio,
        _ => return Choice::Ignore,
    };
    match installed.decoder(&caps) {
        Ok(decoder) => {
            *slot = Some(Stream { decoder });
            if decoder.kind == Kind::Video { Choice::Decode(decoder) } else { Choice::Ignore }
        }
        Err((codec, remedy)) => Choice::Refuse { codec, remedy },
    }
}

fn watch_rotation(pad: &gst::Pad, streams: &Arc<Mutex<Streams>>) {
    let read =
        |tags: &gst::TagListRef| tags.get::<gst::tags::ImageOrientation>().map(|value| Rotation::from_tag(value.get()));
    let mut known = None;
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::Tag(tags) = event.view() {
            known = known.or(read(tags.tag()));
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    if let Some(rotation) = known {
        lock(streams).rotation = rotation;
    }
    let streams = Arc::clone(streams);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Tag(tags)) = info.event().map(|event| event.view())
            && let Some(rotation) = read(tags.tag())
        {
            lock(&streams).rotation = rotation;
        }
        gst::PadProbeReturn::Ok
    });
}

fn decode(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    decoder: &Decoder,
    time_line: TimeLine,
    findings: &mpsc::Sender<Finding>,
) -> Result<(), Failure> {
    let sink = quiet_sink()?;
    let mut chain = Vec::new();
    if let Some(parser) = decoder.parser {
        chain.push(bus::make(parser)?);
    }
    chain.extend([bus::make(decoder.element)?, sink.clone()]);
    bus::add_linked(pipeline, &chain)?;
    let sink_pad = bus::pad(&sink, "sink")?;
    let findings = findings.clone();
    // Once there is a picture the demuxer's own thread stands still here, so no more is read than the picture needs, however late
    // the pipeline is stopped.
    sink_pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |pad, info| {
        match info.buffer().and_then(|buffer| first_picture(pad, buffer, time_line)) {
            Some(picture) => {
                let _ = findings.send(Finding::Picture(picture));
                gst::PadProbeReturn::Ok
            }
            None => gst::PadProbeReturn::Pass,
        }
    });
    bus::join(pipeline, pad, &chain)
}

fn first_picture(pad: &gst::Pad, buffer: &gst::Buffer, time_line: TimeLine) -> Option<Picture> {
    let caps = pad.current_caps()?;
    let structure = caps.structure(0)?;
    let side = |name| structure.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
    let aspect = structure.get::<gst::Fraction>("pixel-aspect-ratio").unwrap_or(gst::Fraction::new(1, 1));
    let pixel_aspect = match (u32::try_from(aspect.numer()), u32::try_from(aspect.denom())) {
        (Ok(numerator), Ok(denominator)) if numerator > 0 && denominator > 0 => (numerator, denominator),
        _ => (1, 1),
    };
    let interlaced = structure.get::<&str>("interlace-mode").is_ok_and(|mode| mode != "progressive");
    // What a picture does not say of its colours is taken from its size, as every converter does.
    let colours = VideoInfo::from_caps(&caps).ok().map(|info| info.colorimetry());
    let high_range = [VideoTransferFunction::AribStdB67, VideoTransferFunction::Smpte2084];
    let high_range = colours.as_ref().is_some_and(|colours| high_range.contains(&colours.transfer()));
    let plain_colours = colours.is_some_and(|colours| {
        colours.matrix() == VideoColorMatrix::Bt709 && colours.range() == VideoColorRange::Range16_235
    });
    let plain_samples = structure.get::<&str>("format").is_ok_and(|format| ["I420", "NV12", "YV12"].contains(&format));
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
    let time_ns = time_line.place(segment, buffer.pts()).unwrap_or(0);
    Some(Picture {
        width: side("width")?,
        height: side("height")?,
        pixel_aspect,
        interlaced,
        high_range,
        plain_samples,
        plain_colours: plain_colours && !high_range,
        time_ns,
    })
}

fn quiet_sink() -> Result<gst::Element, Failure> {
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    bus::set(&sink, "async", "false")?;
    Ok(sink)
}

fn discard(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<(), Failure> {
    let chain = [quiet_sink()?];
    bus::add_linked(pipeline, &chain)?;
    bus::join(pipeline, pad, &chain)
}
