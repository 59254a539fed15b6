//! What every attempt of a worker shares.

use crate::{blocks, cooldown, lease, media::Media, scratch};
use clipfleet_cloud::{Cloud, LinkKind, Links};
use clipfleet_domain::{
    access::AccessPolicy,
    cost::SlotPrice,
    failure::{Code, Failure},
    ids::{AttemptId, BadId, WorkerId},
    job::Job,
};
use clipfleet_service::clock::Clock;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a worker is given by the process that runs it.
pub struct Dependencies {
    /// Its identity.
    pub id: WorkerId,
    /// The queue it leases from and reports to, the objects it reads and creates, the documents it reads.
    pub cloud: Cloud,
    /// The time of day.
    pub clock: Clock,
    /// How long the machine has slept in all: none of it shows on the runtime's timer.
    pub sleep_clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Makes clips.
    pub media: Arc<dyn Media>,
    /// Clips made at once.
    pub slots: usize,
    /// Directory in which the worker creates its own.
    pub scratch: PathBuf,
    /// Memory for source blocks shared by the slots, MiB.
    pub cache_mib: u64,
    /// What a slot costs.
    pub price: SlotPrice,
    /// The kind of links to results; `None` chooses by bucket.
    pub links: Option<LinkKind>,
    /// What owners may use; `None` if only the dispatcher checks it.
    pub access: Option<AccessPolicy>,
}

/// What every attempt of a worker shares.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) slots: usize,
    pub(crate) price: SlotPrice,
    pub(crate) links: Links,
    pub(crate) access: Option<AccessPolicy>,
    pub(crate) cloud: Cloud,
    pub(crate) clock: Clock,
    pub(crate) blocks: blocks::Blocks,
    pub(crate) media: Arc<dyn Media>,
    pub(crate) scratch: scratch::Scratch,
    pub(crate) stall_detector: Arc<lease::StallDetector>,
    pub(crate) cooldown: cooldown::Cooldown,
    attempts: AtomicU64,
}

impl Worker {
    /// Starts the worker's stall detector, which runs until the returned ticker is dropped.
    pub(crate) fn new(dependencies: Dependencies, scratch: scratch::Scratch) -> (Self, lease::Ticker) {
        let Dependencies { id, cloud, clock, sleep_clock, media, slots, cache_mib, price, links, access, .. } =
            dependencies;
        let links = Links::new(Arc::clone(&cloud.objects), links);
        let blocks = blocks::Blocks::new(Arc::clone(&cloud.objects), cache_mib << 20);
        let (stall_detector, ticker) = lease::StallDetector::start(sleep_clock);
        let (cooldown, attempts) = (cooldown::Cooldown::default(), AtomicU64::new(0));
        let worker = Self {
            id,
            slots,
            price,
            links,
            access,
            cloud,
            clock,
            blocks,
            media,
            scratch,
            stall_detector,
            cooldown,
            attempts,
        };
        (worker, ticker)
    }

    /// Fails if the owner of a job may not use its source or its output. The dispatcher has checked this, too; but jobs
    /// come from a queue, and the worker itself may read and write more than any owner.
    pub(crate) fn check_access(&self, job: &Job) -> Result<(), Failure> {
        let Some(access) = &self.access else { return Ok(()) };
        let owner = &job.batch.owner;
        let refuse = |code, name: &str, reason| {
            let remedy = "adapt CLIPFLEET_SOURCES and CLIPFLEET_OUTPUTS of dispatcher and workers to one another";
            Failure::new(code, format!("{name} {reason}; if the dispatcher allowed it, {remedy}"))
        };
        let source = access.check_source(owner, &job.source.uri);
        source.map_err(|reason| refuse(Code::SourceForbidden, "source.uri", reason))?;
        let output = access.check_output(owner, &job.output);
        output.map_err(|reason| refuse(Code::OutputForbidden, "the output", reason))
    }

    /// A unique id, since the worker's identity is unique; it begins with its time, so that later ids compare greater.
    pub(crate) fn new_attempt(&self) -> Result<AttemptId, BadId> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        AttemptId::parse(&format!("a-{:012x}-{number}-{}", self.clock.now_ms(), self.id))
    }
}
