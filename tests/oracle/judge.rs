//! Compares a clip that the pipeline made with what FFmpeg decodes of the same window of its source.

use crate::{
    chart::{Chart, Patch, View},
    reference::{Hints, Reference, SCALING, sides},
    tones::{self, BLOCK, RATE},
};
use clipfleet_tests::{
    clip,
    pipeline_process::{Order, Transcript, transcode},
};
use std::{
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::Command,
};

/// Maximum difference of the mean red, green or blue of a patch, whole levels of 255: the two roundings to eight bits
/// of a matrix conversion account for three of them.
const MAX_COLOUR_LEVELS: f64 = 4.0;

/// Maximum level difference of a channel's tones, decibels.
const MAX_LEVEL_DB: f64 = 1.0;

/// The same where more than two channels become two: the balance is compared, not the loudness.
const MAX_BALANCE_DB: f64 = 1.5;

/// Allowed change of the overall level of a downmix, decibels. FFmpeg does not attenuate the sum, other decoders do.
const DOWNMIX_DB: std::ops::RangeInclusive<f64> = -9.0..=1.0;

/// Minimum attenuation of tones that do not belong to a channel, decibels.
const MIN_SEPARATION_DB: f64 = 20.0;

/// Maximum level of silence, decibels of full scale.
const SILENCE_DB: f64 = -60.0;

/// Maximum offset of a click, milliseconds.
const MAX_CLICK_OFFSET_MS: f64 = 5.0;

/// If the next picture is later than this, the first frame is the current picture, milliseconds.
const MAX_WAIT_MS: f64 = 500.0;

/// Tolerance of the comparison of two times that may be equal, milliseconds.
const ROUNDING_MS: f64 = 0.001;

/// Starts are in whole milliseconds, picture times are not.
const START_TOLERANCE_MS: f64 = 0.5;

/// One difference of a clip from the expected result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// The kind of comparison. It must stay the same while a failure is shrunk.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) differences: Vec<Difference>,
    /// The commands, for reports.
    pub(crate) commands: Vec<String>,
}

impl Verdict {
    fn differ(&mut self, kind: impl Into<String>, text: impl Into<String>) {
        self.differences.push(Difference { kind: kind.into(), text: text.into() });
    }

    /// Whether there is a difference of this kind.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.differences.iter().any(|difference| difference.kind == kind)
    }

    /// # Panics
    /// If the clip differs from the expected result, with all differences.
    #[track_caller]
    pub(crate) fn assert_equal(&self, what: &str) {
        let lines: Vec<String> =
            self.differences.iter().map(|Difference { kind, text }| format!("{kind}: {text}")).collect();
        assert!(lines.is_empty(), "{what}:\n  {}\n{}", lines.join("\n  "), self.commands.join("\n"));
    }
}

/// The part of a source that an order shows, and where it is in the output frames: left, top, width, height. This
/// computes the documented formula independently.
pub(crate) fn geometry(chart: Chart, order: &Order) -> (View, [usize; 4]) {
    let (w, h) = (chart.width as f64, chart.height as f64);
    let (tw, th) = if order.aspect == "16:9" { (1_280, 720) } else { (720, 1_280) };
    let aspect = tw as f64 / th as f64;
    let even = |pixels: f64| ((pixels + 1e-9) / 2.0).floor() * 2.0;
    let floor = |pixels: f64| (pixels + 1e-9).floor();
    let (window, zone) = if order.mode == "fit_blur" {
        let nearest = |pixels: f64| (pixels / 2.0).round() as usize * 2;
        let (width, height) =
            if w > h * aspect { (tw, nearest(tw as f64 * h / w)) } else { (nearest(th as f64 * w / h), th) };
        ([0.0, 0.0, w, h], [(tw - width) / 4 * 2, (th - height) / 4 * 2, width, height])
    } else {
        let zoom = order.zoom / 100.0;
        let wider = w > h * aspect;
        let (cw, ch) = if wider { (floor(h * aspect) / zoom, h / zoom) } else { (w / zoom, floor(w / aspect) / zoom) };
        let (cw, ch) = (even(floor(cw)), even(floor(ch)));
        let left = if wider { (w - cw) * order.position / 100.0 } else { (w - cw) / 2.0 };
        ([even(left), even((h - ch) / 2.0), cw, ch], [0, 0, tw, th])
    };
    // A quarter of the output size is enough for the patches, and fast.
    (View { window, size: (zone[2] / 4, zone[3] / 4) }, zone)
}

