//! Maps high dynamic range to standard range.
//!
//! Brightness of up to thousands of nits is mapped to what a standard screen shows, and colours of ITU-R BT.2020 are
//! converted to BT.709. Pure.
//!
//! Brightness of up to four tenths of diffuse white is preserved. Above that, the curve of ITU-R BT.2390 compresses
//! highlights, so that none is clipped. All three colours get the same factor, so that hues do not change. Diffuse
//! white (203 nits according to ITU-R BT.2408) becomes nine tenths of the range. The rest is for highlights.
//!
//! Phones record HLG without being asked. The stock converter would change only the matrix, so this curve maps every
//! picture behind the crop.
//!
//! Every pixel is computed individually, with lookup tables for its curves. A lookup table of colours would be twice as
//! fast, but it interpolates across the border of BT.709, where dark green came out a tenth too blue.

use std::f64::consts::LN_10;

/// How a signal represents light.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transfer {
    /// Absolute (SMPTE ST 2084), with the maximum brightness of the pictures, nits.
    Pq(f64),
    /// Relative to the screen's maximum (ARIB STD-B67), rendered for a screen of 1,000 nits.
    Hlg,
}

/// Diffuse white, nits (ITU-R BT.2408): the maximum of a standard screen.
const WHITE_NITS: f64 = 203.0;

/// The reference screen of HLG, nits, and its system gamma (ITU-R BT.2100).
const HLG_PEAK_NITS: f64 = 1_000.0;
const HLG_GAMMA: f64 = 1.2;

/// Gamma of a standard screen (ITU-R BT.1886).
const GAMMA: f64 = 2.4;

/// Luminance coefficients of ITU-R BT.2020: red, green and blue.
const LUMA_2020: [f64; 3] = [0.2627, 0.6780, 0.0593];

/// Luminance coefficients of ITU-R BT.709.
const LUMA_709: [f64; 3] = [0.2126, 0.7152, 0.0722];

/// Converts linear colours of BT.2020 to BT.709 (ITU-R BT.2407).
const TO_709: [[f64; 3]; 3] = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];

/// The maximum brightness of any signal, nits.
const MAX_NITS: f64 = 10_000.0;

/// Number of possible signals of one colour: 10 bits, and as many again below and above for colours outside of the
/// gamut.
const SIGNALS: i32 = 3 << 10;

/// A function of numbers from 0 to 1 as a lookup table, indexed by the upper bits of the floating-point number. The
/// relative precision is the same for dark and bright values.
#[derive(Debug, Clone)]
struct Curve(Vec<f32>);

impl Curve {
    /// Low bits that are ignored. There are 256 entries between a number and its double.
    const IGNORED_BITS: u32 = 15;
    /// Smaller numbers are taken for 0. The signal of this number would be a fifth of a level.
    const MIN_VALUE: f32 = 1.0 / (1 << 24) as f32;

    fn of(function: impl Fn(f64) -> f64) -> Self {
        let (first, last) = (Self::MIN_VALUE.to_bits() >> Self::IGNORED_BITS, 1_f32.to_bits() >> Self::IGNORED_BITS);
        // Evaluated in the middle of an entry's interval.
        let middle =
            |bits: u32| f32::from_bits((bits << Self::IGNORED_BITS) + (1 << (Self::IGNORED_BITS - 1))).min(1.0);
        let values = (first + 1..=last).map(|bits| function(f64::from(middle(bits))) as f32);
        Self([function(0.0) as f32].into_iter().chain(values).collect())
    }

    /// Numbers outside of 0 to 1 are clamped.
    fn at(&self, x: f32) -> f32 {
        let entry = (x.max(0.0).to_bits() >> Self::IGNORED_BITS)
            .saturating_sub(Self::MIN_VALUE.to_bits() >> Self::IGNORED_BITS);
        self.0[(entry as usize).min(self.0.len() - 1)]
    }
}

/// Maps 10-bit pictures of BT.2020 to 8-bit pictures of BT.709 in limited range.
#[derive(Debug, Clone)]
pub struct ToneMap {
    /// Red, green and blue minus brightness, per step of the colour differences.
    tints: [[f32; 2]; 3],
    /// Light by signal, [`SIGNALS`] entries: in units of 10,000 nits for PQ, scene light for HLG.
    light: Vec<f32>,
    /// Factor from scene light to units of 10,000 nits, by the scene's luminance. HLG only.
    gain: Option<Curve>,
    /// Factor from units of 10,000 nits to shown light, by the largest of the three colours.
    factor: Curve,
    /// Signal by shown light.
    signal: Curve,
}

