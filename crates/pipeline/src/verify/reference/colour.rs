//! How the numbers of a picture represent colours: the declarations of headers, their precedence, and the arithmetic.
//!
//! A declaration in the bitstream takes precedence over the container's, as in FFmpeg. Undeclared values follow from
//! the format and the size. Programs differ in that, so several readings may be right (see [`readings`]).

/// The numbers for black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// 16 to 235 of 255, colour differences 16 to 240.
    Limited,
    /// All numbers.
    Full,
}

/// How brightness and colour differences are computed from red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// No matrix: the numbers are green, blue and red.
    Rgb,
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020 with non-constant luminance.
    Bt2020,
    /// SMPTE 240M.
    Smpte240,
    /// United States Title 47, of 1953.
    Fcc,
    /// A matrix that is not supported here.
    Other,
}

impl Matrix {
    /// From `MatrixCoefficients` of ITU-T H.273, which every container and codec uses. `None` for "unspecified".
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Rgb),
            1 => Some(Self::Bt709),
            2 => None,
            4 => Some(Self::Fcc),
            5 | 6 => Some(Self::Bt601),
            7 => Some(Self::Smpte240),
            9 => Some(Self::Bt2020),
            _ => Some(Self::Other),
        }
    }

    /// Coefficients of red and blue in brightness.
    fn shares(self) -> Option<(f32, f32)> {
        match self {
            Self::Bt601 => Some((0.299, 0.114)),
            Self::Bt709 => Some((0.2126, 0.0722)),
            Self::Bt2020 => Some((0.2627, 0.0593)),
            Self::Smpte240 => Some((0.212, 0.087)),
            Self::Fcc => Some((0.30, 0.11)),
            Self::Rgb | Self::Other => None,
        }
    }
}

/// The colours that one header declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declared {
    /// The numbers for black and white.
    pub range: Option<Range>,
    /// The matrix of the numbers.
    pub matrix: Option<Matrix>,
    /// Whether the transfer function is one of high dynamic range: PQ or HLG.
    pub high_range: bool,
}

impl Declared {
    /// From a range and the codes of ITU-T H.273.
    pub fn from_codes(range: Option<Range>, transfer: u32, matrix: u32) -> Self {
        Self { range, matrix: Matrix::from_code(matrix), high_range: matches!(transfer, 16 | 18) }
    }

    /// This declaration, completed with one of lower precedence.
    pub fn or(self, less: Self) -> Self {
        Self {
            range: self.range.or(less.range),
            matrix: self.matrix.or(less.matrix),
            high_range: self.high_range || less.high_range,
        }
    }
}

/// The type of a decoded picture's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    /// Brightness and two colour differences.
    YCbCr,
    /// Brightness only.
    Grey,
    /// Red, green and blue.
    Rgb,
}

/// One interpretation of numbers as colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The numbers for black and white.
    pub range: Range,
    /// The matrix.
    pub matrix: Matrix,
}

/// Maximum stored rows at which GStreamer and our pipeline treat an undeclared picture as standard definition.
const SD_ROWS: u32 = 576;
/// Minimum stored rows at which Chromium treats it as high definition.
const HD_ROWS: u32 = 720;
/// Minimum stored rows at which GStreamer assumes BT.2020, and others assume BT.709.
const UHD_ROWS: u32 = 2_160;

