//! Where the source really ends: asked only when a clip turned out too long, so that the answer can name the instant.
//!
//! ```text
//! RangeSource ── demuxer ── each stream ── fakesink      nothing is decoded; time stamps are noted
//! ```

use crate::{
    bus::{self, Event},
    elements::{RangeSource, TimeLine},
    probe::{Probed, Stream},
    source::Source,
    tracks::track_number,
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::sync::Arc;

/// When the tracks of a source end, nanoseconds on its time line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// When the last picture is shown, if there is one.
    pub last_picture_ns: Option<i64>,
    /// End of the last picture.
    pub video_ns: i64,
    /// End of the last sound.
    pub audio_ns: i64,
}

#[derive(Default)]
struct Track {
    last_ns: Option<i64>,
    /// The latest time; samples come in the order in which they are decoded.
    last_shown_ns: Option<i64>,
    interval_ns: i64,
    end_ns: i64,
}

/// How long before its declared end a source is looked at.
const TAIL_NS: i64 = 10_000_000_000;

/// Reads the end of the source; all of it if its header does not say where that is.
pub fn find(source: &Arc<Source>, probed: &Probed) -> Result<Ends, Failure> {
    let media_time = |movie_ns| {
        let streams = [Some(&probed.video), probed.audio.as_ref()].into_iter().flatten();
        streams.map(|stream| stream.time_line.edits().media_time(movie_ns)).min().unwrap_or(movie_ns)
    };
    let tail = probed.declared_ns.map(|length| length - TAIL_NS).filter(|seek| *seek > 0).map(media_time);
    if let Some(seek) = tail {
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
    let (weak, noted) = (pipeline.downgrade(), Arc::clone(&tracks));
    let streams = [Some(probed.video.clone()), probed.audio.clone()];
    demuxer.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let number = track_number(pad);
        let stream = streams.iter().enumerate().find_map(|(index, stream)| {
            stream
                .as_ref()
                .filter(|stream| stream.selection.number == number)
                .map(|stream| (index, stream.time_line.clone()))
        });
        if let Some((index, time_line)) = stream {
            let tracks = Arc::clone(&noted);
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(buffer) = info.buffer() {
                    tracks[index].lock().note(pad, buffer, &time_line);
                }
                gst::PadProbeReturn::Ok
            });
        }
        if let Ok(sink) = bus::make("fakesink") {
            let chain = [sink];
            let _ = bus::set(&chain[0], "sync", "false").and_then(|()| bus::set(&chain[0], "async", "false"));
            let _ = bus::add_linked(&pipeline, &chain).and_then(|()| bus::join(pad, &chain));
        }
    });
    pipeline.start(gst::State::Paused)?;
    if let Some(seek) = seek_ns {
        // Streams must be known before a seek; the first data, of whichever stream, says they are.
        let mut stall = bus::StallGuard::new("looking for the end of the source");
        let nothing = || tracks.iter().all(|track| track.lock().last_ns.is_none());
        while nothing() && pipeline.next_event().is_none() {
            stall.check(source.reads())?;
            std::thread::sleep(bus::STEP);
        }
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let _ = demuxer.seek_simple(flags, gst::ClockTime::from_nseconds(seek as u64));
        // The jump is no interval between two pictures.
        tracks.iter().for_each(|track| *track.lock() = Track::default());
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
    let end = |index: usize, stream: Option<&Stream>| {
        let ended_ns = tracks[index].lock().end_ns;
        stream.filter(|_| ended_ns > 0).map_or(0, |stream| stream.time_line.edits().movie_end(ended_ns))
    };
    let last_ns = tracks[0].lock().last_shown_ns;
    let placed = last_ns.map(|last| probed.video.time_line.edits().movie_end(last));
    Ok(Ends { last_picture_ns: placed, video_ns: end(0, Some(&probed.video)), audio_ns: end(1, probed.audio.as_ref()) })
}

impl Track {
    fn note(&mut self, pad: &gst::Pad, buffer: &gst::Buffer, time_line: &TimeLine) {
        let Some(segment) = pad.sticky_event::<gst::event::Segment>(0) else { return };
        let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() else { return };
        let Some(time) = time_line.media_time(segment, buffer.pts().or(buffer.dts())) else { return };
        if let Some(last) = self.last_ns.filter(|last| time > *last) {
            self.interval_ns = time - last;
        }
        self.last_ns = Some(time);
        self.last_shown_ns = self.last_shown_ns.max(Some(time));
        let length = buffer.duration().map_or(self.interval_ns, |duration| duration.nseconds() as i64);
        self.end_ns = self.end_ns.max(time + length);
    }
}
