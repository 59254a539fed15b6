//! What numbers in a picture mean: range, matrix, transfer and primaries, by the code points of ISO/IEC 23091-2 (ITU-T H.273).
//!
//! Two places say it: the coded pictures themselves, and the container. Where both do, the pictures are believed, as FFmpeg
//! does; a container's word is a copy that muxers get wrong. What nobody says is guessed from the size, as browsers do.

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

/// Pictures of fewer lines are of standard definition where they do not say what they are: Chromium's limit.
const HD_LINES: u32 = 720;

/// What is said of colours; `None` for what is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours {
    /// Whether all numbers are used, and not those from 16 to 235 only.
    pub full_range: Option<bool>,
    /// Code point of the matrix.
    pub matrix: Option<u8>,
    /// Code point of the transfer characteristics.
    pub transfer: Option<u8>,
    /// Code point of the primaries.
    pub primaries: Option<u8>,
}

/// A code point that says something: 0 is reserved but for the matrix of RGB, 2 is "unspecified".
fn specified(code: u8) -> Option<u8> {
    (code != 2).then_some(code)
}

impl Colours {
    /// From the code points of a container or bitstream.
    pub fn from_codes(full_range: Option<bool>, matrix: u8, transfer: u8, primaries: u8) -> Self {
        let positive = |code| specified(code).filter(|code| *code > 0);
        Self { full_range, matrix: specified(matrix), transfer: positive(transfer), primaries: positive(primaries) }
    }

    /// From caps of GStreamer, whose names for code points are fewer.
    pub fn from_caps(caps: &gstreamer::CapsRef) -> Self {
        let text = caps.structure(0).and_then(|structure| structure.get::<String>("colorimetry").ok());
        let Some(said) = text.and_then(|text| text.parse::<VideoColorimetry>().ok()) else { return Self::default() };
        let code = |code: u32| u8::try_from(code).ok().and_then(specified);
        Self {
            full_range: match said.range() {
                VideoColorRange::Range0_255 => Some(true),
                VideoColorRange::Range16_235 => Some(false),
                _ => None,
            },
            matrix: (said.matrix() != VideoColorMatrix::Unknown).then(|| code(said.matrix().to_iso())).flatten(),
            transfer: (said.transfer() != VideoTransferFunction::Unknown)
                .then(|| code(said.transfer().to_iso()))
                .flatten(),
            primaries: (said.primaries() != VideoColorPrimaries::Unknown)
                .then(|| code(said.primaries().to_iso()))
                .flatten(),
        }
    }

    /// The same, with what is not said taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            full_range: self.full_range.or(other.full_range),
            matrix: self.matrix.or(other.matrix),
            transfer: self.transfer.or(other.transfer),
            primaries: self.primaries.or(other.primaries),
        }
    }

    /// The same, with what nobody says guessed for pictures of that many lines.
    pub fn guessed(self, lines: u32) -> Self {
        let usual = if lines < HD_LINES { BT601 } else { BT709 };
        let guess =
            Self { full_range: Some(false), matrix: Some(usual), transfer: Some(usual), primaries: Some(usual) };
        self.or(guess)
    }

    /// Whether brightness is of high dynamic range.
    pub fn is_high_range(self) -> bool {
        matches!(self.transfer, Some(HLG | PQ))
    }

    /// Whether the pictures differ from those of an output in nothing but their range.
    pub fn is_bt709(self) -> bool {
        self.matrix == Some(BT709) && !self.is_high_range()
    }

    /// The same in limited range.
    pub fn limited(self) -> Self {
        Self { full_range: Some(false), ..self }
    }

    /// As GStreamer writes it in caps. Call after `gst::init`.
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
    fn pictures_are_believed_before_their_container() {
        let pictures = Colours::from_codes(None, BT709, 2, 2);
        let container = Colours::from_codes(Some(true), BT601, BT601, 0);
        let both = pictures.or(container);
        assert_eq!(both, Colours::from_codes(Some(true), BT709, BT601, 2));
        assert_eq!(both.guessed(1_080).primaries, Some(BT709));
    }

    #[test]
    fn what_nobody_says_depends_on_the_lines() {
        assert_eq!(Colours::default().guessed(719).matrix, Some(BT601));
        assert_eq!(Colours::default().guessed(720), Colours::from_codes(Some(false), BT709, BT709, BT709));
    }

    #[test]
    fn gstreamer_writes_and_reads_the_same() {
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
