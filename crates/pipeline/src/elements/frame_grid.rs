//! Decoded pictures in, the clip's frames out: the element around [`crate::timing::FrameGrid`]. It sits right behind the decoder, so that
//! pictures outside the clip cost nothing further.
//!
//! Its output has a time line of its own that begins at 0, and ends by itself when the clip is complete: the demuxer then
//! stops reading.
// The subclass macros of gstreamer-rs implement unsafe traits; there is no unsafe code of ours here.
#![allow(unsafe_code)]

use super::{TimeLine, add_pads, clip_segment, filter_pads};
use crate::{colours::Colours, edits::Placed, plan::Frames, timing::FrameGrid};
use gst::{glib, subclass::prelude::*};
use gstreamer as gst;
use std::time::Instant;

glib::wrapper! {
    /// Puts pictures on a constant frame rate, from the clip's start to its end.
    pub struct FrameGridElement(ObjectSubclass<imp::FrameGridElement>) @extends gst::Element, gst::Object;
}

/// What went through a [`FrameGridElement`]. Times are nanoseconds on the source's time line.
#[derive(Debug, Clone, Copy, Default)]
pub struct FramesReport {
    /// When the first picture of the clip was there.
    pub first_shown: Option<Instant>,
    /// The first picture that arrived at all.
    pub first_ns: Option<i64>,
    /// The last picture that arrived.
    pub last_ns: Option<i64>,
    /// The decoder could not make the clip's first picture out of what it had been given so far.
    pub first_is_broken: bool,
    /// When the source's last picture ends, if the source ended before the clip.
    pub ended_ns: Option<i64>,
    /// Frames dealt so far.
    pub dealt: u32,
    /// Frames at the end that repeat the source's last picture.
    pub completed: u32,
    /// The source ended so early that the clip was given up.
    pub short: bool,
}

impl FrameGridElement {
    /// An element that deals out those frames.
    pub fn new(frames: &Frames) -> Self {
        let element: Self = glib::Object::new();
        element.imp().configure(frames);
        element
    }

    /// Whether the clip has all its frames; what comes after is dropped.
    pub fn is_over(&self) -> bool {
        self.imp().state.lock().over
    }

    /// What went through so far.
    pub fn report(&self) -> FramesReport {
        self.imp().state.lock().report
    }
}

mod imp {
    use super::*;
    use crate::{plan::END_TOLERANCE_MS, timing::Showing};
    use gst::prelude::*;
    use gstreamer_video as gst_video;
    use parking_lot::Mutex;
    use std::sync::LazyLock;