impl ToneMap {
    /// Maps pictures of a transfer function. With `full_range`, black is 0 instead of 64.
    pub fn new(transfer: Transfer, full_range: bool) -> Self {
        let (black, range, differences) = if full_range { (0.0, 1_023.0, 1_023.0) } else { (64.0, 876.0, 896.0) };
        let light = |code: i32| {
            let signal = ((f64::from(code) - black) / range).clamp(0.0, 1.0);
            match transfer {
                Transfer::Pq(_) => pq_to_nits(signal) / MAX_NITS,
                Transfer::Hlg => hlg_to_scene(signal),
            }
        };
        let peak = transfer.peak();
        let factor = |share: f64| {
            // Darker values are below the precision of a signal and become black.
            let nits = (share * MAX_NITS).max(1e-3);
            compressed(nits, peak) / nits * MAX_NITS / WHITE_NITS
        };
        let [kr, kg, kb] = LUMA_2020;
        let (red, blue) = (2.0 * (1.0 - kr) * range / differences, 2.0 * (1.0 - kb) * range / differences);
        Self {
            tints: [[0.0, red], [-kb * blue / kg, -kr * red / kg], [blue, 0.0]]
                .map(|row| row.map(|share| share as f32)),
            light: (0..SIGNALS).map(|code| light(code - SIGNALS / 3) as f32).collect(),
            gain: (transfer == Transfer::Hlg)
                .then(|| Curve::of(|light| light.powf(HLG_GAMMA - 1.0) * HLG_PEAK_NITS / MAX_NITS)),
            factor: Curve::of(factor),
            signal: Curve::of(|light| light.powf(1.0 / GAMMA)),
        }
    }

    /// Maps two rows of brightness and their common row of colours. Rows of odd width end with half a pair. The second
    /// row is empty at the end of a picture of odd height.
    pub fn rows(&self, light: [&[u16]; 2], colour: [&[u16]; 2], mapped: [&mut [u8]; 2], tinted: [&mut [u8]; 2]) {
        let ([upper, lower], [cb, cr], [up, low], [blue, red]) = (light, colour, mapped, tinted);
        let pairs = upper.chunks(2).zip(up.chunks_mut(2));
        let mut below = lower.chunks(2).zip(low.chunks_mut(2));
        for (((cb, cr), (blue, red)), above) in cb.iter().zip(cr).zip(blue.iter_mut().zip(red)).zip(pairs) {
            let tint = self.tint(*cb, *cr);
            let (mut sums, mut count) = ([0.0; 2], 0.0_f32);
            for (from, to) in [Some(above), below.next()].into_iter().flatten() {
                for (y, out) in from.iter().zip(to) {
                    let [y, cb, cr] = self.pixel(*y, tint);
                    *out = (16.5 + 219.0 * y) as u8;
                    (sums, count) = ([sums[0] + cb, sums[1] + cr], count + 1.0);
                }
            }
            [*blue, *red] = sums.map(|sum| (128.5 + 224.0 * sum / count.max(1.0)) as u8);
        }
    }

    /// Red, green and blue minus brightness.
    fn tint(&self, cb: u16, cr: u16) -> [i32; 3] {
        let (cb, cr) = (f32::from(cb) - 512.0, f32::from(cr) - 512.0);
        // Adding a half rounds, because the values are positive.
        self.tints.map(|[by_cb, by_cr]| (by_cb * cb + by_cr * cr + (SIGNALS / 3) as f32 + 0.5) as i32)
    }

    /// Brightness from 0 to 1 and colour differences from -0.5 to 0.5 of one pixel.
    #[inline(always)]
    fn pixel(&self, y: u16, [red, green, blue]: [i32; 3]) -> [f32; 3] {
        const BY_BLUE: f32 = 1.0 / (2.0 * (1.0 - LUMA_709[2])) as f32;
        const BY_RED: f32 = 1.0 / (2.0 * (1.0 - LUMA_709[0])) as f32;
        let y = i32::from(y);
        let light = |code: i32| self.light[code.clamp(0, SIGNALS - 1) as usize];
        let mut light = [light(y + red), light(y + green), light(y + blue)];
        if let Some(gain) = &self.gain {
            let gain = gain.at(dot(LUMA_2020, light));
            light = [light[0] * gain, light[1] * gain, light[2] * gain];
        }
        let factor = self.factor.at(light[0].max(light[1]).max(light[2]));
        let shown = |row: [f64; 3]| self.signal.at(dot(row, light) * factor);
        let [to_red, to_green, to_blue] = TO_709;
        let shown = [shown(to_red), shown(to_green), shown(to_blue)];
        let y = dot(LUMA_709, shown);
        [y, (shown[2] - y) * BY_BLUE, (shown[0] - y) * BY_RED]
    }
}

