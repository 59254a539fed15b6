//! The pipeline process: one per attempt, fed with byte ranges over a socket that is its standard input. The next one is started
//! ahead, so that no clip waits for programs and plugins to load.
//!
//! ```text
//!  worker                                   clipfleet-pipeline, waiting
//!    StartTranscode ───────────────────────▶
//!    ◀─────────────────────────── ReadRange
//!    RangeBytes | RangeFailed ─────────────▶     (many, several at once)
//!    ◀────────────────── TranscodeProgressed
//!    ◀── TranscodeFinished | TranscodeFailed     (exactly one, then it exits)
//! ```
//!
//! One that dies or hangs while a GPU is at work is followed at once by another that leaves the GPU alone.

use crate::{
    blocks::SourceReader,
    gpu::{self, GpuMonitor, GpuOutcome},
    media::{Media, MediaResult, Progress},
    program::Program,
    scratch::empty,
};
use async_trait::async_trait;
use bytes::Bytes;
use clipfleet_contract::{
    event,
    pipeline::{MAX_FRAME_BYTES, start},
    v1::{self, FromPipeline, ToPipeline, from_pipeline::Message as Said, to_pipeline::Message as Told},
};
use clipfleet_domain::{
    failure::{Code, Failure},
    job::Job,
    lifecycle::Encoding,
    progress::Phase,
    rendition::by_name,
};
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixStream, unix::OwnedReadHalf},
    process::{Child, ChildStderr, Command},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec, LinesCodec, LinesCodecError};

/// Longest silence. The process reports at least once a second; reading a slow source is no silence, since it asks for ranges.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// From its last word to its end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The setting that leaves the choice of the encoder, and so of doing without a GPU, to the media process.
const ANY_ENCODER: &str = "auto";

/// Messages to the process waiting to be written: each range is at most [`MAX_RANGE_BYTES`](clipfleet_contract::pipeline::MAX_RANGE_BYTES).
const WAITING: usize = 4;

/// Ranges being read for the process. It asks for a handful ahead; each costs memory here while it is read and waits.
const RANGES_AT_ONCE: usize = 64;

/// What introduces the last lines of a process's log in the message of a crash.
const LOG_ENDED: &str = "; its log ended: ";

/// Longest line of the process's log; what is longer is left out. Nothing of ours writes such lines, but libraries may.
const LINE_BYTES: usize = 16 << 10;

/// Lines of the process's log that are kept to explain a crash.
const LAST_LINES: usize = 8;

/// A started process that has not got its order yet.
struct Waiting {
    child: Child,
    socket: UnixStream,
    log: Log,
    /// Whether it lets the GPU rest.
    without_gpu: bool,
}

/// Where attempts get their processes from.
pub(crate) struct Pipelines {
    program: Program,
    /// `auto`, or the name of one encoder.
    encoder: String,
    /// What the clips tell of the GPU.
    gpu: Arc<GpuMonitor>,
    /// One is enough: slots seldom become free at the same moment, and each costs the memory of loaded plugins.
    spare: Mutex<Option<Waiting>>,
}

impl Pipelines {
    /// Starts the first spare process. Call within a runtime.
    pub(crate) fn new(program: Program, encoder: String, gpu: Arc<GpuMonitor>) -> Self {
        let pipelines = Self { program, encoder, gpu, spare: Mutex::default() };
        pipelines.prepare();
        pipelines
    }

    /// The spare process, or a new one should that have died.
    fn take(&self) -> io::Result<Waiting> {
        let mut spare = self.spare.lock().take();
        // One that was started before the GPU failed has already loaded its driver.
        let without_gpu = self.gpu.disabled_reason().is_some();
        spare.take_if(|waiting| waiting.without_gpu != without_gpu || !matches!(waiting.child.try_wait(), Ok(None)));
        spare.map_or_else(|| self.spawn(), Ok)
    }

    fn spawn(&self) -> io::Result<Waiting> {
        let without_gpu = self.gpu.disabled_reason().is_some();
        let program = if without_gpu { self.program.without_gpu() } else { self.program.clone() };
        Ok(Waiting { without_gpu, ..spawn(program.command())? })
    }

    /// Starts the process of the next attempt. Failing is not an error yet: the attempt will try again and say so.
    fn prepare(&self) {
        match self.spawn() {
            Ok(waiting) => *self.spare.lock() = Some(waiting),
            Err(error) => tracing::warn!(%error, "failed to start a spare media process"),
        }
    }

    /// Records how the GPU did, which is tested again in the background after too many failures.
    fn record(&self, outcome: GpuOutcome) {
        if self.gpu.record(outcome) {
            let (gpu, program) = (Arc::clone(&self.gpu), self.program.clone());
            tokio::spawn(async move { gpu.record_retest(program.check().await) });
        }
    }
}

