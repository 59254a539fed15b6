//! Draws frames plane by plane in plain memory. [`crate::picture::moving_crop`] and [`crate::picture::backdrop`]
//! implement this, and [`crate::elements::Canvas`] runs it in a pipeline.

use clipfleet_domain::rendition::Size;
use std::fmt;

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Its bytes, starting with the first sample.
    pub data: &'a [u8],
    /// Bytes per row, including padding.
    pub stride: usize,
    /// Samples across.
    pub width: usize,
    /// Samples down.
    pub height: usize,
}

impl<'a> Plane<'a> {
    /// One row.
    pub fn row(&self, index: usize) -> &'a [u8] {
        &self.data[index * self.stride..][..self.width]
    }
}

/// One plane of a picture to be drawn.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// Its bytes, starting with the first sample.
    pub data: &'a mut [u8],
    /// Bytes per row, including padding.
    pub stride: usize,
    /// Samples across.
    pub width: usize,
    /// Samples down.
    pub height: usize,
}

impl PlaneMut<'_> {
    /// One row.
    pub fn row(&mut self, index: usize) -> &mut [u8] {
        &mut self.data[index * self.stride..][..self.width]
    }
}

/// Draws frames of one size from pictures of any size. Pictures are I420: brightness, and two colour planes of half the
/// size.
pub trait Paint: Send + fmt::Debug {
    /// Called before the first picture, and whenever the pictures' size or pixel aspect ratio (width to height)
    /// changes.
    fn prepare(&mut self, source: Size, pixel_aspect: (u32, u32)) -> Result<(), String>;

    /// Draws one plane of the frame at `at_ns`, nanoseconds from the clip's start.
    fn paint(&mut self, at_ns: u64, plane: usize, picture: Plane<'_>, frame: PlaneMut<'_>);
}
