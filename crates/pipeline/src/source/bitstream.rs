//! Colours that coded pictures declare and the decoder does not report. This concerns only VP9, whose decoder reports
//! the container's declaration. The decoders of other codecs read the bitstream's declaration themselves.

use crate::source::colours::Colours;

/// Code point of BT.601.
const BT601: u8 = 6;

/// The colours that the first frame of a stream declares. The first frame is a key frame. Returns nothing for other
/// codecs and for broken frames.
pub fn colours(codec: &str, frame: &[u8]) -> Colours {
    match codec {
        "VP9" => vp9(frame).unwrap_or_default(),
        _ => Colours::default(),
    }
}

/// The colours to assume if neither the pictures nor the container declare any, if they do not depend on the size.
/// Browsers and FFmpeg assume BT.601 for VP9.
pub fn usual_colours(codec: &str) -> Colours {
    match codec {
        "VP9" => Colours { matrix: Some(BT601), ..Colours::default() },
        _ => Colours::default(),
    }
}

/// The uncompressed header of a key frame (VP9 bitstream specification, 6.2 and 7.2.2).
fn vp9(frame: &[u8]) -> Option<Colours> {
    let mut bits = Bits { bytes: frame, at: 0 };
    if bits.take(2)? != 2 {
        return None;
    }
    let (low, high) = (bits.take(1)?, bits.take(1)?);
    let profile = low | high << 1;
    if profile == 3 {
        bits.take(1)?;
    }
    let (shows_existing, is_inter) = (bits.take(1)? == 1, bits.take(1)? == 1);
    let _shown_and_resilient = bits.take(2)?;
    if shows_existing || is_inter || bits.take(24)? != 0x49_8342 {
        return None;
    }
    if profile >= 2 {
        let _twelve_bits = bits.take(1)?;
    }
    let matrix = match bits.take(3)? {
        1 | 3 => BT601,
        2 => 1,
        4 => 7,
        5 => 9,
        7 => return Some(Colours { full_range: Some(true), matrix: Some(0), ..Colours::default() }),
        _ => 2,
    };
    let full_range = bits.take(1)? == 1;
    Some(Colours { full_range: Some(full_range), ..Colours::from_codes(None, matrix, 2, 2) })
}

/// Reads bits, most significant bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        (0..count).try_fold(0, |number, _| {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(number << 1 | u32::from(bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp9_declares_matrix_and_range() {
        // Profile 0, a shown key frame, BT.709 (2), full range.
        let frame = [0b1000_0010, 0x49, 0x83, 0x42, 0b0101_0000];
        assert_eq!(colours("VP9", &frame), Colours { full_range: Some(true), matrix: Some(1), ..Colours::default() });
        // Profile 2 has an extra bit for 12-bit samples. Colour space 0 is unknown.
        let frame = [0b1001_0010, 0x49, 0x83, 0x42, 0];
        assert_eq!(colours("VP9", &frame), Colours { full_range: Some(false), ..Colours::default() });
        assert_eq!(colours("VP9", &[0b1000_0110]), Colours::default());
    }
}
