//! What FFmpeg makes of a source: every picture and every sound of the tracks that count, on the file's own time line.
//!
//! FFmpeg decodes from the beginning and seeks nowhere, so edit lists, priming and offsets are applied by its own
//! rules.

use crate::{
    chart::{Chart, View},
    tones::RATE,
};
use serde_json::Value;
use std::{path::Path, process::Command};

/// Sound whose time stamp differs from where the sound before it ended by less than this continues it, seconds: stamps
/// of Matroska are rounded.
const CONTINUATION: f64 = 0.02;

/// Pictures of less height whose matrix is not told are BT.601, others BT.709: as in Chromium and GStreamer. FFmpeg's
/// scaler takes BT.601 for all.
const HIGH_DEFINITION: i64 = 720;

/// What FFmpeg 5.1 does not find out by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints {
    /// Filters that turn the picture as a Matroska pose says, where FFmpeg does not read it; empty for none.
    pub(crate) turn: &'static str,
    /// The channels have no layout: the first two are left and right.
    pub(crate) discrete: bool,
    /// Where an edit list joins two parts, milliseconds on the file's time line. FFmpeg cuts sound there by whole packets.
    pub(crate) join_ms: Option<i64>,
    /// The matrix that the container alone tells, in FFmpeg's words: its decoders of HEVC, VP9 and AV1 forget it.
    pub(crate) matrix: Option<&'static str>,
    /// Where an edit list cuts off the head of numbered pictures. FFmpeg begins it with the next picture, however long
    /// that is after the cut.
    pub(crate) cut: Option<Cut>,
}

/// A cut in milliseconds, and the time from one number to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) at_ms: f64,
    pub(crate) period_ms: f64,
}

/// One decoded picture.
#[derive(Debug)]
pub(crate) struct Picture {
    /// When it is shown, milliseconds on the file's time line.
    pub(crate) time_ms: f64,
    pub(crate) number: Result<u32, String>,
    /// Red, green, blue.
    pub(crate) image: Vec<u8>,
}

/// A stretch of sound without a gap.
#[derive(Debug)]
struct Stretch {
    /// Samples from the zero of the file's time line.
    begin: i64,
    sides: [Vec<f64>; 2],
}

/// The sound of one track, mixed to two sides.
#[derive(Debug)]
pub(crate) struct Sound {
    stretches: Vec<Stretch>,
    /// Channels as stored.
    pub(crate) channels: i64,
}

/// A source as FFmpeg decodes it.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) chart: Chart,
    pub(crate) view: View,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) sound: Option<Sound>,
    /// See [`Hints::join_ms`].
    pub(crate) join_ms: Option<i64>,
    /// For people.
    pub(crate) commands: Vec<String>,
}

/// The streams of a file, as FFprobe has them.
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

/// The track of a kind that a player takes: a default one before others, larger pictures before smaller ones, earlier
/// before later.
fn chosen<'a>(streams: &'a [Value], kind: &str) -> Option<&'a Value> {
    let disposition = |stream: &Value, name: &str| stream["disposition"][name].as_i64().unwrap_or(0);
    let area = |stream: &Value| stream["width"].as_i64().unwrap_or(0) * stream["height"].as_i64().unwrap_or(0);
    let decodable = |stream: &Value| i64::from(stream["codec_name"].as_str().is_some_and(|name| name != "unknown"));
    streams.iter().filter(|stream| stream["codec_type"] == kind && disposition(stream, "attached_pic") == 0).min_by_key(
        |stream| (-disposition(stream, "default"), -decodable(stream), -area(stream), stream["index"].as_i64()),
    )
}

/// Runs FFmpeg; gives its output and its words.
fn ffmpeg(arguments: &[&str]) -> (Vec<u8>, String) {
    let output =
        Command::new("ffmpeg").args(["-hide_banner", "-nostdin", "-v", "info", "-nostats"]).args(arguments).output();
    let output = output.expect("ffmpeg must be installed for media tests");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {}: {words}", arguments.join(" "));
    (output.stdout, words)
}

/// The fields `name:value` of the lines that a filter printed.
fn printed<'a>(words: &'a str, filter: &'a str) -> impl Iterator<Item = &'a str> {
    words.lines().filter(move |line| line.contains(filter) && line.contains(" pts_time:"))
}

