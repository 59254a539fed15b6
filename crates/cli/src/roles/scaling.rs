//! The scaler role and its settings, and the pool of worker processes on this machine.

use crate::{
    exit::Failed,
    local::workers::{WorkerSpec, WorkerSupervisor},
    roles::{
        cloud::RoleSettings,
        settings::{SCRATCH, SLOTS, scratch, slots},
    },
};
use async_trait::async_trait;
use clipfleet_cloud::{CloudError, google::WorkerPool};
use clipfleet_domain::ids::WorkerId;
use clipfleet_scaler::{Backend, Config, OverflowConfig, Policy};
use clipfleet_service::settings::{Reader, Setting, number, optional, parsed, required};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc;

const POOL: Setting = Setting {
    flag: "scaler-pool",
    env: "CLIPFLEET_SCALER_POOL",
    value: "POOL",
    default: "",
    help: "The pool to scale: projects/P/locations/L/workerPools/W, or `local` for processes on this machine",
};
const RUN_HOST: Setting = Setting {
    flag: "run-host",
    env: "CLIPFLEET_RUN_HOST",
    value: "HOST:PORT",
    default: "",
    help: "host:port of a Cloud Run Admin API to use instead of Google's, without credentials",
};
const DRY_RUN: Setting = Setting {
    flag: "scaler-dry-run",
    env: "CLIPFLEET_SCALER_DRY_RUN",
    value: "BOOL",
    default: "false",
    help: "Log decisions and do not apply them: true or false",
};
const MIN: Setting = Setting {
    flag: "scaler-min",
    env: "CLIPFLEET_SCALER_MIN",
    value: "N",
    default: "0",
    help: "Minimum number of workers",
};
const MAX: Setting = Setting {
    flag: "scaler-max",
    env: "CLIPFLEET_SCALER_MAX",
    value: "N",
    default: "3",
    help: "Maximum number of workers (the quota)",
};
const MIN_SCHEDULE: Setting = Setting {
    flag: "scaler-min-schedule",
    env: "CLIPFLEET_SCALER_MIN_SCHEDULE",
    value: "SCHEDULE",
    default: "",
    help: "Minimum by time of day in UTC, for example `mon-fri 07:00-19:00=1; sat 09:00-12:00=1`",
};
const BACKLOG_TARGET: Setting = Setting {
    flag: "scaler-backlog-target-seconds",
    env: "CLIPFLEET_SCALER_BACKLOG_TARGET_SECONDS",
    value: "SECONDS",
    default: "120",
    help: "Seconds in which the backlog should be processed",
};
const MAX_SCALE_UP: Setting = Setting {
    flag: "scaler-max-scale-up",
    env: "CLIPFLEET_SCALER_MAX_SCALE_UP",
    value: "N",
    default: "20",
    help: "Maximum number of workers that one decision adds",
};
const MAX_SCALE_DOWN: Setting = Setting {
    flag: "scaler-max-scale-down",
    env: "CLIPFLEET_SCALER_MAX_SCALE_DOWN",
    value: "N",
    default: "5",
    help: "Maximum number of workers that one decision removes while others are busy",
};
const SCALE_DOWN_DELAY: Setting = Setting {
    flag: "scaler-scale-down-delay-seconds",
    env: "CLIPFLEET_SCALER_SCALE_DOWN_DELAY_SECONDS",
    value: "SECONDS",
    default: "20",
    help: "Seconds that fewer workers must have sufficed before any is removed while others are busy",
};
const IDLE: Setting = Setting {
    flag: "scaler-idle-seconds",
    env: "CLIPFLEET_SCALER_IDLE_SECONDS",
    value: "SECONDS",
    default: "10",
    help: "Seconds without work before all workers except the minimum are removed",
};
const MAX_LOST_WORK: Setting = Setting {
    flag: "scaler-max-lost-work",
    env: "CLIPFLEET_SCALER_MAX_LOST_WORK",
    value: "SHARE",
    default: "0.005",
    help: "Share of all slot-seconds that may be lost by removing busy workers, 0 to 1",
};
const INITIAL_RATE: Setting = Setting {
    flag: "scaler-initial-rate",
    env: "CLIPFLEET_SCALER_INITIAL_RATE",
    value: "RATE",
    default: "0.3",
    help: "Slot-seconds per second of a 1080p30 clip, until they are learned",
};
const OVERFLOW_POOL: Setting = Setting {
    flag: "scaler-overflow-pool",
    env: "CLIPFLEET_SCALER_OVERFLOW_POOL",
    value: "POOL",
    default: "",
    help: "A pool that helps out while quota or capacity for the other is missing: projects/P/locations/L/workerPools/W",
};
const OVERFLOW_MAX: Setting = Setting {
    flag: "scaler-overflow-max",
    env: "CLIPFLEET_SCALER_OVERFLOW_MAX",
    value: "N",
    default: "4",
    help: "Maximum number of workers of the overflow pool",
};
/// [`BACKLOG_TARGET`] for workers on this machine, which start within a second and cost nothing.
const LOCAL_BACKLOG_TARGET: Setting = Setting { default: "5", ..BACKLOG_TARGET };

