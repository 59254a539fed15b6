//! How pictures are turned and mirrored.

/// How the stored picture must be transformed to be upright. The names correspond to GStreamer's `video-direction`
/// values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Not at all.
    #[default]
    None,
    /// Clockwise by a quarter.
    Right,
    /// By a half.
    Half,
    /// Counter-clockwise by a quarter.
    Left,
    /// Mirrored left to right.
    MirrorHorizontal,
    /// Mirrored top to bottom.
    MirrorVertical,
    /// Mirrored about the diagonal from the upper left.
    Transpose,
    /// Mirrored about the diagonal from the upper right.
    Transverse,
}

impl Rotation {
    /// Value of `videoflip`'s `video-direction`.
    pub fn direction(self) -> &'static str {
        match self {
            Rotation::None => "identity",
            Rotation::Right => "90r",
            Rotation::Half => "180",
            Rotation::Left => "90l",
            Rotation::MirrorHorizontal => "horiz",
            Rotation::MirrorVertical => "vert",
            Rotation::Transpose => "ul-lr",
            Rotation::Transverse => "ur-ll",
        }
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Rotation::Right | Rotation::Left | Rotation::Transpose | Rotation::Transverse)
    }
}
