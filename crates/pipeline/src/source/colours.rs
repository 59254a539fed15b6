//! How the numbers in a picture are interpreted: range, matrix, transfer and primaries, as code points of ISO/IEC
//! 23091-2 (ITU-T H.273).
//!
//! Both the coded pictures and the container may declare them. The pictures take precedence, as in FFmpeg, because the
//! container's declaration is a copy that muxers sometimes write incorrectly. Undeclared values are guessed from the
//! size, as in browsers.

use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

/// Code point of BT.709 as matrix, transfer and primaries.
const BT709: u8 = 1;

/// Code point of BT.601 (525 lines, which has the same matrix as 625) as matrix, transfer and primaries.
const BT601: u8 = 6;

/// Code point of hybrid log-gamma as transfer.
const HLG: u8 = 18;

/// Code point of the perceptual quantizer as transfer.
const PQ: u8 = 16;

/// Undeclared pictures with fewer lines are standard definition. This is Chromium's limit.
const HD_LINES: u32 = 720;

/// Declared colours; `None` for each value that is not declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours {
    /// Whether samples use the full range, not only 16 to 235.
    pub full_range: Option<bool>,
    /// Code point of the matrix.
    pub matrix: Option<u8>,
    /// Code point of the transfer characteristics.
    pub transfer: Option<u8>,
    /// Code point of the primaries.
    pub primaries: Option<u8>,
}

/// Removes code points that declare nothing: 2 is "unspecified". (0 is reserved except for the RGB matrix.)
fn specified(code: u8) -> Option<u8> {
    (code != 2).then_some(code)
}

impl Colours {
    /// From the code points of a container or bitstream.
    pub fn from_codes(full_range: Option<bool>, matrix: u8, transfer: u8, primaries: u8) -> Self {
        let positive = |code| specified(code).filter(|code| *code > 0);
        Self { full_range, matrix: specified(matrix), transfer: positive(transfer), primaries: positive(primaries) }
    }

    /// From caps of GStreamer, which has names for only some of the code points.
    pub fn from_caps(caps: &gstreamer::CapsRef) -> Self {
        let text = caps.structure(0).and_then(|structure| structure.get::<String>("colorimetry").ok());
        let Some(declared) = text.and_then(|text| text.parse::<VideoColorimetry>().ok()) else {
            return Self::default();
        };
        let code = |code: u32| u8::try_from(code).ok().and_then(specified);
        Self {
            full_range: match declared.range() {
                VideoColorRange::Range0_255 => Some(true),
                VideoColorRange::Range16_235 => Some(false),
                _ => None,
            },
            matrix: (declared.matrix() != VideoColorMatrix::Unknown)
                .then(|| code(declared.matrix().to_iso()))
                .flatten(),
            transfer: (declared.transfer() != VideoTransferFunction::Unknown)
                .then(|| code(declared.transfer().to_iso()))
                .flatten(),
            primaries: (declared.primaries() != VideoColorPrimaries::Unknown)
                .then(|| code(declared.primaries().to_iso()))
                .flatten(),
        }
    }

    /// These colours, completed with those of `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            full_range: self.full_range.or(other.full_range),
            matrix: self.matrix.or(other.matrix),
            transfer: self.transfer.or(other.transfer),
            primaries: self.primaries.or(other.primaries),
        }
    }

    /// These colours, completed with guesses for pictures with this number of lines.
    pub fn guessed(self, lines: u32) -> Self {
        let usual = if lines < HD_LINES { BT601 } else { BT709 };
        let guess =
            Self { full_range: Some(false), matrix: Some(usual), transfer: Some(usual), primaries: Some(usual) };
        self.or(guess)
    }

    /// Whether the pictures have high dynamic range.
    pub fn is_high_range(self) -> bool {
        matches!(self.transfer, Some(HLG | PQ))
    }

    /// Whether the pictures differ from those of an output at most in their range.
    pub fn is_bt709(self) -> bool {
        self.matrix == Some(BT709) && !self.is_high_range()
    }

    /// These colours with limited range.
    pub fn limited(self) -> Self {
        Self { full_range: Some(false), ..self }
    }

    /// The colours as caps of GStreamer. Call after `gst::init`.
    pub fn to_caps(self) -> String {
        let iso = |code: Option<u8>| u32::from(code.unwrap_or(2));
        let range = match self.full_range {
            Some(true) => VideoColorRange::Range0_255,
            Some(false) => VideoColorRange::Range16_235,
            None => VideoColorRange::Unknown,
        };
        VideoColorimetry::new(
            range,
            VideoColorMatrix::from_iso(iso(self.matrix)),
            VideoTransferFunction::from_iso(iso(self.transfer)),
            VideoColorPrimaries::from_iso(iso(self.primaries)),
        )
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_declaration_takes_precedence_over_the_containers() {
        let pictures = Colours::from_codes(None, BT709, 2, 2);
        let container = Colours::from_codes(Some(true), BT601, BT601, 0);
        let both = pictures.or(container);
        assert_eq!(both, Colours::from_codes(Some(true), BT709, BT601, 2));
        assert_eq!(both.guessed(1_080).primaries, Some(BT709));
    }

    #[test]
    fn undeclared_colours_depend_on_the_number_of_lines() {
        assert_eq!(Colours::default().guessed(719).matrix, Some(BT601));
        assert_eq!(Colours::default().guessed(720), Colours::from_codes(Some(false), BT709, BT709, BT709));
    }

    #[test]
    fn caps_are_written_and_read_alike() {
        gstreamer::init().unwrap();
        let colours = Colours::from_codes(Some(true), BT709, BT709, BT709);
        let caps = gstreamer::Caps::builder("video/x-raw").field("colorimetry", colours.to_caps()).build();
        assert_eq!(Colours::from_caps(&caps), colours);
        assert_eq!(colours.limited().to_caps(), "bt709");
        let range_only = Colours { full_range: Some(true), ..Colours::default() };
        let caps = gstreamer::Caps::builder("video/x-raw").field("colorimetry", range_only.to_caps()).build();
        assert_eq!(Colours::from_caps(&caps), range_only);
    }
}
