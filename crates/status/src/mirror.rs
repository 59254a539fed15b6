//! The mirror copies the status of clips into the documents of the legacy product, so that pages that read those work
//! unchanged. It is disabled by default.
//!
//! ```text
//!  writer ── written clip ──▶ pending (a set) ── once a second ──▶ read clip and job ──▶ one commit per project
//!                                                                          wizardProcessingJobs/{batch}:{clip}
//!                                                              wizardProjects/{project}, field clipProcessing.{clip}
//! ```
//!
//! The mirror is best effort and never blocks the writer: it runs in a task of its own and receives only the ids of
//! clips. It copies the stored documents, so that it catches up after a failure, and a burst costs one write. Several
//! instances converge: a job is written only if it is unchanged since the clip was read. Of a project only single
//! fields are written (an update mask), because the rest of its document belongs to the legacy product.

#[cfg(test)]
mod tests;

use clipfleet_cloud::{Amendment, Cloud, CloudError, ErrorKind, Precondition, Write};
use clipfleet_contract::{
    documents::{clip::ClipDocument, wizard},
    names,
};
use clipfleet_domain::ids::{BatchId, ClipId, ProjectId};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The interval between two writes of a project's document: Firestore sustains one a second. Pages of the legacy
/// product poll every five seconds.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The wait after a failed call.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// The maximum number of pending clips, a hundred bytes each: as many as the cache holds. Further clips are left out,
/// and mirrored when they are written next.
const MAX_PENDING: usize = 20_000;

/// The maximum number of clips in one commit. Each is one write, of which there may be 500, and eight fields of an
/// amendment.
const CLIPS_PER_COMMIT: usize = 200;

/// The longest time for the last round when the service stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

type Clips = BTreeSet<(BatchId, ClipId)>;

/// Clips that must be mirrored, by project.
#[derive(Default)]
struct Pending {
    clips: Mutex<BTreeMap<ProjectId, Clips>>,
    added: Notify,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProjectId, Clips>> {
        self.clips.lock()
    }

    fn add(&self, project: &ProjectId, clips: impl IntoIterator<Item = (BatchId, ClipId)>) {
        let mut pending = self.lock();
        let mut room = MAX_PENDING.saturating_sub(pending.values().map(BTreeSet::len).sum());
        for clip in clips {
            let known = pending.get(project).is_some_and(|clips| clips.contains(&clip));
            if known {
                continue;
            }
            if room == 0 {
                metrics::counter!("clipfleet_mirror_left_out_total").increment(1);
                continue;
            }
            pending.entry(project.clone()).or_default().insert(clip);
            room -= 1;
        }
        drop(pending);
        self.added.notify_one();
    }
}

/// The running mirror.
pub(crate) struct Mirror {
    pending: Arc<Pending>,
    /// Stops the task when dropped.
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts the mirror.
    pub(crate) fn start(cloud: Cloud) -> Self {
        let (pending, stop) = (Arc::new(Pending::default()), CancellationToken::new());
        let task = tokio::spawn(run(cloud, Arc::clone(&pending), stop.clone()));
        Self { pending, stop: stop.drop_guard(), task }
    }

    /// Adds clips of a project that were written. Does not block.
    pub(crate) fn add(&self, project: &ProjectId, clips: impl IntoIterator<Item = (BatchId, ClipId)>) {
        self.pending.add(project, clips);
    }

    /// Mirrors the pending clips, within [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

async fn run(cloud: Cloud, pending: Arc<Pending>, stop: CancellationToken) {
    let timed_out = async {
        stop.cancelled().await;
        sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        () = run_rounds(&cloud, &pending, &stop) => {}
        () = timed_out => tracing::warn!("the mirror lacks the latest changes"),
    }
}

/// Mirrors pending clips in rounds until told to stop, and then the remaining ones.
async fn run_rounds(cloud: &Cloud, pending: &Pending, stop: &CancellationToken) {
    loop {
        // Biased, so that a simulation is reproducible.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = pending.added.notified() => {}
        }
        let delay = if round(cloud, pending).await { WRITE_INTERVAL } else { RETRY_DELAY };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(delay) => {}
        }
    }
    while !pending.lock().is_empty() && round(cloud, pending).await {}
}

/// Mirrors the pending clips of every project once. Returns whether all calls succeeded; clips of failed calls are
/// pending again.
async fn round(cloud: &Cloud, pending: &Pending) -> bool {
    let taken = std::mem::take(&mut *pending.lock());
    let mut succeeded = true;
    for (project, mut clips) in taken {
        if let Some(later) = split_off(&mut clips, CLIPS_PER_COMMIT) {
            pending.add(&project, later);
        }
        let mut parts = vec![clips];
        while let Some(mut clips) = parts.pop() {
            match update(cloud, &project, &clips).await {
                Ok(()) => {}
                // The error is permanent, but one clip may be at fault: the others are mirrored without it.
                Err(error) if error.kind() == ErrorKind::Invalid && clips.len() > 1 => {
                    let half = clips.len() / 2;
                    parts.extend(split_off(&mut clips, half));
                    parts.push(clips);
                }
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    tracing::warn!(%project, ?clips, %error, "clip not mirrored");
                    metrics::counter!("clipfleet_mirror_failures_total").increment(1);
                }
                Err(error) => {
                    tracing::debug!(%project, %error, "clips not mirrored, trying again");
                    metrics::counter!("clipfleet_mirror_failures_total").increment(1);
                    // If another instance mirrored the same clip, the retry does not have to wait.
                    succeeded &= matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists);
                    pending.add(&project, clips);
                }
            }
        }
    }
    succeeded
}

/// Splits off the clips behind the first `count`, if there are any.
fn split_off(clips: &mut Clips, count: usize) -> Option<Clips> {
    clips.iter().nth(count).cloned().map(|clip| clips.split_off(&clip))
}

/// Mirrors some clips of a project.
async fn update(cloud: &Cloud, project: &ProjectId, clips: &Clips) -> Result<(), CloudError> {
    let clip_paths = clips.iter().map(|(batch, clip)| names::clip_document(batch, clip));
    let job_paths = clips.iter().map(|(batch, clip)| wizard::job_path(batch, clip));
    let found = cloud.documents.get(&clip_paths.chain(job_paths).collect::<Vec<_>>()).await?;
    let (stored, jobs) = found.split_at(clips.len());
    let (mut writes, mut fields) = (Vec::new(), Vec::new());
    for (((batch, clip), stored), job) in clips.iter().zip(stored).zip(jobs) {
        // A clip whose document has expired is not mirrored.
        let Some(document) = stored.as_ref().and_then(ClipDocument::from_document) else { continue };
        let job_fields = wizard::job_fields(&document);
        if job.as_ref().is_some_and(|job| job.fields == job_fields) {
            continue;
        }
        fields.extend(wizard::project_fields(&document));
        let path = wizard::job_path(batch, clip);
        let precondition = job.as_ref().map_or(Precondition::Absent, |job| Precondition::Unchanged(job.version));
        writes.push(Write { path, fields: job_fields, precondition });
    }
    if writes.is_empty() {
        return Ok(());
    }
    let amendment = Amendment { path: wizard::project_path(project), fields };
    match cloud.documents.amend(writes.clone(), amendment).await {
        // The project does not exist, or its document is full. Clipfleet creates no projects, so only the jobs are
        // written.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
            tracing::debug!(%project, %error, "project not mirrored, only its jobs");
            cloud.documents.commit(writes).await.map(drop)
        }
        amended => amended,
    }
}
