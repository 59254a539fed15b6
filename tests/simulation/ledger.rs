//! What happened in a run, and what must never happen: each effect is looked at the moment it takes place.
//!
//! The ledger sees the world from outside: published facts, written documents, created objects, running media. It knows no role's
//! code, only what people may rely on.

use crate::{media::POISON, world::count};
use clipfleet_cloud::{Fields, ObjectName, Value, Write};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    job::{FleetFact, Job},
    lifecycle::{ClipEvent, ClipFact, State},
    limits::{MAX_CRASHES, MAX_POSTPONEMENTS},
    rendition::{by_name, name_of},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A clip by the ids of batch and clip.
pub(crate) type ClipKey = (String, String);

/// How long work may go on once its clip's document says that nobody waits for it.
const TO_STOP: Duration = Duration::from_secs(5);

/// How long a process may stand still and count on its leases.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(5);

/// How long media may go on in a process that stood still for longer: it feels its pulse every second.
const TO_FEEL: Duration = Duration::from_millis(1_500);

/// Attempts that a clip may cost by itself, and as many again while nobody counts because status is away.
const MOST_ATTEMPTS: u32 = 2 * (MAX_CRASHES + MAX_POSTPONEMENTS);

pub(crate) type Counts = BTreeMap<String, u64>;
type Verdict = Result<(), String>;

