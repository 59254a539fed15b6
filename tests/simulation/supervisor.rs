//! Supervises one process of the fleet as a platform does: it starts the process, and after each death it starts
//! another with a new identity and its own clock. Faults occur at random: the process is killed, asked to stop, or
//! frozen for a while.

use crate::{
    clients,
    documents::SimDocuments,
    fault_profile::Scale,
    last_event,
    media::SimMedia,
    mutation::Mutation,
    objects::SimObjects,
    pool::{POOL, SimPool},
    process::{Process, Role},
    queue::SimQueue,
    world::World,
};
use clipfleet_cloud::{Cloud, LinkKind};
use clipfleet_dispatcher::Dispatch;
use clipfleet_domain::{cost::SlotPrice, ids::WorkerId};
use clipfleet_scaler::{INITIAL_RATE, Policy};
use clipfleet_service::{clock::Clock, health::Readiness};
use clipfleet_worker::Dependencies;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The time at which every run starts, Unix milliseconds.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The bucket of sources and results.
pub(crate) const BUCKET: &str = "media";

/// How long a platform waits after it asked a process to stop.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// The scalers' backlog target, seconds: so short that even one batch justifies several workers.
const BACKLOG_TARGET_SECONDS: f64 = 10.0;

/// Memory for source blocks, MiB: more than all sources need.
const CACHE_MIB: u64 = 1;

type RoleTask = JoinHandle<Result<(), String>>;

/// A fault of a process.
enum Fault {
    Killed,
    /// Asked to stop, for this reason.
    Stopped(&'static str),
    Frozen(Duration),
}

/// Runs one process of the fleet after another.
pub(crate) struct ProcessSupervisor {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    pub(crate) index: u32,
    pub(crate) scale: Scale,
}

impl ProcessSupervisor {
    /// Runs processes until the run ends.
    pub(crate) async fn supervise(self) {
        for incarnation in 1.. {
            self.wait_until_needed().await;
            let name = format!("{:?}{}-{incarnation}", self.role, self.index).to_lowercase();
            let process = Process::new(&self.world, self.role, name);
            self.run_process(&process).await;
            process.kill();
            self.world.lock().dispatchers.remove(&self.dispatcher_index());
            sleep(self.world.draw_ms(200, 8_000)).await;
        }
    }

    fn dispatcher_index(&self) -> u32 {
        if self.role == Role::Dispatcher { self.index } else { u32::MAX }
    }

    /// Returns when this process is needed. The pool determines the number of workers.
    async fn wait_until_needed(&self) {
        if self.role == Role::Worker {
            self.world.pool.wait_until_needed(self.index).await;
        }
    }

    /// Returns when this process is no longer needed.
    async fn wait_until_dismissed(&self) {
        match self.role {
            Role::Worker => self.world.pool.wait_until_not_needed(self.index).await,
            _ => std::future::pending().await,
        }
    }

    /// Runs one incarnation of the process.
    async fn run_process(&self, process: &Arc<Process>) {
        self.world.trace(&process.name, format_args!("starts"));
        let stop = CancellationToken::new();
        let mut task = self.start(process, stop.clone());
        loop {
            let fault = tokio::select! {
                biased;
                () = process.wait_until_dead() => break,
                result = &mut task => return self.check_exit(process, result),
                () = self.wait_until_dismissed() => Fault::Stopped("a worker was removed from the pool"),
                fault = self.next_fault() => fault,
            };
            match fault {
                Fault::Killed => {
                    self.world.count("a process was killed");
                    break;
                }
                Fault::Stopped(why) => {
                    self.world.count(why);
                    self.world.trace(&process.name, format_args!("is asked to stop"));
                    stop.cancel();
                    if let Ok(result) = timeout(STOP_GRACE_PERIOD, &mut task).await {
                        return self.check_exit(process, result);
                    }
                    self.world.count("a process did not stop in time");
                    break;
                }
                Fault::Frozen(time) => {
                    self.world.count("a process was frozen");
                    process.freeze();
                    sleep(time).await;
                    process.thaw();
                }
            }
        }
        // The process dies before its task is aborted: what its parts do while they are dropped has no effect.
        process.kill();
        task.abort();
        if let Ok(result) = task.await {
            self.check_exit(process, Ok(result));
        }
    }