    pub struct FrameGridElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        segment: gst::FormattedSegment<gst::ClockTime>,
        grid: FrameGrid,
        frames: Frames,
        /// The latest picture, shown or not: what a gap repeats. It is pushed when the next one is there, so that nobody else
        /// holds it by then: a decoder's pool throws away a buffer whose memory is shared, and that costs a millisecond.
        held: Option<Held>,
        /// The format of the pictures after `held`. It is told when `held` is gone, which still has the format before.
        next_format: Option<gst::Event>,
        last_ns: Option<i64>,
        /// Time between the two latest pictures, or what the latest says of itself.
        interval_ns: i64,
        pub(super) over: bool,
        pub(super) report: FramesReport,
    }

    /// What is pushed next.
    enum Output {
        Frame(gst::Buffer),
        /// From here on frames have another format.
        Format(gst::Event),
    }

    /// What a picture changed.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Taken {
        /// More is to come.
        More,
        /// The clip has its frames.
        All,
        /// The track is over, says its edit list.
        Ended,
    }

    struct Held {
        buffer: gst::Buffer,
        /// The frame as which it is still to be pushed.
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

        /// The lock is not held here: a push runs the whole pipeline behind us.
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
                // Gaps are filled by the grid; tags of the source (its rotation, its title) do not hold for the output.
                gst::EventView::Gap(_) | gst::EventView::Tag(_) => true,
                // The one seek comes before the first picture, so behind us there is nothing to flush. A GPU's decoder tells its format
                // even before that, and elements that are just agreeing on it would fail.
                gst::EventView::FlushStart(_) | gst::EventView::FlushStop(_) => true,
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }

        /// The decoder's format at the output's rate, with nothing left open about its colours.
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
                // Ends the run at once; why it is short is found out afterwards, from the report.
                gst::element_imp_error!(self, gst::StreamError::Failed, ("the source ends before the clip"));
                return false;
            }
            let _ = self.push_all(output);
            self.src.push_event(event)
        }
    }

    impl State {
        fn take(&mut self, buffer: gst::Buffer, output: &mut Vec<Output>) -> Taken {
            let media_ns = self.frames.time_line.media_time(&self.segment, buffer.pts());
            let time = match media_ns.map(|media| self.frames.time_line.edits().place(media)) {
                Some(Placed::At(time)) => time,
                Some(Placed::CutOut) => return Taken::More,
                Some(Placed::Behind) => return Taken::Ended,
                None => self.last_ns.map_or(0, |last| last + self.interval_ns),
            };
            self.interval_ns = self.interval(time, &buffer);
            self.report.first_ns.get_or_insert(time);
            self.report.last_ns = Some(time);
            let from = self.grid.dealt();
            let (repeats, frame) = match self.grid.offer(time) {
                Showing::Before | Showing::Skip => (0, None),
                Showing::Show { repeats } => (repeats, Some(from + repeats)),
                Showing::Behind { repeats } => (repeats, None),
            };
            self.report.dealt = self.grid.dealt();
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
                self.release(self.grid.dealt(), 0, output);
                return Taken::All;
            }
            Taken::More
        }

        /// How long a picture is shown if none follows. An MP4 says it of every picture; what others say is often nonsense, and the time
        /// since the picture before it a better guess.
        fn interval(&self, time: i64, buffer: &gst::Buffer) -> i64 {
            let said = buffer.duration().map_or(0, |duration| duration.nseconds() as i64);
            let since = self.last_ns.map_or(0, |last| time - last).max(0);
            match self.frames.time_line {
                TimeLine::Edited(_) if said > 0 => said,
                _ if since > 0 => since,
                _ => said,
            }
        }

        /// What pictures of these caps mean; `None` where the caps say it well enough.
        fn colours(&self, caps: &gst::CapsRef) -> Option<Colours> {
            let info = gst_video::VideoInfo::from_caps(caps).ok()?;
            if info.is_rgb() {
                return None;
            }
            let colours = Colours::from_caps(caps).or(self.frames.colours).guessed(info.height());
            Some(if self.frames.range_is_limited_later { colours.limited() } else { colours })
        }

        /// Whether too much is missing.
        fn complete(&mut self, output: &mut Vec<Output>) -> bool {
            let from = self.grid.dealt();
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

        /// Lets go of the held picture: as the frame it is due for, and as `repeats` more from frame `from` on.
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

    #[glib::object_subclass]
    impl ObjectSubclass for FrameGridElement {
        const NAME: &'static str = "ClipfleetFrameGrid";
        type Type = super::FrameGridElement;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let template = |name| class.pad_template(name).expect("the class has both pads");
            let sink = gst::Pad::builder_from_template(&template("sink"))
                .chain_function(|_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), |this| this.chain(buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |this| this.event(event))
                })
                // Lets the decoder write into the buffers that the element behind us likes.
                .flags(gst::PadFlags::PROXY_ALLOCATION)
                .build();
            let src = gst::Pad::from_template(&template("src"));
            let state = Mutex::new(State {
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
            });
            Self { sink, src, state }
        }
    }

    impl ObjectImpl for FrameGridElement {
        fn constructed(&self) {
            self.parent_constructed();
            add_pads(self.obj().upcast_ref(), [&self.sink, &self.src]);
        }
    }

    impl GstObjectImpl for FrameGridElement {}

    impl ElementImpl for FrameGridElement {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                let about = "Cuts pictures to a clip at a constant frame rate";
                gst::subclass::ElementMetadata::new("Frame grid", "Filter/Video", about, "Clipfleet")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| filter_pads(&gst::Caps::new_any()));
            &TEMPLATES
        }
    }
}
