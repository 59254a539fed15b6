//! Handling GStreamer: making and connecting elements without panics, and turning its messages into ours.

use crate::failure;
use clipfleet_domain::{failure::Failure, limits::MAX_STALL_SECONDS};
use gst::prelude::*;
use gstreamer as gst;
use std::{
    fmt,
    ops::Deref,
    time::{Duration, Instant},
};

/// How long a loop waits for news before it looks around.
pub const STEP: Duration = Duration::from_millis(10);

/// How long nothing at all may move, neither reading nor output.
pub const STALL: Duration = Duration::from_secs(MAX_STALL_SECONDS);

/// How long a GPU may owe a picture. Its first use compiles kernels and takes its clocks up, which is seconds; after that
/// a picture takes milliseconds, however many clips share the GPU.
pub const GPU_STALL: Duration = Duration::from_secs(20);

/// A new element.
pub fn make(factory: &str) -> Result<gst::Element, Failure> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| failure::internal(format!("GStreamer's element {factory} is not installed on the worker")))
}

/// Sets a property from its text form; an unknown one is an error instead of a panic.
pub fn set(element: &gst::Element, name: &str, value: &str) -> Result<(), Failure> {
    let wrong = || failure::internal(format!("element {} does not accept {name}={value}", element.name()));
    let pspec = element.find_property(name).ok_or_else(wrong)?;
    if pspec.value_type() == gst::glib::Type::STRING {
        element.set_property(name, value);
        return Ok(());
    }
    let value = gst::glib::Value::deserialize_with_pspec(value, &pspec).map_err(|_| wrong())?;
    element.set_property_from_value(name, &value);
    Ok(())
}

/// A pad that every element of that kind has.
pub fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, Failure> {
    element.static_pad(name).ok_or_else(|| failure::internal(format!("element {} has no pad {name}", element.name())))
}

/// Adds elements to a pipeline, one feeding the next.
pub fn add_linked(pipeline: &gst::Pipeline, elements: &[gst::Element]) -> Result<(), Failure> {
    pipeline.add_many(elements).map_err(failure::internal)?;
    gst::Element::link_many(elements).map_err(failure::internal)
}

/// Connects a pad that has just appeared to a chain in a running pipeline.
pub fn join(from: &gst::Pad, chain: &[gst::Element]) -> Result<(), Failure> {
    let first = chain.first().ok_or_else(|| failure::internal("an empty chain"))?;
    // Downstream first, so that nobody gets data before being ready for it.
    for element in chain.iter().rev() {
        element.sync_state_with_parent().map_err(failure::internal)?;
    }
    from.link(&pad(first, "sink")?).map(|_| ()).map_err(failure::internal)
}

/// A running pipeline, stopped when dropped.
pub struct Guard {
    pipeline: gst::Pipeline,
}

/// What a pipeline has to say.
#[derive(Debug)]
pub enum Event {
    /// Everything went through.
    Ended,
    /// An element failed.
    Failed(ElementError),
}

/// Coarse kind of an element's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Two elements found no common format, or nothing was connected.
    Negotiation,
    /// The disk is full.
    NoSpace,
    /// Anything else.
    Other,
}

/// An element's failure, with the element that had it.
#[derive(Debug)]
pub struct ElementError {
    /// Name of the element.
    pub element: String,
    /// Its kind.
    pub what: What,
    message: String,
}

impl fmt::Display for ElementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.element, self.message)
    }
}

impl Guard {
    /// Takes charge of a pipeline.
    pub fn new(pipeline: impl IsA<gst::Pipeline>) -> Self {
        Self { pipeline: pipeline.upcast() }
    }

    /// Sets it in motion.
    pub fn start(&self, state: gst::State) -> Result<(), Failure> {
        match self.pipeline.set_state(state) {
            Ok(_) => Ok(()),
            Err(_) => Err(match self.next_event() {
                Some(Event::Failed(error)) => failure::internal(format!("the pipeline does not start: {error}")),
                _ => failure::internal("the pipeline does not start"),
            }),
        }
    }

    /// The next thing it has to say, if there is one already.
    pub fn next_event(&self) -> Option<Event> {
        let bus = self.pipeline.bus()?;
        loop {
            let message = bus.pop()?;
            match message.view() {
                gst::MessageView::Eos(_) => return Some(Event::Ended),
                gst::MessageView::Error(error) => {
                    self.dump();
                    return Some(Event::Failed(element_error(error)));
                }
                gst::MessageView::Warning(warning) => {
                    tracing::warn!(element = ?warning.src().map(|src| src.name()), "{}", warning.error());
                }
                gst::MessageView::Latency(_) => {
                    let _ = self.pipeline.recalculate_latency();
                }
                _ => {}
            }
        }
    }

    /// Leaves a drawing of a pipeline that failed, where `GST_DEBUG_DUMP_DOT_DIR` asks for one.
    fn dump(&self) {
        self.pipeline.debug_to_dot_file_with_ts(gst::DebugGraphDetails::all(), self.pipeline.name());
    }
}

/// What the system says of a full disk; muxers pass it on without GStreamer's own code for it.
const ENOSPC: &str = "No space left on device";

/// What a streaming thread stops for when two elements do not agree on a format.
const NOT_NEGOTIATED: &str = "reason not-negotiated";

fn element_error(error: &gst::message::Error) -> ElementError {
    let details = error.debug().unwrap_or_default();
    let element = error.src().map_or_else(|| "pipeline".into(), |src| src.name().to_string());
    let text = error.error();
    let what = if text.matches(gst::StreamError::WrongType)
        || text.matches(gst::CoreError::Negotiation)
        || text.matches(gst::StreamError::CodecNotFound)
        || details.contains(NOT_NEGOTIATED)
    {
        What::Negotiation
    } else if text.matches(gst::ResourceError::NoSpaceLeft) || details.contains(ENOSPC) {
        What::NoSpace
    } else {
        What::Other
    };
    tracing::warn!(element, %details, "{text}");
    // The first line of the debug text is a place in somebody's source, the last of the others the reason.
    let text = text.message().trim_end_matches('.');
    let reason = details.lines().skip(1).last().map(|reason| reason.trim_end_matches(['.', ':']));
    let message = reason.map_or_else(|| text.to_owned(), |reason| format!("{text} ({reason})"));
    ElementError { element, what, message }
}

impl Deref for Guard {
    type Target = gst::Pipeline;

    fn deref(&self) -> &gst::Pipeline {
        &self.pipeline
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Notices when a number has not changed for very long.
pub struct StallGuard {
    doing: &'static str,
    patience: Duration,
    last: u64,
    since: Instant,
}

impl StallGuard {
    /// Watches something described by `doing`.
    pub fn new(doing: &'static str) -> Self {
        Self::with_patience(doing, STALL)
    }

    /// As [`StallGuard::new`], with a patience of its own.
    pub fn with_patience(doing: &'static str, patience: Duration) -> Self {
        Self { doing, patience, last: u64::MAX, since: Instant::now() }
    }

    /// Begins anew: nothing is to be expected yet.
    pub fn rest(&mut self) {
        self.since = Instant::now();
    }

    /// Looks at the number.
    pub fn check(&mut self, now: u64) -> Result<(), Failure> {
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        if self.since.elapsed() < self.patience {
            return Ok(());
        }
        Err(failure::stalled(self.patience.as_secs(), self.doing))
    }
}
