//! Makes sources with FFmpeg, and edits the bytes where FFmpeg cannot.

use crate::{
    chart::Chart,
    source::{
        AudioCodec, Channels, Container, Edits, Gap, Group, Matrix, Orientation, Pixel, Primaries, Rate, Source, Tags,
        Tracks, Video,
    },
    surgery,
    tones::{self, Channel},
};
use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A source in a file, and the commands that made it.
#[derive(Debug)]
pub(crate) struct GeneratedSource {
    pub(crate) path: PathBuf,
    /// Each command and each edit, for reports.
    pub(crate) commands: Vec<String>,
}

/// Runs FFmpeg and returns its output.
///
/// # Panics
/// If it fails, with its words.
pub(crate) fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new("ffmpeg").args(["-hide_banner", "-v", "error", "-nostdin", "-y"]).args(arguments).output();
    let output = output.expect("ffmpeg must be installed for media tests");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {}: {words}", arguments.join(" "));
    output.stdout
}

impl Source {
    /// The chart of the displayed picture.
    pub(crate) fn chart(&self) -> Chart {
        Chart { width: self.size.0 as usize, height: self.size.1 as usize }
    }

    /// Makes the source in a directory.
    ///
    /// # Panics
    /// If FFmpeg cannot, with its words.
    pub(crate) fn make(&self, directory: &Path, name: &str) -> GeneratedSource {
        let path = directory.join(format!("{name}.{}", self.extension()));
        let mut commands = Vec::new();
        self.encode(directory, name, &path, &mut commands);
        if let Edits::CopyCut(ms) = self.edits {
            let cut = directory.join(format!("{name}-cut.{}", self.extension()));
            let from = format!("{}ms", ms);
            let faststart: &[&str] =
                if self.container == Container::FastStart { &["-movflags", "+faststart"] } else { &[] };
            let arguments = [
                &["-ss", &from, "-i", text(&path), "-map", "0", "-c", "copy", "-strict", "experimental"],
                faststart,
                &[text(&cut)],
            ]
            .concat();
            ffmpeg(&arguments);
            commands.push(format!("ffmpeg {}", arguments.join(" ")));
            std::fs::rename(&cut, &path).expect("renaming");
        }
        self.edit_container(&path, &mut commands);
        GeneratedSource { path, commands }
    }

