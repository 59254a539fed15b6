//! One run: a fleet, its clients and a period with faults, all determined by one seed; then a period without faults, in
//! which the fleet must recover.

use crate::{
    clients::{Client, SOURCE},
    fault_profile::{FaultProfile, Scale},
    media::SOURCE_BYTES,
    mutation::Mutation,
    operators,
    pool::Pool,
    process::Role,
    supervisor::{BUCKET, ProcessSupervisor},
    topology,
    world::World,
};
use clipfleet_cloud::{Body, NewObject, ObjectName};
use clipfleet_contract::names;
use fastrand::Rng;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, sleep},
};

/// The fleet must be quiescent this long after the faults end: a backoff of a minute, leases, a few attempts. Together
/// with the fault period this is shorter than the silence after which the reconciler republishes jobs. The reconciler
/// therefore cannot hide a lost job here, except for retries that were interrupted.
const QUIESCENCE_TIMEOUT: Duration = Duration::from_secs(12 * 60);

/// The same limit for runs that lose jobs: the reconciler repairs them after an hour of silence.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(75 * 60);

/// The result of a run.
pub(crate) struct RunResult {
    pub(crate) seed: u64,
    /// Digest of the whole trace, in order.
    pub(crate) digest: u64,
    /// The first violated guarantee.
    pub(crate) violation: Option<String>,
    /// How often each kind of situation occurred.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The last lines of the trace, or all of them.
    pub(crate) trace: Vec<String>,
}

/// Runs one seed. `keep_all` keeps every line of the trace.
pub(crate) fn run(seed: u64, mutation: Option<Mutation>, scratch: &Path, keep_all: bool) -> RunResult {
    let left_virtual_time = Arc::new(AtomicBool::new(false));
    let left = Arc::clone(&left_virtual_time);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_start(move || left.store(true, Ordering::SeqCst))
        .build()
        .expect("a runtime");
    let world = runtime.block_on(async {
        let mut rng = Rng::with_seed(seed);
        let (scale, faults) = (Scale::draw(&mut rng), FaultProfile::draw(&mut rng));
        // Where scalers own the pool, it starts empty.
        let pool = Pool::new(if scale.scalers == 0 { scale.workers } else { 0 });
        let setup = format!("{seed} {scale:?} {faults:?} {mutation:?}");
        let world = Arc::new(World::new(rng, faults, pool, mutation, scratch.to_owned(), keep_all));
        world.trace("seed", format_args!("{setup}"));
        let violated = async {
            world.violation_found.notified().await;
        };
        tokio::select! {
            biased;
            () = violated => {}
            () = play(&world, scale) => {}
        }
        if left_virtual_time.load(Ordering::SeqCst) {
            world.violated("a thread was started, which runs in real time: no seed can reproduce that".to_owned());
        }
        world.lock().ended = true;
        world
    });
    drop(runtime);
    // Dispatchers and the world refer to each other: this breaks the cycle.
    let dispatchers = std::mem::take(&mut world.lock().dispatchers);
    drop(dispatchers);
    assert_eq!(Arc::strong_count(&world), 1, "the world is still referenced");
    let mut state = world.lock();
    RunResult {
        seed,
        digest: state.trace.digest(),
        violation: state.violation.take(),
        counts: std::mem::take(&mut state.counts),
        trace: state.trace.last.drain(..).collect(),
    }
}

async fn play(world: &Arc<World>, scale: Scale) {
    topology::create(&world.cloud, scale.deliveries, scale.scalers > 0).await;
    world.cloud.objects.ensure_bucket(BUCKET).await.expect("a bucket");
    let source = ObjectName::new(BUCKET, SOURCE);
    let body = Body::Bytes(vec![7; SOURCE_BYTES].into());
    world.cloud.objects.create(&source, NewObject::default(), body).await.expect("a source");

    let mut fleet = JoinSet::new();
    let roles = [
        (Role::Dispatcher, scale.dispatchers),
        (Role::Worker, scale.workers),
        (Role::Status, scale.statuses),
        (Role::Scaler, scale.scalers),
    ];
    for (role, number) in roles {
        for index in 1..=number {
            fleet.spawn(ProcessSupervisor { world: Arc::clone(world), role, index, scale }.supervise());
        }
    }
    let mut clients = JoinSet::new();
    for index in 1..=scale.batches {
        clients.spawn(Client::draw(world, index).run());
    }
    clients.spawn(operators::pause(Arc::clone(world), scale.pauses));
    clients.spawn(operators::redrive(Arc::clone(world), scale.redrives));
    let within = if world.lock().faults.job_lost > 0.0 { REPAIR_TIMEOUT } else { QUIESCENCE_TIMEOUT };
    // A worker that the scaler removes while it works has started a clip in vain, so such runs are not checked for
    // repeated work.
    let fault_free = world.lock().faults.is_fault_free() && scale.scalers == 0;
    let fault_period = world.lock().faults.fault_period;
    let denied_until = world.lock().faults.denial.map(|denial| denial.until);
    sleep(fault_period).await;
    world.stop_faults();
    sleep(denied_until.unwrap_or_default().saturating_sub(fault_period)).await;
    world.trace("faults", format_args!("stopped"));
    while clients.join_next().await.is_some() {}
    world.trace("clients", format_args!("finished"));
    wait_for_quiescence(world, scale, within).await;
    world.observe(|checker, _| checker.check_documents_match_fold());
    if fault_free {
        world.observe(|checker, _| checker.check_done_once());
    }
}

/// Waits until every batch has ended, every message is settled and every process is idle.
async fn wait_for_quiescence(world: &World, scale: Scale, within: Duration) {
    let started = Instant::now();
    loop {
        let unfinished = world.lock().checker.find_unfinished();
        // Jobs of clips that have ended (cancelled, or queued twice) start no worker: they wait in the queue for the
        // next batch.
        let relevant = |name: &&str| scale.scalers == 0 || *name != names::CLIP_JOBS_WORKER;
        let waiting = topology::subscriptions().filter(relevant).find(|name| world.memory.unsettled(name) > 0);
        let busy = world.lock().checker.is_busy();
        let idle = scale.scalers > 0 && world.pool.size() > 0;
        if unfinished.is_none() && waiting.is_none() && !busy && !idle {
            return world.count("the run became quiescent");
        }
        if started.elapsed() > within {
            let why = match (unfinished, waiting) {
                (Some(path), _) => format!("{path} has not ended"),
                (_, Some(subscription)) => format!("{subscription} still has messages"),
                _ if busy => "media work is still running".to_owned(),
                _ => "the pool still has workers, with nothing to do".to_owned(),
            };
            return world.violated(format!("{within:?} after the faults ended {why}"));
        }
        sleep(Duration::from_secs(2)).await;
    }
}
