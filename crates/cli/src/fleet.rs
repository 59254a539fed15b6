//! The whole fleet on this machine: the emulator, dispatcher, status and, where it scales, the scaler in this process, workers as processes of their own.
//! Every role speaks to the servers through the same clients as in Google Cloud.

use crate::{
    cloud,
    console::{self, ConsoleSpec},
    exit::Failed,
    scaling::{self, LocalPool},
    topology,
    workers::{Crew, WorkerSpec},
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

/// What kind of fleet.
#[derive(Debug, Clone)]
pub(crate) struct FleetSpec {
    /// Where everything durable lies.
    pub(crate) data: PathBuf,
    /// The dispatcher's HTTP API.
    pub(crate) listen: SocketAddr,
    /// The emulator.
    pub(crate) emulator: SocketAddr,
    /// The least and the most; between the two it scales itself.
    pub(crate) workers: (usize, usize),
    pub(crate) slots: usize,
    /// Drain target and idle time of a fleet that scales, seconds.
    pub(crate) times: (f64, f64),
    pub(crate) status: clipfleet_status::Config,
    /// Environment that tells workers where traces go.
    pub(crate) telemetry: Vec<(&'static str, String)>,
    /// Workers write their logs to files in the data directory instead of our standard error.
    pub(crate) quiet: bool,
}

/// A running fleet.
pub(crate) struct Fleet {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    pub(crate) api: SocketAddr,
    local: Emulator,
    stop: CancellationToken,
    roles: JoinSet<std::io::Result<()>>,
    workers: Arc<Crew>,
    failures: mpsc::Receiver<Failed>,
}

impl Fleet {
    pub(crate) async fn start(spec: FleetSpec) -> Result<Self, Failed> {
        crate::roles::beside_us()
            .map_err(|reason| Failed::because("find the media program", format!("CLIPFLEET_PIPELINE {reason}")))?;
        let local = Emulator::start(EmulatorConfig { data: spec.data.clone(), listen: spec.emulator });
        let local = local.await.map_err(|error| Failed::because("start the emulator", error))?;
        let endpoints = cloud::local_endpoints(local.address());
        let cloud = cloud::connect(&endpoints).await?;
        let scales = spec.workers.0 < spec.workers.1;
        topology::ensure(&cloud, scales).await?;

        let listener = health::bind(spec.listen).await.map_err(|error| Failed::because("start the API", error))?;
        let api = listener.local_addr().map_err(|error| Failed::because("start the API", error))?;
        let unseen = unseen("the status service").await?;
        let stop = CancellationToken::new();
        let bucket = names::LOCAL_BUCKET.to_owned();
        let console = ConsoleSpec {
            storage: endpoints.storage.clone(),
            bucket: bucket.clone(),
            workers: Some((spec.workers.1, spec.slots)),
        };
        let page = console::routes(&console);
        let buckets = BucketPolicy { default_bucket: bucket.clone(), allowed: vec![bucket] };
        let mut roles = JoinSet::new();
        roles.spawn(clipfleet_dispatcher::run(buckets, listener, page, cloud.clone(), stop.clone()));
        roles.spawn(clipfleet_status::run(spec.status, unseen, cloud.clone(), stop.clone()));
        let worker_spec = WorkerSpec {
            endpoints: endpoints.clone(),
            slots: spec.slots,
            telemetry: spec.telemetry,
            scratch: spec.data.join("scratch"),
            logs: spec.quiet.then(|| spec.data.join("logs")),
        };
        let (workers, failures) = Crew::start(spec.workers.0, worker_spec);
        if scales {
            let config = scaling::local_config(spec.slots, spec.workers, spec.times);
            let listener = self::unseen("the scaler").await?;
            let pool = Arc::new(LocalPool(Arc::clone(&workers)));
            roles.spawn(clipfleet_scaler::run(config, listener, cloud.clone(), pool, stop.clone()));
        }
        Ok(Self { cloud, endpoints, api, local, stop, roles, workers, failures })
    }

    /// Returns when a part of the fleet ended that should not have.
    pub(crate) async fn broken(&mut self) -> Failed {
        tokio::select! {
            Some(role) = self.roles.join_next() => match role {
                Ok(Ok(())) => Failed::because("keep the fleet running", "a role ended by itself"),
                Ok(Err(error)) => Failed::because("keep the fleet running", error),
                Err(error) => Failed::because("keep the fleet running", error),
            },
            Some(failed) = self.failures.recv() => failed,
        }
    }

    /// Ends it in order: workers hand back their clips, roles finish what they hold, the servers close last.
    pub(crate) async fn stop(mut self) {
        self.workers.stop().await;
        self.stop.cancel();
        while self.roles.join_next().await.is_some() {}
        drop(self.cloud);
        self.local.stop().await;
    }
}

/// Where a role answers that nobody asks.
async fn unseen(role: &str) -> Result<TcpListener, Failed> {
    let bound = health::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
    bound.map_err(|error| Failed::because(format!("start {role}"), error))
}
