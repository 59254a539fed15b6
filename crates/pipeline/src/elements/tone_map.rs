//! The element around [`crate::picture::tone`]: it maps pictures of high dynamic range to standard range. Sizes do not
//! change.

use gst::{glib, subclass::prelude::*};
use gst_video::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;

glib::wrapper! {
    /// Converts 10-bit pictures of HLG or PQ to 8-bit pictures of BT.709.
    pub struct ToneMapper(ObjectSubclass<imp::ToneMapper>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

impl ToneMapper {
    /// A new element. The caps of its input determine the maximum brightness.
    pub fn new() -> Self {
        glib::Object::new()
    }
}

impl Default for ToneMapper {
    fn default() -> Self {
        Self::new()
    }
}

mod imp {
    use super::*;
    use crate::picture::tone::{ToneMap, Transfer};
    use gst_base::subclass::BaseTransformMode;
    use gst_video::{VideoFormat, VideoTransferFunction, prelude::*, subclass::prelude::VideoFilterImpl};
    use parking_lot::Mutex;

    /// Maximum brightness of pictures that do not declare it, nits. Most are mastered with this value.
    const DEFAULT_PEAK_NITS: f64 = 1_000.0;

    /// Units per nit in the caps' mastering display information.
    const UNITS_PER_NIT: f64 = 10_000.0;

    #[derive(Default)]
    pub struct ToneMapper {
        table: Mutex<Option<ToneMap>>,
    }

    element_class! {
        ToneMapper: gst_video::VideoFilter,
        "ClipfleetToneMapper", "Tone mapper", "Filter/Video", "Maps high dynamic range to standard range",
        pad_templates()
    }

    impl ObjectImpl for ToneMapper {}

    /// Pads for 10-bit pictures in and 8-bit pictures out.
    fn pad_templates() -> Vec<gst::PadTemplate> {
        let pads = [
            ("sink", gst::PadDirection::Sink, VideoFormat::I42010le),
            ("src", gst::PadDirection::Src, VideoFormat::I420),
        ];
        let template = |(name, direction, format)| {
            let caps = gst_video::VideoCapsBuilder::new().format(format).build();
            gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
        };
        pads.into_iter().filter_map(template).collect()
    }

    impl BaseTransformImpl for ToneMapper {
        const MODE: BaseTransformMode = BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        /// Only the format and the fields about brightness and colours change.
        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let mut other = caps.clone();
            for structure in other.make_mut().iter_mut() {
                structure.remove_fields([
                    "mastering-display-info",
                    "content-light-level",
                    "chroma-site",
                    "colorimetry",
                ]);
                if direction == gst::PadDirection::Sink {
                    structure.set("format", "I420");
                    structure.set("colorimetry", "bt709");
                } else {
                    structure.set("format", "I420_10LE");
                }
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&other, gst::CapsIntersectMode::First),
                None => other,
            })
        }
    }

    impl VideoFilterImpl for ToneMapper {
        fn set_info(
            &self,
            incaps: &gst::Caps,
            in_info: &gst_video::VideoInfo,
            outcaps: &gst::Caps,
            out_info: &gst_video::VideoInfo,
        ) -> Result<(), gst::LoggableError> {
            let colours = in_info.colorimetry();
            let transfer = match colours.transfer() {
                VideoTransferFunction::AribStdB67 => Transfer::Hlg,
                VideoTransferFunction::Smpte2084 => Transfer::Pq(peak(incaps)),
                other => {
                    return Err(gst::loggable_error!(gst::CAT_RUST, "pictures became {other:?} within the source"));
                }
            };
            let full_range = colours.range() == gst_video::VideoColorRange::Range0_255;
            *self.table.lock() = Some(ToneMap::new(transfer, full_range));
            self.parent_set_info(incaps, in_info, outcaps, out_info)
        }

        fn transform_frame(
            &self,
            picture: &gst_video::VideoFrameRef<&gst::BufferRef>,
            frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let table = self.table.lock();
            let table = table.as_ref().ok_or(gst::FlowError::NotNegotiated)?;
            map(table, picture, frame).ok_or(gst::FlowError::Error)?;
            Ok(gst::FlowSuccess::Ok)
        }
    }

    /// Maximum brightness of the pictures, nits, from their content light level or their mastering display.
    fn peak(caps: &gst::Caps) -> f64 {
        let level = gst_video::VideoContentLightLevel::from_caps(caps).map(|level| level.max_content_light_level());
        let screen = gst_video::VideoMasteringDisplayInfo::from_caps(caps);
        let screen = screen.map(|screen| f64::from(screen.max_display_mastering_luminance()) / UNITS_PER_NIT);
        let known = level.map(f64::from).ok().filter(|nits| *nits > 0.0);
        known.or(screen.ok().filter(|nits| *nits > 0.0)).unwrap_or(DEFAULT_PEAK_NITS)
    }

    fn map(
        table: &ToneMap,
        picture: &gst_video::VideoFrameRef<&gst::BufferRef>,
        frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    ) -> Option<()> {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let half = width.div_ceil(2);
        let strides: Vec<usize> = frame.plane_stride().iter().map(|stride| stride.unsigned_abs() as usize).collect();
        let [light, blue, red, _] = frame.planes_data_mut();
        let mut numbers: [Vec<u16>; 4] = Default::default();
        for (row, ((light, blue), red)) in light
            .chunks_mut(2 * strides[0])
            .zip(blue.chunks_mut(strides[1]))
            .zip(red.chunks_mut(strides[2]))
            .enumerate()
        {
            // A picture of odd height ends with a single row of brightness, which is used twice.
            let lower = (2 * row + 1).min(height - 1);
            for (numbers, (plane, row, width)) in
                numbers.iter_mut().zip([(0, 2 * row, width), (0, lower, width), (1, row, half), (2, row, half)])
            {
                read(picture, plane, row, width, numbers)?;
            }
            let [first, second, cb, cr] = &numbers;
            let (upper, lower) = light.split_at_mut(strides[0].min(light.len()));
            let (upper, lower) = (upper.get_mut(..width)?, lower.get_mut(..width).unwrap_or_default());
            table.rows([first, second], [cb, cr], [upper, lower], [blue.get_mut(..half)?, red.get_mut(..half)?]);
            if 2 * row + 2 >= height {
                break;
            }
        }
        Some(())
    }

    fn read(
        picture: &gst_video::VideoFrameRef<&gst::BufferRef>,
        plane: u32,
        row: usize,
        width: usize,
        numbers: &mut Vec<u16>,
    ) -> Option<()> {
        let stride = usize::try_from(*picture.plane_stride().get(plane as usize)?).ok()?;
        let bytes = picture.plane_data(plane).ok()?.get(row * stride..)?.get(..2 * width)?;
        numbers.clear();
        numbers.extend(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
        Some(())
    }
}
