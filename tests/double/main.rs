//! The pipeline process on a GPU that is a double: the real plugin of GStreamer 1.28 above a driver of ours (README.md). What
//! it is asked to do, what it does, and how a clip gets around what it cannot do.
//!
//! `make test-double` makes the double and runs these; without it every one of them fails, so `cargo test` leaves them out.

mod chain;
mod faults;
mod geometry;
mod gpu;
mod pattern;
mod source;
mod ways;
mod worker;
