//! Probes the source: demuxes it and decodes its first picture.
//!
//! ```text
//! RangeSource ── demuxer ─┬─ the chosen video ── [parser] ── decoder ── fakesink      the first picture ends the probe
//!                         └─ all others ── fakesink
//! ```
//!
//! Headers are trusted for what a decoder needs. Size, pixel aspect ratio and the first time stamp come from the
//! decoded picture. No declared frame rate or duration is used: time stamps decide, and the end is found by reading.

use crate::{
    elements::RangeSource,
    failure,
    graph::bus,
    plan::installed::Installed,
    source::{
        bitstream,
        blocks::{ReadError, Source},
        colours::Colours,
        container::{self, Container},
        header::Header,
        rotation::Rotation,
        time_line::TimeLine,
        tracks::{self, Candidate, Chosen, Stream, Tracks},
    },
};
use clipfleet_domain::{failure::Failure, file_kind::HEAD_BYTES};
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::sync::{Arc, atomic::AtomicBool, mpsc};

/// The first picture of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across, as decoded.
    pub width: u32,
    /// Pixels down, as decoded.
    pub height: u32,
    /// Pixel aspect ratio, width to height.
    pub pixel_aspect: (u32, u32),
    /// Whether it consists of two fields.
    pub interlaced: bool,
    /// Whether it has 8 bits and 4:2:0 chroma subsampling.
    pub plain_samples: bool,
    /// Its colours, with no value left open.
    pub colours: Colours,
    /// Its presentation time, nanoseconds on its track's own time line.
    pub time_ns: i64,
}

impl Picture {
    /// Whether it has high dynamic range: HLG, which phones record, or PQ.
    pub fn high_range(&self) -> bool {
        self.colours.is_high_range()
    }

    /// Whether it has the colours of every output: ITU-R BT.709, limited range.
    pub fn plain_colours(&self) -> bool {
        self.colours.is_bt709() && !self.is_full_range()
    }

    /// Whether samples use the full range, not only 16 to 235.
    pub fn is_full_range(&self) -> bool {
        self.colours.full_range == Some(true)
    }
}

/// What a plan needs to know about the source.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Its container.
    pub container: Container,
    /// Its video track.
    pub video: Stream,
    /// Its audio track, if there is one.
    pub audio: Option<Stream>,
    /// Its first picture.
    pub picture: Picture,
    /// How its pictures are rotated.
    pub rotation: Rotation,
    /// The length that its header declares, nanoseconds. It is only reported, and never relied on.
    pub declared_ns: Option<i64>,
    /// The chosen tracks, and the number of tracks.
    pub tracks: Tracks,
}

/// Detects the container, including fragments.
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
    let head = read(HEAD_BYTES)?;
    let container = container::detect(&head).map_err(failure::source_not_media)?;
    let fragmented = match container::header_end(&head).filter(|_| container == Container::IsoMedia) {
        Some(end) => container::is_fragmented(&read(end)?),
        None => false,
    };
    Ok(if fragmented { Container::IsoFragments } else { container })
}

enum Finding {
    Streams,
    /// The first picture, and the colours that are declared outside of its decoder.
    Picture(Picture, Colours),
    Refused(Failure),
}

#[derive(Default)]
struct Streams {
    candidates: Vec<Candidate>,
    chosen: Option<Chosen>,
}

/// Demuxes the source and decodes its first picture.
pub fn probe(source: &Arc<Source>, installed: &Arc<Installed>) -> Result<Probed, Failure> {
    let container = container(source)?;
    let header = Arc::new(Header::read(container, source)?);
    source.correct(header.corrections.clone());
    let pipeline = bus::PipelineGuard::new(gst::Pipeline::with_name("probe"));
    let demuxer = bus::make(container.demuxer())?;
    let input = RangeSource::new(Arc::clone(source));
    bus::add_linked(&pipeline, &[input.upcast(), demuxer.clone()])?;

    let (findings, found) = mpsc::channel();
    let streams = Arc::new(Mutex::new(Streams::default()));
    watch_pads(&pipeline, &demuxer, (container, &header), installed, &streams, &findings);
    pipeline.start(gst::State::Playing)?;

    let mut stall = bus::StallDetector::new("reading the head of the source");
    let (mut all_streams, mut event) = (false, None);
    let (picture, colours) = loop {
        // Polled before the findings, so that everything found before the end is received before the end is reported.
        event = event.or_else(|| pipeline.next_event());
        match found.recv_timeout(bus::POLL_INTERVAL) {
            Ok(Finding::Picture(picture, colours)) => break (picture, colours),
            Ok(Finding::Refused(failure)) => return Err(failure),
            Ok(Finding::Streams) => all_streams = true,
            Err(_) => match &event {
                None => stall.check(source.reads())?,
                Some(event) => {
                    let failure = source.failure();
                    return Err(failure.unwrap_or_else(|| why_ended(event, all_streams, &streams.lock())));
                }
            },
        }
    };
    let queried = demuxer.query_duration::<gst::ClockTime>().map(|length| length.nseconds() as i64);
    let mut streams = streams.lock();
    let Chosen { video: (index, video), audio, tracks } =
        streams.chosen.take().ok_or_else(failure::source_has_no_video)?;
    let rotation = streams.candidates.get(index).and_then(|candidate| candidate.track.rotation);
    Ok(Probed {
        container,
        video: Stream { colours, ..video },
        audio,
        picture,
        rotation: rotation.unwrap_or_default(),
        declared_ns: header.declared_ns.or(queried),
        tracks,
    })
}

