//! The process that a worker starts for each attempt, before the order is known. Its standard input is a socket to that
//! worker. The first message is the order.
//!
//! `clipfleet-pipeline --check` instead prints a report on this installation as JSON, and exits with 1 if the
//! installation is not usable. For this it runs itself as `--check-sandbox`, which puts the sandbox on and encodes in
//! it. `--test-gpu [FILE]...` tests a GPU on real pictures, prints a table, and exits with 1 unless all tests passed.

use clipfleet_contract::{
    pipeline,
    v1::{self, from_pipeline::Message},
};
use clipfleet_domain::{failure::Failure, limits::MAX_PIPELINE_BYTES};
use clipfleet_pipeline::{
    failure,
    gpu::{acceptance::Trial, check, sandbox_check},
    graph::bus::{self, StallDetector},
    plan::installed::Installed,
    progress::Progress,
    sandbox::{self, Bounds, Mode},
    source::blocks::Source,
    transcode,
    worker_link::WorkerLink,
};
use rustix::process::{Resource, Rlimit};
use std::{
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

/// The exit status for wrong usage, as in `sysexits.h`.
const USAGE: u8 = 64;

/// How much later than the loops of a transcode the whole process gives up. Those loops can name the operation that
/// hangs.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => serve(),
        ["--check"] => report(),
        ["--check-sandbox"] => report_sandbox(),
        ["--test-gpu", sources @ ..] => {
            let passed = Trial::of(sources.iter().copied()).run();
            if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => {
            eprintln!(
                "usage: clipfleet-pipeline [--check | --test-gpu [--without-encoder] [FILE]...]; \
                 without arguments, standard input is a socket to a worker"
            );
            ExitCode::from(USAGE)
        }
    }
}

fn report() -> ExitCode {
    let installed = match Installed::start() {
        Ok(installed) => installed,
        Err(error) => {
            let reason = format!("GStreamer does not start: {error}");
            println!("{}", serde_json::json!({ "usable": false, "missing": [reason] }));
            return ExitCode::FAILURE;
        }
    };
    let mode = match Mode::from_environment() {
        Ok(mode) => mode,
        Err(reason) => {
            println!("{}", serde_json::json!({ "usable": false, "missing": [reason] }));
            return ExitCode::FAILURE;
        }
    };
    let report = check::check(&installed);
    let mut json = serde_json::to_value(&report).unwrap_or_default();
    json["sandbox"] = serde_json::to_value(sandbox_check::run(mode)).unwrap_or_default();
    println!("{json:#}");
    if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report_sandbox() -> ExitCode {
    limit_memory();
    match Installed::start() {
        Ok(installed) => {
            installed.preload();
            println!("{}", serde_json::to_string(&sandbox_check::enter(&installed)).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("GStreamer does not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> ExitCode {
    limit_memory();
    let mode = match Mode::from_environment() {
        Ok(mode) => mode,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(USAGE);
        }
    };
    // Before the order arrives: a worker starts this process in advance.
    let installed = Installed::start().map(Arc::new);
    if let Ok(installed) = &installed {
        installed.preload();
    }
    let opened = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).and_then(|mut stream| {
        let order = WorkerLink::receive_order(&mut stream)?;
        Ok(order.map(|order| (stream, order)))
    });
    let (stream, start) = match opened {
        Ok(Some(opened)) => opened,
        // The worker is shutting down and has no order.
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clipfleet-pipeline is started by a worker, with a socket as its standard input: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let sandboxed = enter_sandbox(mode, &start, installed.as_ref().is_ok_and(|installed| installed.has_gpu()));
    let link = match WorkerLink::start(stream, &start) {
        Ok(link) => link,
        Err(error) => {
            eprintln!("failed to start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (progress, source) = (Progress::default(), Arc::new(Source::new(Arc::clone(&link) as Arc<_>)));
    let mut watchdog = StallDetector::with_timeout("making the clip", bus::STALL_TIMEOUT + GRACE_PERIOD);
    let outcome = thread::scope(|scope| {
        // Failures to send a report are ignored: if the worker is gone, the link ends this process.
        scope.spawn(|| {
            progress.report_while_busy(|message| {
                let alive =
                    progress.stuck(GRACE_PERIOD).map_or_else(|| watchdog.check(source.reads() + progress.steps()), Err);
                match alive {
                    Ok(()) => drop(link.send(Message::Progressed(message))),
                    Err(stalled) => give_up(&link, stalled),
                }
            });
        });
        let installed = installed.map_err(|error| failure::internal(format!("GStreamer does not start: {error}")));
        let outcome = sandboxed.and(installed).and_then(|installed| make(start, &source, &installed, &progress));
        progress.stop();
        outcome
    });
    let message = match outcome {
        Ok(finished) => Message::Finished(finished),
        Err(failure) => Message::Failed(v1::TranscodeFailed { error: Some(error(failure)) }),
    };
    match link.send(message) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Puts the sandbox on. Without it nothing of the source is read if it is required.
fn enter_sandbox(mode: Mode, order: &v1::StartTranscode, gpu: bool) -> Result<(), Failure> {
    if mode == Mode::Off {
        return Ok(());
    }
    let clip_ms = order.clip.as_ref().map_or(0, |clip| clip.end_ms.saturating_sub(clip.start_ms));
    let report = sandbox::enter(&Bounds::of_clip(Path::new(&order.directory), clip_ms, gpu));
    tracing::debug!(complete = report.complete, missing = report.missing(), "sandbox put on");
    if mode == Mode::Required && !report.complete {
        let remedy = "run on a kernel that has them, or set CLIPFLEET_SANDBOX=auto";
        return Err(failure::internal(format!("the sandbox lacks parts ({}); {remedy}", report.missing())));
    }
    Ok(())
}

fn make(
    start: v1::StartTranscode,
    source: &Arc<Source>,
    installed: &Arc<Installed>,
    progress: &Progress,
) -> Result<v1::TranscodeFinished, Failure> {
    let order = pipeline::transcode(start).map_err(failure::internal)?;
    transcode::transcode(&order, source, installed, progress).map(|transcoded| transcoded.finished)
}

/// Kills the process after a stall, because an element that hangs cannot be stopped.
fn give_up(link: &WorkerLink, stalled: Failure) {
    let _ = link.send(Message::Failed(v1::TranscodeFailed { error: Some(error(stalled)) }));
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Limits this process's memory, so that a source with a false size cannot exhaust the worker's. Beyond the limit, this
/// process dies.
fn limit_memory() {
    let limit = Rlimit { current: Some(MAX_PIPELINE_BYTES), maximum: Some(MAX_PIPELINE_BYTES) };
    if let Err(error) = rustix::process::setrlimit(Resource::Data, limit) {
        tracing::warn!(%error, "memory is not bounded");
    }
}

fn error(failure: Failure) -> v1::Error {
    let Failure { code, message, retryable, .. } = failure;
    v1::Error { code: code.to_string(), message, retryable, details: Vec::new() }
}
