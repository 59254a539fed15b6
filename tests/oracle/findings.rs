//! Failures from public reports that were reproduced with the product, each with its own command and the value that
//! FFmpeg and Chromium agree on. The generator draws sources of the same kinds; these are the first known cases.

use crate::{
    judge::{Verdict, geometry, judge, judge_against},
    make::ffmpeg,
    reference::{Hints, Reference, sides},
    source::{AudioCodec, Channels, Container, Matrix, Orientation, Primaries, Source, Tags, Tracks, Video},
    surgery,
    tones::{self, RATE},
};
use clipfleet_tests::{
    fixtures::directory,
    pipeline_process::{Order, transcode},
};
use std::path::{Path, PathBuf};

/// Eight seconds of numbered pictures with tones and a click each second: `any.mp4` of the reports.
fn any() -> Source {
    Source { seconds: 8, size: (640, 360), ..Source::plain() }
}

/// Makes `any.mp4` and runs a command on it. In the command, `any` is the source and the last word is the name of the
/// result.
fn derived(directory: &Path, source: &Source, command: &[&str]) -> PathBuf {
    let any = source.make(directory, "any").path;
    run(directory, &any, command)
}

fn run(directory: &Path, any: &Path, command: &[&str]) -> PathBuf {
    let (name, arguments) = command.split_last().expect("a name");
    let path = directory.join(name);
    let text = |path: &Path| path.to_str().expect("a name").to_owned();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|word| if *word == "any" { text(any) } else { (*word).to_owned() })
        .chain([text(&path)])
        .collect();
    ffmpeg(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    path
}

fn wide(start_ms: i64, end_ms: i64) -> Order {
    Order { aspect: "16:9", ..Order::of(start_ms, end_ms) }
}

fn verdict(path: &Path, order: &Order) -> Verdict {
    judge(path, any().chart(), order, Hints::default())
}

/// The audio of a clip, both channels.
fn decode_audio(clip: &Path) -> [Vec<f64>; 2] {
    let clip = clip.to_str().expect("a name");
    sides(&ffmpeg(&["-i", clip, "-c:a", "pcm_f32le", "-ac", "2", "-ar", "48000", "-f", "f32le", "pipe:1"]))
}

/// Greys of a source: near black and white, and where the two ranges differ most.
const GREYS: [u8; 4] = [8, 32, 192, 250];

/// The greys of a clip's first frame, each from the centre of its quarter.
fn greys(clip: &Path) -> Vec<u8> {
    let clip = clip.to_str().expect("a name");
    let filters =
        "scale=4:1:in_range=limited:in_color_matrix=bt709:flags=area+accurate_rnd+full_chroma_int,format=rgb24";
    let middle = "crop=iw:16,";
    let quarters = ["0", "iw/4", "iw/2", "iw*3/4"].map(|left| format!("{middle}crop=iw/4-32:16:{left}+16:0,{filters}"));
    let grey = |filters: &String| {
        let bytes = ffmpeg(&["-i", clip, "-frames:v", "1", "-vf", filters, "-f", "rawvideo", "pipe:1"]);
        bytes[bytes.len() / 2]
    };
    quarters.iter().map(grey).collect()
}

/// The code and message with which the pipeline refuses a file.
fn refusal(path: &Path) -> (String, String) {
    let error = transcode(&wide(0, 1_000), path).outcome.expect_err("a file that is refused");
    (error.code, error.message)
}

#[test]
fn m1_audio_in_one_channel_stays_in_that_channel() {
    let directory = directory();
    for (channels, levels) in [("0.3*sin(2*PI*1000*t)|0", [-13.5, -120.0]), ("0|0.3*sin(2*PI*1000*t)", [-120.0, -13.5])]
    {
        let audio = format!("aevalsrc='{channels}':c=stereo:s=48000:d=8");
        let inputs = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=8", "-f", "lavfi", "-i", &audio];
        let coders = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "192k", "one-side.mp4"];
        let path = run(directory.path(), Path::new(""), &[&inputs[..], &coders].concat());
        let actual = decode_audio(&transcode(&wide(2_000, 4_000), &path).output());
        for (side, level) in actual.iter().zip(levels) {
            let got = tones::level_db(side);
            assert!(if level < -60.0 { got < -60.0 } else { (got - level).abs() < 1.0 }, "{got:.1} dB, not {level}");
        }
    }
}

