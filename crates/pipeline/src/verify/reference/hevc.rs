//! Colours as HEVC declares them, in the usability information of a sequence parameter set (ITU-T H.265, 7.3.2.2 and
//! annex E).

use super::{avc, bits::Bits, colour::Declared, nal};

/// Type of a unit with a sequence parameter set.
const PARAMETER_SET: u8 = 33;

/// Bits of a profile with its flags, and of a level.
const PROFILE_BITS: usize = 88;
const LEVEL_BITS: usize = 8;

/// Maximum number of reference picture sets in a stream.
const MAX_REFERENCE_SETS: u32 = 64;

/// The declaration of the last sequence parameter set in a packet; `None` if there is none.
pub fn declared(packet: &[u8], length_bytes: Option<usize>) -> Option<Declared> {
    nal::units(packet, length_bytes).into_iter().filter_map(unit).next_back()
}

/// The declaration in an `hvcC` box, and the number of bytes of a unit's length.
pub fn configured(hvcc: &[u8]) -> Option<(Declared, usize)> {
    let width = usize::from(hvcc.get(21)? & 3) + 1;
    let mut rest = hvcc.get(23..)?;
    let mut declared = None;
    for _ in 0..*hvcc.get(22)? {
        let (head, mut rest_after) = rest.split_at_checked(3)?;
        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            let (length, content) = rest_after.split_at_checked(2)?;
            let (bytes, next) = content.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
            declared = unit(bytes).or(declared);
            rest_after = next;
        }
        rest = rest_after;
    }
    Some((declared.unwrap_or_default(), width))
}

fn unit(unit: &[u8]) -> Option<Declared> {
    let (head, content) = unit.split_at_checked(2)?;
    (head[0] >> 1 & 63 == PARAMETER_SET).then(|| parameter_set(&nal::content(content))).flatten()
}

fn parameter_set(content: &[u8]) -> Option<Declared> {
    let mut bits = Bits::new(content);
    bits.skip(4)?;
    let layers = bits.number(3)?;
    bits.flag()?;
    profiles(&mut bits, layers)?;
    bits.unsigned()?;
    if bits.unsigned()? == 3 {
        bits.flag()?;
    }
    bits.unsigned()?;
    bits.unsigned()?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.unsigned()?;
        }
    }
    bits.unsigned()?;
    bits.unsigned()?;
    let order_bits = bits.unsigned()? + 4;
    let first = if bits.flag()? { 0 } else { layers };
    for _ in first..=layers {
        for _ in 0..3 {
            bits.unsigned()?;
        }
    }
    for _ in 0..6 {
        bits.unsigned()?;
    }
    if bits.flag()? && bits.flag()? {
        scaling_lists(&mut bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.unsigned()?;
        bits.unsigned()?;
        bits.flag()?;
    }
    let count = bits.unsigned().filter(|count| *count <= MAX_REFERENCE_SETS)?;
    let mut sizes = Vec::new();
    for index in 0..count {
        sizes.push(reference_set(&mut bits, index, sizes.last().copied())?);
    }
    if bits.flag()? {
        for _ in 0..bits.unsigned().filter(|count| *count <= 32)? {
            bits.skip(order_bits as usize)?;
            bits.flag()?;
        }
    }
    bits.skip(2)?;
    if !bits.flag()? {
        return Some(Declared::default());
    }
    avc::usability(&mut bits)
}

fn profiles(bits: &mut Bits<'_>, layers: u32) -> Option<()> {
    bits.skip(PROFILE_BITS + LEVEL_BITS)?;
    let mut present = Vec::new();
    for _ in 0..layers {
        present.push((bits.flag()?, bits.flag()?));
    }
    if layers > 0 {
        bits.skip(2 * (8 - layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { PROFILE_BITS } else { 0 } + if level { LEVEL_BITS } else { 0 })?;
    }
    Some(())
}

fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !bits.flag()? {
                bits.unsigned()?;
                continue;
            }
            if size > 1 {
                bits.signed()?;
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.signed()?;
            }
        }
    }
    Some(())
}

/// Skips a reference picture set and returns its number of pictures. `before` is that of the previous set.
fn reference_set(bits: &mut Bits<'_>, index: u32, before: Option<u32>) -> Option<u32> {
    if index > 0 && bits.flag()? {
        bits.flag()?;
        bits.unsigned()?;
        let mut count = 0;
        for _ in 0..=before? {
            let used = bits.flag()?;
            if used || bits.flag()? {
                count += 1;
            }
        }
        return Some(count);
    }
    let count = bits.unsigned()?.checked_add(bits.unsigned()?).filter(|count| *count <= 32)?;
    for _ in 0..count {
        bits.unsigned()?;
        bits.flag()?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::reference::{
        bits::hex,
        colour::{Matrix, Range},
    };

    /// Parameter sets of x265 via FFmpeg 5.1: full range of BT.709, and 10-bit PQ of BT.2020.
    const FULL: &str = "42010101600000030090000003000003003ca00a080f165959a4932bc05b808080820000030002000003003c10";
    const PQ: &str = "42010102200000030090000003000003003ca00a080f1365959a4932bc05a848804820000003002000000303c1";

    #[test]
    fn parameter_sets_are_read_in_packets_and_in_configurations() {
        let full = Declared { range: Some(Range::Full), matrix: Some(Matrix::Bt709), high_range: false };
        let pq = Declared { range: Some(Range::Limited), matrix: Some(Matrix::Bt2020), high_range: true };
        for (set, expected) in [(FULL, full), (PQ, pq)] {
            let set = hex(set);
            let packet = [&[0, 0, 0, 1, 0x46, 1, 80, 0, 0, 1][..], &set].concat();
            assert_eq!(declared(&packet, None), Some(expected));
            let length = (set.len() as u16).to_be_bytes();
            let configuration = [&[0; 21][..], &[3, 1, 0xa1, 0, 1], &length, &set].concat();
            assert_eq!(configured(&configuration), Some((expected, 4)));
        }
    }

    #[test]
    fn damaged_parameter_sets_end() {
        let set = hex(PQ);
        for position in 2..set.len() {
            let mut damaged = set.clone();
            damaged[position] = 0;
            let _ = declared(&[&[0, 0, 1][..], &damaged].concat(), None);
            let _ = declared(&[&[0, 0, 1][..], &set[..position]].concat(), None);
        }
    }
}
