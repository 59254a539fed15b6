//! Which region of the source picture a clip shows. All arithmetic is on integers, so the page, the pipeline and the
//! tests compute the same pixels. Windows that move are in [`crate::crop_path`].

use crate::{crop_path::CropPath, geometry::check_source, percent::MilliPercent, rendition::Size};

/// How the picture is fitted to the output's aspect ratio.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reframe {
    /// The largest window of the output's aspect ratio.
    AutoCenter {
        /// Where the window lies along a source's wide side: 0 % is left, 100 % is right. In a source taller than the
        /// output the window is centered.
        position: MilliPercent,
        /// Magnification, 100 % to 200 %.
        zoom: MilliPercent,
    },
    /// The whole picture over a blurred and darkened copy of itself that fills the output.
    FitBlur,
    /// A window that moves along a path.
    CropPath(CropPath),
}

impl Reframe {
    /// Wire names of the modes.
    pub const MODES: [&'static str; 3] = ["auto_center", "fit_blur", "crop_path"];

    /// Wire name of this mode.
    pub fn mode(&self) -> &'static str {
        match self {
            Reframe::AutoCenter { .. } => Self::MODES[0],
            Reframe::FitBlur => Self::MODES[1],
            Reframe::CropPath(_) => Self::MODES[2],
        }
    }
}

impl Default for Reframe {
    fn default() -> Self {
        Self::AutoCenter { position: DEFAULT_POSITION, zoom: DEFAULT_ZOOM }
    }
}

/// The position of a request that gives none: centered.
pub const DEFAULT_POSITION: MilliPercent = MilliPercent::whole(50);

/// The zoom of a request that gives none: no magnification.
pub const DEFAULT_ZOOM: MilliPercent = MilliPercent::whole(100);

/// A region of a picture, in pixels from the top left corner. All four numbers are even, so that the region covers
/// whole chroma samples of 4:2:0 pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// Pixels left of the region.
    pub left: u32,
    /// Pixels above the region.
    pub top: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

/// The window of a source picture (after rotation, in square pixels) that fills `target`.
///
/// The source is W x H, A is the target's aspect ratio, p the position and z the zoom. A source wider than A keeps
/// `floor(floor(H*A)/z)` x `floor(H/z)` at `x = floor(p*(W-cw))`, centered vertically. A taller source keeps
/// `floor(W/z)` x `floor(floor(W/A)/z)`, centered. Sizes and offsets are rounded down to even numbers.
pub fn crop_window(position: MilliPercent, zoom: MilliPercent, source: Size, target: Size) -> Result<Region, String> {
    check_source(source)?;
    let [w, h, tw, th] = [source.width, source.height, target.width, target.height].map(u64::from);
    let shrink = |side: u64| side * 100_000 / u64::from(zoom.thousandths());
    let even = |n: u64| n & !1;
    let wider = w * th > h * tw;
    let (cw, ch) = if wider { (shrink(h * tw / th), shrink(h)) } else { (shrink(w), shrink(w * th / tw)) };
    let (cw, ch) = (even(cw).max(2), even(ch).max(2));
    let centered = |side: u64, kept: u64| even((side - kept) / 2);
    let left = if wider { even((w - cw) * u64::from(position.thousandths()) / 100_000) } else { centered(w, cw) };
    let top = centered(h, ch);
    let [left, top, width, height] = [left, top, cw, ch].map(|n| n as u32);
    Ok(Region { left, top, width, height })
}

