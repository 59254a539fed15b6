//! The rules of Clipfleet, without I/O: what a batch may request, which region of the picture a clip shows, how its
//! result is named, and how events fold into the status that clients read.
//!
//! This crate reads no clock, environment, file or network, and does not know JSON, protobuf or Google. Times are
//! arguments. Requests are converted and checked by `clipfleet-contract`. Every limit is defined in [`limits`].

pub mod access;
pub mod attempt;
pub mod attempt_stats;
pub mod audio;
pub mod batch;
pub mod bounds;
pub mod clip;
pub mod code;
pub mod cost;
pub mod crop_path;
pub mod failure;
pub mod fallback;
pub mod file_kind;
mod geometry;
pub mod history;
pub mod ids;
pub mod job;
pub mod lifecycle;
pub mod limits;
pub mod percent;
pub mod progress;
pub mod reframe;
pub mod rendition;
pub mod retry_policy;
pub mod source;
pub mod state;
pub mod wire_name;
