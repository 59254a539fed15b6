//! Converts times of buffers to times of the source's file.

use super::edits::EditList;
use gstreamer as gst;

/// How a demuxer's time stamps are converted to times of the file's own time line, which all of its tracks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeLine {
    /// MP4: each track has its own time line, which its edit list maps.
    Edited(EditList),
    /// Matroska: all tracks share one clock, so the stamps are used directly. Segments are ignored, because the start
    /// that the demuxer reports depends on the order in which it reads the first blocks.
    Stamped,
}

impl TimeLine {
    /// The time of a buffer on its track's own time line, nanoseconds.
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

    /// The edit list; empty if there is none.
    pub(crate) fn edits(&self) -> &EditList {
        const NONE: &EditList = &EditList::NONE;
        match self {
            TimeLine::Edited(edits) => edits,
            TimeLine::Stamped => NONE,
        }
    }
}

/// The time of one of our buffers in the clip, nanoseconds.
pub(crate) fn clip_time(segment: &gst::FormattedSegment<gst::ClockTime>, stamp: Option<gst::ClockTime>) -> Option<i64> {
    TimeLine::Edited(EditList::NONE).media_time(segment, stamp)
}
