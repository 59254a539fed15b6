//! Colours as older codecs declare them: MPEG-2, MPEG-4 Visual, ProRes, Motion JPEG.

use super::{
    bits::Bits,
    colour::{Declared, Matrix, Range},
};

/// The start code of an extension in MPEG-2, and of a visual object in MPEG-4 Visual.
const EXTENSION: [u8; 4] = [0, 0, 1, 0xb5];

fn after_start_codes(bytes: &[u8]) -> impl Iterator<Item = Bits<'_>> {
    let windows = bytes.windows(EXTENSION.len()).enumerate();
    windows.filter(|(_, window)| *window == EXTENSION).map(|(position, _)| Bits::new(&bytes[position + 4..]))
}

/// The sequence display extension of MPEG-2 (ITU-T H.262, 6.2.2.4), whose range is always limited.
pub fn mpeg2(bytes: &[u8]) -> Option<Declared> {
    let extension = |mut bits: Bits<'_>| {
        if bits.number(4)? != 2 {
            return None;
        }
        bits.skip(3)?;
        if !bits.flag()? {
            return None;
        }
        let (_, transfer, matrix) = (bits.number(8)?, bits.number(8)?, bits.number(8)?);
        Some(Declared::from_codes(Some(Range::Limited), transfer, matrix))
    };
    after_start_codes(bytes).find_map(extension)
}

/// The signal type of MPEG-4 Visual (ISO/IEC 14496-2, 6.2.2).
pub fn mpeg4(bytes: &[u8]) -> Option<Declared> {
    let object = |mut bits: Bits<'_>| {
        if bits.flag()? {
            bits.skip(7)?;
        }
        // Video or a still texture.
        if !matches!(bits.number(4)?, 1 | 2) || !bits.flag()? {
            return None;
        }
        bits.skip(3)?;
        let range = if bits.flag()? { Range::Full } else { Range::Limited };
        if !bits.flag()? {
            return Some(Declared { range: Some(range), ..Declared::default() });
        }
        let (_, transfer, matrix) = (bits.number(8)?, bits.number(8)?, bits.number(8)?);
        Some(Declared::from_codes(Some(range), transfer, matrix))
    };
    after_start_codes(bytes).find_map(object)
}

/// The frame header of ProRes (SMPTE RDD 36), whose range is always limited.
pub fn prores(bytes: &[u8]) -> Option<Declared> {
    let header = bytes.get(8..).filter(|_| bytes.get(4..8) == Some(b"icpf"))?;
    let (transfer, matrix) = (u32::from(*header.get(15)?), u32::from(*header.get(16)?));
    // 0 is also "unspecified" here, and not RGB.
    let matrix = if matrix == 0 { 2 } else { matrix };
    Some(Declared::from_codes(Some(Range::Limited), transfer, matrix))
}

/// JPEG is BT.601 in full range (ITU-T T.871), whatever a container declares.
pub fn jpeg() -> Declared {
    Declared { range: Some(Range::Full), matrix: Some(Matrix::Bt601), high_range: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::bits::hex;

    #[test]
    fn older_codecs_are_read() {
        // From FFmpeg 5.1: MPEG-2 of BT.709, and ProRes without declarations.
        let limited = |matrix| Declared { range: Some(Range::Limited), matrix, high_range: false };
        let sequence = hex("000001b31400f025ffffe018000001b5148a00010000000001b52b0101010502078000");
        assert_eq!(mpeg2(&sequence), Some(limited(Some(Matrix::Bt709))));
        assert_eq!(mpeg2(&sequence[..20]), None);
        let frame = hex("00005da76963706600940000666d7067014000f08200020202200003");
        assert_eq!(prores(&frame), Some(limited(None)));
        // A visual object of MPEG-4 with a signal type: full range, matrix 6.
        let object =
            [&[0, 0, 1, 0xb5][..], &[0b0000_1110, 0b1110_0000, 0b0010_0000, 0b0010_0000, 0b1100_0000]].concat();
        let full = Declared { range: Some(Range::Full), matrix: Some(Matrix::Bt601), high_range: false };
        assert_eq!(mpeg4(&object), Some(full));
    }
}
