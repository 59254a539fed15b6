//! Decodes the finished file with the decoders that are used for sources: all audio, and the video if its packets are
//! unknown.
//!
//! ```text
//! RangeSource ── demux ─┬─ queue ── [decode] ── fakesink           Tap::record_packets, or Tap::observe_video
//!                       └─ queue ── decode ── convert ── fakesink  Tap::observe_audio
//! ```

use super::tap::{Observed, Tap};
use crate::{
    elements::RangeSource,
    failure,
    graph::bus::{self, Event, StallDetector},
    plan::{SAMPLE_RATE, catalog::Kind, installed::Installed},
    source::{container::Container, file, tracks::kind_of},
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{path::Path, sync::Arc};

/// How the video of a file is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoMode {
    /// Its packets are recorded.
    RecordPackets,
    /// It is decoded, and its frames are observed.
    Decode,
}

/// Decodes a file. `report` is called often, with the number of buffers so far.
pub fn decode(
    path: &Path,
    mode: VideoMode,
    installed: &Arc<Installed>,
    mut report: impl FnMut(u64),
) -> Result<Observed, Failure> {
    let pipeline = bus::PipelineGuard::new(gst::Pipeline::with_name("verification"));
    let file = file::open(path).map_err(|error| failure::verify_failed(format!("it cannot be opened: {error}")))?;
    let demuxer = bus::make(Container::IsoMedia.demuxer())?;
    bus::add_linked(&pipeline, &[RangeSource::new(file).upcast(), demuxer.clone()])?;
    let tap = Arc::new(Tap::with_loudness());
    let first_failure: Arc<Mutex<Option<Failure>>> = Arc::default();
    let (weak, installed, shared, failed) =
        (pipeline.downgrade(), Arc::clone(installed), Arc::clone(&tap), Arc::clone(&first_failure));
    demuxer.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(failure) = connect(&pipeline, pad, mode, &installed, &shared) {
            failed.lock().get_or_insert(failure);
        }
    });
    pipeline.start(gst::State::Playing).map_err(|failure| failure::verify_failed(failure.message))?;
    let mut stall = StallDetector::new("decoding the output");
    loop {
        if let Some(failure) = first_failure.lock().take() {
            return Err(failure);
        }
        match pipeline.next_event() {
            Some(Event::Ended) => return Ok(tap.take()),
            Some(Event::Failed(error)) => {
                return Err(failure::verify_failed(format!("it cannot be decoded: {error}")));
            }
            None => stall.check(tap.count())?,
        }
        report(tap.count());
        std::thread::sleep(bus::POLL_INTERVAL);
    }
}

fn connect(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    mode: VideoMode,
    installed: &Installed,
    tap: &Arc<Tap>,
) -> Result<(), Failure> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    bus::set(&sink, "async", "false")?;
    let sink_pad = bus::pad(&sink, "sink")?;
    let Some(kind) = kind_of(&caps) else {
        return Err(failure::verify_failed(format!("it has a stream of {caps}")));
    };
    if kind == Kind::Video && mode == VideoMode::RecordPackets {
        let chain = [bus::make("queue")?, sink];
        tap.record_packets(&sink_pad);
        bus::add_linked(pipeline, &chain)?;
        return bus::join(pad, &chain);
    }
    let decoder = installed.decoder(&caps);
    let decoder = decoder.map_err(|(codec, _)| failure::verify_failed(format!("its codec is {codec}")))?;
    let mut chain = vec![bus::make("queue")?];
    if let Some(parser) = decoder.parser_for(&caps) {
        chain.push(bus::make(parser)?);
    }
    chain.push(bus::make(decoder.element)?);
    match kind {
        Kind::Video => tap.observe_video(&sink_pad),
        Kind::Audio => {
            let format = format!("audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE},channels=2");
            let filter = bus::make("capsfilter")?;
            filter.set_property("caps", format.parse::<gst::Caps>().map_err(failure::internal)?);
            chain.extend([bus::make("audioconvert")?, filter]);
            tap.observe_audio(&sink_pad);
        }
    }
    chain.push(sink);
    bus::add_linked(pipeline, &chain)?;
    bus::join(pad, &chain)
}
