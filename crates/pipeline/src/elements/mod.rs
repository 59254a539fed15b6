//! The GStreamer elements of our own: where bytes come in, where time and loudness are decided, and where frames are drawn.
//!
//! They are thin: what they decide is in [`crate::source`], [`crate::timing`], [`crate::leveling`], [`crate::tone`] and
//! [`crate::paint`], without GStreamer. They are made directly,
//! never looked up by name, so they need no registration.

mod canvas;
mod frame_grid;
mod leveller;
mod range_limiter;
mod range_source;
mod sample_grid;
mod tone_map;

pub use canvas::Canvas;
pub use frame_grid::{FrameGridElement, FramesReport};
pub use leveller::Leveller;
pub use range_limiter::RangeLimiter;
pub use range_source::RangeSource;
pub use sample_grid::{SampleGridElement, SamplesReport};
pub use tone_map::ToneMapper;

use crate::edits::EditList;
use gst::prelude::*;
use gstreamer as gst;

/// The pads of a filter: one in, one out, of the same formats.
fn filter_pads(caps: &gst::Caps) -> Vec<gst::PadTemplate> {
    let ways = [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)];
    let template = |(name, way)| gst::PadTemplate::new(name, way, gst::PadPresence::Always, caps).ok();
    ways.into_iter().filter_map(template).collect()
}

/// Gives a new element its pads.
fn add_pads(element: &gst::Element, pads: [&gst::Pad; 2]) {
    for pad in pads {
        element.add_pad(pad).expect("a new element has no pad of that name");
    }
}

/// The pairs of left and right in interleaved 32-bit numbers.
pub(crate) fn stereo(bytes: &[u8]) -> impl Iterator<Item = [f32; 2]> {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
    bytes.chunks_exact(8).map(move |frame| [number(&frame[..4]), number(&frame[4..])])
}

/// What stands in for a source's segment behind an element that deals out the clip: times that begin at zero.
fn clip_segment(replaced: &gst::Event) -> gst::Event {
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    gst::event::Segment::builder(&segment).seqnum(replaced.seqnum()).build()
}

/// How a demuxer's time stamps become times of the file's own time line, which all its tracks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeLine {
    /// MP4: each track has a time line of its own, which its edit list maps.
    Edited(EditList),
    /// Matroska has one clock for all tracks: the stamps themselves, while the demuxer's idea of where that begins changes
    /// with the order in which it meets the first blocks.
    Stamped,
}

impl TimeLine {
    /// Where a buffer lies on its track's own time line, nanoseconds.
    pub(crate) fn media_time(
        &self,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        stamp: Option<gst::ClockTime>,
    ) -> Option<i64> {
        let stamp = stamp?;
        let placed = match self {
            TimeLine::Stamped => gst::Signed::Positive(stamp),
            TimeLine::Edited(_) => segment.to_stream_time_full(stamp)?,
        };
        match placed {
            gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
            gst::Signed::Negative(time) => i64::try_from(time.nseconds()).ok().map(|ns| -ns),
        }
    }

    /// The edit list; empty where there is none.
    pub(crate) fn edits(&self) -> &EditList {
        const NONE: &EditList = &EditList::NONE;
        match self {
            TimeLine::Edited(edits) => edits,
            TimeLine::Stamped => NONE,
        }
    }
}

/// Where a buffer of ours lies in the clip, nanoseconds.
pub(crate) fn clip_time(segment: &gst::FormattedSegment<gst::ClockTime>, stamp: Option<gst::ClockTime>) -> Option<i64> {
    TimeLine::Edited(EditList::NONE).media_time(segment, stamp)
}
