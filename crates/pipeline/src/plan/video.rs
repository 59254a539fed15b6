//! The stages of the picture.

use super::{
    ENCODED, END_TOLERANCE_MS, Expected, Frames, GPU_MEMORY, Step, element, named, reframe, short_queue,
    unlimited_queue, with,
};
use crate::{
    catalog::Encoder,
    probe::{Picture, Probed, Rotation},
    route::{Unit, Way},
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    failure::Failure,
    rendition::{Rendition, Size},
};

/// Share of a clip that the source's last picture may fill before the end of the source is looked for: captures write no
/// picture while nothing moves.
const STILL_END_PERCENT: u32 = 10;

pub(super) fn steps(
    order: &Transcode,
    probed: &Probed,
    way: &Way,
    holds_last_picture: bool,
    expected: &Expected,
) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![named("queue", "video-in", &[])];
    let (unit, decoder) = way.decode;
    // What decodes by itself parses by itself, too.
    let parser = if unit == Unit::Cpu { probed.video.parser } else { decoder.parser };
    steps.extend(parser.map(element));
    // A GPU's decoder takes no error for one by itself: what it cannot decode would be missing, and the rest pass for the end.
    let settings: &[_] = if unit == Unit::Gpu { &[("max-errors", "0")] } else { &[] };
    steps.push(named(decoder.element, "video-decoder", settings));
    if unit == Unit::Gpu {
        // A GPU's decoder looks no further than its neighbour for the memory that is wanted.
        let memory = if way.frames == Unit::Gpu { GPU_MEMORY } else { "video/x-raw" };
        steps.push(Step::Caps(memory.into()));
    }
    if probed.picture.interlaced {
        // One picture per pair of fields keeps the source's rate.
        // From one field alone. The methods that look at others shift or mix the first pictures.
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
        max_repeats: if holds_last_picture { frames } else { (frames * STILL_END_PERCENT / 100).max(tolerance) },
        time_line: probed.video.time_line.clone(),
        colours: probed.video.colours,
        range_is_limited_later,
    }));
    steps.push(short_queue("pictures"));
    steps.extend(rotate(probed.rotation));
    let range = tone_map(probed.picture);
    let picture = upright(probed.picture, probed.rotation);
    steps.extend(reframe::steps(&order.clip.reframe, picture, range, expected, way)?);
    if range_is_limited_later {
        // Of fewer pixels than before; the converters leave the range alone where nothing else differs.
        steps.push(Step::LimitRange);
    }
    steps.push(short_queue("scaled"));
    steps.extend(encoder_steps(&order.rendition, way.encoder, &way.lacking));
    steps.push(named("tee", ENCODED, &[]));
    steps.push(unlimited_queue("video-out"));
    Ok(steps)
}

/// What makes standard range of high dynamic range.
fn tone_map(picture: Picture) -> Vec<Step> {
    if !picture.high_range() {
        return Vec::new();
    }
    vec![element("videoconvert"), Step::Caps("video/x-raw,format=I420_10LE".into()), Step::ToneMap]
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

/// The encoder, without the settings that it lacks here.
pub(super) fn encoder_steps(rendition: &Rendition, encoder: &Encoder, lacking: &[&str]) -> Vec<Step> {
    let properties = (encoder.properties)(rendition).into_iter();
    let properties = properties.filter(|(name, _)| !lacking.contains(name)).collect();
    let mut steps = vec![
        Step::Element { factory: encoder.name, name: "video-encoder", properties },
        Step::Caps(encoder.output.to_owned()),
    ];
    steps.extend(encoder.parser.map(element));
    steps
}
