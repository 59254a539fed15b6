//! One run: a fleet, its people and a storm, from one seed; then calm, in which everything must come right.

use crate::{
    media::SOURCE_BYTES,
    mutation::Mutation,
    operators,
    people::{Person, SOURCE},
    pool::Pool,
    process::Role,
    supervisor::{BUCKET, Place},
    topology,
    weather::{Scale, Weather},
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

/// After the storm everything is over within this time: backoff of a minute, leases, a few attempts. Storm included it is less than the
/// silence after which the reconciler publishes jobs again, so that what it mends is not hidden here, but for retries that broke off.
const COMES_RIGHT: Duration = Duration::from_secs(12 * 60);

/// The same where jobs were lost and the reconciler is to mend it, after an hour of silence.
const IS_MENDED: Duration = Duration::from_secs(75 * 60);

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) seed: u64,
    /// Of everything that happened, in order.
    pub(crate) digest: u64,
    /// What must not have been.
    pub(crate) violation: Option<String>,
    /// How often each kind of thing happened.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The end of what happened.
    pub(crate) trace: Vec<String>,
}

/// Runs one seed. `whole` keeps the whole trace.
pub(crate) fn run(seed: u64, mutation: Option<Mutation>, scratch: &Path, whole: bool) -> Ran {
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
        let (scale, weather) = (Scale::draw(&mut rng), Weather::draw(&mut rng));
        // Scalers find none.
        let pool = Pool::new(if scale.scalers == 0 { scale.workers } else { 0 });
        let asked = format!("{seed} {scale:?} {weather:?} {mutation:?}");
        let world = Arc::new(World::new(rng, weather, pool, mutation, scratch.to_owned(), whole));
        world.trace("seed", format_args!("{asked}"));
        let broken = async {
            world.broken.notified().await;
        };
        tokio::select! {
            biased;
            () = broken => {}
            () = play(&world, scale) => {}
        }
        if left_virtual_time.load(Ordering::SeqCst) {
            world.violated("something ran on a thread of its own, in real time, which no seed decides".to_owned());
        }
        world.lock().over = true;
        world
    });
    drop(runtime);
    // They hold the world, which holds them.
    let dispatchers = std::mem::take(&mut world.lock().dispatchers);
    drop(dispatchers);
    assert_eq!(Arc::strong_count(&world), 1, "a world is left behind");
    let mut state = world.lock();
    Ran {
        seed,
        digest: state.trace.digest(),
        violation: state.violation.take(),
        counts: std::mem::take(&mut state.counts),
        trace: state.trace.last.drain(..).collect(),
    }
}

async fn play(world: &Arc<World>, scale: Scale) {
    topology::make(&world.cloud, scale.deliveries, scale.scalers > 0).await;
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
            fleet.spawn(Place { world: Arc::clone(world), role, index, scale }.keep());
        }
    }
    let mut people = JoinSet::new();
    for index in 1..=scale.batches {
        people.spawn(Person::draw(world, index).act());
    }
    people.spawn(operators::pause(Arc::clone(world), scale.pauses));
    people.spawn(operators::redrive(Arc::clone(world), scale.redrives));
    let within = if world.lock().weather.job_lost > 0.0 { IS_MENDED } else { COMES_RIGHT };
    // Who is dismissed while at work has begun it in vain.
    let fair = world.lock().weather.is_fair() && scale.scalers == 0;
    let storm = world.lock().weather.storm;
    sleep(storm).await;
    world.calm();
    world.trace("storm", format_args!("is over"));
    while people.join_next().await.is_some() {}
    world.trace("people", format_args!("are done"));
    come_right(world, scale, within).await;
    world.observe(|ledger, _| ledger.documents_are_the_fold());
    if fair {
        world.observe(|ledger, _| ledger.done_once());
    }
}

/// Waits until all is over and nothing is on its way.
async fn come_right(world: &World, scale: Scale, within: Duration) {
    let calm = Instant::now();
    loop {
        let open = world.lock().ledger.open();
        // Jobs of clips that are over (cancelled, or queued twice) wake no worker: they wait for the next batch's.
        let matters = |name: &&str| scale.scalers == 0 || *name != names::CLIP_JOBS_WORKER;
        let waiting = topology::subscriptions().filter(matters).find(|name| world.memory.unsettled(name) > 0);
        let busy = world.lock().ledger.is_busy();
        let idle = scale.scalers > 0 && world.pool.size() > 0;
        if open.is_none() && waiting.is_none() && !busy && !idle {
            return world.count("all came right");
        }
        if calm.elapsed() > within {
            let why = match (open, waiting) {
                (Some(path), _) => format!("{path} is not over"),
                (_, Some(subscription)) => format!("{subscription} still has messages"),
                _ if busy => "someone still works".to_owned(),
                _ => "there are workers with nothing to do".to_owned(),
            };
            return world.violated(format!("{within:?} after the storm {why}"));
        }
        sleep(Duration::from_secs(2)).await;
    }
}
