//! Worker processes of a fleet on this machine: started, started again when they die, and ended in order.

use crate::{cloud, exit::Failed, roles::DIE_WITH_PARENT};
use clipfleet_cloud::google::Endpoints;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A worker that died is started again after this long, doubling while it keeps dying young.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A worker that lived this long did not die young.
const GROWN_UP: Duration = Duration::from_secs(30);
/// As Cloud Run: SIGTERM, then so long, then SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How workers are started.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSpec {
    pub(crate) endpoints: Endpoints,
    pub(crate) slots: usize,
    pub(crate) scratch: PathBuf,
    /// Directory for one log file per worker; `None` lets them write to our standard error.
    pub(crate) logs: Option<PathBuf>,
}

/// Keeps `count` workers alive until told to stop, then ends them.
pub(crate) fn keep(count: usize, spec: &WorkerSpec, stop: &CancellationToken) -> JoinSet<Result<(), Failed>> {
    let mut keepers = JoinSet::new();
    for number in 1..=count {
        keepers.spawn(keep_one(number, spec.clone(), stop.clone()));
    }
    keepers
}

async fn keep_one(number: usize, spec: WorkerSpec, stop: CancellationToken) -> Result<(), Failed> {
    let mut pause = FIRST_PAUSE;
    loop {
        let born = Instant::now();
        let mut child =
            spawn(number, &spec).map_err(|error| Failed::because(format!("start worker {number}"), error))?;
        tokio::select! {
            () = stop.cancelled() => {
                end(&mut child).await;
                return Ok(());
            }
            status = child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(worker = number, status, "worker died, starting another");
            }
        }
        pause = if born.elapsed() > GROWN_UP { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(pause) => {}
        }
    }
}

fn spawn(number: usize, spec: &WorkerSpec) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(format!("--{DIE_WITH_PARENT}")).envs(cloud::environment(&spec.endpoints));
    command
        .arg("--slots")
        .arg(spec.slots.to_string())
        .arg("--scratch")
        .arg(&spec.scratch)
        .arg("--listen")
        .arg("127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    if let Some(logs) = &spec.logs {
        std::fs::create_dir_all(logs)?;
        command.stderr(log_file(&logs.join(format!("worker-{number}.log")))?);
    }
    // Its own process group: Ctrl-C in a terminal reaches only us, and we end the workers in order.
    command.process_group(0).spawn()
}

/// A worker's log, with what is left of the last one if that is not too long. Who reads it wants the latest export or two.
fn log_file(path: &Path) -> std::io::Result<File> {
    const LONGEST: u64 = 16 << 20;
    if path.metadata().is_ok_and(|log| log.len() > LONGEST) {
        std::fs::rename(path, path.with_extension("old.log"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may just have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