#[test]
fn m1_the_two_channels_stay_separate_and_keep_their_phase() {
    let directory = directory();
    for channels in [Channels::Stereo, Channels::LeftOnly, Channels::RightOnly, Channels::AntiPhase, Channels::Mono] {
        let path = Source { channels, ..any() }.make(directory.path(), "any").path;
        verdict(&path, &wide(2_000, 4_000)).assert_equal(&format!("{channels:?}"));
    }
}

#[test]
fn m2_a_full_range_grey_keeps_its_level() {
    let h264: &[&str] = &["-c:v", "libx264"];
    let hevc: &[&str] = &["-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1"];
    let vp9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
    let av1: &[&str] = &["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8"];
    let quarter = |index: usize| {
        let grey = GREYS[index];
        format!("drawbox=x={}:w=160:h=360:color=0x{grey:02X}{grey:02X}{grey:02X}:t=fill", index * 160)
    };
    let painted = format!("color=black:s=640x360:r=30:d=1.2,format=rgb24,{}", [0, 1, 2, 3].map(quarter).join(","));
    let directory = directory();
    let mut wrong = Vec::new();
    let containers = [(h264, "mp4"), (h264, "mkv"), (hevc, "mp4"), (hevc, "mkv"), (vp9, "webm"), (vp9, "mp4")];
    for (codec, container) in containers.into_iter().chain([(av1, "mp4"), (av1, "mkv")]) {
        let convert = "scale=out_color_matrix=bt709:out_range=pc,format=yuv420p";
        let tags = ["-color_range", "pc", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"];
        let name = format!("full.{container}");
        let command = [&["-f", "lavfi", "-i", &painted, "-vf", convert], codec, &tags, &[&name]].concat();
        let path = run(directory.path(), Path::new(""), &command);
        let got = greys(&transcode(&wide(0, 1_000), &path).output());
        if got.iter().zip(GREYS).any(|(got, grey)| got.abs_diff(grey) > 4) {
            wrong.push(format!("{} in {container}: {GREYS:?} become {got:?}", codec[1]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn m3_h264_with_start_codes_is_exported_as_chromium_records_it() {
    let directory = directory();
    let any = any().make(directory.path(), "any").path;
    // The parameter sets are in the stream, as a recorder writes them.
    let x264 = ["-i", "any", "-c:v", "libx264", "-bf", "0", "-x264-params", "repeat-headers=1", "-c:a", "libopus"];
    let matroska = run(directory.path(), &any, &[&x264[..], &["chromium.mkv"]].concat());
    surgery::as_byte_stream_matroska(&matroska, 1);
    let avc3 = run(directory.path(), &any, &[&x264[..], &["chromium.mp4"]].concat());
    surgery::rename(&avc3, b"avc1", b"avc3");
    for path in [&matroska, &avc3] {
        verdict(path, &wide(2_000, 3_500)).assert_equal(&path.display().to_string());
    }
}

#[test]
fn m4_a_file_cut_without_encoding_keeps_its_audio() {
    let directory = directory();
    let long =
        derived(directory.path(), &any(), &["-i", "any", "-c:v", "libx264", "-g", "250", "-c:a", "aac", "long.mp4"]);
    let cut = run(directory.path(), &long, &["-ss", "3.7", "-i", "any", "-c", "copy", "cut.mp4"]);
    verdict(&cut, &wide(1_000, 2_000)).assert_equal("cut by -ss 3.7 -c copy");
    verdict(&cut, &wide(3_000, 4_200)).assert_equal("the same, near its end");
}

#[test]
fn m4_edit_lists_are_played_as_they_are_written() {
    let directory = directory();
    type Parts = &'static [(u32, u32)];
    let cases: [(&str, Parts, i64); 4] = [
        ("head and tail left out", &[(3_000, 7_000)], 2_500),
        ("only the tail left out", &[(0, 5_000)], 3_500),
        ("two parts", &[(0, 2_000), (4_000, 7_000)], 1_300),
        ("two parts that changed places", &[(4_000, 6_000), (1_000, 3_000)], 100),
    ];
    let mut wrong = Vec::new();
    for (what, parts, start) in cases {
        let path = any().make(directory.path(), "edited").path;
        surgery::edit_mp4(&path, parts);
        let verdict =
            |start, end| judge(&path, any().chart(), &wide(start, end), Hints { edits: true, ..Hints::default() });
        let played = verdict(start, start + 1_400);
        wrong.extend(played.differences.iter().map(|difference| format!("{what}: {difference:?}")));
        if what == "two parts that changed places" {
            // A clip across the place where time goes back is refused with that reason.
            let refused = verdict(1_300, 2_700);
            assert!(refused.has("refused as source_edits_go_back"), "{:?}", refused.differences);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn m5_clips_count_from_the_zero_of_the_file() {
    let directory = directory();
    // FFmpeg does not read the colours of VP8's container: see the README.
    let any = Source { matrix: Matrix::Bt601, primaries: Primaries::Bt601, tags: Tags::None, ..any() }
        .make(directory.path(), "any")
        .path;
    let late = ["-itsoffset", "1", "-i", "any", "-i", "any", "-map", "0:v", "-map", "1:a", "-c", "copy", "late.mp4"];
    let late = run(directory.path(), &any, &late);
    let audio =
        ["-i", "any", "-itsoffset", "1", "-i", "any", "-map", "0:v", "-map", "1:a", "-c", "copy", "audio-late.mp4"];
    let audio = run(directory.path(), &any, &audio);
    let vp8 = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-b:v", "3M", "-c:a", "libopus"];
    let offset =
        run(directory.path(), &any, &[&["-i", "any"][..], &vp8, &["-output_ts_offset", "3", "offset.webm"]].concat());
    for (path, windows) in [
        (&late, [(500, 1_700), (2_000, 3_000)]),
        (&audio, [(500, 1_700), (2_000, 3_000)]),
        (&offset, [(3_000, 4_000), (5_000, 6_000)]),
    ] {
        for (start, end) in windows {
            verdict(path, &wide(start, end)).assert_equal(&format!("{} {start}-{end}", path.display()));
        }
    }
}

#[test]
fn m6_the_last_picture_is_held_while_the_audio_continues() {
    let directory = directory();
    // As above.
    let any = Source { matrix: Matrix::Bt601, primaries: Primaries::Bt601, tags: Tags::None, ..any() }
        .make(directory.path(), "any")
        .path;
    let still = [
        "-i",
        "any",
        "-vf",
        r"select=lt(t\,2)",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "-8",
    ];
    let still = run(directory.path(), &any, &[&still[..], &["-b:v", "3M", "-c:a", "libopus", "still.webm"]].concat());
    verdict(&still, &wide(1_500, 3_000)).assert_equal("across the last change");
    verdict(&still, &wide(4_000, 5_500)).assert_equal("beyond the last change");
    let one = [
        "-i",
        "any",
        "-filter_complex",
        "[0:v]trim=end_frame=1[v]",
        "-map",
        "[v]",
        "-map",
        "0:a",
        "-fps_mode",
        "passthrough",
    ];
    let one = run(directory.path(), &any, &[&one[..], &["-c:v", "libx264", "-c:a", "aac", "one.mp4"]].concat());
    verdict(&one, &wide(4_000, 5_500)).assert_equal("one picture of 33 ms");
    surgery::hold_last_picture(&one, 8_000);
    verdict(&one, &wide(4_000, 5_500)).assert_equal("one picture that lasts 8 s");
}

#[test]
fn m7_audio_continues_after_a_long_gap() {
    let directory = directory();
    let gap = [
        "-i",
        "any",
        "-vf",
        r"setpts=PTS+gte(T\,4)*40/TB",
        "-af",
        r"asetpts=PTS+gte(T\,4)*40/TB",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-g",
        "60",
        "-bf",
        "2",
        "-c:a",
        "aac",
        "gap.mp4",
    ];
    let gap = derived(directory.path(), &any(), &gap);
    verdict(&gap, &wide(45_500, 47_500)).assert_equal("after the gap");
    verdict(&gap, &wide(3_200, 4_600)).assert_equal("into the gap");
}

#[test]
fn m8_a_clip_of_intra_refresh_starts_with_complete_pictures() {
    let directory = directory();
    let refresh = [
        "-i",
        "any",
        "-c:v",
        "libx264",
        "-x264-params",
        "intra-refresh=1:keyint=60:bframes=0",
        "-c:a",
        "aac",
        "refresh.mp4",
    ];
    let refresh = derived(directory.path(), &any(), &refresh);
    verdict(&refresh, &wide(2_500, 4_500)).assert_equal("intra refresh");
}

#[test]
fn m9_the_default_and_decodable_tracks_and_the_largest_picture_are_selected() {
    let directory = directory();
    let second = Source { tracks: Tracks::SecondAudioDefault, ..any() }.make(directory.path(), "second").path;
    verdict(&second, &wide(2_000, 3_500)).assert_equal("the second audio track is the default");
    let any = any().make(directory.path(), "any").path;
    let dts = [
        "-i", "any", "-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy", "-c:a:0", "dca", "-strict", "-2",
        "dts.mkv",
    ];
    let dts = run(directory.path(), &any, &dts);
    // FFmpeg would select the DTS, which it decodes. The reference has only the AAC.
    let aac = run(directory.path(), &any, &["-i", "any", "-map", "0:v", "-map", "0:a", "-c", "copy", "aac.mkv"]);
    let order = wide(2_000, 3_500);
    let reference =
        Reference::read(&aac, self::any().chart(), geometry(self::any().chart(), &order).0, Hints::default());
    judge_against(&dts, &reference, &order).assert_equal("DTS first, AAC second");
    let chapters = ["-f", "lavfi", "-i", "color=c=teal:s=160x90:r=1:d=8", "-c:v", "mjpeg", "chapters.mov"];
    let chapters = run(directory.path(), &any, &chapters);
    let chapters = chapters.to_str().expect("a name");
    let front = ["-i", chapters, "-i", "any", "-map", "0:v", "-map", "1:v", "-map", "1:a", "-c", "copy", "front.mov"];
    let front = run(directory.path(), &any, &front);
    verdict(&front, &wide(2_000, 3_500)).assert_equal("chapters in front");
}

#[test]
fn m10_channels_without_a_layout_become_left_and_right() {
    let directory = directory();
    let source = Source { channels: Channels::Discrete, container: Container::Mov, audio: AudioCodec::PcmS16, ..any() };
    let path = source.make(directory.path(), "quad").path;
    judge(&path, any().chart(), &wide(2_000, 3_500), Hints { discrete: true, ..Hints::default() })
        .assert_equal("four channels");
}

/// Found by the generator: QuickTime describes such rates differently, and the demuxer takes that for packets of
/// variable size.
#[test]
fn raw_audio_of_96_khz_continues_to_the_end() {
    let directory = directory();
    let source = Source { container: Container::Mov, audio: AudioCodec::PcmS24, sample_rate: 96_000, ..any() };
    let path = source.make(directory.path(), "fast").path;
    verdict(&path, &wide(2_000, 3_500)).assert_equal("96 kHz");
}

/// Found by the generator: the demuxer guesses the frame rate of each fragment again.
#[test]
fn av1_in_fragments_loses_no_picture() {
    let directory = directory();
    let source = Source { container: Container::Fragmented, video: Video::Av1, ..any() };
    let path = source.make(directory.path(), "fragments").path;
    verdict(&path, &wide(1_132, 4_532)).assert_equal("AV1");
}

#[test]
fn m11_a_matroska_file_is_rotated_as_its_pose_says() {
    let directory = directory();
    for (orientation, turn) in [
        (Orientation::Right, "transpose=clock"),
        (Orientation::Half, "hflip,vflip"),
        (Orientation::Left, "transpose=cclock"),
    ] {
        let source = Source { orientation, container: Container::Mkv, ..any() };
        let path = source.make(directory.path(), "posed").path;
        judge(&path, source.chart(), &wide(2_000, 3_000), Hints { turn, ..Hints::default() }).assert_equal(turn);
    }
}

#[test]
fn m12_audio_with_a_drifting_clock_has_no_gaps() {
    let directory = directory();
    let tone = [
        "-i",
        "any",
        "-f",
        "lavfi",
        "-i",
        "sine=f=440:r=48000:d=8",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
    ];
    let tone = derived(directory.path(), &any(), &[&tone[..], &["tone.mp4"]].concat());
    let drift = run(directory.path(), &tone, &["-i", "any", "-c", "copy", "-bsf:a", "setts=ts=TS*1.01", "drift.mkv"]);
    let actual = decode_audio(&transcode(&wide(1_000, 7_000), &drift).output());
    let part = RATE / 500;
    let levels: Vec<f64> = actual[0].chunks(part).map(tones::level_db).collect();
    let usual = levels[levels.len() / 2];
    let gaps: Vec<usize> =
        (5..levels.len() - 5 - 1_024 / part).filter(|at| levels[*at] < usual - 6.0).map(|at| at * 2).collect();
    assert!(gaps.is_empty(), "the tone of {usual:.1} dB is interrupted at {gaps:?} ms");
}

#[test]
fn m13_an_encrypted_file_is_refused_as_encrypted() {
    let directory = directory();
    let key = "76a6c65c5ea762046bd749a2e632ccbb";
    let scheme =
        ["-i", "any", "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid"];
    let path = derived(
        directory.path(),
        &any(),
        &[&scheme[..], &["a7e61c373e219033c21091fa607bf3b8", "encrypted.mp4"]].concat(),
    );
    let (code, message) = refusal(&path);
    assert!(message.contains("encrypted"), "{code}: {message}");
}

#[test]
fn m14_refusals_name_containers_and_codecs_by_their_common_names() {
    let directory = directory();
    let any = any().make(directory.path(), "any").path;
    let mut wrong = Vec::new();
    let cases: [(&[&str], &[&str]); 7] = [
        (&["-i", "any", "-c:v", "mpeg4", "-c:a", "libmp3lame", "a.avi"], &["AVI"]),
        (
            &["-i", "any", "-c:v", "libx264", "-c:a", "aac", "-f", "mpegts", "-mpegts_m2ts_mode", "1", "a.m2ts"],
            &["M2TS", "transport stream"],
        ),
        (&["-i", "any", "-c:v", "mpeg2video", "-c:a", "pcm_s16le", "a.mxf"], &["MXF"]),
        (&["-i", "any", "-an", "-c:v", "copy", "-bsf:v", "h264_mp4toannexb", "a.h264"], &["H.264"]),
        (&["-i", "any", "-t", "1", "-an", "-c:v", "libwebp", "-loop", "0", "a.webp"], &["WebP"]),
        (
            &[
                "-i",
                "any",
                "-an",
                "-vf",
                "scale=1280:720,format=yuv422p",
                "-c:v",
                "dnxhd",
                "-profile:v",
                "dnxhr_sq",
                "a.mov",
            ],
            &["DNxHR", "DNxHD"],
        ),
        (&["-i", "any", "-an", "-c:v", "huffyuv", "-pix_fmt", "yuv422p", "b.mkv"], &["HuffYUV", "Huffyuv"]),
    ];
    for (command, names) in cases {
        let path = run(directory.path(), &any, command);
        let (code, message) = refusal(&path);
        let clumsy = message.contains("file, not a video file") || message.contains(".rs");
        if clumsy || !names.iter().any(|name| message.contains(name)) {
            wrong.push(format!("{}: {code}: {message}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn m15_fractional_times_are_refused_by_name_and_whole_ones_are_accepted() {
    let request = |start: &str| {
        let clip = format!(r#"{{"clipId": "a", "startMs": {start}, "endMs": 20000}}"#);
        let text = format!(r#"{{"source": {{"uri": "gs://bucket/object"}}, "clips": [{clip}]}}"#);
        clipfleet_contract::batch::from_json(text.as_bytes())
    };
    for whole in ["500.0", "5e2", "500", "\"500\""] {
        let batch = request(whole).unwrap_or_else(|failure| panic!("{whole}: {failure:?}"));
        assert_eq!(batch.clips[0].start_ms, 500, "{whole}");
    }
    let failure = format!("{:?}", request("12500.5").expect_err("half a millisecond"));
    assert!(failure.contains("a whole number of milliseconds") && failure.contains("12500.5"), "{failure}");
}

#[test]
fn m16_surround_keeps_its_balance_and_reaches_the_target_loudness() {
    let directory = directory();
    let path = Source { channels: Channels::Surround51, ..any() }.make(directory.path(), "surround").path;
    verdict(&path, &wide(2_000, 4_000)).assert_equal("5.1");
    let order = Order { normalize_loudness: Some((-14.0, -1.5)), ..wide(1_000, 7_000) };
    let transcript = transcode(&order, &path);
    let clip = transcript.output();
    let measure = [
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-i",
        clip.to_str().expect("a name"),
        "-af",
        "ebur128",
        "-f",
        "null",
        "-",
    ];
    let output = std::process::Command::new("ffmpeg").args(measure).output().expect("ffmpeg");
    let words = String::from_utf8_lossy(&output.stderr);
    let summary = words.rsplit("I:").next().and_then(|rest| rest.trim_start().split(' ').next());
    let loudness: f64 = summary.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{words}"));
    assert!((loudness + 14.0).abs() < 0.6, "{loudness} LUFS");
}
