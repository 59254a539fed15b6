//! One clip from order to result: probe, plan, build, run, finish, verify, manifest. Every decision about trying again inside one
//! attempt is here.

use crate::{
    build::{Built, build},
    bus::{self, ElementError, What},
    catalog::{AAC_PRIMING, Installed},
    cover::{COVER_FILE, Cover},
    driver_log,
    elements::{FramesReport, SamplesReport},
    ends, failure,
    leveling::{self, Allowance, Decision, Leveling, meter::Measured},
    listen::{self, Heard},
    mp4,
    plan::{self, END_TOLERANCE_MS, Expected, MEDIA_FILE, OUTPUT_FILE, PREROLLS_NS, Plan, Reach, SAMPLE_RATE},
    probe::{self, Probed},
    progress::Progress,
    route::{self, Choice, Reasons, Way},
    run::{self, Outcome},
    source::Source,
    tracks::Tracks,
    verify::{
        self, Proof, Witnessed,
        loudness::Levels,
        manifest::{self, Manifest},
        reference::{self, cells, instants::mixed, tap as source_tap, tracks},
        tap::Tap,
    },
};
use clipfleet_contract::{pipeline::Transcode, v1::TranscodeFinished};
use clipfleet_domain::{
    audio::NormalizeLoudness, clip::Window, failure::Failure, fallback::Fallback, progress::Phase, rendition::name_of,
};
use gstreamer::prelude::*;
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// How often a clip is made again because AAC made its sound higher or softer than is allowed for.
const LOUDNESS_RETRIES: u32 = 2;

/// How much earlier than its header says a sound track may end. Packets of sound are at most 120 ms long, and writers count one
/// more than there is.
const SOUND_END_TOLERANCE_NS: i64 = 500_000_000;

/// Why a source's pictures end within a clip that does not lie beyond its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All pictures came; the last one stands while the sound or the track goes on.
    Stands,
    /// There should have been more.
    Unexplained,
}

/// A clip that was made and proved.
#[derive(Debug)]
pub struct Transcoded {
    /// What the worker is told.
    pub finished: TranscodeFinished,
    /// What is stored beside the clip; `finished` carries it as JSON.
    pub manifest: Manifest,
    /// What the clip was to be.
    pub expected: Expected,
    /// What was seen of it meanwhile.
    pub witnessed: Witnessed,
    /// How loud it is.
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

/// As [`transcode`], with each plan changed before it is built: for tests of what verification finds.
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
    // Whatever GStreamer made of it: when the source could not be read, that is what went wrong.
    job.make().map_err(|failure| source.failure().unwrap_or(failure))
}

struct Job<'a> {
    order: &'a Transcode,
    source: &'a Arc<Source>,
    installed: &'a Arc<Installed>,
    progress: &'a Progress,
    /// Changes each plan before it is built, in tests.
    change: Option<&'a dyn Fn(&mut Plan)>,
    /// What the source declares of its tracks, once it was read.
    tracks: OnceLock<Arc<[tracks::Track]>>,
    began: Instant,
}

/// What is known of the source's sound.
enum Listened {
    /// There is none.
    NoSound,
    /// All of it within the clip.
    All(Measured),
    /// It cannot be heard. Making the clip tells more exactly what is wrong, unless that succeeds.
    Failed(Failure),
}

/// A run that gave a file.
struct Made {
    way: Way,
    reasons: Reasons,
    encoded: Encoded,
}

/// What one way made.
struct Encoded {
    plan: Plan,
    frames: FramesReport,
    samples: SamplesReport,
    witnessed: Witnessed,
    cover: Arc<Cover>,
}

