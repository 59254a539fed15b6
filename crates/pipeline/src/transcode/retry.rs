//! Every retry within one attempt, from the outside in:
//!
//! | what is repeated | when |
//! |---|---|
//! | the clip, with another gain | the encoder changed the loudness too much |
//! | the clip, on the next route | the route failed, and another one may work |
//! | the run, from another position or to another end | the seek overshot the clip's start, or the source ends early |

use super::{Encoded, Job, Transcoded, source_end::EarlyEnd};
use crate::{
    audio::{
        listen,
        loudness::{self, Allowance, Decision, LoudnessSettings, meter::Measured},
    },
    failure,
    gpu::driver_log,
    graph::{
        bus::{ElementError, ErrorKind},
        run::Outcome,
    },
    picture::cover::Cover,
    plan::{
        self, PREROLLS_NS, Reach,
        route::{self, Choice, Route},
    },
    source::probe::{self, Probed},
    verify::{Observations, reference::tap as source_tap, tap::Tap},
};
use clipfleet_domain::{audio::NormalizeLoudness, failure::Failure, fallback::Fallback, progress::Phase};
use std::sync::Arc;

/// Number of times that a clip is made again because AAC changed its loudness or its peaks by more than the allowance.
const LOUDNESS_RETRIES: u32 = 2;

/// The requested loudness, and the decision how to reach it.
pub(super) type LoudnessTarget = (NormalizeLoudness, Decision);

/// The result of measuring the source's audio.
enum Measurement {
    /// There is no audio.
    NoAudio,
    /// All audio within the clip was measured.
    Complete(Measured),
    /// The audio cannot be decoded. Making the clip gives a more exact error, unless it succeeds.
    Failed(Failure),
}

/// Why a route produced no output.
pub(super) enum RouteError {
    /// The route failed; the next one may work.
    TryNext(Failure),
    /// Every route would fail.
    Final(Failure),
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::TryNext(failure) | RouteError::Final(failure) => failure,
        }
    }
}

impl From<Failure> for RouteError {
    fn from(failure: Failure) -> Self {
        RouteError::Final(failure)
    }
}

