//! The encoded form of a clip: picture size, frame rate, effort.

use std::fmt;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The shape of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Aspect {
    /// 9:16, upright; what shorts are.
    #[default]
    Portrait,
    /// 1:1.
    Square,
    /// 4:5, upright.
    FourFive,
    /// 16:9, lying.
    Landscape,
}

impl Aspect {
    /// Every aspect, with its name on the wire.
    pub const ALL: [(Aspect, &'static str); 4] =
        [(Aspect::Portrait, "9:16"), (Aspect::Square, "1:1"), (Aspect::FourFive, "4:5"), (Aspect::Landscape, "16:9")];

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

/// How well and how large.
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
    /// 1080 pixels on the short side, encoded with more effort at a finer quantiser.
    High,
}

impl Quality {
    /// Every quality, with its name on the wire.
    pub const ALL: [(Quality, &'static str); 5] = [
        (Quality::P720, "720p"),
        (Quality::P1080, "1080p"),
        (Quality::P1440, "1440p"),
        (Quality::P2160, "2160p"),
        (Quality::High, "high"),
    ];

    fn short_side(self) -> u32 {
        match self {
            Quality::P720 => 720,
            Quality::P1080 | Quality::High => 1080,
            Quality::P1440 => 1440,
            Quality::P2160 => 2160,
        }
    }
}

/// Frame rates that may be asked for, frames per second.
pub const FRAME_RATES: [u32; 5] = [24, 25, 30, 50, 60];

/// What one output looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rendition {
    /// Size class and effort.
    pub quality: Quality,
    /// Shape.
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
    /// The picture's size; both sides even.
    pub fn size(&self) -> Size {
        self.aspect.size(self.quality.short_side())
    }
}

/// The value whose wire name is `name`, or the list of names there are.
pub fn by_name<T: Copy>(all: &[(T, &'static str)], name: &str) -> Result<T, String> {
    all.iter().find(|(_, known)| *known == name).map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, known)| *known).collect();
        format!("must be one of {}, got {:?}", names.join(", "), crate::ids::shorten(name))
    })
}

/// The wire name of a value.
pub fn name_of<T: Copy + PartialEq>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(known, _)| *known == value).map_or("", |(_, name)| name)
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
        for (quality, _) in Quality::ALL {
            for (aspect, _) in Aspect::ALL {
                let Size { width, height } = Rendition { quality, aspect, fps: 30 }.size();
                assert_eq!((width % 2, height % 2), (0, 0));
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(by_name(&Aspect::ALL, "1:1"), Ok(Aspect::Square));
        assert_eq!(by_name(&Aspect::ALL, "3:4").unwrap_err(), r#"must be one of 9:16, 1:1, 4:5, 16:9, got "3:4""#);
    }
}
