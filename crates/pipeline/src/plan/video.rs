//! The video stages.

use super::{
    ENCODED, Expected, Frames, Step, reframe,
    step::{GPU_MEMORY, element, named, short_queue, unlimited_queue, with},
};
use crate::{
    plan::{
        catalog::Encoder,
        route::{Device, Route},
    },
    source::{
        probe::{Picture, Probed},
        rotation::Rotation,
    },
    timing::END_TOLERANCE_MS,
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    failure::Failure,
    rendition::{Rendition, Size},
};

/// Share of a clip that the source's last picture may fill before the real end of the source is searched. Screen
/// captures write no picture while nothing moves.
const MAX_STILL_END_PERCENT: u32 = 10;

pub(super) fn steps(
    order: &Transcode,
    probed: &Probed,
    route: &Route,
    holds_last_picture: bool,
    expected: &Expected,
) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![named("queue", "video-in", &[])];
    let (device, decoder) = route.decode;
    // GPU decoders include their parser.
    let parser = if device == Device::Cpu { probed.video.parser } else { decoder.parser };
    steps.extend(parser.map(element));
    // By default a GPU decoder ignores errors: undecodable pictures would be missing, and an undecodable rest would
    // look like the end of the source.
    let settings: &[_] = if device == Device::Gpu { &[("max-errors", "0")] } else { &[] };
    steps.push(named(decoder.element, "video-decoder", settings));
    if device == Device::Gpu {
        // A GPU decoder asks only the next element which memory to use.
        let memory = if route.frames == Device::Gpu { GPU_MEMORY } else { "video/x-raw" };
        steps.push(Step::Caps(memory.into()));
    }
    if probed.picture.interlaced {
        // One picture per pair of fields keeps the source's rate. Each picture is made from one field: the methods that
        // use several fields shift or mix the first pictures.
        steps.push(with("deinterlace", &[("fields", "top"), ("method", "linear")]));
    }
    let (fps, frames) = (expected.fps, expected.frames);
    let tolerance = (END_TOLERANCE_MS as u32 * fps).div_ceil(1_000);
    let picture = &probed.picture;
    let range_is_limited_later = picture.is_full_range() && picture.colours.is_bt709();
    steps.push(Step::Frames(Frames {
        start_ns: super::start_ns(order.clip.window),
        fps,
        frames,
        max_repeats: if holds_last_picture { frames } else { (frames * MAX_STILL_END_PERCENT / 100).max(tolerance) },
        time_line: probed.video.time_line.clone(),
        colours: probed.video.colours,
        range_is_limited_later,
    }));
    steps.push(short_queue("pictures"));
    steps.extend(rotate(probed.rotation));
    let range = tone_map(probed.picture);
    let picture = upright(probed.picture, probed.rotation);
    steps.extend(reframe::steps(&order.clip.reframe, picture, range, expected, route)?);
    if range_is_limited_later {
        // After scaling there are fewer pixels. The converters do not change the range if nothing else differs.
        steps.push(Step::LimitRange);
    }
    steps.push(short_queue("scaled"));
    steps.extend(encoder_steps(&order.rendition, route.encoder, &route.lacking));
    steps.push(named("tee", ENCODED, &[]));
    steps.push(unlimited_queue("video-out"));
    Ok(steps)
}

/// Maps high dynamic range to standard range.
fn tone_map(picture: Picture) -> Vec<Step> {
    if !picture.high_range() {
        return Vec::new();
    }
    vec![element("videoconvert"), Step::Caps("video/x-raw,format=I420_10LE".into()), Step::ToneMap]
}

/// Rotation comes before the crop, because positions of crops refer to the upright picture.
fn rotate(rotation: Rotation) -> Vec<Step> {
    if rotation == Rotation::None {
        return Vec::new();
    }
    vec![element("videoconvert"), with("videoflip", &[("video-direction", rotation.direction())])]
}

/// Size and pixel aspect ratio of the upright picture.
fn upright(picture: Picture, rotation: Rotation) -> (Size, (u32, u32)) {
    let (Picture { width, height, .. }, (numerator, denominator)) = (picture, picture.pixel_aspect);
    if rotation.swaps_sides() {
        (Size { width: height, height: width }, (denominator, numerator))
    } else {
        (Size { width, height }, (numerator, denominator))
    }
}

/// The encoder, without the settings that it lacks here.
pub(crate) fn encoder_steps(rendition: &Rendition, encoder: &Encoder, lacking: &[&str]) -> Vec<Step> {
    let properties = (encoder.properties)(rendition).into_iter();
    let properties = properties.filter(|(name, _)| !lacking.contains(name)).collect();
    let mut steps = vec![
        Step::Element { factory: encoder.name, name: "video-encoder", properties },
        Step::Caps(encoder.output.to_owned()),
    ];
    steps.extend(encoder.parser.map(element));
    steps
}
