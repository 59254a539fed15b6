//! Comparing a clip that the pipeline made with what FFmpeg decodes of the same window of its source.

use crate::{
    chart::{Chart, View},
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

/// How far around a join of an edit list sound is not compared, milliseconds: a window of the judge's and the longest packet.
const JOIN_MS: i64 = 250;

/// Mean red, green or blue of a patch may differ by this, whole levels of 255: the two roundings to eight bits of a conversion between
/// matrices are three of them.
const COLOUR_LEVELS: f64 = 4.0;

/// A side's tones may be louder or softer by this, decibels.
const LEVEL_DB: f64 = 1.0;

/// The same where several channels become two: balance is compared, not loudness.
const BALANCE_DB: f64 = 1.5;

/// How much softer or louder several channels may become as a whole. FFmpeg does not lower their sum, others do.
const DOWNMIX_DB: std::ops::RangeInclusive<f64> = -9.0..=1.0;

/// What does not belong to a side is at least this much softer, decibels.
const LEAKAGE_DB: f64 = 20.0;

/// What must be silent is below this, decibels of full scale.
const SILENCE_DB: f64 = -60.0;

/// A click may be this late or early, milliseconds.
const CLICK_MS: f64 = 5.0;

/// A source that stands still for longer shows what stood there, milliseconds.
const STANDSTILL_MS: f64 = 500.0;

/// A start is in whole milliseconds, pictures are not.
const START_TOLERANCE_MS: f64 = 0.5;

/// One respect in which a clip is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// What is compared. While a failure is shrunk, this must stay.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// What became of a clip.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) differences: Vec<Difference>,
    /// For people.
    pub(crate) commands: Vec<String>,
}

impl Verdict {
    fn differ(&mut self, kind: impl Into<String>, text: impl Into<String>) {
        self.differences.push(Difference { kind: kind.into(), text: text.into() });
    }

    /// Whether something of a kind differs.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.differences.iter().any(|difference| difference.kind == kind)
    }

    /// # Panics
    /// When the clip is not as it should be, with all that differs.
    #[track_caller]
    pub(crate) fn assert_equal(&self, what: &str) {
        let lines: Vec<String> =
            self.differences.iter().map(|Difference { kind, text }| format!("{kind}: {text}")).collect();
        assert!(lines.is_empty(), "{what}:\n  {}\n{}", lines.join("\n  "), self.commands.join("\n"));
    }
}

/// What of a source of a size an order shows, and where that lies in its frames: left, top, width, height. The formula
/// of the documentation, computed here anew.
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
    // A quarter of the output's pixels is enough to see patches, and quick.
    (View { window, size: (zone[2] / 4, zone[3] / 4) }, zone)
}

/// Makes a clip of a source and compares it.
pub(crate) fn judge(path: &Path, chart: Chart, order: &Order, hints: Hints) -> Verdict {
    let (view, _) = geometry(chart, order);
    judge_against(path, &Reference::read(path, chart, view, hints), order)
}

