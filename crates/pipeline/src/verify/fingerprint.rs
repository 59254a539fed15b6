//! Fingerprints of pictures: the mean brightness and colour of each block of a coarse grid, and the distance of two
//! fingerprints.

/// Blocks of brightness across and down. The grid is fine enough that a moving pointer changes a block's mean by whole
/// levels, and coarse enough that an encoder's loss averages out.
const LUMA_SIDE: usize = 12;

/// Blocks of each colour across and down.
const CHROMA_SIDE: usize = 6;

const LUMA: usize = LUMA_SIDE * LUMA_SIDE;
const BLOCKS: usize = LUMA + 2 * CHROMA_SIDE * CHROMA_SIDE;

/// Number of rows that are read per block, with every pixel, so that reads are contiguous. This takes a seventh of a
/// millisecond for a picture of 1080x1920 even without optimization, while encoding takes twenty.
const ROWS_PER_BLOCK: usize = 8;

/// Precision of the means: steps per level of brightness.
const STEPS: u32 = 64;

/// Number of blocks in a distance: those that differ most. A small moving object therefore counts as much as a whole
/// picture.
const WORST_BLOCKS: usize = 8;

/// Maximum mean brightness of a black block. Limited range begins at 16. Captures of a black screen and encoders add a
/// little.
const BLACK_LEVEL: u16 = 24;

/// Percentage of blocks that may be brighter in a black picture, as in FFmpeg's `blackdetect`: a pointer, a logo, a
/// clock.
const NOT_BLACK_PERCENT: usize = 2;

/// One plane of a picture with 8-bit samples.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// The samples, and the padding of the rows.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes from one sample to the next of the same component: 2 if the colours are interleaved.
    pub pixel_stride: usize,
    /// Samples across.
    pub width: usize,
    /// Samples down.
    pub height: usize,
}

/// A picture as 216 numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint([u16; BLOCKS]);

impl Fingerprint {
    /// The fingerprint of a picture: its brightness, then its two colours. `None` if the planes have too few bytes.
    pub fn of(planes: [Plane<'_>; 3]) -> Option<Self> {
        let mut blocks = [0; BLOCKS];
        let (luma, chroma) = blocks.split_at_mut(LUMA);
        let (first, second) = chroma.split_at_mut(CHROMA_SIDE * CHROMA_SIDE);
        planes[0].means(LUMA_SIDE, luma)?;
        planes[1].means(CHROMA_SIDE, first)?;
        planes[2].means(CHROMA_SIDE, second)?;
        Some(Self(blocks))
    }

    /// A picture of one colour.
    pub fn flat(luma: u8, chroma: [u8; 2]) -> Self {
        let [first, second] = chroma;
        let plane = |value| Plane { bytes: value, stride: 0, pixel_stride: 0, width: LUMA_SIDE, height: LUMA_SIDE };
        Self::of([plane(&[luma]), plane(&[first]), plane(&[second])]).unwrap_or(Self([0; BLOCKS]))
    }

    /// Whether the picture is black.
    pub fn is_black(&self) -> bool {
        let bright = self.0[..LUMA].iter().filter(|mean| **mean > BLACK_LEVEL * STEPS as u16).count();
        bright * 100 <= LUMA * NOT_BLACK_PERCENT
    }

    /// The distance of two pictures in levels (0 to 255): the mean over the blocks that differ most.
    pub fn distance(&self, other: &Self) -> f32 {
        let mut worst = [0; WORST_BLOCKS];
        for (one, another) in self.0.iter().zip(&other.0) {
            let difference = one.abs_diff(*another);
            if difference > worst[0] {
                // The list is ascending. The new difference replaces the smallest one and is moved to its position.
                let place = worst.partition_point(|known| *known < difference);
                worst.copy_within(1..place, 0);
                worst[place - 1] = difference;
            }
        }
        let sum: u32 = worst.iter().map(|difference| u32::from(*difference)).sum();
        sum as f32 / (WORST_BLOCKS as u32 * STEPS) as f32
    }
}

impl Plane<'_> {
    /// The amount of detail: the mean difference of neighbours in a row, levels. Blur and fading reduce it.
    pub fn detail(&self) -> f32 {
        const ROWS_PER_BLOCK: usize = 64;
        let mut sum = (0_u64, 0_u64);
        for y in (0..self.height).step_by((self.height / ROWS_PER_BLOCK).max(1)) {
            let Some(row) = self.bytes.get(y * self.stride..) else { break };
            let values = row.iter().step_by(self.pixel_stride.max(1)).take(self.width);
            let differences = values.clone().zip(values.skip(1)).map(|(one, next)| u64::from(one.abs_diff(*next)));
            let (total, count) = differences.fold((0, 0), |(total, count), difference| (total + difference, count + 1));
            sum = (sum.0 + total, sum.1 + count);
        }
        sum.0 as f32 / sum.1.max(1) as f32
    }

