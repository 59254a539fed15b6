//! Arithmetic on pixels, without GStreamer except for the cover.

pub mod backdrop;
pub mod cover;
pub mod moving_crop;
pub mod paint;
pub mod range;
pub mod resample;
pub mod tone;
