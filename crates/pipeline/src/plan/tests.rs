//! Plans as snapshots, for typical orders and sources.

use super::*;
use crate::{
    plan::{
        catalog::{DECODERS, ENCODERS},
        installed::Installed,
        route::{self, Route},
    },
    source::{
        colours::Colours,
        edits::{Edit, EditList},
        probe::Picture,
        rotation::Rotation,
        tracks::Tracks,
    },
};
use clipfleet_domain::{
    audio::Audio,
    clip::{Clip, Window},
    crop_path::{CropPath, Keyframe},
    failure::Code,
    ids::ClipId,
    percent::MilliPercent,
    reframe::{DEFAULT_POSITION, DEFAULT_ZOOM, Reframe},
    rendition::{Aspect, Quality},
};

pub(crate) const BT709: Colours =
    Colours { full_range: Some(false), matrix: Some(1), transfer: Some(1), primaries: Some(1) };

const FIRST: Reach = Reach { preroll_ns: Some(PREROLLS_NS[0]), holds_last_picture: false };

pub(crate) fn stream(element: &str) -> Stream {
    Stream {
        selection: Selection::default(),
        decoder: DECODERS.iter().find(|row| row.element == element).expect("a row"),
        parser: DECODERS.iter().find(|row| row.element == element).and_then(|row| row.parser),
        time_line: TimeLine::Edited(EditList::NONE),
        colours: Colours::default(),
        end_ns: None,
    }
}

pub(crate) fn order(start_ms: i64, end_ms: i64) -> Transcode {
    let id = ClipId::parse("c1").expect("an id");
    let window = Window::new(start_ms, end_ms).expect("a window");
    Transcode {
        source_size_bytes: 1,
        clip: Clip { id, window, reframe: Reframe::default(), cover_at_ms: None, audio: Audio::default() },
        rendition: Rendition::default(),
        directory: "/attempt".into(),
        encoder: "auto".into(),
        gpu_disabled_reason: None,
    }
}

pub(crate) fn upload() -> Probed {
    let picture = Picture {
        width: 1920,
        height: 1080,
        pixel_aspect: (1, 1),
        interlaced: false,
        plain_samples: true,
        colours: BT709,
        time_ns: 0,
    };
    Probed {
        container: Container::IsoMedia,
        video: stream("avdec_h264"),
        audio: Some(stream("avdec_aac")),
        picture,
        rotation: Rotation::None,
        declared_ns: None,
        tracks: Tracks::default(),
    }
}

pub(crate) fn turned() -> Probed {
    Probed { rotation: Rotation::Right, ..upload() }
}

pub(crate) fn moving() -> Reframe {
    path(&[(0, 20, 100), (1_000, 80, 150)])
}

/// The route on the CPU with an encoder of the table.
fn cpu(probed: &Probed, encoder: usize) -> Route {
    Route::on_cpu(probed, &ENCODERS[encoder])
}

