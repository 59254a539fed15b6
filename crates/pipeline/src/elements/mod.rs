//! Our own GStreamer elements: they feed in the source's bytes, cut time, normalize loudness, and draw frames.
//!
//! Each is a thin shell around code without GStreamer: [`crate::source::blocks`], [`crate::timing`],
//! [`crate::audio::loudness`], [`crate::picture::tone`] and [`crate::picture::paint`]. They are created directly and
//! never looked up by name, so they need no registration.
#![allow(
    unsafe_code,
    reason = "the subclass macros of gstreamer-rs implement unsafe traits; there is no other unsafe code here"
)]

/// Implements an element class: its registration, its metadata and its pad templates. With flags of a sink pad, it also
/// implements a constructor for an element with a sink pad and a source pad.
macro_rules! element_class {
    (
        $name:ident: $parent:ty,
        $type_name:literal, $title:literal, $class:literal, $about:literal,
        $templates:expr;
        $flags:expr
    ) => {
        element_class! {
            @class $name, $parent, $type_name, $title, $class, $about, $templates, {
                fn with_class(class: &Self::Class) -> Self {
                    let template = |name| class.pad_template(name).expect("the class has both pads");
                    let sink = gst::Pad::builder_from_template(&template("sink"))
                        .chain_function(|_, parent, buffer| {
                            let failed = || Err(gst::FlowError::Error);
                            Self::catch_panic_pad_function(parent, failed, |this| this.chain(buffer))
                        })
                        .event_function(|_, parent, event| {
                            Self::catch_panic_pad_function(parent, || false, |this| this.event(event))
                        })
                        .flags($flags)
                        .build();
                    let src = gst::Pad::from_template(&template("src"));
                    Self { sink, src, state: Mutex::new(State::new()) }
                }
            }
        }

        impl ObjectImpl for $name {
            fn constructed(&self) {
                self.parent_constructed();
                add_pads(self.obj().upcast_ref(), [&self.sink, &self.src]);
            }
        }
    };
    (
        $name:ident: $parent:ty,
        $type_name:literal, $title:literal, $class:literal, $about:literal,
        $templates:expr
    ) => {
        element_class! { @class $name, $parent, $type_name, $title, $class, $about, $templates, {} }
    };
    (
        @class $name:ident, $parent:ty, $type_name:literal, $title:literal, $class:literal, $about:literal,
        $templates:expr, { $($constructor:tt)* }
    ) => {
        #[glib::object_subclass]
        impl ObjectSubclass for $name {
            const NAME: &'static str = $type_name;
            type Type = super::$name;
            type ParentType = $parent;

            $($constructor)*
        }

        impl GstObjectImpl for $name {}

        impl ElementImpl for $name {
            fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> = std::sync::LazyLock::new(|| {
                    gst::subclass::ElementMetadata::new($title, $class, $about, "Clipfleet")
                });
                Some(&METADATA)
            }

            fn pad_templates() -> &'static [gst::PadTemplate] {
                static TEMPLATES: std::sync::LazyLock<Vec<gst::PadTemplate>> = std::sync::LazyLock::new(|| $templates);
                &TEMPLATES
            }
        }
    };
}

mod canvas;
mod frame_grid;
mod loudness;
mod range_limiter;
mod range_source;
mod sample_grid;
mod tone_map;

pub use canvas::Canvas;
pub use frame_grid::{FrameGridElement, FramesReport};
pub use loudness::LoudnessElement;
pub use range_limiter::RangeLimiter;
pub use range_source::RangeSource;
pub use sample_grid::{SampleGridElement, SamplesReport};
pub use tone_map::ToneMapper;

use gst::prelude::*;
use gstreamer as gst;

/// The pad templates of a filter: one sink pad and one source pad with the same formats.
fn filter_pads(caps: &gst::Caps) -> Vec<gst::PadTemplate> {
    let pads = [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)];
    let template = |(name, direction)| gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps).ok();
    pads.into_iter().filter_map(template).collect()
}

/// Adds pads to a new element.
fn add_pads(element: &gst::Element, pads: [&gst::Pad; 2]) {
    for pad in pads {
        element.add_pad(pad).expect("a new element has no pad of that name");
    }
}

/// The pairs of left and right in interleaved 32-bit floats.
pub(crate) fn stereo(bytes: &[u8]) -> impl Iterator<Item = [f32; 2]> {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
    bytes.chunks_exact(8).map(move |frame| [number(&frame[..4]), number(&frame[4..])])
}

/// The segment of an element that emits the clip, in place of the source's segment: its times begin at zero.
fn clip_segment(replaced: &gst::Event) -> gst::Event {
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    gst::event::Segment::builder(&segment).seqnum(replaced.seqnum()).build()
}
