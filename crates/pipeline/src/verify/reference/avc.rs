//! Colours as H.264 declares them, in the usability information of a sequence parameter set (ITU-T H.264, 7.3.2.1.1 and
//! annex E).

use super::{
    bits::Bits,
    colour::{Declared, Range},
    nal,
};

/// Profiles whose parameter sets contain the chroma format.
const CHROMA_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Code of an explicit aspect ratio.
const EXTENDED_ASPECT: u32 = 255;

/// The declaration of the last sequence parameter set in a packet; `None` if there is none.
pub fn declared(packet: &[u8], length_bytes: Option<usize>) -> Option<Declared> {
    let sets =
        nal::units(packet, length_bytes).into_iter().filter(|unit| unit.first().is_some_and(|head| head & 31 == 7));
    sets.filter_map(|unit| parameter_set(&nal::content(&unit[1..]))).next_back()
}

/// The declaration in an `avcC` box, and the number of bytes of a unit's length.
pub fn configured(avcc: &[u8]) -> Option<(Declared, usize)> {
    let width = usize::from(avcc.get(4)? & 3) + 1;
    let count = avcc.get(5)? & 31;
    let mut rest = avcc.get(6..)?;
    let mut declared = None;
    for _ in 0..count {
        let (head, rest_after) = rest.split_at_checked(2)?;
        let (unit, rest_after) = rest_after.split_at_checked(usize::from(u16::from_be_bytes([head[0], head[1]])))?;
        declared = unit.get(1..).and_then(|set| parameter_set(&nal::content(set))).or(declared);
        rest = rest_after;
    }
    Some((declared.unwrap_or_default(), width))
}

fn parameter_set(content: &[u8]) -> Option<Declared> {
    let mut bits = Bits::new(content);
    let profile = bits.number(8)?;
    bits.skip(16)?;
    bits.unsigned()?;
    if CHROMA_PROFILES.contains(&profile) {
        let chroma_format = bits.unsigned()?;
        if chroma_format == 3 {
            bits.flag()?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        bits.flag()?;
        if bits.flag()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.flag()?;
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.signed()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.flag()?;
    bits.unsigned()?;
    bits.unsigned()?;
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.flag()?;
    }
    bits.flag()?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.unsigned()?;
        }
    }
    if !bits.flag()? {
        return Some(Declared::default());
    }
    usability(&mut bits)
}

fn scaling_list(bits: &mut Bits<'_>, length: u32) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..length {
        if next != 0 {
            next = (last + bits.signed()? + 256).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// The part of the usability information that H.264 and HEVC share: aspect ratio and colours.
pub(super) fn usability(bits: &mut Bits<'_>) -> Option<Declared> {
    if bits.flag()? && bits.number(8)? == EXTENDED_ASPECT {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.flag()?;
    }
    if !bits.flag()? {
        return Some(Declared::default());
    }
    bits.skip(3)?;
    let range = if bits.flag()? { Range::Full } else { Range::Limited };
    if !bits.flag()? {
        return Some(Declared { range: Some(range), ..Declared::default() });
    }
    let (_, transfer, matrix) = (bits.number(8)?, bits.number(8)?, bits.number(8)?);
    Some(Declared::from_codes(Some(range), transfer, matrix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::{bits::hex, colour::Matrix};

    /// Parameter sets of x264 via FFmpeg 5.1: full range of BT.709 in 4:2:0, limited range of BT.601 in 10-bit 4:4:4,
    /// and nothing declared, interlaced.
    const SETS: [(&str, Option<Range>, Option<Matrix>); 3] = [
        ("6764000dacd94141fb016e02020280000003008000001e078a14cb", Some(Range::Full), Some(Matrix::Bt709)),
        ("67f4000d90d9b28283f602d41804190000030001000003003c0f142996", Some(Range::Limited), Some(Matrix::Bt601)),
        ("67640015acd941410fcb8088000003000800000301e0f8a14cb0", None, None),
    ];

    #[test]
    fn parameter_sets_are_read_in_packets_and_in_configurations() {
        for (set, range, matrix) in SETS {
            let set = hex(set);
            let expected = Declared { range, matrix, high_range: false };
            let packet = [&[0, 0, 0, 1, 9, 16, 0, 0, 1][..], &set].concat();
            assert_eq!(declared(&packet, None), Some(expected));
            let length = (set.len() as u16).to_be_bytes();
            let configuration = [&[1, 100, 0, 13, 0xff, 0xe1][..], &length, &set, &[0]].concat();
            assert_eq!(configured(&configuration), Some((expected, 4)));
        }
    }

    #[test]
    fn damaged_parameter_sets_end() {
        for (set, ..) in SETS {
            let set = hex(set);
            for length in 0..set.len() {
                let _ = declared(&[&[0, 0, 1][..], &set[..length]].concat(), None);
            }
            for position in 1..set.len() {
                let mut damaged = set.clone();
                damaged[position] = 0;
                let _ = declared(&[&[0, 0, 1][..], &damaged].concat(), None);
            }
        }
        assert_eq!(configured(&[1, 2, 3]), None);
    }
}
