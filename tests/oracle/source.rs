//! The properties of a generated source: one field per dimension, drawn from a seed.

use crate::tones::Channel;
use clipfleet_tests::pipeline_process::Order;
use fastrand::Rng;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Mp4,
    /// With its header first.
    FastStart,
    Mov,
    Fragmented,
    Mkv,
    Webm,
    /// As a browser's `MediaRecorder` writes it: no duration, no index, clusters of unknown size.
    LiveWebm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Video {
    H264,
    Hevc,
    Vp8,
    Vp9,
    Av1,
    Mpeg4,
    Mpeg2,
    ProRes,
    MotionJpeg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pixel {
    Yuv420,
    Yuv422,
    Yuv444,
    Yuv420Ten,
    Yuv422Ten,
    Yuv444Ten,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matrix {
    Bt601,
    Bt709,
    Bt2020,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primaries {
    Bt601,
    Bt709,
    Bt2020,
}

/// Where the file declares its colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    Both,
    Stream,
    Container,
    None,
}

/// Pictures per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    Constant(u32),
    /// Lower by a thousandth.
    Ntsc(u32),
    /// 30, with some pictures left out.
    Variable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AudioCodec {
    None,
    Aac,
    Opus,
    Vorbis,
    Mp3,
    Flac,
    Ac3,
    Alac,
    PcmS16,
    PcmS24,
    PcmF32,
    PcmU8,
    PcmS16Be,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    Mono,
    Stereo,
    LeftOnly,
    RightOnly,
    AntiPhase,
    Surround51,
    Quad,
    /// Four channels without a layout.
    Discrete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracks {
    PicturesFirst,
    AudioFirst,
    /// A second audio track, which is not the default.
    SecondAudio,
    /// A second audio track, which is the only default.
    SecondAudioDefault,
    /// A track of small pictures first, as for chapters.
    ChapterInFront,
    /// An attached picture.
    Cover,
}

/// How stored times map to the file's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edits {
    /// The muxer's default.
    Ordinary,
    /// The head is cut off without re-encoding.
    CopyCut(u32),
    PicturesLate(u32),
    AudioLate(u32),
    /// All times start at this offset.
    Offset(u32),
    /// Edit lists that cut this much at the head and at the tail.
    Trim(u32, u32),
    /// Edit lists that cut a second in the middle.
    TwoParts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    None,
    /// Pictures are missing for this long, from the time of 2 s on.
    Pictures(u32),
    Audio(u32),
    Both(u32),
    /// No picture comes after this time, while the audio continues.
    LastHeld(u32),
}

/// How the stored picture must be rotated to be upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orientation {
    Upright,
    Right,
    Half,
    Left,
    MirrorHorizontal,
    MirrorVertical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Ordinary,
    NoBFrames,
    /// One key frame in the whole file.
    Long,
    Open,
    IntraRefresh,
    IntraOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 16:9.
    Wide,
    /// 9:16.
    Tall,
}

/// A source and its clip. All fields are independent of each other, except for the corrections of [`Source::allowed`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// Seconds of pictures and audio before cuts and gaps.
    pub(crate) seconds: u32,
    pub(crate) container: Container,
    pub(crate) video: Video,
    pub(crate) pixel: Pixel,
    pub(crate) full_range: bool,
    pub(crate) matrix: Matrix,
    pub(crate) primaries: Primaries,
    pub(crate) tags: Tags,
    /// Pixels across and down, as displayed.
    pub(crate) size: (u32, u32),
    pub(crate) rate: Rate,
    pub(crate) audio: AudioCodec,
    pub(crate) channels: Channels,
    pub(crate) sample_rate: u32,
    pub(crate) tracks: Tracks,
    pub(crate) edits: Edits,
    pub(crate) gap: Gap,
    pub(crate) orientation: Orientation,
    pub(crate) group: Group,
    /// Units per second of the video track's times in an MP4; `None` for the muxer's choice.
    pub(crate) time_scale: Option<u32>,
    /// Length of the chunks in which the tracks of an MP4 alternate, milliseconds; 0 for the muxer's choice.
    pub(crate) interleave_ms: u32,
    /// Where the clip starts, thousandths of the source.
    pub(crate) start_share: u32,
    pub(crate) length_ms: u32,
    pub(crate) shape: Shape,
    pub(crate) fit: bool,
    /// Percent.
    pub(crate) position: u32,
    /// Percent.
    pub(crate) zoom: u32,
}

