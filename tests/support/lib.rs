//! Code that the system tests share: sources, readers of results, and stand-ins for parts of the fleet.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]

pub mod audio;
pub mod clip;
pub mod event_recorder;
pub mod fixtures;
pub mod fleet;
pub mod mp4;
pub mod mutation;
pub mod picture;
pub mod pipeline_process;
pub mod poison;
pub mod scene;
pub mod settings;
pub mod webm;
