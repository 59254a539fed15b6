//! The pipeline process against real files: what it cuts out is decoded again and read, picture by picture and beep by beep.
//! Needs `ffmpeg` and `ffprobe`, and the binary: `cargo build -p clipfleet-pipeline`.

mod cover;
mod damage;
mod decoders;
mod failures;
mod kinds;
mod loudness;
mod process;
mod proof;
mod range;
mod reference;
mod reframe;
mod sources;
