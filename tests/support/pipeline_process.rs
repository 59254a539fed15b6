//! Runs one real `clipfleet-pipeline` process in place of a worker.

use clipfleet_contract::v1::{
    Audio, Clip, Error, FromPipeline, Keyframe, NormalizeLoudness, Output, RangeBytes, RangeFailed, Reframe,
    StartTranscode, ToPipeline, TranscodeFailed, TranscodeFinished, TranscodeProgressed, from_pipeline, to_pipeline,
};
use prost::Message as _;
use std::{
    fs::File,
    io::{Read, Write as _},
    os::unix::{fs::FileExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Maximum time between the final message of a process and its exit: it may have a gigabyte to free.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The binary: next to the tests, or in the folder that `CLIPFLEET_PROGRAMS` names.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("CLIPFLEET_PROGRAMS").map(PathBuf::from);
    let tests = std::env::current_exe().expect("a test executable");
    let beside = || tests.parent().and_then(Path::parent).expect("a target directory").to_owned();
    let path = named.unwrap_or_else(beside).join("clipfleet-pipeline");
    assert!(path.exists(), "{} is missing: run `cargo build -p clipfleet-pipeline` first", path.display());
    path
}

/// An order with defaults for tests: a square of 720 pixels, the cheapest to encode.
#[derive(Debug, Clone)]
pub struct Order {
    /// Start and end, milliseconds.
    pub window: (i64, i64),
    /// `720p`, `1080p` and so on.
    pub quality: &'static str,
    /// `9:16`, `1:1` and so on.
    pub aspect: &'static str,
    /// Frames per second.
    pub fps: u32,
    /// How the picture is fitted.
    pub mode: &'static str,
    /// Position of the crop, percent.
    pub position: f64,
    /// Magnification, percent.
    pub zoom: f64,
    /// Time in milliseconds, position and magnification of each keyframe.
    pub keyframes: Vec<(i64, f64, f64)>,
    /// Time of the cover, milliseconds.
    pub cover_at_ms: Option<i64>,
    /// Target loudness and true peak, LUFS and dBTP.
    pub normalize_loudness: Option<(f64, f64)>,
    /// `auto`, or the name of an encoder.
    pub encoder: &'static str,
}

impl Order {
    /// The default order for a window.
    pub fn of(start_ms: i64, end_ms: i64) -> Self {
        let window = (start_ms, end_ms);
        let (quality, aspect, mode) = ("720p", "1:1", "auto_center");
        let (position, zoom, keyframes) = (50.0, 100.0, Vec::new());
        Self {
            window,
            quality,
            aspect,
            fps: 30,
            mode,
            position,
            zoom,
            keyframes,
            cover_at_ms: None,
            normalize_loudness: None,
            encoder: "auto",
        }
    }
}

/// The results of a process.
#[derive(Debug)]
pub struct Transcript {
    /// Its final message.
    pub outcome: Result<TranscodeFinished, Error>,
    /// Its progress reports, each with its time since the start.
    pub progress: Vec<(Duration, TranscodeProgressed)>,
    /// Offset and length of each range that it requested.
    pub ranges: Vec<(u64, u64)>,
    /// Its directory.
    pub directory: tempfile::TempDir,
    /// Files in its directory after its exit.
    pub files: Vec<String>,
    /// Its exit status.
    pub exit: Option<i32>,
    /// Its maximum measured memory, KiB.
    pub peak_kib: u64,
}

impl Transcript {
    /// The file that it made. Panics with its error if it failed.
    pub fn output(&self) -> PathBuf {
        match &self.outcome {
            Ok(finished) => self.directory.path().join(&finished.file),
            Err(error) => panic!("the pipeline failed: {error:?}"),
        }
    }

    /// The manifest of the file. Panics with its error if it failed.
    pub fn manifest(&self) -> serde_json::Value {
        let finished = self.outcome.as_ref().unwrap_or_else(|error| panic!("the pipeline failed: {error:?}"));
        serde_json::from_str(&finished.manifest).expect("JSON")
    }

    /// The code of its failure. Panics if it finished.
    pub fn code(&self) -> &str {
        match &self.outcome {
            Ok(finished) => panic!("the pipeline finished: {finished:?}"),
            Err(error) => &error.code,
        }
    }
}

/// How a process ended on input that may crash it.
#[derive(Debug)]
pub enum ProcessEnd {
    /// It made a file.
    Finished(TranscodeFinished),
    /// It reported a failure.
    Failed(Error),
    /// It exited without a final message.
    Died(std::process::ExitStatus),
    /// It exceeded its time and was killed.
    TimedOut,
}

/// A running process and this end of its socket.
pub struct RunningProcess {
    /// The process.
    pub child: Child,
    /// This end of its socket.
    pub socket: UnixStream,
    directory: tempfile::TempDir,
    since: Instant,
}

/// A critical warning of GStreamer is an error of ours: it ends the process, and so fails the test.
pub const STRICT: [(&str, &str); 1] = [("G_DEBUG", "fatal-criticals")];

/// Starts a process with an order, for a source of that many bytes.
pub fn start(order: &Order, source_size_bytes: u64) -> RunningProcess {
    start_with_env(order, source_size_bytes, &STRICT)
}

/// As [`start`], with another environment.
pub fn start_with_env(order: &Order, source_size_bytes: u64, environment: &[(&str, &str)]) -> RunningProcess {
    let mut command = Command::new(binary());
    command.envs(environment.iter().copied());
    start_command(command, order, source_size_bytes)
}

/// As [`start`], with another program.
pub fn start_command(command: Command, order: &Order, source_size_bytes: u64) -> RunningProcess {
    launch(command, order, source_size_bytes, None)
}

/// As [`start_with_env`], with another directory in the order.
pub fn start_in(
    directory: PathBuf,
    order: &Order,
    source_size_bytes: u64,
    environment: &[(&str, &str)],
) -> RunningProcess {
    let mut command = Command::new(binary());
    command.envs(environment.iter().copied());
    launch(command, order, source_size_bytes, Some(directory))
}

fn launch(mut command: Command, order: &Order, source_size_bytes: u64, ordered: Option<PathBuf>) -> RunningProcess {
    let directory = tempfile::Builder::new().prefix("clipfleet-attempt-").tempdir().expect("a directory");
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(theirs));
    let child = command.stdin(stdin).spawn().expect("starting the pipeline");
    let mut started = RunningProcess { child, socket: ours, directory, since: Instant::now() };
    let keyframe = |(at_ms, position, zoom): &(i64, f64, f64)| {
        let (position, zoom) = (Some(*position), Some(*zoom));
        Keyframe { at_ms: *at_ms, position, zoom }
    };
    let reframe = Reframe {
        mode: order.mode.into(),
        position: Some(order.position),
        zoom: Some(order.zoom),
        keyframes: order.keyframes.iter().map(keyframe).collect(),
    };
    let (start_ms, end_ms) = order.window;
    let audio = order.normalize_loudness.map(|(target, peak)| Audio {
        normalize_loudness: Some(NormalizeLoudness { target_lufs: Some(target), true_peak_dbtp: Some(peak) }),
    });
    let cover_at_ms = order.cover_at_ms;
    let clip = Clip { clip_id: "clip".into(), start_ms, end_ms, reframe: Some(reframe), cover_at_ms, audio };
    let output =
        Output { quality: order.quality.into(), aspect: order.aspect.into(), fps: order.fps, prefix: String::new() };
    started.send(to_pipeline::Message::Start(StartTranscode {
        source_size_bytes,
        clip: Some(clip),
        output: Some(output),
        directory: ordered.as_deref().unwrap_or(started.directory.path()).to_string_lossy().into_owned(),
        encoder: order.encoder.into(),
        ..StartTranscode::default()
    }));
    started
}

