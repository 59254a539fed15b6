//! Tests of the pipeline process with real files: the clips are decoded and checked picture by picture and beep by
//! beep. They need `ffmpeg`, `ffprobe` and the binary: `cargo build -p clipfleet-pipeline`.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]

mod cover;
mod damage;
mod decoders;
mod failures;
mod kinds;
mod loudness;
mod process;
mod proof;
mod range;
mod reference;
mod reframe;
mod sources;

use bytes::Bytes;
use clipfleet_pipeline::{
    plan::{installed::Installed, registry},
    source::blocks::{Ranges, Ticket},
};
use std::{process::Command, sync::Arc};

/// A source in memory, for tests that run the pipeline's code in the test process.
struct SourceBytes(Bytes);

impl Ranges for SourceBytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn request(&self, offset: u64, length: u64) -> Ticket {
        let ticket = Ticket::default();
        ticket.settle(Ok(self.0.slice(offset as usize..(offset + length) as usize)));
        ticket
    }
}

/// What is installed, for tests that run the pipeline's code in the test process. They change plans, and use an element
/// for it that the program does not have.
fn installed() -> Arc<Installed> {
    registry::start_with(&["capssetter"]).expect("GStreamer");
    Arc::new(Installed::start().expect("GStreamer"))
}

/// Runs FFmpeg.
fn ffmpeg(arguments: &[&str]) {
    let done = Command::new("ffmpeg").args(["-hide_banner", "-v", "error", "-nostdin", "-y"]).args(arguments).status();
    assert!(done.expect("ffmpeg must be installed for media tests").success(), "ffmpeg {arguments:?}");
}