    fn extension(&self) -> &'static str {
        match self.container {
            Container::Mp4 | Container::FastStart | Container::Fragmented => "mp4",
            Container::Mov => "mov",
            Container::Mkv => "mkv",
            Container::Webm | Container::LiveWebm => "webm",
        }
    }

    pub(crate) fn is_matroska(&self) -> bool {
        matches!(self.container, Container::Mkv | Container::Webm | Container::LiveWebm)
    }

    fn encode(&self, directory: &Path, name: &str, path: &Path, commands: &mut Vec<String>) {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let seconds = |ms: u32| format!("{}ms", ms);
        if let Edits::PicturesLate(ms) = self.edits {
            add(&["-itsoffset", &seconds(ms)]);
        }
        let (width, height) = self.size;
        add(&["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &format!("{width}x{height}"), "-r", &self.rate_text()]);
        add(&["-i", "pipe:0"]);
        let audio_tracks = self.audio_tracks(directory, name);
        for (index, (audio, channels)) in audio_tracks.iter().enumerate() {
            if let (Edits::AudioLate(ms), 0) = (self.edits, index) {
                add(&["-itsoffset", &seconds(ms)]);
            }
            add(&["-f", "f32le", "-ar", &self.sample_rate.to_string()]);
            match (channels, self.channels, index) {
                (4, Channels::Quad | Channels::Discrete, 0) => add(&["-ch_layout", "quad"]),
                (count, ..) => add(&["-ac", &count.to_string()]),
            }
            add(&["-i", text(audio)]);
        }
        let extra = 1 + audio_tracks.len();
        match self.tracks {
            Tracks::ChapterInFront => {
                add(&["-f", "lavfi", "-i", &format!("color=c=teal:s=96x54:r=1:d={}", self.seconds)])
            }
            Tracks::Cover => add(&["-f", "lavfi", "-i", "color=c=teal:s=128x128:r=1:d=1"]),
            _ => {}
        }
        add(&["-filter_complex", &format!("[0:v]{}[pictures]", self.picture_filters())]);
        let main = usize::from(self.tracks == Tracks::ChapterInFront);
        if self.tracks == Tracks::ChapterInFront {
            add(&["-map", &format!("{extra}:v"), "-c:v:0", "libx264", "-preset:v:0", "ultrafast"]);
        }
        if self.tracks == Tracks::AudioFirst {
            add(&["-map", "1:a"]);
        }
        add(&["-map", "[pictures]"]);
        if self.tracks != Tracks::AudioFirst {
            (0..audio_tracks.len()).for_each(|index| add(&["-map", &format!("{}:a", index + 1)]));
        }
        if self.tracks == Tracks::ChapterInFront {
            // As in a copy of two files: both are default.
            add(&["-disposition:v:0", "default", "-disposition:v:1", "default"]);
        }
        if self.tracks == Tracks::Cover {
            add(&[
                "-map",
                &format!("{extra}:v"),
                "-c:v:1",
                "mjpeg",
                "-frames:v:1",
                "1",
                "-disposition:v:1",
                "attached_pic",
            ]);
        }
        if audio_tracks.len() > 1 {
            let second = if self.tracks == Tracks::SecondAudioDefault { ["0", "default"] } else { ["default", "0"] };
            add(&["-disposition:a:0", second[0], "-disposition:a:1", second[1]]);
        }
        for argument in self.video_arguments() {
            match argument.starts_with('-') && !argument[1..].starts_with(|c: char| c.is_ascii_digit()) {
                true => add(&[&format!("{argument}:v:{main}")]),
                false => add(&[&argument]),
            }
        }
        add(&["-fps_mode", "passthrough"]);
        if let Gap::Audio(ms) | Gap::Both(ms) = self.gap {
            add(&["-filter:a", &format!(r"asetpts=PTS+gte(T\,2)*{}/TB", f64::from(ms) / 1_000.0)]);
        }
        if !audio_tracks.is_empty() {
            add(self.audio_arguments());
        }
        if let Edits::Offset(ms) = self.edits {
            add(&["-output_ts_offset", &seconds(ms)]);
        }
        if let Some(scale) = self.time_scale {
            add(&["-video_track_timescale", &scale.to_string()]);
        }
        if self.interleave_ms > 0 {
            add(&["-chunk_duration", &(self.interleave_ms * 1_000).to_string()]);
        }
        match self.container {
            Container::FastStart => add(&["-movflags", "+faststart"]),
            // The muxer describes AC-3 from its first packets.
            Container::Fragmented if self.audio == AudioCodec::Ac3 => {
                add(&["-movflags", "frag_keyframe+delay_moov+default_base_moof"]);
            }
            Container::Fragmented => add(&["-movflags", "frag_keyframe+empty_moov+default_base_moof"]),
            Container::LiveWebm => add(&["-f", "webm", "-live", "1", "-cluster_time_limit", "1000"]),
            _ => {}
        }
        // Without random ids and dates, a source always gives the same file.
        add(&["-fflags", "+bitexact", text(path)]);
        commands.push(format!("ffmpeg {}   # numbered pictures at its input", arguments.join(" ")));
        self.feed(&arguments);
    }

    /// Runs FFmpeg and writes the pictures to its input.
    fn feed(&self, arguments: &[String]) {
        let mut child = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-y"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ffmpeg must be installed for media tests");
        let mut pipe = BufWriter::new(child.stdin.take().expect("a pipe"));
        let chart = self.chart();
        let mut picture = chart.still();
        let per_second = match self.rate {
            Rate::Constant(fps) | Rate::Ntsc(fps) => fps,
            Rate::Variable => 30,
        };
        let mut fed = Ok(());
        for number in 0..per_second * self.seconds {
            chart.write_number(&mut picture, number);
            fed = fed.and_then(|()| pipe.write_all(&picture));
        }
        drop(pipe);
        let output = child.wait_with_output().expect("ffmpeg");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && fed.is_ok(), "ffmpeg {}: {words}", arguments.join(" "));
    }

    fn edit_container(&self, path: &Path, commands: &mut Vec<String>) {
        if self.tags == Tags::Stream {
            commands.push("the colour tags of the container are removed".into());
            match self.is_matroska() {
                true => surgery::drop_colours_matroska(path),
                false => surgery::drop_colours_mp4(path),
            }
        }
        if self.orientation != Orientation::Upright {
            commands.push(format!("the container says: rotated, {:?}", self.orientation));
            match self.is_matroska() {
                true => surgery::turn_matroska(path, self.orientation),
                false => surgery::turn_mp4(path, self.orientation),
            }
        }
        let all = self.seconds * 1_000;
        let parts = match self.edits {
            Edits::Trim(head, tail) => vec![(head, all - tail)],
            Edits::TwoParts => vec![(0, 1_200), (2_200, all)],
            _ => Vec::new(),
        };
        if !parts.is_empty() {
            commands.push(format!("the edit lists keep {parts:?} ms"));
            surgery::edit_mp4(path, &parts);
        }
        if self.container == Container::LiveWebm {
            commands.push("sizes of clusters are unknown, as browsers write them".into());
            clipfleet_tests::webm::as_recorded_live(path);
        }
    }

    /// Writes the samples of each audio track. Returns the files and their numbers of channels.
    fn audio_tracks(&self, directory: &Path, name: &str) -> Vec<(PathBuf, usize)> {
        if self.audio == AudioCodec::None {
            return Vec::new();
        }
        let mut tracks = vec![self.channels()];
        if matches!(self.tracks, Tracks::SecondAudio | Tracks::SecondAudioDefault) {
            tracks.push(vec![Channel { tone: 0, amplitude: 0.2 }, Channel { tone: 1, amplitude: 0.2 }]);
        }
        let written = tracks.iter().enumerate().map(|(track, channels)| {
            let path = directory.join(format!("{name}-{track}.f32"));
            let samples = tones::pcm(track, channels, self.sample_rate, f64::from(self.seconds));
            std::fs::write(&path, samples).expect("writing the audio");
            (path, channels.len())
        });
        written.collect()
    }

    fn rate_text(&self) -> String {
        match self.rate {
            Rate::Constant(fps) => fps.to_string(),
            Rate::Ntsc(fps) => format!("{fps}000/1001"),
            Rate::Variable => "30".into(),
        }
    }

    fn picture_filters(&self) -> String {
        let mut filters: Vec<String> = Vec::new();
        if self.rate == Rate::Variable {
            filters.push(r"select=not(between(mod(n\,10)\,3\,5))*not(eq(mod(n\,7)\,1))".into());
        }
        match self.gap {
            Gap::Pictures(ms) => filters.push(format!(r"select=not(between(t\,2\,{}))", 2.0 + f64::from(ms) / 1_000.0)),
            Gap::Both(ms) => filters.push(format!(r"setpts=PTS+gte(T\,2)*{}/TB", f64::from(ms) / 1_000.0)),
            Gap::LastHeld(ms) => filters.push(format!(r"select=lt(t\,{})", f64::from(ms) / 1_000.0)),
            Gap::None | Gap::Audio(_) => {}
        }
        filters.extend(
            match self.orientation {
                Orientation::Upright => None,
                Orientation::Right => Some("transpose=cclock"),
                Orientation::Half => Some("hflip,vflip"),
                Orientation::Left => Some("transpose=clock"),
                Orientation::MirrorHorizontal => Some("hflip"),
                Orientation::MirrorVertical => Some("vflip"),
            }
            .map(str::to_owned),
        );
        let range = if self.full_range { "full" } else { "limited" };
        let matrix = match self.matrix {
            Matrix::Bt601 => "bt601",
            Matrix::Bt709 => "bt709",
            Matrix::Bt2020 => "bt2020",
        };
        filters.push(format!(
            "scale=out_range={range}:out_color_matrix={matrix}:flags=accurate_rnd+full_chroma_int+bicubic,format={}",
            self.pixel_format()
        ));
        filters.join(",")
    }

    fn pixel_format(&self) -> &'static str {
        match (self.pixel, self.video) {
            (Pixel::Yuv420, Video::MotionJpeg) => "yuvj420p",
            (Pixel::Yuv422, Video::MotionJpeg) => "yuvj422p",
            (Pixel::Yuv444, Video::MotionJpeg) => "yuvj444p",
            (Pixel::Yuv420, _) => "yuv420p",
            (Pixel::Yuv422, _) => "yuv422p",
            (Pixel::Yuv444, _) => "yuv444p",
            (Pixel::Yuv420Ten, _) => "yuv420p10le",
            (Pixel::Yuv422Ten, _) => "yuv422p10le",
            (Pixel::Yuv444Ten, _) => "yuv444p10le",
        }
    }

    /// FFmpeg's names of matrix, primaries, transfer and range.
    pub(crate) fn colours(&self) -> [&'static str; 4] {
        let matrix = match self.matrix {
            Matrix::Bt601 => "smpte170m",
            Matrix::Bt709 => "bt709",
            Matrix::Bt2020 => "bt2020nc",
        };
        let primaries = match self.primaries {
            Primaries::Bt601 => "smpte170m",
            Primaries::Bt709 => "bt709",
            Primaries::Bt2020 => "bt2020",
        };
        [matrix, primaries, "bt709", if self.full_range { "pc" } else { "tv" }]
    }

    /// Arguments of the video encoder.
    fn video_arguments(&self) -> Vec<String> {
        let group = match self.group {
            Group::Long => "9999",
            Group::IntraOnly => "1",
            Group::Open => "45",
            _ => "60",
        };
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |text: &str| arguments.extend(text.split(' ').map(str::to_owned));
        match self.video {
            Video::H264 => add("-c libx264 -preset veryfast -crf 16 -sc_threshold 0"),
            Video::Hevc => add("-c libx265 -preset ultrafast -crf 14"),
            // A negative value fixes the speed. With a positive one, the encoder adapts its speed to the machine's
            // load, and the file differs each time.
            Video::Vp8 => add("-c libvpx -deadline realtime -cpu-used -8 -b 4M -qmax 20 -auto-alt-ref 0"),
            Video::Vp9 => add("-c libvpx-vp9 -deadline realtime -cpu-used 8 -b 0 -crf 16"),
            Video::Av1 => add("-c libaom-av1 -cpu-used 8 -usage realtime -b 0 -crf 16"),
            Video::Mpeg4 => add("-c mpeg4 -q 2 -bf 2"),
            Video::Mpeg2 => add("-c mpeg2video -q 2 -bf 2"),
            Video::ProRes => add(if self.pixel == Pixel::Yuv444Ten {
                "-c prores_ks -profile 4444"
            } else {
                "-c prores_ks -profile hq"
            }),
            Video::MotionJpeg => add("-c mjpeg -q 2"),
        }
        add(&format!("-g {group}"));
        if self.video == Video::Hevc && !self.is_matroska() {
            add("-tag hvc1");
        }
        let [matrix, primaries, transfer, range] = self.colours();
        if self.tags != Tags::None && self.video != Video::MotionJpeg {
            add(&format!(
                "-colorspace {matrix} -color_primaries {primaries} -color_trc {transfer} -color_range {range}"
            ));
        }
        let untagged = self.tags == Tags::Container;
        let mut x26x: Vec<&str> = Vec::new();
        match self.video {
            Video::H264 => {
                match self.group {
                    Group::NoBFrames | Group::IntraOnly => x26x.push("bframes=0"),
                    Group::IntraRefresh => x26x.extend(["intra-refresh=1", "bframes=0"]),
                    Group::Open => x26x.extend(["open-gop=1", "bframes=3"]),
                    _ => x26x.push("bframes=2"),
                }
                if untagged {
                    x26x.extend(["colormatrix=undef", "colorprim=undef", "transfer=undef", "fullrange=off"]);
                }
                add(&format!("-x264-params {}", x26x.join(":")));
            }
            Video::Hevc => {
                x26x.push("log-level=error");
                match self.group {
                    Group::NoBFrames | Group::IntraOnly => x26x.push("bframes=0"),
                    Group::Open => x26x.extend(["open-gop=1", "bframes=3"]),
                    _ => x26x.extend(["open-gop=0", "bframes=2"]),
                }
                if untagged {
                    x26x.extend(["colormatrix=unknown", "colorprim=unknown", "transfer=unknown", "range=limited"]);
                }
                add(&format!("-x265-params {}", x26x.join(":")));
            }
            // The encoder leaves the frame headers empty, and FFmpeg's decoder trusts them.
            Video::ProRes if self.tags != Tags::None => add(&format!(
                "-bsf prores_metadata=colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}"
            )),
            Video::Vp9 if untagged => add("-bsf vp9_metadata=color_space=unknown:color_range=tv"),
            Video::Av1 if untagged => add(
                "-bsf av1_metadata=color_primaries=2:transfer_characteristics=2:matrix_coefficients=2:color_range=tv",
            ),
            _ => {}
        }
        arguments
    }

    fn audio_arguments(&self) -> &'static [&'static str] {
        match (self.audio, self.channels) {
            (AudioCodec::None, _) => &[],
            (AudioCodec::Aac, Channels::Surround51) => &["-c:a", "aac", "-b:a", "448k"],
            (AudioCodec::Aac, _) => &["-c:a", "aac", "-b:a", "192k"],
            (AudioCodec::Opus, Channels::Surround51 | Channels::Quad) => {
                &["-c:a", "libopus", "-b:a", "384k", "-mapping_family", "1"]
            }
            (AudioCodec::Opus, _) => &["-c:a", "libopus", "-b:a", "160k"],
            (AudioCodec::Vorbis, _) => &["-c:a", "libvorbis", "-q:a", "7"],
            (AudioCodec::Mp3, _) => &["-c:a", "libmp3lame", "-b:a", "160k"],
            (AudioCodec::Flac, _) => &["-c:a", "flac", "-strict", "experimental"],
            (AudioCodec::Ac3, _) => &["-c:a", "ac3", "-b:a", "448k"],
            (AudioCodec::Alac, _) => &["-c:a", "alac"],
            (AudioCodec::PcmS16, _) => &["-c:a", "pcm_s16le"],
            (AudioCodec::PcmS24, _) => &["-c:a", "pcm_s24le"],
            (AudioCodec::PcmF32, _) => &["-c:a", "pcm_f32le"],
            (AudioCodec::PcmU8, _) => &["-c:a", "pcm_u8"],
            (AudioCodec::PcmS16Be, _) => &["-c:a", "pcm_s16be"],
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name")
}
