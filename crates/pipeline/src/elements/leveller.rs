//! Sound in, the same sound at its loudness out: the element around [`crate::leveling::limiter::Limiter`]. Every sample keeps its place.
// The subclass macros of gstreamer-rs implement unsafe traits; there is no unsafe code of ours here.
#![allow(unsafe_code)]

use super::{add_pads, filter_pads, stereo};
use crate::leveling::limiter::Limiter;
use gst::{glib, subclass::prelude::*};
use gstreamer as gst;

glib::wrapper! {
    /// Applies a gain and limits peaks. Takes the clip's samples as a sample grid deals them out: from 0 on, without gaps.
    pub struct Leveller(ObjectSubclass<imp::Leveller>) @extends gst::Element, gst::Object;
}

impl Leveller {
    /// An element for interleaved stereo samples in 32-bit floating point.
    pub fn new(limiter: Limiter, rate: u32) -> Self {
        let element: Self = glib::Object::new();
        element.imp().state.lock().start(limiter, rate);
        element
    }
}

mod imp {
    use super::*;
    use gst::prelude::*;
    use parking_lot::Mutex;
    use std::sync::LazyLock;

    pub struct Leveller {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        limiter: Limiter,
        rate: u32,
        dealt: u64,
    }

    impl Leveller {
        fn chain(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
            let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            let mut done = Vec::with_capacity(map.len() / 8);
            let piece = {
                let mut state = self.state.lock();
                state.limiter.push(stereo(&map), &mut done);
                state.piece(&done)
            };
            piece.map_or(Ok(gst::FlowSuccess::Ok), |piece| self.src.push(piece))
        }

        fn event(&self, event: gst::Event) -> bool {
            match event.view() {
                gst::EventView::Eos(_) => {
                    let mut done = Vec::new();
                    let piece = {
                        let mut state = self.state.lock();
                        state.limiter.finish(&mut done);
                        state.piece(&done)
                    };
                    let _ = piece.map(|piece| self.src.push(piece));
                    self.src.push_event(event)
                }
                // The default keeps formats to itself.
                gst::EventView::Caps(_) => self.src.push_event(event),
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }
    }

    impl State {
        pub(super) fn start(&mut self, limiter: Limiter, rate: u32) {
            (self.limiter, self.rate) = (limiter, rate);
        }

        fn piece(&mut self, frames: &[[f32; 2]]) -> Option<gst::Buffer> {
            if frames.is_empty() {
                return None;
            }
            let bytes: Vec<u8> = frames.as_flattened().iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let mut piece = gst::Buffer::from_slice(bytes);
            let begin = self.time(self.dealt);
            self.dealt += frames.len() as u64;
            let end = self.time(self.dealt);
            if let Some(buffer) = piece.get_mut() {
                buffer.set_pts(begin);
                buffer.set_duration(end - begin);
            }
            Some(piece)
        }

        fn time(&self, sample: u64) -> gst::ClockTime {
            gst::ClockTime::from_nseconds(sample * 1_000_000_000 / u64::from(self.rate))
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Leveller {
        const NAME: &'static str = "ClipfleetLeveller";
        type Type = super::Leveller;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let template = |name| class.pad_template(name).expect("the class has both pads");
            let sink = gst::Pad::builder_from_template(&template("sink"))
                .chain_function(|_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), |this| this.chain(&buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |this| this.event(event))
                })
                .build();
            let src = gst::Pad::from_template(&template("src"));
            let state = Mutex::new(State { limiter: Limiter::new(1.0, 1.0), rate: 1, dealt: 0 });
            Self { sink, src, state }
        }
    }

    impl ObjectImpl for Leveller {
        fn constructed(&self) {
            self.parent_constructed();
            add_pads(self.obj().upcast_ref(), [&self.sink, &self.src]);
        }
    }

    impl GstObjectImpl for Leveller {}

    impl ElementImpl for Leveller {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                let about = "Brings sound to its loudness and limits its peaks";
                gst::subclass::ElementMetadata::new("Leveller", "Filter/Audio", about, "Clipfleet")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| filter_pads(&gst::Caps::new_any()));
            &TEMPLATES
        }
    }
}
