//! The stages that choose the visible part of the picture and scale it to the output's size.
//!
//! ```text
//! auto_center   crop ── scale
//! fit_blur      fit (scale to what fits) ── backdrop
//! crop_path     convert ── moving crop ── scale (only colours are left to convert)
//! ```

use super::{
    Crop, Expected, Fit, Step,
    step::{GPU_MEMORY, element, frame_format, with},
};
use crate::{
    failure,
    plan::{
        catalog::{Encoder, GPU_SCALER},
        geometry::{shown, stored_crop},
        route::{Device, Route},
    },
};
use clipfleet_domain::{
    crop_path::{CropPath, moving_window},
    failure::Failure,
    reframe::{Reframe, Region, fitted},
    rendition::Size,
};

/// Settings of the scaler: bicubic in brightness and colour, as FFmpeg's default. Borders are off, because they would
/// letterbox a crop that is off by a rounding error.
pub const SCALER: [(&str, &str); 4] =
    [("method", "catrom"), ("chroma-resampler", "cubic"), ("add-borders", "false"), ("n-threads", "2")];

/// The stages for an upright picture with a stored size and pixel aspect ratio.
pub(super) fn steps(
    reframe: &Reframe,
    (stored, pixel_aspect): (Size, (u32, u32)),
    tone_map: Vec<Step>,
    expected: &Expected,
    route: &Route,
) -> Result<Vec<Step>, Failure> {
    let (target, picture) = (expected.size, shown(stored, pixel_aspect));
    let crop = |position, zoom| {
        let margins = stored_crop((position, zoom), stored, pixel_aspect, target)?;
        Ok(Step::Crop(Crop { position, zoom, target, margins }))
    };
    // Tone mapping comes after the crop, where there are fewer pixels.
    let format = route.encoder.format;
    let cropped = |crop| match route.frames {
        Device::Cpu => [vec![crop], tone_map.clone(), scale(expected, format)].concat(),
        Device::Gpu => [vec![crop], scale_on_gpu(expected, route.encoder)].concat(),
    };
    let mapped = |steps| [tone_map.clone(), steps].concat();
    let steps: Result<Vec<Step>, String> = match reframe {
        Reframe::AutoCenter { position, zoom } => crop(*position, *zoom).map(cropped),
        Reframe::FitBlur => fit_blur(picture, expected, format).map(mapped),
        Reframe::CropPath(path) => match path.steady() {
            // A path that never moves gives exactly the pixels of a plain crop.
            Some((position, zoom)) => crop(position, zoom).map(cropped),
            None => moving_crop(path, picture, expected, format).map(mapped),
        },
    };
    steps.map_err(failure::source_size_unsupported)
}

/// The stock scaler scales the picture exactly as it does for a crop. Our canvas adds the background.
fn fit_blur(picture: Size, expected: &Expected, format: &str) -> Result<Vec<Step>, String> {
    let target = expected.size;
    let Region { width, height, .. } = fitted(picture, target)?;
    let fit = Fit { target, size: Size { width, height }, fps: expected.fps };
    let mut steps = vec![Step::Fit(fit), Step::Backdrop { target }];
    if format != "I420" {
        steps.extend([element("videoconvert"), Step::Caps(frame_format(format, target, expected.fps))]);
    }
    Ok(steps)
}

/// The canvas takes I420 in any colours. Colours are converted after it, where there are fewer pixels. In most cases
/// neither conversion changes anything.
fn moving_crop(path: &CropPath, picture: Size, expected: &Expected, format: &str) -> Result<Vec<Step>, String> {
    moving_window(path, 0.0, picture, expected.size)?;
    let crop = Step::MovingCrop { path: path.clone(), target: expected.size };
    let drawn = vec![element("videoconvert"), Step::Caps("video/x-raw,format=I420".into()), crop];
    Ok([drawn, scale(expected, format)].concat())
}

/// The scaler is fast only in I420. For encoders that need another format, a cheap conversion follows.
pub(crate) fn scale(expected: &Expected, format: &str) -> Vec<Step> {
    let frames = |format| Step::Caps(frame_format(format, expected.size, expected.fps));
    let mut steps = vec![with("videoconvertscale", &SCALER), frames("I420")];
    if format != "I420" {
        steps.extend([element("videoconvert"), frames(format)]);
    }
    steps
}

/// The crop is only recorded as metadata on the picture, and the scaler reads just that region. For an encoder on the
/// CPU, pictures are downloaded after scaling, when they are small.
pub(crate) fn scale_on_gpu(expected: &Expected, encoder: &Encoder) -> Vec<Step> {
    let frames = frame_format(encoder.format, expected.size, expected.fps);
    let in_memory = |memory: &str| Step::Caps(frames.replacen("video/x-raw", memory, 1));
    let mut steps = vec![with(GPU_SCALER, &[("add-borders", "false")]), in_memory(GPU_MEMORY)];
    if !encoder.on_gpu {
        steps.extend([element("cudadownload"), in_memory("video/x-raw")]);
    }
    steps
}
