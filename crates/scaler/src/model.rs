//! A fleet in virtual time: batches arrive, instances start slowly, process clips and are stopped, as this scaler or
//! another controller decides. It answers what a policy costs and how long clients wait, without a cloud.
//!
//! Its assumptions are in [`Fleet`] and [`Demand`]. Beyond them, three things are random: which instance is stopped
//! (any, as on Cloud Run), and by how much the duration of a cold start or of a clip differs from its mean.

mod controllers;
mod demand;
mod report;
#[cfg(test)]
mod tests;

pub use controllers::{Controller, Crema, InBand};
pub use demand::Demand;
pub use report::{Report, table};

use crate::{
    decide::Load,
    work::{FIXED_SECONDS, Speed, Work},
};
use clipfleet_domain::rendition::Rendition;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

/// How instances behave.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Clips that one instance processes at once.
    pub slots: u32,
    /// From the request for an instance until it takes clips, seconds; varies randomly by a fifth.
    pub cold_start_seconds: f64,
    /// Slot-seconds per second of clip, in addition to the fixed second per clip; varies randomly by a fifth.
    pub rate: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// From a change in the fleet until the scaler receives it, milliseconds: two messages and a document.
const EVENT_DELAY_MS: i64 = 200;
/// From a scale call until instances start or stop, milliseconds.
const CALL_DELAY_MS: i64 = 1_000;
/// From the end of a worker until its clip is delivered again, milliseconds: the clip is handed back and the queue
/// backs off.
const REDELIVERY_DELAY_MS: i64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    Ready(u64),
    Done {
        worker: u64,
        slot: usize,
        run: u64,
    },
    /// An interrupted clip is delivered again.
    Redeliver(Clip),
    Poll,
    Decide,
    Set(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Clip {
    batch: usize,
    length_ms: i64,
    submitted_ms: i64,
    /// An attempt at it has started before.
    redelivered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    id: u64,
    clip: Clip,
    started_ms: i64,
    takes_ms: i64,
}

#[derive(Debug)]
struct Worker {
    requested_ms: i64,
    ready_ms: Option<i64>,
    slots: Vec<Option<Run>>,
}

/// The state that a controller decides from.
#[derive(Debug)]
pub struct View {
    /// Milliseconds since the start.
    pub now_ms: i64,
    /// The number of instances requested last.
    pub target: u32,
    /// The load, as the scaler computes it.
    pub load: Load,
    /// Slot-seconds of clips that completed since the last decision.
    pub served_seconds: f64,
}

struct World<'a> {
    fleet: &'a Fleet,
    demand: &'a Demand,
    random: fastrand::Rng,
    now_ms: i64,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    sequence: u64,
    waiting: VecDeque<Clip>,
    waiting_ms: i64,
    workers: BTreeMap<u64, Worker>,
    target: u32,
    speed: Speed,
    served_seconds: f64,
    /// Unfinished clips of each batch.
    unfinished: Vec<usize>,
    report: Report,
}

/// Simulates a fleet under a demand and a controller, until the demand's period is over and all its clips are done.
pub fn run(fleet: &Fleet, demand: &Demand, controller: &mut dyn Controller) -> Report {
    let mut world = World {
        fleet,
        demand,
        random: fastrand::Rng::with_seed(fleet.seed),
        now_ms: 0,
        events: BinaryHeap::new(),
        sequence: 0,
        waiting: VecDeque::new(),
        waiting_ms: 0,
        workers: BTreeMap::new(),
        target: 0,
        speed: Speed::default(),
        served_seconds: 0.0,
        unfinished: demand.batches.iter().map(|batch| batch.lengths_ms.len()).collect(),
        report: Report::default(),
    };
    for (number, batch) in demand.batches.iter().enumerate() {
        world.at(batch.at_ms, Event::Submit(number));
    }
    world.at(0, Event::Poll);
    while let Some(Reverse((at_ms, _, event))) = world.events.pop() {
        if at_ms >= demand.length_ms && world.unfinished.iter().all(|clips| *clips == 0) {
            break;
        }
        world.now_ms = at_ms;
        world.handle(event, controller);
    }
    world.now_ms = world.now_ms.max(demand.length_ms);
    for id in world.workers.keys().copied().collect::<Vec<_>>() {
        world.end(id);
    }
    world.report.length_seconds = world.now_ms as f64 / 1_000.0;
    world.report.sorted()
}

