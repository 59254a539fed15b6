//! Records the effects of a run and checks each one when it occurs.
//!
//! The checker observes the fleet from outside: published events, written documents, created objects, running media
//! work. It uses no code of the roles, only what clients may rely on.

mod documents;
mod work;

pub(crate) use documents::ClipStatus;

use crate::{
    media::{BROKEN, POISON},
    world::count,
};
use clipfleet_cloud::{Fields, ObjectName, Value};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    clip::Clip,
    job::{EventKind, Job},
    lifecycle::{ClipEvent, ClipEventKind},
    limits::MAX_CRASHES,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The key of a clip: the ids of its batch and of the clip.
pub(crate) type ClipKey = (String, String);

/// How long work may continue after its clip's document made it obsolete.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process may be stalled and still rely on its leases.
const MAX_STALL: Duration = Duration::from_secs(5);

pub(crate) type Counts = BTreeMap<String, u64>;
type CheckResult = Result<(), String>;

/// See the module.
#[derive(Default)]
pub(crate) struct Checker {
    /// Events published about each clip, in the order of publication.
    pub(crate) events: BTreeMap<ClipKey, Vec<ClipEvent>>,
    /// Dead-lettered jobs that status received: their generations, by clip.
    pub(crate) dead_lettered: BTreeMap<ClipKey, Vec<u32>>,
    /// The current content of each document.
    pub(crate) documents: BTreeMap<String, Fields>,
    /// Clips of each accepted batch.
    pub(crate) accepted: BTreeMap<String, Vec<String>>,
    /// Batches that must end as refused.
    pub(crate) refused: Vec<String>,
    objects: BTreeMap<ObjectName, CreatedObject>,
    running: BTreeMap<u64, Running>,
    serial: u64,
    work: BTreeMap<(ClipKey, u32), Work>,
    /// The clip that each output's job asks for.
    requested_clips: BTreeMap<ObjectName, Clip>,
    /// When a clip's generations became obsolete, and up to which generation.
    obsolete: BTreeMap<ClipKey, (u32, Instant)>,
    /// From when a process could react, since its latest call that was slow or failed.
    reaction_from: BTreeMap<String, Instant>,
    /// The latest stall of each process that exceeded the limit: from, until.
    stalls: BTreeMap<String, (Instant, Instant)>,
    /// When documents first showed a later attempt, by the attempt that it replaced.
    superseded: BTreeMap<String, Instant>,
    /// How often the progress of each batch dropped.
    progress_drops: BTreeMap<String, i64>,
    /// Faults that may each cost any clip an attempt.
    faults: u32,
    /// When the pause began in which workers must take no jobs.
    paused_since: Option<Instant>,
    /// The latest generation of each clip that a retry requested, from the records.
    pub(crate) requested: BTreeMap<ClipKey, i64>,
    /// The process that last wrote the document of the pool's leadership.
    leader: Option<String>,
    /// When each attempt reported its start.
    started: BTreeMap<String, Instant>,
}

/// An object and the metadata that it was created with.
struct CreatedObject {
    metadata: BTreeMap<String, String>,
    at: Instant,
    times: u32,
    deleted: bool,
}

/// Media work in progress.
#[derive(Clone)]
struct Running {
    process: String,
    attempt: String,
    clip: ClipKey,
    generation: u32,
}

/// How often one generation of a clip was queued, delivered twice, and started.
#[derive(Default)]
struct Work {
    jobs: u32,
    duplicated: u32,
    starts: u32,
}

impl Checker {
    /// A process could not react before now.
    pub(crate) fn reset_reaction_time(&mut self, process: &str) {
        self.reaction_from.insert(process.to_owned(), Instant::now());
    }

    /// A process continues after a stall.
    pub(crate) fn process_stalled(&mut self, process: &str, since: Instant) {
        self.faults += 1;
        if since.elapsed() > MAX_STALL {
            self.stalls.insert(process.to_owned(), (since, Instant::now()));
        }
    }

    /// A running process lost a lease.
    pub(crate) fn lease_lost(&mut self) {
        self.faults += 1;
    }

    pub(crate) fn process_ended(&mut self, process: &str) {
        self.faults += 1;
        self.running.retain(|_, running| running.process != process);
    }

