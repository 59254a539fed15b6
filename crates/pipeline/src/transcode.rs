//! One clip from order to result: probe, plan, build, run, finish, verify. Every decision about trying again inside one
//! attempt is here.

use crate::{
    build::build,
    bus::{ElementError, What},
    catalog::{AAC_PRIMING, Encoder, Installed},
    elements::{FramesReport, SamplesReport},
    ends, failure, mp4,
    plan::{self, END_TOLERANCE_MS, MEDIA_FILE, OUTPUT_FILE, PREROLLS_NS, Plan},
    probe::{self, Probed},
    progress::Progress,
    run::{self, Outcome},
    source::Source,
    verify::verify,
};
use clipfleet_contract::{pipeline::Transcode, v1::TranscodeFinished};
use clipfleet_domain::{clip::Window, failure::Failure, progress::Phase};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Makes the clip that `order` describes out of `source`.
pub fn transcode(
    order: &Transcode,
    source: &Arc<Source>,
    installed: &Arc<Installed>,
    progress: &Progress,
) -> Result<TranscodeFinished, Failure> {
    let job = Job { order, source, installed, progress, began: Instant::now() };
    // Whatever GStreamer made of it: when the source could not be read, that is what went wrong.
    job.make().map_err(|failure| source.failure().unwrap_or(failure))
}

struct Job<'a> {
    order: &'a Transcode,
    source: &'a Arc<Source>,
    installed: &'a Arc<Installed>,
    progress: &'a Progress,
    began: Instant,
}

/// A run that gave a file.
struct Made {
    encoder: &'static Encoder,
    fallback_reason: String,
    plan: Plan,
    frames: FramesReport,
    samples: SamplesReport,
}

