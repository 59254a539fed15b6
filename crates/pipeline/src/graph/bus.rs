//! Helpers for GStreamer: creating and linking elements without panics, and converting its messages.

use crate::failure;
use clipfleet_domain::{failure::Failure, limits::MAX_STALL_SECONDS};
use gst::prelude::*;
use gstreamer as gst;
use std::{
    fmt,
    ops::Deref,
    time::{Duration, Instant},
};

/// How often a loop polls.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Maximum time without any progress, neither in reading nor in output.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(MAX_STALL_SECONDS);

/// Maximum time without a picture from the GPU. The first use takes seconds, to compile kernels and raise the clocks.
/// After that, a picture takes milliseconds, however many clips share the GPU.
pub const GPU_STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Creates an element.
pub fn make(factory: &str) -> Result<gst::Element, Failure> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| failure::internal(format!("GStreamer's element {factory} is not installed on the worker")))
}

/// Sets a property from its text form. An unknown property is an error instead of a panic.
pub fn set(element: &gst::Element, name: &str, value: &str) -> Result<(), Failure> {
    let rejected = || failure::internal(format!("element {} does not accept {name}={value}", element.name()));
    let pspec = element.find_property(name).ok_or_else(rejected)?;
    if pspec.value_type() == gst::glib::Type::STRING {
        element.set_property(name, value);
        return Ok(());
    }
    let value = gst::glib::Value::deserialize_with_pspec(value, &pspec).map_err(|_| rejected())?;
    element.set_property_from_value(name, &value);
    Ok(())
}

/// A pad that every element of this type has.
pub fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, Failure> {
    element.static_pad(name).ok_or_else(|| failure::internal(format!("element {} has no pad {name}", element.name())))
}

/// Adds elements to a pipeline and links each to the next.
pub fn add_linked(pipeline: &gst::Pipeline, elements: &[gst::Element]) -> Result<(), Failure> {
    pipeline.add_many(elements).map_err(failure::internal)?;
    gst::Element::link_many(elements).map_err(failure::internal)
}

/// Links a new pad to a chain in a running pipeline.
pub fn join(from: &gst::Pad, chain: &[gst::Element]) -> Result<(), Failure> {
    let first = chain.first().ok_or_else(|| failure::internal("an empty chain"))?;
    // Downstream elements start first, so that each is ready when data arrives.
    for element in chain.iter().rev() {
        element.sync_state_with_parent().map_err(failure::internal)?;
    }
    from.link(&pad(first, "sink")?).map(|_| ()).map_err(failure::internal)
}

/// A pipeline that is stopped when dropped.
pub struct PipelineGuard {
    pipeline: gst::Pipeline,
}

/// An event of a pipeline.
#[derive(Debug)]
pub enum Event {
    /// All data was processed.
    Ended,
    /// An element failed.
    Failed(ElementError),
}

/// The kind of an element's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Two elements found no common format, or a pad was not linked.
    Negotiation,
    /// The disk is full.
    NoSpace,
    /// Anything else.
    Other,
}

/// An element's failure.
#[derive(Debug)]
pub struct ElementError {
    /// Name of the element.
    pub element: String,
    /// Its kind.
    pub kind: ErrorKind,
    message: String,
}

impl fmt::Display for ElementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.element, self.message)
    }
}

impl PipelineGuard {
    /// Wraps a pipeline.
    pub fn new(pipeline: impl IsA<gst::Pipeline>) -> Self {
        Self { pipeline: pipeline.upcast() }
    }

    /// Changes the pipeline's state.
    pub fn start(&self, state: gst::State) -> Result<(), Failure> {
        match self.pipeline.set_state(state) {
            Ok(_) => Ok(()),
            Err(_) => Err(match self.next_event() {
                Some(Event::Failed(error)) => failure::internal(format!("the pipeline does not start: {error}")),
                _ => failure::internal("the pipeline does not start"),
            }),
        }
    }

    /// The next event, if there is one.
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

    /// Writes a graph of a failed pipeline to `GST_DEBUG_DUMP_DOT_DIR`, if that is set.
    fn dump(&self) {
        self.pipeline.debug_to_dot_file_with_ts(gst::DebugGraphDetails::all(), self.pipeline.name());
    }
}

/// The system's error text for a full disk. Muxers report it without GStreamer's error code.
const ENOSPC: &str = "No space left on device";

/// Text of a streaming thread's error if two elements did not agree on a format.
const NOT_NEGOTIATED: &str = "reason not-negotiated";

fn element_error(error: &gst::message::Error) -> ElementError {
    let details = error.debug().unwrap_or_default();
    let element = error.src().map_or_else(|| "pipeline".into(), |src| src.name().to_string());
    let text = error.error();
    let kind = if text.matches(gst::StreamError::WrongType)
        || text.matches(gst::CoreError::Negotiation)
        || text.matches(gst::StreamError::CodecNotFound)
        || details.contains(NOT_NEGOTIATED)
    {
        ErrorKind::Negotiation
    } else if text.matches(gst::ResourceError::NoSpaceLeft) || details.contains(ENOSPC) {
        ErrorKind::NoSpace
    } else {
        ErrorKind::Other
    };
    tracing::warn!(element, %details, "{text}");
    // The first line of the debug text is a source location. The last of the other lines is the reason.
    let text = text.message().trim_end_matches('.');
    let reason = details.lines().skip(1).last().map(|reason| reason.trim_end_matches(['.', ':']));
    let message = reason.map_or_else(|| text.to_owned(), |reason| format!("{text} ({reason})"));
    ElementError { element, kind, message }
}

impl Deref for PipelineGuard {
    type Target = gst::Pipeline;

    fn deref(&self) -> &gst::Pipeline {
        &self.pipeline
    }
}

impl Drop for PipelineGuard {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Detects that a counter has not changed for too long.
pub struct StallDetector {
    doing: &'static str,
    timeout: Duration,
    last: u64,
    since: Instant,
}

impl StallDetector {
    /// A detector with the default timeout. `doing` describes the operation.
    pub fn new(doing: &'static str) -> Self {
        Self::with_timeout(doing, STALL_TIMEOUT)
    }

    /// As [`StallDetector::new`], with another timeout.
    pub fn with_timeout(doing: &'static str, timeout: Duration) -> Self {
        Self { doing, timeout, last: u64::MAX, since: Instant::now() }
    }

    /// Restarts the timeout, while no progress is expected.
    pub fn reset(&mut self) {
        self.since = Instant::now();
    }

    /// Checks the counter.
    pub fn check(&mut self, now: u64) -> Result<(), Failure> {
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        if self.since.elapsed() < self.timeout {
            return Ok(());
        }
        Err(failure::stalled(self.timeout.as_secs(), self.doing))
    }
}
