//! Checks the container. Each check returns what is wrong, if anything.

use crate::{
    failure,
    mp4::{Movie, Track},
    plan::{Expected, SAMPLE_RATE, catalog::AAC_PRIMING},
};
use clipfleet_domain::failure::Failure;
use std::path::Path;

/// Maximum time between two key frames, seconds.
const KEY_FRAME_SECONDS: u32 = 2;

/// H.264 profiles of 8-bit 4:2:0 pictures: baseline, main, high.
const PROFILES: [u8; 3] = [66, 77, 100];

type Check = fn(&Movie, &Expected) -> Result<(), String>;

const CHECKS: [Check; 5] = [file, picture_format, picture_times, key_frames, audio];

/// Checks the header of a file, and returns it.
pub fn check(path: &Path, expected: &Expected) -> Result<Movie, Failure> {
    let movie = Movie::read(path).map_err(|error| failure::verify_failed(format!("it cannot be read: {error}")))?;
    CHECKS.iter().try_for_each(|check| check(&movie, expected)).map_err(failure::verify_failed)?;
    Ok(movie)
}

fn file(movie: &Movie, _: &Expected) -> Result<(), String> {
    must(movie.header_first, || "its header lies behind the media".into())?;
    must(movie.whole, || "it ends within a box".into())
}

fn picture(movie: &Movie) -> Result<&Track, String> {
    movie.track(b"vide").ok_or_else(|| "it does not have exactly one picture track".into())
}

fn picture_format(movie: &Movie, expected: &Expected) -> Result<(), String> {
    let track = picture(movie)?;
    let size = (u32::from(track.size.0), u32::from(track.size.1));
    must(track.codec == *b"avc1" || track.codec == *b"avc3", || format!("its codec is {:?}", track.codec))?;
    must(PROFILES.contains(&track.profile), || format!("its H.264 profile is {}", track.profile))?;
    must(size == (expected.size.width, expected.size.height), || {
        format!("its picture has {}x{} pixels instead of {}", size.0, size.1, expected.size)
    })?;
    let (wide, tall) = track.pixel_aspect;
    must(wide == tall, || format!("its pixels are {wide}:{tall} instead of square"))
}

fn picture_times(movie: &Movie, expected: &Expected) -> Result<(), String> {
    let track = picture(movie)?;
    must(track.samples == expected.frames, || {
        format!("it has {} frames instead of {}", track.samples, expected.frames)
    })?;
    let exact = |ticks: u32| u64::from(ticks) * u64::from(expected.fps) == u64::from(track.timescale);
    must(track.durations.iter().all(|(_, ticks)| exact(*ticks)), || {
        format!("its frames are not all 1/{} s long: {:?} of 1/{} s", expected.fps, track.durations, track.timescale)
    })?;
    let first = track.first_offset - begin(track)?;
    must(first == 0, || format!("its first picture is shown {first} units of 1/{} s late", track.timescale))
}

fn key_frames(movie: &Movie, expected: &Expected) -> Result<(), String> {
    let track = picture(movie)?;
    let Some(keys) = &track.keys else { return Ok(()) };
    must(keys.first() == Some(&1), || "its first picture is no key frame".into())?;
    let ends = keys.iter().skip(1).copied().chain([track.samples + 1]);
    let longest = keys.iter().zip(ends).map(|(from, to)| to - from).max().unwrap_or(0);
    must(longest <= KEY_FRAME_SECONDS * expected.fps, || format!("it has {longest} frames without a key frame"))
}

fn audio(movie: &Movie, expected: &Expected) -> Result<(), String> {
    let track = movie.track(b"soun").ok_or("it does not have exactly one audio track")?;
    must(track.codec == *b"mp4a" && track.audio == (2, SAMPLE_RATE), || {
        format!("its sound has {} channels at {} Hz", track.audio.0, track.audio.1)
    })?;
    must(track.timescale == SAMPLE_RATE, || format!("its sound is counted in 1/{} s", track.timescale))?;
    let begins = begin(track)?;
    must(begins == i64::from(AAC_PRIMING), || format!("its sound begins at sample {begins}"))?;
    let decoded: u64 = track.durations.iter().map(|(count, ticks)| u64::from(*count) * u64::from(*ticks)).sum();
    must(decoded >= expected.samples + u64::from(AAC_PRIMING), || {
        format!("its sound has {decoded} samples instead of {}", expected.samples)
    })?;
    let samples = audible_samples(movie, track);
    // An edit list is only as precise as one unit of the movie's time scale.
    let unit = u64::from(SAMPLE_RATE / movie.timescale.max(1)) + 1;
    must(samples.abs_diff(expected.samples) <= unit, || {
        format!("its sound is heard for {samples} samples instead of {}", expected.samples)
    })
}

/// Number of audible samples of an audio track, to one unit of the movie's time scale.
fn audible_samples(movie: &Movie, track: &Track) -> u64 {
    let shown: u64 = track.edits.iter().map(|edit| edit.duration).sum();
    shown * u64::from(SAMPLE_RATE) / u64::from(movie.timescale.max(1))
}

/// How much later the audio ends than the video, milliseconds.
pub fn end_difference_ms(movie: &Movie, expected: &Expected) -> f64 {
    let samples = movie.track(b"soun").map_or(0, |track| audible_samples(movie, track));
    let ms = |count: f64, rate: u32| count * 1_000.0 / f64::from(rate);
    ms(samples as f64, SAMPLE_RATE) - ms(f64::from(expected.frames), expected.fps)
}

/// The start of the presented part of a track. Empty edits before it are not allowed.
fn begin(track: &Track) -> Result<i64, String> {
    match track.edits.as_slice() {
        [] => Ok(0),
        [edit] if edit.media_time >= 0 => Ok(edit.media_time),
        edits => Err(format!("a track has the edit list {edits:?}")),
    }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
