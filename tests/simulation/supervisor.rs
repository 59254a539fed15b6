//! Keeps one process of the fleet alive as its platform would: starts it, and after each death starts another with a new identity and
//! a clock of its own. Mishaps come by chance: killed, told to stop, frozen for a while.

use crate::{
    documents::SimDocuments,
    last_event,
    media::SimMedia,
    mutation::Mutation,
    objects::SimObjects,
    pool::{POOL, SimPool},
    process::{Process, Role},
    queue::SimQueue,
    weather::Scale,
    world::World,
};
use clipfleet_cloud::Cloud;
use clipfleet_dispatcher::Dispatch;
use clipfleet_domain::{batch::BucketPolicy, cost::SlotPrice, ids::WorkerId};
use clipfleet_scaler::{INITIAL_RATE, Policy};
use clipfleet_service::{clock::Clock, health::Readiness};
use clipfleet_worker::Dependencies;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The time of day at which every run begins, Unix milliseconds.
const DAWN_MS: i64 = 1_700_000_000_000;

/// The bucket of sources and results.
pub(crate) const BUCKET: &str = "media";

/// How long a platform waits after asking a process to stop.
const GRACE: Duration = Duration::from_secs(10);

/// In how many seconds scalers want all done: so few that several workers are worth while for a batch.
const DRAIN_SECONDS: f64 = 10.0;

/// Memory for source blocks, MiB: more than all sources.
const CACHE_MIB: u64 = 1;

type Ran = JoinHandle<Result<(), String>>;

/// What a platform does to a process.
enum Mishap {
    Killed,
    /// Told to stop, for this reason.
    Stopped(&'static str),
    Frozen(Duration),
}

/// A place in the fleet, which one process after another fills.
pub(crate) struct Place {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    pub(crate) index: u32,
    pub(crate) scale: Scale,
}

impl Place {
    /// Fills the place for as long as the run lasts.
    pub(crate) async fn keep(self) {
        for life in 1.. {
            self.wanted().await;
            let name = format!("{:?}{}-{life}", self.role, self.index).to_lowercase();
            let process = Process::new(&self.world, self.role, name);
            self.live(&process).await;
            process.kill();
            self.world.lock().dispatchers.remove(&self.index_of_dispatcher());
            sleep(self.world.draw_ms(200, 8_000)).await;
        }
    }

    fn index_of_dispatcher(&self) -> u32 {
        if self.role == Role::Dispatcher { self.index } else { u32::MAX }
    }

    /// Returns when there is to be a process at this place: the number of workers is the pool's.
    async fn wanted(&self) {
        if self.role == Role::Worker {
            self.world.pool.wants(self.index).await;
        }
    }

    /// Returns when there is not to be one any more.
    async fn dismissed(&self) {
        match self.role {
            Role::Worker => self.world.pool.dismisses(self.index).await,
            _ => std::future::pending().await,
        }
    }

    /// One life.
    async fn live(&self, process: &Arc<Process>) {
        self.world.trace(&process.name, format_args!("starts"));
        let stop = CancellationToken::new();
        let mut ran = self.start(process, stop.clone());
        loop {
            let mishap = tokio::select! {
                biased;
                () = process.died() => break,
                ended = &mut ran => return self.ended(process, ended),
                () = self.dismissed() => Mishap::Stopped("a worker was dismissed"),
                mishap = self.mishap() => mishap,
            };
            match mishap {
                Mishap::Killed => {
                    self.world.count("a process was killed");
                    break;
                }
                Mishap::Stopped(why) => {
                    self.world.count(why);
                    self.world.trace(&process.name, format_args!("is told to stop"));
                    stop.cancel();
                    if let Ok(ended) = timeout(GRACE, &mut ran).await {
                        return self.ended(process, ended);
                    }
                    self.world.count("a process did not stop in time");
                    break;
                }
                Mishap::Frozen(time) => {
                    self.world.count("a process was frozen");
                    process.freeze();
                    sleep(time).await;
                    process.thaw();
                }
            }
        }
        // First dead, then gone: what its parts do while they are dropped has no effect.
        process.kill();
        ran.abort();
        if let Ok(ended) = ran.await {
            self.ended(process, Ok(ended));
        }
    }