/// The right readings of a picture: one if headers declare everything, and several if programs differ. Empty if this
/// module cannot decide.
///
/// | undeclared | GStreamer | Chromium | FFmpeg's scaler | right here |
/// |---|---|---|---|---|
/// | range | limited | limited | limited | limited |
/// | range of grey pictures | full | full | full | both |
/// | matrix, up to 576 rows | BT.601 | BT.601 | BT.601 | BT.601 |
/// | matrix, up to 719 rows | BT.709 | BT.601 | BT.601 | both |
/// | matrix, up to 2,159 rows | BT.709 | BT.709 | BT.601 | BT.709 |
/// | matrix, more rows | BT.2020 | BT.709 | BT.601 | BT.709 and BT.2020 |
pub fn readings(declared: Declared, samples: Samples, rows: u32) -> Vec<Reading> {
    let ranges = match (samples, declared.range) {
        // GStreamer does not support limited range of RGB, and FFmpeg ignores it.
        (Samples::Rgb, None | Some(Range::Full)) => vec![Range::Full],
        (_, Some(range)) if samples != Samples::Rgb => vec![range],
        (Samples::YCbCr, _) => vec![Range::Limited],
        _ => vec![Range::Full, Range::Limited],
    };
    let matrices = match (samples, declared.matrix) {
        (Samples::Rgb, _) => vec![Matrix::Rgb],
        (Samples::Grey, _) => vec![Matrix::Bt709],
        (_, Some(Matrix::Other | Matrix::Rgb)) => Vec::new(),
        (_, Some(matrix)) => vec![matrix],
        (_, None) if rows <= SD_ROWS => vec![Matrix::Bt601],
        (_, None) if rows < HD_ROWS => vec![Matrix::Bt709, Matrix::Bt601],
        (_, None) if rows < UHD_ROWS => vec![Matrix::Bt709],
        (_, None) => vec![Matrix::Bt709, Matrix::Bt2020],
    };
    let of = |matrix| ranges.iter().map(move |range| Reading { range: *range, matrix });
    matrices.into_iter().flat_map(of).collect()
}

/// A colour as levels of the output: brightness and two colour differences of BT.709, 8 bits, limited range.
pub type Levels = [f32; 3];

/// How far a colour may exceed the gamut and still be preserved by converters. Rounding causes as much.
const GAMUT_MARGIN: f32 = 0.03;

/// Red, green and blue of a colour of the source, 0 to 1 within the gamut. `numbers` are shares of the largest number
/// (0 to 1): brightness and colour differences, or red, green and blue, or brightness alone as the first one. `bits` is
/// their precision.
fn light(numbers: [f32; 3], samples: Samples, bits: u32, Reading { range, matrix }: Reading) -> Option<[f32; 3]> {
    let top = ((1_u64 << bits) - 1) as f32;
    // The number of an 8-bit level, as a share of the largest number.
    let level = |level: f32| level * ((1_u64 << bits) as f32 / 256.0) / top;
    let light = |number: f32| match range {
        Range::Limited => (number - level(16.0)) / level(219.0),
        Range::Full => number,
    };
    let difference = |number: f32| match range {
        Range::Limited => (number - level(128.0)) / level(224.0),
        Range::Full => number - level(128.0),
    };
    Some(match samples {
        Samples::Rgb => numbers.map(light),
        Samples::Grey => [light(numbers[0]); 3],
        Samples::YCbCr => {
            let (kr, kb) = matrix.shares()?;
            let (y, cb, cr) = (light(numbers[0]), difference(numbers[1]), difference(numbers[2]));
            let (red, blue) = (y + 2.0 * (1.0 - kr) * cr, y + 2.0 * (1.0 - kb) * cb);
            [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue]
        }
    })
}

/// Whether a colour is in the gamut. Converters treat other colours differently.
pub fn is_shown(numbers: [f32; 3], samples: Samples, bits: u32, reading: Reading) -> bool {
    let inside = -GAMUT_MARGIN..=1.0 + GAMUT_MARGIN;
    light(numbers, samples, bits, reading).is_some_and(|light| light.iter().all(|share| inside.contains(share)))
}

