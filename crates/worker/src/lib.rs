//! The worker: leases clip jobs, runs one pipeline process per attempt, makes the result visible once, and reports events.
//!
//! ```text
//!  [clip-jobs] ──lease──▶ attempt ──spawns──▶ clipfleet-pipeline ──file──▶ attempt ──create if absent──▶ object
//!                            │                   ▲ ranges
//!                            │                   └── Blocks ◀── source object, pinned generation
//!                            └──▶ [progress-events]   (confirmed before the lease is settled)
//! ```
//!
//! It writes no status document; it reads one, to learn whether its clip is still wanted. It links no media code: whatever
//! happens to a file happens in the pipeline process, which has no credentials and no network.

mod attempt;
mod blocks;
mod gpu;
mod companions;
mod control;
mod cooldown;
mod lease;
mod media;
mod meters;
mod pipeline;
mod program;
mod ready;
mod report;
mod result;
mod scratch;
mod slots;
#[cfg(test)]
mod tests;
mod wanted;

pub use blocks::SourceReader;
pub use media::{Ended, Media, Progress};
pub use program::{GpuMode, Program};

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_domain::{
    cost::SlotPrice,
    ids::{AttemptId, BadId, WorkerId},
};
use clipfleet_service::{clock::Clock, health, telemetry};
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its identity, which must be new at each start; `None` makes one. Whoever starts workers names them to know who is who.
    pub id: Option<WorkerId>,
    /// Clips worked on at once.
    pub slots: usize,
    /// The pipeline program.
    pub pipeline: PathBuf,
    /// Whether it uses GPUs.
    pub gpu: GpuMode,
    /// `auto`, or the name of one encoder.
    pub encoder: String,
    /// Directory under which attempts get theirs.
    pub scratch: PathBuf,
    /// Memory for source blocks shared by the slots, MiB.
    pub cache_mib: u64,
    /// What a slot costs.
    pub price: SlotPrice,
}

/// What a worker is given by the process around it.
pub struct Surroundings {
    /// Its identity.
    pub id: WorkerId,
    /// The queue it leases from and reports to, the objects it reads and makes, the documents it looks at.
    pub cloud: Cloud,
    /// The time of day.
    pub clock: Clock,
    /// Time that the machine has slept in all: none of it shows on the runtime's timer.
    pub asleep: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// What makes clips.
    pub media: Arc<dyn Media>,
    /// Clips worked on at once.
    pub slots: usize,
    /// Directory under which the worker gets its own.
    pub scratch: PathBuf,
    /// Memory for source blocks shared by the slots, MiB.
    pub cache_mib: u64,
    /// What a slot costs.
    pub price: SlotPrice,
}

/// What every attempt of a worker shares.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) slots: usize,
    pub(crate) price: SlotPrice,
    pub(crate) cloud: Cloud,
    pub(crate) clock: Clock,
    pub(crate) blocks: blocks::Blocks,
    pub(crate) media: Arc<dyn Media>,
    pub(crate) scratch: scratch::Scratch,
    pub(crate) pulse: Arc<lease::Pulse>,
    pub(crate) cooldown: cooldown::Cooldown,
    attempts: AtomicU64,
}

impl Worker {
    /// Unlike any other, since the worker's identity is; its time comes first, so that later ids compare greater.
    pub(crate) fn new_attempt(&self) -> Result<AttemptId, BadId> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        AttemptId::parse(&format!("a-{:012x}-{number}-{}", self.clock.now_ms(), self.id))
    }
}

/// Runs with health endpoints until told to stop. Not ready before the pipeline program has passed its check.
pub async fn run(config: Config, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    telemetry::start_metrics(meters::METRICS);
    let readiness = health::Readiness::default();
    let listen = listener.local_addr()?;
    // Listening comes first: a slow check must not look like a dead process.
    let serving = tokio::spawn(health::serve(listener, health::routes(readiness.clone()), stop.clone()));
    let worked = work(config, cloud, readiness.clone(), stop.clone(), listen).await;
    if let Err(error) = &worked {
        readiness.not_ready(error.to_string());
    }
    stop.cancel();
    serving.await.map_err(io::Error::other)??;
    worked
}

async fn work(
    config: Config,
    cloud: Cloud,
    readiness: health::Readiness,
    stop: CancellationToken,
    listen: std::net::SocketAddr,
) -> io::Result<()> {
    let Config { id, slots, pipeline, gpu, encoder, scratch, cache_mib, price } = config;
    let id = id.map_or_else(new_identity, Ok)?;
    let directory = scratch::Scratch::open(&scratch, id.as_str())?;
    let program = Program::new(pipeline, gpu, directory.path());
    let (capabilities, gpu) = gpu::examine(&program).await?;
    let gpu = Arc::new(gpu);
    tracing::info!(worker = %id, slots, %listen, encoder, "worker ready");
    let details = serde_json::json!({"role": "worker", "worker": id.as_str(), "slots": slots, "media": capabilities});
    let answer = Arc::new(ready::Answer::new(readiness, details, Arc::clone(&gpu)));
    let (media, answering) =
        (Arc::new(pipeline::Pipelines::new(program, encoder, Arc::clone(&gpu))), Arc::clone(&answer));
    let tell = move |paused: bool| answering.paused(paused);
    let (clock, asleep) = (Clock::system(), Arc::new(lease::asleep));
    let around = Surroundings { id, cloud, clock, asleep, media, slots, scratch, cache_mib, price };
    // What is told to stop hands its work back.
    let stop = stop.child_token();
    let watching = async {
        gpu.went_off().await;
        answer.renew();
        if gpu.ends_worker().is_some() {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let worked = tokio::select! {
        biased;
        worked = lease_and_make(around, directory, tell, stop.clone()) => worked,
        () = watching => Ok(()),
    };
    gpu.ends_worker().map_or(worked, |reason| Err(io::Error::other(reason)))
}

/// Leases jobs and makes their clips until told to stop. This is the whole worker but for its process.
pub async fn make_clips(around: Surroundings, stop: CancellationToken) -> io::Result<()> {
    let directory = scratch::Scratch::open(&around.scratch, around.id.as_str())?;
    lease_and_make(around, directory, |_| {}, stop).await
}

async fn lease_and_make(
    around: Surroundings,
    scratch: scratch::Scratch,
    tell: impl Fn(bool) + Send,
    stop: CancellationToken,
) -> io::Result<()> {
    let Surroundings { id, cloud, clock, asleep, media, slots, cache_mib, price, .. } = around;
    let blocks = blocks::Blocks::new(Arc::clone(&cloud.objects), cache_mib << 20);
    let (pulse, _beating) = lease::Pulse::start(asleep);
    let (cooldown, attempts) = (cooldown::Cooldown::default(), AtomicU64::new(0));
    let worker = Worker { id, slots, price, cloud, clock, blocks, media, scratch, pulse, cooldown, attempts };
    slots::run(Arc::new(worker), tell, stop).await.map_err(|error: CloudError| io::Error::other(error))
}

/// New at each start: a restarted worker must not be taken for the one before it.
pub fn new_identity() -> io::Result<WorkerId> {
    WorkerId::parse(&format!("w-{}", Uuid::now_v7().simple())).map_err(io::Error::other)
}
