//! The element around a [`Paint`]: it draws frames of the output's size from pictures of any size.
//!
//! The base class makes one frame from each picture, with the same time stamp. Planes are read from the decoder's
//! buffers and written to the encoder's buffers without a copy.

use super::filter_pads;
use crate::picture::paint::Paint;
use clipfleet_domain::rendition::Size;
use gst::{glib, subclass::prelude::*};
use gst_video::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;

glib::wrapper! {
    /// Draws I420 frames of one size.
    pub struct Canvas(ObjectSubclass<imp::Canvas>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

impl Canvas {
    /// An element whose frames have `size` and are drawn by `paint`.
    pub fn new(size: Size, paint: Box<dyn Paint>) -> Self {
        let element: Self = glib::Object::new();
        element.imp().configure(size, paint);
        element
    }
}

mod imp {
    use super::*;
    use crate::picture::paint::{Plane, PlaneMut};
    use gst_base::subclass::BaseTransformMode;
    use gst_video::{prelude::*, subclass::prelude::VideoFilterImpl};
    use parking_lot::Mutex;

    #[derive(Default)]
    pub struct Canvas {
        work: Mutex<Option<(Size, Box<dyn Paint>)>>,
    }

    impl Canvas {
        pub(super) fn configure(&self, size: Size, paint: Box<dyn Paint>) {
            *self.work.lock() = Some((size, paint));
        }
    }

    element_class! {
        Canvas: gst_video::VideoFilter,
        "ClipfleetCanvas", "Canvas", "Filter/Video", "Draws frames of the output's size",
        filter_pads(&gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::I420).build())
    }

    impl ObjectImpl for Canvas {}

    impl BaseTransformImpl for Canvas {
        const MODE: BaseTransformMode = BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        /// Only the size changes, and pixels become square.
        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let size = self.work.lock().as_ref().map(|(size, _)| *size)?;
            let mut other = caps.clone();
            for structure in other.make_mut().iter_mut() {
                if direction == gst::PadDirection::Sink {
                    structure.set("width", size.width as i32);
                    structure.set("height", size.height as i32);
                    structure.set("pixel-aspect-ratio", gst::Fraction::new(1, 1));
                } else {
                    structure.set("width", gst::IntRange::<i32>::new(1, i32::MAX));
                    structure.set("height", gst::IntRange::<i32>::new(1, i32::MAX));
                    structure.remove_field("pixel-aspect-ratio");
                }
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&other, gst::CapsIntersectMode::First),
                None => other,
            })
        }
    }

    impl VideoFilterImpl for Canvas {
        fn set_info(
            &self,
            incaps: &gst::Caps,
            in_info: &gst_video::VideoInfo,
            outcaps: &gst::Caps,
            out_info: &gst_video::VideoInfo,
        ) -> Result<(), gst::LoggableError> {
            let source = Size { width: in_info.width(), height: in_info.height() };
            let aspect = in_info.par();
            let part = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
            if let Some((_, paint)) = self.work.lock().as_mut() {
                let prepared = paint.prepare(source, (part(aspect.numer()), part(aspect.denom())));
                prepared.map_err(|reason| gst::loggable_error!(gst::CAT_RUST, "{reason}"))?;
            }
            self.parent_set_info(incaps, in_info, outcaps, out_info)
        }

        fn transform_frame(
            &self,
            picture: &gst_video::VideoFrameRef<&gst::BufferRef>,
            frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let mut work = self.work.lock();
            let (_, paint) = work.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let at_ns = picture.buffer().pts().map_or(0, gst::ClockTime::nseconds);
            for plane in 0..3_u32 {
                // Each plane of I420 has exactly one component.
                let sides = |info: &gst_video::VideoInfo| {
                    (info.comp_width(plane as u8) as usize, info.comp_height(plane as u8) as usize)
                };
                let stride = |strides: &[i32]| strides[plane as usize].unsigned_abs() as usize;
                let ((width, height), from) = (sides(picture.info()), stride(picture.plane_stride()));
                let data = picture.plane_data(plane).map_err(|_| gst::FlowError::Error)?;
                let input = Plane { data, stride: from, width, height };
                let ((width, height), to) = (sides(frame.info()), stride(frame.plane_stride()));
                let data = frame.plane_data_mut(plane).map_err(|_| gst::FlowError::Error)?;
                paint.paint(at_ns, plane as usize, input, PlaneMut { data, stride: to, width, height });
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }
}
