//! Media work without media: it reads a little of the source, takes its time, reports, and ends as chance has it. A clip may be
//! doomed: its making then always ends the same way, whoever tries.

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

/// The media of one worker process.
pub(crate) struct SimMedia(pub(crate) Arc<Process>);

/// Bytes of the source.
pub(crate) const SOURCE_BYTES: usize = 4_096;

/// Clips whose name ends so cannot be made.
pub(crate) const BROKEN: &str = "-broken";
/// Clips whose name ends so kill whoever makes them.
pub(crate) const POISON: &str = "-poison";
/// Clips whose name ends so have a status document that the store refuses for good as soon as it says more than the
/// least.
pub(crate) const OVERSIZED: &str = "-oversized";
/// Clips whose name ends so have a status document that the store refuses for good, whatever it says.
pub(crate) const UNSTORABLE: &str = "-unstorable";

/// Media at work; at rest when dropped.
struct AtWork {
    process: Arc<Process>,
    number: u64,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.process.world.observe(|ledger, _| {
            ledger.media_stopped(self.number);
            Ok(())
        });
    }
}

impl AtWork {
    /// Works for a while. A frozen process does not.
    async fn on(&self, step: Duration) {
        sleep(step).await;
        self.process.runs().await;
        self.process.world.observe(|ledger, _| ledger.media_goes_on(self.number));
    }
}

#[async_trait]
impl Media for SimMedia {
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult {
        let (process, world) = (&self.0, &self.0.world);
        process.runs().await;
        let attempt = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        world.trace(&process.name, format_args!("begins {} of {} in {attempt}", job.clip.id, job.batch.id));
        let mut number = 0;
        world.observe(|ledger, _| {
            number = ledger.media_started(&process.name, job, attempt)?;
            Ok(())
        });
        let work = AtWork { process: Arc::clone(process), number };
        // Now and then long enough to outlive a lease that was lost on the way.
        let steps = world.draw(|rng| if rng.u8(..5) == 0 { rng.u32(12..=20) } else { rng.u32(1..=8) });
        let step = world.draw_ms(100, 2_500);
        let end = self.draw_end(job);
        let last = if matches!(end, End::Made) { steps } else { world.draw(|rng| rng.u32(0..=steps)) };
        let encoding = Encoding { encoder: "simulated".into(), ..Encoding::default() };
        progress(Phase::Fetching, 0.5, encoding.clone());
        if let Err(failure) = source.read(0..SOURCE_BYTES as u64).await {
            return MediaResult::Failed(failure);
        }
        for done in 0..last {
            work.on(step).await;
            progress(Phase::Encoding, f64::from(done + 1) / f64::from(steps), encoding.clone());
        }
        match end {
            End::Broken => MediaResult::Failed(Failure::new(Code::parse("source_broken"), "made up by the simulation")),
            End::NotNow => MediaResult::Failed(Failure::new(Code::SourceUnavailable, "made up by the simulation")),
            End::Crash => MediaResult::Crashed("made up by the simulation".into()),
            End::Made => {
                progress(Phase::Verifying, 0.5, encoding);
                work.on(Duration::from_millis(300)).await;
                finish(job, directory, attempt)
            }
        }
    }
}

enum End {
    Made,
    Broken,
    NotNow,
    Crash,
}

impl SimMedia {
    fn draw_end(&self, job: &Job) -> End {
        let world = &self.0.world;
        let clip = job.clip.id.as_str();
        if clip.ends_with(BROKEN) {
            world.count("media: broken source");
            End::Broken
        } else if clip.ends_with(POISON) || world.happens("media: crash by chance", |weather| weather.crash) {
            world.count("media: crash");
            End::Crash
        } else if world.happens("media: transient failure", |weather| weather.transient) {
            End::NotNow
        } else {
            world.count("media: made");
            End::Made
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
