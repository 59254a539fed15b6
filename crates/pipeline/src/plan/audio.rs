//! The audio stages.

use super::{
    Expected, SAMPLE_RATE, Step, start_ns,
    step::{element, named, unlimited_queue, with},
};
use crate::{
    plan::catalog::{self, AAC_ENCODER},
    source::{
        container::Container,
        edits::EditList,
        probe::Probed,
        time_line::TimeLine,
        tracks::{Selection, Stream},
    },
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::failure::Failure;

/// The plan of measuring a clip's audio before the clip is made: from the demuxer to the clip's samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenPlan {
    /// The source's container.
    pub container: Container,
    /// Position to start reading, nanoseconds on the track's own time line; `None` for the beginning.
    pub seek_ns: Option<i64>,
    /// The demuxer's audio stream.
    pub stream: Selection,
    /// Start of the clip on the source's time line, nanoseconds.
    pub start_ns: i64,
    /// Number of samples of the clip.
    pub samples: u64,
    /// From the demuxer's audio stream to the clip's samples.
    pub steps: Vec<Step>,
}

/// Plans measuring a clip's audio; `None` for a source without audio. For `preroll_ns` see [`super::Reach`].
pub fn listen(order: &Transcode, probed: &Probed, preroll_ns: Option<i64>) -> Result<Option<ListenPlan>, Failure> {
    let Some(audio) = &probed.audio else { return Ok(None) };
    let window = order.clip.window;
    let (samples, start_ns) = (super::expected(window, &order.rendition).samples, start_ns(window));
    let audio = super::within(audio, window)?;
    let seek_ns = super::seek(window, probed, [Some(&audio), None], preroll_ns);
    // No other stream is waited for here, so a default queue, which reads at most a second ahead, is enough.
    let queue = named("queue", "audio-in", &[]);
    let steps = sample_steps(queue, &audio, start_ns, samples);
    Ok(Some(ListenPlan { container: probed.container, seek_ns, stream: audio.selection, start_ns, samples, steps }))
}

/// From the demuxer's audio stream, or from silence, to the multiplexer.
pub(super) fn steps(stream: Option<Stream>, start_ns: i64, expected: &Expected) -> Vec<Step> {
    let samples = expected.samples;
    let mut steps = match &stream {
        // This queue and the one after the encoder are unlimited: the two streams of a file may lie any distance apart,
        // and the multiplexer consumes both at the same pace. They hold compressed data.
        Some(stream) => sample_steps(unlimited_queue("audio-in"), stream, start_ns, samples),
        None => vec![
            with("audiotestsrc", &[("wave", "silence"), ("samplesperbuffer", "4800")]),
            encoder_format(),
            Step::Samples { start_ns: 0, samples, time_line: TimeLine::Edited(EditList::NONE) },
        ],
    };
    steps.push(Step::Element { factory: AAC_ENCODER, name: "audio-encoder", properties: catalog::aac() });
    steps.push(unlimited_queue("audio-out"));
    steps
}

/// From the demuxer's audio stream to the clip's samples.
fn sample_steps(queue: Step, stream: &Stream, start_ns: i64, samples: u64) -> Vec<Step> {
    let mut steps = vec![queue];
    steps.extend(stream.parser.map(element));
    steps.extend([element(stream.decoder.element), element("audioconvert"), element("audioresample")]);
    // The number of channels stays open, because the grid mixes them down.
    steps.push(Step::Caps(format!("audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE}")));
    steps.push(Step::Samples { start_ns, samples, time_line: stream.time_line.clone() });
    steps
}

/// Stereo, as the encoder takes it.
fn encoder_format() -> Step {
    Step::Caps(format!(
        "audio/x-raw,format=F32LE,layout=interleaved,rate={SAMPLE_RATE},channels=2,channel-mask=(bitmask)0x3"
    ))
}
