//! The mirror: what clips' documents say, in the documents of the product that came before, so that a page which reads those goes on
//! unchanged. Off unless asked for.
//!
//! ```text
//!  writer ── "this clip was written" ──▶ pending (a set) ── once a second ──▶ read clip and job ──▶ one commit per project
//!                                                                                     wizardProcessingJobs/{batch}:{clip}
//!                                                                                     wizardProjects/{project}  clipProcessing.{clip}
//! ```
//! It is best effort and in nobody's way: a task of its own, told of clips by name and never asked to wait. It tells what the stored
//! documents say at the time, so that it need not be told again what it missed, and what several instances write agrees in the end: a job
//! is written only if it is as it was when the clip was read.

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

/// Between two writes of a project's document: what Firestore sustains. Pages of the old product look every five seconds.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Wait after a failed call.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Clips that wait, at most; a hundred bytes each. One more is left out, and told when it is written next. As many as the board keeps.
const PENDING: usize = 20_000;

/// Clips in one commit: their jobs are a write each, of which there may be 500, and one amendment names eight fields of each.
const CLIPS_PER_COMMIT: usize = 200;

/// How long the last round may take when the service stops.
const LAST_ROUND: Duration = Duration::from_secs(3);

type Clips = BTreeSet<(BatchId, ClipId)>;

/// Clips whose mirror may lag, by the project they belong to.
#[derive(Default)]
struct Pending {
    clips: Mutex<BTreeMap<ProjectId, Clips>>,
    more: Notify,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProjectId, Clips>> {
        self.clips.lock()
    }

    fn add(&self, project: &ProjectId, clips: impl IntoIterator<Item = (BatchId, ClipId)>) {
        let mut pending = self.lock();
        let mut room = PENDING.saturating_sub(pending.values().map(BTreeSet::len).sum());
        for clip in clips {
            let known = pending.get(project).is_some_and(|pending_acks| pending_acks.contains(&clip));
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
        self.more.notify_one();
    }
}

/// The running mirror.
pub(crate) struct Mirror {
    pending: Arc<Pending>,
    /// The task ends with it.
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts it.
    pub(crate) fn start(cloud: Cloud) -> Self {
        let (pending, stop) = (Arc::new(Pending::default()), CancellationToken::new());
        let task = tokio::spawn(run(cloud, Arc::clone(&pending), stop.clone()));
        Self { pending, stop: stop.drop_guard(), task }
    }

    /// Clips of a project were written. Returns at once.
    pub(crate) fn add(&self, project: &ProjectId, clips: impl IntoIterator<Item = (BatchId, ClipId)>) {
        self.pending.add(project, clips);
    }

    /// Tells what is left, within reason.
    pub(crate) async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

async fn run(cloud: Cloud, pending: Arc<Pending>, stop: CancellationToken) {
    let late = async {
        stop.cancelled().await;
        sleep(LAST_ROUND).await;
    };
    tokio::select! {
        biased;
        () = follow(&cloud, &pending, &stop) => {}
        () = late => tracing::warn!("the mirror lacks what happened last"),
    }
}

/// Tells of what waits, round by round, until told to stop; then of what is left.
async fn follow(cloud: &Cloud, pending: &Pending, stop: &CancellationToken) {
    loop {
        // In this order, so that a simulation repeats.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = pending.more.notified() => {}
        }
        let rest = if round(cloud, pending).await { WRITE_INTERVAL } else { RETRY_DELAY };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(rest) => {}
        }
    }
    while !pending.lock().is_empty() && round(cloud, pending).await {}
}

/// Tells of every project once. Says whether all went well; what did not, waits again.
async fn round(cloud: &Cloud, pending: &Pending) -> bool {
    let taken = std::mem::take(&mut *pending.lock());
    let mut well = true;
    for (project, mut clips) in taken {
        if let Some(later) = split_at(&mut clips, CLIPS_PER_COMMIT) {
            pending.add(&project, later);
        }
        let mut parts = vec![clips];
        while let Some(mut clips) = parts.pop() {
            match update(cloud, &project, &clips).await {
                Ok(()) => {}
                // Waiting mends nothing, but the fault may be one clip's: the others are told without it.
                Err(error) if error.kind() == ErrorKind::Invalid && clips.len() > 1 => {
                    let half = clips.len() / 2;
                    parts.extend(split_at(&mut clips, half));
                    parts.push(clips);
                }
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    tracing::warn!(%project, ?clips, %error, "clip not mirrored");
                    metrics::counter!("clipfleet_mirror_failures_total").increment(1);
                }
                Err(error) => {
                    tracing::debug!(%project, %error, "clips not mirrored, trying again");
                    metrics::counter!("clipfleet_mirror_failures_total").increment(1);
                    // Another instance told of the same clip, which is no reason to wait for long.
                    well &= matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists);
                    pending.add(&project, clips);
                }
            }
        }
    }
    well
}

/// Takes away those that come after the first so many, if there are any.
fn split_at(clips: &mut Clips, first: usize) -> Option<Clips> {
    clips.iter().nth(first).cloned().map(|clip| clips.split_off(&clip))
}

/// Brings some clips of a project up to date.
async fn update(cloud: &Cloud, project: &ProjectId, clips: &Clips) -> Result<(), CloudError> {
    let clip_paths = clips.iter().map(|(batch, clip)| names::clip_document(batch, clip));
    let job_paths = clips.iter().map(|(batch, clip)| wizard::job_path(batch, clip));
    let found = cloud.documents.get(&clip_paths.chain(job_paths).collect::<Vec<_>>()).await?;
    let (stored, jobs) = found.split_at(clips.len());
    let (mut writes, mut fields) = (Vec::new(), Vec::new());
    for (((batch, clip), stored), job) in clips.iter().zip(stored).zip(jobs) {
        // A document that expired is not mirrored.
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
        // Clipfleet does not create projects, and does not empty one that is full; the jobs are written all the same.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
            tracing::debug!(%project, %error, "a project is not mirrored, its jobs are");
            cloud.documents.commit(writes).await.map(drop)
        }
        amended => amended,
    }
}
