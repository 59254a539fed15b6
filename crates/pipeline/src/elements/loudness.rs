//! The element around [`Limiter`]: it normalizes loudness. Every sample keeps its position.

use super::{add_pads, filter_pads, stereo};
use crate::audio::loudness::limiter::Limiter;
use gst::{glib, subclass::prelude::*};
use gstreamer as gst;

glib::wrapper! {
    /// Applies a gain and limits peaks. Takes the clip's samples as a sample grid emits them: from 0 on, without gaps.
    pub struct LoudnessElement(ObjectSubclass<imp::LoudnessElement>) @extends gst::Element, gst::Object;
}

impl LoudnessElement {
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

    pub struct LoudnessElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        limiter: Limiter,
        rate: u32,
        emitted: u64,
    }

    impl LoudnessElement {
        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
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
                // The default handler does not forward caps.
                gst::EventView::Caps(_) => self.src.push_event(event),
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }
    }

    impl State {
        fn new() -> Self {
            Self { limiter: Limiter::new(1.0, 1.0), rate: 1, emitted: 0 }
        }

        pub(super) fn start(&mut self, limiter: Limiter, rate: u32) {
            (self.limiter, self.rate) = (limiter, rate);
        }

        fn piece(&mut self, frames: &[[f32; 2]]) -> Option<gst::Buffer> {
            if frames.is_empty() {
                return None;
            }
            let bytes: Vec<u8> = frames.as_flattened().iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let mut piece = gst::Buffer::from_slice(bytes);
            let begin = self.time(self.emitted);
            self.emitted += frames.len() as u64;
            let end = self.time(self.emitted);
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

    element_class! {
        LoudnessElement: gst::Element,
        "ClipfleetLoudness", "Loudness", "Filter/Audio", "Normalizes loudness and limits peaks",
        filter_pads(&gst::Caps::new_any());
        gst::PadFlags::empty()
    }
}
