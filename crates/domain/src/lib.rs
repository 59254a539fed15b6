//! The rules of Clipfleet, pure: what a batch may ask for, which picture region a clip shows, what its result is called, and
//! how events from the fleet fold into what people read.
//!
//! Nothing here reads a clock, an environment, a file or a network, and nothing knows JSON, protobuf or Google: time comes in
//! as numbers, requests come in through the checked conversions of `clipfleet-contract`. Every limit lives in [`limits`].

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