fn field(line: &str, name: &str) -> f64 {
    let rest = line.split_once(name).map_or("", |(_, rest)| rest.trim_start());
    rest.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

impl Reference {
    /// Reads a source. The pictures are shown as `view` says.
    pub(crate) fn read(path: &Path, chart: Chart, view: View, hints: Hints) -> Self {
        let streams = streams(path);
        let mut reference =
            Self { chart, view, pictures: Vec::new(), sound: None, join_ms: hints.join_ms, commands: Vec::new() };
        let video = chosen(&streams, "video").expect("a picture track");
        reference.read_pictures(path, video, hints);
        if let Some(audio) = chosen(&streams, "audio") {
            reference.read_sound(path, audio, hints);
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
        let path = path.to_str().expect("a name");
        let map = format!("0:{index}");
        let arguments = ["-copyts", "-i", path, "-map", &map, "-vf", &filters, "-fps_mode", "passthrough"];
        let arguments = [&arguments[..], &["-f", "rawvideo", "pipe:1"]].concat();
        let (bytes, words) = ffmpeg(&arguments);
        self.commands.push(format!("ffmpeg {}", arguments.join(" ")));
        let images = bytes.chunks_exact(image_width * image_height * 3);
        for (line, image) in printed(&words, "showinfo").zip(images) {
            let number = self.chart.number(image, &self.view);
            self.pictures.push(Picture { time_ms: field(line, "pts_time:") * 1_000.0, number, image: image.to_vec() });
        }
        assert!(!self.pictures.is_empty(), "FFmpeg decodes no picture: {words}");
        self.pictures.sort_by(|a, b| a.time_ms.total_cmp(&b.time_ms));
        let first = self.pictures.iter().find_map(|picture| Some((*picture.number.as_ref().ok()?, picture.time_ms)));
        if let Some((Cut { at_ms, period_ms }, (number, time_ms))) = hints.cut.zip(first) {
            let early_ms = f64::from(number) * period_ms - at_ms - time_ms;
            self.pictures.iter_mut().for_each(|picture| picture.time_ms += early_ms);
        }
    }

    fn read_sound(&mut self, path: &Path, audio: &Value, hints: Hints) {
        let channels = audio["channels"].as_i64().unwrap_or(0);
        // Players give a single channel to both sides as it is; FFmpeg would lower it by 3 dB.
        let mix = match channels {
            1 => "pan=stereo|c0=c0|c1=c0,",
            _ if hints.discrete => "pan=stereo|c0=c0|c1=c1,",
            _ => "",
        };
        let rate: f64 = audio["sample_rate"].as_str().and_then(|rate| rate.parse().ok()).expect("a rate");
        let filters = format!(
            "ashowinfo,aformat=sample_fmts=fltp,{mix}aresample={RATE},aformat=sample_fmts=flt:channel_layouts=stereo"
        );
        let path = path.to_str().expect("a name");
        let map = format!("0:{}", audio["index"]);
        let arguments =
            ["-copyts", "-i", path, "-map", &map, "-af", &filters, "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"];
        let (bytes, words) = ffmpeg(&arguments);
        self.commands.push(format!("ffmpeg {}", arguments.join(" ")));
        let sides = sides(&bytes);
        let mut stretches: Vec<Stretch> = Vec::new();
        let (mut read, mut ended) = (0.0, f64::NAN);
        for line in printed(&words, "ashowinfo") {
            let (time, count) = (field(line, "pts_time:"), field(line, "nb_samples:"));
            let from = (read / rate * RATE as f64).round() as usize;
            read += count;
            let to = (read / rate * RATE as f64).round() as usize;
            let part = |side: &Vec<f64>| side[from.min(side.len())..to.min(side.len())].to_vec();
            match stretches.last_mut() {
                Some(last) if (time - ended).abs() <= CONTINUATION || time.is_nan() => {
                    last.sides.iter_mut().zip(&sides).for_each(|(last, side)| last.extend(part(side)));
                    ended += count / rate;
                }
                _ => {
                    let begin = (time * RATE as f64).round() as i64;
                    stretches.push(Stretch { begin, sides: [part(&sides[0]), part(&sides[1])] });
                    ended = time + count / rate;
                }
            }
        }
        self.sound = Some(Sound { stretches, channels });
    }

    /// When the first picture or sound is there and when the last one ends, milliseconds on the file's time line.
    pub(crate) fn span_ms(&self) -> (i64, i64) {
        let times: Vec<f64> = self.pictures.iter().map(|picture| picture.time_ms).collect();
        let interval = times.windows(2).map(|pair| pair[1] - pair[0]).next_back().unwrap_or(33.3).clamp(1.0, 50.0);
        let (mut from, mut to) = (times[0], times[times.len() - 1] + interval);
        if let Some(stretches) = self.sound.as_ref().map(|sound| &sound.stretches).filter(|all| !all.is_empty()) {
            let ms = |samples: i64| samples as f64 * 1_000.0 / RATE as f64;
            from = from.min(ms(stretches[0].begin));
            to = stretches.iter().map(|last| ms(last.begin + last.sides[0].len() as i64)).fold(to, f64::max);
        }
        (from.max(0.0).ceil() as i64, to.floor() as i64)
    }
}

/// How images of both sides of the comparison are scaled.
pub(crate) const SCALING: &str = "bilinear+accurate_rnd+full_chroma_int";

/// Interleaved 32-bit floating-point samples as two sides.
pub(crate) fn sides(bytes: &[u8]) -> [Vec<f64>; 2] {
    let samples: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|sample| f64::from(f32::from_le_bytes(sample.try_into().expect("4 bytes"))))
        .collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

impl Sound {
    /// That many samples of both sides from a time on, milliseconds; silence where there is nothing. Where stretches
    /// overlap, the earlier one is heard.
    pub(crate) fn window(&self, start_ms: i64, samples: usize) -> [Vec<f64>; 2] {
        let mut window = [vec![0.0; samples], vec![0.0; samples]];
        let (start, mut filled) = (start_ms * RATE as i64 / 1_000, 0);
        for stretch in &self.stretches {
            let begin = stretch.begin - start;
            let end = (begin + stretch.sides[0].len() as i64).clamp(0, samples as i64);
            for at in begin.max(filled)..end {
                for (window, side) in window.iter_mut().zip(&stretch.sides) {
                    window[at as usize] = side[(at - begin) as usize];
                }
            }
            filled = filled.max(end);
        }
        window
    }
}
