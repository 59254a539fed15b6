//! Tests of sources and orders that cannot work: each fails with its code.

use clipfleet_contract::v1::Error;
use clipfleet_tests::{
    audio::DecodedAudio,
    fixtures::{H264_LARGE, Recipe, declare_h266, directory},
    picture::first_picture_ms,
    pipeline_process::{Order, Transcript, start, transcode},
};
use std::{fs, path::Path};

fn code_of(bytes: &[u8], order: &Order) -> String {
    let directory = directory();
    let path = directory.path().join("source");
    fs::write(&path, bytes).expect("writing");
    transcode(order, &path).code().to_owned()
}

fn assert_message(transcript: &Transcript, parts: &[&str]) {
    let message = &transcript.outcome.as_ref().expect_err("a failure").message;
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} does not say {parts:?}");
}

#[test]
fn a_file_that_is_not_a_video_is_refused() {
    let order = Order::of(0, 1_000);
    assert_eq!(code_of(b"", &order), "source_empty");
    assert_eq!(code_of(b"just some words\n", &order), "source_not_media");
    assert_eq!(code_of(&[0; 5_000], &order), "source_not_media");
    let noise: Vec<u8> = (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(code_of(&noise, &order), "source_not_media");
    let empty_container = [b"\0\0\0\x18ftypisom\0\0\0\0isommp41".as_slice(), &noise].concat();
    assert_eq!(code_of(&empty_container, &order), "source_truncated");
}

#[test]
fn a_file_with_audio_only_has_no_video() {
    let directory = directory();
    let recipe = Recipe { pictures: 60, ..Recipe::default() };
    let source = recipe.make(directory.path(), "source");
    for extension in ["mp4", "mkv"] {
        let path = directory.path().join(format!("audio.{extension}"));
        let done = std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-i"])
            .arg(&source)
            .args(["-vn", "-c", "copy"])
            .arg(&path)
            .status();
        assert!(done.expect("ffmpeg must be installed for media tests").success());
        assert_eq!(transcode(&Order::of(0, 1_000), &path).code(), "source_has_no_video", "{extension}");
    }
}

#[test]
fn a_codec_that_nothing_decodes_is_named() {
    const FFV1: &[&str] = &["-c:v", "ffv1"];
    let directory = directory();
    let recipe = Recipe { pictures: 30, video: FFV1, ..Recipe::matroska() };
    let transcript = transcode(&Order::of(0, 500), &recipe.make(directory.path(), "source"));
    assert_eq!(transcript.code(), "source_codec_unsupported");
    assert_message(&transcript, &["FFV1", "convert it"]);
}

#[test]
fn h266_is_refused_by_its_name_in_every_container() {
    let directory = directory();
    for recipe in [Recipe::default(), Recipe::matroska()] {
        let source = Recipe { pictures: 30, ..recipe }.make(directory.path(), "source");
        declare_h266(&source);
        let transcript = transcode(&Order::of(0, 500), &source);
        assert_eq!(transcript.code(), "source_codec_unsupported", "{}", source.display());
        assert_message(&transcript, &["H.266 (VVC)", "convert it"]);
    }
}

fn kinds() -> [(&'static str, Recipe); 4] {
    [
        ("mp4", Recipe { pictures: 120, ..Recipe::default() }),
        ("mkv", Recipe { pictures: 120, ..Recipe::matroska() }),
        ("recorded", Recipe { pictures: 120, ..Recipe::recorded_vp8() }),
        ("silent", Recipe { pictures: 120, audio: None, ..Recipe::default() }),
    ]
}

#[test]
fn a_window_beyond_the_end_names_the_end() {
    let directory = directory();
    for (kind, recipe) in kinds() {
        let source = recipe.make(directory.path(), kind);
        let end_ms = 4_000 + first_picture_ms(&source);
        for window in [(3_000, 5_000), (3_900, 4_900), (6_000, 8_000), (60_000, 61_000)] {
            let transcript = transcode(&Order::of(window.0, window.1), &source);
            assert_eq!(transcript.code(), "window_beyond_end", "{kind} {window:?}");
            let named = transcript.outcome.as_ref().expect_err("a failure").message.clone();
            let near = (end_ms - 70..=end_ms + 30).any(|end| named.contains(&format!("at {end} ms")));
            assert!(near && named.contains(&format!("{}-{} ms", window.0, window.1)), "{kind}: {named}");
            assert!(!transcript.outcome.expect_err("a failure").retryable);
        }
    }
}

#[test]
fn a_window_slightly_beyond_the_end_is_accepted() {
    let directory = directory();
    for (kind, recipe) in kinds() {
        let source = recipe.make(directory.path(), kind);
        let finished = transcode(&Order::of(3_000, 4_080), &source).outcome.expect(kind);
        assert_eq!(finished.frames, 32, "{kind}");
    }
}

#[test]
fn a_source_that_breaks_off_is_truncated() {
    let directory = directory();
    let cut = |path: &Path, share: f64| {
        let bytes = fs::read(path).expect("the source");
        bytes[..(bytes.len() as f64 * share) as usize].to_vec()
    };
    let first = Recipe::default().make(directory.path(), "first");
    let last = Recipe::header_last().make(directory.path(), "last");
    let matroska = Recipe::matroska().make(directory.path(), "matroska");
    let order = Order::of(6_000, 7_500);
    assert_eq!(code_of(&cut(&first, 0.5), &order), "source_truncated");
    assert_eq!(code_of(&cut(&last, 0.9), &order), "source_truncated");
    assert_eq!(code_of(&cut(&matroska, 0.5), &order), "source_truncated");
    // The part that exists can still be cut.
    fs::write(directory.path().join("half"), cut(&first, 0.5)).expect("writing");
    transcode(&Order::of(1_000, 2_000), &directory.path().join("half")).output();
}

#[test]
fn the_last_picture_is_held_while_the_audio_continues() {
    let directory = directory();
    let long = Recipe::default().make(directory.path(), "long");
    let short = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "short");
    let both = directory.path().join("both.mp4");
    let done = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(&short)
        .arg("-i")
        .arg(&long)
        .args(["-map", "0:v", "-map", "1:a", "-c", "copy"])
        .arg(&both)
        .status();
    assert!(done.expect("ffmpeg must be installed for media tests").success());
    for (start_ms, end_ms) in [(1_000, 5_000), (3_000, 5_000)] {
        let transcript = transcode(&Order::of(start_ms, end_ms), &both);
        let manifest = transcript.manifest();
        assert!(manifest["notes"].as_array().is_some_and(|notes| notes.iter().any(|note| note == "source_frozen")));
    }
    // Beyond both tracks.
    let transcript = transcode(&Order::of(60_000, 61_000), &both);
    assert_eq!(transcript.code(), "window_beyond_end");
}

#[test]
fn the_code_of_a_failed_range_is_the_code_of_the_transcode() {
    let directory = directory();
    let source = Recipe { video: H264_LARGE, ..Recipe::default() }.make(directory.path(), "source");
    let bytes = fs::read(source).expect("the source");
    assert!(bytes.len() > 3 << 20, "{} bytes are too few blocks", bytes.len());
    for allowed in [0, 1] {
        let mut answered = 0;
        let transcript = start(&Order::of(5_000, 6_000), bytes.len() as u64).serve(|offset, length| {
            answered += 1;
            if answered > allowed {
                let (code, message) = ("source_changed".into(), "generation 7 is gone".into());
                return Err(Error { code, message, retryable: true, details: Vec::new() });
            }
            Ok(bytes[offset as usize..(offset + length) as usize].to_vec())
        });
        assert_eq!(transcript.code(), "source_changed");
        assert_message(&transcript, &["generation 7 is gone"]);
        assert!(transcript.outcome.expect_err("a failure").retryable);
    }
}

#[test]
fn an_encoder_that_is_not_installed_is_refused() {
    let directory = directory();
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let transcript = transcode(&Order { encoder: "nvh264enc", ..Order::of(0, 1_000) }, &source);
    assert_eq!(transcript.code(), "encoder_unavailable");
    assert_message(&transcript, &["nvh264enc", "x264enc"]);
}

#[test]
fn a_window_after_the_end_of_the_audio_is_silent() {
    let directory = directory();
    for (kind, recipe) in [("mp4", Recipe::default()), ("mkv", Recipe::matroska())] {
        let source = Recipe { audio_end_ms: Some(3_000), ..recipe }.make(directory.path(), kind);
        let transcript = transcode(&Order::of(6_000, 7_000), &source);
        assert_eq!(DecodedAudio::decode(&transcript.output()).peak(), [0, 0], "{kind}");
    }
}
