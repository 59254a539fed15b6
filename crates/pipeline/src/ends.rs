//! Where the source really ends: asked only when a clip turned out too long, so that the answer can name the instant.
//!
//! ```text
//! RangeSource ── demuxer ── each stream ── fakesink      nothing is decoded; time stamps are noted
//! ```

use crate::{
    bus::{self, Event},
    catalog::Kind,
    elements::{RangeSource, TimeLine},
    lock::lock,
    probe::{Probed, kind_of},
    source::Source,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use std::sync::{Arc, Mutex};

/// When the tracks of a source end, nanoseconds on its time line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// End of the last picture.
    pub video_ns: i64,
    /// End of the last sound.
    pub audio_ns: i64,
}

#[derive(Default)]
struct Track {
    last_ns: Option<i64>,
    interval_ns: i64,
    end_ns: i64,
}

/// How long before its declared end a source is looked at.
const TAIL_NS: i64 = 10_000_000_000;

/// Reads the end of the source; all of it if its header does not say where that is.
pub fn find(source: &Arc<Source>, probed: &Probed) -> Result<Ends, Failure> {
    if let Some(seek) = probed.declared_ns.map(|length| length - TAIL_NS).filter(|seek| *seek > 0) {
        let ends = pass(source, probed, Some(seek))?;
        if ends.video_ns > 0 {
            return Ok(ends);
        }
    }
    pass(source, probed, None)
}

fn pass(source: &Arc<Source>, probed: &Probed, seek_ns: Option<i64>) -> Result<Ends, Failure> {
    let pipeline = bus::Guard::new(gst::Pipeline::with_name("ends"));
    let demuxer = bus::make(probed.container.demuxer())?;
    bus::add_linked(&pipeline, &[RangeSource::new(Arc::clone(source)).upcast(), demuxer.clone()])?;
    let tracks: Arc<[Mutex<Track>; 2]> = Arc::default();
    let (weak, time_line) = (pipeline.downgrade(), probed.container.time_line());
    let noted = Arc::clone(&tracks);
    demuxer.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let index = match kind_of(&caps) {
            Some(Kind::Video) => 0,
            Some(Kind::Audio) => 1,
            None => return,
        };
        let tracks = Arc::clone(&noted);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                lock(&tracks[index]).note(pad, buffer, time_line);
            }
            gst::PadProbeReturn::Ok
        });
        if let Ok(sink) = bus::make("fakesink") {
            let chain = [sink];
            let _ = bus::set(&chain[0], "sync", "false").and_then(|()| bus::set(&chain[0], "async", "false"));
            let _ = bus::add_linked(&pipeline, &chain).and_then(|()| bus::join(&pipeline, pad, &chain));
        }
    });
    pipeline.start(gst::State::Paused)?;
    if let Some(seek) = seek_ns {
        // Streams must be known before a seek; the first data, of whichever stream, says they are.
        let mut stall = bus::StallGuard::new("looking for the end of the source");
        let nothing = || tracks.iter().all(|track| lock(track).last_ns.is_none());
        while nothing() && pipeline.next_event().is_none() {
            stall.check(source.reads())?;
            std::thread::sleep(bus::STEP);
        }
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let _ = demuxer.seek_simple(flags, gst::ClockTime::from_nseconds(seek as u64));
        // The jump is no interval between two pictures.
        tracks.iter().for_each(|track| *lock(track) = Track::default());
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallGuard::new("looking for the end of the source");
    loop {
        match pipeline.next_event() {
            // Damage at the end is an end, too.
            Some(Event::Ended | Event::Failed(_)) => break,
            None => stall.check(source.reads())?,
        }
        std::thread::sleep(bus::STEP);
    }
    if let Some(failure) = source.failure() {
        return Err(failure);
    }
    let end = |index: usize| lock(&tracks[index]).end_ns;
    Ok(Ends { video_ns: end(0), audio_ns: end(1) })
}

impl Track {
    fn note(&mut self, pad: &gst::Pad, buffer: &gst::Buffer, time_line: TimeLine) {
        let Some(segment) = pad.sticky_event::<gst::event::Segment>(0) else { return };
        let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() else { return };
        let Some(time) = time_line.place(segment, buffer.pts()) else { return };
        if let Some(last) = self.last_ns.filter(|last| time > *last) {
            self.interval_ns = time - last;
        }
        self.last_ns = Some(time);
        let length = buffer.duration().map_or(self.interval_ns, |duration| duration.nseconds() as i64);
        self.end_ns = self.end_ns.max(time + length);
    }
}