/// Makes a clip of a source and compares it.
pub(crate) fn judge(path: &Path, chart: Chart, order: &Order, hints: Hints) -> Verdict {
    let (view, _) = geometry(chart, order);
    judge_against(path, &Reference::read(path, chart, view, hints), order)
}

/// The same with an existing reference, which has the order's geometry.
pub(crate) fn judge_against(path: &Path, reference: &Reference, order: &Order) -> Verdict {
    let mut verdict = Verdict { commands: reference.commands.clone(), ..Verdict::default() };
    let transcript = match catch_panic(|| transcode(order, path)) {
        Ok(transcript) => transcript,
        Err(why) => {
            verdict.differ("died", why);
            return verdict;
        }
    };
    if let Err(error) = &transcript.outcome {
        verdict.differ(format!("refused as {}", error.code), error.message.clone());
        return verdict;
    }
    compare(&mut verdict, &transcript, reference, order);
    verdict
}

/// Runs a function and returns the message of a panic as an error.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn compare(verdict: &mut Verdict, transcript: &Transcript, reference: &Reference, order: &Order) {
    let (_, zone) = geometry(reference.chart, order);
    let size = if order.aspect == "16:9" { (1_280, 720) } else { (720, 1_280) };
    if let Err(why) = catch_panic(|| clip::check_file(transcript, size, order)) {
        verdict.differ("file", why);
    }
    let output = transcript.output();
    compare_pictures(verdict, &output, zone, reference, order);
    compare_audio(verdict, &output, reference, order);
}