impl Job<'_> {
    /// Makes the clip. If its loudness misses the target, makes it again with another allowance for the encoder.
    pub(super) fn make(&self) -> Result<Transcoded, Failure> {
        let probed = probe::probe(self.source, self.installed)?;
        tracing::info!(?probed, "probed");
        self.progress.reach(Phase::Fetching, 0.5);
        let Some(requested) = self.order.clip.audio.normalize_loudness else { return self.try_routes(&probed, None) };
        let measurement = self.measure_loudness(&probed)?;
        let decide = |allowed| match &measurement {
            Measurement::Complete(measured) => loudness::decide(measured, requested, allowed),
            Measurement::NoAudio | Measurement::Failed(_) => Decision::NO_AUDIO,
        };
        let mut allowed = Allowance::default();
        for _ in 0..LOUDNESS_RETRIES {
            let decision = decide(allowed);
            let made = self.try_routes(&probed, Some((requested, decision)))?;
            let Some(next) = decision.missed(requested, allowed, made.levels) else {
                // If the measurement failed but the clip has audio, its loudness is not the requested one.
                return if let Measurement::Failed(failed) = measurement { Err(failed) } else { Ok(made) };
            };
            allowed = next;
            tracing::info!(levels = ?made.levels, ?allowed, "the encoder changed the loudness; making the clip again");
        }
        self.try_routes(&probed, Some((requested, decide(allowed))))
    }

    /// Makes and verifies the clip on the best route, or on the next one if a route fails.
    fn try_routes(&self, probed: &Probed, loudness: Option<LoudnessTarget>) -> Result<Transcoded, Failure> {
        let wanted = self.order.encoder.as_str();
        let Choice { routes, rejected: mut reasons } = route::choose(self.order, probed, self.installed);
        let mut last = None;
        for route in routes {
            let encoding = route.encoding(&reasons, self.installed);
            self.progress.encode_with(encoding, route.uses_gpu().then(|| route.name()));
            driver_log::clear();
            let made = self.make_on_route(route.clone(), reasons.clone(), probed, loudness);
            match made.map_err(|error| self.for_route(&route, error)) {
                Ok(made) => return Ok(made),
                Err(RouteError::TryNext(failed)) => {
                    tracing::warn!(route = route.name(), reason = failed.message, "this route failed");
                    reasons.add(fallback_kind(&route, &failed), format!("{}: {}", route.name(), failed.message));
                    last = Some(failed);
                }
                Err(RouteError::Final(failed)) => return Err(failed),
            }
        }
        Err(last.unwrap_or_else(|| failure::encoder_unavailable(wanted, &self.installed.encoder_names())))
    }

    /// Any failure on a GPU may be absent on the CPU, except when reading the source failed.
    fn for_route(&self, route: &Route, error: RouteError) -> RouteError {
        if !route.uses_gpu() || self.source.failure().is_some() {
            return error;
        }
        match error {
            // Another route has neither a longer source nor a larger disk.
            RouteError::Final(failed) if failure::is_about_the_window(&failed) || failed.blames_instance() => {
                RouteError::Final(failed)
            }
            RouteError::Final(failed) | RouteError::TryNext(failed) => {
                RouteError::TryNext(failure::on_the_gpu(failed, driver_log::first_error()))
            }
        }
    }

    /// Measures the source's audio within the clip.
    fn measure_loudness(&self, probed: &Probed) -> Result<Measurement, Failure> {
        for preroll in PREROLLS_NS.map(Some).into_iter().chain([None]) {
            let Some(plan) = plan::audio::listen(self.order, probed, preroll)? else {
                return Ok(Measurement::NoAudio);
            };
            let report = |fraction: f64| self.progress.reach(Phase::Fetching, 0.5 + fraction / 2.0);
            match listen::listen(&plan, self.source, report)? {
                listen::Outcome::Complete(measured) => return Ok(Measurement::Complete(measured)),
                listen::Outcome::SeekOvershot => {
                    tracing::info!("the seek overshot the clip's start; measuring from an earlier position");
                }
                listen::Outcome::Failed(error) => return Ok(Measurement::Failed(classify(&error).into())),
            }
        }
        Err(failure::internal("measuring from the beginning overshot the clip's start"))
    }

    /// Encodes on one route.
    pub(super) fn encode(
        &self,
        route: &Route,
        probed: &Probed,
        settings: Option<LoudnessSettings>,
    ) -> Result<Encoded, RouteError> {
        let mut prerolls = PREROLLS_NS.map(Some).into_iter().chain([None]);
        let overshot = || RouteError::from(failure::internal("reading from the beginning overshot the clip's start"));
        let mut reach = Reach { preroll_ns: prerolls.next().ok_or_else(overshot)?, holds_last_picture: false };
        loop {
            let mut plan = plan::plan(self.order, probed, route, reach)?.with_loudness(settings);
            let reference = source_tap::Tap::new(self.reference(probed, &plan, settings.is_some()));
            if let Some(change) = self.change {
                change(&mut plan);
            }
            tracing::info!("plan\n{plan}");
            let (encoder_input, encoder_output) = <(Arc<Tap>, Arc<Tap>)>::default();
            let cover = Arc::new(Cover::new(self.order.clip.cover_at_ms));
            match self.run(&plan, &encoder_input, &encoder_output, &reference, &cover)? {
                Outcome::Complete(frames, samples) => {
                    let observations = Observations {
                        encoder_input: encoder_input.take(),
                        encoder_output: encoder_output.take(),
                        source: reference.take(),
                    };
                    return Ok(Encoded { plan, frames, samples, observations, cover });
                }
                Outcome::SeekOvershot => {
                    tracing::info!("the seek overshot the clip's start; starting from an earlier position");
                }
                Outcome::Short(frames) => match self.explain_early_end(probed, frames)? {
                    EarlyEnd::LastPictureHolds if !reach.holds_last_picture => {
                        tracing::info!("the source's last picture lasts to the end of the clip");
                        reach.holds_last_picture = true;
                        continue;
                    }
                    _ if plan.seek_ns.is_none() => return Err(super::source_end::unexplained(frames).into()),
                    EarlyEnd::LastPictureHolds | EarlyEnd::Unexplained => {}
                },
                Outcome::Failed(error) => return Err(classify(&error)),
            }
            reach.preroll_ns = prerolls.next().ok_or_else(overshot)?;
        }
    }
}

/// The kind of a route's failure.
fn fallback_kind(route: &Route, failed: &Failure) -> Fallback {
    match route.uses_gpu() {
        true if failed.is_bad_output() => Fallback::GpuMismatch,
        true => Fallback::GpuFailed,
        false => Fallback::EncoderFailed,
    }
}

/// Attributes an element's failure: elements up to the decoders process the source, and later ones are ours.
fn classify(error: &ElementError) -> RouteError {
    const OURS: [&str; 6] = ["audio-encoder", "mux", "file", "videocrop", "videoconvert", "clipfleetcanvas"];
    if error.kind == ErrorKind::NoSpace {
        return failure::scratch_full(error).into();
    }
    // If its output cannot be decoded, the encoder is at fault.
    if error.element == "video-encoder" || error.element.starts_with("verification") {
        return RouteError::TryNext(failure::encode_failed(error));
    }
    // If elements do not agree on a format, the pipeline is at fault, whatever the source is.
    if error.kind == ErrorKind::Negotiation {
        return failure::source_unsupported(error).into();
    }
    let ours = OURS.iter().any(|name| error.element.starts_with(name));
    if ours { failure::encode_failed(error).into() } else { failure::source_truncated(error).into() }
}
