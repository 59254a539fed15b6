//! The pipeline process: one per attempt. It receives ranges of the source over a socket, which is its standard input.
//! The process of the next attempt is started in advance, so that no clip waits for programs and plugins to load. It
//! still serves only that attempt.
//!
//! ```text
//!  worker                                   clipfleet-pipeline, idle
//!    StartTranscode ───────────────────────▶
//!    ◀─────────────────────────── ReadRange
//!    RangeBytes | RangeFailed ─────────────▶     (many, several concurrently)
//!    ◀────────────────── TranscodeProgressed
//!    ◀── TranscodeFinished | TranscodeFailed     (exactly one, then the process exits)
//! ```
//!
//! Messages are length-prefixed protobuf. As the socket is the standard input, no inherited descriptor has to be
//! numbered and no `unsafe` is needed, and the end of that stream tells the process that its worker has died.
//!
//! A driver that hangs or crashes costs one process, not an attempt. A call into a driver that never returns cannot be
//! cancelled. A process whose GPU owes a picture for 20 s and that cannot stop therefore reports this and ends. After
//! that, or after a process that died while it used the GPU, the worker starts one with `GPU_ENABLED=false`, and the
//! reason is in the clip's result. Other failures of a GPU are handled by the process itself, which takes the next
//! route.

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
    v1::{self, FromPipeline, ToPipeline, from_pipeline::Message as Response, to_pipeline::Message as Request},
};
use clipfleet_domain::{
    failure::{Code, Failure},
    job::Job,
    lifecycle::Encoding,
    progress::Phase,
    wire_name::WireName as _,
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

/// The longest time without a message. The process reports at least once a second, and requests ranges while it reads a
/// slow source.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time from the last message of a process to its exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The setting that lets the media process choose the encoder. Only then may a clip be made without the GPU.
const ANY_ENCODER: &str = "auto";

/// Messages to the process that wait to be written. A range has at most
/// [`MAX_RANGE_BYTES`](clipfleet_contract::pipeline::MAX_RANGE_BYTES).
const MAX_QUEUED_MESSAGES: usize = 4;

/// Ranges that are read concurrently for one process. It requests a few ahead, and each occupies memory of the worker.
const MAX_CONCURRENT_RANGES: usize = 64;

/// Introduces the last lines of a process's log in the message of a crash.
const LOG_TAIL_PREFIX: &str = "; its log ended: ";

/// The longest line of a process's log; longer lines are dropped. Only libraries write such lines.
const MAX_LOG_LINE_BYTES: usize = 16 << 10;

/// The number of lines of a process's log that are kept to explain a crash.
const LOG_TAIL_LINES: usize = 8;

/// A process that was started and has no request yet.
struct IdleProcess {
    child: Child,
    socket: UnixStream,
    log: Log,
    /// Whether the process does not use the GPU.
    without_gpu: bool,
}

/// Runs the pipeline processes of a worker's attempts.
pub(crate) struct Pipelines {
    program: Program,
    /// `auto`, or the name of one encoder.
    encoder: String,
    gpu: Arc<GpuMonitor>,
    /// The process of the next attempt. One is enough: slots rarely become free at the same moment, and each idle
    /// process occupies the memory of its loaded plugins.
    idle: Mutex<Option<IdleProcess>>,
}

impl Pipelines {
    /// Starts the first idle process. Must be called within a runtime.
    pub(crate) fn new(program: Program, encoder: String, gpu: Arc<GpuMonitor>) -> Self {
        let pipelines = Self { program, encoder, gpu, idle: Mutex::default() };
        pipelines.spawn_idle();
        pipelines
    }

    /// The idle process, or a new one if the idle one has died.
    fn take_idle(&self) -> io::Result<IdleProcess> {
        let mut idle = self.idle.lock().take();
        // A process that was started before the GPU was disabled has already loaded its driver.
        let without_gpu = self.gpu.disabled_reason().is_some();
        idle.take_if(|process| process.without_gpu != without_gpu || !matches!(process.child.try_wait(), Ok(None)));
        idle.map_or_else(|| self.spawn(), Ok)
    }

    fn spawn(&self) -> io::Result<IdleProcess> {
        let without_gpu = self.gpu.disabled_reason().is_some();
        let program = if without_gpu { self.program.without_gpu() } else { self.program.clone() };
        Ok(IdleProcess { without_gpu, ..spawn(program.command())? })
    }

    /// Starts the process of the next attempt. A failure is only logged: the attempt starts a process itself, and fails
    /// if that fails, too.
    fn spawn_idle(&self) {
        match self.spawn() {
            Ok(process) => *self.idle.lock() = Some(process),
            Err(error) => tracing::warn!(%error, "failed to start an idle media process"),
        }
    }

    /// Records whether the GPU succeeded. After too many failures it is tested again, in the background.
    fn record(&self, outcome: GpuOutcome) {
        if self.gpu.record(outcome) {
            let (gpu, program) = (Arc::clone(&self.gpu), self.program.clone());
            tokio::spawn(async move { gpu.record_retest(program.check().await) });
        }
    }
}

#[async_trait]
impl Media for Pipelines {
    /// Runs one process to its end. If it died or hung while it used the GPU, runs another one without the GPU.
    /// Dropping the future kills the process.
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult {
        let process = self.take_idle();
        self.spawn_idle();
        let mut gpu_route = String::new();
        let request = start(job, directory, &self.encoder, &self.gpu.disabled_reason().unwrap_or_default());
        let result = self.run(process, request, source.clone(), progress, &mut gpu_route).await;
        let Some(reason) = lost_on_gpu(&result, &gpu_route).filter(|_| self.encoder == ANY_ENCODER) else {
            return result;
        };
        self.record(GpuOutcome::Failed);
        tracing::warn!(batch = %job.batch.id, clip = %job.clip.id, reason, "making the clip again without the GPU");
        // A killed process that hangs in the kernel may still write for a while. Its files are unlinked, so that it
        // does no harm.
        if let Err(error) = empty(directory) {
            tracing::warn!(%error, "clip not made again: the attempt's directory cannot be emptied");
            return result;
        }
        let request = start(job, directory, &self.encoder, &reason);
        self.run(spawn(self.program.without_gpu().command()), request, source, progress, &mut gpu_route).await
    }
}

impl Pipelines {
    /// Runs one process from its request to its exit. If it used the GPU last, `gpu_route` becomes the route that it
    /// tried, preceded by why it did not take an earlier one.
    async fn run(
        &self,
        process: io::Result<IdleProcess>,
        request: v1::StartTranscode,
        source: SourceReader,
        progress: Progress<'_>,
        gpu_route: &mut String,
    ) -> MediaResult {
        let IdleProcess { mut child, socket, log, .. } = match process {
            Ok(process) => process,
            Err(error) => {
                let message = format!("failed to start {}: {error}", self.program.path().display());
                return MediaResult::Failed(Failure::new(Code::PipelineNotStarted, message));
            }
        };
        let request = ToPipeline { message: Some(Request::Start(request)) };
        let result = match serve(socket, request, source, progress, gpu_route).await {
            Ok(result) => result,
            Err(error) => {
                let _ = child.start_kill();
                let status = timeout(EXIT_TIMEOUT, child.wait()).await.ok().and_then(Result::ok);
                let status = status.map_or_else(|| "it did not exit".to_owned(), |status| status.to_string());
                let message = |reason: &str, log_tail: String| format!("{reason} ({status}){log_tail}");
                return match error {
                    ProtocolError::Broken(reason) => MediaResult::Crashed(message(&reason, log.tail().await)),
                    ProtocolError::Timeout => {
                        let reason = format!("the media process sent nothing for {SILENCE_TIMEOUT:?} and was killed");
                        MediaResult::Failed(Failure::new(Code::PipelineStalled, message(&reason, log.tail().await)))
                    }
                };
            }
        };
        if timeout(EXIT_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.start_kill();
        }
        if let MediaResult::Finished(finished) = &result {
            gpu::count(finished);
            self.record(GpuOutcome::of(finished));
        }
        result
    }
}

/// Why the clip must be made again without the GPU: the process died or hung while it used it, as drivers make
/// processes do. The process handles all other failures of the GPU itself.
fn lost_on_gpu(result: &MediaResult, gpu_route: &str) -> Option<String> {
    let text = match result {
        MediaResult::Crashed(text) => text,
        MediaResult::Failed(failure) if failure.code == Code::PipelineStalled => &failure.message,
        MediaResult::Failed(_) | MediaResult::Finished(_) => return None,
    };
    let reason = text.split(LOG_TAIL_PREFIX).next().unwrap_or_default();
    (!gpu_route.is_empty()).then(|| format!("{gpu_route}: {reason}"))
}

fn spawn(mut command: Command) -> io::Result<IdleProcess> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let log = Log::follow(child.stderr.take());
    Ok(IdleProcess { child, socket: UnixStream::from_std(ours)?, log, without_gpu: false })
}

fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().little_endian().max_frame_length(MAX_FRAME_BYTES).new_codec()
}

/// Why a process did not report a result.
enum ProtocolError {
    /// It sent nothing for too long.
    Timeout,
    /// It died, or violated the protocol.
    Broken(String),
}

impl<T: Into<String>> From<T> for ProtocolError {
    fn from(reason: T) -> Self {
        Self::Broken(reason.into())
    }
}

/// Serves the process until it reports a result.
async fn serve(
    socket: UnixStream,
    request: ToPipeline,
    source: SourceReader,
    progress: Progress<'_>,
    gpu_route: &mut String,
) -> Result<MediaResult, ProtocolError> {
    let (reading, writing) = socket.into_split();
    let mut reader = FramedRead::new(reading, frames());
    let mut writer = FramedWrite::new(writing, frames());
    let (sender, mut queue) = mpsc::channel::<ToPipeline>(MAX_QUEUED_MESSAGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(message) = queue.recv().await {
            if writer.send(Bytes::from(message.encode_to_vec())).await.is_err() {
                return;
            }
        }
    });
    sender.send(request).await.map_err(|_| "the media process closed its input")?;
    loop {
        let response = next(&mut reader).await?;
        while tasks.try_join_next().is_some() {}
        match response {
            Response::ReadRange(_) if tasks.len() > MAX_CONCURRENT_RANGES => {
                return Err(
                    format!("the media process requested more than {MAX_CONCURRENT_RANGES} ranges at once").into()
                );
            }
            Response::ReadRange(range) => {
                let (source, sender) = (source.clone(), sender.clone());
                tasks.spawn(async move {
                    // The channel is closed if the process died. Then reading from it fails, too, and reports that.
                    let _ = sender.send(read_range(source, range).await).await;
                });
            }
            Response::Progressed(progressed) => {
                let phase = Phase::parse(&progressed.phase).map_err(|reason| format!("phase {reason}"))?;
                let encoding = Encoding {
                    encoder: progressed.encoder,
                    fallback_reason: progressed.fallback_reason,
                    decoder: progressed.decoder,
                    gpu_driver: progressed.gpu_driver,
                };
                *gpu_route = match encoding.fallback_reason.as_str() {
                    earlier if !earlier.is_empty() && !progressed.gpu_route.is_empty() => {
                        format!("{earlier}; {}", progressed.gpu_route)
                    }
                    _ => progressed.gpu_route,
                };
                progress(phase, progressed.fraction, encoding);
            }
            Response::Finished(finished) => {
                let named = [&finished.file, &finished.cover].into_iter().find(|name| !is_plain_name(name));
                return match named {
                    None => Ok(MediaResult::Finished(finished)),
                    Some(name) => Err(format!("the media process named the file {name:?}").into()),
                };
            }
            Response::Failed(failed) => {
                return Ok(MediaResult::Failed(event::failure(failed.error.unwrap_or_default())));
            }
        }
    }
}

