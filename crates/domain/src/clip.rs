//! A clip: a window of a source, and how its video is reframed and its audio processed.

use crate::{
    audio::Audio,
    ids::ClipId,
    limits::{MAX_CLIP_MS, MAX_SOURCE_MS, MIN_CLIP_MS},
    reframe::Reframe,
};

/// An interval of the source, milliseconds on the file's own timeline, which players show. The end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    start_ms: i64,
    end_ms: i64,
}

/// Which end of a window is invalid, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadWindow {
    /// `startMs` or `endMs`.
    pub field: &'static str,
    /// What is wrong; reads after the field's name.
    pub reason: String,
}

impl Window {
    /// Checks that `0 <= start < end`, and that the length is within the limits.
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Self, BadWindow> {
        let bad = |field, reason| Err(BadWindow { field, reason });
        if start_ms < 0 {
            return bad("startMs", format!("must not be negative, got {start_ms}"));
        }
        if end_ms > MAX_SOURCE_MS {
            return bad(
                "endMs",
                format!("must be at most {MAX_SOURCE_MS} (24 h; times are in milliseconds), got {end_ms}"),
            );
        }
        if end_ms <= start_ms {
            return bad("endMs", format!("must be greater than startMs {start_ms}, got {end_ms}"));
        }
        let length = end_ms - start_ms;
        if length < MIN_CLIP_MS {
            return bad("endMs", format!("must be at least {MIN_CLIP_MS} ms after startMs {start_ms}, got {end_ms}"));
        }
        if length > MAX_CLIP_MS {
            return bad("endMs", format!("must be at most {MAX_CLIP_MS} ms after startMs {start_ms}, got {end_ms}"));
        }
        Ok(Self { start_ms, end_ms })
    }

    /// The first instant, milliseconds.
    pub fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// The first instant after the window, milliseconds.
    pub fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Length, milliseconds.
    pub fn length_ms(self) -> i64 {
        self.end_ms - self.start_ms
    }

    /// The number of frames of the output: the length in frame intervals, rounded to the nearest integer, at least one.
    pub fn frames(self, fps: u32) -> u32 {
        ((self.length_ms() * i64::from(fps) + 500) / 1_000).max(1) as u32
    }
}

/// Checks that a time is within a clip of this length. The error reads after the field's name.
pub fn check_cover_at(at_ms: i64, length_ms: i64) -> Result<i64, String> {
    if (0..length_ms).contains(&at_ms) {
        return Ok(at_ms);
    }
    Err(format!(
        "must be from 0 to below the clip's length of {length_ms} (milliseconds from the clip's start), got {at_ms}"
    ))
}

/// One clip of a batch: the unit of dispatch and retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Unique within the batch.
    pub id: ClipId,
    /// The part of the source that is cut out.
    pub window: Window,
    /// How the picture is fitted.
    pub reframe: Reframe,
    /// Which of its pictures is the cover, milliseconds from the clip's start. `None` selects the first suitable one.
    pub cover_at_ms: Option<i64>,
    /// How the audio is processed.
    pub audio: Audio,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_window_names_the_wrong_end() {
        for (start, end, field) in [
            (-1, 10_000, "startMs"),
            (5, 5, "endMs"),
            (10, 5, "endMs"),
            (0, 99, "endMs"),
            (0, 3_600_001, "endMs"),
            (86_399_000, 86_400_001, "endMs"),
        ] {
            assert_eq!(Window::new(start, end).unwrap_err().field, field);
        }
        assert!(Window::new(0, 3_600_000).is_ok());
    }

    #[test]
    fn frames_are_rounded_to_the_nearest() {
        assert_eq!(Window::new(12_500, 57_000).unwrap().frames(30), 1_335);
        assert_eq!(Window::new(0, 110).unwrap().frames(30), 3);
        assert_eq!(Window::new(0, 1_001).unwrap().frames(24), 24);
    }
}
