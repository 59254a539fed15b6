//! Scales one plane of a picture from any rectangle, including one between its pixels, to a whole number of pixels.
//!
//! The filter is bicubic (Catmull-Rom), as in the stock scaler that other modes use: four taps for enlarging, and for
//! reducing as many as one output pixel covers. Rows are scaled first, into 16-bit numbers with six fractional bits,
//! and then columns.

use std::ops::Range;

/// Bits of a weight: 1.0 is `1 << WEIGHT_BITS`.
const WEIGHT_BITS: u32 = 14;

/// Fractional bits between the two passes. An 8-bit sample and the overshoot of the filter fit into 16 bits.
pub const FINE_BITS: u32 = 6;

/// The input samples and weights of each output sample, in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    per_output: usize,
    starts: Vec<usize>,
    weights: Vec<i16>,
}

impl Taps {
    /// Outputs that evenly share the `length` samples from `from` on. Beyond the `inputs` samples, the outermost one is
    /// repeated.
    pub fn new(inputs: usize, from: f64, length: f64, outputs: usize) -> Self {
        let step = length / outputs as f64;
        let stretch = step.max(1.0);
        let wanted = (4.0 * stretch).ceil() as usize;
        let per_output = wanted.min(inputs);
        let mut starts = Vec::with_capacity(outputs);
        let mut weights = vec![0; outputs * per_output];
        let mut exact = vec![0.0; per_output];
        for (output, weights) in weights.chunks_exact_mut(per_output).enumerate() {
            let centre = from + (output as f64 + 0.5) * step - 0.5;
            let first = (centre - 2.0 * stretch).floor() as i64 + 1;
            let start = first.clamp(0, (inputs - per_output) as i64);
            exact.fill(0.0);
            for tap in first..first + wanted as i64 {
                let inside = tap.clamp(0, inputs as i64 - 1) - start;
                let place = (inside.max(0) as usize).min(per_output - 1);
                exact[place] += catmull_rom((tap as f64 - centre) / stretch);
            }
            round_to_one(&exact, weights);
            starts.push(start as usize);
        }
        Self { per_output, starts, weights }
    }

    /// The range of input samples that are needed.
    pub fn inputs(&self) -> Range<usize> {
        let first = self.starts.iter().min().copied().unwrap_or(0);
        let last = self.starts.iter().max().copied().unwrap_or(0);
        first..last + self.per_output
    }

    fn of(&self, output: usize) -> (usize, &[i16]) {
        (self.starts[output], &self.weights[output * self.per_output..][..self.per_output])
    }
}

fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    match x {
        ..1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        ..2.0 => ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

/// Integer weights with a sum of exactly one, so that a flat area does not change. The rounding error is added to the
/// largest weight.
fn round_to_one(exact: &[f64], weights: &mut [i16]) {
    let one = f64::from(1 << WEIGHT_BITS);
    let sum: f64 = exact.iter().sum();
    for (weight, exact) in weights.iter_mut().zip(exact) {
        *weight = (exact / sum * one).round() as i16;
    }
    let rest = (1 << WEIGHT_BITS) - weights.iter().map(|weight| i32::from(*weight)).sum::<i32>();
    if let Some(largest) = weights.iter_mut().max() {
        *largest += rest as i16;
    }
}

/// The type of a row's samples.
pub trait Sample: Copy {
    /// Number of fractional bits.
    const BITS: u32;
    /// The sample as an integer.
    fn value(self) -> i32;
}

impl Sample for u8 {
    const BITS: u32 = 0;
    fn value(self) -> i32 {
        i32::from(self)
    }
}

/// With [`FINE_BITS`] fractional bits.
impl Sample for i16 {
    const BITS: u32 = FINE_BITS;
    fn value(self) -> i32 {
        i32::from(self)
    }
}

/// Scales one row.
pub fn across<S: Sample>(row: &[S], taps: &Taps, output: &mut [i16]) {
    let shift = WEIGHT_BITS + S::BITS - FINE_BITS;
    let rounding = 1 << (shift - 1);
    // A fixed number of taps lets the compiler unroll the loop. Enlarging is the usual case.
    if let (4, (weights, [])) = (taps.per_output, taps.weights.as_chunks::<4>()) {
        for ((output, start), w) in output.iter_mut().zip(&taps.starts).zip(weights) {
            let Some(s) = row.get(*start..).and_then(<[S]>::first_chunk::<4>) else { continue };
            let sum = s[0].value() * i32::from(w[0])
                + s[1].value() * i32::from(w[1])
                + s[2].value() * i32::from(w[2])
                + s[3].value() * i32::from(w[3]);
            *output = ((sum + rounding) >> shift) as i16;
        }
        return;
    }
    for (index, output) in output.iter_mut().enumerate() {
        let (start, weights) = taps.of(index);
        let pairs = row[start..].iter().zip(weights);
        let sum: i32 = pairs.map(|(sample, weight)| sample.value() * i32::from(*weight)).sum();
        *output = ((sum + rounding) >> shift) as i16;
    }
}

/// Consecutive rows that were scaled by [`across`].
#[derive(Debug, Default)]
pub struct Rows {
    samples: Vec<i16>,
    width: usize,
    first: usize,
    sums: Vec<i32>,
}

impl Rows {
    /// Takes the rows in `range`, each scaled to `width` samples by `scale`.
    pub fn fill(&mut self, width: usize, range: Range<usize>, mut scale: impl FnMut(usize, &mut [i16])) {
        (self.width, self.first) = (width, range.start);
        self.samples.resize(width * range.len(), 0);
        for (row, samples) in range.zip(self.samples.chunks_exact_mut(width)) {
            scale(row, samples);
        }
    }

    /// Computes one output row.
    pub fn down(&mut self, taps: &Taps, index: usize, output: &mut [u8]) {
        const SHIFT: u32 = WEIGHT_BITS + FINE_BITS;
        const ROUNDING: i32 = 1 << (SHIFT - 1);
        const BLOCK: usize = 16;
        let (start, weights) = taps.of(index);
        let rows = &self.samples[(start - self.first) * self.width..][..weights.len() * self.width];
        if let [w0, w1, w2, w3] = *weights {
            let (upper, lower) = rows.split_at(2 * self.width);
            let ((r0, r1), (r2, r3)) = (upper.split_at(self.width), lower.split_at(self.width));
            let sum = |s: [i16; 4]| {
                let [s0, s1, s2, s3] = s.map(i32::from);
                let upper = s0 * i32::from(w0) + s1 * i32::from(w1);
                let lower = s2 * i32::from(w2) + s3 * i32::from(w3);
                ((upper + lower + ROUNDING) >> SHIFT).clamp(0, 255) as u8
            };
            // Blocks of a fixed size, which the compiler turns into one vector each.
            let (blocks, rest) = output.as_chunks_mut::<BLOCK>();
            let done = blocks.len() * BLOCK;
            let rows = [r0, r1, r2, r3];
            let [b0, b1, b2, b3] = rows.map(|row| row.as_chunks::<BLOCK>().0);
            for ((((block, b0), b1), b2), b3) in blocks.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                for index in 0..BLOCK {
                    block[index] = sum([b0[index], b1[index], b2[index], b3[index]]);
                }
            }
            for (index, output) in rest.iter_mut().enumerate() {
                *output = sum(rows.map(|row| row[done + index]));
            }
            return;
        }
        self.sums.clear();
        self.sums.resize(self.width, ROUNDING);
        for (row, weight) in rows.chunks_exact(self.width).zip(weights) {
            let weight = i32::from(*weight);
            self.sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += i32::from(*sample) * weight);
        }
        output.iter_mut().zip(&self.sums).for_each(|(output, sum)| *output = (sum >> SHIFT).clamp(0, 255) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(input: &[u8], (from, length): (f64, f64), outputs: usize) -> Vec<u8> {
        let taps = Taps::new(input.len(), from, length, outputs);
        let mut rows = Rows::default();
        let mut output = vec![0; outputs];
        rows.fill(outputs, 0..1, |_, row| across(input, &taps, row));
        rows.down(&Taps::new(1, 0.0, 1.0, 1), 0, &mut output);
        output
    }

    /// A wave far below the sampling limit.
    fn wave(x: f64) -> f64 {
        120.0 + 80.0 * (x * 0.35).sin()
    }

    #[test]
    fn the_whole_picture_at_its_own_size_is_itself() {
        let input: Vec<u8> = (0..=255).collect();
        assert_eq!(scaled(&input, (0.0, 256.0), 256), input);
        assert_eq!(scaled(&input, (16.0, 64.0), 64), input[16..80]);
    }

    #[test]
    fn a_flat_area_stays_flat_at_every_scale() {
        for (length, outputs) in [(33.3, 100), (100.0, 33), (99.9, 7), (3.0, 300)] {
            assert_eq!(scaled(&[201; 100], (0.05, length), outputs), vec![201; outputs]);
        }
    }

    #[test]
    fn samples_come_from_where_the_rectangle_says_to_a_fraction_of_a_pixel() {
        let input: Vec<u8> = (0..200).map(|x| wave(f64::from(x)).round() as u8).collect();
        for from in [40.0, 40.1, 40.25, 40.5, 40.9375] {
            for outputs in [60, 90, 107] {
                let output = scaled(&input, (from, 60.0), outputs);
                for (index, sample) in output.iter().enumerate() {
                    let place = from + (index as f64 + 0.5) * 60.0 / outputs as f64 - 0.5;
                    let off = (f64::from(*sample) - wave(place)).abs();
                    assert!(off < 1.6, "{from} {outputs} {index}: off by {off}");
                }
            }
        }
    }

    #[test]
    fn the_border_is_repeated_and_tiny_planes_do_not_panic() {
        assert_eq!(scaled(&[7, 250], (0.0, 2.0), 2), [7, 250]);
        assert_eq!(scaled(&[9], (0.0, 1.0), 5), [9; 5]);
        let ends = scaled(&[10, 10, 10, 10, 240, 240, 240, 240], (0.0, 8.0), 80);
        assert_eq!((ends[0], ends[79]), (10, 240));
    }

    #[test]
    fn fine_detail_is_averaged_away_when_reducing() {
        let stripes: Vec<u8> = (0..400).map(|x| if x % 2 == 0 { 40 } else { 200 }).collect();
        // Without the ends, where one stripe is repeated.
        let middle = &scaled(&stripes, (0.0, 400.0), 100)[2..98];
        assert!(middle.iter().all(|sample| sample.abs_diff(120) <= 6), "{middle:?}");
    }
}