    /// Computes the means of `side` times `side` blocks.
    fn means(&self, side: usize, means: &mut [u16]) -> Option<()> {
        for (down, row_of_means) in means.chunks_exact_mut(side).enumerate() {
            let (top, bottom) = (down * self.height / side, (down + 1) * self.height / side);
            let step = ((bottom - top) / ROWS_PER_BLOCK).max(1);
            let mut sums = vec![(0_u32, 0_u32); side];
            for y in (top..bottom).step_by(step) {
                let row = self.bytes.get(y * self.stride..)?;
                for (across, (sum, count)) in sums.iter_mut().enumerate() {
                    let (left, right) = (across * self.width / side, (across + 1) * self.width / side);
                    *sum += self.sum(row, left, right)?;
                    *count += (right - left) as u32;
                }
            }
            for (mean, (sum, count)) in row_of_means.iter_mut().zip(sums) {
                *mean = (u64::from(sum) * u64::from(STEPS) / u64::from(count.max(1))) as u16;
            }
        }
        Some(())
    }

    fn sum(&self, row: &[u8], left: usize, right: usize) -> Option<u32> {
        if self.pixel_stride == 1 {
            return Some(row.get(left..right)?.iter().map(|value| u32::from(*value)).sum());
        }
        (left..right).map(|x| row.get(x * self.pixel_stride).map(|value| u32::from(*value))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(bytes: &[u8], width: usize, height: usize) -> Plane<'_> {
        Plane { bytes, stride: width, pixel_stride: 1, width, height }
    }

    fn picture(luma: impl Fn(usize, usize) -> u8) -> Fingerprint {
        let bytes: Vec<u8> = (0..360 * 640).map(|at| luma(at % 360, at / 360)).collect();
        let grey = vec![128; 180 * 320];
        Fingerprint::of([plane(&bytes, 360, 640), plane(&grey, 180, 320), plane(&grey, 180, 320)]).unwrap()
    }

    #[test]
    fn the_distance_is_zero_for_equal_pictures_and_that_of_the_worst_blocks_otherwise() {
        let flat = picture(|_, _| 100);
        assert_eq!(flat.distance(&picture(|_, _| 100)), 0.0);
        assert_eq!(flat.distance(&picture(|_, _| 103)), 3.0);
        let stripe = picture(|x, _| if x < 30 { 180 } else { 100 });
        assert_eq!(flat.distance(&stripe), 80.0);
        assert_eq!(stripe.distance(&flat), 80.0);
    }

    #[test]
    fn a_moving_pointer_is_detected() {
        let pointer = |left: usize| {
            picture(move |x, y| if (left..left + 12).contains(&x) && (300..318).contains(&y) { 20 } else { 230 })
        };
        assert!(pointer(100).distance(&pointer(160)) > 4.0, "{}", pointer(100).distance(&pointer(160)));
    }

    #[test]
    fn colours_count() {
        assert_eq!(Fingerprint::flat(16, [128, 128]).distance(&Fingerprint::flat(16, [128, 0])), 128.0);
    }

    #[test]
    fn black_is_black_with_a_pointer_on_it_and_dark_is_not() {
        assert!(picture(|_, _| 16).is_black());
        assert!(picture(|x, y| if x < 20 && y < 20 { 235 } else { 17 }).is_black());
        assert!(!picture(|_, y| if y < 200 { 40 } else { 17 }).is_black());
        assert!(!Fingerprint::flat(30, [128, 128]).is_black());
    }

    #[test]
    fn planes_that_are_too_short_have_no_fingerprint() {
        let bytes = vec![0; 100];
        assert_eq!(Fingerprint::of([plane(&bytes, 360, 640), plane(&bytes, 10, 10), plane(&bytes, 10, 10)]), None);
    }

    #[test]
    fn interleaved_colours_are_separated() {
        let luma = vec![50; 48 * 48];
        let mixed: Vec<u8> = [90, 160].repeat(24 * 24);
        let half = |bytes| Plane { bytes, stride: 48, pixel_stride: 2, width: 24, height: 24 };
        let print = Fingerprint::of([plane(&luma, 48, 48), half(&mixed), half(&mixed[1..])]).unwrap();
        assert_eq!(print, Fingerprint::flat(50, [90, 160]));
    }
}
