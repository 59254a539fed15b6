//! High dynamic range to standard.
//!
//! Brightness of up to thousands of nits becomes what a screen of ordinary range shows, and colours of ITU-R BT.2020 become those of BT.709.
//! Numbers in, numbers out.
//!
//! What is up to four tenths as bright as white on paper keeps its brightness to the level; above that, highlights are
//! compressed by the curve of ITU-R BT.2390 so that none is cut off, all three colours by the same factor so that none changes its
//! hue. White on paper (203 nits after ITU-R BT.2408) comes out at nine tenths of the range; the rest is for highlights.
//!
//! Every pixel is computed by itself, its curves looked up: a table of colours would be twice as fast, but interpolates over the border
//! of BT.709, where dark green came out a tenth too blue.

use std::f64::consts::LN_10;

/// How a signal tells light.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transfer {
    /// Absolute (SMPTE ST 2084), with the brightest that the pictures have, nits.
    Pq(f64),
    /// Relative to the screen's best (ARIB STD-B67), shown as on one of 1,000 nits.
    Hlg,
}

/// White on paper, nits (ITU-R BT.2408): the brightest that a screen of standard range is asked for.
const WHITE: f64 = 203.0;

/// The screen on which HLG is judged, nits, and its system gamma (ITU-R BT.2100).
const HLG_PEAK: f64 = 1_000.0;
const HLG_GAMMA: f64 = 1.2;

/// Gamma of a screen of standard range (ITU-R BT.1886).
const GAMMA: f64 = 2.4;

/// Brightness of a colour of ITU-R BT.2020: shares of red, green and blue.
const LUMA_2020: [f64; 3] = [0.2627, 0.6780, 0.0593];

/// Those of ITU-R BT.709.
const LUMA_709: [f64; 3] = [0.2126, 0.7152, 0.0722];

/// Linear colours of BT.2020 in those of BT.709 (ITU-R BT.2407).
const TO_709: [[f64; 3]; 3] = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];

/// The brightest that any signal means, nits.
const BRIGHTEST: f64 = 10_000.0;

/// Signals of one colour that there may be: 10 bits, and as much again below and above for colours that no screen shows.
const SIGNALS: i32 = 3 << 10;

/// A function of numbers from 0 to 1, looked up by the upper bits of the number: as exact, in relation, for the dark as for the bright.
#[derive(Debug, Clone)]
struct Curve(Vec<f32>);

impl Curve {
    /// Bits of a number that make no difference; 256 entries from a number to its double.
    const SPARED: u32 = 15;
    /// Below this a number is 0. A signal of it would be a fifth of a level.
    const LEAST: f32 = 1.0 / (1 << 24) as f32;

    fn of(function: impl Fn(f64) -> f64) -> Self {
        let (first, last) = (Self::LEAST.to_bits() >> Self::SPARED, 1_f32.to_bits() >> Self::SPARED);
        // From the middle of what an entry stands for.
        let middle = |bits: u32| f32::from_bits((bits << Self::SPARED) + (1 << (Self::SPARED - 1))).min(1.0);
        let values = (first + 1..=last).map(|bits| function(f64::from(middle(bits))) as f32);
        Self([function(0.0) as f32].into_iter().chain(values).collect())
    }

    /// Numbers beyond 0 to 1 are taken for these.
    fn at(&self, x: f32) -> f32 {
        let entry = (x.max(0.0).to_bits() >> Self::SPARED).saturating_sub(Self::LEAST.to_bits() >> Self::SPARED);
        self.0[(entry as usize).min(self.0.len() - 1)]
    }
}

/// A mapping of 10-bit pictures of BT.2020 to 8-bit pictures of BT.709, limited range.
#[derive(Debug, Clone)]
pub struct ToneMap {
    /// What is added to a brightness for each step of the colour differences, to make red, green and blue.
    tints: [[f32; 2]; 3],
    /// Signal to light, [`SIGNALS`] of them: nits in ten thousands for PQ, the scene's light for HLG.
    light: Vec<f32>,
    /// What the scene's light is multiplied with to be nits in ten thousands, by its brightness; HLG only.
    gain: Option<Curve>,
    /// What nits in ten thousands are multiplied with to be shown, by the brightest of the colours.
    factor: Curve,
    /// Light that is shown to its signal.
    signal: Curve,
}

impl ToneMap {
    /// The mapping of pictures of one transfer function; `full_range` where black is 0 and not 64.
    pub fn new(transfer: Transfer, full_range: bool) -> Self {
        let (black, range, differences) = if full_range { (0.0, 1_023.0, 1_023.0) } else { (64.0, 876.0, 896.0) };
        let light = |code: i32| {
            let signal = ((f64::from(code) - black) / range).clamp(0.0, 1.0);
            match transfer {
                Transfer::Pq(_) => pq_to_nits(signal) / BRIGHTEST,
                Transfer::Hlg => hlg_to_scene(signal),
            }
        };
        let peak = transfer.peak();
        let factor = |share: f64| {
            // Below what a signal can tell apart, all is black.
            let nits = (share * BRIGHTEST).max(1e-3);
            compressed(nits, peak) / nits * BRIGHTEST / WHITE
        };
        let [kr, kg, kb] = LUMA_2020;
        let (red, blue) = (2.0 * (1.0 - kr) * range / differences, 2.0 * (1.0 - kb) * range / differences);
        Self {
            tints: [[0.0, red], [-kb * blue / kg, -kr * red / kg], [blue, 0.0]]
                .map(|row| row.map(|share| share as f32)),
            light: (0..SIGNALS).map(|code| light(code - SIGNALS / 3) as f32).collect(),
            gain: (transfer == Transfer::Hlg)
                .then(|| Curve::of(|light| light.powf(HLG_GAMMA - 1.0) * HLG_PEAK / BRIGHTEST)),
            factor: Curve::of(factor),
            signal: Curve::of(|light| light.powf(1.0 / GAMMA)),
        }
    }

