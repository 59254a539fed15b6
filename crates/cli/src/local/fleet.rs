//! A fleet on this machine. The emulator, the dispatcher, the status service and, if the fleet scales, the scaler run
//! in this process; workers are separate processes. Every role uses the emulator through the same clients as in Google
//! Cloud.

use crate::{
    exit::Failed,
    local::topology,
    local::workers::{WorkerSpec, WorkerSupervisor},
    roles,
    roles::cloud,
    roles::console::{self, ConsoleSpec},
    roles::scaling::{self, LocalPool},
};
use clipfleet_cloud::{Cloud, google::Endpoints};
use clipfleet_contract::names;
use clipfleet_domain::batch::BucketPolicy;
use clipfleet_emulator::{Config as EmulatorConfig, Emulator};
use clipfleet_service::health;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
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
    /// Whether workers log to files in the data directory instead of the standard error of this process.
    pub(crate) quiet: bool,
}

/// A running fleet.
pub(crate) struct Fleet {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    pub(crate) api: SocketAddr,
    emulator: Emulator,
    stop: CancellationToken,
    roles: JoinSet<std::io::Result<()>>,
    workers: Arc<WorkerSupervisor>,
    failures: mpsc::Receiver<Failed>,
}

impl Fleet {
    pub(crate) async fn start(spec: FleetSpec) -> Result<Self, Failed> {
        roles::installed_pipeline()
            .map_err(|reason| Failed::because("find the media program", format!("CLIPFLEET_PIPELINE {reason}")))?;
        let emulator = Emulator::start(EmulatorConfig { data: spec.data.clone(), listen: spec.emulator });
        let emulator = emulator.await.map_err(|error| Failed::because("start the emulator", error))?;
        let endpoints = cloud::local_endpoints(emulator.address());
        let cloud = cloud::connect(&endpoints).await?;
        let scales = spec.workers.0 < spec.workers.1;
        topology::ensure(&cloud, scales).await?;

        let listener = health::bind(spec.listen).await.map_err(|error| Failed::because("start the API", error))?;
        let api = listener.local_addr().map_err(|error| Failed::because("start the API", error))?;
        let status_listener = private_listener("the status service").await?;
        let stop = CancellationToken::new();
        let bucket = names::LOCAL_BUCKET.to_owned();
        let console = ConsoleSpec {
            storage: endpoints.storage.clone(),
            bucket: bucket.clone(),
            workers: Some((spec.workers.1, spec.slots)),
        };
        let page = console::routes(&console);
        let buckets = BucketPolicy { default_bucket: bucket.clone(), allowed: vec![bucket] };
        let mut tasks = JoinSet::new();
        tasks.spawn(clipfleet_dispatcher::run(buckets, listener, page, cloud.clone(), stop.clone()));
        tasks.spawn(clipfleet_status::run(spec.status, status_listener, cloud.clone(), stop.clone()));
        let worker_spec = WorkerSpec {
            endpoints: endpoints.clone(),
            slots: spec.slots,
            telemetry: spec.telemetry,
            scratch: spec.data.join("scratch"),
            logs: spec.quiet.then(|| spec.data.join("logs")),
        };
        let (workers, failures) = WorkerSupervisor::start(spec.workers.0, worker_spec);
        if scales {
            let config = scaling::local_config(spec.slots, spec.workers, spec.times);
            let listener = private_listener("the scaler").await?;
            let pool = Arc::new(LocalPool(Arc::clone(&workers)));
            tasks.spawn(clipfleet_scaler::run(config, listener, cloud.clone(), pool, stop.clone()));
        }
        Ok(Self { cloud, endpoints, api, emulator, stop, roles: tasks, workers, failures })
    }

    /// Returns when a part of the fleet has ended unexpectedly.
    pub(crate) async fn failed(&mut self) -> Failed {
        tokio::select! {
            Some(role) = self.roles.join_next() => match role {
                Ok(Ok(())) => Failed::because("keep the fleet running", "a role ended by itself"),
                Ok(Err(error)) => Failed::because("keep the fleet running", error),
                Err(error) => Failed::because("keep the fleet running", error),
            },
            Some(failed) = self.failures.recv() => failed,
        }
    }

    /// Stops the fleet in order: first the workers, whose clips are requeued, then the other roles, and the emulator
    /// last.
    pub(crate) async fn stop(mut self) {
        self.workers.stop().await;
        self.stop.cancel();
        while self.roles.join_next().await.is_some() {}
        drop(self.cloud);
        self.emulator.stop().await;
    }
}

/// A listener on a free port, for the health checks of a role that nothing checks.
async fn private_listener(role: &str) -> Result<TcpListener, Failed> {
    let bound = health::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
    bound.map_err(|error| Failed::because(format!("start {role}"), error))
}
