//! What happened in a run, and what must never happen: each effect is looked at the moment it takes place.
//!
//! The ledger sees the world from outside: published events, written documents, created objects, running media. It knows no role's
//! code, only what people may rely on.

mod documents;
mod work;

pub(crate) use documents::Standing;

use crate::{
    media::{BROKEN, POISON},
    world::count,
};
use clipfleet_cloud::{Fields, ObjectName, Value};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    job::{EventKind, Job},
    lifecycle::{ClipEvent, ClipEventKind},
    limits::MAX_CRASHES,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A clip by the ids of batch and clip.
pub(crate) type ClipKey = (String, String);

/// How long work may go on once its clip's document says that nobody waits for it.
const TO_STOP: Duration = Duration::from_secs(5);

/// How long a process may stand still and count on its leases.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(5);

pub(crate) type Counts = BTreeMap<String, u64>;
type Verdict = Result<(), String>;

/// See the module.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Events published about each clip, in that order.
    pub(crate) events: BTreeMap<ClipKey, Vec<ClipEvent>>,
    /// Jobs set aside and seen by status, by clip, with their generation.
    pub(crate) set_aside: BTreeMap<ClipKey, Vec<u32>>,
    /// What each document says now.
    pub(crate) documents: BTreeMap<String, Fields>,
    /// Clips of the batches that someone was promised.
    pub(crate) promised: BTreeMap<String, Vec<String>>,
    /// Batches that must end as refused.
    pub(crate) refused: Vec<String>,
    objects: BTreeMap<ObjectName, Made>,
    running: BTreeMap<u64, Running>,
    serial: u64,
    work: BTreeMap<(ClipKey, u32), Work>,
    /// Since when nobody waits for a clip, up to which generation.
    unwanted: BTreeMap<ClipKey, (u32, Instant)>,
    excuses: BTreeMap<String, Instant>,
    /// When processes last stood still for longer than they may: from, until.
    stood_still: BTreeMap<String, (Instant, Instant)>,
    /// Since when documents show a later attempt.
    superseded: BTreeMap<String, Instant>,
    /// How often a batch's progress fell.
    falls: BTreeMap<String, i64>,
    /// Disturbances that may each cost any clip an attempt.
    disturbances: u32,
    /// Since when workers are to take nothing new.
    paused_since: Option<Instant>,
    /// The last generation of each clip that a retry asked for, by the records.
    pub(crate) asked: BTreeMap<ClipKey, i64>,
    /// Who wrote the document of the pool's leadership last.
    leader: Option<String>,
    /// When each attempt said that it started.
    began: BTreeMap<String, Instant>,
}

/// An object and what its maker said of it.
struct Made {
    metadata: BTreeMap<String, String>,
    at: Instant,
    times: u32,
    gone: bool,
}

/// Media at work.
#[derive(Clone)]
struct Running {
    process: String,
    attempt: String,
    clip: ClipKey,
    generation: u32,
}

/// How much was done for one generation of a clip.
#[derive(Default)]
struct Work {
    jobs: u32,
    doubled: u32,
    starts: u32,
}

impl Ledger {
    /// A process could not notice anything before now.
    pub(crate) fn excuse(&mut self, process: &str) {
        self.excuses.insert(process.to_owned(), Instant::now());
    }

    /// A process woke that had stood still.
    pub(crate) fn stood_still(&mut self, process: &str, since: Instant) {
        self.disturbances += 1;
        if since.elapsed() > LONGEST_STANDSTILL {
            self.stood_still.insert(process.to_owned(), (since, Instant::now()));
        }
    }

    /// A lease was lost by someone who lives.
    pub(crate) fn lease_lost(&mut self) {
        self.disturbances += 1;
    }

    pub(crate) fn process_ended(&mut self, process: &str) {
        self.disturbances += 1;
        self.running.retain(|_, running| running.process != process);
    }

