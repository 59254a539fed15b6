//! Draws a moving crop: a window that may lie between the source's pixels, scaled to the output in one step.
//!
//! A stock crop cuts at whole pixels (every second one in the colour planes) and would stutter on a slow path. See
//! [`crate::picture::resample`].

use crate::{
    picture::{
        paint::{Paint, Plane, PlaneMut},
        resample::{Rows, Taps, across},
    },
    plan::geometry::shown,
};
use clipfleet_domain::{
    crop_path::{CropPath, FineRegion, moving_window},
    rendition::Size,
};

/// Draws the window of a crop path.
#[derive(Debug)]
pub struct MovingCrop {
    path: CropPath,
    target: Size,
    /// Size as stored, and as shown in square pixels.
    source: (Size, Size),
    rows: Rows,
}

impl MovingCrop {
    /// Frames of size `target` along `path`.
    pub fn new(path: CropPath, target: Size) -> Self {
        Self { path, target, source: (target, target), rows: Rows::default() }
    }

    /// The window in stored pixels: start and length, horizontally and vertically.
    fn window(&self, at_ns: u64) -> [(f64, f64); 2] {
        let (stored, shown) = self.source;
        let ms = at_ns as f64 / 1_000_000.0;
        // `prepare` has rejected sizes without a window.
        let whole = FineRegion { left: 0, top: 0, width: shown.width << 16, height: shown.height << 16 };
        let window = moving_window(&self.path, ms, shown, self.target).unwrap_or(whole);
        let place = |parts: u32, stored: u32, shown: u32| {
            f64::from(parts) / FineRegion::PARTS * f64::from(stored) / f64::from(shown)
        };
        let x = |parts| place(parts, stored.width, shown.width);
        let y = |parts| place(parts, stored.height, shown.height);
        [(x(window.left), x(window.width)), (y(window.top), y(window.height))]
    }
}

impl Paint for MovingCrop {
    fn prepare(&mut self, source: Size, pixel_aspect: (u32, u32)) -> Result<(), String> {
        self.source = (source, shown(source, pixel_aspect));
        moving_window(&self.path, 0.0, self.source.1, self.target).map(|_| ())
    }

    fn paint(&mut self, at_ns: u64, plane: usize, picture: Plane<'_>, mut frame: PlaneMut<'_>) {
        let coarser = if plane == 0 { 1.0 } else { 2.0 };
        let [(left, width), (top, height)] =
            self.window(at_ns).map(|(start, length)| (start / coarser, length / coarser));
        let columns = Taps::new(picture.width, left, width, frame.width);
        let lines = Taps::new(picture.height, top, height, frame.height);
        self.rows.fill(frame.width, lines.inputs(), |row, output| across(picture.row(row), &columns, output));
        for index in 0..frame.height {
            self.rows.down(&lines, index, frame.row(index));
        }
    }
}