#[inline(always)]
fn dot(one: [f64; 3], other: [f32; 3]) -> f32 {
    one[0] as f32 * other[0] + one[1] as f32 * other[1] + one[2] as f32 * other[2]
}

impl Transfer {
    /// The maximum brightness, nits.
    fn peak(self) -> f64 {
        match self {
            Transfer::Pq(peak) => peak.clamp(WHITE_NITS, 10_000.0),
            Transfer::Hlg => HLG_PEAK_NITS,
        }
    }
}

/// The curve of ITU-R BT.2390-8, 5.4.1, from a screen of `peak` nits to one of [`WHITE_NITS`]: linear, then a spline.
fn compressed(nits: f64, peak: f64) -> f64 {
    let (of, most) = (nits_to_pq(peak), nits_to_pq(WHITE_NITS) / nits_to_pq(peak));
    let knee = 1.5 * most - 0.5;
    let signal = (nits_to_pq(nits) / of).min(1.0);
    if signal <= knee || knee >= 1.0 {
        return nits.min(WHITE_NITS);
    }
    let t = (signal - knee) / (1.0 - knee);
    let (t2, t3) = (t * t, t * t * t);
    let curve = (2.0 * t3 - 3.0 * t2 + 1.0) * knee + (t3 - 2.0 * t2 + t) * (1.0 - knee) + (3.0 * t2 - 2.0 * t3) * most;
    pq_to_nits(curve * of)
}

const PQ_M1: f64 = 2_610.0 / 16_384.0;
const PQ_M2: f64 = 2_523.0 / 32.0;
const PQ_C1: f64 = 3_424.0 / 4_096.0;
const PQ_C2: f64 = 2_413.0 / 128.0;
const PQ_C3: f64 = 2_392.0 / 128.0;

fn pq_to_nits(signal: f64) -> f64 {
    let root = signal.powf(1.0 / PQ_M2);
    10_000.0 * ((root - PQ_C1).max(0.0) / (PQ_C2 - PQ_C3 * root)).powf(1.0 / PQ_M1)
}

fn nits_to_pq(nits: f64) -> f64 {
    let power = (nits / 10_000.0).powf(PQ_M1);
    ((PQ_C1 + PQ_C2 * power) / (1.0 + PQ_C3 * power)).powf(PQ_M2)
}