fn lines(plan: &Plan, containing: &[&str]) -> String {
    let text = plan.to_string();
    let wanted = |line: &&str| containing.iter().any(|part| line.contains(part));
    text.lines().filter(wanted).map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_upload_with_audio() {
    let plan = plan(&order(200_500, 245_500), &upload(), &cpu(&upload(), 1), FIRST).expect("a plan");
    insta::assert_snapshot!(plan, @"
    range-source ! qtdemux seek=200400000000ns
    video
      queue name=video-in
      avdec_h264 name=video-decoder
      frame-grid start=200500000000ns fps=30 frames=1350 max-repeats=135
      queue name=pictures max-size-buffers=3 max-size-bytes=0 max-size-time=0
      crop left=656 top=0 right=658 bottom=0
      videoconvertscale method=catrom chroma-resampler=cubic add-borders=false n-threads=2
      video/x-raw,format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
      queue name=scaled max-size-buffers=3 max-size-bytes=0 max-size-time=0
      x264enc name=video-encoder speed-preset=superfast pass=qual quantizer=24 bitrate=16000 vbv-buf-capacity=1500 key-int-max=60
      video/x-h264,profile=high,stream-format=avc,alignment=au
      tee name=encoded
      queue name=video-out max-size-buffers=0 max-size-bytes=0 max-size-time=0
    audio
      queue name=audio-in max-size-buffers=0 max-size-bytes=0 max-size-time=0
      aacparse
      avdec_aac
      audioconvert
      audioresample
      audio/x-raw,format=F32LE,layout=interleaved,rate=48000
      sample-grid start=200500000000ns samples=2160000
      avenc_aac name=audio-encoder bitrate=128000 aac-coder=fast aac-ms=0
      queue name=audio-out max-size-buffers=0 max-size-bytes=0 max-size-time=0
    output
      mp4mux name=mux faststart=true faststart-file=clip.media
      filesink name=file location=clip.mp4
    verification
      queue name=verification-in max-size-buffers=0 max-size-bytes=0 max-size-time=0
      avdec_h264 name=verification-decoder
      fakesink name=verification-out sync=false async=false
    ");
}

#[test]
fn a_recording_without_audio_cut_at_its_beginning() {
    let picture = Picture { width: 1280, height: 720, time_ns: 21_000_000, ..upload().picture };
    let probed = Probed { container: Container::Matroska, video: stream("vp9dec"), audio: None, picture, ..upload() };
    let plan = plan(&order(0, 15_000), &probed, &cpu(&probed, 1), FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&plan, &["range-source", "video-dec", "grid", "crop", "silence"]), @"
    range-source ! matroskademux
    vp9dec name=video-decoder
    frame-grid start=0ns fps=30 frames=450 max-repeats=45
    crop left=438 top=0 right=438 bottom=0
    audiotestsrc wave=silence samplesperbuffer=4800
    sample-grid start=0ns samples=720000
    ");
}

#[test]
fn full_range_is_limited_after_the_scaler() {
    let picture = Picture { colours: Colours { full_range: Some(true), ..BT709 }, ..upload().picture };
    let full = plan(&order(0, 1_000), &Probed { picture, ..upload() }, &cpu(&upload(), 0), FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&full, &["crop", "format", "limit"]), @"
    crop left=656 top=0 right=658 bottom=0
    video/x-raw,format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    video/x-raw,format=NV12,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    limit-range
    video/x-h264,profile=high,stream-format=avc,alignment=au
    audio/x-raw,format=F32LE,layout=interleaved,rate=48000
    ");
    // If more than the range differs, everything is converted together.
    let colours = Colours { full_range: Some(true), matrix: Some(6), ..BT709 };
    let picture = Picture { colours, ..upload().picture };
    let phone = plan(&order(0, 1_000), &Probed { picture, ..upload() }, &cpu(&upload(), 1), FIRST).expect("a plan");
    assert_eq!(lines(&phone, &["limit"]), "");
}

#[test]
fn reading_begins_where_the_earliest_track_needs_it() {
    let edits = |media_s: i64| {
        let media_ns = media_s * 1_000_000_000;
        TimeLine::Edited(EditList::new(vec![Edit { movie_ns: 0, media_ns, length_ns: None }]))
    };
    let video = Stream { time_line: edits(4), ..stream("avdec_h264") };
    let audio = Some(Stream { time_line: edits(3), ..stream("avdec_aac") });
    let cut = Probed { video, audio, ..upload() };
    let plan = plan(&order(1_000, 2_000), &cut, &cpu(&upload(), 1), FIRST).expect("a plan");
    assert_eq!((plan.start_ns(), plan.seek_ns), (1_000_000_000, Some(3_900_000_000)));
}

#[test]
fn loudness_is_a_stage_between_the_grid_and_the_encoder() {
    let settings = LoudnessSettings { gain_db: 7.25, ceiling_dbtp: -3.0 };
    let plain = plan(&order(0, 1_000), &upload(), &cpu(&upload(), 1), FIRST).expect("a plan");
    assert_eq!(plain.clone().with_loudness(None), plain);
    insta::assert_snapshot!(lines(&plain.with_loudness(Some(settings)), &["sample-grid", "loudness", "aac name"]), @"
    sample-grid start=0ns samples=48000
    loudness gain=7.25dB ceiling=-3.00dBTP
    avenc_aac name=audio-encoder bitrate=128000 aac-coder=fast aac-ms=0
    ");
}

#[test]
fn the_measured_audio_is_the_encoded_audio() {
    let listening = audio::listen(&order(60_000, 61_000), &upload(), FIRST.preroll_ns).expect("a plan").expect("audio");
    let made = plan(&order(60_000, 61_000), &upload(), &cpu(&upload(), 1), FIRST).expect("a plan");
    // Except for the queue before it.
    assert_eq!(listening.steps[1..], made.audio[1..listening.steps.len()]);
    assert_eq!((listening.seek_ns, listening.start_ns), (made.seek_ns, made.start_ns()));
    assert_eq!(listening.samples, made.expected.samples);
    let mute = Probed { audio: None, ..upload() };
    assert_eq!(audio::listen(&order(60_000, 61_000), &mute, FIRST.preroll_ns), Ok(None));
}

#[test]
fn a_turned_picture_is_cropped_upright() {
    let plan = plan(&order(0, 1_000), &turned(), &cpu(&upload(), 1), FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&plan, &["videoflip", "crop"]), @"
    videoflip video-direction=90r
    crop left=0 top=0 right=0 bottom=0
    ");
}

#[test]
fn fields_and_wide_pixels_become_progressive_square_pixels() {
    let picture = Picture { width: 720, height: 576, pixel_aspect: (64, 45), interlaced: true, ..upload().picture };
    let plan = plan(&order(0, 1_000), &Probed { picture, ..upload() }, &cpu(&upload(), 1), FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&plan, &["deinterlace", "crop"]), @"
    deinterlace fields=top method=linear
    crop left=246 top=0 right=246 bottom=0
    ");
}

#[test]
fn quality_decides_size_effort_and_the_cap() {
    let of = |quality, fps| {
        let rendition = Rendition { quality, fps, ..Rendition::default() };
        let order = Transcode { rendition, ..order(0, 1_000) };
        let plan = plan(&order, &upload(), &cpu(&upload(), 1), FIRST).expect("a plan");
        lines(&plan, &["I420", "x264enc"])
    };
    insta::assert_snapshot!(of(Quality::P720, 24), @"
    video/x-raw,format=I420,width=720,height=1280,framerate=24/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    x264enc name=video-encoder speed-preset=superfast pass=qual quantizer=24 bitrate=8000 vbv-buf-capacity=1500 key-int-max=48
    ");
    insta::assert_snapshot!(of(Quality::High, 60), @"
    video/x-raw,format=I420,width=1080,height=1920,framerate=60/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    x264enc name=video-encoder speed-preset=veryfast pass=qual quantizer=23 bitrate=24000 vbv-buf-capacity=1500 key-int-max=120
    ");
}

#[test]
fn another_encoder_is_another_row() {
    let plan = plan(&order(0, 1_000), &upload(), &cpu(&upload(), 2), FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&plan, &["h264"]), @"
    avdec_h264 name=video-decoder
    openh264enc name=video-encoder rate-control=bitrate bitrate=8000000 max-bitrate=16000000 gop-size=60 complexity=medium
    video/x-h264,stream-format=byte-stream,alignment=au
    h264parse
    avdec_h264 name=verification-decoder
    ");
}

#[test]
fn reading_from_the_start_is_only_a_missing_seek() {
    let sought = plan(&order(60_000, 61_000), &upload(), &cpu(&upload(), 1), FIRST).expect("a plan");
    let from_start =
        plan(&order(60_000, 61_000), &upload(), &cpu(&upload(), 1), Reach::FROM_THE_BEGINNING).expect("a plan");
    assert_eq!(sought.seek_ns, Some(59_900_000_000));
    assert_eq!(from_start, Plan { seek_ns: None, ..sought });
}

#[test]
fn a_picture_too_small_to_crop_is_refused() {
    let picture = Picture { width: 8, height: 8, ..upload().picture };
    let failed = plan(&order(0, 1_000), &Probed { picture, ..upload() }, &cpu(&upload(), 1), FIRST).unwrap_err();
    assert_eq!(failed.code, Code::SourceSizeUnsupported);
    assert!(failed.message.contains("8x8"), "{}", failed.message);
}

fn reframed(reframe: &Reframe, aspect: Aspect, probed: &Probed) -> String {
    let mut order = order(0, 1_000);
    order.clip.reframe = reframe.clone();
    order.rendition.aspect = aspect;
    let plan = plan(&order, probed, &cpu(&upload(), 1), FIRST).expect("a plan").to_string();
    let stages = plan.lines().skip_while(|line| !line.contains("name=pictures")).skip(1);
    stages.take_while(|line| !line.contains("name=scaled")).map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_fitted_picture_is_scaled_and_drawn_over_a_backdrop() {
    insta::assert_snapshot!(reframed(&Reframe::FitBlur, Aspect::Portrait, &upload()), @"
    fit video/x-raw,format=I420,width=1080,height=608,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    backdrop size=1080x1920
    ");
    let picture = Picture { width: 720, height: 576, pixel_aspect: (64, 45), ..upload().picture };
    let turned = Probed { picture, rotation: Rotation::Right, ..upload() };
    insta::assert_snapshot!(reframed(&Reframe::FitBlur, Aspect::Square, &turned), @"
    videoconvert
    videoflip video-direction=90r
    fit video/x-raw,format=I420,width=608,height=1080,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    backdrop size=1080x1080
    ");
}

fn path(keyframes: &[(i64, u32, u32)]) -> Reframe {
    let keyframe = |(at_ms, position, zoom): &(i64, u32, u32)| {
        let (position, zoom) = (MilliPercent::whole(*position), MilliPercent::whole(*zoom));
        Keyframe { at_ms: *at_ms, position, zoom }
    };
    Reframe::CropPath(CropPath::new(keyframes.iter().map(keyframe).collect(), 1_000).expect("a path"))
}

#[test]
fn a_moving_crop_is_scaled_by_our_own_element() {
    insta::assert_snapshot!(reframed(&moving(), Aspect::FourFive, &upload()), @"
    videoconvert
    video/x-raw,format=I420
    moving-crop size=1080x1350 keyframes=2
    videoconvertscale method=catrom chroma-resampler=cubic add-borders=false n-threads=2
    video/x-raw,format=I420,width=1080,height=1350,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    ");
}

#[test]
fn a_path_that_never_moves_has_the_plan_of_a_crop() {
    let still = path(&[(0, 37, 120), (900, 37, 120)]);
    let (position, zoom) = (MilliPercent::whole(37), MilliPercent::whole(120));
    let crop = Reframe::AutoCenter { position, zoom };
    assert_eq!(reframed(&still, Aspect::Portrait, &upload()), reframed(&crop, Aspect::Portrait, &upload()));
    let plain = path(&[(0, 50, 100)]);
    let centre = Reframe::AutoCenter { position: DEFAULT_POSITION, zoom: DEFAULT_ZOOM };
    assert_eq!(reframed(&plain, Aspect::Square, &upload()), reframed(&centre, Aspect::Square, &upload()));
}

#[test]
fn every_mode_refuses_a_picture_that_is_too_small() {
    let picture = Picture { width: 8, height: 8, ..upload().picture };
    for reframe in [Reframe::FitBlur, path(&[(0, 0, 100), (1_000, 100, 100)])] {
        let mut order = order(0, 1_000);
        order.clip.reframe = reframe;
        let failed = plan(&order, &Probed { picture, ..upload() }, &cpu(&upload(), 1), FIRST).unwrap_err();
        assert_eq!(failed.code, Code::SourceSizeUnsupported);
    }
}

/// The video stages on each route that uses a GPU.
fn on_gpu(encoders: &[&str]) -> Vec<(String, String)> {
    let installed = Installed::imagined(true, encoders, &["nvh264dec"]);
    let routes = route::choose(&order(0, 1_000), &upload(), &installed).routes;
    let stages = |route: &Route| {
        let plan = plan(&order(0, 1_000), &upload(), route, FIRST).expect("a plan").to_string();
        let stages = plan.lines().skip_while(|line| !line.contains("name=video-decoder"));
        let stages = stages.take_while(|line| !line.contains("name=encoded"));
        stages.map(str::trim).filter(|line| !line.starts_with("queue")).collect::<Vec<_>>().join("\n")
    };
    routes.iter().filter(|route| route.uses_gpu()).map(|route| (route.name(), stages(route))).collect()
}

#[test]
fn a_gpu_runs_all_stages_or_some() {
    let [all, frames, encoder] = on_gpu(&["nvh264enc"]).try_into().expect("three routes");
    insta::assert_snapshot!(all.1, @"
    nvh264dec name=video-decoder max-errors=0
    video/x-raw(memory:CUDAMemory)
    frame-grid start=0ns fps=30 frames=30 max-repeats=3
    crop left=656 top=0 right=658 bottom=0
    cudaconvertscale add-borders=false
    video/x-raw(memory:CUDAMemory),format=NV12,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    nvh264enc name=video-encoder preset=p4 tune=high-quality rc-mode=vbr const-quality=23 bitrate=16000 max-bitrate=16000 gop-size=60 bframes=2 spatial-aq=true aq-strength=8 rc-lookahead=20
    video/x-h264,profile=high,stream-format=avc,alignment=au
    ");
    insta::assert_snapshot!(frames.1, @"
    nvh264dec name=video-decoder max-errors=0
    video/x-raw
    frame-grid start=0ns fps=30 frames=30 max-repeats=3
    crop left=656 top=0 right=658 bottom=0
    videoconvertscale method=catrom chroma-resampler=cubic add-borders=false n-threads=2
    video/x-raw,format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    videoconvert
    video/x-raw,format=NV12,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    nvh264enc name=video-encoder preset=p4 tune=high-quality rc-mode=vbr const-quality=23 bitrate=16000 max-bitrate=16000 gop-size=60 bframes=2 spatial-aq=true aq-strength=8 rc-lookahead=20
    video/x-h264,profile=high,stream-format=avc,alignment=au
    ");
    insta::assert_snapshot!(encoder.1, @"
    avdec_h264 name=video-decoder
    frame-grid start=0ns fps=30 frames=30 max-repeats=3
    crop left=656 top=0 right=658 bottom=0
    videoconvertscale method=catrom chroma-resampler=cubic add-borders=false n-threads=2
    video/x-raw,format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    videoconvert
    video/x-raw,format=NV12,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    nvh264enc name=video-encoder preset=p4 tune=high-quality rc-mode=vbr const-quality=23 bitrate=16000 max-bitrate=16000 gop-size=60 bframes=2 spatial-aq=true aq-strength=8 rc-lookahead=20
    video/x-h264,profile=high,stream-format=avc,alignment=au
    ");
    let [scaled] = on_gpu(&["x264enc"]).try_into().expect("one route");
    insta::assert_snapshot!(scaled.1, @"
    nvh264dec name=video-decoder max-errors=0
    video/x-raw(memory:CUDAMemory)
    frame-grid start=0ns fps=30 frames=30 max-repeats=3
    crop left=656 top=0 right=658 bottom=0
    cudaconvertscale add-borders=false
    video/x-raw(memory:CUDAMemory),format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    cudadownload
    video/x-raw,format=I420,width=1080,height=1920,framerate=30/1,pixel-aspect-ratio=1/1,colorimetry=bt709,interlace-mode=progressive
    x264enc name=video-encoder speed-preset=superfast pass=qual quantizer=24 bitrate=16000 vbv-buf-capacity=1500 key-int-max=60
    video/x-h264,profile=high,stream-format=avc,alignment=au
    ");
}

#[test]
fn settings_that_a_gpu_does_not_have_are_left_out() {
    let route = Route { lacking: vec!["bframes", "rc-lookahead"], ..cpu(&upload(), 0) };
    let plan = plan(&order(0, 1_000), &upload(), &route, FIRST).expect("a plan");
    insta::assert_snapshot!(lines(&plan, &["nvh264enc"]), @"nvh264enc name=video-encoder preset=p4 tune=high-quality rc-mode=vbr const-quality=23 bitrate=16000 max-bitrate=16000 gop-size=60 spatial-aq=true aq-strength=8");
}
