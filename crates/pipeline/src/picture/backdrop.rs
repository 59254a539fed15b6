//! The background of a picture that does not fill the output: a blurred, darkened copy of the picture that does.
//!
//! The copy is made from the fitted picture instead of the source: it is smaller, and the blur hides the difference.
//! The middle of the picture, cropped to the output's aspect ratio, is averaged into a coarse grid. The grid is
//! blurred, darkened and enlarged with the same scaler as all pictures. The grid is small, so that the blur costs
//! almost nothing. The blur is wider than a cell of the grid, so that cells are invisible. Only the area around the
//! picture is drawn.
//!
//! One canvas behind the stock scaler is used instead of a tee and a compositor. It makes one frame from each picture,
//! so that the frame grid still holds, and the fitted picture is bit for bit what the scaler made.

use crate::picture::{
    paint::{Paint, Plane, PlaneMut},
    resample::{FINE_BITS, Rows, Taps, across},
};
use clipfleet_domain::rendition::Size;

/// Cells of the grid along the output's shorter side. All aspect ratios then have a whole number of cells along the
/// longer side.
const CELLS: usize = 72;

/// Standard deviation of the blur, cells: 1/30 of the output's shorter side. With less blur, shapes would compete with
/// the picture.
const BLUR_SIGMA: f32 = 2.4;

/// Radius of the blur, cells: three standard deviations.
const BLUR_RADIUS: usize = 7;

/// Share of brightness and colour that the copy keeps.
const DIM_FACTOR: f32 = 0.55;

/// Black, and no colour.
const NEUTRAL: [f32; 3] = [16.0, 128.0, 128.0];

/// Draws the background, and the picture in the middle of it.
#[derive(Debug)]
pub struct Backdrop {
    target: Size,
    kernel: [f32; 2 * BLUR_RADIUS + 1],
    cells: Vec<f32>,
    blurred: Vec<f32>,
    fine: Vec<i16>,
    rows: Rows,
}

impl Backdrop {
    /// Frames of size `target`.
    pub fn new(target: Size) -> Self {
        let mut kernel = [0.0; 2 * BLUR_RADIUS + 1];
        for (index, weight) in kernel.iter_mut().enumerate() {
            let distance = (index as f32 - BLUR_RADIUS as f32) / BLUR_SIGMA;
            *weight = (-distance * distance / 2.0).exp();
        }
        let sum: f32 = kernel.iter().sum();
        kernel.iter_mut().for_each(|weight| *weight /= sum);
        let (cells, blurred, fine, rows) = (Vec::new(), Vec::new(), Vec::new(), Rows::default());
        Self { target, kernel, cells, blurred, fine, rows }
    }

    /// Number of cells across and down.
    fn grid(&self) -> (usize, usize) {
        let Size { width, height } = self.target;
        let cells = |side: u32| CELLS * side as usize / width.min(height) as usize;
        (cells(width), cells(height))
    }

    /// Averages the part of the picture in every cell.
    fn average(&mut self, picture: Plane<'_>) {
        let (across, down) = self.grid();
        let (width, height) = (picture.width as f64, picture.height as f64);
        let aspect = f64::from(self.target.width) / f64::from(self.target.height);
        let columns = borders(width, (height * aspect).min(width), across);
        let lines = borders(height, (width / aspect).min(height), down);
        self.cells.clear();
        let (first, last) = (columns[0].0, columns[across - 1].1);
        let mut sums = vec![0_u32; last - first];
        for &(top, bottom) in &lines {
            sums.fill(0);
            for row in top..bottom {
                sums.iter_mut()
                    .zip(&picture.row(row)[first..last])
                    .for_each(|(sum, sample)| *sum += u32::from(*sample));
            }
            self.cells.extend(columns.iter().map(|&(left, right)| {
                let sum: u32 = sums[left - first..right - first].iter().sum();
                sum as f32 / ((right - left) * (bottom - top)) as f32
            }));
        }
    }

    /// Blurs the grid along its rows, then along its columns. The edge is repeated.
    fn blur(&mut self) {
        let (across, down) = self.grid();
        self.blurred.clear();
        let mut padded = vec![0.0; across + 2 * BLUR_RADIUS];
        for row in self.cells.chunks_exact(across) {
            padded[..BLUR_RADIUS].fill(row[0]);
            padded[BLUR_RADIUS..BLUR_RADIUS + across].copy_from_slice(row);
            padded[BLUR_RADIUS + across..].fill(row[across - 1]);
            let weighted =
                |cells: &[f32]| cells.iter().zip(&self.kernel).map(|(cell, weight)| cell * weight).sum::<f32>();
            self.blurred.extend(padded.windows(self.kernel.len()).map(weighted));
        }
        for (index, row) in self.cells.chunks_exact_mut(across).enumerate() {
            row.fill(0.0);
            for (offset, weight) in self.kernel.iter().enumerate() {
                let from = (index + offset).saturating_sub(BLUR_RADIUS).min(down - 1);
                let cells = &self.blurred[from * across..][..across];
                row.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell * weight);
            }
        }
    }

    fn dim(&mut self, neutral: f32) {
        let one = (1 << FINE_BITS) as f32;
        let dimmed = self.cells.iter().map(|cell| (((cell - neutral) * DIM_FACTOR + neutral) * one).round() as i16);
        self.fine.clear();
        self.fine.extend(dimmed);
    }
}

/// First and last (exclusive) sample of each cell, for cells that share the middle `kept` samples of `side`.
fn borders(side: f64, kept: f64, cells: usize) -> Vec<(usize, usize)> {
    let border = |cell: usize| ((side - kept) / 2.0 + kept * cell as f64 / cells as f64).round() as usize;
    let last = side as usize - 1;
    let cell = |cell: usize| {
        let first = border(cell).min(last);
        (first, border(cell + 1).clamp(first + 1, last + 1))
    };
    (0..cells).map(cell).collect()
}

impl Paint for Backdrop {
    fn prepare(&mut self, _source: Size, _pixel_aspect: (u32, u32)) -> Result<(), String> {
        Ok(())
    }

    fn paint(&mut self, _at_ns: u64, plane: usize, picture: Plane<'_>, mut frame: PlaneMut<'_>) {
        self.average(picture);
        self.blur();
        self.dim(NEUTRAL[plane.min(2)]);
        let (cells_across, cells_down) = self.grid();
        let columns = Taps::new(cells_across, 0.0, cells_across as f64, frame.width);
        let lines = Taps::new(cells_down, 0.0, cells_down as f64, frame.height);
        let fine = &self.fine;
        self.rows.fill(frame.width, 0..cells_down, |row, output| {
            across(&fine[row * cells_across..][..cells_across], &columns, output);
        });
        // Even offsets in brightness, so that they are whole offsets in the colour planes.
        let middle = |whole: usize, part: usize| match plane {
            0 => ((whole - part) / 2) & !1,
            _ => (whole - part) / 2,
        };
        let (left, top) = (middle(frame.width, picture.width), middle(frame.height, picture.height));
        for index in 0..frame.height {
            let shown = index.checked_sub(top).filter(|row| *row < picture.height);
            let output = frame.row(index);
            if shown.is_none() || picture.width < output.len() {
                self.rows.down(&lines, index, output);
            }
            if let Some(row) = shown {
                output[left..left + picture.width].copy_from_slice(picture.row(row));
            }
        }
    }
}