/// Settings of a pool's policy.
pub(crate) const POLICY: &[Setting] =
    &[MIN, MAX, MIN_SCHEDULE, BACKLOG_TARGET, MAX_SCALE_UP, MAX_SCALE_DOWN, SCALE_DOWN_DELAY, IDLE, MAX_LOST_WORK];
/// Settings of commands that need to know how large the pool may become.
pub(crate) const POOL_SIZE: &[Setting] = &[POOL, RUN_HOST, MAX];
/// Settings of the scaler role.
pub(crate) const SCALER: &[Setting] =
    &[POOL, OVERFLOW_POOL, OVERFLOW_MAX, RUN_HOST, DRY_RUN, INITIAL_RATE, SLOTS, SCRATCH];
/// Settings of a fleet on this machine that scales itself.
pub(crate) const LOCAL: &[Setting] = &[LOCAL_BACKLOG_TARGET, IDLE];

/// The name of the pool of processes on this machine.
const LOCAL_POOL: &str = "local";

/// The settings of the scaler role.
pub(crate) struct ScalerSettings {
    pool: String,
    run_host: Option<String>,
    dry_run: bool,
    initial_rate: f64,
    policy: Policy,
    scratch: PathBuf,
    overflow: Option<String>,
    overflow_max: u32,
}

/// Reads [`SCALER`] and [`POLICY`].
pub(crate) fn settings(reader: &mut Reader<'_>) -> Option<ScalerSettings> {
    let pool = reader.take(&POOL, required);
    of_pool(reader, pool)
}

/// As [`settings`]; without a pool there is nothing to scale, which gives `Some(None)`.
pub(crate) fn optional_settings(reader: &mut Reader<'_>) -> Option<Option<ScalerSettings>> {
    let pool = reader.take(&POOL, optional).map(Option::unwrap_or_default);
    let settings = of_pool(reader, pool)?;
    Some(Some(settings).filter(|settings| !settings.pool.is_empty()))
}

fn of_pool(reader: &mut Reader<'_>, pool: Option<String>) -> Option<ScalerSettings> {
    let run_host = reader.take(&RUN_HOST, optional);
    let dry_run = reader.take(&DRY_RUN, parsed("true or false"));
    let initial_rate = reader.take(&INITIAL_RATE, number(0.001, 1_000.0));
    let slots = slots(reader).and_then(|slots| u32::try_from(slots).ok());
    let scratch = scratch(reader);
    let policy = slots.and_then(|slots| policy(reader, slots));
    let overflow = reader.take(&OVERFLOW_POOL, optional);
    let overflow_max = reader.take(&OVERFLOW_MAX, number(1_u32, 10_000));
    Some(ScalerSettings {
        pool: pool?,
        run_host: run_host?,
        dry_run: dry_run?,
        initial_rate: initial_rate?,
        policy: policy?,
        scratch: scratch?,
        overflow: overflow?,
        overflow_max: overflow_max?,
    })
}

/// Reads [`POLICY`], for workers with `slots` slots.
pub(crate) fn policy(reader: &mut Reader<'_>, slots: u32) -> Option<Policy> {
    let max = max(reader);
    let limit = max.unwrap_or(10_000);
    let min = reader.take(&MIN, number(0, limit));
    let min_schedule = reader.take(&MIN_SCHEDULE, |text| match text.parse::<clipfleet_scaler::Schedule>() {
        Ok(schedule) if schedule.max_workers() > limit => {
            Err(format!("must ask for at most {limit} workers, got {text:?}"))
        }
        parsed => parsed,
    });
    let backlog_target_seconds = reader.take(&BACKLOG_TARGET, number(1.0, 86_400.0));
    let max_scale_up = reader.take(&MAX_SCALE_UP, number(1_u32, 10_000));
    let max_scale_down = reader.take(&MAX_SCALE_DOWN, number(1_u32, 10_000));
    let scale_down_delay_seconds = reader.take(&SCALE_DOWN_DELAY, number(0.0, 86_400.0));
    let idle_seconds = reader.take(&IDLE, number(0.0, 86_400.0));
    let max_lost_work = reader.take(&MAX_LOST_WORK, number(0.0, 1.0));
    Some(Policy {
        slots,
        backlog_target_seconds: backlog_target_seconds?,
        min: min?,
        max: max?,
        min_schedule: min_schedule?,
        max_scale_up: max_scale_up?,
        max_scale_down: max_scale_down?,
        scale_down_delay_seconds: scale_down_delay_seconds?,
        idle_seconds: idle_seconds?,
        max_lost_work: max_lost_work?,
    })
}