impl Job<'_> {
    fn make(&self) -> Result<TranscodeFinished, Failure> {
        let probed = probe::probe(self.source, self.installed)?;
        tracing::info!(?probed, "probed");
        self.progress.reach(Phase::Fetching, 0.5);
        let made = self.encode(&probed)?;
        self.check_end(&probed, &made)?;
        let encoded = Instant::now();
        self.progress.reach(Phase::Verifying, 0.0);
        self.finish(&made.plan)?;
        let expected = made.plan.expected;
        verify(&self.order.directory.join(OUTPUT_FILE), &expected)?;
        self.progress.reach(Phase::Verifying, 1.0);
        let first = made.frames.first_shown.unwrap_or(self.began);
        Ok(TranscodeFinished {
            file: OUTPUT_FILE.to_owned(),
            duration_ms: expected.duration_ms(),
            frames: expected.frames,
            width: expected.size.width,
            height: expected.size.height,
            encoder: made.encoder.name.to_owned(),
            fallback_reason: made.fallback_reason,
            fetch_ms: millis(first - self.began),
            encode_ms: millis(encoded - first),
            verify_ms: millis(encoded.elapsed()),
        })
    }

    /// Tries the encoders there are, best first.
    fn encode(&self, probed: &Probed) -> Result<Made, Failure> {
        let wanted = self.order.encoder.as_str();
        let candidates = self.installed.encoders(wanted);
        let Some(first) = candidates.first() else {
            return Err(failure::encoder_unavailable(wanted, &self.installed.encoder_names()));
        };
        let mut fallback_reason = self.installed.fallback_reason(wanted, first);
        let mut last = None;
        for encoder in candidates {
            self.progress.encode_with(encoder.name, &fallback_reason);
            match self.encode_with(encoder, probed) {
                Ok((plan, frames, samples)) => return Ok(Made { encoder, fallback_reason, plan, frames, samples }),
                Err(Trouble::Encoder(failed)) => {
                    tracing::warn!(encoder = encoder.name, reason = failed.message, "encoder failed");
                    fallback_reason = format!("{}: {}", encoder.name, failed.message);
                    last = Some(failed);
                }
                Err(Trouble::Other(failed)) => return Err(failed),
            }
        }
        Err(last.unwrap_or_else(|| failure::internal("no encoder was tried")))
    }

    fn encode_with(
        &self,
        encoder: &'static Encoder,
        probed: &Probed,
    ) -> Result<(Plan, FramesReport, SamplesReport), Trouble> {
        for preroll in PREROLLS_NS.map(Some).into_iter().chain([None]) {
            let plan = plan::plan(self.order, probed, encoder, preroll)?;
            tracing::info!("plan\n{plan}");
            match self.run(&plan)? {
                Outcome::Complete(frames, samples) => return Ok((plan, frames, samples)),
                Outcome::Astray => tracing::info!("seeking led behind the start; beginning earlier"),
                Outcome::Short(frames) => {
                    let failed = self.why_short(probed, frames)?;
                    if let Some(failed) = failed.or((plan.seek_ns.is_none()).then(|| unexplained(frames))) {
                        return Err(failed.into());
                    }
                }
                Outcome::Failed(error) => return Err(classify(&error)),
            }
        }
        Err(failure::internal("reading from the beginning led astray").into())
    }

    fn run(&self, plan: &Plan) -> Result<Outcome, Failure> {
        let built = build(plan, self.source, &self.order.directory)?;
        let frames = f64::from(plan.expected.frames);
        run::run(&built, plan, self.source, |progress| match progress {
            run::Progress::Fetching => {}
            run::Progress::Encoded(count) => self.progress.reach(Phase::Encoding, f64::from(count) / frames),
        })
    }

    /// Why the source did not suffice, from where it really ends. `None` when it should have sufficed.
    fn why_short(&self, probed: &Probed, frames: FramesReport) -> Result<Option<Failure>, Failure> {
        let window = self.order.clip.window;
        let ends = ends::find(self.source, probed)?;
        let end = |ns: i64| (ns - probed.picture.time_ns).max(0) / 1_000_000;
        let (video_ms, audio_ms) = (end(ends.video_ns), end(ends.audio_ns));
        tracing::info!(video_ms, audio_ms, ?frames, "the source is too short");
        let last_ms = video_ms.max(audio_ms);
        if last_ms + END_TOLERANCE_MS < window.end_ms() {
            return Ok(Some(self.beyond(probed, window, last_ms)));
        }
        let still = video_ms + END_TOLERANCE_MS < window.end_ms();
        Ok(still.then(|| failure::source_duration_mismatch(window, video_ms, audio_ms)))
    }

    /// A window beyond the end is the request's fault, unless the source promised more than it has.
    fn beyond(&self, probed: &Probed, window: Window, end_ms: i64) -> Failure {
        let declared_ms = probed.declared_ns.map_or(0, |length| length / 1_000_000);
        if declared_ms > end_ms + END_TOLERANCE_MS.max(end_ms / 10) {
            return failure::source_truncated(format!(
                "its header declares {declared_ms} ms, but it breaks off at {end_ms} ms"
            ));
        }
        failure::window_beyond_end(window, end_ms)
    }

    /// A clip may end with a still picture while the sound goes on, but not with nothing.
    fn check_end(&self, probed: &Probed, made: &Made) -> Result<(), Failure> {
        let Some(video_ns) = made.frames.ended_ns else { return Ok(()) };
        let window = self.order.clip.window;
        let missing = |ns: i64| window.end_ms() - (ns - probed.picture.time_ns) / 1_000_000;
        // Sound that did not end within the clip covers it.
        let audio_missing = match (probed.audio, made.samples.ended_ns) {
            (Some(_), None) => 0,
            (_, ended) => ended.map_or(i64::MAX, missing),
        };
        if missing(video_ns).min(audio_missing) <= END_TOLERANCE_MS {
            return Ok(());
        }
        let failed = self.why_short(probed, made.frames)?;
        failed.map_or(Ok(()), Err)
    }

    /// What the multiplexer leaves undone.
    fn finish(&self, plan: &Plan) -> Result<(), Failure> {
        let output = self.order.directory.join(OUTPUT_FILE);
        let broken = |error| failure::verify_failed(format!("its header cannot be completed: {error}"));
        let timescale = u64::from(mp4::Movie::read(&output).map_err(broken)?.timescale);
        let expected = plan.expected;
        let duration = (u64::from(expected.frames) * timescale).div_ceil(u64::from(expected.fps));
        mp4::shift_sound(&output, AAC_PRIMING, duration).map_err(broken)?;
        let _ = std::fs::remove_file(self.order.directory.join(MEDIA_FILE));
        Ok(())
    }
}

fn unexplained(frames: FramesReport) -> Failure {
    failure::source_truncated(format!("{} frames at the end of the clip cannot be decoded", frames.completed))
}

/// Why one encoder gave no output.
enum Trouble {
    /// It failed itself; the next one may do.
    Encoder(Failure),
    /// No encoder would do better.
    Other(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Other(failure)
    }
}

/// Whose fault a failing element is: everything up to the decoders handles the source, everything behind is ours.
fn classify(error: &ElementError) -> Trouble {
    const OURS: [&str; 6] = ["audio-encoder", "mux", "file", "videocrop", "videoconvert", "clipfleetcanvas"];
    if error.what == What::NoSpace {
        return failure::internal(format!("no space left in the attempt's directory: {error}")).into();
    }
    if error.element == "video-encoder" {
        return Trouble::Encoder(failure::encode_failed(error));
    }
    let ours = OURS.iter().any(|part| error.element.starts_with(part));
    if ours { failure::encode_failed(error).into() } else { failure::source_truncated(error).into() }
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}