/// Where the whole source picture (after rotation, in square pixels) lies in `target`: as large as possible, centered.
///
/// The source is W x H and the target TW x TH. A source wider than the target becomes TW x `TW*H/W`, a taller one
/// `TH*W/H` x TH. The side that does not fill the target is rounded to the nearest even number, and its offset down to
/// an even number.
pub fn fitted(source: Size, target: Size) -> Result<Region, String> {
    check_source(source)?;
    let [w, h, tw, th] = [source.width, source.height, target.width, target.height].map(u64::from);
    let nearest_even = |side: u64, by: u64, of: u64| ((side * by + of) / (2 * of) * 2).max(2);
    let (width, height) = match w * th > h * tw {
        true => (tw, nearest_even(tw, h, w).min(th)),
        false => (nearest_even(th, w, h).min(tw), th),
    };
    let centered = |side: u64, kept: u64| ((side - kept) / 2) & !1;
    let [left, top, width, height] = [centered(tw, width), centered(th, height), width, height].map(|n| n as u32);
    Ok(Region { left, top, width, height })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTRAIT: Size = Size { width: 1080, height: 1920 };

    fn crop(position: f64, zoom: f64, width: u32, height: u32) -> (u32, u32, u32, u32) {
        let position = MilliPercent::parse(position, 0, 100).unwrap();
        let zoom = MilliPercent::parse(zoom, 100, 200).unwrap();
        let Region { left, top, width, height } =
            crop_window(position, zoom, Size { width, height }, PORTRAIT).unwrap();
        (left, top, width, height)
    }

    #[test]
    fn a_wide_source_is_cropped_at_its_position() {
        assert_eq!(crop(37.0, 100.0, 1920, 1080), (486, 0, 606, 1080));
        assert_eq!(crop(0.0, 100.0, 1920, 1080), (0, 0, 606, 1080));
        assert_eq!(crop(100.0, 100.0, 1920, 1080), (1314, 0, 606, 1080));
        assert_eq!(crop(50.0, 200.0, 1920, 1080), (808, 270, 302, 540));
    }

    #[test]
    fn in_a_tall_source_the_window_is_centered_and_the_position_is_ignored() {
        assert_eq!(crop(0.0, 100.0, 1080, 2400), (0, 240, 1080, 1920));
        assert_eq!(crop(100.0, 100.0, 1080, 2400), (0, 240, 1080, 1920));
        assert_eq!(crop(50.0, 100.0, 1080, 1920), (0, 0, 1080, 1920));
    }

    #[test]
    fn every_window_is_even_and_inside_the_picture() {
        for (width, height) in [(16, 16), (853, 479), (17, 8191), (8192, 31), (640, 360), (333, 777)] {
            for position in [0.0, 12.3, 50.0, 99.999, 100.0] {
                for zoom in [100.0, 133.3, 200.0] {
                    let (left, top, w, h) = crop(position, zoom, width, height);
                    assert_eq!((left | top | w | h) % 2, 0);
                    assert!(left + w <= width && top + h <= height && w > 0 && h > 0);
                }
            }
        }
    }

    #[test]
    fn a_picture_too_small_for_a_window_is_refused() {
        let tiny = Size { width: 8, height: 480 };
        assert!(crop_window(DEFAULT_POSITION, DEFAULT_ZOOM, tiny, PORTRAIT).unwrap_err().contains("8x480"));
        assert!(fitted(tiny, PORTRAIT).unwrap_err().contains("8x480"));
    }

    fn fit(width: u32, height: u32) -> (u32, u32, u32, u32) {
        let Region { left, top, width, height } = fitted(Size { width, height }, PORTRAIT).unwrap();
        (left, top, width, height)
    }

    #[test]
    fn a_fitted_picture_is_whole_and_centered() {
        assert_eq!(fit(1920, 1080), (0, 656, 1080, 608));
        assert_eq!(fit(1080, 1080), (0, 420, 1080, 1080));
        assert_eq!(fit(1080, 2400), (108, 0, 864, 1920));
        assert_eq!(fit(1080, 1920), (0, 0, 1080, 1920));
        assert_eq!(fit(853, 479), (0, 656, 1080, 606));
    }

    #[test]
    fn every_fitted_picture_is_even_inside_the_target_and_keeps_its_aspect_ratio() {
        for (width, height) in [(16, 16), (853, 479), (17, 8191), (8192, 31), (640, 360), (333, 777), (1079, 1919)] {
            let (left, top, w, h) = fit(width, height);
            assert_eq!((left | top | w | h) % 2, 0);
            assert!(left + w <= 1080 && top + h <= 1920 && (w == 1080 || h == 1920));
            let (exact_w, exact_h) = (f64::from(height.max(1)), f64::from(width));
            let exact = if w == 1080 { 1080.0 * exact_w / exact_h } else { 1920.0 * exact_h / exact_w };
            let free = if w == 1080 { h } else { w };
            assert!((f64::from(free) - exact).abs() <= 2.0, "{width}x{height} is fitted as {w}x{h}");
        }
    }
}
