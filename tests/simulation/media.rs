//! Simulated media work: it reads a little of the source, takes its time, reports progress, and ends at random. The
//! name of a clip can determine its end, which is then the same on every worker.

use crate::process::Process;
use async_trait::async_trait;
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{
    failure::{Code, Failure},
    job::Job,
    lifecycle::Encoding,
    progress::Phase,
};
use clipfleet_worker::{Media, MediaResult, Progress, SourceReader};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The media work of one worker process.
pub(crate) struct SimMedia(pub(crate) Arc<Process>);

/// Size of the source, bytes.
pub(crate) const SOURCE_BYTES: usize = 4_096;

/// Clips whose id has this suffix always fail.
pub(crate) const BROKEN: &str = "-broken";
/// Clips whose id has this suffix crash the media process.
pub(crate) const POISON: &str = "-poison";
/// Clips whose id has this suffix have a status document that the store permanently refuses, unless it has only the
/// minimal fields.
pub(crate) const OVERSIZED: &str = "-oversized";
/// Clips whose id has this suffix have a status document that the store always refuses.
pub(crate) const UNSTORABLE: &str = "-unstorable";

/// Media work in progress. It stops when dropped.
struct RunningMedia {
    process: Arc<Process>,
    number: u64,
}

impl Drop for RunningMedia {
    fn drop(&mut self) {
        self.process.world.observe(|checker, _| {
            checker.media_stopped(self.number);
            Ok(())
        });
    }
}

impl RunningMedia {
    /// Works for a while. A frozen process makes no progress.
    async fn work(&self, step: Duration) {
        sleep(step).await;
        self.process.wait_until_running().await;
        self.process.world.observe(|checker, _| checker.media_continues(self.number));
    }
}

#[async_trait]
impl Media for SimMedia {
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult {
        let (process, world) = (&self.0, &self.0.world);
        process.wait_until_running().await;
        let attempt = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        world.trace(&process.name, format_args!("begins {} of {} in {attempt}", job.clip.id, job.batch.id));
        let mut number = 0;
        world.observe(|checker, _| {
            number = checker.media_started(&process.name, job, attempt)?;
            Ok(())
        });
        let media = RunningMedia { process: Arc::clone(process), number };
        // Sometimes long enough to outlast a lease that was lost meanwhile.
        let steps = world.draw(|rng| if rng.u8(..5) == 0 { rng.u32(12..=20) } else { rng.u32(1..=8) });
        let step = world.draw_ms(100, 2_500);
        let end = self.draw_end(job);
        let steps_done = if matches!(end, MediaEnd::Finished) { steps } else { world.draw(|rng| rng.u32(0..=steps)) };
        let encoding = Encoding { encoder: "simulated".into(), ..Encoding::default() };
        progress(Phase::Fetching, 0.5, encoding.clone());
        if let Err(failure) = source.read(0..SOURCE_BYTES as u64).await {
            return MediaResult::Failed(failure);
        }
        for done in 0..steps_done {
            media.work(step).await;
            progress(Phase::Encoding, f64::from(done + 1) / f64::from(steps), encoding.clone());
        }
        match end {
            MediaEnd::Broken => MediaResult::Failed(Failure::new(Code::parse("source_broken"), "simulated failure")),
            MediaEnd::TransientFailure => {
                MediaResult::Failed(Failure::new(Code::SourceUnavailable, "simulated failure"))
            }
            MediaEnd::Crash => MediaResult::Crashed("simulated failure".into()),
            MediaEnd::Finished => {
                progress(Phase::Verifying, 0.5, encoding);
                media.work(Duration::from_millis(300)).await;
                finish(job, directory, attempt)
            }
        }
    }
}

enum MediaEnd {
    Finished,
    Broken,
    TransientFailure,
    Crash,
}

impl SimMedia {
    fn draw_end(&self, job: &Job) -> MediaEnd {
        let world = &self.0.world;
        let clip = job.clip.id.as_str();
        if clip.ends_with(BROKEN) {
            world.count("media: broken source");
            MediaEnd::Broken
        } else if clip.ends_with(POISON) || world.occurs("media: crash by chance", |faults| faults.crash) {
            world.count("media: crash");
            MediaEnd::Crash
        } else if world.occurs("media: transient failure", |faults| faults.transient) {
            MediaEnd::TransientFailure
        } else {
            world.count("media: finished");
            MediaEnd::Finished
        }
    }
}

fn finish(job: &Job, directory: &Path, attempt: &str) -> MediaResult {
    let (file, cover) = ("clip.mp4".to_owned(), "cover.jpg".to_owned());
    for name in [&file, &cover] {
        if let Err(error) = std::fs::write(directory.join(name), attempt) {
            return MediaResult::Failed(Failure::new(Code::ScratchFull, error.to_string()));
        }
    }
    MediaResult::Finished(TranscodeFinished {
        file,
        cover,
        duration_ms: job.clip.window.length_ms(),
        encoder: "simulated".into(),
        manifest: format!("{{\"attempt\":{attempt:?}}}"),
        ..TranscodeFinished::default()
    })
}