fn decode(output: &Path, [left, top, width, height]: [usize; 4], view: &View) -> Vec<Vec<u8>> {
    let (image_width, image_height) = view.size;
    let filters = format!(
        "crop={width}:{height}:{left}:{top},scale={image_width}:{image_height}:in_range=limited:in_color_matrix=bt709:\
         flags={SCALING},format=rgb24"
    );
    let bytes = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
        .arg(output)
        .args(["-map", "0:v:0", "-vf", &filters, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"])
        .output()
        .expect("ffmpeg must be installed for media tests")
        .stdout;
    bytes.chunks_exact(image_width * image_height * 3).map(<[u8]>::to_vec).collect()
}

fn compare_pictures(verdict: &mut Verdict, output: &Path, zone: [usize; 4], reference: &Reference, order: &Order) {
    let (chart, view) = (&reference.chart, &reference.view);
    let frames = decode(output, zone, view);
    if frames.len() != clip::frames(order) {
        verdict.differ("frames", format!("{} frames instead of {}", frames.len(), clip::frames(order)));
    }
    let known: Vec<(u32, f64)> = reference
        .pictures
        .iter()
        .filter_map(|picture| Some((*picture.number.as_ref().ok()?, picture.time_ms)))
        .collect();
    if known.len() * 10 < reference.pictures.len() * 9 {
        let unreadable = reference.pictures.iter().find_map(|picture| picture.number.as_ref().err());
        verdict.differ("reference", format!("FFmpeg's pictures cannot be read: {unreadable:?}"));
        return;
    }
    let mut shown = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        match chart.number(frame, view) {
            Ok(number) => shown.push(number),
            Err(why) => {
                verdict.differ("unreadable", format!("frame {index}: {why}"));
                break;
            }
        }
    }
    if shown.len() == frames.len() {
        check_numbers(verdict, &known, &shown, order);
    }
    compare_colours(verdict, &frames, reference, order);
}

/// The index of the picture that is shown at a time.
fn at(known: &[(u32, f64)], time: f64) -> usize {
    known.iter().rposition(|(_, begins)| *begins <= time + START_TOLERANCE_MS).unwrap_or(0)
}

/// The index of the first frame's picture: the first one at or after the start, or the current one if the next is too
/// late.
fn first_index(known: &[(u32, f64)], start: f64) -> usize {
    let next = known.iter().position(|(_, time)| *time >= start - START_TOLERANCE_MS);
    match next {
        Some(next) if next == 0 || known[next].1 - start <= MAX_WAIT_MS => next,
        _ => at(known, start),
    }
}

fn check_numbers(verdict: &mut Verdict, known: &[(u32, f64)], shown: &[u32], order: &Order) {
    let (start, slot) = (order.window.0 as f64, 1_000.0 / f64::from(order.fps));
    let first = first_index(known, start);
    if shown[0] != known[first].0 {
        let (number, time) = known[first];
        verdict.differ("first picture", format!("{} instead of {number}, which is shown at {time:.1} ms", shown[0]));
        return;
    }
    // If the pictures have the rate of the frames, each is shown once. If they drift, a frame is repeated as soon as
    // the next picture is a whole frame late.
    let paced = known[first..].windows(2).take(shown.len() - 1).all(|pair| (pair[1].1 - pair[0].1 - slot).abs() < 1.5);
    if paced && known[first].1 - start < slot && known.len() - first >= shown.len() {
        let mut next = first;
        for (index, number) in shown.iter().enumerate() {
            let is_late = known[next].1 - (start + index as f64 * slot) > slot + ROUNDING_MS;
            let right = known[if is_late { next - 1 } else { next }].0;
            if *number != right {
                verdict.differ("numbers", format!("frame {index} shows {number} instead of {right}"));
                return;
            }
            next += usize::from(!is_late);
        }
        return;
    }
    for (index, number) in shown.iter().enumerate() {
        let due = start + index as f64 * slot;
        let Some(place) = known.iter().position(|(known, _)| known == number) else {
            verdict.differ("numbers", format!("frame {index} shows {number}, which the source does not have"));
            return;
        };
        let (begins, ends) = (known[place].1, known.get(place + 1).map_or(f64::MAX, |next| next.1));
        let tolerance = slot + 2.0;
        if (place != first && begins > due + tolerance) || ends < due - tolerance {
            let right = known[at(known, due)].0;
            verdict.differ(
                "numbers",
                format!(
                    "frame {index}, due at {due:.0} ms, shows {number} ({begins:.0} to {ends:.0} ms) instead of {right}"
                ),
            );
            return;
        }
    }
}

fn compare_colours(verdict: &mut Verdict, frames: &[Vec<u8>], reference: &Reference, order: &Order) {
    let (chart, view) = (&reference.chart, &reference.view);
    let times: Vec<(u32, f64)> = reference.pictures.iter().map(|picture| (0, picture.time_ms)).collect();
    let patches = chart.patches(view);
    if patches.len() < 4 {
        verdict.differ("reference", format!("only {} patches are seen", patches.len()));
    }
    let (mut wrong, mut compared, mut worst) = (0, 0, (0.0, String::new()));
    let mut record = |off: [f64; 3], limit: f64, text: &dyn Fn() -> String| {
        let off = off.map(f64::abs).into_iter().fold(0.0, f64::max);
        compared += 1;
        wrong += usize::from(off.round() > limit);
        if off - limit > worst.0 {
            worst = (off - limit, text());
        }
    };
    // Coding loss differs from frame to frame, a wrong conversion does not: the limit applies to the mean over the
    // frames, and twice the limit to a single frame.
    let mut sums = vec![([0.0; 3], [0.0; 3], 0.0); patches.len()];
    for (index, frame) in frames.iter().enumerate() {
        if index > 2 && index % 6 != 0 && index + 1 != frames.len() {
            continue;
        }
        let number = chart.number(frame, view).ok();
        let same = reference
            .pictures
            .iter()
            .find(|picture| number.is_some() && picture.number.as_ref().ok() == number.as_ref());
        let due = order.window.0 as f64 + index as f64 * 1_000.0 / f64::from(order.fps);
        let picture = same.unwrap_or_else(|| &reference.pictures[at(&times, due)]);
        for (patch, (got_sum, expected_sum, count)) in patches.iter().zip(&mut sums) {
            let (got, expected) = (patch.mean(frame, view), patch.mean(&picture.image, view));
            let off = std::array::from_fn(|channel| got[channel] - expected[channel]);
            let text = || describe(&format!("frame {index}"), patch, got, expected);
            record(off, 2.0 * MAX_COLOUR_LEVELS, &text);
            *got_sum = std::array::from_fn(|channel| got_sum[channel] + got[channel]);
            *expected_sum = std::array::from_fn(|channel| expected_sum[channel] + expected[channel]);
            *count += 1.0;
        }
    }
    for (patch, (got, expected, count)) in patches.iter().zip(sums).filter(|(_, (.., count))| *count > 0.0) {
        let (got, expected) = (got.map(|sum| sum / count), expected.map(|sum| sum / count));
        let off = std::array::from_fn(|channel| got[channel] - expected[channel]);
        record(off, MAX_COLOUR_LEVELS, &|| describe("the mean of the frames", patch, got, expected));
    }
    if wrong * 2 > compared && worst.0 > 100.0 {
        verdict.differ("another picture", format!("{wrong} of {compared} patches; {}", worst.1));
    } else if wrong > 0 {
        verdict.differ("colour", format!("{wrong} of {compared} patches differ; {}", worst.1));
    }
}

fn describe(what: &str, patch: &Patch, got: [f64; 3], expected: [f64; 3]) -> String {
    let round = |colour: [f64; 3]| colour.map(|level| (level * 10.0).round() / 10.0);
    let (place, painted) = (patch.place, patch.painted);
    format!("{what}, patch at {place:?} painted {painted:?}: {:?} instead of {:?}", round(got), round(expected))
}

const SIDES: [&str; 2] = ["left", "right"];

fn compare_audio(verdict: &mut Verdict, output: &Path, reference: &Reference, order: &Order) {
    let bytes = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
        .arg(output)
        .args(["-map", "0:a:0", "-c:a", "pcm_f32le", "-ac", "2", "-ar", "48000", "-f", "f32le", "pipe:1"])
        .output()
        .expect("ffmpeg must be installed for media tests")
        .stdout;
    let mut actual = sides(&bytes);
    let samples = clip::frames(order) * RATE / order.fps as usize;
    if actual[0].len() < samples || actual[0].len() > samples + 1_024 {
        verdict.differ("audio length", format!("{} samples instead of {samples}", actual[0].len()));
    }
    actual.iter_mut().for_each(|side| side.resize(samples, 0.0));
    let expected = match &reference.audio {
        Some(audio) => audio.window(order.window.0, samples),
        None => [vec![0.0; samples], vec![0.0; samples]],
    };
    let downmixed = reference.audio.as_ref().is_some_and(|audio| audio.channels > 2);
    compare_clicks(verdict, &actual, &expected);
    compare_silence(verdict, &actual, &expected);
    compare_tones(verdict, &actual, &expected, downmixed);
    compare_phase(verdict, &actual, &expected);
}

fn compare_clicks(verdict: &mut Verdict, actual: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    for (name, (actual, expected)) in SIDES.iter().zip(actual.iter().zip(expected)) {
        for click in tones::clicks(expected) {
            let ms = |samples: f64| samples * 1_000.0 / RATE as f64;
            let Some(due) = tones::middle(expected, click) else { continue };
            match tones::middle(actual, click) {
                None => verdict.differ("click", format!("{name}: no click at {:.0} ms", ms(due))),
                Some(found) if ms(found - due).abs() > MAX_CLICK_OFFSET_MS => {
                    let late = ms(found - due);
                    verdict.differ("click", format!("{name}: {late:.1} ms late at {:.0} ms", ms(due)));
                }
                Some(_) => continue,
            }
            return;
        }
    }
}

fn compare_silence(verdict: &mut Verdict, actual: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    for (side, name) in SIDES.iter().enumerate() {
        for block in tones::silent_blocks(&expected[side]) {
            let range = block..block + BLOCK / 2;
            let other = tones::level_db(&expected[1 - side][range.clone()]);
            let level = tones::level_db(&actual[side][range]);
            if level > SILENCE_DB.max(other - MIN_SEPARATION_DB) {
                let at = block * 1_000 / RATE;
                verdict.differ("silence", format!("{name} is at {level:.1} dB at {at} ms, instead of silence"));
                break;
            }
        }
    }
}

fn compare_tones(verdict: &mut Verdict, actual: &[Vec<f64>; 2], expected: &[Vec<f64>; 2], downmixed: bool) {
    // One gain for both sides.
    let mut gain = None;
    let tolerance = if downmixed { MAX_BALANCE_DB } else { MAX_LEVEL_DB };
    for (side, name) in SIDES.iter().enumerate() {
        for block in tones::steady_blocks(&expected[side]) {
            let range = block..block + BLOCK;
            let right = tones::spectrum(&expected[side][range.clone()]);
            let got = tones::spectrum(&actual[side][range]);
            let loudest =
                |spectrum: &[(f64, f64)]| spectrum.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a tone");
            let (dominant, found) = (loudest(&right), loudest(&got));
            let at = block * 1_000 / RATE;
            let gain = match downmixed {
                true => {
                    let same = got.iter().find(|(tone, _)| *tone == dominant.0).map_or(found.1, |(_, level)| *level);
                    *gain.get_or_insert(same - dominant.1)
                }
                false => 0.0,
            };
            if downmixed && !DOWNMIX_DB.contains(&gain) {
                verdict.differ("level", format!("{name}: the mix is {gain:.1} dB louder than FFmpeg's at {at} ms"));
                return;
            }
            for ((tone, right), (_, got)) in right.iter().zip(&got) {
                let off = got - (right + gain);
                if *right > dominant.1 - 15.0 && off.abs() > tolerance {
                    verdict.differ(
                        "level",
                        format!(
                            "{name}: {tone} Hz is at {got:.1} dB instead of {:.1} at {at} ms; loudest is {} Hz",
                            right + gain,
                            found.0
                        ),
                    );
                    return;
                }
                if *right < dominant.1 - 35.0 && *got > (found.1 - MIN_SEPARATION_DB).max(SILENCE_DB) {
                    verdict.differ(
                        "leakage",
                        format!(
                            "{name}: {tone} Hz is at {got:.1} dB, beside {} Hz at {:.1} dB, at {at} ms",
                            found.0, found.1
                        ),
                    );
                    return;
                }
            }
        }
    }
}

fn compare_phase(verdict: &mut Verdict, actual: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    let steady = tones::steady_blocks(&expected[0]);
    for block in steady.into_iter().filter(|block| tones::level_db(&expected[1][*block..block + BLOCK]) > -40.0) {
        let range = block..block + BLOCK;
        let alike = |sides: &[Vec<f64>; 2]| tones::correlation(&sides[0][range.clone()], &sides[1][range.clone()]);
        let (right, got) = (alike(expected), alike(actual));
        if (right - got).abs() > 0.3 {
            let at = block * 1_000 / RATE;
            verdict.differ("phase", format!("the sides' correlation is {got:.2} instead of {right:.2} at {at} ms"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drifting_pictures_are_shown_once_until_one_is_a_frame_late() {
        // 29.97 pictures per second, the first of them 32.82 ms after the start. The 17th is a whole frame late.
        let known: Vec<(u32, f64)> =
            (0..40).map(|number| (number, 1_032.82 + f64::from(number) * 1_001.0 / 30.0)).collect();
        let differs = |shown: Vec<u32>| {
            let mut verdict = Verdict::default();
            check_numbers(&mut verdict, &known, &shown, &Order::of(1_000, 2_000));
            !verdict.differences.is_empty()
        };
        let repeated = |at: u32| (0..30).map(|frame| if frame < at { frame } else { frame - 1 }).collect();
        assert!(!differs(repeated(16)));
        assert!(differs(repeated(15)) && differs(repeated(17)));
        assert!(differs((0..30).collect()) && differs((1..31).collect()));
    }
}