    /// A process that ended by itself.
    fn ended(&self, process: &Process, ended: Result<Result<(), String>, tokio::task::JoinError>) {
        self.world.trace(&process.name, format_args!("ended {ended:?}"));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.world.violated(format!("{} gave up: {error}", process.name)),
            Err(error) if error.is_panic() => self.world.violated(format!("{} panicked: {error}", process.name)),
            Err(_) => {}
        }
    }

    /// Waits for the next mishap; for ever once the storm is over.
    async fn mishap(&self) -> Mishap {
        let mean = self.world.lock().weather.between_mishaps;
        let Some(mean) = mean else { return std::future::pending().await };
        let mean = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX);
        sleep(self.world.draw_ms(0, 2 * mean)).await;
        if self.world.lock().weather.between_mishaps.is_none() {
            return std::future::pending().await;
        }
        match self.world.draw(|rng| rng.u8(..10)) {
            0..4 => Mishap::Killed,
            4..6 => Mishap::Stopped("a process was told to stop"),
            _ => Mishap::Frozen(self.world.draw_ms(500, 45_000)),
        }
    }

    fn start(&self, process: &Arc<Process>, stop: CancellationToken) -> Ran {
        let cloud = Cloud {
            queue: Arc::new(SimQueue(Arc::clone(process))),
            objects: Arc::new(SimObjects(Arc::clone(process))),
            documents: Arc::new(SimDocuments(Arc::clone(process))),
        };
        let clock = self.clock();
        match self.role {
            Role::Dispatcher => {
                let policy = BucketPolicy { default_bucket: BUCKET.into(), allowed: vec![BUCKET.into()] };
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
                    sleep_clock: self.asleep(process),
                    media: Arc::new(SimMedia(Arc::clone(process))),
                    slots: self.scale.slots as usize,
                    scratch: self.world.scratch.clone(),
                    cache_mib: CACHE_MIB,
                    price: SlotPrice::default(),
                };
                let working = clipfleet_worker::make_clips(dependencies, stop);
                tokio::spawn(async { working.await.map_err(|error| error.to_string()) })
            }
            Role::Scaler => {
                let policy = Policy {
                    slots: self.scale.slots,
                    max: self.scale.workers,
                    backlog_target_seconds: DRAIN_SECONDS,
                    ..Policy::default()
                };
                let config =
                    clipfleet_scaler::Config { pool: POOL.into(), policy, initial_rate: INITIAL_RATE, dry_run: false };
                let pool = Arc::new(SimPool(Arc::clone(process)));
                let scaling = clipfleet_scaler::scale(config, cloud, clock, pool, Readiness::default(), stop);
                tokio::spawn(async { scaling.await.map_err(|error| error.to_string()) })
            }
            Role::Status if self.world.is(Mutation::LastEventWins) => tokio::spawn(last_event::run(cloud, stop)),
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

    /// A frozen process finds out as one whose machine slept would: on virtual time it cannot stop its timers.
    fn asleep(&self, process: &Arc<Process>) -> Arc<dyn Fn() -> Duration + Send + Sync> {
        if self.world.is(Mutation::NoPulse) {
            return Arc::new(|| Duration::ZERO);
        }
        let process = Arc::clone(process);
        Arc::new(move || process.stood_still())
    }

    fn clock(&self) -> Clock {
        let skew_ms = self.world.lock().weather.skew_ms;
        let skew_ms = if skew_ms == 0 { 0 } else { self.world.draw(|rng| rng.i64(-skew_ms..=skew_ms)) };
        Clock::starting_at(DAWN_MS + i64::try_from(self.world.now_ms()).unwrap_or(0) + skew_ms)
    }
}
