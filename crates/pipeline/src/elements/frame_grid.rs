//! The element around [`crate::timing::FrameGrid`]: it turns decoded pictures into the clip's frames. It is the first
//! element after the decoder, so that pictures outside of the clip are not processed any further.
//!
//! Its output has its own time line, which begins at 0. When the clip is complete it sends end-of-stream, and the
//! demuxer then stops reading.

use super::{add_pads, clip_segment, filter_pads};
use crate::{
    plan::step::Frames,
    source::{colours::Colours, edits::Placed, time_line::TimeLine},
    timing::FrameGrid,
};
use gst::{glib, subclass::prelude::*};
use gstreamer as gst;
use std::time::Instant;

glib::wrapper! {
    /// Converts pictures to a constant frame rate, from the clip's start to its end.
    pub struct FrameGridElement(ObjectSubclass<imp::FrameGridElement>) @extends gst::Element, gst::Object;
}

/// Report of a [`FrameGridElement`]. Times are nanoseconds on the source's time line.
#[derive(Debug, Clone, Copy, Default)]
pub struct FramesReport {
    /// When the first picture of the clip arrived.
    pub first_shown: Option<Instant>,
    /// The first picture that arrived at all.
    pub first_ns: Option<i64>,
    /// The last picture that arrived.
    pub last_ns: Option<i64>,
    /// The decoder could not completely decode the clip's first picture from the data that it had received.
    pub first_is_broken: bool,
    /// The end of the source's last picture, if the source ended before the clip.
    pub ended_ns: Option<i64>,
    /// Number of frames emitted so far.
    pub emitted: u32,
    /// Number of frames at the end that repeat the source's last picture.
    pub completed: u32,
    /// The source ended so early that the clip was aborted.
    pub short: bool,
}

impl FrameGridElement {
    /// An element that emits these frames.
    pub fn new(frames: &Frames) -> Self {
        let element: Self = glib::Object::new();
        element.imp().configure(frames);
        element
    }

    /// Whether the clip has all its frames. Later pictures are dropped.
    pub fn is_over(&self) -> bool {
        self.imp().state.lock().over
    }

    /// The report so far.
    pub fn report(&self) -> FramesReport {
        self.imp().state.lock().report
    }
}

mod imp {
    use super::*;
    use crate::timing::{END_TOLERANCE_MS, FrameAction};
    use gst::prelude::*;
    use gstreamer_video as gst_video;
    use parking_lot::Mutex;

