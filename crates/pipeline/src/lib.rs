//! Makes one clip: demuxes the source, cuts it to the frame and the sample, reframes it, encodes it, and verifies the
//! result.
//!
//! This is the only crate that uses GStreamer. It runs as a process of its own, one per attempt, so that a crash or a
//! hang in a decoder costs only that attempt. It knows nothing of networks, clouds, queues or credentials. Its only
//! connection is a socket to its worker, over which it requests bytes of the source and reports. Every file that it
//! writes is in the attempt's directory. A sandbox holds it to that, as far as the kernel allows (see [`sandbox`]).
//!
//! ```text
//! worker ⇄ worker_link ── source::blocks ── elements::RangeSource ─┐
//!                                                                 probe → [listen] → plan → build → run → mp4 → verify
//! timing (pure) ────────── elements::FrameGrid, SampleGrid ───────────────────┤
//! audio::loudness (pure) ─ elements::Loudness ────────────────────────────────┤
//! picture::range (pure) ── elements::RangeLimiter ────────────────────────────┤
//! picture::tone (pure) ─── elements::ToneMapper ──────────────────────────────┤
//! picture::paint (pure) ── elements::Canvas ──────────────────────────────────┘
//! ```

#![allow(clippy::disallowed_methods, reason = "media work runs in real time")]

pub mod audio;
pub mod elements;
pub mod failure;
pub mod framing;
pub mod gpu;
pub mod graph;
pub mod mp4;
pub mod picture;
pub mod plan;
pub mod progress;
pub mod sandbox;
pub mod source;
pub mod timing;
pub mod transcode;
pub mod verify;
pub mod worker_link;
