//! One clip from order to result: probe, plan, build, run, finish, verify.

mod manifest;
mod retry;
mod source_end;

use crate::{
    elements::{FramesReport, SamplesReport},
    failure,
    graph::{
        build::{Built, build},
        bus,
        run::{self, Outcome},
    },
    mp4,
    picture::cover::{COVER_FILE, Cover},
    plan::{
        Expected, MEDIA_FILE, OUTPUT_FILE, Plan,
        catalog::AAC_PRIMING,
        installed::Installed,
        route::{Reasons, Route},
    },
    progress::Progress,
    source::{blocks::Source, probe::Probed},
    verify::{
        self, Observations,
        loudness::Levels,
        manifest::{Manifest, Normalization},
        reference::{self, cells, instants::mixed, tap as source_tap, tracks},
        tap::Tap,
    },
};
use clipfleet_contract::{pipeline::Transcode, v1::TranscodeFinished};
use clipfleet_domain::{failure::Failure, progress::Phase};
use gstreamer::prelude::*;
use retry::{LoudnessTarget, RouteError};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// A clip that was made and verified.
#[derive(Debug)]
pub struct Transcoded {
    /// The message for the worker.
    pub finished: TranscodeFinished,
    /// The manifest, which is stored beside the clip. `finished` contains it as JSON.
    pub manifest: Manifest,
    /// Properties that the clip must have.
    pub expected: Expected,
    /// What was observed while the clip was made.
    pub observations: Observations,
    /// Loudness of the clip.
    pub levels: Levels,
}

/// Makes the clip that `order` describes out of `source`.
pub fn transcode(
    order: &Transcode,
    source: &Arc<Source>,
    installed: &Arc<Installed>,
    progress: &Progress,
) -> Result<Transcoded, Failure> {
    run_job(order, source, installed, progress, None)
}

/// As [`transcode`], but changes each plan before it is built. Tests of verification use this.
pub fn transcode_planned(
    order: &Transcode,
    source: &Arc<Source>,
    installed: &Arc<Installed>,
    progress: &Progress,
    change: &dyn Fn(&mut Plan),
) -> Result<Transcoded, Failure> {
    run_job(order, source, installed, progress, Some(change))
}

fn run_job(
    order: &Transcode,
    source: &Arc<Source>,
    installed: &Arc<Installed>,
    progress: &Progress,
    change: Option<&dyn Fn(&mut Plan)>,
) -> Result<Transcoded, Failure> {
    let began = Instant::now();
    let job = Job { order, source, installed, progress, change, tracks: OnceLock::new(), began };
    // If a read of the source failed, that is the cause, whatever GStreamer reports.
    job.make().map_err(|failure| source.failure().unwrap_or(failure))
}

struct Job<'a> {
    order: &'a Transcode,
    source: &'a Arc<Source>,
    installed: &'a Arc<Installed>,
    progress: &'a Progress,
    /// Changes each plan before it is built, in tests.
    change: Option<&'a dyn Fn(&mut Plan)>,
    /// The tracks that the source declares, read once.
    tracks: OnceLock<Arc<[tracks::Track]>>,
    began: Instant,
}

/// A run that produced a file.
struct Made {
    route: Route,
    reasons: Reasons,
    encoded: Encoded,
}

/// The result of encoding on one route.
struct Encoded {
    plan: Plan,
    frames: FramesReport,
    samples: SamplesReport,
    observations: Observations,
    cover: Arc<Cover>,
}

