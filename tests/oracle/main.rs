//! An independent check of the pipeline: clips of generated sources are compared with what FFmpeg decodes of the same
//! window.
//!
//! See README.md in this folder. Needs `ffmpeg` and `ffprobe`, and the binary: `cargo build -p clipfleet-pipeline`.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod chart;
mod findings;
mod judge;
mod make;
mod reference;
mod seeds;
mod source;
mod surgery;
mod tones;