impl RunningProcess {
    /// Sends one message.
    pub fn send(&mut self, message: to_pipeline::Message) {
        let bytes = ToPipeline { message: Some(message) }.encode_to_vec();
        let length = u32::try_from(bytes.len()).expect("a short message").to_le_bytes();
        // Reading shows whether the process has exited, so a failed write is ignored.
        let _ = self.socket.write_all(&[&length[..], &bytes].concat());
    }

    /// Receives one message; `None` if the process closed the socket.
    pub fn receive(&mut self) -> Option<from_pipeline::Message> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.socket.read_exact(&mut bytes).expect("a whole message");
        FromPipeline::decode(bytes.as_slice()).expect("a message").message
    }

    /// Answers requests until the process is done.
    pub fn serve(mut self, mut answer: impl FnMut(u64, u64) -> Result<Vec<u8>, Error>) -> Transcript {
        let (mut progress, mut ranges, mut memory) = (Vec::new(), Vec::new(), 0);
        let outcome = loop {
            memory = memory.max(peak_kib(self.child.id()));
            match self.receive() {
                Some(from_pipeline::Message::ReadRange(range)) => {
                    ranges.push((range.offset, range.length));
                    let id = range.id;
                    self.send(match answer(range.offset, range.length) {
                        Ok(data) => to_pipeline::Message::RangeBytes(RangeBytes { id, data: data.into() }),
                        Err(error) => to_pipeline::Message::RangeFailed(RangeFailed { id, error: Some(error) }),
                    });
                }
                Some(from_pipeline::Message::Progressed(report)) => progress.push((self.since.elapsed(), report)),
                Some(from_pipeline::Message::Finished(finished)) => break Ok(finished),
                Some(from_pipeline::Message::Failed(TranscodeFailed { error })) => {
                    break Err(error.expect("an error"));
                }
                None => panic!("the pipeline exited without a final message: {:?}", self.child.wait()),
            }
        };
        assert!(self.receive().is_none(), "the final message is the last one");
        let exit = self.wait();
        let files = listing(self.directory.path());
        Transcript { outcome, progress, ranges, directory: self.directory, files, exit, peak_kib: memory }
    }

    /// Answers requests (or ignores them) until the process ends or its time is over. Returns also its maximum measured
    /// memory, KiB, and the names of the files that it left.
    pub fn serve_with_timeout(
        mut self,
        timeout: Duration,
        mut answer: impl FnMut(u64, u64) -> Option<Vec<u8>>,
    ) -> (ProcessEnd, u64, Vec<String>) {
        self.socket.set_read_timeout(Some(timeout)).expect("a socket");
        let mut memory = 0;
        let end = loop {
            if self.since.elapsed() > timeout {
                break ProcessEnd::TimedOut;
            }
            memory = memory.max(peak_kib(self.child.id()));
            match self.receive() {
                Some(from_pipeline::Message::ReadRange(range)) => {
                    if let Some(data) = answer(range.offset, range.length) {
                        let data = data.into();
                        self.send(to_pipeline::Message::RangeBytes(RangeBytes { id: range.id, data }));
                    }
                }
                Some(from_pipeline::Message::Progressed(_)) => {}
                Some(from_pipeline::Message::Finished(finished)) => break ProcessEnd::Finished(finished),
                Some(from_pipeline::Message::Failed(failed)) => {
                    break ProcessEnd::Failed(failed.error.expect("an error"));
                }
                None if self.since.elapsed() > timeout => break ProcessEnd::TimedOut,
                None => break ProcessEnd::Died(self.child.wait().expect("a child")),
            }
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        (end, memory, listing(self.directory.path()))
    }

    /// Waits for the process to exit. Returns its exit code, or `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        panic!("the pipeline does not exit");
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the attempt's directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Peak memory of a process, KiB; 0 if it has exited.
pub fn peak_kib(process: u32) -> u64 {
    memory_kib(process, "VmHWM:")
}

/// Current memory of a process, KiB; 0 if it has exited.
pub fn resident_kib(process: u32) -> u64 {
    memory_kib(process, "VmRSS:")
}

fn memory_kib(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Runs an order on a file.
pub fn transcode(order: &Order, source: &Path) -> Transcript {
    let mut command = Command::new(binary());
    command.envs(STRICT);
    transcode_with(command, order, source)
}

/// As [`transcode`], with another program.
pub fn transcode_with(command: Command, order: &Order, source: &Path) -> Transcript {
    let file = File::open(source).expect("the source");
    let size = file.metadata().expect("the source").len();
    start_command(command, order, size).serve(|offset, length| {
        assert!(offset + length <= size, "{offset}+{length} is beyond {size}");
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset).expect("the source");
        Ok(bytes)
    })
}
