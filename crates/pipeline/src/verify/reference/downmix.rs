//! Converts decoded samples of any format and layout to stereo, by the usual coefficients (ITU-R BS.775): the centre at
//! -3 dB on both sides, rear and side channels at -3 dB on their own side.

use std::f32::consts::FRAC_1_SQRT_2;

/// The format of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Unsigned, one byte.
    Unsigned8,
    /// Signed, with this number of bytes.
    Signed {
        /// Number of bytes.
        bytes: usize,
        /// Number of significant bits, which are the lowest ones.
        bits: u32,
        /// The most significant byte comes first.
        big_endian: bool,
    },
    /// Floating point, 4 or 8 bytes.
    Float {
        /// Number of bytes.
        bytes: usize,
        /// The most significant byte comes first.
        big_endian: bool,
    },
}

impl Number {
    /// From the name of a raw format of GStreamer.
    pub fn from_name(name: &str) -> Option<Self> {
        let big_endian = name.ends_with("BE");
        let signed = |bytes, bits| Some(Self::Signed { bytes, bits, big_endian });
        match name.trim_end_matches("LE").trim_end_matches("BE") {
            "U8" => Some(Self::Unsigned8),
            "S8" => signed(1, 8),
            "S16" => signed(2, 16),
            "S24" => signed(3, 24),
            "S24_32" => signed(4, 24),
            "S32" => signed(4, 32),
            "F32" => Some(Self::Float { bytes: 4, big_endian }),
            "F64" => Some(Self::Float { bytes: 8, big_endian }),
            _ => None,
        }
    }

    /// Number of bytes.
    pub fn width(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed { bytes, .. } | Self::Float { bytes, .. } => bytes,
        }
    }

    /// The sample as a share of full scale.
    fn value(self, bytes: &[u8]) -> f32 {
        let mut ordered = [0; 8];
        let big_endian = match self {
            Self::Unsigned8 => false,
            Self::Signed { big_endian, .. } | Self::Float { big_endian, .. } => big_endian,
        };
        for (index, byte) in bytes.iter().take(8).enumerate() {
            ordered[if big_endian { bytes.len() - 1 - index } else { index }] = *byte;
        }
        match self {
            Self::Unsigned8 => (f32::from(bytes[0]) - 128.0) / 128.0,
            Self::Signed { bits, .. } => {
                let shift = 64 - bits;
                let number = (u64::from_le_bytes(ordered) << shift) as i64 >> shift;
                number as f32 / (1_u64 << (bits - 1)) as f32
            }
            Self::Float { bytes: 8, .. } => f64::from_le_bytes(ordered) as f32,
            Self::Float { .. } => f32::from_le_bytes([ordered[0], ordered[1], ordered[2], ordered[3]]),
        }
    }
}

/// The contribution of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// To the left and to the right.
    Sides([f32; 2]),
    /// Low frequencies, which some programs mix in and others leave out.
    LowFrequencies,
}

/// The contribution of each channel. `mask` has a bit for each position in GStreamer's order. It is 0 if channels have
/// no positions; then the first two are left and right.
pub fn shares(channels: usize, mask: u64) -> Vec<Share> {
    if channels == 1 {
        return vec![Share::Sides([1.0, 1.0])];
    }
    if mask.count_ones() as usize != channels {
        let side = |channel: usize| if channel < 2 { [[1.0, 0.0], [0.0, 1.0]][channel] } else { [0.0; 2] };
        return (0..channels).map(|channel| Share::Sides(side(channel))).collect();
    }
    (0..64).filter(|bit| mask >> bit & 1 == 1).map(share).collect()
}

fn share(position: u32) -> Share {
    const HALF: f32 = FRAC_1_SQRT_2;
    Share::Sides(match position {
        0 | 6 | 24 => [1.0, 0.0],
        1 | 7 | 25 => [0.0, 1.0],
        2 => [HALF, HALF],
        3 | 9 => return Share::LowFrequencies,
        4 | 10 | 12 | 16 | 18 | 22 | 26 => [HALF, 0.0],
        5 | 11 | 13 | 17 | 19 | 23 | 27 => [0.0, HALF],
        _ => [0.5, 0.5],
    })
}