impl Job<'_> {
    fn make(&self) -> Result<Transcoded, Failure> {
        let probed = probe::probe(self.source, self.installed)?;
        tracing::info!(?probed, "probed");
        self.progress.reach(Phase::Fetching, 0.5);
        let Some(asked) = self.order.clip.audio.normalize_loudness else { return self.prove(&probed, None) };
        let measured = self.listen(&probed)?;
        let decide = |allowed| match &measured {
            Listened::All(measured) => leveling::decide(measured, asked, allowed),
            Listened::NoSound | Listened::Failed(_) => Decision::NO_SOUND,
        };
        let mut allowed = Allowance::default();
        for _ in 0..LOUDNESS_RETRIES {
            let decision = decide(allowed);
            let made = self.prove(&probed, Some((asked, decision)))?;
            let Some(next) = decision.missed(asked, allowed, made.levels) else {
                // The sound was heard now, but not before: whatever is wrong, its loudness is not what was asked for.
                return if let Listened::Failed(failed) = measured { Err(failed) } else { Ok(made) };
            };
            allowed = next;
            tracing::info!(levels = ?made.levels, ?allowed, "the encoder changed the loudness; making the clip again");
        }
        self.prove(&probed, Some((asked, decide(allowed))))
    }

    /// Makes the clip and proves it, its sound treated as decided: by the best way there is, or the next ones should that fail.
    fn prove(&self, probed: &Probed, loudness: Option<(NormalizeLoudness, Decision)>) -> Result<Transcoded, Failure> {
        let wanted = self.order.encoder.as_str();
        let Choice { ways, passed_over: mut reasons } = route::choose(self.order, probed, self.installed);
        let mut last = None;
        for way in ways {
            self.progress.encode_with(way.encoding(&reasons), way.uses_gpu().then(|| way.name()));
            driver_log::forget();
            let made = self.prove_by(way.clone(), reasons.clone(), probed, loudness);
            match made.map_err(|trouble| self.judge(&way, trouble)) {
                Ok(made) => return Ok(made),
                Err(Trouble::Way(failed)) => {
                    tracing::warn!(way = way.name(), reason = failed.message, "this way failed");
                    reasons.add(kind_of(&way, &failed), format!("{}: {}", way.name(), failed.message));
                    last = Some(failed);
                }
                Err(Trouble::Other(failed)) => return Err(failed),
            }
        }
        Err(last.unwrap_or_else(|| failure::encoder_unavailable(wanted, &self.installed.encoder_names())))
    }

    /// Whatever goes wrong on a GPU may go well without it, unless the source itself was found to end too early.
    fn judge(&self, way: &Way, trouble: Trouble) -> Trouble {
        if !way.uses_gpu() || self.source.failure().is_some() {
            return trouble;
        }
        match trouble {
            // No other way finds a longer source or a larger disk.
            Trouble::Other(failed) if failure::is_about_the_window(&failed) || failed.blames_instance() => {
                Trouble::Other(failed)
            }
            Trouble::Other(failed) | Trouble::Way(failed) => {
                Trouble::Way(failure::on_the_gpu(failed, driver_log::first()))
            }
        }
    }

    fn prove_by(
        &self,
        way: Way,
        reasons: Reasons,
        probed: &Probed,
        loudness: Option<(NormalizeLoudness, Decision)>,
    ) -> Result<Transcoded, Trouble> {
        let leveling = loudness.and_then(|(_, decision)| decision.leveling());
        let encoded = self.encode(&way, probed, leveling)?;
        self.progress.leave_gpu();
        let made = Made { way, reasons, encoded };
        self.check_end(probed, &made.encoded)?;
        let verifying = Instant::now();
        self.progress.reach(Phase::Verifying, 0.0);
        let Encoded { plan, frames, witnessed, .. } = &made.encoded;
        self.finish(plan)?;
        let output = self.order.directory.join(OUTPUT_FILE);
        let report = |fraction| self.progress.reach(Phase::Verifying, fraction);
        let (movie, proof) = verify::verify(&output, &plan.expected, witnessed, self.installed, report)?;
        made.encoded.cover.write(&self.order.directory.join(COVER_FILE))?;
        let first = frames.first_shown.unwrap_or(self.began);
        let manifest = Manifest {
            fetch_ms: millis(first - self.began),
            encode_ms: millis(verifying - first),
            verify_ms: millis(verifying.elapsed()),
            size_bytes: std::fs::metadata(&output).map_or(0, |metadata| metadata.len()),
            video_codec: video_codec(&movie),
            normalization: loudness.map(|(asked, decision)| manifest::Normalization::of(asked, decision)),
            ..self.manifest(probed, &made, &proof)
        };
        Ok(Transcoded {
            finished: finished(&manifest),
            manifest,
            expected: plan.expected,
            witnessed: made.encoded.witnessed,
            levels: proof.levels,
        })
    }

    fn manifest(&self, probed: &Probed, made: &Made, proof: &Proof) -> Manifest {
        let expected = made.encoded.plan.expected;
        let Proof { likeness, levels, input, output, .. } = proof.clone();
        let noted = [
            ("source_frozen", !input.frozen.is_empty()),
            ("source_black", !input.black.is_empty()),
            ("source_channels_discrete", made.encoded.samples.channels_are_discrete),
        ];
        let notes = noted.into_iter().filter(|(_, is_so)| *is_so).map(|(note, _)| note).collect();
        let Tracks { video, audio, of_video, of_audio } = probed.tracks;
        let rounded = manifest::rounded;
        let encoding = made.way.encoding(&made.reasons);
        Manifest {
            version: manifest::VERSION,
            frames: expected.frames,
            fps: expected.fps,
            duration_ms: expected.duration_ms(),
            width: expected.size.width,
            height: expected.size.height,
            size_bytes: 0,
            video_codec: String::new(),
            audio_codec: "mp4a.40.2",
            audio_sample_rate_hz: SAMPLE_RATE,
            audio_channels: 2,
            encoder: encoding.encoder,
            fallback_reason: encoding.fallback_reason,
            fallback_kind: made.reasons.gravest().map_or("", |kind| name_of(&Fallback::ALL, kind)),
            decoder: encoding.decoder,
            gpu_driver: encoding.gpu_driver,
            source_has_audio: probed.audio.is_some(),
            source_tracks: manifest::SourceTracks { video, audio, video_tracks: of_video, audio_tracks: of_audio },
            av_offset_ms: proof.av_offset_ms.map(rounded),
            end_difference_ms: rounded(proof.end_difference_ms),
            picture_difference: manifest::PictureDifference {
                compared: proof.compared,
                mean_levels: rounded(likeness.mean.into()),
                worst_levels: rounded(likeness.worst.into()),
                worst_at_ms: likeness.worst_frame as i64 * 1_000 / i64::from(expected.fps),
            },
            source_comparison: manifest::SourceComparison::of(&proof.agreement),
            notes,
            input,
            output,
            loudness: manifest::Loudness {
                integrated_lufs: levels.integrated_lufs.map(rounded),
                true_peak_dbtp: levels.true_peak_dbtp.map(rounded),
                sample_peak_dbfs: levels.sample_peak_dbfs.map(rounded),
            },
            normalization: None,
            fetch_ms: 0,
            encode_ms: 0,
            verify_ms: 0,
        }
    }

    /// What the clip must show and sound like, whatever the pipeline does.
    fn reference(&self, probed: &Probed, plan: &Plan, leveled: bool) -> reference::Job {
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
            scope: reference::Scope { pictures, leveled },
            seed: seed.into_iter().fold(0, |seed, number| mixed(seed ^ number)),
        }
    }

    /// Measures the source's sound within the clip.
    fn listen(&self, probed: &Probed) -> Result<Listened, Failure> {
        for preroll in PREROLLS_NS.map(Some).into_iter().chain([None]) {
            let Some(plan) = plan::listening(self.order, probed, preroll)? else { return Ok(Listened::NoSound) };
            let report = |fraction: f64| self.progress.reach(Phase::Fetching, 0.5 + fraction / 2.0);
            match listen::listen(&plan, self.source, report)? {
                Heard::All(measured) => return Ok(Listened::All(measured)),
                Heard::Astray => tracing::info!("seeking led behind the start; listening from earlier"),
                Heard::Failed(error) => return Ok(Listened::Failed(classify(&error).into())),
            }
        }
        Err(failure::internal("listening from the beginning led astray"))
    }

    /// Makes the file by one way.
    fn encode(&self, way: &Way, probed: &Probed, leveling: Option<Leveling>) -> Result<Encoded, Trouble> {
        let mut prerolls = PREROLLS_NS.map(Some).into_iter().chain([None]);
        let led_astray = || Trouble::from(failure::internal("reading from the beginning led astray"));
        let mut reach = Reach { preroll_ns: prerolls.next().ok_or_else(led_astray)?, holds_last_picture: false };
        loop {
            let mut plan = plan::plan(self.order, probed, way, reach)?.leveled(leveling);
            let reference = source_tap::Tap::new(self.reference(probed, &plan, leveling.is_some()));
            if let Some(change) = self.change {
                change(&mut plan);
            }
            tracing::info!("plan\n{plan}");
            let (entering, leaving) = <(Arc<Tap>, Arc<Tap>)>::default();
            let cover = Arc::new(Cover::new(self.order.clip.cover_at_ms));
            match self.run(&plan, &entering, &leaving, &reference, &cover)? {
                Outcome::Complete(frames, samples) => {
                    let witnessed =
                        Witnessed { entered: entering.take(), made: leaving.take(), source: reference.take() };
                    return Ok(Encoded { plan, frames, samples, witnessed, cover });
                }
                Outcome::Astray => tracing::info!("seeking led behind the start; beginning earlier"),
                Outcome::Short(frames) => match self.why_short(probed, frames)? {
                    End::Stands if !reach.holds_last_picture => {
                        tracing::info!("the source's last picture stands to the end of the clip");
                        reach.holds_last_picture = true;
                        continue;
                    }
                    _ if plan.seek_ns.is_none() => return Err(unexplained(frames).into()),
                    End::Stands | End::Unexplained => {}
                },
                Outcome::Failed(error) => return Err(classify(&error)),
            }
            reach.preroll_ns = prerolls.next().ok_or_else(led_astray)?;
        }
    }

    fn run(
        &self,
        plan: &Plan,
        entering: &Arc<Tap>,
        leaving: &Arc<Tap>,
        reference: &Arc<source_tap::Tap>,
        cover: &Arc<Cover>,
    ) -> Result<Outcome, Failure> {
        let built = build(plan, self.source, &self.order.directory)?;
        entering.look(&input_of(&built, "video-encoder")?);
        entering.listen(&input_of(&built, "audio-encoder")?);
        reference.attach(&built.pipeline, &built.entries)?;
        leaving.sift(&input_of(&built, "proof-decoder")?);
        let decoded = input_of(&built, "proof-out")?;
        leaving.look(&decoded);
        cover.look(&decoded);
        let frames = f64::from(plan.expected.frames);
        let outcome = run::run(&built, plan, self.source, |progress| match progress {
            run::Progress::Fetching => {}
            run::Progress::Encoded(count) => self.progress.reach(Phase::Encoding, f64::from(count) / frames),
        });
        self.progress.stop_pipeline(built, outcome.as_ref().err());
        outcome
    }

    /// Why the pictures did not suffice, from where the source really ends.
    fn why_short(&self, probed: &Probed, frames: FramesReport) -> Result<End, Failure> {
        let window = self.order.clip.window;
        let ends = ends::find(self.source, probed)?;
        let last_ms = ends.video_ns.max(ends.audio_ns).max(0) / 1_000_000;
        tracing::info!(?ends, ?frames, "the source's pictures end within the clip");
        if last_ms + END_TOLERANCE_MS < window.end_ms() {
            return Err(self.beyond(probed, window, last_ms));
        }
        // Some demuxers stamp no picture; then the decoder's word stands.
        let all_decoded = frames.last_ns.is_some_and(|decoded| {
            ends.last_picture_ns.is_none_or(|last| decoded + END_TOLERANCE_MS * 1_000_000 >= last)
        });
        Ok(if all_decoded { End::Stands } else { End::Unexplained })
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

    /// A clip may end with a still picture while the sound or the track goes on, but not with nothing. Sound may end before the
    /// clip, but not before its track.
    fn check_end(&self, probed: &Probed, made: &Encoded) -> Result<(), Failure> {
        let window = self.order.clip.window;
        let is_missing = |ended_ns: i64| ended_ns / 1_000_000 + END_TOLERANCE_MS < window.end_ms();
        if made.frames.ended_ns.is_some_and(is_missing) && self.why_short(probed, made.frames)? == End::Unexplained {
            return Err(unexplained(made.frames));
        }
        let declared_ns = probed.audio.as_ref().and_then(|audio| audio.end_ns);
        match made.samples.ended_ns.zip(declared_ns) {
            Some((ended, declared)) if is_missing(ended) && ended + SOUND_END_TOLERANCE_NS < declared => {
                let at_ms = |ns: i64| ns.max(0) / 1_000_000;
                Err(failure::source_sound_ends(at_ms(ended), at_ms(declared)))
            }
            _ => Ok(()),
        }
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

fn input_of(built: &Built, name: &str) -> Result<gstreamer::Pad, Failure> {
    let element = built.pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a plan without {name}")))?;
    bus::pad(&element, "sink")
}

/// As in RFC 6381: profile, constraints and level.
fn video_codec(movie: &mp4::Movie) -> String {
    let [profile, constraints, level] = movie.track(b"vide").map_or([0; 3], |track| track.profile_level);
    format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
}

fn finished(manifest: &Manifest) -> TranscodeFinished {
    TranscodeFinished {
        file: OUTPUT_FILE.to_owned(),
        cover: COVER_FILE.to_owned(),
        duration_ms: manifest.duration_ms,
        frames: manifest.frames,
        width: manifest.width,
        height: manifest.height,
        encoder: manifest.encoder.clone(),
        fallback_reason: manifest.fallback_reason.clone(),
        fetch_ms: manifest.fetch_ms,
        encode_ms: manifest.encode_ms,
        verify_ms: manifest.verify_ms,
        manifest: manifest.to_json(),
        decoder: manifest.decoder.clone(),
        gpu_driver: manifest.gpu_driver.clone(),
        fallback_kind: manifest.fallback_kind.to_owned(),
    }
}

/// What the failure of a way says, and of whom.
fn kind_of(way: &Way, failed: &Failure) -> Fallback {
    match way.uses_gpu() {
        true if failed.is_bad_output() => Fallback::GpuMismatch,
        true => Fallback::GpuFailed,
        false => Fallback::EncoderFailed,
    }
}

fn unexplained(frames: FramesReport) -> Failure {
    failure::source_truncated(format!("{} frames at the end of the clip cannot be decoded", frames.completed))
}

/// Why one way gave no output.
enum Trouble {
    /// It failed itself; the next one may do.
    Way(Failure),
    /// None would do better.
    Other(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Way(failure) | Trouble::Other(failure) => failure,
        }
    }
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
        return failure::scratch_full(error).into();
    }
    // What cannot be decoded again is the encoder's fault.
    if error.element == "video-encoder" || error.element.starts_with("proof") {
        return Trouble::Way(failure::encode_failed(error));
    }
    // What does not agree on a format are our elements, whatever the source is.
    if error.what == What::Negotiation {
        return failure::source_unsupported(error).into();
    }
    let ours = OURS.iter().any(|part| error.element.starts_with(part));
    if ours { failure::encode_failed(error).into() } else { failure::source_truncated(error).into() }
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}
