//! What FFmpeg decodes of a source: all pictures and audio of the selected tracks, on the file's own timeline.
//!
//! FFmpeg decodes from the start without seeking. It applies priming and offsets by its own rules, and edit lists too,
//! unless [`Hints::edits`] says otherwise.

use crate::{
    chart::{Chart, View},
    surgery::{self, Edit},
    tones::RATE,
};
use serde_json::Value;
use std::{path::Path, process::Command};

/// Audio whose timestamp differs from the end of the audio before it by less than this continues it, seconds:
/// Matroska's timestamps are rounded.
const CONTINUATION: f64 = 0.02;

/// Pictures of less height without a known matrix are BT.601, others BT.709, as in Chromium and GStreamer. FFmpeg's
/// scaler assumes BT.601 for all.
const HIGH_DEFINITION: i64 = 720;

/// Tolerance of the comparison of two times that may be equal, milliseconds.
const ROUNDING_MS: f64 = 0.001;

/// Properties of a source that FFmpeg 5.1 does not detect or does not follow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints {
    /// Filters that rotate the picture as its Matroska pose says, which FFmpeg does not read; empty for none.
    pub(crate) turn: &'static str,
    /// Whether the channels have no layout: the first two are then left and right.
    pub(crate) discrete: bool,
    /// The matrix that only the container declares, as FFmpeg names it: its decoders of HEVC, VP9 and AV1 ignore it.
    pub(crate) matrix: Option<&'static str>,
    /// Whether edit lists cut an MP4. FFmpeg then decodes without them, and [`Reference`] applies them: FFmpeg cuts
    /// audio by whole packets, delays pictures and does not cut AV1.
    pub(crate) edits: bool,
}

/// One decoded picture.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// When it is shown, milliseconds on the file's timeline.
    pub(crate) time_ms: f64,
    pub(crate) number: Result<u32, String>,
    /// Red, green, blue.
    pub(crate) image: Vec<u8>,
}

/// A section of audio without a gap.
#[derive(Debug)]
struct Section {
    /// Its start, samples from the zero of the file's timeline.
    begin: i64,
    sides: [Vec<f64>; 2],
}

impl Section {
    /// The part of the section that an entry of an edit list presents; `None` if it presents nothing of it.
    fn edited(&self, edit: &Edit) -> Option<Self> {
        let samples = |seconds: f64| (seconds * RATE as f64).round() as i64;
        let (begin, end) =
            (samples(edit.media) - self.begin, samples(edit.media + edit.length).saturating_sub(self.begin));
        let inside = |at: i64| at.clamp(0, self.sides[0].len() as i64);
        let range = inside(begin) as usize..inside(end) as usize;
        let sides = self.sides.each_ref().map(|side| side[range.clone()].to_vec());
        (!range.is_empty()).then_some(Self { begin: samples(edit.movie) + inside(begin) - begin, sides })
    }
}

/// The audio of one track, mixed to two channels.
#[derive(Debug)]
pub(crate) struct DecodedAudio {
    sections: Vec<Section>,
    /// Channels as stored.
    pub(crate) channels: i64,
}

/// A source as FFmpeg decodes it.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) chart: Chart,
    pub(crate) view: View,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) audio: Option<DecodedAudio>,
    /// The commands, for reports.
    pub(crate) commands: Vec<String>,
}

/// The streams of a file, as FFprobe lists them.
pub(crate) fn streams(path: &Path) -> Vec<Value> {
    let more = ["-probesize", "100M", "-analyzeduration", "200M", "-show_streams"];
    ffprobe(path, &more)["streams"].as_array().cloned().unwrap_or_default()
}

fn ffprobe(path: &Path, arguments: &[&str]) -> Value {
    let output = Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(arguments).arg(path).output();
    let output = output.expect("ffprobe must be installed for media tests");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The track of a kind that a player selects: default tracks first, then larger pictures, then earlier tracks.
fn chosen<'a>(streams: &'a [Value], kind: &str) -> Option<&'a Value> {
    let disposition = |stream: &Value, name: &str| stream["disposition"][name].as_i64().unwrap_or(0);
    let area = |stream: &Value| stream["width"].as_i64().unwrap_or(0) * stream["height"].as_i64().unwrap_or(0);
    let decodable = |stream: &Value| i64::from(stream["codec_name"].as_str().is_some_and(|name| name != "unknown"));
    streams.iter().filter(|stream| stream["codec_type"] == kind && disposition(stream, "attached_pic") == 0).min_by_key(
        |stream| (-disposition(stream, "default"), -decodable(stream), -area(stream), stream["index"].as_i64()),
    )
}

/// Runs FFmpeg and returns its output and messages.
fn ffmpeg(arguments: &[&str]) -> (Vec<u8>, String) {
    let output =
        Command::new("ffmpeg").args(["-hide_banner", "-nostdin", "-v", "info", "-nostats"]).args(arguments).output();
    let output = output.expect("ffmpeg must be installed for media tests");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {}: {words}", arguments.join(" "));
    (output.stdout, words)
}

