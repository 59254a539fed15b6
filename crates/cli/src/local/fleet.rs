//! A fleet on this machine. The emulator, the dispatcher, the status service and, if the fleet scales, the scaler run
//! in this process; workers are separate processes. Every role uses the emulator through the same clients as in Google
//! Cloud.

use super::{data, port, running::RunningFleet};
use crate::{
    exit::{Failed, Status},
    local::{
        topology,
        workers::{WorkerSpec, WorkerSupervisor},
    },
    roles::{
        self,
        access::{OUTPUT_LINKS, OUTPUTS, SOURCES},
        cloud,
        console::{self, ConsoleSpec},
        scaling::{self, LocalPool},
        serve::ControlPlane,
        token::SharedToken,
    },
};
use clipfleet_cloud::{Cloud, LinkKind, google::Endpoints};
use clipfleet_contract::names;
use clipfleet_dispatcher::{Api, Dispatch};
use clipfleet_domain::access::AccessPolicy;
use clipfleet_emulator::{Config as EmulatorConfig, Emulator, StartError};
use clipfleet_scaler::Backend;
use clipfleet_service::{clock::Clock, health};
use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The settings of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct FleetSpec {
    /// The directory of all persistent data.
    pub(crate) data: PathBuf,
    /// The address of the dispatcher's HTTP API.
    pub(crate) listen: SocketAddr,
    /// The address of the emulator.
    pub(crate) emulator: SocketAddr,
    /// The minimum and the maximum; the fleet scales between them.
    pub(crate) workers: (usize, usize),
    pub(crate) slots: usize,
    /// The backlog target and the idle time of a fleet that scales, seconds.
    pub(crate) times: (f64, f64),
    pub(crate) status: clipfleet_status::Config,
    /// Environment variables of workers for the destination of traces.
    pub(crate) telemetry: Vec<(&'static str, String)>,
    /// The kind of links to results; `None` chooses by bucket.
    pub(crate) links: Option<LinkKind>,
    /// What every request must contain, if anything.
    pub(crate) token: Option<SharedToken>,
    /// Whether workers log to the standard error of this process instead of files in the data directory.
    pub(crate) verbose: bool,
}

/// A running fleet.
pub(crate) struct Fleet {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    pub(crate) api: SocketAddr,
    emulator: Emulator,
    stop: CancellationToken,
    roles: JoinHandle<io::Result<()>>,
    workers: Arc<WorkerSupervisor>,
    min_workers: usize,
    failures: mpsc::Receiver<Failed>,
}

impl Fleet {
    /// Starts a fleet, whose workers follow with [`start_workers`](Self::start_workers).
    pub(crate) async fn start(spec: FleetSpec) -> Result<Self, Failed> {
        roles::installed_pipeline()
            .map_err(|reason| Failed::because("find the media program", format!("CLIPFLEET_PIPELINE {reason}")))?;
        let emulator = start_emulator(&spec.data, spec.emulator).await?;
        let endpoints = cloud::local_endpoints(emulator.address());
        let cloud = cloud::connect(&endpoints).await?;
        let scales = spec.workers.0 < spec.workers.1;
        topology::ensure(&cloud, scales).await?;

        let bound = health::bind(spec.listen).await;
        let listener = bound.map_err(|error| listen_failed(&error, spec.listen, "--listen"))?;
        let api = listener.local_addr().map_err(|error| Failed::because("start the API", error))?;
        let stop = CancellationToken::new();
        let bucket = names::LOCAL_BUCKET.to_owned();
        let console = ConsoleSpec {
            storage: endpoints.storage.clone(),
            same_origin: spec.token.is_some(),
            bucket: bucket.clone(),
            workers: Some((spec.workers.1, spec.slots)),
        };
        let mut page = console::routes(&console);
        if spec.token.is_some() {
            page = page.merge(emulator.storage_routes());
        }
        let access = AccessPolicy::of_buckets(&bucket, &[]);
        let dispatch = Dispatch::new(cloud.clone(), access, Clock::system()).with_links(spec.links);
        let worker_spec = WorkerSpec {
            endpoints: endpoints.clone(),
            slots: spec.slots,
            environment: spec.telemetry.into_iter().chain(of_this_fleet(spec.links)).collect(),
            scratch: spec.data.join("scratch"),
            logs: (!spec.verbose).then(|| data::logs(&spec.data)),
        };
        let (workers, failures) = WorkerSupervisor::start(0, worker_spec);
        let scaler = scales.then(|| {
            let pool: Arc<dyn Backend> = Arc::new(LocalPool(Arc::clone(&workers)));
            (scaling::local_config(spec.slots, spec.workers, spec.times), pool)
        });
        let control_plane =
            ControlPlane { dispatch, api: Api::default(), page, token: spec.token, status: spec.status, scaler };
        let roles = tokio::spawn(control_plane.run(listener, cloud.clone(), stop.clone()));
        let min_workers = spec.workers.0;
        Ok(Self { cloud, endpoints, api, emulator, stop, roles, workers, min_workers, failures })
    }

    /// Starts the workers. Before that, clips that nobody wants any more can be cancelled.
    pub(crate) fn start_workers(&self) {
        self.workers.set(self.min_workers, &BTreeSet::new());
    }

    /// The emulator, which can adopt files.
    pub(crate) fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// Returns when a part of the fleet has ended unexpectedly.
    pub(crate) async fn failed(&mut self) -> Failed {
        tokio::select! {
            role = &mut self.roles => match role {
                Ok(Ok(())) => Failed::because("keep the fleet running", "it was told to stop"),
                Ok(Err(error)) => Failed::because("keep the fleet running", error),
                Err(error) => Failed::because("keep the fleet running", error),
            },
            Some(failed) = self.failures.recv() => failed,
        }
    }

    /// Stops the fleet in order: first the workers, whose clips are requeued, then the other roles, and the emulator
    /// last.
    pub(crate) async fn stop(self) {
        self.workers.stop().await;
        self.stop.cancel();
        if !self.roles.is_finished() {
            let _ = self.roles.await;
        }
        drop(self.cloud);
        self.emulator.stop().await;
    }
}

/// Environment variables of workers, which must not inherit those of another deployment.
fn of_this_fleet(links: Option<LinkKind>) -> [(&'static str, String); 4] {
    let database = (cloud::DATABASE.env, cloud::DATABASE.default.to_owned());
    [
        (OUTPUT_LINKS.env, LinkKind::name(links).to_owned()),
        (SOURCES.env, String::new()),
        (OUTPUTS.env, String::new()),
        database,
    ]
}

/// Starts the emulator on a data directory.
pub(crate) async fn start_emulator(directory: &Path, listen: SocketAddr) -> Result<Emulator, Failed> {
    let started = Emulator::start(EmulatorConfig { data: directory.to_owned(), listen }).await;
    started.map_err(|error| match error {
        StartError::Listen { address, source } => listen_failed(&source, address, "--emulator"),
        StartError::InUse(_) => in_use(directory),
        other => Failed::because("start the emulator", other),
    })
}

fn in_use(directory: &Path) -> Failed {
    let name = data::show(directory);
    match RunningFleet::on(directory) {
        Some(RunningFleet { api, pid, .. }) => {
            Failed::new(Status::Failed, format!("a fleet already runs on {name}: http://{api} (process {pid})"))
                .hint("use that one, stop it, or give another directory with --data")
        }
        None => Failed::new(Status::Failed, format!("another process uses {name}, for example an export"))
            .hint("wait for it, or give another directory with --data"),
    }
}

/// An address that cannot be bound, with the process that has it, and how to choose another.
fn listen_failed(error: &io::Error, address: SocketAddr, flag: &str) -> Failed {
    let any = SocketAddr::new(address.ip(), 0);
    if error.kind() != io::ErrorKind::AddrInUse {
        return Failed::because(format!("listen on {address}"), error).hint(format!("use {flag} {any}"));
    }
    let holder = port::holder(address).map_or(String::new(), |holder| format!(" by {holder}"));
    Failed::new(Status::Failed, format!("{address} is in use{holder}"))
        .hint(format!("stop it, or use any free port with {flag} {any}"))
}
