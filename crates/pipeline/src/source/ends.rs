//! Finds the real end of the source. This is done only if a clip may extend beyond it, so that the error can name the
//! time.
//!
//! ```text
//! RangeSource ── demuxer ── each stream ── fakesink      nothing is decoded; time stamps are recorded
//! ```

use crate::{
    elements::RangeSource,
    graph::bus::{self, Event},
    source::{
        blocks::Source,
        probe::Probed,
        time_line::TimeLine,
        tracks::{Stream, track_number},
    },
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::sync::Arc;

/// The ends of the source's tracks, nanoseconds on its time line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// Presentation time of the last picture, if there is one.
    pub last_picture_ns: Option<i64>,
    /// End of the last picture.
    pub video_ns: i64,
    /// End of the last audio.
    pub audio_ns: i64,
}

#[derive(Default)]
struct Track {
    last_ns: Option<i64>,
    /// The latest presentation time. Samples arrive in decoding order.
    last_shown_ns: Option<i64>,
    interval_ns: i64,
    end_ns: i64,
}

/// How long before the declared end to start reading.
const TAIL_NS: i64 = 10_000_000_000;

/// Reads the end of the source, or all of it if its header declares no length.
pub fn find(source: &Arc<Source>, probed: &Probed) -> Result<Ends, Failure> {
    let media_time = |movie_ns| {
        let streams = [Some(&probed.video), probed.audio.as_ref()].into_iter().flatten();
        streams.map(|stream| stream.time_line.edits().media_time(movie_ns)).min().unwrap_or(movie_ns)
    };
    let tail = probed.declared_ns.map(|length| length - TAIL_NS).filter(|seek| *seek > 0).map(media_time);
    if let Some(seek) = tail {
        let ends = scan(source, probed, Some(seek))?;
        if ends.video_ns > 0 {
            return Ok(ends);
        }
    }
    scan(source, probed, None)
}

fn scan(source: &Arc<Source>, probed: &Probed, seek_ns: Option<i64>) -> Result<Ends, Failure> {
    let pipeline = bus::PipelineGuard::new(gst::Pipeline::with_name("ends"));
    let demuxer = bus::make(probed.container.demuxer())?;
    bus::add_linked(&pipeline, &[RangeSource::new(Arc::clone(source)).upcast(), demuxer.clone()])?;
    let tracks: Arc<[Mutex<Track>; 2]> = Arc::default();
    let (weak, recorded) = (pipeline.downgrade(), Arc::clone(&tracks));
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
            let tracks = Arc::clone(&recorded);
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(buffer) = info.buffer() {
                    tracks[index].lock().record(pad, buffer, &time_line);
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
        // Streams must be known before a seek. The first data of any stream shows that they are.
        let mut stall = bus::StallDetector::new("looking for the end of the source");
        let nothing = || tracks.iter().all(|track| track.lock().last_ns.is_none());
        while nothing() && pipeline.next_event().is_none() {
            stall.check(source.reads())?;
            std::thread::sleep(bus::POLL_INTERVAL);
        }
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let _ = demuxer.seek_simple(flags, gst::ClockTime::from_nseconds(seek as u64));
        // The jump must not count as an interval between two pictures.
        tracks.iter().for_each(|track| *track.lock() = Track::default());
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = bus::StallDetector::new("looking for the end of the source");
    loop {
        match pipeline.next_event() {
            // Damage at the end also counts as the end.
            Some(Event::Ended | Event::Failed(_)) => break,
            None => stall.check(source.reads())?,
        }
        std::thread::sleep(bus::POLL_INTERVAL);
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
    fn record(&mut self, pad: &gst::Pad, buffer: &gst::Buffer, time_line: &TimeLine) {
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