/// Every time is that of the file, and `-ignore_editlist` keeps the media times of an MP4.
fn input_options(hints: Hints) -> &'static [&'static str] {
    if hints.edits { &["-copyts", "-ignore_editlist", "1"] } else { &["-copyts"] }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name")
}

fn edit_list(path: &Path, stream: &Value) -> Vec<Edit> {
    surgery::edit_list(path, stream["index"].as_u64().expect("an index") as usize)
}

/// The pictures that start within an entry of an edit list, at their times on the file's timeline.
fn edited_pictures(pictures: &[Picture], edit: &Edit) -> Vec<Picture> {
    let [movie, media, length] = [edit.movie, edit.media, edit.length].map(|seconds| seconds * 1_000.0);
    let presented = |picture: &&Picture| (media - ROUNDING_MS..media + length - ROUNDING_MS).contains(&picture.time_ms);
    let moved = |picture: &Picture| Picture { time_ms: picture.time_ms - media + movie, ..picture.clone() };
    pictures.iter().filter(presented).map(moved).collect()
}

/// The lines that a filter printed, with fields such as `name:value`.
fn printed<'a>(words: &'a str, filter: &'a str) -> impl Iterator<Item = &'a str> {
    words.lines().filter(move |line| line.contains(filter) && line.contains(" pts_time:"))
}