/// The same with a reference that is read already, by the order's geometry.
pub(crate) fn judge_against(path: &Path, reference: &Reference, order: &Order) -> Verdict {
    let mut verdict = Verdict { commands: reference.commands.clone(), ..Verdict::default() };
    let transcript = match quietly(|| transcode(order, path)) {
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

/// Turns a panic into its words.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn compare(verdict: &mut Verdict, transcript: &Transcript, reference: &Reference, order: &Order) {
    let (_, zone) = geometry(reference.chart, order);
    let size = if order.aspect == "16:9" { (1_280, 720) } else { (720, 1_280) };
    if let Err(why) = quietly(|| clip::check_file(transcript, size, order)) {
        verdict.differ("file", why);
    }
    let output = transcript.output();
    compare_pictures(verdict, &output, zone, reference, order);
    compare_sound(verdict, &output, reference, order);
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

/// Which picture stands at a time.
fn at(known: &[(u32, f64)], time: f64) -> usize {
    known.iter().rposition(|(_, begins)| *begins <= time + START_TOLERANCE_MS).unwrap_or(0)
}

/// The first frame is the first picture at or after the start, or what stands there if none comes for long.
fn first_index(known: &[(u32, f64)], start: f64) -> usize {
    let next = known.iter().position(|(_, time)| *time >= start - START_TOLERANCE_MS);
    match next {
        Some(next) if next == 0 || known[next].1 - start <= STANDSTILL_MS => next,
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
    // Where pictures come at the pace of frames, each is shown once.
    let paced = known[first..].windows(2).take(shown.len() - 1).all(|pair| (pair[1].1 - pair[0].1 - slot).abs() < 1.5);
    if paced && known[first].1 - start < slot && known.len() - first >= shown.len() {
        let expected: Vec<u32> = known[first..first + shown.len()].iter().map(|(number, _)| *number).collect();
        if let Some(index) = (0..shown.len()).find(|index| shown[*index] != expected[*index]) {
            verdict.differ("numbers", format!("frame {index} shows {} instead of {}", shown[index], expected[index]));
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
    let (mut wrong, mut worst) = (0, (0.0, String::new()));
    let mut compared = 0;
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
        for patch in &patches {
            let (got, expected) = (patch.mean(frame, view), patch.mean(&picture.image, view));
            let off = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f64::max);
            compared += 1;
            wrong += usize::from(off.round() > COLOUR_LEVELS);
            if off > worst.0 {
                let round = |colour: [f64; 3]| colour.map(|level| (level * 10.0).round() / 10.0);
                let text = format!(
                    "frame {index}, patch at {:?} painted {:?}: {:?} instead of {:?}",
                    patch.place,
                    patch.painted,
                    round(got),
                    round(expected)
                );
                worst = (off, text);
            }
        }
    }
    if wrong * 2 > compared && worst.0 > 100.0 {
        verdict.differ("another picture", format!("{wrong} of {compared} patches; {}", worst.1));
    } else if wrong > 0 {
        verdict.differ("colour", format!("{wrong} of {compared} patches differ; {}", worst.1));
    }
}

const SIDES: [&str; 2] = ["left", "right"];

fn compare_sound(verdict: &mut Verdict, output: &Path, reference: &Reference, order: &Order) {
    let bytes = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
        .arg(output)
        .args(["-map", "0:a:0", "-c:a", "pcm_f32le", "-ac", "2", "-ar", "48000", "-f", "f32le", "pipe:1"])
        .output()
        .expect("ffmpeg must be installed for media tests")
        .stdout;
    let mut heard = sides(&bytes);
    let samples = clip::frames(order) * RATE / order.fps as usize;
    if heard[0].len() < samples || heard[0].len() > samples + 1_024 {
        verdict.differ("sound length", format!("{} samples instead of {samples}", heard[0].len()));
    }
    heard.iter_mut().for_each(|side| side.resize(samples, 0.0));
    let mut expected = match &reference.sound {
        Some(sound) => sound.window(order.window.0, samples),
        None => [vec![0.0; samples], vec![0.0; samples]],
    };
    if let Some(join_ms) = reference.join_ms {
        let place = |ms: i64| ((ms - order.window.0).max(0) as usize * RATE / 1_000).min(samples);
        let around = place(join_ms - JOIN_MS)..place(join_ms + JOIN_MS);
        heard.iter_mut().chain(&mut expected).for_each(|side| side[around.clone()].fill(0.0));
    }
    let downmixed = reference.sound.as_ref().is_some_and(|sound| sound.channels > 2);
    compare_clicks(verdict, &heard, &expected);
    compare_silence(verdict, &heard, &expected);
    compare_tones(verdict, &heard, &expected, downmixed);
    compare_phase(verdict, &heard, &expected);
}

fn compare_clicks(verdict: &mut Verdict, heard: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    for (name, (heard, expected)) in SIDES.iter().zip(heard.iter().zip(expected)) {
        for click in tones::clicks(expected) {
            let ms = |samples: f64| samples * 1_000.0 / RATE as f64;
            let Some(due) = tones::middle(expected, click) else { continue };
            match tones::middle(heard, click) {
                None => verdict.differ("click", format!("{name}: none is heard at {:.0} ms", ms(due))),
                Some(found) if ms(found - due).abs() > CLICK_MS => {
                    let late = ms(found - due);
                    verdict.differ("click", format!("{name}: heard {late:.1} ms late at {:.0} ms", ms(due)));
                }
                Some(_) => continue,
            }
            return;
        }
    }
}

fn compare_silence(verdict: &mut Verdict, heard: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    for (side, name) in SIDES.iter().enumerate() {
        for block in tones::silent_blocks(&expected[side]) {
            let range = block..block + BLOCK / 2;
            let other = tones::level_db(&expected[1 - side][range.clone()]);
            let level = tones::level_db(&heard[side][range]);
            if level > SILENCE_DB.max(other - LEAKAGE_DB) {
                let at = block * 1_000 / RATE;
                verdict
                    .differ("silence", format!("{name} is at {level:.1} dB at {at} ms, where nothing is to be heard"));
                break;
            }
        }
    }
}

fn compare_tones(verdict: &mut Verdict, heard: &[Vec<f64>; 2], expected: &[Vec<f64>; 2], downmixed: bool) {
    // One gain for both sides.
    let mut gain = None;
    let tolerance = if downmixed { BALANCE_DB } else { LEVEL_DB };
    for (side, name) in SIDES.iter().enumerate() {
        for block in tones::steady_blocks(&expected[side]) {
            let range = block..block + BLOCK;
            let right = tones::spectrum(&expected[side][range.clone()]);
            let got = tones::spectrum(&heard[side][range]);
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
                if *right < dominant.1 - 35.0 && *got > (found.1 - LEAKAGE_DB).max(SILENCE_DB) {
                    verdict.differ(
                        "leakage",
                        format!(
                            "{name}: {tone} Hz is heard at {got:.1} dB, beside {} Hz at {:.1} dB, at {at} ms",
                            found.0, found.1
                        ),
                    );
                    return;
                }
            }
        }
    }
}

fn compare_phase(verdict: &mut Verdict, heard: &[Vec<f64>; 2], expected: &[Vec<f64>; 2]) {
    let steady = tones::steady_blocks(&expected[0]);
    for block in steady.into_iter().filter(|block| tones::level_db(&expected[1][*block..block + BLOCK]) > -40.0) {
        let range = block..block + BLOCK;
        let alike = |sides: &[Vec<f64>; 2]| tones::correlation(&sides[0][range.clone()], &sides[1][range.clone()]);
        let (right, got) = (alike(expected), alike(heard));
        if (right - got).abs() > 0.3 {
            let at = block * 1_000 / RATE;
            verdict.differ("phase", format!("the sides' correlation is {got:.2} instead of {right:.2} at {at} ms"));
            return;
        }
    }
}
