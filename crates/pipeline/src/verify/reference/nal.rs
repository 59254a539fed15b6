//! The units that H.264 and HEVC bitstreams consist of.

/// The units of a packet: behind start codes, or behind lengths of `length_bytes` where a container says so.
pub fn units(bytes: &[u8], length_bytes: Option<usize>) -> Vec<&[u8]> {
    match length_bytes.filter(|width| (1..=4).contains(width)) {
        Some(width) => behind_lengths(bytes, width),
        None => behind_start_codes(bytes),
    }
}

fn behind_lengths(mut bytes: &[u8], width: usize) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(width) {
        let length = head.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((unit, rest)) = rest.split_at_checked(length) else { break };
        units.push(unit);
        bytes = rest;
    }
    units
}

fn behind_start_codes(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1])
        .map(|(position, _)| position + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([bytes.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| bytes.get(*start..end)).collect()
}

/// The content of a unit without the bytes that keep start codes out of it.
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
    fn units_are_found_behind_start_codes_and_behind_lengths() {
        assert_eq!(units(&[0, 0, 0, 1, 7, 8, 0, 0, 1, 9], None), [&[7, 8][..], &[9]]);
        assert_eq!(units(&[0, 2, 7, 8, 0, 1, 9], Some(2)), [&[7, 8][..], &[9]]);
        assert!(units(&[0, 9, 7, 8], Some(2)).is_empty(), "a length beyond the end");
    }

    #[test]
    fn bytes_that_keep_start_codes_out_are_left_out() {
        assert_eq!(content(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [1, 0, 0, 1, 0, 0, 0, 0]);
    }
}