/// Draws an unusual value in about a third of the cases, so that a source has only a few at the same time.
fn sometimes<T: Copy>(rng: &mut Rng, plain: T, unusual: &[T]) -> T {
    if rng.u32(0..3) == 0 { pick(rng, unusual) } else { plain }
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())]
}

impl Source {
    /// The simplest source and clip, to which the dimensions are set when a failure is shrunk.
    pub(crate) fn plain() -> Self {
        Self {
            seconds: 4,
            container: Container::Mp4,
            video: Video::H264,
            pixel: Pixel::Yuv420,
            full_range: false,
            matrix: Matrix::Bt709,
            primaries: Primaries::Bt709,
            tags: Tags::Both,
            size: (320, 180),
            rate: Rate::Constant(30),
            audio: AudioCodec::Aac,
            channels: Channels::Stereo,
            sample_rate: 48_000,
            tracks: Tracks::PicturesFirst,
            edits: Edits::Ordinary,
            gap: Gap::None,
            orientation: Orientation::Upright,
            group: Group::Ordinary,
            time_scale: None,
            interleave_ms: 0,
            start_share: 400,
            length_ms: 1_200,
            shape: Shape::Wide,
            fit: false,
            position: 50,
            zoom: 100,
        }
    }

    /// The source and clip of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        // Adjacent seeds of the generator would give similar first numbers.
        let rng = &mut Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        use Container::*;
        let video = pick(
            rng,
            &[
                Video::H264,
                Video::H264,
                Video::H264,
                Video::Hevc,
                Video::Vp8,
                Video::Vp9,
                Video::Vp9,
                Video::Av1,
                Video::Mpeg4,
                Video::Mpeg2,
                Video::ProRes,
                Video::MotionJpeg,
            ],
        );
        let containers: Vec<Container> = [Mp4, Mp4, FastStart, Mov, Fragmented, Mkv, Mkv, Webm, LiveWebm]
            .into_iter()
            .filter(|container| carries_video(*container, video))
            .collect();
        let container = pick(rng, &containers);
        let codecs: Vec<AudioCodec> = [
            AudioCodec::Aac,
            AudioCodec::Aac,
            AudioCodec::Opus,
            AudioCodec::Vorbis,
            AudioCodec::Mp3,
            AudioCodec::Flac,
            AudioCodec::Ac3,
            AudioCodec::Alac,
            AudioCodec::PcmS16,
            AudioCodec::PcmS24,
            AudioCodec::PcmF32,
            AudioCodec::PcmU8,
            AudioCodec::PcmS16Be,
            AudioCodec::None,
        ]
        .into_iter()
        .filter(|audio| carries_audio(container, *audio))
        .collect();
        let milliseconds = [300, 700, 1_000, 1_300];
        let edits = [
            Edits::CopyCut(pick(rng, &milliseconds)),
            Edits::PicturesLate(pick(rng, &milliseconds)),
            Edits::AudioLate(pick(rng, &milliseconds)),
            Edits::Offset(pick(rng, &[500, 1_400, 3_000])),
            Edits::Trim(pick(rng, &[500, 1_200, 2_000]), 0),
            Edits::Trim(0, pick(rng, &milliseconds)),
            Edits::Trim(pick(rng, &[400, 1_100]), pick(rng, &[300, 900])),
            Edits::TwoParts,
        ];
        let gaps = [
            Gap::Pictures(pick(rng, &[200, 600, 1_300])),
            Gap::Audio(pick(rng, &[200, 900])),
            Gap::Both(pick(rng, &[1_000, 40_000])),
            Gap::LastHeld(pick(rng, &[1_000, 2_500])),
        ];
        let channels = [
            Channels::Mono,
            Channels::LeftOnly,
            Channels::RightOnly,
            Channels::AntiPhase,
            Channels::Surround51,
            Channels::Quad,
            Channels::Discrete,
        ];
        let tracks = [
            Tracks::AudioFirst,
            Tracks::SecondAudio,
            Tracks::SecondAudioDefault,
            Tracks::ChapterInFront,
            Tracks::Cover,
        ];
        let orientations = [
            Orientation::Right,
            Orientation::Half,
            Orientation::Left,
            Orientation::MirrorHorizontal,
            Orientation::MirrorVertical,
        ];
        let rates = [
            Rate::Constant(24),
            Rate::Constant(25),
            Rate::Constant(15),
            Rate::Constant(50),
            Rate::Constant(60),
            Rate::Ntsc(24),
            Rate::Ntsc(30),
            Rate::Ntsc(60),
            Rate::Variable,
            Rate::Variable,
        ];
        let groups = [Group::NoBFrames, Group::Long, Group::Open, Group::IntraRefresh, Group::IntraOnly];
        let shares = [0, rng.u32(0..=1_000), rng.u32(0..=1_000), 1_000];
        let source = Self {
            seconds: Self::plain().seconds,
            container,
            video,
            pixel: sometimes(rng, Pixel::Yuv420, &pixels(video)),
            full_range: rng.u32(0..5) < 2,
            matrix: pick(rng, &[Matrix::Bt601, Matrix::Bt709, Matrix::Bt709, Matrix::Bt2020]),
            primaries: pick(rng, &[Primaries::Bt601, Primaries::Bt709, Primaries::Bt709, Primaries::Bt2020]),
            tags: pick(rng, &[Tags::Both, Tags::Both, Tags::Stream, Tags::Container, Tags::None]),
            size: pick(rng, &[(320, 180), (384, 216), (480, 270), (640, 360), (320, 240), (180, 320), (270, 480)]),
            rate: sometimes(rng, Rate::Constant(30), &rates),
            audio: pick(rng, &codecs),
            channels: pick(rng, &[[Channels::Stereo; 7], channels].concat()),
            sample_rate: sometimes(rng, 48_000, &[16_000, 22_050, 32_000, 44_100, 44_100, 96_000]),
            tracks: sometimes(rng, Tracks::PicturesFirst, &tracks),
            edits: sometimes(rng, Edits::Ordinary, &edits),
            gap: sometimes(rng, Gap::None, &gaps),
            orientation: sometimes(rng, Orientation::Upright, &orientations),
            group: sometimes(rng, Group::Ordinary, &groups),
            time_scale: sometimes(rng, None, &[Some(600), Some(1_000), Some(30_000), Some(90_000)]),
            interleave_ms: sometimes(rng, 0, &[500, 2_000]),
            start_share: pick(rng, &shares),
            length_ms: rng.u32(800..1_800),
            shape: pick(rng, &[Shape::Wide, Shape::Tall]),
            fit: rng.u32(0..3) == 0,
            position: pick(rng, &[50, 0, 100, 20, 70]),
            zoom: sometimes(rng, 100, &[120, 150]),
        };
        source.allowed()
    }

    /// The nearest source that FFmpeg can make and that is meaningful.
    pub(crate) fn allowed(mut self) -> Self {
        use Container::*;
        if !carries_video(self.container, self.video) {
            self.container = if carries_video(Mkv, self.video) { Mkv } else { Mov };
        }
        if !carries_audio(self.container, self.audio) {
            self.audio = if self.is_webm() { AudioCodec::Opus } else { AudioCodec::Aac };
        }
        if !pixels(self.video).contains(&self.pixel) {
            self.pixel = pixels(self.video)[0];
        }
        // Motion JPEG is defined by JFIF: full-range BT.601. FFmpeg treats VP8 and MPEG-2 as limited range, whatever
        // the file declares, and VP8 also as BT.601. Full-range ProRes does not exist.
        match self.video {
            Video::MotionJpeg => {
                (self.full_range, self.matrix, self.primaries, self.tags) =
                    (true, Matrix::Bt601, Primaries::Bt601, Tags::Both);
            }
            Video::Vp8 => {
                (self.full_range, self.matrix, self.primaries) = (false, Matrix::Bt601, Primaries::Bt601);
            }
            Video::Mpeg2 | Video::ProRes => self.full_range = false,
            _ => {}
        }
        // Without tags, these sizes are treated as limited-range BT.601.
        if self.tags == Tags::None {
            (self.full_range, self.matrix, self.primaries) = (false, Matrix::Bt601, Primaries::Bt601);
        }
        if matches!(self.video, Video::Mpeg4) && self.tags == Tags::Stream {
            self.tags = Tags::Container;
        }
        if matches!(self.video, Video::Vp8 | Video::Mpeg2 | Video::ProRes) && self.tags != Tags::None {
            self.tags = Tags::Both;
        }
        // MPEG-2's sequence header supports no lower rates, and FFmpeg's encoder of MPEG-4 supports no finer clock.
        if matches!(self.video, Video::Mpeg2) && matches!(self.rate, Rate::Constant(15) | Rate::Variable) {
            self.rate = Rate::Constant(25);
        }
        let has_groups = matches!(self.video, Video::H264 | Video::Hevc);
        if !has_groups && matches!(self.group, Group::Open | Group::IntraRefresh | Group::NoBFrames) {
            self.group = Group::Ordinary;
        }
        if self.video == Video::Hevc && self.group == Group::IntraRefresh {
            self.group = Group::Open;
        }
        let is_mp4 = matches!(self.container, Mp4 | FastStart | Mov);
        // GStreamer's demuxer drops the times of ProRes in Matroska, and the decoder counts from zero: see the README.
        if self.video == Video::ProRes && self.container == Mkv {
            self.edits = Edits::Ordinary;
            if self.audio != AudioCodec::None {
                self.audio = AudioCodec::PcmS16;
            }
            if self.rate == Rate::Variable {
                self.rate = Rate::Constant(30);
            }
            if matches!(self.gap, Gap::Pictures(_) | Gap::Both(_)) {
                self.gap = Gap::None;
            }
        }
        if self.audio == AudioCodec::None {
            self.channels = Channels::Stereo;
            self.sample_rate = 48_000;
            if !matches!(self.tracks, Tracks::ChapterInFront | Tracks::Cover) {
                self.tracks = Tracks::PicturesFirst;
            }
            if !matches!(self.gap, Gap::Pictures(_)) {
                self.gap = Gap::None;
            }
            if matches!(self.edits, Edits::AudioLate(_) | Edits::PicturesLate(_)) {
                self.edits = Edits::Ordinary;
            }
        }
        self.channels = match (self.channels, self.audio) {
            (Channels::Discrete, AudioCodec::PcmS16 | AudioCodec::PcmS24) if self.container == Mov => {
                Channels::Discrete
            }
            // PCM has no layout that GStreamer reads: in Matroska there is none.
            (Channels::Quad, AudioCodec::PcmS16 | AudioCodec::PcmS24) if self.container == Mov => Channels::Discrete,
            (Channels::Discrete, _) => Channels::Stereo,
            (Channels::Quad, audio) if !matches!(audio, AudioCodec::Flac | AudioCodec::Opus | AudioCodec::Vorbis) => {
                Channels::Stereo
            }
            (Channels::Surround51, AudioCodec::Mp3 | AudioCodec::Alac) => Channels::Stereo,
            // Opus needs a channel mapping table for four channels, which FFmpeg writes.
            (other, _) => other,
        };
        self.sample_rate = match (self.audio, self.sample_rate) {
            (AudioCodec::Opus, _) => 48_000,
            (AudioCodec::Mp3 | AudioCodec::Ac3, 96_000) => 44_100,
            (AudioCodec::Ac3, 16_000 | 22_050) => 32_000,
            (AudioCodec::Mp3, 16_000) => 22_050,
            (_, rate) => rate,
        };
        if matches!(self.tracks, Tracks::ChapterInFront | Tracks::Cover) && !is_mp4 {
            self.tracks = Tracks::PicturesFirst;
        }
        let live = matches!(self.container, LiveWebm | Fragmented);
        self.edits = match self.edits {
            Edits::Trim(..) | Edits::TwoParts if !is_mp4 => Edits::CopyCut(700),
            other => other,
        };
        if live && matches!(self.edits, Edits::CopyCut(_)) {
            self.edits = Edits::Ordinary;
        }
        if matches!(self.edits, Edits::CopyCut(_)) && self.tags == Tags::Container {
            self.tags = Tags::Both;
        }
        let is_turned = matches!(self.orientation, Orientation::Left | Orientation::Right);
        if is_turned && self.full_range && matches!(self.pixel, Pixel::Yuv422 | Pixel::Yuv422Ten) {
            self.orientation = Orientation::Upright;
        }
        // Only one irregularity of the timeline at a time.
        if !matches!(self.edits, Edits::Ordinary) {
            self.gap = Gap::None;
        }
        if matches!(self.edits, Edits::CopyCut(_) | Edits::Trim(..) | Edits::TwoParts)
            && matches!(self.tracks, Tracks::ChapterInFront | Tracks::Cover)
        {
            self.tracks = Tracks::PicturesFirst;
        }
        if self.is_webm() && self.orientation != Orientation::Upright {
            self.orientation = Orientation::Upright;
        }
        if !is_mp4 && self.container != Fragmented {
            self.time_scale = None;
        }
        if !is_mp4 {
            self.interleave_ms = 0;
        }
        // The time scale must be able to express the rate. With a coarser one, FFmpeg's muxer gives two pictures the
        // same time.
        if matches!(self.rate, Rate::Ntsc(_)) {
            self.time_scale = self.time_scale.filter(|scale| *scale >= 30_000);
        }
        // Narrow crops must still show a complete number.
        let (width, height) = self.size;
        let wider = match self.shape {
            Shape::Wide => width * 9 > height * 16,
            Shape::Tall => width * 16 > height * 9,
        };
        if self.fit || (self.shape == Shape::Tall && wider) || (self.shape == Shape::Wide && width < height) {
            self.zoom = 100;
        }
        if self.fit {
            self.position = 50;
        }
        self
    }

    /// Every step from this source towards the simplest one, with the name of its dimension.
    pub(crate) fn simplifications(&self) -> Vec<(&'static str, Self)> {
        let plain = Self::plain();
        macro_rules! steps {
            ($($field:ident),*) => {
                vec![$((stringify!($field), Self { $field: plain.$field, ..self.clone() }.allowed())),*]
            };
        }
        let mut steps = steps![
            gap,
            edits,
            tracks,
            orientation,
            channels,
            sample_rate,
            audio,
            group,
            rate,
            pixel,
            full_range,
            matrix,
            primaries,
            tags,
            interleave_ms,
            time_scale,
            size,
            fit,
            zoom,
            position,
            shape,
            start_share,
            length_ms
        ];
        // A codec and its container are simplified together, or each alone.
        let (video, container) = (plain.video, plain.container);
        steps.insert(0, ("container", Self { container, ..self.clone() }.allowed()));
        steps.insert(1, ("video", Self { video, ..self.clone() }.allowed()));
        steps.insert(2, ("video and container", Self { video, container, ..self.clone() }.allowed()));
        steps.retain(|(_, step)| step != self);
        steps
    }

    pub(crate) fn is_webm(&self) -> bool {
        matches!(self.container, Container::Webm | Container::LiveWebm)
    }

    /// The channels of its first audio track.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        let each = |count: usize, amplitude: f64| (0..count).map(|tone| Channel { tone, amplitude }).collect();
        let pair = |left: f64, right: f64, tone: usize| {
            vec![Channel { tone: 0, amplitude: left }, Channel { tone, amplitude: right }]
        };
        match self.channels {
            Channels::Mono => each(1, 0.2),
            Channels::Stereo => each(2, 0.2),
            Channels::LeftOnly => pair(0.2, 0.0, 1),
            Channels::RightOnly => pair(0.0, 0.2, 1),
            Channels::AntiPhase => pair(0.2, -0.2, 0),
            Channels::Surround51 => each(6, 0.12),
            Channels::Quad | Channels::Discrete => each(4, 0.15),
        }
    }

    /// The order of a clip between two times of the source, milliseconds.
    pub(crate) fn order(&self, from_ms: i64, to_ms: i64) -> Order {
        let latest = (to_ms - i64::from(self.length_ms)).max(from_ms);
        let start = from_ms + (latest - from_ms) * i64::from(self.start_share) / 1_000;
        Order {
            aspect: if self.shape == Shape::Wide { "16:9" } else { "9:16" },
            mode: if self.fit { "fit_blur" } else { "auto_center" },
            position: f64::from(self.position),
            zoom: f64::from(self.zoom),
            ..Order::of(start, (start + i64::from(self.length_ms)).min(to_ms))
        }
    }
}