    /// Reports a process that failed or panicked as a violation.
    fn check_exit(&self, process: &Process, result: Result<Result<(), String>, tokio::task::JoinError>) {
        self.world.trace(&process.name, format_args!("ended {result:?}"));
        match result {
            Ok(Ok(())) => {}
            // A process gives up after a long denial, and the platform starts another.
            Ok(Err(error)) if process.is_denied() && error.contains("denied by the simulation") => {
                self.world.count("a process ended because it was denied for too long");
            }
            Ok(Err(error)) => self.world.violated(format!("{} failed: {error}", process.name)),
            Err(error) if error.is_panic() => self.world.violated(format!("{} panicked: {error}", process.name)),
            Err(_) => {}
        }
    }

    /// Waits for the next fault; forever once the fault period is over.
    async fn next_fault(&self) -> Fault {
        let mean = self.world.lock().faults.mean_fault_interval;
        let Some(mean) = mean else { return std::future::pending().await };
        let mean = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX);
        sleep(self.world.draw_ms(0, 2 * mean)).await;
        if self.world.lock().faults.mean_fault_interval.is_none() {
            return std::future::pending().await;
        }
        match self.world.draw(|rng| rng.u8(..10)) {
            0..4 => Fault::Killed,
            4..6 => Fault::Stopped("a process was asked to stop"),
            _ => Fault::Frozen(self.world.draw_ms(500, 45_000)),
        }
    }

    fn start(&self, process: &Arc<Process>, stop: CancellationToken) -> RoleTask {
        let cloud = Cloud {
            queue: Arc::new(SimQueue(Arc::clone(process))),
            objects: Arc::new(SimObjects(Arc::clone(process))),
            documents: Arc::new(SimDocuments(Arc::clone(process))),
        };
        let clock = self.clock();
        match self.role {
            Role::Dispatcher => {
                let policy = clients::policy();
                let dispatch = Arc::new(Dispatch::new(cloud, policy, clock));
                self.world.lock().dispatchers.insert(self.index, Arc::clone(&dispatch));
                let background = clipfleet_dispatcher::run_background(dispatch, Readiness::default(), stop);
                tokio::spawn(async { background.await.map_err(|error| error.to_string()) })
            }
            Role::Worker => {
                let dependencies = Dependencies {
                    id: WorkerId::parse(&process.name).unwrap(),
                    cloud,
                    clock,
                    sleep_clock: self.sleep_clock(process),
                    media: Arc::new(SimMedia(Arc::clone(process))),
                    slots: self.scale.slots as usize,
                    scratch: self.world.scratch.clone(),
                    cache_mib: CACHE_MIB,
                    price: SlotPrice::default(),
                    // Without tokens, which are random.
                    links: Some(LinkKind::Public),
                    access: Some(clients::policy()),
                };
                let working = clipfleet_worker::make_clips(dependencies, stop);
                tokio::spawn(async { working.await.map_err(|error| error.to_string()) })
            }
            Role::Scaler => {
                let policy = Policy {
                    slots: self.scale.slots,
                    max: self.scale.workers,
                    backlog_target_seconds: BACKLOG_TARGET_SECONDS,
                    ..Policy::default()
                };
                let config = clipfleet_scaler::Config {
                    pool: POOL.into(),
                    policy,
                    initial_rate: INITIAL_RATE,
                    dry_run: false,
                    overflow: None,
                };
                let pool = Arc::new(SimPool(Arc::clone(process)));
                let scaling = clipfleet_scaler::scale(config, cloud, clock, pool, Readiness::default(), stop);
                tokio::spawn(async { scaling.await.map_err(|error| error.to_string()) })
            }
            Role::Status if self.world.has(Mutation::LastEventWins) => tokio::spawn(last_event::run(cloud, stop)),
            Role::Status => {
                let folding = clipfleet_status::fold(
                    clipfleet_status::Config::default(),
                    cloud,
                    clock,
                    Readiness::default(),
                    stop,
                );
                tokio::spawn(async { folding.await.map_err(|error| error.to_string()) })
            }
        }
    }

    /// Tells a frozen process how long it was frozen, as the clock of a suspended machine would: virtual time cannot
    /// stop the timers of one process.
    fn sleep_clock(&self, process: &Arc<Process>) -> Arc<dyn Fn() -> Duration + Send + Sync> {
        if self.world.has(Mutation::NoStallDetection) {
            return Arc::new(|| Duration::ZERO);
        }
        let process = Arc::clone(process);
        Arc::new(move || process.total_stall_time())
    }

    fn clock(&self) -> Clock {
        let skew_ms = self.world.lock().faults.skew_ms;
        let skew_ms = if skew_ms == 0 { 0 } else { self.world.draw(|rng| rng.i64(-skew_ms..=skew_ms)) };
        Clock::starting_at(EPOCH_MS + i64::try_from(self.world.now_ms()).unwrap_or(0) + skew_ms)
    }
}
