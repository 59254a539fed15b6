//! Worker processes of a fleet on this machine: as many as are asked for, started again when they die, and ended in order.

use crate::{
    cloud,
    exit::Failed,
    roles::{DIE_WITH_PARENT, WORKER_ID},
};
use clipfleet_cloud::google::Endpoints;
use clipfleet_domain::ids::WorkerId;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
    /// Environment that tells it where traces go.
    pub(crate) telemetry: Vec<(&'static str, String)>,
    pub(crate) scratch: PathBuf,
    /// Directory for one log file per worker; `None` lets them write to our standard error.
    pub(crate) logs: Option<PathBuf>,
}

/// Workers whose number can be changed. Each is kept alive until it is one too many, or until all are told to stop.
pub(crate) struct Crew {
    spec: WorkerSpec,
    places: Mutex<Vec<Place>>,
    keepers: TaskTracker,
    failures: mpsc::Sender<Failed>,
}

/// Room for one worker.
struct Place {
    number: usize,
    /// The identity of the process that is there now.
    worker: Arc<Mutex<Option<WorkerId>>>,
    stop: CancellationToken,
}

impl Crew {
    /// Starts so many. What keeps workers from being started comes out of the receiver.
    pub(crate) fn start(count: usize, spec: WorkerSpec) -> (Arc<Self>, mpsc::Receiver<Failed>) {
        let (failures, receiver) = mpsc::channel(1);
        let crew = Arc::new(Self { spec, places: Mutex::default(), keepers: TaskTracker::new(), failures });
        crew.set(count, &BTreeSet::new());
        (crew, receiver)
    }

    /// How many there are, those apart that are being ended.
    pub(crate) fn count(&self) -> usize {
        self.places.lock().len()
    }

    /// Starts more, or ends some. None of those who are busy is ended: then more stay than were asked for.
    pub(crate) fn set(&self, count: usize, busy: &BTreeSet<WorkerId>) {
        let mut places = self.places.lock();
        while places.len() < count {
            let free = |number: &usize| !places.iter().any(|place| place.number == *number);
            let number = (1..).find(free).unwrap_or(1);
            let place = Place { number, worker: Arc::default(), stop: CancellationToken::new() };
            let keeping = keep(number, self.spec.clone(), Arc::clone(&place.worker), place.stop.clone());
            let failures = self.failures.clone();
            self.keepers.spawn(async move {
                if let Err(failed) = keeping.await {
                    // Of several failures one is enough.
                    let _ = failures.try_send(failed);
                }
            });
            places.push(place);
        }
        while places.len() > count {
            let idle = |place: &Place| {
                let worker = place.worker.lock();
                worker.as_ref().is_none_or(|worker| !busy.contains(worker))
            };
            let Some(last) = places.iter().rposition(idle) else { return };
            places.remove(last).stop.cancel();
        }
    }

    /// Ends all, in order.
    pub(crate) async fn stop(&self) {
        let places = std::mem::take(&mut *self.places.lock());
        places.iter().for_each(|place| place.stop.cancel());
        self.keepers.close();
        self.keepers.wait().await;
    }
}

async fn keep(
    number: usize,
    spec: WorkerSpec,
    worker: Arc<Mutex<Option<WorkerId>>>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let mut pause = FIRST_PAUSE;
    loop {
        let born = Instant::now();
        let failed = |error| Failed::because(format!("start worker {number}"), error);
        let id = clipfleet_worker::new_identity().map_err(failed)?;
        let mut child = spawn(number, &id, &spec).map_err(failed)?;
        *worker.lock() = Some(id);
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

fn spawn(number: usize, id: &WorkerId, spec: &WorkerSpec) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("worker")
        .arg(format!("--{DIE_WITH_PARENT}={}", std::process::id()))
        .arg(format!("--{WORKER_ID}={id}"))
        .envs(cloud::environment(&spec.endpoints))
        .envs(spec.telemetry.iter().cloned());
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