#[async_trait]
impl Media for Pipelines {
    /// Runs one process to its end, and where that came of a GPU, another one without. Dropping the future kills it.
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult {
        let waiting = self.take();
        self.prepare();
        let mut gpu_way = String::new();
        let order = start(job, directory, &self.encoder, &self.gpu.disabled_reason().unwrap_or_default());
        let ended = self.run(waiting, order, source.clone(), progress, &mut gpu_way).await;
        let Some(reason) = lost_on_gpu(&ended, &gpu_way).filter(|_| self.encoder == ANY_ENCODER) else { return ended };
        self.record(GpuOutcome::Failed);
        tracing::warn!(batch = %job.batch.id, clip = %job.clip.id, reason, "made again without the GPU");
        // A process that hangs in the kernel outlives its end for a while: what it may still write goes to files without a name.
        if let Err(error) = empty(directory) {
            tracing::warn!(%error, "not made again: the attempt's directory cannot be emptied");
            return ended;
        }
        let order = start(job, directory, &self.encoder, &reason);
        self.run(spawn(self.program.without_gpu().command()), order, source, progress, &mut gpu_way).await
    }
}

impl Pipelines {
    /// One process from its order to its end. `gpu_way` is the way that it tried last, if a GPU had a part in it, behind
    /// whatever led to that way.
    async fn run(
        &self,
        waiting: io::Result<Waiting>,
        order: v1::StartTranscode,
        source: SourceReader,
        progress: Progress<'_>,
        gpu_way: &mut String,
    ) -> MediaResult {
        let Waiting { mut child, socket, log, .. } = match waiting {
            Ok(waiting) => waiting,
            Err(error) => {
                let message = format!("failed to start {}: {error}", self.program.path().display());
                return MediaResult::Failed(Failure::new(Code::PipelineNotStarted, message));
            }
        };
        let order = ToPipeline { message: Some(Told::Start(order)) };
        let ended = match converse(socket, order, source, progress, gpu_way).await {
            Ok(ended) => ended,
            Err(broken) => {
                let _ = child.start_kill();
                let status = timeout(EXIT_TIMEOUT, child.wait()).await.ok().and_then(Result::ok);
                let status = status.map_or_else(|| "it did not end".to_owned(), |status| status.to_string());
                let told = |reason: &str, words: String| format!("{reason} ({status}){words}");
                return match broken {
                    ProtocolError::Broken(reason) => MediaResult::Crashed(told(&reason, log.last_words().await)),
                    ProtocolError::Timeout => {
                        let reason = format!("the media process was silent for {SILENCE_TIMEOUT:?} and was killed");
                        MediaResult::Failed(Failure::new(Code::PipelineStalled, told(&reason, log.last_words().await)))
                    }
                };
            }
        };
        if timeout(EXIT_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.start_kill();
        }
        if let MediaResult::Finished(finished) = &ended {
            gpu::count(finished);
            self.record(GpuOutcome::of(finished));
        }
        ended
    }
}

/// Why a clip is to be made again without a GPU, which had a part in its way: the process died or hung, as it does of drivers.
/// Whatever else fails on a GPU it gets around by itself.
fn lost_on_gpu(ended: &MediaResult, gpu_way: &str) -> Option<String> {
    let text = match ended {
        MediaResult::Crashed(text) => text,
        MediaResult::Failed(failure) if failure.code == Code::PipelineStalled => &failure.message,
        MediaResult::Failed(_) | MediaResult::Finished(_) => return None,
    };
    let reason = text.split(LOG_ENDED).next().unwrap_or_default();
    (!gpu_way.is_empty()).then(|| format!("{gpu_way}: {reason}"))
}

fn spawn(mut command: Command) -> io::Result<Waiting> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let log = Log::follow(child.stderr.take());
    Ok(Waiting { child, socket: UnixStream::from_std(ours)?, log, without_gpu: false })
}

fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().little_endian().max_frame_length(MAX_FRAME_BYTES).new_codec()
}

/// Why a process had no last word.
enum ProtocolError {
    /// It said nothing for too long.
    Timeout,
    /// It is gone, or cannot be understood.
    Broken(String),
}

impl<T: Into<String>> From<T> for ProtocolError {
    fn from(reason: T) -> Self {
        Self::Broken(reason.into())
    }
}