/// The inverse of HLG's curve (ITU-R BT.2100, table 5): scene light from 0 to 1.
fn hlg_to_scene(signal: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    let b = 1.0 - 4.0 * A;
    let c = 0.5 - A * (4.0 * A).log10() * LN_10;
    if signal <= 0.5 { signal * signal / 3.0 } else { (((signal - c) / A).exp() + b) / 12.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps one 10-bit colour to 8 bits.
    fn map(transfer: Transfer, full_range: bool, [y, cb, cr]: [u16; 3]) -> [u8; 3] {
        let (mut up, mut low, mut blue, mut red) = ([0; 2], [0; 2], [0; 1], [0; 1]);
        ToneMap::new(transfer, full_range).rows(
            [&[y; 2], &[y; 2]],
            [&[cb], &[cr]],
            [&mut up, &mut low],
            [&mut blue, &mut red],
        );
        assert!(up == low && up[0] == up[1]);
        [up[0], blue[0], red[0]]
    }

    /// Maps a grey signal from 0 to 1 in limited range to a level from 0 to 1.
    fn grey(transfer: Transfer, signal: f64) -> f64 {
        let [y, cb, cr] = map(transfer, false, [(64.0 + 876.0 * signal).round() as u16, 512, 512]);
        assert_eq!((cb, cr), (128, 128), "grey stays grey");
        (f64::from(y) - 16.0) / 219.0
    }

    /// The 10-bit code of red, green and blue signals from 0 to 1, in limited range.
    fn code(signals: [f64; 3]) -> [u16; 3] {
        let y: f64 = LUMA_2020.iter().zip(signals).map(|(share, signal)| share * signal).sum();
        let differences = [(signals[2] - y) / 1.8814, (signals[0] - y) / 1.4746];
        [64.0 + 876.0 * y, 512.0 + 896.0 * differences[0], 512.0 + 896.0 * differences[1]]
            .map(|code| code.round() as u16)
    }

    #[test]
    fn the_curves_meet_the_levels_of_the_recommendations() {
        // BT.2408, table 1: diffuse white is 75 % of HLG and 58 % of PQ. A grey card is 38 % of both.
        let hlg_nits = |signal| HLG_PEAK_NITS * hlg_to_scene(signal).powf(HLG_GAMMA);
        assert!((hlg_nits(0.75) - 203.0).abs() < 1.0 && (hlg_nits(0.38) - 26.0).abs() < 1.0);
        assert!((hlg_nits(1.0) - 1_000.0).abs() < 0.5);
        assert!((pq_to_nits(0.5807) - 203.0).abs() < 1.0 && (pq_to_nits(0.38) - 26.0).abs() < 1.0);
        for nits in [0.01, 1.0, 203.0, 4_000.0] {
            assert!((pq_to_nits(nits_to_pq(nits)) / nits - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn dark_colours_keep_their_brightness_and_highlights_are_compressed() {
        for nits in [0.05, 1.0, 26.0, 85.0] {
            assert_eq!(compressed(nits, 1_000.0), nits);
        }
        let most = compressed(9_000.0, 1_000.0);
        assert!((compressed(1_000.0, 1_000.0) - WHITE_NITS).abs() < 0.01 && (most - WHITE_NITS).abs() < 0.01);
        assert!(compressed(400.0, 4_000.0) < compressed(400.0, 1_000.0));
        assert_eq!(compressed(150.0, WHITE_NITS), 150.0, "nothing to compress");
        let rising: Vec<f64> = (0..=100).map(|nits| compressed(f64::from(nits) * 10.0, 1_000.0)).collect();
        assert!(rising.is_sorted() && rising[100] > rising[99]);
    }

    #[test]
    fn grey_keeps_its_brightness_for_every_transfer_function() {
        for (transfer, white) in [(Transfer::Hlg, 0.75), (Transfer::Pq(1_000.0), 0.5807)] {
            let card = (26.0_f64 / 203.0).powf(1.0 / 2.4);
            assert!((grey(transfer, white) - 0.906).abs() < 0.006, "{}", grey(transfer, white));
            assert!((grey(transfer, 0.38) - card).abs() < 0.008, "{} {card}", grey(transfer, 0.38));
            assert_eq!((grey(transfer, 0.0), map(transfer, false, [0, 512, 512])[0]), (0.0, 16));
        }
        assert_eq!((grey(Transfer::Hlg, 1.0), grey(Transfer::Hlg, 1.09)), (1.0, 1.0));
        let levels: Vec<f64> = (0..=100).map(|percent| grey(Transfer::Hlg, f64::from(percent) / 100.0)).collect();
        assert!(levels.is_sorted());
        assert_eq!(map(Transfer::Hlg, true, [1_023, 512, 512]), [235, 128, 128], "full range");
    }

    #[test]
    fn colours_keep_their_hue() {
        // Skin colour: red is larger than green, and green than blue, before and after.
        let [y, cb, cr] = map(Transfer::Hlg, false, code([0.62, 0.52, 0.45]));
        assert!(cb < 122 && cr > 134 && y > 100, "{y} {cb} {cr}");
        // A colour outside of BT.709 is clipped to its border.
        let [y, cb, cr] = map(Transfer::Hlg, false, code([0.0, 0.7, 0.0]));
        assert!((16..=235).contains(&y) && cb < 80 && cr < 80, "{y} {cb} {cr}");
    }

    #[test]
    fn rows_of_odd_width_are_mapped_completely() {
        let table = ToneMap::new(Transfer::Hlg, false);
        let (mut up, mut blue, mut red) = ([0; 3], [0; 2], [0; 2]);
        let light = [700; 3];
        table.rows([&light, &light], [&[512; 2], &[512; 2]], [&mut up, &mut []], [&mut blue, &mut red]);
        assert!(up == [up[0]; 3] && up[0] > 150 && blue == [128; 2] && red == [128; 2]);
    }
}
