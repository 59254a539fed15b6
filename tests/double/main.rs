//! Tests of the pipeline process on a GPU double: the real plugin of GStreamer 1.28 above our own driver (README.md).
//! They check which calls the driver receives, what the process makes of them, and how a clip avoids what the GPU
//! cannot do.
//!
//! `make test-double` builds the double and runs these tests. Without the double all of them fail, so `cargo test`
//! ignores them.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]

mod chain;
mod faults;
mod geometry;
mod gpu;
mod pattern;
mod registry;
mod routes;
mod source;
mod worker;
