//! Pictures of full range in, of limited range out: the element around [`crate::range`]. What the caps say of the range is left
//! as it is: in front of it they already say what comes out, so that no converter in between changes the range, too.
// The subclass macros of gstreamer-rs implement unsafe traits; there is no unsafe code of ours here.
#![allow(unsafe_code)]

use gst::{glib, subclass::prelude::*};
use gst_video::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;

glib::wrapper! {
    /// Limits the range of 8-bit 4:2:0 pictures, in place.
    pub struct RangeLimiter(ObjectSubclass<imp::RangeLimiter>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

impl RangeLimiter {
    /// A new element.
    pub fn new() -> Self {
        glib::Object::new()
    }
}

impl Default for RangeLimiter {
    fn default() -> Self {
        Self::new()
    }
}

mod imp {
    use super::*;
    use crate::range::{limit_brightness, limit_colour};
    use gst_base::subclass::BaseTransformMode;
    use gst_video::{VideoFormat, prelude::*};
    use std::sync::LazyLock;

    #[derive(Default)]
    pub struct RangeLimiter;

    #[glib::object_subclass]
    impl ObjectSubclass for RangeLimiter {
        const NAME: &'static str = "ClipfleetRangeLimiter";
        type Type = super::RangeLimiter;
        type ParentType = gst_video::VideoFilter;
    }

    impl ObjectImpl for RangeLimiter {}
    impl GstObjectImpl for RangeLimiter {}

    impl ElementImpl for RangeLimiter {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                let about = "Makes limited range of full range";
                gst::subclass::ElementMetadata::new("Range limiter", "Filter/Video", about, "Clipfleet")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let formats = [VideoFormat::I420, VideoFormat::Nv12];
                super::super::filter_pads(&gst_video::VideoCapsBuilder::new().format_list(formats).build())
            });
            &TEMPLATES
        }
    }

    impl BaseTransformImpl for RangeLimiter {
        const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;
    }

    impl VideoFilterImpl for RangeLimiter {
        fn transform_frame_ip(
            &self,
            frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            limit_brightness(frame.plane_data_mut(0).map_err(|_| gst::FlowError::Error)?);
            for plane in 1..frame.n_planes() {
                limit_colour(frame.plane_data_mut(plane).map_err(|_| gst::FlowError::Error)?);
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }
}