fn carries_video(container: Container, video: Video) -> bool {
    use Container::*;
    match video {
        Video::H264 | Video::Hevc => !matches!(container, Webm | LiveWebm),
        Video::Vp8 => matches!(container, Mkv | Webm | LiveWebm),
        Video::Vp9 => !matches!(container, Mov),
        Video::Av1 => !matches!(container, Mov | LiveWebm),
        Video::Mpeg4 => matches!(container, Mp4 | FastStart | Mov | Mkv),
        Video::Mpeg2 => matches!(container, Mp4 | Mov | Mkv),
        Video::ProRes => matches!(container, Mov | Mkv),
        Video::MotionJpeg => matches!(container, Mov | Mkv),
    }
}

fn carries_audio(container: Container, audio: AudioCodec) -> bool {
    use Container::*;
    let is_mp4 = matches!(container, Mp4 | FastStart | Fragmented);
    match audio {
        AudioCodec::None => true,
        AudioCodec::Aac | AudioCodec::Mp3 | AudioCodec::Ac3 => is_mp4 || matches!(container, Mov | Mkv),
        AudioCodec::Opus => is_mp4 || matches!(container, Mkv | Webm | LiveWebm),
        AudioCodec::Flac => is_mp4 || container == Mkv,
        AudioCodec::Vorbis => matches!(container, Mkv | Webm | LiveWebm),
        AudioCodec::Alac => is_mp4 || container == Mov,
        AudioCodec::PcmS16 | AudioCodec::PcmS24 | AudioCodec::PcmF32 => matches!(container, Mov | Mkv),
        AudioCodec::PcmU8 => container == Mkv,
        AudioCodec::PcmS16Be => container == Mov,
    }
}

