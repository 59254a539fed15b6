//! Means of rectangles in a picture's planes, for any precision and layout of the numbers.

/// Maximum number of rows that are read per rectangle. In larger rectangles, every second or third row is read, which
/// is precise enough for a mean.
const MAX_ROWS: usize = 96;

/// One component of a picture: numbers of up to 16 bits in rows.
#[derive(Debug, Clone, Copy)]
pub struct Component<'a> {
    /// The numbers, starting with the first one, and the bytes between them.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes from one number to the next.
    pub pixel_stride: usize,
    /// Numbers across.
    pub width: usize,
    /// Numbers down.
    pub height: usize,
    /// Bits of a number.
    pub bits: u32,
    /// Unused bits below it.
    pub shift: u32,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

/// A rectangle as shares of width and height: left, top, right, bottom.
pub type Rectangle = [f64; 4];

impl Component<'_> {
    /// The means of `across` times `down` equal parts of a rectangle, row by row, as shares of the largest number. A
    /// number at an edge counts in part. `None` if the plane has too few bytes.
    pub fn means(&self, [left, top, right, bottom]: Rectangle, across: usize, down: usize) -> Option<Vec<f32>> {
        let edges = |from: f64, to: f64, side: usize, parts: usize| -> Vec<f64> {
            let edge = |part: usize| (from + (to - from) * part as f64 / parts as f64) * side as f64;
            (0..=parts).map(|part| edge(part).clamp(0.0, side as f64)).collect()
        };
        let (columns, rows) = (edges(left, right, self.width, across), edges(top, bottom, self.height, down));
        let top_number = ((1_u64 << self.bits) - 1) as f64;
        let mut means = Vec::with_capacity(across * down);
        for rows in rows.windows(2) {
            let (first, last) = (rows[0].floor() as usize, (rows[1].ceil() as usize).min(self.height));
            let step = (last.saturating_sub(first)).div_ceil(MAX_ROWS).max(1);
            let (mut sums, mut weight) = (vec![0.0; across], 0.0);
            for row in (first..last).step_by(step) {
                let share = overlap(row, rows[0], rows[1]);
                let numbers = self.bytes.get(row * self.stride..)?;
                for (sum, edges) in sums.iter_mut().zip(columns.windows(2)) {
                    *sum += share * self.row_sum(numbers, edges[0], edges[1])?;
                }
                weight += share;
            }
            let widths = columns.windows(2).map(|edges| edges[1] - edges[0]);
            means.extend(sums.iter().zip(widths).map(|(sum, width)| {
                let area = (weight * width).max(f64::MIN_POSITIVE);
                (sum / area / top_number) as f32
            }));
        }
        Some(means)
    }

    /// The sum of a row's numbers between two edges.
    fn row_sum(&self, row: &[u8], from: f64, to: f64) -> Option<f64> {
        let (first, last) = (from.floor() as usize, (to.ceil() as usize).min(self.width));
        if first >= last {
            return Some(0.0);
        }
        let whole = self.sum(row, first, last)? as f64;
        // The parts outside of the edges are subtracted.
        let before = (from - first as f64) * f64::from(self.number(row, first)?);
        let after = (last as f64 - to).max(0.0) * f64::from(self.number(row, last - 1)?);
        Some(whole - before - after)
    }

    fn sum(&self, row: &[u8], first: usize, last: usize) -> Option<u64> {
        if self.bits <= 8 && self.shift == 0 && self.pixel_stride == 1 {
            let numbers = row.get(first..last)?;
            return Some(numbers.iter().map(|number| u32::from(*number)).sum::<u32>().into());
        }
        if self.bits > 8 && self.pixel_stride == 2 && !self.big_endian {
            let (mask, shift) = (self.mask(), self.shift);
            let pairs = row.get(first * 2..last * 2)?.chunks_exact(2);
            let number = |pair: &[u8]| u32::from(u16::from_le_bytes([pair[0], pair[1]])) >> shift & mask;
            return Some(pairs.map(number).sum::<u32>().into());
        }
        (first..last).map(|index| self.number(row, index).map(u64::from)).sum()
    }

    fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }

    fn number(&self, row: &[u8], index: usize) -> Option<u32> {
        let at = index * self.pixel_stride;
        let number = if self.bits + self.shift <= 8 {
            u32::from(*row.get(at)?)
        } else {
            let pair = [*row.get(at)?, *row.get(at + 1)?];
            u32::from(if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        };
        Some(number >> self.shift & self.mask())
    }
}

/// The share of a row between two edges.
fn overlap(row: usize, from: f64, to: f64) -> f64 {
    (to.min(row as f64 + 1.0) - from.max(row as f64)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Rectangle = [0.0, 0.0, 1.0, 1.0];

    fn bytes(width: usize, bytes: &[u8]) -> Component<'_> {
        let height = bytes.len() / width;
        Component { bytes, stride: width, pixel_stride: 1, width, height, bits: 8, shift: 0, big_endian: false }
    }

    #[test]
    fn means_of_parts_are_exact_where_edges_cut_through_numbers() {
        let plane = bytes(3, &[0, 51, 255, 0, 51, 255]);
        let means = plane.means(WHOLE, 2, 1).expect("a plane");
        // The left half is one number and a half of the next one.
        assert!((means[0] - 0.5 * 0.2 / 1.5).abs() < 1e-6 && (means[1] - 1.1 / 1.5).abs() < 1e-6, "{means:?}");
        let middle = plane.means([1.0 / 3.0, 0.25, 2.0 / 3.0, 0.75], 1, 1).expect("a plane");
        assert!((middle[0] - 0.2).abs() < 1e-6, "{middle:?}");
    }

    #[test]
    fn every_layout_of_numbers_is_read() {
        let deep: Vec<u8> = [1_023_u16, 0, 512, 512].iter().flat_map(|number| number.to_le_bytes()).collect();
        let ten = Component { stride: 4, pixel_stride: 2, bits: 10, width: 2, height: 2, ..bytes(4, &deep) };
        let halves = ten.means(WHOLE, 1, 2).expect("a plane");
        assert!((halves[0] - 0.5).abs() < 1e-6 && (halves[1] - 512.0 / 1_023.0).abs() < 1e-6, "{halves:?}");
        let high: Vec<u8> = [1_023_u16 << 6, 0].iter().flat_map(|number| number.to_be_bytes()).collect();
        let high = Component { bytes: &high, stride: 4, shift: 6, big_endian: true, height: 1, ..ten };
        assert_eq!(high.means(WHOLE, 2, 1).expect("a plane"), [1.0, 0.0]);
        let mixed = [255, 0, 255, 0, 255, 0];
        let alternating = Component { pixel_stride: 2, width: 3, ..bytes(6, &mixed) };
        assert_eq!(alternating.means(WHOLE, 3, 1).expect("a plane"), [1.0; 3]);
    }

    #[test]
    fn planes_that_are_too_short_have_no_means() {
        let short = Component { height: 3, ..bytes(3, &[0; 6]) };
        assert_eq!(short.means(WHOLE, 1, 1), None);
    }
}
