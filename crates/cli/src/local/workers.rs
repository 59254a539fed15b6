//! Supervises the worker processes of a fleet on this machine: starts them, restarts those that die, and stops them in
//! order.

use super::logs;
use crate::{
    exit::Failed,
    roles::{
        cloud,
        settings::{DIE_WITH_PARENT, WORKER_ID},
        token::TOKEN_VARIABLE,
    },
};
use clipfleet_cloud::google::Endpoints;
use clipfleet_domain::ids::WorkerId;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::{collections::BTreeSet, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The delay before a worker that died is restarted. It doubles up to [`MAX_BACKOFF`] while the worker dies soon after
/// its start.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A worker that ran longer than this did not die soon after its start.
const MIN_UPTIME: Duration = Duration::from_secs(30);
/// The time between SIGTERM and SIGKILL, as in Cloud Run.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How workers are started.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSpec {
    pub(crate) endpoints: Endpoints,
    pub(crate) slots: usize,
    /// More environment variables: the destination of traces, the kind of links.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) scratch: PathBuf,
    /// Directory for one log file per worker. `None` lets them log to the standard error of this process.
    pub(crate) logs: Option<PathBuf>,
}

/// Runs an adjustable number of workers. Each is restarted when it dies, until it is no longer needed or all are
/// stopped.
pub(crate) struct WorkerSupervisor {
    spec: WorkerSpec,
    slots: Mutex<Vec<Slot>>,
    tasks: TaskTracker,
    failures: mpsc::Sender<Failed>,
}

/// One supervised worker.
struct Slot {
    number: usize,
    /// The identity of its current process.
    worker: Arc<Mutex<Option<WorkerId>>>,
    stop: CancellationToken,
}

impl WorkerSupervisor {
    /// Starts `count` workers. The receiver gets an error if a worker cannot be started.
    pub(crate) fn start(count: usize, spec: WorkerSpec) -> (Arc<Self>, mpsc::Receiver<Failed>) {
        let (failures, receiver) = mpsc::channel(1);
        let supervisor = Arc::new(Self { spec, slots: Mutex::default(), tasks: TaskTracker::new(), failures });
        supervisor.set(count, &BTreeSet::new());
        (supervisor, receiver)
    }

    /// The number of workers, without those that are being stopped.
    pub(crate) fn count(&self) -> usize {
        self.slots.lock().len()
    }

    /// Starts or stops workers. Busy ones are not stopped, so that more than `count` may remain.
    pub(crate) fn set(&self, count: usize, busy: &BTreeSet<WorkerId>) {
        let mut slots = self.slots.lock();
        while slots.len() < count {
            let free = |number: &usize| !slots.iter().any(|slot| slot.number == *number);
            let number = (1..).find(free).unwrap_or(1);
            let slot = Slot { number, worker: Arc::default(), stop: CancellationToken::new() };
            let supervised = supervise(number, self.spec.clone(), Arc::clone(&slot.worker), slot.stop.clone());
            let failures = self.failures.clone();
            self.tasks.spawn(async move {
                if let Err(failed) = supervised.await {
                    // The receiver needs only one of several failures.
                    let _ = failures.try_send(failed);
                }
            });
            slots.push(slot);
        }
        while slots.len() > count {
            let idle = |slot: &Slot| {
                let worker = slot.worker.lock();
                worker.as_ref().is_none_or(|worker| !busy.contains(worker))
            };
            let Some(last) = slots.iter().rposition(idle) else { return };
            slots.remove(last).stop.cancel();
        }
    }

    /// Stops all workers and waits for them.
    pub(crate) async fn stop(&self) {
        let slots = std::mem::take(&mut *self.slots.lock());
        slots.iter().for_each(|slot| slot.stop.cancel());
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs a worker, and restarts it when it dies, until told to stop.
async fn supervise(
    number: usize,
    spec: WorkerSpec,
    worker: Arc<Mutex<Option<WorkerId>>>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let mut backoff = MIN_BACKOFF;
    loop {
        let started = Instant::now();
        let failed = |error| Failed::because(format!("start worker {number}"), error);
        let id = clipfleet_worker::new_identity().map_err(failed)?;
        let mut child = spawn(number, &id, &spec).map_err(failed)?;
        *worker.lock() = Some(id);
        tokio::select! {
            () = stop.cancelled() => {
                terminate(&mut child).await;
                return Ok(());
            }
            status = child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(worker = number, status, "worker died, starting another");
            }
        }
        backoff = if started.elapsed() > MIN_UPTIME { MIN_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(backoff) => {}
        }
    }
}

fn spawn(number: usize, id: &WorkerId, spec: &WorkerSpec) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("worker")
        .arg(format!("--{DIE_WITH_PARENT}={}", std::process::id()))
        .arg(format!("--{WORKER_ID}={id}"))
        .envs(cloud::environment(&spec.endpoints))
        .envs(spec.environment.iter().cloned());
    // No business of a worker.
    command.env_remove(TOKEN_VARIABLE);
    command
        .arg("--slots")
        .arg(spec.slots.to_string())
        .arg("--scratch")
        .arg(&spec.scratch)
        .arg("--listen")
        .arg("127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    if let Some(directory) = &spec.logs {
        command.stderr(logs::open(&directory.join(format!("worker-{number}.log")))?);
    }
    // The worker has its own process group, so that Ctrl-C reaches only this process, which then stops the workers in
    // order.
    command.process_group(0).spawn()
}

/// Stops a worker: sends SIGTERM, and kills it after [`SHUTDOWN_TIMEOUT`].
async fn terminate(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that the process has just ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(SHUTDOWN_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