fn field(line: &str, name: &str) -> f64 {
    let rest = line.split_once(name).map_or("", |(_, rest)| rest.trim_start());
    rest.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

impl Reference {
    /// Reads a source. The pictures are cropped and scaled to `view`.
    pub(crate) fn read(path: &Path, chart: Chart, view: View, hints: Hints) -> Self {
        let streams = streams(path);
        let mut reference = Self { chart, view, pictures: Vec::new(), audio: None, commands: Vec::new() };
        let video = chosen(&streams, "video").expect("a picture track");
        reference.read_pictures(path, video, hints);
        if let Some(audio) = chosen(&streams, "audio") {
            reference.read_audio(path, audio, hints);
        }
        reference
    }

    fn read_pictures(&mut self, path: &Path, video: &Value, hints: Hints) {
        let index = video["index"].to_string();
        let first = ffprobe(path, &["-select_streams", &index, "-show_frames", "-read_intervals", "%+#1"]);
        let frame = &first["frames"][0];
        let tag = |name: &str| {
            let known = |value: &Value| value[name].as_str().filter(|text| *text != "unknown").map(str::to_owned);
            known(frame).or_else(|| known(video))
        };
        let full = tag("color_range").as_deref() == Some("pc")
            || frame["pix_fmt"].as_str().is_some_and(|format| format.starts_with("yuvj"));
        let height = frame["height"].as_i64().unwrap_or(0);
        let matrix = match tag("color_space").as_deref().or(hints.matrix) {
            Some("bt709") => "bt709",
            Some("bt2020nc") => "bt2020",
            Some("smpte170m" | "bt470bg") => "bt601",
            _ if height >= HIGH_DEFINITION => "bt709",
            _ => "bt601",
        };
        let range = if full { "full" } else { "limited" };
        let [left, top, width, height] = self.view.window.map(|side| side as u32);
        let (image_width, image_height) = self.view.size;
        let is_read = video["side_data_list"]
            .as_array()
            .is_some_and(|list| list.iter().any(|entry| entry["side_data_type"].as_str() == Some("Display Matrix")));
        let turn = if hints.turn.is_empty() || is_read { String::new() } else { format!("{},", hints.turn) };
        let filters = format!(
            "showinfo,{turn}crop={width}:{height}:{left}:{top},scale={image_width}:{image_height}:in_range={range}:\
             in_color_matrix={matrix}:flags={SCALING},format=rgb24"
        );
        let map = format!("0:{index}");
        let arguments = ["-i", text(path), "-map", &map, "-vf", &filters, "-fps_mode", "passthrough"];
        let arguments = [input_options(hints), &arguments, &["-f", "rawvideo", "pipe:1"]].concat();
        let (bytes, words) = ffmpeg(&arguments);
        self.commands.push(format!("ffmpeg {}", arguments.join(" ")));
        let (numerator, denominator) =
            video["time_base"].as_str().and_then(|base| base.split_once('/')).expect("a unit");
        let unit = numerator.parse::<f64>().expect("a number") / denominator.parse::<f64>().expect("a number");
        let images = bytes.chunks_exact(image_width * image_height * 3);
        for (line, image) in printed(&words, "showinfo").zip(images) {
            let number = self.chart.number(image, &self.view);
            let time_ms = field(line, "pts:") * 1_000.0 * unit;
            self.pictures.push(Picture { time_ms, number, image: image.to_vec() });
        }
        if hints.edits {
            let edits = edit_list(path, video);
            self.pictures = edits.iter().flat_map(|edit| edited_pictures(&self.pictures, edit)).collect();
        }
        assert!(!self.pictures.is_empty(), "FFmpeg decodes no picture: {words}");
        self.pictures.sort_by(|a, b| a.time_ms.total_cmp(&b.time_ms));
    }

    fn read_audio(&mut self, path: &Path, audio: &Value, hints: Hints) {
        let channels = audio["channels"].as_i64().unwrap_or(0);
        // Players play a single channel on both sides at full level. FFmpeg would lower it by 3 dB.
        let mix = match channels {
            1 => "pan=stereo|c0=c0|c1=c0,",
            _ if hints.discrete => "pan=stereo|c0=c0|c1=c1,",
            _ => "",
        };
        let rate: f64 = audio["sample_rate"].as_str().and_then(|rate| rate.parse().ok()).expect("a rate");
        let filters = format!(
            "ashowinfo,aformat=sample_fmts=fltp,{mix}aresample={RATE},aformat=sample_fmts=flt:channel_layouts=stereo"
        );
        let map = format!("0:{}", audio["index"]);
        let arguments = ["-i", text(path), "-map", &map, "-af", &filters, "-c:a", "pcm_f32le"];
        let arguments = [input_options(hints), &arguments, &["-f", "f32le", "pipe:1"]].concat();
        let (bytes, words) = ffmpeg(&arguments);
        self.commands.push(format!("ffmpeg {}", arguments.join(" ")));
        let sides = sides(&bytes);
        let mut sections: Vec<Section> = Vec::new();
        let (mut read, mut ended) = (0.0, f64::NAN);
        for line in printed(&words, "ashowinfo") {
            let (time, count) = (field(line, "pts:") / rate, field(line, "nb_samples:"));
            let from = (read / rate * RATE as f64).round() as usize;
            read += count;
            let to = (read / rate * RATE as f64).round() as usize;
            let part = |side: &Vec<f64>| side[from.min(side.len())..to.min(side.len())].to_vec();
            match sections.last_mut() {
                Some(last) if (time - ended).abs() <= CONTINUATION || time.is_nan() => {
                    last.sides.iter_mut().zip(&sides).for_each(|(last, side)| last.extend(part(side)));
                    ended += count / rate;
                }
                _ => {
                    let begin = (time * RATE as f64).round() as i64;
                    sections.push(Section { begin, sides: [part(&sides[0]), part(&sides[1])] });
                    ended = time + count / rate;
                }
            }
        }
        if hints.edits {
            let edits = edit_list(path, audio);
            let presented = edits.iter().flat_map(|edit| sections.iter().filter_map(|section| section.edited(edit)));
            sections = presented.collect();
        }
        self.audio = Some(DecodedAudio { sections, channels });
    }

    /// When the first picture or audio starts and when the last one ends, milliseconds on the file's timeline.
    pub(crate) fn span_ms(&self) -> (i64, i64) {
        let times: Vec<f64> = self.pictures.iter().map(|picture| picture.time_ms).collect();
        let interval = times.windows(2).map(|pair| pair[1] - pair[0]).next_back().unwrap_or(33.3).clamp(1.0, 50.0);
        let (mut from, mut to) = (times[0], times[times.len() - 1] + interval);
        if let Some(sections) = self.audio.as_ref().map(|audio| &audio.sections).filter(|all| !all.is_empty()) {
            let ms = |samples: i64| samples as f64 * 1_000.0 / RATE as f64;
            from = from.min(ms(sections[0].begin));
            to = sections.iter().map(|last| ms(last.begin + last.sides[0].len() as i64)).fold(to, f64::max);
        }
        (from.max(0.0).ceil() as i64, to.floor() as i64)
    }
}

/// The scaling of images for both sides of the comparison.
pub(crate) const SCALING: &str = "bilinear+accurate_rnd+full_chroma_int";

/// Splits interleaved 32-bit floating-point samples into two channels.
pub(crate) fn sides(bytes: &[u8]) -> [Vec<f64>; 2] {
    let samples: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|sample| f64::from(f32::from_le_bytes(sample.try_into().expect("4 bytes"))))
        .collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

impl DecodedAudio {
    /// The samples of both channels from a time on; silence where there is no audio. Where sections overlap, the
    /// earlier one counts.
    pub(crate) fn window(&self, start_ms: i64, samples: usize) -> [Vec<f64>; 2] {
        let mut window = [vec![0.0; samples], vec![0.0; samples]];
        let (start, mut filled) = (start_ms * RATE as i64 / 1_000, 0);
        for section in &self.sections {
            let begin = section.begin - start;
            let end = (begin + section.sides[0].len() as i64).clamp(0, samples as i64);
            for at in begin.max(filled)..end {
                for (window, side) in window.iter_mut().zip(&section.sides) {
                    window[at as usize] = side[(at - begin) as usize];
                }
            }
            filled = filled.max(end);
        }
        window
    }
}