/// The pixel formats that both FFmpeg's encoder and the table of decoders support.
fn pixels(video: Video) -> Vec<Pixel> {
    use Pixel::*;
    match video {
        Video::H264 => vec![Yuv420, Yuv422, Yuv444, Yuv420Ten, Yuv422Ten],
        Video::Hevc => vec![Yuv420, Yuv420Ten, Yuv422Ten, Yuv444],
        Video::Vp9 => vec![Yuv420, Yuv422, Yuv444, Yuv420Ten],
        Video::Av1 => vec![Yuv420, Yuv420Ten],
        Video::Vp8 | Video::Mpeg4 => vec![Yuv420],
        Video::Mpeg2 => vec![Yuv420, Yuv422],
        Video::ProRes => vec![Yuv422Ten, Yuv444Ten],
        Video::MotionJpeg => vec![Yuv420, Yuv422, Yuv444],
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = if self.full_range { "full" } else { "limited" };
        let (width, height) = self.size;
        write!(
            f,
            "{:?} in {:?}, {:?}, {range} range, matrix {:?}, primaries {:?}, tags {:?}, {width}x{height}, {:?}, ",
            self.video, self.container, self.pixel, self.matrix, self.primaries, self.tags, self.rate
        )?;
        write!(
            f,
            "{:?} {:?} at {} Hz, tracks {:?}, edits {:?}, gap {:?}, orientation {:?}, group {:?}, ",
            self.audio,
            self.channels,
            self.sample_rate,
            self.tracks,
            self.edits,
            self.gap,
            self.orientation,
            self.group
        )?;
        if let Some(scale) = self.time_scale {
            write!(f, "time scale {scale}, ")?;
        }
        if self.interleave_ms > 0 {
            write!(f, "interleaved by {} ms, ", self.interleave_ms)?;
        }
        let mode = if self.fit { "fit_blur" } else { "auto_center" };
        write!(
            f,
            "clip {:?} {mode} position {} zoom {}, {} ms from {} thousandths on",
            self.shape, self.position, self.zoom, self.length_ms, self.start_share
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_one_source_and_every_source_is_allowed() {
        for seed in 0..2_000 {
            let source = Source::draw(seed);
            assert_eq!(source, Source::draw(seed));
            assert_eq!(source, source.clone().allowed(), "{source}");
        }
    }

    #[test]
    fn two_thousand_seeds_have_every_value_of_every_dimension() {
        let lines: Vec<String> = (0..2_000).map(|seed| Source::draw(seed).to_string()).collect();
        let has = |value: &str| lines.iter().any(|line| line.contains(value));
        for value in [
            "H264 in",
            "Hevc in",
            "Vp8 in",
            "Vp9 in",
            "Av1 in",
            "Mpeg4 in",
            "Mpeg2 in",
            "ProRes in",
            "MotionJpeg in",
            "in Mp4",
            "in FastStart",
            "in Mov",
            "in Fragmented",
            "in Mkv",
            "in Webm",
            "in LiveWebm",
            "full range",
            "limited range",
            "matrix Bt601",
            "matrix Bt709",
            "matrix Bt2020",
            "Yuv422,",
            "Yuv444,",
            "Yuv420Ten",
            "Yuv422Ten",
            "Yuv444Ten",
            "tags Both",
            "tags Stream",
            "tags Container",
            "tags None",
            "Constant(24)",
            "Constant(60)",
            "Ntsc(24)",
            "Variable",
            "Opus ",
            "Vorbis ",
            "Mp3 ",
            "Flac ",
            "Ac3 ",
            "Alac ",
            "PcmS16 ",
            "PcmS24",
            "PcmF32",
            "PcmU8",
            "PcmS16Be",
            "Mono",
            "LeftOnly",
            "RightOnly",
            "AntiPhase",
            "Surround51",
            "Quad",
            "Discrete",
            "AudioFirst",
            "SecondAudio,",
            "SecondAudioDefault",
            "ChapterInFront",
            "Cover",
            "CopyCut",
            "PicturesLate",
            "AudioLate",
            "Offset",
            "Trim(",
            "TwoParts",
            "gap Pictures",
            "gap Audio",
            "gap Both",
            "LastHeld",
            "orientation Right",
            "Half",
            "orientation Left",
            "MirrorHorizontal",
            "MirrorVertical",
            "Long",
            "Open",
            "IntraRefresh",
            "IntraOnly",
            "NoBFrames",
            "time scale",
            "interleaved",
        ] {
            assert!(has(value), "no source has {value}");
        }
    }

    #[test]
    fn shrinking_ends_at_the_simplest_source() {
        for seed in 0..200 {
            let mut source = Source::draw(seed);
            while let Some((_, step)) = source.simplifications().into_iter().next() {
                source = step;
            }
            assert_eq!(source, Source::plain(), "seed {seed}");
        }
    }
}