fn max(reader: &mut Reader<'_>) -> Option<u32> {
    reader.take(&MAX, number(1_u32, 10_000))
}

/// Reads [`LOCAL`]: the backlog target and the idle time, seconds.
pub(crate) fn local_times(reader: &mut Reader<'_>) -> Option<(f64, f64)> {
    let backlog_target_seconds = reader.take(&LOCAL_BACKLOG_TARGET, number(1.0, 86_400.0));
    let idle_seconds = reader.take(&IDLE, number(0.0, 86_400.0));
    backlog_target_seconds.zip(idle_seconds)
}

/// The values of [`POOL_SIZE`].
pub(crate) struct PoolSize {
    /// The full name of a worker pool of Cloud Run.
    pub(crate) pool: Option<String>,
    pub(crate) run_host: Option<String>,
    pub(crate) max: u32,
}

/// Reads [`POOL_SIZE`].
pub(crate) fn pool_size(reader: &mut Reader<'_>) -> Option<PoolSize> {
    let (pool, run_host) = (reader.take(&POOL, optional), reader.take(&RUN_HOST, optional));
    let max = max(reader)?;
    Some(PoolSize { pool: pool?.filter(|pool| pool != LOCAL_POOL), run_host: run_host?, max })
}

/// A scaler that can run.
pub(crate) struct Connected {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    /// The pool, if it consists of processes on this machine.
    pub(crate) workers: Option<LocalWorkers>,
}

/// Worker processes on this machine, and the error if one cannot be started.
type LocalWorkers = (Arc<WorkerSupervisor>, mpsc::Receiver<Failed>);

/// Connects to the pool, and to the one that helps out.
pub(crate) async fn connect(settings: ScalerSettings, role: &RoleSettings) -> Result<Connected, Failed> {
    let ScalerSettings { pool, run_host, dry_run, initial_rate, policy, scratch, overflow, overflow_max } = settings;
    let slots = policy.slots;
    let name = pool.rsplit('/').next().unwrap_or_default().to_owned();
    let connect = async |pool: &str| {
        let connected = WorkerPool::connect(pool, run_host.as_deref()).await;
        connected.map(Arc::new).map_err(|error| Failed::because("run the scaler", error))
    };
    let overflow = match overflow {
        Some(overflow) => Some(OverflowConfig { backend: connect(&overflow).await?, max: overflow_max }),
        None => None,
    };
    let config = Config { pool: name, policy, initial_rate, dry_run, overflow };
    if pool != LOCAL_POOL {
        let backend = connect(&pool).await?;
        return Ok(Connected { config, backend, workers: None });
    }
    let (endpoints, telemetry) = (role.endpoints.clone(), role.telemetry.environment());
    let spec = WorkerSpec { endpoints, slots: slots as usize, environment: telemetry, scratch, logs: None };
    let (workers, failures) = WorkerSupervisor::start(0, spec);
    let backend = Arc::new(LocalPool(Arc::clone(&workers)));
    Ok(Connected { config, backend, workers: Some((workers, failures)) })
}

/// Runs a process with a scaler until it ends, or until one of its workers on this machine cannot be started. Then the
/// workers are stopped.
pub(crate) async fn until_workers_fail<T>(
    workers: Option<LocalWorkers>,
    running: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let Some((workers, mut failures)) = workers else { return running.await };
    let ended = tokio::select! {
        ended = running => ended,
        Some(failure) = failures.recv() => Err(failure),
    };
    workers.stop().await;
    ended
}

/// The configuration of the scaler of a fleet on this machine, for a minimum and a maximum number of workers.
pub(crate) fn local_config(
    slots: usize,
    workers: (usize, usize),
    (backlog_target_seconds, idle_seconds): (f64, f64),
) -> Config {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (min, max) = (count(workers.0), count(workers.1));
    // Only idle workers are stopped here, and a worker starts within a second.
    let policy = Policy {
        slots: count(slots),
        min,
        max,
        backlog_target_seconds,
        idle_seconds,
        scale_down_delay_seconds: idle_seconds,
        ..Policy::default()
    };
    Config {
        pool: LOCAL_POOL.to_owned(),
        policy,
        initial_rate: clipfleet_scaler::INITIAL_RATE,
        dry_run: false,
        overflow: None,
    }
}

/// A pool of worker processes on this machine. Only idle workers are stopped.
pub(crate) struct LocalPool(pub(crate) Arc<WorkerSupervisor>);

#[async_trait]
impl Backend for LocalPool {
    fn name(&self) -> &str {
        LOCAL_POOL
    }

    fn ends_idle(&self) -> bool {
        true
    }

    async fn count(&self) -> Result<u32, CloudError> {
        Ok(u32::try_from(self.0.count()).unwrap_or(u32::MAX))
    }

    async fn set(&self, count: u32, busy: &BTreeSet<WorkerId>, _: Duration) -> Result<(), CloudError> {
        self.0.set(count as usize, busy);
        Ok(())
    }
}
