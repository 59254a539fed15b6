//! Colours as VP9 and AV1 declare them: in the header of a key frame, and in a sequence header. The declarations of VP8
//! are not used.

use super::{
    bits::Bits,
    colour::{Declared, Matrix, Range},
};

fn range(is_full: bool) -> Option<Range> {
    Some(if is_full { Range::Full } else { Range::Limited })
}

/// The declaration of the first frame in a VP9 packet (VP9 bitstream specification, 6.2); `None` if it is not a key
/// frame.
pub fn vp9(packet: &[u8]) -> Option<Declared> {
    const SYNC_CODE: u32 = 0x49_83_42;
    let mut bits = Bits::new(packet);
    if bits.number(2)? != 2 {
        return None;
    }
    let profile = u32::from(bits.flag()?) + 2 * u32::from(bits.flag()?);
    if profile == 3 {
        bits.flag()?;
    }
    let (shows_existing, inter) = (bits.flag()?, bits.flag()?);
    bits.skip(2)?;
    if shows_existing || inter || bits.number(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.flag()?;
    }
    let matrix = match bits.number(3)? {
        1 | 3 => Some(Matrix::Bt601),
        2 => Some(Matrix::Bt709),
        4 => Some(Matrix::Smpte240),
        5 => Some(Matrix::Bt2020),
        7 => return Some(Declared { range: range(true), matrix: Some(Matrix::Rgb), high_range: false }),
        _ => None,
    };
    Some(Declared { range: range(bits.flag()?), matrix, high_range: false })
}

/// The declaration of the last sequence header in some units (AV1 bitstream specification, 5.3 to 5.5).
pub fn av1(mut units: &[u8]) -> Option<Declared> {
    const SEQUENCE_HEADER: u8 = 1;
    let mut found = None;
    while let Some((head, rest)) = units.split_first() {
        let (extended, sized) = (head & 4 != 0, head & 2 != 0);
        let rest = rest.get(usize::from(extended)..).unwrap_or_default();
        let sized = if sized { length(rest) } else { Some((rest.len(), rest)) };
        // A recorded packet may be truncated here.
        let Some((unit, rest_after)) = sized.and_then(|(length, rest)| rest.split_at_checked(length)) else { break };
        if head >> 3 & 15 == SEQUENCE_HEADER {
            found = sequence_header(unit).or(found);
        }
        units = rest_after;
    }
    found
}

/// A length in groups of seven bits, and the bytes after it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        length |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

fn sequence_header(unit: &[u8]) -> Option<Declared> {
    let mut bits = Bits::new(unit);
    let profile = bits.number(3)?;
    bits.flag()?;
    let reduced = bits.flag()?;
    if reduced {
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
    bits.skip((width_bits + height_bits) as usize)?;
    if !reduced && bits.flag()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !reduced {
        tools(&mut bits)?;
    }
    bits.skip(3)?;
    colours(&mut bits, profile)
}

fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.skip(64)?;
        if bits.flag()? {
            bits.unsigned()?;
        }
        if bits.flag()? {
            delay_bits = Some(bits.number(5)? as usize + 1);
            bits.skip(42)?;
        }
    }
    let displays = bits.flag()?;
    for _ in 0..=bits.number(5)? {
        bits.skip(12)?;
        if bits.number(5)? > 7 {
            bits.flag()?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if displays && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Some(())
}

fn tools(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let ordered = bits.flag()?;
    if ordered {
        bits.skip(2)?;
    }
    let screen_content = bits.flag()? || bits.flag()?;
    if screen_content && !bits.flag()? {
        bits.flag()?;
    }
    if ordered {
        bits.skip(3)?;
    }
    Some(())
}

fn colours(bits: &mut Bits<'_>, profile: u32) -> Option<Declared> {
    const SRGB: (u32, u32, u32) = (1, 13, 0);
    let deep = bits.flag()?;
    if profile == 2 && deep {
        bits.flag()?;
    }
    let grey = profile != 1 && bits.flag()?;
    let codes = match bits.flag()? {
        true => (bits.number(8)?, bits.number(8)?, bits.number(8)?),
        false => (2, 2, 2),
    };
    let is_full = (!grey && codes == SRGB) || bits.flag()?;
    Some(Declared::from_codes(range(is_full), codes.1, codes.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::bits::hex;

    #[test]
    fn key_frames_of_vp9_and_sequence_headers_of_av1_are_read() {
        // Made by libvpx and libaom via FFmpeg 5.1.
        let full = |matrix| Some(Declared { range: Some(Range::Full), matrix: Some(matrix), high_range: false });
        assert_eq!(vp9(&hex("824983427013f00ef60438241c184a000b10")), full(Matrix::Bt601));
        assert_eq!(vp9(&hex("8600000000")), None, "no key frame");
        assert_eq!(av1(&hex("12000a0e000000043cffbcdaf9101010184032c4")), full(Matrix::Bt709));
        let hlg = Declared { range: Some(Range::Limited), matrix: Some(Matrix::Bt2020), high_range: true };
        assert_eq!(av1(&hex("12000a0e000000043cffbcdaf9509120904032cc")), Some(hlg));
    }

    #[test]
    fn damaged_headers_end() {
        let header = hex("12000a0e000000043cffbcdaf9101010184032c4");
        for length in 0..header.len() {
            let _ = (av1(&header[..length]), vp9(&header[..length]));
        }
    }
}