impl Job<'_> {
    /// Makes and verifies the clip on one route.
    fn make_on_route(
        &self,
        route: Route,
        reasons: Reasons,
        probed: &Probed,
        loudness: Option<LoudnessTarget>,
    ) -> Result<Transcoded, RouteError> {
        let settings = loudness.and_then(|(_, decision)| decision.settings());
        let encoded = self.encode(&route, probed, settings)?;
        self.progress.leave_gpu();
        let made = Made { route, reasons, encoded };
        self.check_end(probed, &made.encoded)?;
        let verifying = Instant::now();
        self.progress.reach(Phase::Verifying, 0.0);
        let Encoded { plan, frames, observations, .. } = &made.encoded;
        self.finish(plan)?;
        let output = self.order.directory.join(OUTPUT_FILE);
        let report = |fraction| self.progress.reach(Phase::Verifying, fraction);
        let (movie, verification) = verify::verify(&output, &plan.expected, observations, self.installed, report)?;
        made.encoded.cover.write(&self.order.directory.join(COVER_FILE))?;
        let first = frames.first_shown.unwrap_or(self.began);
        let manifest = Manifest {
            fetch_ms: millis(first - self.began),
            encode_ms: millis(verifying - first),
            verify_ms: millis(verifying.elapsed()),
            size_bytes: std::fs::metadata(&output).map_or(0, |metadata| metadata.len()),
            video_codec: manifest::video_codec(&movie),
            normalization: loudness.map(|(requested, decision)| Normalization::of(requested, decision)),
            ..self.manifest(probed, &made, &verification)
        };
        Ok(Transcoded {
            finished: manifest::finished(&manifest),
            manifest,
            expected: plan.expected,
            observations: made.encoded.observations,
            levels: verification.levels,
        })
    }

    /// What the clip must show and sound like, independent of the pipeline.
    fn reference(&self, probed: &Probed, plan: &Plan, normalized: bool) -> reference::Job {
        let (clip, expected) = (&self.order.clip, plan.expected);
        let pictures = cells::Scope { levels: !probed.picture.high_range(), times: !probed.picture.interlaced };
        let seed = [self.source.size(), clip.window.start_ms() as u64, clip.window.end_ms() as u64];
        reference::Job {
            reframe: clip.reframe.clone(),
            target: expected.size,
            fps: expected.fps,
            frames: expected.frames,
            start_ns: plan.start_ns(),
            video_time_line: plan.video_time_line(),
            audio_time_line: plan.audio_time_line(),
            tracks: Arc::clone(self.tracks.get_or_init(|| tracks::read(&**self.source).into())),
            scope: reference::Scope { pictures, normalized },
            seed: seed.into_iter().fold(0, |seed, number| mixed(seed ^ number)),
        }
    }

    /// Builds and runs a plan.
    fn run(
        &self,
        plan: &Plan,
        encoder_input: &Arc<Tap>,
        encoder_output: &Arc<Tap>,
        reference: &Arc<source_tap::Tap>,
        cover: &Arc<Cover>,
    ) -> Result<Outcome, Failure> {
        let built = build(plan, self.source, &self.order.directory)?;
        encoder_input.observe_video(&input_of(&built, "video-encoder")?);
        encoder_input.observe_audio(&input_of(&built, "audio-encoder")?);
        reference.attach(&built.pipeline, &built.entries)?;
        encoder_output.filter_packets(&input_of(&built, "verification-decoder")?);
        let decoded = input_of(&built, "verification-out")?;
        encoder_output.observe_video(&decoded);
        cover.observe(&decoded);
        let frames = f64::from(plan.expected.frames);
        let outcome = run::run(&built, plan, self.source, |progress| match progress {
            run::Progress::Fetching => {}
            run::Progress::Encoded(count) => self.progress.reach(Phase::Encoding, f64::from(count) / frames),
        });
        self.progress.stop_pipeline(built, outcome.as_ref().err());
        outcome
    }

    /// Corrects the header that the multiplexer wrote, and removes its temporary file.
    fn finish(&self, plan: &Plan) -> Result<(), Failure> {
        let output = self.order.directory.join(OUTPUT_FILE);
        let broken = |error| failure::verify_failed(format!("its header cannot be completed: {error}"));
        let timescale = u64::from(mp4::Movie::read(&output).map_err(broken)?.timescale);
        let expected = plan.expected;
        let duration = (u64::from(expected.frames) * timescale).div_ceil(u64::from(expected.fps));
        mp4::shift_audio(&output, AAC_PRIMING, duration).map_err(broken)?;
        let _ = std::fs::remove_file(self.order.directory.join(MEDIA_FILE));
        Ok(())
    }
}

fn input_of(built: &Built, name: &str) -> Result<gstreamer::Pad, Failure> {
    let element = built.pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a plan without {name}")))?;
    bus::pad(&element, "sink")
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}
