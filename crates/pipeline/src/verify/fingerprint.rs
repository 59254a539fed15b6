//! Fingerprints of pictures: the mean brightness and colour of every block of a coarse grid, and how far two of them lie apart.

/// Blocks across and down, of brightness. Fine enough that a moving pointer changes a block's mean by levels, coarse enough that
/// an encoder's loss averages out.
const LUMA_SIDE: usize = 12;

/// Blocks across and down, of each colour.
const CHROMA_SIDE: usize = 6;

const LUMA: usize = LUMA_SIDE * LUMA_SIDE;
const BLOCKS: usize = LUMA + 2 * CHROMA_SIDE * CHROMA_SIDE;

/// Rows read of each block: every pixel of some rows, so that what is read lies together in memory. A seventh of a millisecond for a
/// picture of 1080x1920, not even optimised for speed, where encoding takes twenty.
const ROWS: usize = 8;

/// Steps per level of brightness: means are exact to this.
const STEPS: u32 = 64;

/// Blocks that a distance looks at: those that differ most. A small thing that moves counts as much as a whole picture.
const WORST: usize = 8;

/// Mean brightness up to which a block is black. Limited range begins at 16; captures of a black screen and encoders add a little.
const BLACK_LEVEL: u16 = 24;

/// Blocks of a hundred that may be brighter in a black picture, as FFmpeg's `blackdetect` has it: a pointer, a logo, a time.
const NOT_BLACK_PERCENT: usize = 2;

/// One plane of a picture: 8-bit numbers in rows.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// The numbers, and what pads the rows.
    pub bytes: &'a [u8],
    /// From a row to the next.
    pub stride: usize,
    /// From a number to the next of its kind: 2 where the colours alternate.
    pub pixel_stride: usize,
    /// Numbers across.
    pub width: usize,
    /// Numbers down.
    pub height: usize,
}

/// What a picture looks like, in 216 numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint([u16; BLOCKS]);

impl Fingerprint {
    /// The fingerprint of a picture: its brightness, then its two colours. `None` when the planes have fewer bytes than they say.
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

    /// Whether there is nothing to see.
    pub fn is_black(&self) -> bool {
        let bright = self.0[..LUMA].iter().filter(|mean| **mean > BLACK_LEVEL * STEPS as u16).count();
        bright * 100 <= LUMA * NOT_BLACK_PERCENT
    }

    /// How far two pictures lie apart, in levels (0 to 255): the mean over the blocks that differ most.
    pub fn distance(&self, other: &Self) -> f32 {
        let mut worst = [0; WORST];
        for (one, another) in self.0.iter().zip(&other.0) {
            let difference = one.abs_diff(*another);
            if difference > worst[0] {
                // Ascending: the new one takes the place of the least and moves up to its own.
                let place = worst.partition_point(|known| *known < difference);
                worst.copy_within(1..place, 0);
                worst[place - 1] = difference;
            }
        }
        let sum: u32 = worst.iter().map(|difference| u32::from(*difference)).sum();
        sum as f32 / (WORST as u32 * STEPS) as f32
    }
}

impl Plane<'_> {
    /// How much there is to see: the mean difference of neighbours in a row, levels. Blur and fading lower it.
    pub fn detail(&self) -> f32 {
        const ROWS: usize = 64;
        let mut sum = (0_u64, 0_u64);
        for y in (0..self.height).step_by((self.height / ROWS).max(1)) {
            let Some(row) = self.bytes.get(y * self.stride..) else { break };
            let values = row.iter().step_by(self.pixel_stride.max(1)).take(self.width);
            let differences = values.clone().zip(values.skip(1)).map(|(one, next)| u64::from(one.abs_diff(*next)));
            let (total, count) = differences.fold((0, 0), |(total, count), difference| (total + difference, count + 1));
            sum = (sum.0 + total, sum.1 + count);
        }
        sum.0 as f32 / sum.1.max(1) as f32
    }

    /// The means of `side` times `side` blocks.
    fn means(&self, side: usize, means: &mut [u16]) -> Option<()> {
        for (down, row_of_means) in means.chunks_exact_mut(side).enumerate() {
            let (top, bottom) = (down * self.height / side, (down + 1) * self.height / side);
            let step = ((bottom - top) / ROWS).max(1);
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
    fn equal_pictures_are_no_distance_apart_and_unequal_ones_as_far_as_their_worst_blocks() {
        let flat = picture(|_, _| 100);
        assert_eq!(flat.distance(&picture(|_, _| 100)), 0.0);
        assert_eq!(flat.distance(&picture(|_, _| 103)), 3.0);
        let stripe = picture(|x, _| if x < 30 { 180 } else { 100 });
        assert_eq!(flat.distance(&stripe), 80.0);
        assert_eq!(stripe.distance(&flat), 80.0);
    }

    #[test]
    fn a_pointer_that_moves_shows() {
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
    fn planes_that_are_too_short_have_none() {
        let bytes = vec![0; 100];
        assert_eq!(Fingerprint::of([plane(&bytes, 360, 640), plane(&bytes, 10, 10), plane(&bytes, 10, 10)]), None);
    }

    #[test]
    fn alternating_colours_are_told_apart() {
        let luma = vec![50; 48 * 48];
        let mixed: Vec<u8> = [90, 160].repeat(24 * 24);
        let half = |bytes| Plane { bytes, stride: 48, pixel_stride: 2, width: 24, height: 24 };
        let print = Fingerprint::of([plane(&luma, 48, 48), half(&mixed), half(&mixed[1..])]).unwrap();
        assert_eq!(print, Fingerprint::flat(50, [90, 160]));
    }
}
