//! Everything that `clipfleet doctor` reports as ok is exported once: each codec in each container that carries it. The
//! list of codecs is the program's own report, so a new codec without a source here fails.

use crate::sources::{Shape, check};
use clipfleet_tests::{
    fixtures::{Recipe, directory},
    pipeline_process::{Order, STRICT, binary, transcode_with},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    os::unix::fs::symlink,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::Command,
};

/// FFmpeg's arguments for a track of a codec, and the containers that carry it.
struct Track {
    /// As in the program's report.
    codec: &'static str,
    arguments: &'static [&'static str],
    containers: &'static [&'static str],
}

const fn track(codec: &'static str, arguments: &'static [&'static str], containers: &'static [&'static str]) -> Track {
    Track { codec, arguments, containers }
}

const VIDEO: &[Track] = &[
    track("H.264", &["-c:v", "libx264", "-preset", "veryfast", "-bf", "2"], &["mp4", "mov", "mkv"]),
    track(
        "HEVC",
        &["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", "log-level=error"],
        &["mp4", "mov"],
    ),
    track(
        "HEVC",
        &["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hev1", "-x265-params", "log-level=error"],
        &["mp4", "mov"],
    ),
    track("HEVC", &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"], &["mkv"]),
    track("VP8", &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-b:v", "2M"], &["webm", "mkv"]),
    track(
        "VP9",
        &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
        &["webm", "mkv", "mp4"],
    ),
    track(
        "AV1",
        &["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-b:v", "1M"],
        &["webm", "mkv", "mp4"],
    ),
    track("MPEG-4 Visual", &["-c:v", "mpeg4", "-q:v", "3", "-bf", "2"], &["mp4", "mov", "mkv"]),
    track("MPEG-2", &["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2"], &["mp4", "mov", "mkv"]),
    track("MPEG-2", &["-c:v", "mpeg1video", "-q:v", "3"], &["mp4", "mkv"]),
    track("ProRes", &["-c:v", "prores_ks", "-profile:v", "0"], &["mov", "mkv"]),
    track("ProRes", &["-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuv444p10le"], &["mov"]),
    track("Motion JPEG", &["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"], &["mp4", "mov", "mkv"]),
];

const AUDIO: &[Track] = &[
    track("AAC", &["-c:a", "aac", "-b:a", "128k"], &["mp4", "mov", "mkv"]),
    track("Opus", &["-c:a", "libopus", "-b:a", "96k"], &["mp4", "mkv", "webm"]),
    track("Vorbis", &["-c:a", "libvorbis"], &["mkv", "webm"]),
    track("MP3", &["-c:a", "libmp3lame"], &["mp4", "mov", "mkv"]),
    track("MP3", &["-c:a", "mp2"], &["mp4", "mov", "mkv"]),
    track("FLAC", &["-c:a", "flac", "-strict", "-2"], &["mp4", "mkv"]),
    track("AC-3", &["-c:a", "ac3", "-b:a", "256k"], &["mp4", "mov", "mkv"]),
    track("E-AC-3", &["-c:a", "eac3", "-b:a", "256k"], &["mp4", "mov", "mkv"]),
    // GStreamer 1.22 does not support it in Matroska, and reports that.
    track("ALAC", &["-c:a", "alac"], &["mp4", "mov"]),
    track("PCM", &["-c:a", "pcm_s16le"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_s16be"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_s24le"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_s24be"], &["mov"]),
    track("PCM", &["-c:a", "pcm_s32le"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_f32le"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_f64be"], &["mov"]),
    track("PCM", &["-c:a", "pcm_f64le"], &["mov", "mkv"]),
    track("PCM", &["-c:a", "pcm_u8"], &["mov", "mkv"]),
];

const CONTAINERS: [&str; 4] = ["mp4", "mov", "mkv", "webm"];

/// Elements that are the second choice for a codec, and the plugin that provides the first choice.
const SECOND: &[(&str, &str)] = &[("av1dec", "libgstdav1d.so")];

/// The window of the clip, milliseconds: between two pictures.
const WINDOW: (i64, i64) = (717, 1_417);

/// The report that `clipfleet doctor` prints.
fn report() -> Vec<Value> {
    let output = Command::new(binary()).arg("--check").output().expect("starting the pipeline");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    report["decoders"].as_array().expect("decoders").clone()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().expect("a text")
}

/// Codecs that an installed element decodes. Prints those that are skipped.
fn decodable(rows: &[Value]) -> BTreeSet<&str> {
    let good: BTreeSet<&str> =
        rows.iter().filter(|row| row["available"] == true).map(|row| text(row, "codec")).collect();
    for row in rows.iter().filter(|row| !good.contains(text(row, "codec"))) {
        println!("skipped: {} is not decoded here; install {}", text(row, "codec"), text(row, "package"));
    }
    good
}

/// The sources of one container: every video and every audio track occurs in at least one of them.
fn sources(container: &str, codecs: &BTreeSet<&str>) -> Vec<(&'static Track, &'static Track)> {
    let carried = |tracks: &'static [Track]| -> Vec<&'static Track> {
        let legal = |track: &&Track| codecs.contains(track.codec) && track.containers.contains(&container);
        tracks.iter().filter(legal).collect()
    };
    let (video, audio) = (carried(VIDEO), carried(AUDIO));
    let count = video.len().max(audio.len());
    (0..count).map(|index| (video[index % video.len()], audio[index % audio.len()])).collect()
}

fn recipe(video: &Track, audio: &Track, container: &'static str) -> Recipe {
    Recipe {
        width: 320,
        height: 180,
        pictures: 60,
        video: video.arguments,
        audio: Some(audio.arguments),
        container: (&[], container),
        ..Recipe::default()
    }
}

#[test]
fn every_codec_that_the_doctor_reports_ok_is_exported_from_each_container_that_carries_it() {
    let rows = report();
    let codecs = decodable(&rows);
    let known: BTreeSet<&str> = VIDEO.iter().chain(AUDIO).map(|track| track.codec).collect();
    let without: Vec<&&str> = codecs.difference(&known).collect();
    assert!(without.is_empty(), "the doctor reports {without:?} as ok, but no source here has it: add one");

    let (mut exported, mut wrong) = (0, Vec::new());
    for container in CONTAINERS {
        for (video, audio) in sources(container, &codecs) {
            let name = format!(
                "{} ({}) with {} ({}) in {container}",
                video.codec, video.arguments[1], audio.codec, audio.arguments[1]
            );
            let cut = || {
                let directory = directory();
                let recipe = recipe(video, audio, container);
                let source = recipe.make(directory.path(), "source");
                check(&recipe, &Shape::square(&recipe), &source, &Order::of(WINDOW.0, WINDOW.1));
            };
            println!("{name}");
            match panic::catch_unwind(AssertUnwindSafe(cut)) {
                Ok(()) => exported += 1,
                Err(_) => wrong.push(name),
            }
        }
    }
    println!("{exported} clips");
    assert!(wrong.is_empty(), "{wrong:#?}; see the errors above");
}

/// Links all installed plugins except one into a directory.
fn plugins_without(plugin: &str, directory: &Path) -> PathBuf {
    let installed =
        Command::new("pkg-config").args(["--variable=pluginsdir", "gstreamer-1.0"]).output().expect("pkg-config");
    let installed = PathBuf::from(String::from_utf8(installed.stdout).expect("a path").trim());
    let plugins = directory.join("plugins");
    std::fs::create_dir(&plugins).expect("a directory");
    for entry in std::fs::read_dir(installed).expect("GStreamer's plugins") {
        let entry = entry.expect("an entry");
        if entry.file_name() != plugin {
            symlink(entry.path(), plugins.join(entry.file_name())).expect("a link");
        }
    }
    plugins
}

/// The second choice for a codec is used only where the first is missing, so this test removes the first.
#[test]
fn every_second_choice_that_the_doctor_reports_ok_decodes_as_well() {
    let rows = report();
    let mut firsts = BTreeSet::new();
    for row in rows.iter().filter(|row| row["available"] == true) {
        let (codec, element) = (text(row, "codec"), text(row, "element"));
        if firsts.insert(codec) {
            continue;
        }
        let found = SECOND.iter().find(|(name, _)| *name == element);
        let (_, plugin) =
            found.unwrap_or_else(|| panic!("{element} is a second choice for {codec}: add it to the table"));
        println!("{codec} with {element}, without {plugin}");
        let of = |tracks: &'static [Track]| tracks.iter().find(|track| track.codec == codec);
        let (video, audio) = (of(VIDEO).unwrap_or(&VIDEO[0]), of(AUDIO).unwrap_or(&AUDIO[0]));
        let recipe = recipe(video, audio, "mkv");
        let directory = directory();
        let source = recipe.make(directory.path(), "source");
        let plugins = plugins_without(plugin, directory.path());
        let mut command = Command::new(binary());
        command.envs(STRICT).env("GST_PLUGIN_SYSTEM_PATH_1_0", &plugins);
        command.env("GST_REGISTRY_1_0", directory.path().join("registry.bin"));
        let order = Order::of(WINDOW.0, WINDOW.1);
        let transcript = transcode_with(command, &order, &source);
        clipfleet_tests::clip::check_file(&transcript, (720, 720), &order);
        clipfleet_tests::clip::check_audio(Some(recipe.beeps()), &transcript.output(), &order);
    }
}
