//! Reads single bits, of which the headers of codecs consist.

/// A position in bytes, counted in bits from the most significant one.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    /// A reader at the first bit.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// A number of up to 32 bits.
    pub fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0_u32, |number, _| Some(number << 1 | u32::from(self.flag()?)))
    }

    /// Skips bits.
    pub fn skip(&mut self, bits: usize) -> Option<()> {
        self.position += bits;
        (self.position <= self.bytes.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb code, `ue(v)` of H.264 and HEVC (and `uvlc` of AV1, which has the same form).
    pub fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.number(zeros)?)
    }

    /// A signed Exp-Golomb code, `se(v)`.
    pub fn signed(&mut self) -> Option<i32> {
        let code = i64::from(self.unsigned()?);
        let value = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
        i32::try_from(value).ok()
    }
}

/// Bytes from hexadecimal digits.
#[cfg(test)]
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len() / 2).map(|index| byte(2 * index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_read_in_sequence() {
        // 101, then ue(v) 1, 010, 011, 00100 for 0, 1, 2, 3, then se(v) 010 and 011 for 1 and -1.
        let bytes = [0b1011_0100, 0b1100_1000, 0b1001_1000];
        let mut bits = Bits::new(&bytes);
        assert_eq!(bits.number(3), Some(5));
        assert_eq!([(); 4].map(|()| bits.unsigned()), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!([bits.signed(), bits.signed()], [Some(1), Some(-1)]);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut bits = Bits::new(&[0]);
        assert_eq!(bits.unsigned(), None);
        assert_eq!(Bits::new(&[0xff]).number(9), None);
        assert_eq!(Bits::new(&[0xff]).skip(9), None);
    }
}
