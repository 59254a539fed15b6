//! Audio: downmix to stereo, and measuring and changing the loudness.

pub mod channels;
pub mod listen;
pub mod loudness;
