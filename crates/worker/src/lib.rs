//! The worker: leases clip jobs, runs one pipeline process per attempt, makes the result visible once, and reports facts.
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
mod companions;
mod pipeline;
mod report;
mod scratch;
mod slots;
mod wanted;

pub use pipeline::check;

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_domain::ids::WorkerId;
use clipfleet_service::{clock::Clock, health, telemetry};
use std::{io, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Clips worked on at once.
    pub slots: usize,
    /// The pipeline program.
    pub pipeline: PathBuf,
    /// `auto`, or the name of one encoder.
    pub encoder: String,
    /// Directory under which attempts get theirs.
    pub scratch: PathBuf,
    /// Memory for source blocks shared by the slots, MiB.
    pub cache_mib: u64,
}

/// What every attempt of a worker shares.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) config: Config,
    pub(crate) cloud: Cloud,
    pub(crate) clock: Clock,
    pub(crate) blocks: blocks::Blocks,
    pub(crate) pipelines: pipeline::Pipelines,
    pub(crate) scratch: scratch::Scratch,
}

/// Runs with health endpoints until told to stop. Not ready before the pipeline program has passed its check.
pub async fn run(config: Config, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
    telemetry::metrics();
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
    let id = new_identity()?;
    let capabilities = pipeline::check(&config.pipeline).await?;
    let scratch = scratch::Scratch::open(&config.scratch, id.as_str())?;
    tracing::info!(worker = %id, slots = config.slots, %listen, encoder = config.encoder, "worker ready");
    readiness.ready(
        serde_json::json!({"role": "worker", "worker": id.as_str(), "slots": config.slots, "media": capabilities}),
    );
    let blocks = blocks::Blocks::new(Arc::clone(&cloud.objects), config.cache_mib << 20);
    let pipelines = pipeline::Pipelines::new(config.pipeline.clone());
    let worker = Arc::new(Worker { id, config, cloud, clock: Clock::system(), blocks, pipelines, scratch });
    slots::run(worker, stop).await.map_err(|error: CloudError| io::Error::other(error))
}

/// New at each start: a restarted worker must not be taken for the one before it.
fn new_identity() -> io::Result<WorkerId> {
    WorkerId::parse(&format!("w-{}", Uuid::now_v7().simple())).map_err(io::Error::other)
}