/// Whether a file is in the attempt's own directory. The worker uploads it and has more permissions than the pipeline
/// process.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\0'])
}

async fn next(reader: &mut FramedRead<OwnedReadHalf, LengthDelimitedCodec>) -> Result<Response, ProtocolError> {
    let frame = timeout(SILENCE_TIMEOUT, reader.next()).await.map_err(|_| ProtocolError::Timeout)?;
    let frame = frame.ok_or("the media process died without a last word")?;
    let frame = frame.map_err(|error| format!("failed to read from the media process: {error}"))?;
    let message = FromPipeline::decode(frame);
    let message = message.map_err(|error| format!("the media process sent a malformed message: {error}"))?;
    Ok(message.message.ok_or("the media process sent an empty message")?)
}

async fn read_range(source: SourceReader, range: v1::ReadRange) -> ToPipeline {
    let end = range.offset.saturating_add(range.length);
    let message = match source.read(range.offset..end).await {
        Ok(data) => Request::RangeBytes(v1::RangeBytes { id: range.id, data }),
        Err(failure) => Request::RangeFailed(v1::RangeFailed { id: range.id, error: Some(event::error(&failure)) }),
    };
    ToPipeline { message: Some(message) }
}

/// Copies the standard error of a process to the worker's log, and keeps its last lines.
struct Log {
    tail: Arc<Mutex<VecDeque<String>>>,
    copying: JoinHandle<()>,
}

impl Log {
    fn follow(stderr: Option<ChildStderr>) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let lines = Arc::clone(&tail);
        let copying = tokio::spawn(async move {
            let Some(stderr) = stderr else { return };
            let mut reader = FramedRead::new(stderr, LinesCodec::new_with_max_length(MAX_LOG_LINE_BYTES));
            while let Some(line) = reader.next().await {
                let line = match line {
                    Ok(line) => line,
                    Err(LinesCodecError::MaxLineLengthExceeded) => {
                        format!("(a line of more than {MAX_LOG_LINE_BYTES} bytes)")
                    }
                    Err(LinesCodecError::Io(_)) => return,
                };
                tracing::debug!(target: "pipeline", "{line}");
                let mut lines = lines.lock();
                lines.push_back(line);
                if lines.len() > LOG_TAIL_LINES {
                    lines.pop_front();
                }
            }
        });
        Self { tail, copying }
    }

    /// The last lines, after the process has exited.
    async fn tail(mut self) -> String {
        // A child of the process may keep the stream open. Then the lines that were read until now are used.
        let _ = timeout(EXIT_TIMEOUT, &mut self.copying).await;
        let tail = self.tail.lock();
        let lines: Vec<&str> = tail.iter().map(String::as_str).collect();
        if lines.is_empty() { String::new() } else { format!("{LOG_TAIL_PREFIX}{}", lines.join(" | ")) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.copying.abort();
    }
}