/// One moment of audio.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moment {
    /// Left and right.
    pub sides: [f32; 2],
    /// The low-frequency channel.
    pub low: f32,
}

/// The moments in interleaved or planar samples.
pub fn moments<'a>(
    bytes: &'a [u8],
    number: Number,
    shares: &'a [Share],
    interleaved: bool,
) -> impl Iterator<Item = Moment> + 'a {
    let width = number.width();
    let count = bytes.len() / (width * shares.len()).max(1);
    // Distance from one channel to the next, and from one moment to the next.
    let (across, along) = if interleaved { (1, shares.len()) } else { (count, 1) };
    (0..count).map(move |index| {
        let mut moment = Moment::default();
        for (channel, share) in shares.iter().enumerate() {
            let at = width * (index * along + channel * across);
            let value = number.value(&bytes[at..at + width]);
            match share {
                Share::Sides([left, right]) => {
                    moment.sides[0] += left * value;
                    moment.sides[1] += right * value;
                }
                Share::LowFrequencies => moment.low += value,
            }
        }
        moment
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(bytes: &[u8], name: &str, shares: &[Share]) -> Vec<[f32; 2]> {
        let number = Number::from_name(name).expect("a format");
        moments(bytes, number, shares, true).map(|moment| moment.sides).collect()
    }

    #[test]
    fn numbers_of_every_format_are_shares_of_full_scale() {
        let mono = shares(1, 0);
        let half = 0.5_f32;
        for (name, bytes) in [
            ("U8", vec![192]),
            ("S8", vec![64]),
            ("S16LE", vec![0, 64]),
            ("S16BE", vec![64, 0]),
            ("S24LE", vec![0, 0, 64]),
            ("S24_32LE", vec![0, 0, 64, 0]),
            ("S32BE", vec![64, 0, 0, 0]),
            ("F32LE", half.to_le_bytes().to_vec()),
            ("F64BE", f64::from(half).to_be_bytes().to_vec()),
        ] {
            assert_eq!(sides(&bytes, name, &mono), [[0.5; 2]], "{name}");
        }
        assert_eq!(sides(&[0, 192], "S16LE", &mono), [[-0.5; 2]]);
    }

    #[test]
    fn channels_go_to_their_sides() {
        // Front left and right, centre, low frequencies, rear left and right.
        let shares = shares(6, 0x3f);
        let one = |channel: usize| {
            let numbers: Vec<u8> =
                (0..6).flat_map(|other| f32::from(u8::from(other == channel)).to_le_bytes()).collect();
            moments(&numbers, Number::Float { bytes: 4, big_endian: false }, &shares, true).next().expect("a moment")
        };
        assert_eq!([one(0).sides, one(1).sides], [[1.0, 0.0], [0.0, 1.0]]);
        assert_eq!([one(2).sides, one(4).sides], [[FRAC_1_SQRT_2; 2], [FRAC_1_SQRT_2, 0.0]]);
        assert_eq!((one(3).sides, one(3).low), ([0.0; 2], 1.0));
    }

    #[test]
    fn planar_and_interleaved_channels_are_read_alike() {
        let mixed = [1_u8, 2, 3, 4, 5, 6];
        let planar = [1_u8, 3, 5, 2, 4, 6];
        let (number, shares) = (Number::Unsigned8, shares(2, 3));
        let interleaved: Vec<Moment> = moments(&mixed, number, &shares, true).collect();
        assert_eq!(interleaved, moments(&planar, number, &shares, false).collect::<Vec<_>>());
        assert_eq!(interleaved.len(), 3);
    }

    #[test]
    fn without_positions_the_first_two_channels_are_used() {
        assert_eq!(shares(4, 0)[1..3], [Share::Sides([0.0, 1.0]), Share::Sides([0.0; 2])]);
    }
}
