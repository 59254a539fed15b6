//! An export in progress: submits it, shows it, and downloads each clip as soon as it is completed.

use super::{
    files::{ClipFile, Written},
    plan::{self, Plan},
};
use crate::{
    client::Client,
    download,
    exit::Failed,
    output::{
        progress::Progress,
        text,
        view::{self, ClipState, ClipView, Work},
    },
};
use clipfleet_cloud::Cloud;
use clipfleet_contract::v1::{BatchStatus, ClipStatus};
use serde_json::Value;
use std::{collections::HashMap, fs, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// The interval between two updates of the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// An export, its files, and how far it is.
pub(crate) struct Export {
    pub(super) plan: Plan,
    pub(super) data: PathBuf,
    pub(super) progress: Progress,
    pub(super) is_submitted: bool,
    written: Written,
    /// The clips whose files are in place, and whether they were there before.
    downloaded: HashMap<String, Work>,
}

/// The end of an export.
pub(crate) struct Ended {
    pub(super) raw: Value,
    pub(super) status: BatchStatus,
    pub(super) clips: Vec<ClipView>,
    pub(super) elapsed: Duration,
}

impl Export {
    pub(super) fn new(plan: Plan, data: PathBuf, progress: Progress) -> Self {
        let written = Written::load(&data);
        Self { plan, data, progress, is_submitted: false, written, downloaded: HashMap::new() }
    }

    pub(super) fn batch(&self) -> &str {
        &self.plan.request.batch_id
    }

    /// "2 of 5 clips done in clips/".
    pub(super) fn done_text(&self) -> String {
        let all = text::plural(self.plan.files.len(), "clip");
        format!("{} of {all} done in {}", self.downloaded.len(), plan::directory(&self.plan.out))
    }

    /// Submits the request; a repeated one changes nothing. If `again`, clips that were cancelled or failed are made
    /// again.
    pub(super) async fn submit(&mut self, client: &Client, again: bool) -> Result<(), Failed> {
        let accepted = client.submit(&self.plan.request).await?;
        self.plan.request.batch_id = accepted.batch_id;
        self.is_submitted = true;
        let out = &self.plan.out;
        fs::create_dir_all(out).map_err(|error| Failed::because(format!("create {}", out.display()), error))?;
        if again {
            let (_, status) = client.show(self.batch()).await?;
            if status.clips.iter().any(|clip| matches!(clip.status.as_str(), "cancelled" | "failed")) {
                client.act(self.batch(), None, "retry").await?;
            }
        }
        Ok(())
    }

    /// Shows progress and downloads, until all clips have ended.
    pub(super) async fn follow(&mut self, client: &Client, cloud: Option<&Cloud>) -> Result<Ended, Failed> {
        let started = Instant::now();
        loop {
            let (raw, mut status) = client.show(self.batch()).await?;
            // The documents are ordered by id, and the clips by the request.
            let position = |clip: &ClipStatus| self.plan.files.iter().position(|file| file.clip == clip.clip_id);
            status.clips.sort_by_key(position);
            for clip in status.clips.iter().filter(|clip| clip.status == "completed") {
                if !self.downloaded.contains_key(&clip.clip_id) {
                    self.fetch(client, cloud, clip).await?;
                }
            }
            let clips = self.view(&status);
            self.progress.show(&clips);
            if view::is_terminal(&status.status) {
                return Ok(Ended { raw, status, clips, elapsed: started.elapsed() });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Brings the file of a completed clip into place. One that is there already is left as it is.
    async fn fetch(&mut self, client: &Client, cloud: Option<&Cloud>, clip: &ClipStatus) -> Result<(), Failed> {
        let Some(file) = self.plan.files.iter().find(|file| file.clip == clip.clip_id) else { return Ok(()) };
        let work = if self.written.is_unchanged(file) {
            Work::Unchanged
        } else {
            download::clip(client, cloud, clip, &file.path).await?;
            self.written.add(file, &self.data)?;
            Work::Reused
        };
        self.downloaded.insert(clip.clip_id.clone(), work);
        Ok(())
    }

    fn view(&self, status: &BatchStatus) -> Vec<ClipView> {
        let length = |clip: &str| self.plan.files.iter().find(|file| file.clip == clip).map(|file| file.length_ms);
        let mut clips = view::clips(status, length);
        for clip in &mut clips {
            if let ClipState::Done { work, .. } = &mut clip.state
                && self.downloaded.get(&clip.name) == Some(&Work::Unchanged)
            {
                *work = Work::Unchanged;
            }
        }
        if clips.is_empty() {
            let queued = |file: &ClipFile| ClipView {
                name: file.clip.clone(),
                length_ms: Some(file.length_ms),
                state: ClipState::Queued,
            };
            clips = self.plan.files.iter().map(queued).collect();
        }
        clips
    }
}