    /// A message was published.
    pub(crate) fn published(
        &mut self,
        process: &str,
        called_at: Instant,
        topic: &str,
        data: &[u8],
        counts: &mut Counts,
    ) -> CheckResult {
        match topic {
            names::CLIP_JOBS => {
                let job = job::decode(data).map_err(|bad| format!("a job is {bad}"))?;
                self.work(&job).jobs += 1;
                self.requested_clips.insert(output_of(&job), job.clip);
            }
            names::PROGRESS_EVENTS => {
                let event = event::decode(data).map_err(|bad| format!("an event is {bad}"))?;
                let batch = event.batch.id.to_string();
                count(counts, &format!("event {}", event::kind_name(&event)));
                match event.kind {
                    EventKind::BatchQueued { at_ms, clips } => {
                        let queued = ClipEvent { generation: 0, at_ms, attempt: None, kind: ClipEventKind::Queued };
                        for clip in clips {
                            self.events.entry((batch.clone(), clip.to_string())).or_default().push(queued.clone());
                        }
                    }
                    EventKind::BatchRefused { .. } => {}
                    EventKind::Clip { id, event } => {
                        let clip = (batch, id.to_string());
                        if let Some(attempt) = &event.attempt {
                            self.started.entry(attempt.id.to_string()).or_insert(called_at);
                            self.check_not_obsolete(process, &clip, event.generation, "publishes an event")?;
                            self.check_lease_held(process, attempt.id.as_str(), called_at, "publishes an event")?;
                        }
                        let events = self.events.entry(clip).or_default();
                        check_progress_order(process, events, &event)?;
                        events.push(event);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message was delivered, perhaps twice.
    pub(crate) fn delivered(
        &mut self,
        subscription: &str,
        data: &[u8],
        twice: bool,
        counts: &mut Counts,
    ) -> CheckResult {
        if subscription == names::CLIP_JOBS_WORKER && twice {
            let job = job::decode(data).map_err(|bad| format!("a job is {bad}"))?;
            self.work(&job).duplicated += 1;
        }
        if subscription == names::CLIP_JOBS_DEAD_LETTER_STATUS {
            let job = job::decode(data).map_err(|bad| format!("a dead letter is {bad}"))?;
            count(counts, "a job was dead-lettered");
            self.dead_lettered.entry(key(&job)).or_default().push(job.generation);
        }
        Ok(())
    }

    /// An object became visible.
    pub(crate) fn object_created(
        &mut self,
        process: &str,
        called_at: Instant,
        name: &ObjectName,
        metadata: &BTreeMap<String, String>,
    ) -> CheckResult {
        let times = self.objects.get(name).map_or(0, |made| made.times) + 1;
        self.objects.insert(
            name.clone(),
            CreatedObject { metadata: metadata.clone(), at: Instant::now(), times, deleted: false },
        );
        if times > 1 {
            return Err(format!("{process} wrote {name} a second time"));
        }
        if name.object.ends_with(".mp4") {
            let attempt = metadata.get("clipfleet-attempt").map(String::as_str).unwrap_or_default();
            self.check_lease_held(process, attempt, called_at, "makes a result visible")?;
            for label in ["clipfleet-manifest", "clipfleet-cover"] {
                let named = metadata.get(label).map(String::as_str).unwrap_or_default();
                let there = self.objects.iter().any(|(name, made)| !made.deleted && name.to_string() == named);
                if !there {
                    return Err(format!("{name} became visible and names as {label} {named:?}, which does not exist"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn object_deleted(&mut self, name: &ObjectName) -> CheckResult {
        let deleted = name.to_string();
        if let Some(made) = self.objects.get_mut(name) {
            made.deleted = true;
        }
        let named = self.objects.values().any(|made| made.metadata.values().any(|label| *label == deleted));
        if named || name.object.ends_with(".mp4") {
            return Err(format!("{name} was deleted although it is visible"));
        }
        Ok(())
    }

    /// Checks how often each clip was queued and started, for runs without faults.
    pub(crate) fn check_done_once(&self) -> CheckResult {
        for ((clip, generation), work) in &self.work {
            let max_starts = match &clip.1 {
                clip if clip.ends_with(POISON) => MAX_CRASHES,
                // A failure of the source counts only when a second attempt confirms it.
                clip if clip.ends_with(BROKEN) => 2,
                _ => 1,
            };
            if work.jobs > 1 || work.starts > max_starts {
                let Work { jobs, starts, .. } = work;
                return Err(format!(
                    "without faults {clip:?} generation {generation} was queued {jobs} and started {starts} times"
                ));
            }
        }
        Ok(())
    }

    fn work(&mut self, job: &Job) -> &mut Work {
        self.work.entry((key(job), job.generation)).or_default()
    }
}

/// A later progress event replaces the earlier ones of its attempt, so its progress must not be lower.
fn check_progress_order(process: &str, events: &[ClipEvent], event: &ClipEvent) -> CheckResult {
    let percent = |event: &ClipEvent| match event.kind {
        ClipEventKind::Progressed { percent, .. } => percent,
        _ => 0,
    };
    let Some(earlier) = events.iter().find(|earlier| event.supersedes(earlier) && percent(earlier) > percent(event))
    else {
        return Ok(());
    };
    Err(format!("{process} publishes {} % after {} % of the same attempt", percent(event), percent(earlier)))
}

fn output_of(job: &Job) -> ObjectName {
    ObjectName::new(job.output.bucket(), job.output.object())
}

pub(crate) fn key(job: &Job) -> ClipKey {
    (job.batch.id.to_string(), job.clip.id.to_string())
}

pub(crate) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    match fields.get(name) {
        Some(Value::String(text)) => text,
        _ => "",
    }
}

pub(crate) fn integer(fields: &Fields, name: &str) -> i64 {
    match fields.get(name) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}
