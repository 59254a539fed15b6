//! Playing the worker to one real `clipfleet-pipeline` process.

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

/// How long a process may take to leave after its last word: it has a gigabyte to give back at times.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary: next to the tests, or in the folder that `CLIPFLEET_PROGRAMS` names.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("CLIPFLEET_PROGRAMS").map(PathBuf::from);
    let tests = std::env::current_exe().expect("a test executable");
    let beside = || tests.parent().and_then(Path::parent).expect("a target directory").to_owned();
    let path = named.unwrap_or_else(beside).join("clipfleet-pipeline");
    assert!(path.exists(), "{} is missing: run `cargo build -p clipfleet-pipeline` first", path.display());
    path
}

/// An order, filled in with what tests usually want: a square of 720 pixels, the cheapest to encode.
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
    /// Place of the crop, percent.
    pub position: f64,
    /// Magnification, percent.
    pub zoom: f64,
    /// Milliseconds, place and magnification of each keyframe.
    pub keyframes: Vec<(i64, f64, f64)>,
    /// Time of the cover, milliseconds.
    pub cover_at_ms: Option<i64>,
    /// Loudness and true peak to reach, LUFS and dBTP.
    pub normalize_loudness: Option<(f64, f64)>,
    /// `auto`, or one encoder.
    pub encoder: &'static str,
}

impl Order {
    /// The usual order for a window.
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

/// What a process did.
#[derive(Debug)]
pub struct Transcript {
    /// Its last word.
    pub outcome: Result<TranscodeFinished, Error>,
    /// Its reports, with the time of each since the start.
    pub progress: Vec<(Duration, TranscodeProgressed)>,
    /// Offset and length of each range that it asked for.
    pub ranges: Vec<(u64, u64)>,
    /// Its directory.
    pub directory: tempfile::TempDir,
    /// Files in its directory after its end.
    pub files: Vec<String>,
    /// Its exit status.
    pub exit: Option<i32>,
    /// The most memory it was seen to have, KiB.
    pub peak_kib: u64,
}

impl Transcript {
    /// The file it made. Panics, with its error, if it made none.
    pub fn output(&self) -> PathBuf {
        match &self.outcome {
            Ok(finished) => self.directory.path().join(&finished.file),
            Err(error) => panic!("the pipeline failed: {error:?}"),
        }
    }

    /// What it says of the file. Panics, with its error, if it made none.
    pub fn manifest(&self) -> serde_json::Value {
        let finished = self.outcome.as_ref().unwrap_or_else(|error| panic!("the pipeline failed: {error:?}"));
        serde_json::from_str(&finished.manifest).expect("JSON")
    }

    /// The code it failed with. Panics if it finished.
    pub fn code(&self) -> &str {
        match &self.outcome {
            Ok(finished) => panic!("the pipeline finished: {finished:?}"),
            Err(error) => &error.code,
        }
    }
}

/// How a process ended that was given something it may not survive.
#[derive(Debug)]
pub enum Fate {
    /// It made a file.
    Finished(TranscodeFinished),
    /// It said why not.
    Failed(Error),
    /// It died without a word.
    Died(std::process::ExitStatus),
    /// It had to be killed.
    Late,
}

/// A started process and this end of its socket.
pub struct Started {
    /// The process.
    pub child: Child,
    /// This end of its socket.
    pub socket: UnixStream,
    directory: tempfile::TempDir,
    since: Instant,
}

/// What GStreamer calls critical is our mistake: it ends the process, and so the test.
pub const STRICT: [(&str, &str); 1] = [("G_DEBUG", "fatal-criticals")];

/// Starts a process on an order for a source of that many bytes.
pub fn start(order: &Order, source_size_bytes: u64) -> Started {
    start_in(order, source_size_bytes, &STRICT)
}

/// As [`start`], with another environment.
pub fn start_in(order: &Order, source_size_bytes: u64, environment: &[(&str, &str)]) -> Started {
    let mut command = Command::new(binary());
    command.envs(environment.iter().copied());
    start_by(command, order, source_size_bytes)
}

/// As [`start`], by another program.
pub fn start_by(mut command: Command, order: &Order, source_size_bytes: u64) -> Started {
    let directory = tempfile::Builder::new().prefix("clipfleet-attempt-").tempdir().expect("a directory");
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(theirs));
    let child = command.stdin(stdin).spawn().expect("starting the pipeline");
    let mut started = Started { child, socket: ours, directory, since: Instant::now() };
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
        directory: started.directory.path().to_string_lossy().into_owned(),
        encoder: order.encoder.into(),
        ..StartTranscode::default()
    }));
    started
}

impl Started {
    /// Sends one message.
    pub fn send(&mut self, message: to_pipeline::Message) {
        let bytes = ToPipeline { message: Some(message) }.encode_to_vec();
        let length = u32::try_from(bytes.len()).expect("a short message").to_le_bytes();
        // A process that has gone shows itself in what is read, not here.
        let _ = self.socket.write_all(&[&length[..], &bytes].concat());
    }

    /// Takes one message; `None` when the process has closed the socket.
    pub fn receive(&mut self) -> Option<from_pipeline::Message> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.socket.read_exact(&mut bytes).expect("a whole message");
        FromPipeline::decode(bytes.as_slice()).expect("a message").message
    }

    /// Answers until the process is done.
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
                None => panic!("the pipeline left without a word: {:?}", self.child.wait()),
            }
        };
        assert!(self.receive().is_none(), "the last word is the last");
        let exit = self.wait();
        let files = listing(self.directory.path());
        Transcript { outcome, progress, ranges, directory: self.directory, files, exit, peak_kib: memory }
    }

    /// Answers, or does not, until the process has ended or had its time. Gives back, too, the most memory it
    /// was seen to have, KiB, and the names of the files it left.
    pub fn endure(
        mut self,
        patience: Duration,
        mut answer: impl FnMut(u64, u64) -> Option<Vec<u8>>,
    ) -> (Fate, u64, Vec<String>) {
        self.socket.set_read_timeout(Some(patience)).expect("a socket");
        let mut memory = 0;
        let fate = loop {
            if self.since.elapsed() > patience {
                break Fate::Late;
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
                Some(from_pipeline::Message::Finished(finished)) => break Fate::Finished(finished),
                Some(from_pipeline::Message::Failed(failed)) => break Fate::Failed(failed.error.expect("an error")),
                None if self.since.elapsed() > patience => break Fate::Late,
                None => break Fate::Died(self.child.wait().expect("a child")),
            }
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        (fate, memory, listing(self.directory.path()))
    }

    /// Waits for the process to leave: the code that it exits with, nothing if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        panic!("the pipeline does not leave");
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the attempt's directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The most memory that a process has had at once, KiB; nothing for one that has gone.
pub fn peak_kib(process: u32) -> u64 {
    memory_kib(process, "VmHWM:")
}

/// Memory of a process now, KiB; 0 when it is gone.
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
    transcode_by(command, order, source)
}

/// As [`transcode`], by another program.
pub fn transcode_by(command: Command, order: &Order, source: &Path) -> Transcript {
    let file = File::open(source).expect("the source");
    let size = file.metadata().expect("the source").len();
    start_by(command, order, size).serve(|offset, length| {
        assert!(offset + length <= size, "{offset}+{length} lies beyond {size}");
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset).expect("the source");
        Ok(bytes)
    })
}
