//! The worker: leases clip jobs, runs one pipeline process per attempt, makes the result visible once, and publishes
//! events.
//!
//! ```text
//!  [clip-jobs] ──lease──▶ attempt ──spawns──▶ clipfleet-pipeline ──file──▶ attempt ──create if absent──▶ object
//!                            │                   ▲ ranges
//!                            │                   └── Blocks ◀── source object, pinned generation
//!                            └──▶ [progress-events]   (confirmed before the delivery is settled)
//! ```
//!
//! A worker writes no status documents. It reads those of its clips, to check whether they still have to be made. It
//! links no media code: only the pipeline process parses media files. It receives no credentials. A sandbox keeps it
//! from the network, from other processes and from all files but its own, as far as the kernel allows. The log,
//! `/ready` and a metric say what is in force. Of what it leaves, only regular files are read, through handles.

mod attempt;
mod blocks;
mod clip_watch;
mod consume;
mod context;
mod cooldown;
mod gpu;
mod lease;
mod media;
mod metrics;
mod outcome;
mod pause_watch;
mod pipeline;
mod program;
mod publication;
mod ready;
mod report;
mod sandbox;
mod scratch;
mod sidecars;
#[cfg(test)]
mod tests;

pub use blocks::SourceReader;
pub use context::Dependencies;
pub use media::{Media, MediaResult, Progress};
pub use program::{GpuMode, Program, SandboxMode};

use axum::Router;
use clipfleet_cloud::{Cloud, LinkKind};
use clipfleet_contract::names;
use clipfleet_domain::{access::AccessPolicy, cost::SlotPrice, ids::WorkerId};
use clipfleet_service::{
    clock::Clock,
    health::{Condition, Readiness},
    role,
};
use context::Worker;
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// The identity, which must be new at each start; `None` generates one. A supervisor gives each worker its
    /// identity, to recognize it in status documents.
    pub id: Option<WorkerId>,
    /// Clips made at once.
    pub slots: usize,
    /// The pipeline program.
    pub pipeline: PathBuf,
    /// Whether clips are made on GPUs.
    pub gpu: GpuMode,
    /// Whether the media processes put a sandbox on themselves.
    pub sandbox: SandboxMode,
    /// `auto`, or the name of one encoder.
    pub encoder: String,
    /// Directory in which the worker creates its own.
    pub scratch: PathBuf,
    /// Memory for source blocks shared by the slots, MiB.
    pub cache_mib: u64,
    /// The price of a slot.
    pub price: SlotPrice,
    /// The kind of links to results; `None` chooses by bucket.
    pub links: Option<LinkKind>,
    /// What owners may use; `None` if only the dispatcher checks it.
    pub access: Option<AccessPolicy>,
}

/// Runs with health endpoints until told to stop. The worker is not ready until the pipeline program has passed its
/// check.
pub async fn run(config: Config, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    let listen = listener.local_addr()?;
    let end = stop.clone();
    let working = |readiness: Readiness| start(config, cloud, readiness, end, listen);
    role::run(metrics::METRICS, listener, Router::new(), stop, working).await
}

async fn start(
    config: Config,
    cloud: Cloud,
    readiness: Readiness,
    stop: CancellationToken,
    listen: SocketAddr,
) -> io::Result<()> {
    let Config { id, slots, pipeline, gpu, sandbox, encoder, scratch, cache_mib, price, links, access } = config;
    let id = id.map_or_else(new_identity, Ok)?;
    let directory = scratch::Scratch::open(&scratch, id.as_str())?;
    sandbox::hide_memory();
    let program = Program::new(pipeline, gpu, directory.path()).with_sandbox(sandbox);
    let (capabilities, gpu) = gpu::detect(&program).await?;
    let program = sandbox::decide(program, &capabilities)?;
    metrics::record_versions(&capabilities);
    let gpu = Arc::new(gpu);
    tracing::info!(worker = %id, slots, %listen, encoder, "worker ready");
    let leasing = readiness.condition(names::CLIP_JOBS_WORKER);
    let details = serde_json::json!({"role": "worker", "worker": id.as_str(), "slots": slots, "media": capabilities});
    let status = Arc::new(ready::ReadyStatus::new(readiness, details, Arc::clone(&gpu)));
    let media = Arc::new(pipeline::Pipelines::new(program, encoder, Arc::clone(&gpu)));
    let on_pause = {
        let status = Arc::clone(&status);
        move |paused: bool| status.set_paused(paused)
    };
    let (clock, sleep_clock) = (Clock::system(), Arc::new(lease::time_asleep));
    let dependencies =
        Dependencies { id, cloud, clock, sleep_clock, media, slots, scratch, cache_mib, price, links, access };
    let stop = stop.child_token();
    let watching_gpu = async {
        gpu.wait_disabled().await;
        status.update();
        if gpu.fatal().is_some() {
            // Running attempts are interrupted, so that other workers make their clips.
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let worked = tokio::select! {
        biased;
        worked = consume(dependencies, directory, on_pause, leasing, stop.clone()) => worked,
        () = watching_gpu => Ok(()),
    };
    gpu.fatal().map_or(worked, |reason| Err(io::Error::other(reason)))
}

/// Leases jobs and makes their clips until told to stop. This is the whole worker, apart from its process.
pub async fn make_clips(dependencies: Dependencies, stop: CancellationToken) -> io::Result<()> {
    let directory = scratch::Scratch::open(&dependencies.scratch, dependencies.id.as_str())?;
    let leasing = Readiness::default().condition(names::CLIP_JOBS_WORKER);
    consume(dependencies, directory, |_| {}, leasing, stop).await
}

async fn consume(
    dependencies: Dependencies,
    scratch: scratch::Scratch,
    on_pause: impl Fn(bool) + Send,
    leasing: Condition,
    stop: CancellationToken,
) -> io::Result<()> {
    let (worker, _ticker) = Worker::new(dependencies, scratch);
    consume::run(Arc::new(worker), on_pause, &leasing, stop).await.map_err(io::Error::other)
}

/// A worker identity, new at each start: a restarted worker must not be mistaken for its predecessor.
pub fn new_identity() -> io::Result<WorkerId> {
    WorkerId::parse(&format!("w-{}", Uuid::now_v7().simple())).map_err(io::Error::other)
}