/// See the module.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Facts published about each clip, in that order.
    pub(crate) facts: BTreeMap<ClipKey, Vec<ClipEvent>>,
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
    /// The sum of its clips' generations when a batch was last written.
    generations: BTreeMap<String, i64>,
    /// Disturbances that may each cost any clip an attempt.
    disturbances: u32,
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
                let event = event::decode(data).map_err(|bad| format!("a fact is {bad}"))?;
                let batch = event.batch.id.to_string();
                count(counts, &format!("fact {}", event::kind(&event)));
                match event.fact {
                    FleetFact::BatchQueued { at_ms, clips } => {
                        let queued = ClipEvent { generation: 0, at_ms, attempt: None, fact: ClipFact::Queued };
                        for clip in clips {
                            self.facts.entry((batch.clone(), clip.to_string())).or_default().push(queued.clone());
                        }
                    }
                    FleetFact::BatchRefused { .. } => {}
                    FleetFact::Clip { id, event } => {
                        let clip = (batch, id.to_string());
                        if let Some(attempt) = &event.attempt {
                            self.began.entry(attempt.id.to_string()).or_insert(asked);
                            self.still_wanted(process, &clip, event.generation, "tells a fact")?;
                            self.still_held(process, attempt.id.as_str(), asked, "tells a fact")?;
                        }
                        self.facts.entry(clip).or_default().push(event);
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

    /// Media work began; the number by which it ends.
    pub(crate) fn media_started(&mut self, process: &str, job: &Job, attempt: &str) -> Result<u64, String> {
        let clip = key(job);
        self.still_wanted(process, &clip, job.generation, "starts media")?;
        let Some(began) = self.began.get(attempt) else {
            return Err(format!("{process} works on {clip:?} in {attempt}, of which nobody was told"));
        };
        let output = ObjectName::new(job.output.bucket(), job.output.object());
        if self.objects.get(&output).is_some_and(|made| *began > made.at) {
            return Err(format!("{process} makes {output} again, which was there before {attempt} began"));
        }
        let disturbances = self.disturbances;
        let work = self.work(job);
        work.starts += 1;
        let most = MOST_ATTEMPTS + work.doubled + disturbances;
        if work.starts > most {
            return Err(format!("{clip:?} was begun {} times, more than {most}", work.starts));
        }
        self.serial += 1;
        let generation = job.generation;
        let (process, attempt) = (process.to_owned(), attempt.to_owned());
        self.running.insert(self.serial, Running { process, attempt, clip, generation });
        Ok(self.serial)
    }

    /// Media work goes on.
    pub(crate) fn media_goes_on(&self, number: u64) -> Verdict {
        let Some(Running { process, attempt, clip, generation }) = self.running.get(&number) else { return Ok(()) };
        self.still_wanted(process, clip, *generation, "goes on with media")?;
        let felt = Instant::now().checked_sub(TO_FEEL).unwrap_or_else(Instant::now);
        self.still_held(process, attempt, felt, "goes on with media")
    }

    pub(crate) fn media_stopped(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// Media of processes that are alive is at work.
    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty()
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

    /// Documents were written together.
    pub(crate) fn written(&mut self, writes: &[Write], counts: &mut Counts) -> Verdict {
        // Clips first: what a batch says is looked at beside what its clips say by then.
        let (batches, others): (Vec<_>, Vec<_>) = writes.iter().partition(|write| write.path.split('/').count() == 2);
        for Write { path, fields, .. } in others.into_iter().chain(batches) {
            let before = self.documents.insert(path.clone(), fields.clone());
            let segments: Vec<&str> = path.split('/').collect();
            match segments[..] {
                [names::BATCHES, batch, "clips", clip] => {
                    self.clip_written(&(batch.to_owned(), clip.to_owned()), before.as_ref(), fields, counts)?;
                }
                [names::BATCHES, batch] => self.batch_written(batch, before.as_ref(), fields)?,
                [names::REQUESTS, _] => record_written(path, before.as_ref(), fields)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn clip_written(
        &mut self,
        clip: &ClipKey,
        before: Option<&Fields>,
        fields: &Fields,
        counts: &mut Counts,
    ) -> Verdict {
        let now = Standing::read(fields)?;
        let was = before.map(Standing::read).transpose()?;
        let names = (was.as_ref().map_or("none", Standing::name), now.name());
        if was.as_ref().is_none_or(|was| (was.state, was.generation) != (now.state, now.generation)) {
            let again = was.as_ref().is_some_and(|was| was.generation < now.generation);
            count(counts, &format!("{} -> {}{}", names.0, names.1, if again { " (retried)" } else { "" }));
        }
        if let Some(was) = was {
            let what = format!("the document of {clip:?} went from {was:?} to {now:?}");
            if now.generation < was.generation {
                return Err(format!("{what}: back to an earlier generation"));
            }
            if now.generation == was.generation && now.percent < was.percent {
                return Err(format!("{what}: progress fell"));
            }
            if now.generation == was.generation && was.state.is_terminal() && now.state != was.state {
                return Err(format!("{what}: an end was not the end"));
            }
        }
        let attempt = text(fields, "attemptId");
        let shown = before.map_or("", |before| text(before, "attemptId"));
        if shown != attempt && !shown.is_empty() {
            count(counts, "a later attempt took over");
            self.superseded.entry(shown.to_owned()).or_insert_with(Instant::now);
        }
        self.was_published(clip, now)?;
        let ended = now.state.is_terminal();
        let until = if ended { Some(now.generation) } else { now.generation.checked_sub(1) };
        if let Some(until) = until
            && self.unwanted.get(clip).is_none_or(|(known, _)| *known < until)
        {
            self.unwanted.insert(clip.clone(), (until, Instant::now()));
        }
        if now.state == State::Completed {
            let uri = text(fields, "outputUri");
            let there = self.objects.iter().any(|(name, made)| name.to_string() == uri && !made.gone);
            if !there {
                return Err(format!("{clip:?} is completed with {uri:?}, which is not there"));
            }
        }
        Ok(())
    }

    fn batch_written(&mut self, batch: &str, before: Option<&Fields>, fields: &Fields) -> Verdict {
        let clips = format!("{}/{batch}/clips/", names::BATCHES);
        let clips = self.documents.iter().filter(|(path, _)| path.starts_with(&clips));
        let generations = clips.map(|(_, fields)| integer(fields, names::GENERATION)).sum();
        let known = self.generations.insert(batch.to_owned(), generations);
        let (was, now) = (before.map_or(0, |before| integer(before, "progress")), integer(fields, "progress"));
        if now < was && known == Some(generations) {
            return Err(format!("the progress of batch {batch} fell from {was} to {now}, though no clip started over"));
        }
        Ok(())
    }

    /// A document says nothing that nobody said.
    fn was_published(&self, clip: &ClipKey, now: Standing) -> Verdict {
        let facts = self.facts.get(clip).into_iter().flatten().filter(|event| event.generation == now.generation);
        let (mut percent, mut said) = (0, now.state == State::Queued);
        for event in facts {
            said |= match &event.fact {
                ClipFact::Completed { .. } => now.state == State::Completed,
                ClipFact::Failed(_) => now.state == State::Failed,
                ClipFact::Cancelled => now.state == State::Cancelled,
                ClipFact::Queued => false,
                _ => now.state == State::Processing,
            };
            match &event.fact {
                ClipFact::Progressed { percent: told, .. } => percent = percent.max(*told),
                ClipFact::Completed { .. } => percent = 100,
                _ => {}
            }
        }
        said |= now.state == State::Failed && self.set_aside.get(clip).is_some_and(|it| it.contains(&now.generation));
        if !said || now.percent > i64::from(percent) {
            return Err(format!("the document of {clip:?} says {now:?}, which no fact says"));
        }
        Ok(())
    }

    /// Nothing is done for a clip that nobody waits for, but for a moment that it takes to notice.
    fn still_wanted(&self, process: &str, clip: &ClipKey, generation: u32, does: &str) -> Verdict {
        let Some((until, since)) = self.unwanted.get(clip) else { return Ok(()) };
        let known = self.excuses.get(process).map_or(*since, |excuse| *excuse.max(since));
        let late = known.elapsed();
        if *until < generation || late <= TO_STOP {
            return Ok(());
        }
        Err(format!("{process} {does} for {clip:?} generation {generation}, which nobody wants since {late:?}"))
    }

    /// Nothing is done by an attempt whose lease is another's, once it can know. `asked` is when it set out to do it.
    fn still_held(&self, process: &str, attempt: &str, asked: Instant, does: &str) -> Verdict {
        let began = self.began.get(attempt);
        if let Some((since, until)) = self.stood_still.get(process)
            && began.is_some_and(|began| began < since)
            && asked > *until
        {
            return Err(format!(
                "{process} {does} in {attempt}, although it stood still for {:?} since that began",
                *until - *since
            ));
        }
        if let Some(since) = self.superseded.get(attempt) {
            let known = self.excuses.get(process).map_or(*since, |excuse| *excuse.max(since));
            if known.elapsed() > TO_STOP {
                return Err(format!(
                    "{process} {does} in {attempt}, although a later attempt shows since {:?}",
                    known.elapsed()
                ));
            }
        }
        Ok(())
    }

    /// How often each promised clip was queued and begun, for seeds in which nothing goes wrong.
    pub(crate) fn done_once(&self) -> Verdict {
        for ((clip, generation), work) in &self.work {
            let most = if clip.1.ends_with(POISON) { MAX_CRASHES } else { 1 };
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

/// What was accepted stays: same request, same source, and never undispatched.
fn record_written(path: &str, before: Option<&Fields>, fields: &Fields) -> Verdict {
    let Some(before) = before else { return Ok(()) };
    for field in ["digest", "request", "sourceGeneration", "acceptedAtMs"] {
        if before.get(field) != fields.get(field) {
            return Err(format!("{path}: {field} of an accepted request was changed"));
        }
    }
    if before.get("dispatched") == Some(&Value::Bool(true)) && fields.get("dispatched") != Some(&Value::Bool(true)) {
        return Err(format!("{path}: a dispatched batch is to be dispatched again"));
    }
    Ok(())
}

pub(crate) fn key(job: &Job) -> ClipKey {
    (job.batch.id.to_string(), job.clip.id.to_string())
}

/// What people read first in a clip's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) percent: i64,
    pub(crate) generation: u32,
}

impl Standing {
    pub(crate) fn read(fields: &Fields) -> Result<Self, String> {
        let state = by_name(&State::ALL, text(fields, names::STATUS)).map_err(|reason| format!("status {reason}"))?;
        let (percent, generation) = (integer(fields, "progress"), integer(fields, names::GENERATION));
        Ok(Self { state, percent, generation: u32::try_from(generation).map_err(|error| error.to_string())? })
    }

    fn name(&self) -> &'static str {
        name_of(&State::ALL, self.state)
    }
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
