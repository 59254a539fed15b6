//! What the tests of the whole share: sources and readers of results, and stand-ins for parts of the fleet.

pub mod asked;
pub mod clip;
pub mod fixtures;
pub mod fleet;
pub mod mp4;
pub mod mutation;
pub mod picture;
pub mod pipeline_process;
pub mod poison;
pub mod scene;
pub mod sound;
pub mod webm;
pub mod witness;