    /// Maps two rows of brightness and the row of colours between them. Rows of an odd width end with half a pair; behind the
    /// last row of an odd height there is none.
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

    /// What is added to a brightness to make red, green and blue.
    fn tint(&self, cb: u16, cr: u16) -> [i32; 3] {
        let (cb, cr) = (f32::from(cb) - 512.0, f32::from(cr) - 512.0);
        // What is positive is rounded by adding a half.
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
    /// The brightest that there may be, nits.
    fn peak(self) -> f64 {
        match self {
            Transfer::Pq(peak) => peak.clamp(WHITE, 10_000.0),
            Transfer::Hlg => HLG_PEAK,
        }
    }
}

/// The curve of ITU-R BT.2390-8, 5.4.1, from a screen of `peak` nits to one of [`WHITE`]: straight, then a spline.
fn compressed(nits: f64, peak: f64) -> f64 {
    let (of, most) = (nits_to_pq(peak), nits_to_pq(WHITE) / nits_to_pq(peak));
    let knee = 1.5 * most - 0.5;
    let signal = (nits_to_pq(nits) / of).min(1.0);
    if signal <= knee || knee >= 1.0 {
        return nits.min(WHITE);
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

/// The inverse of HLG's curve (ITU-R BT.2100, table 5), to the light of the scene from 0 to 1.
fn hlg_to_scene(signal: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    let b = 1.0 - 4.0 * A;
    let c = 0.5 - A * (4.0 * A).log10() * LN_10;
    if signal <= 0.5 { signal * signal / 3.0 } else { (((signal - c) / A).exp() + b) / 12.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One colour of 10 bits to one of 8.
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

    /// Grey of a signal from 0 to 1, limited range, to a level from 0 to 1.
    fn grey(transfer: Transfer, signal: f64) -> f64 {
        let [y, cb, cr] = map(transfer, false, [(64.0 + 876.0 * signal).round() as u16, 512, 512]);
        assert_eq!((cb, cr), (128, 128), "grey stays grey");
        (f64::from(y) - 16.0) / 219.0
    }

    /// The code of signals of red, green and blue from 0 to 1, limited range.
    fn code(signals: [f64; 3]) -> [u16; 3] {
        let y: f64 = LUMA_2020.iter().zip(signals).map(|(share, signal)| share * signal).sum();
        let differences = [(signals[2] - y) / 1.8814, (signals[0] - y) / 1.4746];
        [64.0 + 876.0 * y, 512.0 + 896.0 * differences[0], 512.0 + 896.0 * differences[1]]
            .map(|code| code.round() as u16)
    }

    #[test]
    fn the_curves_meet_the_levels_of_the_recommendations() {
        // BT.2408, table 1: white on paper is 75 % of HLG and 58 % of PQ, a grey card 38 % of both.
        let hlg_nits = |signal| HLG_PEAK * hlg_to_scene(signal).powf(HLG_GAMMA);
        assert!((hlg_nits(0.75) - 203.0).abs() < 1.0 && (hlg_nits(0.38) - 26.0).abs() < 1.0);
        assert!((hlg_nits(1.0) - 1_000.0).abs() < 0.5);
        assert!((pq_to_nits(0.5807) - 203.0).abs() < 1.0 && (pq_to_nits(0.38) - 26.0).abs() < 1.0);
        for nits in [0.01, 1.0, 203.0, 4_000.0] {
            assert!((pq_to_nits(nits_to_pq(nits)) / nits - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_not_bright_keeps_its_light_and_highlights_get_what_is_left() {
        for nits in [0.05, 1.0, 26.0, 85.0] {
            assert_eq!(compressed(nits, 1_000.0), nits);
        }
        let most = compressed(9_000.0, 1_000.0);
        assert!((compressed(1_000.0, 1_000.0) - WHITE).abs() < 0.01 && (most - WHITE).abs() < 0.01);
        assert!(compressed(400.0, 4_000.0) < compressed(400.0, 1_000.0));
        assert_eq!(compressed(150.0, WHITE), 150.0, "nothing to compress");
        let rising: Vec<f64> = (0..=100).map(|nits| compressed(f64::from(nits) * 10.0, 1_000.0)).collect();
        assert!(rising.is_sorted() && rising[100] > rising[99]);
    }

    #[test]
    fn grey_is_shown_as_bright_as_it_was_whichever_way_it_was_coded() {
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
        // Skin: redder than green than blue, before and after.
        let [y, cb, cr] = map(Transfer::Hlg, false, code([0.62, 0.52, 0.45]));
        assert!(cb < 122 && cr > 134 && y > 100, "{y} {cb} {cr}");
        // A colour outside BT.709 goes to its border, not around it.
        let [y, cb, cr] = map(Transfer::Hlg, false, code([0.0, 0.7, 0.0]));
        assert!((16..=235).contains(&y) && cb < 80 && cr < 80, "{y} {cb} {cr}");
    }

    #[test]
    fn rows_of_an_odd_width_are_mapped_to_their_end() {
        let table = ToneMap::new(Transfer::Hlg, false);
        let (mut up, mut blue, mut red) = ([0; 3], [0; 2], [0; 2]);
        let light = [700; 3];
        table.rows([&light, &light], [&[512; 2], &[512; 2]], [&mut up, &mut []], [&mut blue, &mut red]);
        assert!(up == [up[0]; 3] && up[0] > 150 && blue == [128; 2] && red == [128; 2]);
    }
}
