//! Choosing the region of the source picture that the clip shows. All arithmetic is on integers, so every party that draws a
//! crop (page, pipeline, test) gets the same pixels.

use crate::{
    limits::{MAX_SOURCE_SIDE, MIN_SOURCE_SIDE},
    rendition::Size,
};

/// A percentage in thousandths: exact where a floating-point number would wobble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MilliPercent(u32);

impl MilliPercent {
    /// Takes a percentage within `low..=high`, rounded to a thousandth of a percent.
    pub fn parse(percent: f64, low: u32, high: u32) -> Result<Self, String> {
        if !(f64::from(low)..=f64::from(high)).contains(&percent) {
            return Err(format!("must lie between {low} and {high} percent, got {percent}"));
        }
        Ok(Self((percent * 1_000.0).round() as u32))
    }

    /// A whole percentage.
    pub const fn whole(percent: u32) -> Self {
        Self(percent * 1_000)
    }

    /// The percentage.
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// How the picture is fitted to the output's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reframe {
    /// The largest window of the output's aspect.
    AutoCenter {
        /// Where the window lies along a source's wide side: 0 % left, 100 % right. A source taller than the output is centred.
        position: MilliPercent,
        /// Magnification, 100 % to 200 %.
        zoom: MilliPercent,
    },
}

impl Reframe {
    /// Wire names of the modes.
    pub const MODES: [&'static str; 1] = ["auto_center"];
}

impl Default for Reframe {
    fn default() -> Self {
        Self::AutoCenter { position: MilliPercent::whole(50), zoom: MilliPercent::whole(100) }
    }
}

/// A region of the source picture, pixels from its top left corner. All four numbers are even, so that it falls on whole
/// chroma samples of 4:2:0 pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CropWindow {
    /// Pixels cut off on the left.
    pub left: u32,
    /// Pixels cut off at the top.
    pub top: u32,
    /// Pixels kept across.
    pub width: u32,
    /// Pixels kept down.
    pub height: u32,
}

/// The window of a source picture (after rotation, in square pixels) that fills `target`.
///
/// With W x H the source, A the target's aspect, p the position and z the zoom: a source wider than A keeps
/// `floor(floor(H*A)/z)` x `floor(H/z)` at `x = floor(p*(W-cw))`, centred vertically; a taller one keeps `floor(W/z)` x
/// `floor(floor(W/A)/z)`, centred. Sizes and offsets are rounded down to even numbers.
pub fn crop_window(reframe: Reframe, source: Size, target: Size) -> Result<CropWindow, String> {
    for side in [source.width, source.height] {
        if !(MIN_SOURCE_SIDE..=MAX_SOURCE_SIDE).contains(&side) {
            return Err(format!(
                "picture of {source} has a side outside {MIN_SOURCE_SIDE} to {MAX_SOURCE_SIDE} pixels"
            ));
        }
    }
    let Reframe::AutoCenter { position, zoom } = reframe;
    let [w, h, tw, th] = [source.width, source.height, target.width, target.height].map(u64::from);
    let shrink = |side: u64| side * 100_000 / u64::from(zoom.0);
    let even = |n: u64| n & !1;
    let wider = w * th > h * tw;
    let (cw, ch) = if wider { (shrink(h * tw / th), shrink(h)) } else { (shrink(w), shrink(w * th / tw)) };
    let (cw, ch) = (even(cw).max(2), even(ch).max(2));
    let centred = |side: u64, kept: u64| even((side - kept) / 2);
    let left = if wider { even((w - cw) * u64::from(position.0) / 100_000) } else { centred(w, cw) };
    let top = centred(h, ch);
    let [left, top, width, height] = [left, top, cw, ch].map(|n| n as u32);
    Ok(CropWindow { left, top, width, height })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTRAIT: Size = Size { width: 1080, height: 1920 };

    fn crop(position: f64, zoom: f64, width: u32, height: u32) -> (u32, u32, u32, u32) {
        let reframe = Reframe::AutoCenter {
            position: MilliPercent::parse(position, 0, 100).unwrap(),
            zoom: MilliPercent::parse(zoom, 100, 200).unwrap(),
        };
        let CropWindow { left, top, width, height } = crop_window(reframe, Size { width, height }, PORTRAIT).unwrap();
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
    fn a_tall_source_is_centred_and_its_position_ignored() {
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
    fn a_picture_without_room_for_a_crop_is_refused() {
        let tiny = Size { width: 8, height: 480 };
        assert!(crop_window(Reframe::default(), tiny, PORTRAIT).unwrap_err().contains("8x480"));
    }
}
