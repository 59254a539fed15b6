//! The GStreamer elements of our own: where bytes come in, and where time is decided.
//!
//! They are thin: what they decide is in [`crate::source`] and [`crate::timing`], without GStreamer. They are made directly,
//! never looked up by name, so they need no registration.

mod frame_grid;
mod range_source;
mod sample_grid;

pub use frame_grid::{FrameGridElement, FramesReport};
pub use range_source::RangeSource;
pub use sample_grid::{SampleGridElement, SamplesReport};

use gstreamer as gst;

/// Where a buffer lies on the source's own time line, nanoseconds: the one on which pictures and sound agree and seeks aim.
pub(crate) fn stream_time_ns(segment: &gst::FormattedSegment<gst::ClockTime>, time: Option<gst::ClockTime>) -> Option<i64> {
    match segment.to_stream_time_full(time?)? {
        gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
        gst::Signed::Negative(time) => i64::try_from(time.nseconds()).ok().map(|ns| -ns),
    }
}
