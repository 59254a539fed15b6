//! Splits H.264 and HEVC bitstreams into units.

/// The units of a packet: after start codes, or after lengths of `length_bytes` if the container uses those.
pub fn units(bytes: &[u8], length_bytes: Option<usize>) -> Vec<&[u8]> {
    match length_bytes.filter(|width| (1..=4).contains(width)) {
        Some(width) => length_prefixed(bytes, width),
        None => start_code_delimited(bytes),
    }
}

fn length_prefixed(mut bytes: &[u8], width: usize) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(width) {
        let length = head.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((unit, rest)) = rest.split_at_checked(length) else { break };
        units.push(unit);
        bytes = rest;
    }
    units
}

fn start_code_delimited(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1])
        .map(|(position, _)| position + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([bytes.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| bytes.get(*start..end)).collect()
}

/// The content of a unit without its emulation prevention bytes.
pub fn content(unit: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        content.push(*byte);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_after_start_codes_and_after_lengths() {
        assert_eq!(units(&[0, 0, 0, 1, 7, 8, 0, 0, 1, 9], None), [&[7, 8][..], &[9]]);
        assert_eq!(units(&[0, 2, 7, 8, 0, 1, 9], Some(2)), [&[7, 8][..], &[9]]);
        assert!(units(&[0, 9, 7, 8], Some(2)).is_empty(), "a length beyond the end");
    }

    #[test]
    fn emulation_prevention_bytes_are_removed() {
        assert_eq!(content(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [1, 0, 0, 1, 0, 0, 0, 0]);
    }
}
