//! Decoded pictures in, the clip's frames out: the element around [`crate::timing::FrameGrid`]. It sits right behind the decoder, so that
//! pictures outside the clip cost nothing further.
//!
//! Its output has a time line of its own that begins at 0, and ends by itself when the clip is complete: the demuxer then
//! stops reading.
// The subclass macros of gstreamer-rs implement unsafe traits; there is no unsafe code of ours here.
#![allow(unsafe_code)]

use super::{TimeLine, add_pads, clip_segment, filter_pads};
use crate::{lock::lock, timing::FrameGrid};
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
    /// An element that fills `grid` at `fps` frames per second and may repeat the source's last picture over at most
    /// `patience` frames.
    pub fn new(grid: FrameGrid, time_line: TimeLine, fps: u32, patience: u32) -> Self {
        let element: Self = glib::Object::new();
        element.imp().configure(grid, time_line, fps, patience);
        element
    }

    /// Whether the clip has all its frames; what comes after is dropped.
    pub fn is_over(&self) -> bool {
        lock(&self.imp().state).over
    }

    /// What went through so far.
    pub fn report(&self) -> FramesReport {
        lock(&self.imp().state).report
    }
}

mod imp {
    use super::*;
    use crate::timing::Showing;
    use gst::prelude::*;
    use std::sync::{LazyLock, Mutex};

    pub struct FrameGridElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        segment: gst::FormattedSegment<gst::ClockTime>,
        grid: FrameGrid,
        time_line: TimeLine,
        fps: u32,
        patience: u32,
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

    struct Held {
        buffer: gst::Buffer,
        /// The frame as which it is still to be pushed.
        frame: Option<u32>,
    }

    impl FrameGridElement {
        pub(super) fn configure(&self, grid: FrameGrid, time_line: TimeLine, fps: u32, patience: u32) {
            let mut state = lock(&self.state);
            (state.grid, state.time_line, state.fps, state.patience) = (grid, time_line, fps, patience);
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let mut output = Vec::new();
            let over = {
                let mut state = lock(&self.state);
                if state.over {
                    return Ok(gst::FlowSuccess::Ok);
                }
                state.take(buffer, &mut output);
                state.over = state.grid.is_full();
                state.over
            };
            self.push_all(output)?;
            if over {
                self.src.push_event(gst::event::Eos::new());
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
                    let caps = self.constant_rate(caps.caps());
                    let mut state = lock(&self.state);
                    if state.held.is_some() {
                        state.next_format = Some(caps);
                        return true;
                    }
                    drop(state);
                    self.src.push_event(caps)
                }
                gst::EventView::Segment(segment) => {
                    if let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() {
                        lock(&self.state).segment = segment.clone();
                    }
                    self.src.push_event(clip_segment(&event))
                }
                gst::EventView::Eos(_) => self.end(event),
                // Gaps are filled by the grid; tags of the source (its rotation, its title) do not hold for the output.
                gst::EventView::Gap(_) | gst::EventView::Tag(_) => true,
                // The one seek comes before the first picture, so behind us there is nothing to flush. A card's decoder tells its format
                // even before that, and elements that are just agreeing on it would fail.
                gst::EventView::FlushStart(_) | gst::EventView::FlushStop(_) => true,
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }

        fn constant_rate(&self, caps: &gst::CapsRef) -> gst::Event {
            let fps = gst::Fraction::new(lock(&self.state).fps as i32, 1);
            let mut caps = caps.to_owned();
            for structure in caps.make_mut().iter_mut() {
                structure.set("framerate", fps);
                structure.remove_field("max-framerate");
            }
            gst::event::Caps::new(&caps)
        }

        fn end(&self, event: gst::Event) -> bool {
            let mut output = Vec::new();
            let short = {
                let mut state = lock(&self.state);
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
        fn take(&mut self, buffer: gst::Buffer, output: &mut Vec<Output>) {
            let time = self.time_line.place(&self.segment, buffer.pts());
            let time = time.or(self.last_ns.map(|last| last + self.interval_ns)).unwrap_or(0);
            match self.last_ns {
                Some(last) if time > last => self.interval_ns = time - last,
                _ => self.interval_ns = buffer.duration().map_or(0, |duration| duration.nseconds() as i64),
            }
            self.report.first_ns.get_or_insert(time);
            let from = self.grid.dealt();
            let (repeats, frame) = match self.grid.offer(time) {
                Showing::Before | Showing::Skip => (0, None),
                Showing::Show { repeats } => (repeats, Some(from + repeats)),
                Showing::Behind { repeats } => (repeats, None),
            };
            self.report.dealt = self.grid.dealt();
            self.release(from, repeats, output);
            output.extend(self.next_format.take().map(Output::Format));
            if frame.is_some() {
                self.report.first_shown.get_or_insert_with(Instant::now);
            }
            (self.held, self.last_ns) = (Some(Held { buffer, frame }), Some(time));
            if self.grid.is_full() {
                self.release(self.grid.dealt(), 0, output);
            }
        }

        /// Whether too much is missing.
        fn complete(&mut self, output: &mut Vec<Output>) -> bool {
            let from = self.grid.dealt();
            let missing = self.grid.complete();
            let frame_ns = 1_000_000_000 / i64::from(self.fps);
            self.report.ended_ns = self.last_ns.map(|last| last + self.interval_ns.max(frame_ns));
            self.report.completed = missing;
            self.report.short = missing > self.patience || self.held.is_none();
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
                time_line: TimeLine::Edited,
                fps: 1,
                patience: 0,
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
