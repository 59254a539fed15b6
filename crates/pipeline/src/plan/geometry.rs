//! The geometry of crops on stored pictures, whose pixels may not be square.

use clipfleet_domain::{
    percent::MilliPercent,
    reframe::{Region, crop_window},
    rendition::Size,
};

/// Size in square pixels of a stored picture. The longer direction is stretched, so that no detail is lost.
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

/// Pixels to cut off left, top, right and bottom of a stored picture. The geometry is defined on square pixels. If
/// pixels are not square, the crop is computed on the picture as shown and converted to stored pixels.
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
