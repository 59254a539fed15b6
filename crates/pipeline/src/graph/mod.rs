//! The graph of GStreamer elements: building it from a plan, its bus, and running it.

pub mod build;
pub mod bus;
pub mod run;
