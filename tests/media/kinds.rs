//! The test matrix: common kinds of sources, by windows, by outputs. Each clip is decoded and checked: numbers in the
//! pictures, beeps in the audio, timing, geometry, container properties (see `sources.rs`).

use crate::sources::{Shape, check};
use clipfleet_tests::{
    fixtures::{Recipe, directory},
    pipeline_process::Order,
};
use std::panic::{self, AssertUnwindSafe};

/// A kind of source.
struct Kind {
    name: &'static str,
    recipe: Recipe,
}

/// Windows of a source of five seconds, milliseconds: the start, between two pictures, far from a key frame.
const WINDOWS: [(i64, i64); 3] = [(0, 700), (1_717, 2_417), (3_900, 4_700)];

/// Maximum mean distance of beeps from their times over a kind of source, milliseconds. A single beep may be 15 off.
const MEAN_SYNC_MS: f64 = 10.0;

macro_rules! x264 {
    ($($argument:expr),*) => { &["-c:v", "libx264", "-preset", "veryfast", "-g", "100", $($argument),*] };
}

macro_rules! x265 {
    ($colours:literal) => {
        &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p10le",
            "-x265-params",
            concat!("log-level=error:keyint=60", $colours),
        ]
    };
}

fn small() -> Recipe {
    Recipe {
        width: 320,
        height: 180,
        pictures: 150,
        video: x264!("-bf", "3", "-pix_fmt", "yuv420p"),
        ..Recipe::default()
    }
}

