//! The stages of the picture.

use super::{Crop, END_TOLERANCE_MS, Expected, Step, element, named, short_queue, unlimited_queue, with};
use crate::{
    catalog::Encoder,
    failure,
    probe::{Picture, Probed, Rotation},
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    failure::Failure,
    reframe::{CropWindow, Reframe, crop_window},
    rendition::Size,
};

/// Share of a clip that the source's last picture may fill while its sound goes on: captures write no picture while nothing
/// moves. Beyond it the tracks do not belong together.
const STILL_END_PERCENT: u32 = 10;

pub(super) fn steps(
    order: &Transcode,
    probed: &Probed,
    encoder: &Encoder,
    start_ns: i64,
    expected: &Expected,
) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![named("queue", "video-in", &[])];
    steps.extend(probed.video.decoder.parser.map(element));
    steps.push(named(probed.video.decoder.element, "video-decoder", &[]));
    if probed.picture.interlaced {
        // One picture per pair of fields keeps the source's rate.
        steps.push(with("deinterlace", &[("fields", "top"), ("method", "greedyh")]));
    }
    let (fps, frames) = (expected.fps, expected.frames);
    let tolerance = (END_TOLERANCE_MS as u32 * fps).div_ceil(1_000);
    let patience = (frames * STILL_END_PERCENT / 100).max(tolerance);
    steps.push(Step::Frames { start_ns, fps, frames, patience });
    steps.push(short_queue("pictures"));
    steps.extend(rotate(probed.rotation));
    steps.push(crop(order.clip.reframe, upright(probed.picture, probed.rotation), expected.size)?);
    steps.extend(scale(expected, encoder));
    steps.push(short_queue("scaled"));
    steps.extend(encode(order, encoder));
    steps.push(unlimited_queue("video-out"));
    Ok(steps)
}

/// Turned before the crop, whose position people give in the picture as they see it.
fn rotate(rotation: Rotation) -> Vec<Step> {
    if rotation == Rotation::None {
        return Vec::new();
    }
    vec![element("videoconvert"), with("videoflip", &[("video-direction", rotation.direction())])]
}

/// Size and pixel shape of the picture once turned.
fn upright(picture: Picture, rotation: Rotation) -> (Size, (u32, u32)) {
    let (Picture { width, height, .. }, (numerator, denominator)) = (picture, picture.pixel_aspect);
    if rotation.swaps_sides() {
        (Size { width: height, height: width }, (denominator, numerator))
    } else {
        (Size { width, height }, (numerator, denominator))
    }
}

fn crop(reframe: Reframe, (stored, pixel_aspect): (Size, (u32, u32)), target: Size) -> Result<Step, Failure> {
    let margins = stored_crop(reframe, stored, pixel_aspect, target).map_err(failure::source_size_unsupported)?;
    Ok(Step::Crop(Crop { reframe, target, margins }))
}

/// Pixels to cut off left, top, right and bottom of a stored picture. The geometry is defined on square pixels; where pixels are not
/// square it is computed on the picture as shown and carried over to the pixels as stored.
pub fn stored_crop(
    reframe: Reframe,
    stored: Size,
    (numerator, denominator): (u32, u32),
    target: Size,
) -> Result<[u32; 4], String> {
    let scaled = |side: u32, by: u32, of: u32| {
        let (side, by, of) = (u64::from(side), u64::from(by), u64::from(of));
        ((side * by + of / 2) / of.max(1)) as u32
    };
    // The longer direction is stretched, so that no detail is thought away.
    let (wide, tall) = (numerator.max(denominator), numerator.min(denominator));
    let stretch_width = numerator > denominator;
    let shown = match stretch_width {
        true => Size { width: scaled(stored.width, wide, tall), ..stored },
        false => Size { height: scaled(stored.height, wide, tall), ..stored },
    };
    let CropWindow { left, top, width, height } = crop_window(reframe, shown, target)?;
    let (left, width, top, height) = match stretch_width {
        true => (scaled(left, tall, wide), scaled(width, tall, wide), top, height),
        false => (left, width, scaled(top, tall, wide), scaled(height, tall, wide)),
    };
    let even = |n: u32| n & !1;
    let (left, top) = (even(left).min(stored.width - 2), even(top).min(stored.height - 2));
    let width = even(width).clamp(2, stored.width - left);
    let height = even(height).clamp(2, stored.height - top);
    Ok([left, top, stored.width - left - width, stored.height - top - height])
}

/// Bicubic in brightness and colour, as FFmpeg's default. Borders would letterbox a crop that is off by a rounding.
fn scale(expected: &Expected, encoder: &Encoder) -> [Step; 2] {
    let Size { width, height } = expected.size;
    let properties =
        [("method", "catrom"), ("chroma-resampler", "cubic"), ("add-borders", "false"), ("n-threads", "2")];
    let format = format!(
        "video/x-raw,format={},width={width},height={height},framerate={}/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive",
        encoder.format, expected.fps
    );
    [with("videoconvertscale", &properties), Step::Caps(format)]
}

fn encode(order: &Transcode, encoder: &Encoder) -> Vec<Step> {
    let properties = (encoder.properties)(&order.rendition);
    let mut steps = vec![
        Step::Element { factory: encoder.name, name: "video-encoder", properties },
        Step::Caps(encoder.output.to_owned()),
    ];
    steps.extend(encoder.parser.map(element));
    steps
}