    pub struct FrameGridElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        segment: gst::FormattedSegment<gst::ClockTime>,
        grid: FrameGrid,
        frames: Frames,
        /// The latest picture, shown or not, which fills a gap. It is pushed when the next one arrives, so that there
        /// is no other reference to it: a decoder's pool discards a buffer whose memory is shared, which costs a
        /// millisecond.
        held: Option<Held>,
        /// The format of the pictures after `held`. It is pushed after `held`, which has the previous format.
        next_format: Option<gst::Event>,
        last_ns: Option<i64>,
        /// Time between the two latest pictures, or the declared duration of the latest one.
        interval_ns: i64,
        pub(super) over: bool,
        pub(super) report: FramesReport,
    }

    /// An item to push.
    enum Output {
        Frame(gst::Buffer),
        /// The format of the following frames.
        Format(gst::Event),
    }

    /// The effect of a picture.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Taken {
        /// More pictures are needed.
        More,
        /// The clip has all its frames.
        All,
        /// The track has ended, according to its edit list.
        Ended,
    }

    struct Held {
        buffer: gst::Buffer,
        /// The frame that it must still be pushed as.
        frame: Option<u32>,
    }

    impl FrameGridElement {
        pub(super) fn configure(&self, frames: &Frames) {
            let mut state = self.state.lock();
            state.grid = FrameGrid::new(frames.start_ns, frames.fps, frames.frames);
            state.frames = frames.clone();
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let mut output = Vec::new();
            let taken = {
                let mut state = self.state.lock();
                if state.over {
                    return Ok(gst::FlowSuccess::Ok);
                }
                let taken = state.take(buffer, &mut output);
                state.over = taken == Taken::All;
                taken
            };
            self.push_all(output)?;
            match taken {
                Taken::More => {}
                Taken::All => {
                    self.src.push_event(gst::event::Eos::new());
                }
                Taken::Ended => {
                    self.end(gst::event::Eos::new());
                }
            }
            Ok(gst::FlowSuccess::Ok)
        }

        /// Must be called without the lock, because a push runs all following elements.
        fn push_all(&self, output: Vec<Output>) -> Result<(), gst::FlowError> {
            output.into_iter().try_for_each(|next| match next {
                Output::Frame(frame) => self.src.push(frame).map(|_| ()),
                Output::Format(caps) => self.src.push_event(caps).then_some(()).ok_or(gst::FlowError::NotNegotiated),
            })
        }

        fn event(&self, event: gst::Event) -> bool {
            match event.view() {
                gst::EventView::Caps(caps) => {
                    let caps = self.frame_format(caps.caps());
                    let mut state = self.state.lock();
                    if state.held.is_some() {
                        state.next_format = Some(caps);
                        return true;
                    }
                    drop(state);
                    self.src.push_event(caps)
                }
                gst::EventView::Segment(segment) => {
                    if let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() {
                        self.state.lock().segment = segment.clone();
                    }
                    self.src.push_event(clip_segment(&event))
                }
                gst::EventView::Eos(_) => self.end(event),
                // The grid fills gaps. Tags of the source (its rotation, its title) do not apply to the output.
                gst::EventView::Gap(_) | gst::EventView::Tag(_) => true,
                // The only seek precedes the first picture, so there is nothing to flush after this element. A GPU's
                // decoder sends its format even earlier, and elements that are negotiating that format would fail.
                gst::EventView::FlushStart(_) | gst::EventView::FlushStop(_) => true,
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }

        /// The decoder's format with the output's rate, and with complete colours.
        fn frame_format(&self, caps: &gst::CapsRef) -> gst::Event {
            let state = self.state.lock();
            let fps = gst::Fraction::new(state.frames.fps as i32, 1);
            let colours = state.colours(caps);
            let mut caps = caps.to_owned();
            for structure in caps.make_mut().iter_mut() {
                structure.set("framerate", fps);
                structure.remove_field("max-framerate");
                if let Some(colours) = colours {
                    structure.set("colorimetry", colours.to_caps());
                }
            }
            gst::event::Caps::new(&caps)
        }

        fn end(&self, event: gst::Event) -> bool {
            let mut output = Vec::new();
            let short = {
                let mut state = self.state.lock();
                if state.over {
                    return true;
                }
                state.over = true;
                state.complete(&mut output)
            };
            if short {
                // Ends the run immediately. The cause is determined afterwards, from the report.
                gst::element_imp_error!(self, gst::StreamError::Failed, ("the source ends before the clip"));
                return false;
            }
            let _ = self.push_all(output);
            self.src.push_event(event)
        }
    }

    impl State {
        fn new() -> Self {
            Self {
                segment: gst::FormattedSegment::new(),
                grid: FrameGrid::new(0, 1, 0),
                frames: Frames {
                    start_ns: 0,
                    fps: 1,
                    frames: 0,
                    max_repeats: 0,
                    time_line: TimeLine::Stamped,
                    colours: Colours::default(),
                    range_is_limited_later: false,
                },
                held: None,
                next_format: None,
                last_ns: None,
                interval_ns: 0,
                over: false,
                report: FramesReport::default(),
            }
        }

        fn take(&mut self, buffer: gst::Buffer, output: &mut Vec<Output>) -> Taken {
            let media_ns = self.frames.time_line.media_time(&self.segment, buffer.pts());
            let time = match media_ns.map(|media| self.frames.time_line.edits().place(media)) {
                Some(Placed::At(time)) => time,
                Some(Placed::CutOut) => return Taken::More,
                Some(Placed::After) => return Taken::Ended,
                None => self.last_ns.map_or(0, |last| last + self.interval_ns),
            };
            self.interval_ns = self.interval(time, &buffer);
            self.report.first_ns.get_or_insert(time);
            self.report.last_ns = Some(time);
            let from = self.grid.emitted();
            let (repeats, frame) = match self.grid.offer(time) {
                FrameAction::Before | FrameAction::Skip => (0, None),
                FrameAction::Show { repeats } => (repeats, Some(from + repeats)),
                FrameAction::After { repeats } => (repeats, None),
            };
            self.report.emitted = self.grid.emitted();
            self.release(from, repeats, output);
            output.extend(self.next_format.take().map(Output::Format));
            if frame == Some(0) {
                self.report.first_is_broken = buffer.flags().contains(gst::BufferFlags::CORRUPTED);
            }
            if frame.is_some() {
                self.report.first_shown.get_or_insert_with(Instant::now);
            }
            (self.held, self.last_ns) = (Some(Held { buffer, frame }), Some(time));
            if self.grid.is_full() {
                self.release(self.grid.emitted(), 0, output);
                return Taken::All;
            }
            Taken::More
        }

        /// How long a picture is shown if no other follows. MP4 declares it for every picture. Other declarations are
        /// often wrong, and the time since the previous picture is a better estimate.
        fn interval(&self, time: i64, buffer: &gst::Buffer) -> i64 {
            let declared = buffer.duration().map_or(0, |duration| duration.nseconds() as i64);
            let since = self.last_ns.map_or(0, |last| time - last).max(0);
            match self.frames.time_line {
                TimeLine::Edited(_) if declared > 0 => declared,
                _ if since > 0 => since,
                _ => declared,
            }
        }

        /// The colours of pictures with these caps; `None` if the caps are sufficient.
        fn colours(&self, caps: &gst::CapsRef) -> Option<Colours> {
            let info = gst_video::VideoInfo::from_caps(caps).ok()?;
            if info.is_rgb() {
                return None;
            }
            let colours = Colours::from_caps(caps).or(self.frames.colours).guessed(info.height());
            Some(if self.frames.range_is_limited_later { colours.limited() } else { colours })
        }

        /// Completes the clip. Returns whether too much is missing.
        fn complete(&mut self, output: &mut Vec<Output>) -> bool {
            let from = self.grid.emitted();
            let missing = self.grid.complete();
            let frame_ns = 1_000_000_000 / i64::from(self.frames.fps);
            let ended = self.last_ns.map(|last| last + self.interval_ns.max(frame_ns));
            self.report.ended_ns = ended;
            self.report.completed = missing;
            let end_ns = self.frames.start_ns + i64::from(self.frames.frames) * frame_ns;
            let lasts = ended.is_some_and(|ended| ended + END_TOLERANCE_MS * 1_000_000 >= end_ns);
            self.report.short = self.held.is_none() || missing > self.frames.max_repeats && !lasts;
            if !self.report.short {
                self.release(from, missing, output);
            }
            self.report.short
        }

        /// Releases the held picture: as its own frame, and as `repeats` further frames starting with frame `from`.
        fn release(&mut self, from: u32, repeats: u32, output: &mut Vec<Output>) {
            let Some(Held { buffer, frame }) = self.held.take() else { return };
            let mut frames: Vec<u32> = frame.into_iter().chain(from..from + repeats).collect();
            let last = frames.pop();
            output.extend(frames.into_iter().map(|index| Output::Frame(self.stamped(buffer.clone(), index))));
            output.extend(last.map(|index| Output::Frame(self.stamped(buffer, index))));
        }

        /// The picture as frame `index`. Copies share the pixels.
        fn stamped(&self, mut buffer: gst::Buffer, index: u32) -> gst::Buffer {
            let time = self.grid.time_ns(index);
            let frame = buffer.make_mut();
            frame.set_pts(gst::ClockTime::from_nseconds(time));
            frame.set_dts(gst::ClockTime::NONE);
            frame.set_duration(gst::ClockTime::from_nseconds(self.grid.time_ns(index + 1) - time));
            frame.unset_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::GAP);
            buffer
        }
    }

    element_class! {
        FrameGridElement: gst::Element,
        "ClipfleetFrameGrid", "Frame grid", "Filter/Video", "Cuts pictures to a clip at a constant frame rate",
        filter_pads(&gst::Caps::new_any());
        // The decoder may write into buffers that the next element provides.
        gst::PadFlags::PROXY_ALLOCATION
    }
}
