//! The form of a result: picture size, frame rate and encoding effort.

use crate::wire_name::WireName;
use std::fmt;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The aspect ratio of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Aspect {
    /// 9:16, portrait; the format of shorts.
    #[default]
    Portrait,
    /// 1:1.
    Square,
    /// 4:5, portrait.
    FourFive,
    /// 16:9, landscape.
    Landscape,
}

impl WireName for Aspect {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Portrait, "9:16"), (Self::Square, "1:1"), (Self::FourFive, "4:5"), (Self::Landscape, "16:9")];
}

impl Aspect {
    fn size(self, short_side: u32) -> Size {
        let (width, height) = match self {
            Aspect::Portrait => (short_side, short_side * 16 / 9),
            Aspect::Square => (short_side, short_side),
            Aspect::FourFive => (short_side, short_side * 5 / 4),
            Aspect::Landscape => (short_side * 16 / 9, short_side),
        };
        Size { width, height }
    }
}

/// The size of the picture and the effort of its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quality {
    /// 720 pixels on the short side.
    P720,
    /// 1080 pixels on the short side.
    #[default]
    P1080,
    /// 1440 pixels on the short side.
    P1440,
    /// 2160 pixels on the short side.
    P2160,
    /// 1080 pixels on the short side, encoded with more effort and a finer quantizer.
    High,
}

impl WireName for Quality {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::P720, "720p"),
        (Self::P1080, "1080p"),
        (Self::P1440, "1440p"),
        (Self::P2160, "2160p"),
        (Self::High, "high"),
    ];
}

impl Quality {
    fn short_side(self) -> u32 {
        match self {
            Quality::P720 => 720,
            Quality::P1080 | Quality::High => 1080,
            Quality::P1440 => 1440,
            Quality::P2160 => 2160,
        }
    }
}

/// Frame rates that a request may name, frames per second.
pub const FRAME_RATES: [u32; 5] = [24, 25, 30, 50, 60];

/// The form of one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rendition {
    /// Size and effort.
    pub quality: Quality,
    /// Aspect ratio.
    pub aspect: Aspect,
    /// Constant frame rate, frames per second; one of [`FRAME_RATES`].
    pub fps: u32,
}

impl Default for Rendition {
    fn default() -> Self {
        Self { quality: Quality::default(), aspect: Aspect::default(), fps: 30 }
    }
}

impl Rendition {
    /// The picture's size. Both sides are even.
    pub fn size(&self) -> Size {
        self.aspect.size(self.quality.short_side())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_even_and_of_its_aspect() {
        let size = |quality, aspect| Rendition { quality, aspect, fps: 30 }.size().to_string();
        assert_eq!(size(Quality::P720, Aspect::Portrait), "720x1280");
        assert_eq!(size(Quality::P1080, Aspect::Portrait), "1080x1920");
        assert_eq!(size(Quality::P2160, Aspect::Portrait), "2160x3840");
        assert_eq!(size(Quality::High, Aspect::FourFive), "1080x1350");
        for &(quality, _) in Quality::ALL {
            for &(aspect, _) in Aspect::ALL {
                let Size { width, height } = Rendition { quality, aspect, fps: 30 }.size();
                assert_eq!((width % 2, height % 2), (0, 0));
            }
        }
    }
}