    /// A message went out.
    pub(crate) fn published(
        &mut self,
        process: &str,
        asked: Instant,
        topic: &str,
        data: &[u8],
        counts: &mut Counts,
    ) -> Verdict {
        match topic {
            names::CLIP_JOBS => {
                let job = job::decode(data).map_err(|bad| format!("a job is {bad}"))?;
                self.work(&job).jobs += 1;
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
                            self.began.entry(attempt.id.to_string()).or_insert(asked);
                            self.still_wanted(process, &clip, event.generation, "tells an event")?;
                            self.still_held(process, attempt.id.as_str(), asked, "tells an event")?;
                        }
                        let events = self.events.entry(clip).or_default();
                        goes_on(process, events, &event)?;
                        events.push(event);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message was handed to someone, perhaps twice.
    pub(crate) fn delivered(&mut self, subscription: &str, data: &[u8], twice: bool, counts: &mut Counts) -> Verdict {
        if subscription == names::CLIP_JOBS_WORKER && twice {
            let job = job::decode(data).map_err(|bad| format!("a job is {bad}"))?;
            self.work(&job).doubled += 1;
        }
        if subscription == names::CLIP_JOBS_DEAD_LETTER_STATUS {
            let job = job::decode(data).map_err(|bad| format!("a dead letter is {bad}"))?;
            count(counts, "a job was set aside");
            self.set_aside.entry(key(&job)).or_default().push(job.generation);
        }
        Ok(())
    }

    /// An object became visible.
    pub(crate) fn object_created(
        &mut self,
        process: &str,
        asked: Instant,
        name: &ObjectName,
        metadata: &BTreeMap<String, String>,
    ) -> Verdict {
        let times = self.objects.get(name).map_or(0, |made| made.times) + 1;
        self.objects.insert(name.clone(), Made { metadata: metadata.clone(), at: Instant::now(), times, gone: false });
        if times > 1 {
            return Err(format!("{process} wrote {name} a second time"));
        }
        if name.object.ends_with(".mp4") {
            let attempt = metadata.get("clipfleet-attempt").map(String::as_str).unwrap_or_default();
            self.still_held(process, attempt, asked, "makes a result visible")?;
            for label in ["clipfleet-manifest", "clipfleet-cover"] {
                let named = metadata.get(label).map(String::as_str).unwrap_or_default();
                let there = self.objects.iter().any(|(name, made)| !made.gone && name.to_string() == named);
                if !there {
                    return Err(format!("{name} became visible and names as {label} {named:?}, which is not there"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn object_deleted(&mut self, name: &ObjectName) -> Verdict {
        let deleted = name.to_string();
        if let Some(made) = self.objects.get_mut(name) {
            made.gone = true;
        }
        let named = self.objects.values().any(|made| made.metadata.values().any(|label| *label == deleted));
        if named || name.object.ends_with(".mp4") {
            return Err(format!("{name} was deleted although it is visible"));
        }
        Ok(())
    }

    /// How often each promised clip was queued and begun, for seeds in which nothing goes wrong.
    pub(crate) fn done_once(&self) -> Verdict {
        for ((clip, generation), work) in &self.work {
            let most = match &clip.1 {
                clip if clip.ends_with(POISON) => MAX_CRASHES,
                // A verdict on the source is believed when a second reading comes to it, too.
                clip if clip.ends_with(BROKEN) => 2,
                _ => 1,
            };
            if work.jobs > 1 || work.starts > most {
                let Work { jobs, starts, .. } = work;
                return Err(format!(
                    "nothing went wrong, yet {clip:?} generation {generation} was queued {jobs} and begun {starts} times"
                ));
            }
        }
        Ok(())
    }

    fn work(&mut self, job: &Job) -> &mut Work {
        self.work.entry((key(job), job.generation)).or_default()
    }
}

/// A later report of progress stands for the earlier ones of its attempt, so it must not say less.
fn goes_on(process: &str, events: &[ClipEvent], event: &ClipEvent) -> Verdict {
    let percent = |event: &ClipEvent| match event.kind {
        ClipEventKind::Progressed { percent, .. } => percent,
        _ => 0,
    };
    let Some(earlier) = events.iter().find(|earlier| event.supersedes(earlier) && percent(earlier) > percent(event))
    else {
        return Ok(());
    };
    Err(format!("{process} tells of {} % after {} % of one attempt", percent(event), percent(earlier)))
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
