//! Drawing frames of our own, plane by plane, on plain memory: what [`crate::moving_crop`] and [`crate::backdrop`] do, and
//! [`crate::elements::Canvas`] carries into a pipeline.

use clipfleet_domain::rendition::Size;
use std::fmt;

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Its bytes from the first sample on.
    pub data: &'a [u8],
    /// Bytes from row to row.
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

/// One plane of a picture, to be drawn.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// Its bytes from the first sample on.
    pub data: &'a mut [u8],
    /// Bytes from row to row.
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

/// Makes frames of one size out of pictures of any. Pictures are I420: brightness, and two planes of colour of half its size.
pub trait Paint: Send + fmt::Debug {
    /// Called before the first picture, and whenever pictures change their size or the shape (width to height) of their pixels.
    fn prepare(&mut self, source: Size, pixel_aspect: (u32, u32)) -> Result<(), String>;

    /// Draws one plane of the frame that is shown at `at_ns`, nanoseconds from the clip's start.
    fn paint(&mut self, at_ns: u64, plane: usize, picture: Plane<'_>, frame: PlaneMut<'_>);
}
