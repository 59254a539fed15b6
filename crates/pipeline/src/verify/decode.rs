//! Decoding the finished file, by the decoders that sources are decoded with: every sample, and every picture that is not known.
//!
//! ```text
//! filesrc ── qtdemux ─┬─ queue ── [decode] ── fakesink           Tap::mark, or Tap::look behind the decoder
//!                     └─ queue ── decode ── convert ── fakesink  Tap::listen
//! ```

use super::tap::{Passed, Tap};
use crate::{
    bus::{self, Event, StallGuard},
    catalog::{Installed, Kind},
    failure,
    plan::SAMPLE_RATE,
    tracks::kind_of,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{path::Path, sync::Arc};

/// What becomes of the pictures of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pictures {
    /// They are noted as they are.
    Mark,
    /// They are decoded and looked at.
    Look,
}

/// Takes a file apart. `report` is called often, with the number of buffers that came of it.
pub fn decode(
    path: &Path,
    pictures: Pictures,
    installed: &Arc<Installed>,
    mut report: impl FnMut(u64),
) -> Result<Passed, Failure> {
    let pipeline = bus::Guard::new(gst::Pipeline::with_name("proof"));
    let (file, demuxer) = (bus::make("filesrc")?, bus::make("qtdemux")?);
    bus::set(&file, "location", &path.to_string_lossy())?;
    bus::add_linked(&pipeline, &[file, demuxer.clone()])?;
    let tap = Arc::new(Tap::with_loudness());
    let wrong: Arc<Mutex<Option<Failure>>> = Arc::default();
    let (weak, installed, shared, noted) =
        (pipeline.downgrade(), Arc::clone(installed), Arc::clone(&tap), Arc::clone(&wrong));
    demuxer.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(failure) = connect(&pipeline, pad, pictures, &installed, &shared) {
            noted.lock().get_or_insert(failure);
        }
    });
    pipeline.start(gst::State::Playing).map_err(|failure| failure::verify_failed(failure.message))?;
    let mut stall = StallGuard::new("decoding the output");
    loop {
        if let Some(failure) = wrong.lock().take() {
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
        std::thread::sleep(bus::STEP);
    }
}

fn connect(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    pictures: Pictures,
    installed: &Installed,
    tap: &Arc<Tap>,
) -> Result<(), Failure> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let sink = bus::make("fakesink")?;
    bus::set(&sink, "sync", "false")?;
    bus::set(&sink, "async", "false")?;
    let seen = bus::pad(&sink, "sink")?;
    let Some(kind) = kind_of(&caps) else {
        return Err(failure::verify_failed(format!("it has a stream of {caps}")));
    };
    if kind == Kind::Video && pictures == Pictures::Mark {
        let chain = [bus::make("queue")?, sink];
        tap.mark(&seen);
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
        Kind::Video => tap.look(&seen),
        Kind::Audio => {
            let format = format!("audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE},channels=2");
            let filter = bus::make("capsfilter")?;
            filter.set_property("caps", format.parse::<gst::Caps>().map_err(failure::internal)?);
            chain.extend([bus::make("audioconvert")?, filter]);
            tap.listen(&seen);
        }
    }
    chain.push(sink);
    bus::add_linked(pipeline, &chain)?;
    bus::join(pad, &chain)
}
