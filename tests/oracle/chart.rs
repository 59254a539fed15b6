//! The picture of generated sources: patches of known colours, no two places alike, and the picture's number, repeated
//! many times.
//!
//! The unit of all sizes is a sixteenth of the shorter side. A band across the middle, four units high, holds the
//! number as squares of 4 by 4 black and white blocks, one every five units: every crop to 9:16 shows at least one
//! complete square. Above and below are patches of two units each. Their colours follow a sequence whose length is a
//! prime number, so that a picture that is rotated, mirrored or shifted shows other colours everywhere.

use clipfleet_tests::fixtures::mark;

/// Grey from black to white with small steps at both ends, the primaries and yellow, light and dark skin.
const PALETTE: [[u8; 3]; 19] = [
    [0, 0, 0],
    [255, 0, 0],
    [192, 192, 192],
    [20, 20, 20],
    [224, 172, 145],
    [96, 96, 96],
    [255, 255, 255],
    [0, 0, 255],
    [40, 40, 40],
    [240, 240, 240],
    [0, 255, 0],
    [128, 128, 128],
    [8, 8, 8],
    [120, 78, 60],
    [224, 224, 224],
    [64, 64, 64],
    [255, 255, 0],
    [250, 250, 250],
    [160, 160, 160],
];

/// Blocks of a number that are darker than this are black.
const BLACK: u32 = 100;

/// Blocks of a number that are brighter than this are white.
const WHITE: u32 = 155;

/// The chart for one size of picture, as displayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chart {
    /// Pixels across.
    pub(crate) width: usize,
    /// Pixels down.
    pub(crate) height: usize,
}

/// The part of a chart that an image shows: a window of the chart's pixels, scaled to the image's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    /// Left, top, width and height, in pixels of the chart.
    pub(crate) window: [f64; 4],
    /// Width and height of the image.
    pub(crate) size: (usize, usize),
}

/// Left, top, right and bottom in an image, in its pixels.
type Area = [usize; 4];

/// A patch in an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patch {
    /// Its colour as painted.
    pub(crate) painted: [u8; 3],
    /// Its centre, in pixels of the chart.
    pub(crate) place: (usize, usize),
    area: Area,
}

impl Chart {
    fn unit(&self) -> usize {
        self.width.min(self.height) / 16
    }

    /// Left and top of every complete number.
    fn marks(&self) -> Vec<(usize, usize)> {
        let unit = self.unit();
        let top = self.height / 2 - 2 * unit;
        (0..).map(|index| (index * 5 * unit, top)).take_while(|(left, _)| left + 4 * unit <= self.width).collect()
    }

    /// Row and column of the patch at a place; `None` within the band of numbers. Rows count from the top and skip the
    /// band.
    fn patch_at(&self, x: usize, y: usize) -> Option<(usize, usize)> {
        let unit = self.unit();
        let (top, bottom) = (self.height / 2 - 2 * unit, self.height / 2 + 2 * unit);
        let above = top.div_ceil(2 * unit);
        let row = match y {
            _ if y < top => above - 1 - (top - 1 - y) / (2 * unit),
            _ if y < bottom => return None,
            _ => above + (y - bottom) / (2 * unit),
        };
        Some((row, x / (2 * unit)))
    }

    /// The picture without a number: red, green, blue, row by row.
    pub(crate) fn still(&self) -> Vec<u8> {
        let mut pixels = vec![128; self.width * self.height * 3];
        for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            if let Some(place) = self.patch_at(index % self.width, index / self.width) {
                pixel.copy_from_slice(&colour(place));
            }
        }
        pixels
    }

    /// Writes a number into a picture from [`Self::still`].
    pub(crate) fn write_number(&self, pixels: &mut [u8], number: u32) {
        let (unit, bits) = (self.unit(), mark(number));
        for (left, top) in self.marks() {
            for (x, y) in (0..4 * unit).flat_map(|y| (0..4 * unit).map(move |x| (x, y))) {
                let block = y / unit * 4 + x / unit;
                let value = if bits >> block & 1 == 1 { 235 } else { 16 };
                let at = ((top + y) * self.width + left + x) * 3;
                pixels[at..at + 3].fill(value);
            }
        }
    }

    /// The number that an image shows.
    ///
    /// # Errors
    /// Says why the number is not readable.
    pub(crate) fn number(&self, image: &[u8], view: &View) -> Result<u32, String> {
        let unit = self.unit() as f64;
        let mut failure = "no complete number is within the image".to_owned();
        for (left, top) in self.marks() {
            let blocks: Option<Vec<Area>> = (0..16)
                .map(|block| {
                    let (x, y) = (left as f64 + f64::from(block % 4) * unit, top as f64 + f64::from(block / 4) * unit);
                    view.inner([x, y, x + unit, y + unit], 0.25)
                })
                .collect();
            match blocks.map(|blocks| number(image, view, &blocks)) {
                Some(Ok(number)) => return Ok(number),
                Some(Err(why)) => failure = why,
                None => {}
            }
        }
        Err(failure)
    }

    /// Every patch that is completely within an image.
    pub(crate) fn patches(&self, view: &View) -> Vec<Patch> {
        let (unit, mut found) = (self.unit(), Vec::new());
        let (top, bottom) = (self.height / 2 - 2 * unit, self.height / 2 + 2 * unit);
        let rows = (0..top / (2 * unit))
            .map(|row| top - (row + 1) * 2 * unit)
            .chain((0..(self.height - bottom) / (2 * unit)).map(|row| bottom + row * 2 * unit));
        for (x, y) in rows.flat_map(|y| (0..self.width / (2 * unit)).map(move |column| (column * 2 * unit, y))) {
            let sides = [x, y, x + 2 * unit, y + 2 * unit].map(|side| side as f64);
            if let Some((area, place)) = view.inner(sides, 0.3).zip(self.patch_at(x, y)) {
                found.push(Patch { painted: colour(place), place: (x + unit, y + unit), area });
            }
        }
        found
    }
}

