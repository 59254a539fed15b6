//! Converts full range to limited range, which all outputs have: brightness from 0-255 to 16-235, colour differences
//! from 0-255 to 16-240 (ITU-R BT.709-6, 4.6; JFIF). GStreamer's converter does not change the range if matrix and
//! primaries are equal.

/// Converts brightness to limited range.
pub fn limit_brightness(values: &mut [u8]) {
    for value in values {
        *value = (divided(u16::from(*value) * 219) + 16) as u8;
    }
}

/// Converts colour differences to limited range, interleaved or not. 128, no colour, is unchanged.
pub fn limit_colour(values: &mut [u8]) {
    for value in values {
        *value = divided(u16::from(*value) * 224 + 128 * 31) as u8;
    }
}

/// Divides by 255 and rounds, without a division, so that the compiler can vectorize it.
fn divided(number: u16) -> u16 {
    let number = number + 128;
    (number + (number >> 8)) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_rounded_to_the_nearest() {
        let all: Vec<u8> = (0..=255).collect();
        let (mut brightness, mut colour) = (all.clone(), all.clone());
        limit_brightness(&mut brightness);
        limit_colour(&mut colour);
        for value in all {
            let exact = f64::from(value);
            assert_eq!(f64::from(brightness[value as usize]), (16.0 + exact * 219.0 / 255.0).round(), "{value}");
            assert_eq!(f64::from(colour[value as usize]), (128.0 + (exact - 128.0) * 224.0 / 255.0).round(), "{value}");
        }
    }
}