/// Explains why there is no picture.
fn why_ended(event: &bus::Event, all_streams: bool, streams: &Streams) -> Failure {
    match event {
        bus::Event::Ended if all_streams => failure::source_truncated("it has no picture that can be decoded"),
        bus::Event::Ended => failure::source_truncated("it ends within its header"),
        bus::Event::Failed(error) => match error.kind {
            bus::ErrorKind::Negotiation if streams.chosen.is_none() => failure::source_has_no_video(),
            bus::ErrorKind::Negotiation => failure::source_unsupported(error),
            _ => failure::source_truncated(error),
        },
    }
}

/// Collects the streams as they appear. Once all are known, connects the chosen video track to its decoder and all
/// others to sinks.
fn watch_pads(
    pipeline: &gst::Pipeline,
    demuxer: &gst::Element,
    (container, header): (Container, &Arc<Header>),
    installed: &Arc<Installed>,
    streams: &Arc<Mutex<Streams>>,
    findings: &mpsc::Sender<Finding>,
) {
    let (header, collected) = (Arc::clone(header), Arc::clone(streams));
    demuxer.connect_pad_added(move |_, pad| {
        collected.lock().candidates.push(Candidate::new(pad, container, &header));
    });
    let (weak, installed, streams) = (pipeline.downgrade(), Arc::clone(installed), Arc::clone(streams));
    let sender = findings.clone();
    demuxer.connect_no_more_pads(move |_| {
        let Some(pipeline) = weak.upgrade() else { return };
        // For damaged files, a demuxer may emit this signal again.
        if streams.lock().chosen.is_some() {
            return;
        }
        if let Err(failure) = connect(&pipeline, &installed, &streams, &sender) {
            let _ = sender.send(Finding::Refused(failure));
        }
        let _ = sender.send(Finding::Streams);
    });
}

/// Chooses among the streams, decodes the video, and discards the data of the others.
fn connect(
    pipeline: &gst::Pipeline,
    installed: &Installed,
    streams: &Arc<Mutex<Streams>>,
    findings: &mpsc::Sender<Finding>,
) -> Result<(), Failure> {
    let mut streams = streams.lock();
    let chosen = tracks::choose(&streams.candidates, installed)?;
    for (index, candidate) in streams.candidates.iter().enumerate() {
        if index == chosen.video.0 {
            decode(pipeline, &candidate.pad, chosen.video.1.clone(), findings)?;
        } else {
            discard(pipeline, &candidate.pad)?;
        }
    }
    streams.chosen = Some(chosen);
    Ok(())
}

fn decode(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    video: Stream,
    findings: &mpsc::Sender<Finding>,
) -> Result<(), Failure> {
    let sink = quiet_sink()?;
    let mut chain = Vec::new();
    if let Some(parser) = video.parser {
        chain.push(bus::make(parser)?);
    }
    chain.extend([bus::make(video.decoder.element)?, sink.clone()]);
    bus::add_linked(pipeline, &chain)?;
    let coded = watch_coded_colours(pad, video.decoder.codec);
    video.selection.correct_caps(pad);
    let sink_pad = bus::pad(&sink, "sink")?;
    let findings = findings.clone();
    // Once there is a picture, the demuxer's own thread blocks here. Therefore no more is read than the picture needs,
    // even if the pipeline is stopped late.
    sink_pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |pad, info| {
        let declared = coded.lock().or(video.colours);
        match info.buffer().and_then(|buffer| first_picture(pad, buffer, &video.time_line, declared)) {
            Some(picture) => {
                let _ = findings.send(Finding::Picture(picture, declared));
                gst::PadProbeReturn::Ok
            }
            None => gst::PadProbeReturn::Pass,
        }
    });
    bus::join(pad, &chain)
}

/// Reads the colours that the first coded picture declares, if its decoder does not report them.
fn watch_coded_colours(pad: &gst::Pad, codec: &'static str) -> Arc<Mutex<Colours>> {
    let coded: Arc<Mutex<Colours>> = Arc::default();
    let shared = Arc::clone(&coded);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) else {
            return gst::PadProbeReturn::Ok;
        };
        *shared.lock() = bitstream::colours(codec, &map);
        gst::PadProbeReturn::Remove
    });
    coded
}

/// Describes a decoded picture. `declared` are its colours as declared elsewhere.
fn first_picture(pad: &gst::Pad, buffer: &gst::Buffer, time_line: &TimeLine, declared: Colours) -> Option<Picture> {
    let caps = pad.current_caps()?;
    let structure = caps.structure(0)?;
    let side = |name| structure.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
    let aspect = structure.get::<gst::Fraction>("pixel-aspect-ratio").unwrap_or(gst::Fraction::new(1, 1));
    let pixel_aspect = match (u32::try_from(aspect.numer()), u32::try_from(aspect.denom())) {
        (Ok(numerator), Ok(denominator)) if numerator > 0 && denominator > 0 => (numerator, denominator),
        _ => (1, 1),
    };
    let interlaced = structure.get::<&str>("interlace-mode").is_ok_and(|mode| mode != "progressive");
    let plain_samples = structure.get::<&str>("format").is_ok_and(|format| ["I420", "NV12", "YV12"].contains(&format));
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = segment.segment().downcast_ref::<gst::ClockTime>()?;
    let time_ns = time_line.media_time(segment, buffer.pts()).unwrap_or(0);
    let (width, height) = (side("width")?, side("height")?);
    let colours = Colours::from_caps(&caps).or(declared).guessed(height);
    Some(Picture { width, height, pixel_aspect, interlaced, plain_samples, colours, time_ns })
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
    bus::join(pad, &chain)
}