fn colour((row, column): (usize, usize)) -> [u8; 3] {
    PALETTE[(row * 7 + column * 3) % PALETTE.len()]
}

fn number(image: &[u8], view: &View, blocks: &[Area]) -> Result<u32, String> {
    let mut bits = 0;
    for (block, area) in blocks.iter().enumerate() {
        let mean = mean(image, view, *area).iter().map(|level| *level as u32).sum::<u32>() / 3;
        match mean {
            0..BLACK => {}
            WHITE.. => bits |= 1 << block,
            _ => return Err(format!("block {block} of the number is neither black nor white but {mean}")),
        }
    }
    let number = bits & 0xfff;
    if mark(number) == bits { Ok(number) } else { Err(format!("{bits:016b} is no valid number")) }
}

impl Patch {
    /// Mean red, green and blue of its inner part in an image.
    pub(crate) fn mean(&self, image: &[u8], view: &View) -> [f64; 3] {
        mean(image, view, self.area)
    }
}

fn mean(image: &[u8], view: &View, [left, top, right, bottom]: Area) -> [f64; 3] {
    let mut sum = [0_u32; 3];
    for y in top..bottom {
        for pixel in image[(y * view.size.0 + left) * 3..(y * view.size.0 + right) * 3].chunks_exact(3) {
            sum.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += u32::from(*level));
        }
    }
    let count = ((right - left) * (bottom - top)) as f64;
    sum.map(|sum| f64::from(sum) / count)
}

impl View {
    /// The inner part of an area of the chart (without `margin` of its width and height on each side), in pixels of the
    /// image; `None` if the area is not within the image or is too small there.
    fn inner(&self, [left, top, right, bottom]: [f64; 4], margin: f64) -> Option<Area> {
        let [window_left, window_top, width, height] = self.window;
        let (x, y) = (self.size.0 as f64 / width, self.size.1 as f64 / height);
        let outer =
            [(left - window_left) * x, (top - window_top) * y, (right - window_left) * x, (bottom - window_top) * y];
        let [left, top, right, bottom] = outer;
        let inside =
            left >= -0.5 && top >= -0.5 && right <= self.size.0 as f64 + 0.5 && bottom <= self.size.1 as f64 + 0.5;
        let (across, down) = ((right - left) * margin, (bottom - top) * margin);
        let area = [(left + across).ceil(), (top + down).ceil(), (right - across).floor(), (bottom - down).floor()];
        let area = area.map(|side| side.max(0.0) as usize);
        (inside && area[2] > area[0] && area[3] > area[1]).then_some(area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: Chart = Chart { width: 320, height: 180 };

    fn picture(number: u32) -> Vec<u8> {
        let mut pixels = CHART.still();
        CHART.write_number(&mut pixels, number);
        pixels
    }

    #[test]
    fn numbers_and_colours_can_be_read() {
        let view = View { window: [0.0, 0.0, 320.0, 180.0], size: (320, 180) };
        for number in [0, 1, 77, 1_023, 4_095] {
            assert_eq!(CHART.number(&picture(number), &view), Ok(number));
        }
        let patches = CHART.patches(&view);
        assert!(patches.len() > 50, "{} patches", patches.len());
        assert!(patches.iter().all(|patch| patch.mean(&picture(3), &view) == patch.painted.map(f64::from)));
    }

    #[test]
    fn mirrored_and_rotated_pictures_have_other_colours_at_nearly_every_place() {
        let view = View { window: [0.0, 0.0, 320.0, 180.0], size: (320, 180) };
        let upright = picture(9);
        let pixel = |x: usize, y: usize| &upright[(y * 320 + x) * 3..(y * 320 + x) * 3 + 3];
        let mapped = |place: fn(usize, usize) -> (usize, usize)| -> Vec<u8> {
            let places = (0..180).flat_map(|y| (0..320).map(move |x| place(x, y)));
            places.flat_map(|(x, y)| pixel(x, y).to_vec()).collect()
        };
        let others = [
            mapped(|x, y| (319 - x, y)),
            mapped(|x, y| (x, 179 - y)),
            mapped(|x, y| (319 - x, 179 - y)),
            mapped(|x, y| ((x + 22) % 320, y)),
        ];
        for other in &others {
            let patches = CHART.patches(&view);
            let differs = |patch: &&Patch| {
                patch
                    .mean(other, &view)
                    .iter()
                    .zip(patch.painted)
                    .any(|(mean, level)| (mean - f64::from(level)).abs() > 8.0)
            };
            assert!(patches.iter().filter(differs).count() * 4 > patches.len() * 3);
        }
    }
}
