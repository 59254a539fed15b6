//! The source: its bytes, its header, its tracks, and its first decoded picture.

pub mod bitstream;
pub mod blocks;
pub mod boxes;
pub mod colours;
pub mod container;
pub mod edits;
pub mod ends;
pub mod file;
pub mod header;
pub mod probe;
pub mod rotation;
pub mod time_line;
pub mod tracks;