impl World<'_> {
    fn at(&mut self, at_ms: i64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at_ms, self.sequence, event)));
    }

    fn handle(&mut self, event: Event, controller: &mut dyn Controller) {
        match event {
            Event::Submit(number) => {
                let batch = &self.demand.batches[number];
                for &length_ms in &batch.lengths_ms {
                    self.enqueue(Clip { batch: number, length_ms, submitted_ms: self.now_ms, redelivered: false });
                }
                self.fill();
                if controller.receives_events() {
                    self.at(self.now_ms + EVENT_DELAY_MS, Event::Decide);
                }
            }
            Event::Redeliver(clip) => {
                self.waiting.push_front(clip);
                self.waiting_ms += clip.length_ms;
                self.fill();
            }
            Event::Ready(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.ready_ms = Some(self.now_ms);
                    self.fill();
                }
            }
            Event::Done { worker, slot, run } => self.finish(worker, slot, run),
            Event::Poll => {
                self.at(self.now_ms + controller.poll_interval_ms(), Event::Poll);
                self.decide(controller);
            }
            Event::Decide => self.decide(controller),
            Event::Set(count) => self.set(count),
        }
    }

    fn enqueue(&mut self, clip: Clip) {
        self.waiting.push_back(clip);
        self.waiting_ms += clip.length_ms;
    }

    /// Assigns waiting clips to free slots.
    fn fill(&mut self) {
        let ids: Vec<u64> =
            self.workers.iter().filter(|(_, worker)| worker.ready_ms.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            for slot in 0..self.fleet.slots as usize {
                if self.workers[&id].slots[slot].is_none() && !self.start(id, slot) {
                    return;
                }
            }
        }
    }

    /// Starts the next clip in a slot. Returns whether there was one.
    fn start(&mut self, id: u64, slot: usize) -> bool {
        let Some(clip) = self.waiting.pop_front() else { return false };
        self.waiting_ms -= clip.length_ms;
        if !clip.redelivered {
            self.report.waits_seconds.push((self.now_ms - clip.submitted_ms) as f64 / 1_000.0);
        }
        let variation = 0.8 + 0.4 * self.random.f64();
        let takes_ms = ((FIXED_SECONDS * 1_000.0 + self.fleet.rate * clip.length_ms as f64) * variation) as i64;
        self.sequence += 1;
        let run =
            Run { id: self.sequence, clip: Clip { redelivered: true, ..clip }, started_ms: self.now_ms, takes_ms };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.slots[slot] = Some(run);
        }
        self.at(self.now_ms + takes_ms, Event::Done { worker: id, slot, run: run.id });
        true
    }

    fn finish(&mut self, id: u64, slot: usize, run: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(ended) = worker.slots[slot].filter(|ended| ended.id == run) else { return };
        worker.slots[slot] = None;
        let seconds = ended.takes_ms as f64 / 1_000.0;
        self.report.useful_seconds += seconds;
        self.served_seconds += seconds;
        self.speed.learn(&Work::of(ended.clip.length_ms, &Rendition::default()), seconds);
        self.unfinished[ended.clip.batch] -= 1;
        if self.unfinished[ended.clip.batch] == 0 {
            let submitted_ms = self.demand.batches[ended.clip.batch].at_ms;
            self.report.batches_seconds.push((self.now_ms - submitted_ms) as f64 / 1_000.0);
        }
        self.start(id, slot);
    }

    fn decide(&mut self, controller: &mut dyn Controller) {
        let served_seconds = std::mem::take(&mut self.served_seconds);
        let view = View { now_ms: self.now_ms, target: self.target, load: self.load(), served_seconds };
        let target = controller.decide(&view);
        if target == self.target {
            return;
        }
        self.target = target;
        self.report.calls += 1;
        let first_ms = self.demand.batches.first().map_or(0, |batch| batch.at_ms);
        self.report.first_call_seconds.get_or_insert((self.now_ms - first_ms) as f64 / 1_000.0);
        self.at(self.now_ms + CALL_DELAY_MS, Event::Set(target));
    }

    fn load(&self) -> Load {
        let waiting = self.waiting.len() as u32;
        let mut load = Load { waiting, ..Load::default() };
        if waiting > 0 {
            // A prediction is a fixed part plus a part by length, so the total needs no iteration over the clips.
            let together = self.speed.seconds(&Work::of(self.waiting_ms, &Rendition::default()));
            load.outstanding_seconds = together + FIXED_SECONDS * f64::from(waiting - 1);
        }
        for worker in self.workers.values() {
            let running = worker.slots.iter().flatten();
            let mut busy = false;
            for run in running {
                busy = true;
                load.at_work += 1;
                let elapsed_ms = (self.now_ms - run.started_ms) as f64;
                let predicted = self.speed.seconds(&Work::of(run.clip.length_ms, &Rendition::default()));
                load.outstanding_seconds += predicted * (1.0 - (elapsed_ms / run.takes_ms as f64).min(1.0));
                load.at_risk_seconds += elapsed_ms / 1_000.0;
            }
            load.busy_workers += u32::from(busy);
        }
        load
    }

    fn set(&mut self, count: u32) {
        while (self.workers.len() as u32) < count {
            self.sequence += 1;
            let (id, variation) = (self.sequence, 0.8 + 0.4 * self.random.f64());
            let slots = vec![None; self.fleet.slots as usize];
            self.workers.insert(id, Worker { requested_ms: self.now_ms, ready_ms: None, slots });
            self.at(self.now_ms + (self.fleet.cold_start_seconds * variation * 1_000.0) as i64, Event::Ready(id));
        }
        while self.workers.len() as u32 > count {
            let victim = self.random.usize(..self.workers.len());
            if let Some(id) = self.workers.keys().nth(victim).copied() {
                self.end(id);
            }
        }
        self.report.most_instances = self.report.most_instances.max(self.workers.len() as u32);
    }

    fn end(&mut self, id: u64) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.report.billed_seconds += (self.now_ms - worker.requested_ms) as f64 / 1_000.0;
        if let Some(ready_ms) = worker.ready_ms {
            self.report.ready_seconds += (self.now_ms - ready_ms) as f64 / 1_000.0 * f64::from(self.fleet.slots);
        }
        for run in worker.slots.into_iter().flatten() {
            self.report.lost_seconds += (self.now_ms - run.started_ms) as f64 / 1_000.0;
            self.report.interrupted += 1;
            self.at(self.now_ms + REDELIVERY_DELAY_MS, Event::Redeliver(run.clip));
        }
    }
}
