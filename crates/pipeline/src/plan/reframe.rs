//! The stages that choose what of the picture is shown and give it the output's size.
//!
//! ```text
//! auto_center   crop ── scale
//! fit_blur      fit (scale to what fits) ── backdrop
//! crop_path     convert ── moving crop ── scale (which has nothing left to do but colours)
//! ```

use super::{Expected, GPU_MEMORY, Step, element, with};
use crate::{
    catalog::{Encoder, GPU_SCALER},
    failure,
    route::{Unit, Way},
};
use clipfleet_domain::{
    crop_path::{CropPath, moving_window},
    failure::Failure,
    percent::MilliPercent,
    reframe::{Reframe, Region, crop_window, fitted},
    rendition::Size,
};

/// A crop of stored pixels, and what it follows from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// Where the window lies.
    pub position: MilliPercent,
    /// How much it magnifies.
    pub zoom: MilliPercent,
    /// Size of the output, whose shape the crop has.
    pub target: Size,
    /// Pixels cut off: left, top, right, bottom.
    pub margins: [u32; 4],
}

/// The whole picture, scaled, and what its size follows from.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Size of the output, in which it has room.
    pub target: Size,
    /// Its size.
    pub size: Size,
    /// Frames per second.
    pub fps: u32,
}

impl Fit {
    /// Caps of a picture of that size, as the backdrop takes it.
    pub fn caps(&self, size: Size) -> String {
        frame_format("I420", size, self.fps)
    }
}

/// Settings of the scaler. Bicubic in brightness and colour, as FFmpeg's default. Borders would letterbox a crop that is off
/// by a rounding.
pub const SCALER: [(&str, &str); 4] =
    [("method", "catrom"), ("chroma-resampler", "cubic"), ("add-borders", "false"), ("n-threads", "2")];

/// The stages for a picture of a size and pixel shape, as it stands upright.
pub(super) fn steps(
    reframe: &Reframe,
    (stored, pixel_aspect): (Size, (u32, u32)),
    tone_map: Vec<Step>,
    expected: &Expected,
    way: &Way,
) -> Result<Vec<Step>, Failure> {
    let (target, picture) = (expected.size, shown(stored, pixel_aspect));
    let crop = |position, zoom| {
        let margins = stored_crop((position, zoom), stored, pixel_aspect, target)?;
        Ok(Step::Crop(Crop { position, zoom, target, margins }))
    };
    // Behind a crop there are fewer pixels to map.
    let format = way.encoder.format;
    let cropped = |crop| match way.frames {
        Unit::Cpu => [vec![crop], tone_map.clone(), scale(expected, format)].concat(),
        Unit::Gpu => [vec![crop], scale_on_gpu(expected, way.encoder)].concat(),
    };
    let mapped = |steps| [tone_map.clone(), steps].concat();
    let steps: Result<Vec<Step>, String> = match reframe {
        Reframe::AutoCenter { position, zoom } => crop(*position, *zoom).map(cropped),
        Reframe::FitBlur => fit_blur(picture, expected, format).map(mapped),
        Reframe::CropPath(path) => match path.steady() {
            // What never moves is a crop like any other, to the pixel.
            Some((position, zoom)) => crop(position, zoom).map(cropped),
            None => moving_crop(path, picture, expected, format).map(mapped),
        },
    };
    steps.map_err(failure::source_size_unsupported)
}

/// The stock scaler makes the picture, exactly as it does for a crop; our canvas adds what lies behind it.
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

/// The canvas takes I420 in whatever colours it comes; those of the output are made behind it, of fewer pixels. Mostly neither
/// conversion has anything to do.
fn moving_crop(path: &CropPath, picture: Size, expected: &Expected, format: &str) -> Result<Vec<Step>, String> {
    moving_window(path, 0.0, picture, expected.size)?;
    let crop = Step::MovingCrop { path: path.clone(), target: expected.size };
    let drawn = vec![element("videoconvert"), Step::Caps("video/x-raw,format=I420".into()), crop];
    Ok([drawn, scale(expected, format)].concat())
}

/// The scaler is quick in I420 alone; encoders that want another format get it converted, which costs little.
pub(super) fn scale(expected: &Expected, format: &str) -> Vec<Step> {
    let frames = |format| Step::Caps(frame_format(format, expected.size, expected.fps));
    let mut steps = vec![with("videoconvertscale", &SCALER), frames("I420")];
    if format != "I420" {
        steps.extend([element("videoconvert"), frames(format)]);
    }
    steps
}

/// The crop is only noted on the picture; the scaler reads no more than it. What the CPU encodes is fetched when it is small.
pub(super) fn scale_on_gpu(expected: &Expected, encoder: &Encoder) -> Vec<Step> {
    let frames = frame_format(encoder.format, expected.size, expected.fps);
    let in_memory = |memory: &str| Step::Caps(frames.replacen("video/x-raw", memory, 1));
    let mut steps = vec![with(GPU_SCALER, &[("add-borders", "false")]), in_memory(GPU_MEMORY)];
    if !encoder.on_gpu {
        steps.extend([element("cudadownload"), in_memory("video/x-raw")]);
    }
    steps
}

pub(super) fn frame_format(format: &str, Size { width, height }: Size, fps: u32) -> String {
    format!(
        "video/x-raw,format={format},width={width},height={height},framerate={fps}/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive"
    )
}

/// Size in square pixels of a stored picture. The longer direction is stretched, so that no detail is thought away.
pub fn shown(stored: Size, (numerator, denominator): (u32, u32)) -> Size {
    let (wide, tall) = (numerator.max(denominator), numerator.min(denominator));
    match numerator > denominator {
        true => Size { width: scaled(stored.width, wide, tall), ..stored },
        false => Size { height: scaled(stored.height, wide, tall), ..stored },
    }
}

fn scaled(side: u32, by: u32, of: u32) -> u32 {
    let (side, by, of) = (u64::from(side), u64::from(by), u64::from(of));
    ((side * by + of / 2) / of.max(1)) as u32
}

/// Pixels to cut off left, top, right and bottom of a stored picture. The geometry is defined on square pixels; where pixels are not
/// square it is computed on the picture as shown and carried over to the pixels as stored.
pub fn stored_crop(
    (position, zoom): (MilliPercent, MilliPercent),
    stored: Size,
    (numerator, denominator): (u32, u32),
    target: Size,
) -> Result<[u32; 4], String> {
    let Region { left, top, width, height } =
        crop_window(position, zoom, shown(stored, (numerator, denominator)), target)?;
    let (wide, tall) = (numerator.max(denominator), numerator.min(denominator));
    let (left, width, top, height) = match numerator > denominator {
        true => (scaled(left, tall, wide), scaled(width, tall, wide), top, height),
        false => (left, width, scaled(top, tall, wide), scaled(height, tall, wide)),
    };
    let even = |n: u32| n & !1;
    let (left, top) = (even(left).min(stored.width - 2), even(top).min(stored.height - 2));
    let width = even(width).clamp(2, stored.width - left);
    let height = even(height).clamp(2, stored.height - top);
    Ok([left, top, stored.width - left - width, stored.height - top - height])
}
