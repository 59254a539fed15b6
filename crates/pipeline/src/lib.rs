//! Makes one clip: takes a source apart, cuts it to the frame and the sample, reframes it, encodes it, and proves the result.
//!
//! This is the only crate that knows GStreamer. It runs as a process of its own, one per attempt, so that a crash or a hang in a
//! decoder costs that attempt and nothing else. It knows nothing of networks, clouds, queues or credentials: one socket to its worker
//! is all it has, over which it asks for bytes of the source and reports. Every file it makes lies in the attempt's directory.
//!
//! ```text
//! worker ⇄ worker_link ── source (blocks) ── elements::RangeSource ─┐
//!                                                                  probe → [listen] → plan → build → run → mp4 → verify
//! timing (pure) ── elements::FrameGrid, SampleGrid ────────────────────────────┤
//! leveling (pure) ── elements::Leveller ───────────────────────────────────────┤
//! range (pure) ── elements::RangeLimiter ──────────────────────────────────────┤
//! tone (pure) ── elements::ToneMapper ─────────────────────────────────────────┤
//! paint (pure: moving_crop, backdrop) ── elements::Canvas ─────────────────────┘
//! ```

pub mod acceptance;
pub mod backdrop;
pub mod bitstream;
pub mod boxes;
pub mod build;
pub mod bus;
pub mod catalog;
pub mod channels;
pub mod check;
pub mod colours;
pub mod container;
pub mod cover;
pub mod driver_log;
pub mod edits;
pub mod elements;
pub mod ends;
pub mod failure;
pub mod framing;
pub mod header;
pub mod leveling;
pub mod listen;
pub mod moving_crop;
pub mod mp4;
pub mod paint;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod range;
pub mod resample;
pub mod route;
pub mod run;
pub mod selftest;
pub mod source;
pub mod timing;
pub mod tone;
pub mod tracks;
pub mod transcode;
pub mod verify;
pub mod worker_link;