/// Serves the process until it says its last word. An error is the reason why there was none.
async fn converse(
    socket: UnixStream,
    order: ToPipeline,
    source: SourceReader,
    progress: Progress<'_>,
    gpu_way: &mut String,
) -> Result<MediaResult, ProtocolError> {
    let (reading, writing) = socket.into_split();
    let mut heard = FramedRead::new(reading, frames());
    let mut writer = FramedWrite::new(writing, frames());
    let (tell, mut told) = mpsc::channel::<ToPipeline>(WAITING);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(message) = told.recv().await {
            if writer.send(Bytes::from(message.encode_to_vec())).await.is_err() {
                return;
            }
        }
    });
    tell.send(order).await.map_err(|_| "the media process closed its input")?;
    loop {
        let said = next(&mut heard).await?;
        while tasks.try_join_next().is_some() {}
        match said {
            Said::ReadRange(_) if tasks.len() > RANGES_AT_ONCE => {
                return Err("the media process asked for more ranges at once than any honest one does".into());
            }
            Said::ReadRange(range) => {
                let (source, tell) = (source.clone(), tell.clone());
                tasks.spawn(async move {
                    // A closed channel means the process is gone, which the reading side reports.
                    let _ = tell.send(answer(source, range).await).await;
                });
            }
            Said::Progressed(progressed) => {
                let phase = by_name(&Phase::ALL, &progressed.phase).map_err(|reason| format!("phase {reason}"))?;
                let encoding = Encoding {
                    encoder: progressed.encoder,
                    fallback_reason: progressed.fallback_reason,
                    decoder: progressed.decoder,
                    gpu_driver: progressed.gpu_driver,
                };
                *gpu_way = match encoding.fallback_reason.as_str() {
                    earlier if !earlier.is_empty() && !progressed.gpu_way.is_empty() => {
                        format!("{earlier}; {}", progressed.gpu_way)
                    }
                    _ => progressed.gpu_way,
                };
                progress(phase, progressed.fraction, encoding);
            }
            Said::Finished(finished) => {
                let named = [&finished.file, &finished.cover].into_iter().find(|name| !is_plain_name(name));
                return match named {
                    None => Ok(MediaResult::Finished(finished)),
                    Some(name) => Err(format!("the media process named the file {name:?}").into()),
                };
            }
            Said::Failed(failed) => return Ok(MediaResult::Failed(event::failure(failed.error.unwrap_or_default()))),
        }
    }
}

/// Files are uploaded by this process, which may read more than the other: they must be the attempt's own.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\0'])
}

async fn next(heard: &mut FramedRead<OwnedReadHalf, LengthDelimitedCodec>) -> Result<Said, ProtocolError> {
    let frame = timeout(SILENCE_TIMEOUT, heard.next()).await.map_err(|_| ProtocolError::Timeout)?;
    let frame = frame.ok_or("the media process died without a last word")?;
    let frame = frame.map_err(|error| format!("the media process broke off: {error}"))?;
    let message = FromPipeline::decode(frame).map_err(|error| format!("the media process spoke gibberish: {error}"))?;
    Ok(message.message.ok_or("the media process said nothing")?)
}

async fn answer(source: SourceReader, range: v1::ReadRange) -> ToPipeline {
    let end = range.offset.saturating_add(range.length);
    let message = match source.read(range.offset..end).await {
        Ok(data) => Told::RangeBytes(v1::RangeBytes { id: range.id, data }),
        Err(failure) => Told::RangeFailed(v1::RangeFailed { id: range.id, error: Some(event::error(&failure)) }),
    };
    ToPipeline { message: Some(message) }
}

/// The process's standard error: passed on to our log, its last lines kept.
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    following: JoinHandle<()>,
}

impl Log {
    fn follow(stderr: Option<ChildStderr>) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let following = tokio::spawn(async move {
            let Some(stderr) = stderr else { return };
            let mut reader = FramedRead::new(stderr, LinesCodec::new_with_max_length(LINE_BYTES));
            while let Some(line) = reader.next().await {
                let line = match line {
                    Ok(line) => line,
                    Err(LinesCodecError::MaxLineLengthExceeded) => format!("(a line of more than {LINE_BYTES} bytes)"),
                    Err(LinesCodecError::Io(_)) => return,
                };
                tracing::debug!(target: "pipeline", "{line}");
                let mut kept = kept.lock();
                kept.push_back(line);
                if kept.len() > LAST_LINES {
                    kept.pop_front();
                }
            }
        });
        Self { lines, following }
    }

    /// What it said last, once it has ended.
    async fn last_words(mut self) -> String {
        // Someone else may hold the other end still; what was read until then must do.
        let _ = timeout(EXIT_TIMEOUT, &mut self.following).await;
        let lines = self.lines.lock();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        if lines.is_empty() { String::new() } else { format!("{LOG_ENDED}{}", lines.join(" | ")) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.following.abort();
    }
}
