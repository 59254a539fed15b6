//! The element around [`crate::picture::range`]: it converts pictures from full range to limited range. It does not
//! change the caps. Before this element, they already declare limited range, so that no converter in between changes
//! the range as well.

use super::filter_pads;
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
    use crate::picture::range::{limit_brightness, limit_colour};
    use gst_base::subclass::BaseTransformMode;
    use gst_video::{VideoFormat, prelude::*};

    #[derive(Default)]
    pub struct RangeLimiter;

    element_class! {
        RangeLimiter: gst_video::VideoFilter,
        "ClipfleetRangeLimiter", "Range limiter", "Filter/Video", "Converts full range to limited range",
        filter_pads(&gst_video::VideoCapsBuilder::new().format_list([VideoFormat::I420, VideoFormat::Nv12]).build())
    }

    impl ObjectImpl for RangeLimiter {}

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