fn pictures(name: &'static str, video: &'static [&'static str]) -> Kind {
    Kind { name, recipe: Recipe { video, ..small() } }
}

fn audio(name: &'static str, audio: &'static [&'static str], channels: u32, container: &'static str) -> Kind {
    Kind { name, recipe: Recipe { audio: Some(audio), channels, container: (&[], container), ..small() } }
}

fn paced(name: &'static str, fps: u32, ntsc: bool) -> Kind {
    Kind { name, recipe: Recipe { fps, ntsc, pictures: fps * 5, ..small() } }
}

fn kinds() -> Vec<Kind> {
    vec![
        pictures("H.264 of 10 bits", x264!("-pix_fmt", "yuv420p10le")),
        pictures("H.264 4:2:2", x264!("-pix_fmt", "yuv422p")),
        pictures("H.264 4:2:2 of 10 bits", x264!("-pix_fmt", "yuv422p10le")),
        pictures("H.264 of full range", x264!("-pix_fmt", "yuvj420p")),
        pictures(
            "H.264 with open groups",
            x264!("-bf", "3", "-x264-params", "open-gop=1:keyint=45", "-pix_fmt", "yuv420p"),
        ),
        pictures("H.264 interlaced", x264!("-flags", "+ildct+ilme", "-x264-params", "tff=1", "-pix_fmt", "yuv420p")),
        pictures("HEVC of 10 bits", x265!("")),
        pictures(
            "HEVC in HLG, as phones record",
            x265!(":colorprim=bt2020:colormatrix=bt2020nc:transfer=arib-std-b67"),
        ),
        pictures("HEVC in PQ", x265!(":colorprim=bt2020:colormatrix=bt2020nc:transfer=smpte2084")),
        pictures(
            "AV1",
            &[
                "-c:v",
                "libaom-av1",
                "-cpu-used",
                "8",
                "-usage",
                "realtime",
                "-b:v",
                "1M",
                "-g",
                "75",
                "-pix_fmt",
                "yuv420p",
            ],
        ),
        Kind {
            name: "VP9 of 10 bits",
            recipe: Recipe {
                video: &[
                    "-c:v",
                    "libvpx-vp9",
                    "-deadline",
                    "realtime",
                    "-cpu-used",
                    "8",
                    "-b:v",
                    "2M",
                    "-g",
                    "75",
                    "-pix_fmt",
                    "yuv420p10le",
                ],
                audio: Some(&["-c:a", "libopus"]),
                container: (&[], "webm"),
                ..small()
            },
        },
        Kind {
            name: "ProRes and PCM in MOV",
            recipe: Recipe {
                video: &["-c:v", "prores_ks", "-profile:v", "0"],
                audio: Some(&["-c:a", "pcm_s16le"]),
                container: (&[], "mov"),
                ..small()
            },
        },
        audio("AAC of six channels", &["-c:a", "aac", "-b:a", "256k"], 6, "mp4"),
        audio("AAC at 44.1 kHz", &["-c:a", "aac", "-ar", "44100"], 2, "mp4"),
        audio("mono MP3 at 22.05 kHz", &["-c:a", "libmp3lame", "-ar", "22050"], 1, "mp4"),
        audio("AC-3 of six channels", &["-c:a", "ac3", "-b:a", "384k"], 6, "mp4"),
        audio("FLAC in Matroska", &["-c:a", "flac"], 2, "mkv"),
        audio("Opus in MP4", &["-c:a", "libopus"], 2, "mp4"),
        Kind {
            name: "fragmented MP4",
            recipe: Recipe {
                container: (&["-movflags", "frag_keyframe+empty_moov+default_base_moof"], "mp4"),
                ..small()
            },
        },
        Kind {
            name: "times that begin at 1.4 s",
            recipe: Recipe { container: (&["-output_ts_offset", "1.4"], "mkv"), ..small() },
        },
        paced("23.976 pictures per second", 24, true),
        paced("29.97 pictures per second", 30, true),
        paced("59.94 pictures per second", 60, true),
        paced("15 pictures per second", 15, false),
        paced("120 pictures per second", 120, false),
    ]
}

/// Cuts one kind at every window into every output. Returns the number of clips.
fn cut(kind: &Kind, windows: &[(i64, i64)], outputs: &[(&'static str, u32)]) -> usize {
    let directory = directory();
    let source = kind.recipe.make(directory.path(), "source");
    let mut offsets = Vec::new();
    for (start, end) in windows.iter().copied() {
        for (aspect, fps) in outputs.iter().copied() {
            println!("{}: {start}-{end} ms, {aspect}, {fps} per second", kind.name);
            let output = match aspect {
                "9:16" => (720, 1_280),
                "4:5" => (720, 900),
                "16:9" => (1_280, 720),
                _ => (720, 720),
            };
            let shape = Shape { output, ..Shape::square(&kind.recipe) };
            offsets.extend(check(&kind.recipe, &shape, &source, &Order { aspect, fps, ..Order::of(start, end) }).1);
        }
    }
    let mean = offsets.iter().map(|offset: &f64| offset.abs()).sum::<f64>() / offsets.len().max(1) as f64;
    println!("{}: {} beeps, mean offset {mean:.2} ms", kind.name, offsets.len());
    assert!(mean <= MEAN_SYNC_MS, "{}: {mean}", kind.name);
    windows.len() * outputs.len()
}

/// Cuts every kind, even if others fail.
fn cut_all(mut cut: impl FnMut(&Kind) -> usize) -> usize {
    let (mut clips, mut wrong) = (0, Vec::new());
    for kind in kinds() {
        match panic::catch_unwind(AssertUnwindSafe(|| cut(&kind))) {
            Ok(count) => clips += count,
            Err(_) => wrong.push(kind.name),
        }
    }
    println!("{clips} clips");
    assert!(wrong.is_empty(), "{wrong:?}; see the errors above");
    clips
}

#[test]
fn every_kind_of_source_is_cut_exactly() {
    let clips = cut_all(|kind| cut(kind, &WINDOWS, &[("1:1", 30)]));
    assert!(clips >= 40, "{clips} clips are too few for a matrix");
}

#[test]
#[ignore = "soak: about 10 minutes on 2 cores"]
fn every_kind_of_source_is_cut_exactly_at_random_windows_into_every_output() {
    let mut random = fastrand::Rng::with_seed(4);
    cut_all(|kind| {
        let windows: Vec<(i64, i64)> = (0..4)
            .map(|_| {
                let start = random.i64(0..3_500);
                (start, start + random.i64(600..1_400))
            })
            .collect();
        cut(kind, &windows, &[("9:16", 30), ("1:1", 24), ("4:5", 60), ("16:9", 25)])
    });
}
