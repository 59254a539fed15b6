//! One run: a fleet, its people and a storm, from one seed; then calm, in which everything must come right.

use crate::{
    media::SOURCE_BYTES,
    mutation::Mutation,
    people::{Person, SOURCE},
    process::Role,
    supervisor::{BUCKET, Place},
    topology,
    weather::{Scale, Weather},
    world::World,
};
use clipfleet_cloud::{Body, NewObject, ObjectName};
use fastrand::Rng;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, sleep},
};

/// After the storm everything is over within this time: backoff of a minute, leases, a few attempts. Storm included it is less than the
/// silence after which the reconciler publishes jobs again, so that what it mends is not hidden here.
const COMES_RIGHT: Duration = Duration::from_secs(12 * 60);

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
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = runtime.block_on(async {
        let mut rng = Rng::with_seed(seed);
        let (scale, weather) = (Scale::draw(&mut rng), Weather::draw(&mut rng));
        let asked = format!("{seed} {scale:?} {weather:?} {mutation:?}");
        let world = Arc::new(World::new(rng, weather, mutation, scratch.to_owned(), whole));
        world.trace("seed", format_args!("{asked}"));
        let broken = async {
            world.broken.notified().await;
        };
        tokio::select! {
            biased;
            () = broken => {}
            () = play(&world, scale) => {}
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
    topology::make(&world.cloud, scale.deliveries).await;
    world.cloud.objects.ensure_bucket(BUCKET).await.expect("a bucket");
    let source = ObjectName::new(BUCKET, SOURCE);
    let body = Body::Bytes(vec![7; SOURCE_BYTES].into());
    world.cloud.objects.create(&source, NewObject::default(), body).await.expect("a source");

    let mut fleet = JoinSet::new();
    let roles = [(Role::Dispatcher, scale.dispatchers), (Role::Worker, scale.workers), (Role::Status, scale.statuses)];
    for (role, number) in roles {
        for index in 1..=number {
            fleet.spawn(Place { world: Arc::clone(world), role, index, slots: scale.slots }.keep());
        }
    }
    let mut people = JoinSet::new();
    for index in 1..=scale.batches {
        people.spawn(Person::draw(world, index).act());
    }
    let fair = world.lock().weather.is_fair();
    let storm = world.lock().weather.storm;
    sleep(storm).await;
    world.calm();
    world.trace("storm", format_args!("is over"));
    while people.join_next().await.is_some() {}
    world.trace("people", format_args!("are done"));
    come_right(world).await;
    world.observe(|ledger, _| ledger.documents_are_the_fold());
    if fair {
        world.observe(|ledger, _| ledger.done_once());
    }
}

/// Waits until all is over and nothing is on its way.
async fn come_right(world: &World) {
    let calm = Instant::now();
    loop {
        let open = world.lock().ledger.open();
        let waiting = topology::subscriptions().find(|name| world.memory.unsettled(name) > 0);
        let busy = world.lock().ledger.is_busy();
        if open.is_none() && waiting.is_none() && !busy {
            return world.count("all came right");
        }
        if calm.elapsed() > COMES_RIGHT {
            let why = match (open, waiting) {
                (Some(path), _) => format!("{path} is not over"),
                (_, Some(subscription)) => format!("{subscription} still has messages"),
                _ => "someone still works".to_owned(),
            };
            return world.violated(format!("{COMES_RIGHT:?} after the storm {why}"));
        }
        sleep(Duration::from_secs(2)).await;
    }
}