/// The output's levels of a colour of the source. For `numbers` and `bits` see [`is_shown`].
pub fn converted(numbers: [f32; 3], samples: Samples, bits: u32, reading: Reading) -> Option<Levels> {
    let [red, green, blue] = light(numbers, samples, bits, reading)?;
    let (kr, kb) = Matrix::Bt709.shares()?;
    let y = kr * red + (1.0 - kr - kb) * green + kb * blue;
    let (cb, cr) = ((blue - y) / (2.0 * (1.0 - kb)), (red - y) / (2.0 * (1.0 - kr)));
    Some([16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr].map(|level| level.clamp(0.0, 255.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(numbers: [f32; 3], bits: u32, range: Range, matrix: Matrix) -> [i32; 3] {
        let top = ((1_u32 << bits) - 1) as f32;
        let reading = Reading { range, matrix };
        let levels = converted(numbers.map(|number| number / top), Samples::YCbCr, bits, reading).expect("a colour");
        levels.map(|level| level.round() as i32)
    }

    #[test]
    fn colours_of_the_output_stay_as_they_are() {
        for numbers in [[16.0, 128.0, 128.0], [180.0, 128.0, 128.0], [63.0, 102.0, 240.0], [173.0, 42.0, 26.0]] {
            let expected = numbers.map(|number| number as i32);
            assert_eq!(levels(numbers, 8, Range::Limited, Matrix::Bt709), expected);
            assert_eq!(levels(numbers.map(|number| number * 4.0), 10, Range::Limited, Matrix::Bt709), expected);
        }
    }

    /// The expected levels are from FFmpeg 5.1: `color=0x...,scale=out_color_matrix=bt709:out_range=tv`.
    #[test]
    fn full_range_and_other_matrices_become_those_of_the_output() {
        // 0xC0C0C0 in full range is 192, and 181 in limited range.
        assert_eq!(levels([192.0, 128.0, 128.0], 8, Range::Full, Matrix::Bt709), [181, 128, 128]);
        assert_eq!(levels([768.0, 512.0, 512.0], 10, Range::Full, Matrix::Bt709), [180, 128, 128]);
        // Red, green and blue of BT.601, limited range, in BT.709.
        for (bt601, bt709) in [
            ([81.0, 90.0, 240.0], [63, 102, 240]),
            ([145.0, 54.0, 34.0], [173, 42, 26]),
            ([41.0, 240.0, 110.0], [32, 240, 118]),
        ] {
            let levels = levels(bt601, 8, Range::Limited, Matrix::Bt601);
            let alike = levels.iter().zip(bt709).all(|(level, expected)| (level - expected).abs() <= 1);
            assert!(alike, "{levels:?} instead of {bt709:?}");
        }
    }

    #[test]
    fn red_green_and_blue_become_levels() {
        let reading = Reading { range: Range::Full, matrix: Matrix::Rgb };
        let white = converted([1.0; 3], Samples::Rgb, 8, reading).expect("a colour");
        assert_eq!(white.map(|level| level.round() as i32), [235, 128, 128]);
        let red = converted([1.0, 0.0, 0.0], Samples::Rgb, 8, reading).expect("a colour");
        assert_eq!(red.map(|level| level.round() as i32), [63, 102, 240]);
    }

    #[test]
    fn colours_outside_of_the_gamut_are_detected() {
        let reading = Reading { range: Range::Limited, matrix: Matrix::Bt709 };
        let is_shown = |numbers: [f32; 3]| is_shown(numbers.map(|number| number / 255.0), Samples::YCbCr, 8, reading);
        assert!(is_shown([63.0, 102.0, 240.0]) && is_shown([16.0, 128.0, 128.0]) && is_shown([235.0, 128.0, 128.0]));
        assert!(!is_shown([63.0, 40.0, 240.0]) && !is_shown([255.0, 128.0, 128.0]));
    }

    #[test]
    fn the_bitstream_takes_precedence_over_the_container_and_both_over_the_size() {
        let container = Declared::from_codes(Some(Range::Full), 1, 1);
        let bitstream = Declared::from_codes(Some(Range::Limited), 1, 2);
        let both = bitstream.or(container);
        let reading = |declared, rows| readings(declared, Samples::YCbCr, rows);
        assert_eq!(reading(both, 480), [Reading { range: Range::Limited, matrix: Matrix::Bt709 }]);
        assert_eq!(reading(Declared::default(), 480), [Reading { range: Range::Limited, matrix: Matrix::Bt601 }]);
        assert_eq!(reading(Declared::default(), 1_080), [Reading { range: Range::Limited, matrix: Matrix::Bt709 }]);
        assert_eq!(reading(Declared::default(), 600).len(), 2);
        assert_eq!(reading(Declared::from_codes(None, 1, 8), 1_080), [], "YCgCo is not computed here");
        assert_eq!(readings(Declared::default(), Samples::Grey, 480).len(), 2);
        assert!(Declared::from_codes(None, 16, 9).or(Declared::default()).high_range);
    }
}
