//! Running seeds, and shrinking what fails.

use crate::{
    judge::{Verdict, geometry, judge_against, quietly},
    reference::{Cut, Hints, Reference},
    source::{Channels, Container, Edits, Orientation, Source, Tags},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Shows one seed again.
const SEED: &str = "CLIPFLEET_ORACLE_SEED";

/// Seeds of one test run: first and one behind the last, as `100..200`, instead of the test's own.
const SEEDS: &str = "CLIPFLEET_ORACLE_SEEDS";

/// A folder to keep sources in that fail.
const KEEP: &str = "CLIPFLEET_ORACLE_KEEP";

/// Tests may use both cores of a small machine.
const THREADS: usize = 2;

/// A failure of each kind is shrunk, up to this many.
const MAX_SHRUNK: usize = 3;

impl Source {
    fn hints(&self) -> Hints {
        let turn = match self.orientation {
            _ if self.container != Container::Mkv => "",
            Orientation::Upright => "",
            Orientation::Right => "transpose=clock",
            Orientation::Half => "hflip,vflip",
            Orientation::Left => "transpose=cclock",
            Orientation::MirrorHorizontal => "hflip",
            Orientation::MirrorVertical => "vflip",
        };
        let join_ms = (self.edits == Edits::TwoParts).then_some(1_200);
        let matrix = (self.tags == Tags::Container).then(|| self.colours()[0]);
        let at_ms = match self.edits {
            Edits::CopyCut(ms) | Edits::Trim(ms, _) if !self.is_matroska() => Some(f64::from(ms)),
            _ => None,
        };
        let cut = at_ms.map(|at_ms| Cut { at_ms, period_ms: self.period_ms() });
        Hints { turn, discrete: self.channels == Channels::Discrete, join_ms, matrix, cut }
    }
}

/// Makes a source, a clip of it, and compares. A source that cannot be made or read is a difference, too.
fn run(source: &Source) -> Verdict {
    let directory = directory();
    let outcome = quietly(|| {
        let made = source.make(directory.path(), "source");
        // The geometry depends on the source's shape alone, the window on what FFmpeg finds.
        let (view, _) = geometry(source.chart(), &source.order(0, 1));
        let reference = Reference::read(&made.path, source.chart(), view, source.hints());
        let (from, to) = reference.span_ms();
        let order = source.order(from, to);
        let mut verdict = judge_against(&made.path, &reference, &order);
        verdict.commands.splice(0..0, made.commands);
        verdict.commands.push(said(&order));
        if !verdict.differences.is_empty() {
            keep(&made.path);
        }
        verdict
    });
    outcome.unwrap_or_else(|why| {
        let difference = crate::judge::Difference { kind: "oracle".into(), text: why };
        Verdict { differences: vec![difference], commands: Vec::new() }
    })
}

fn said(order: &Order) -> String {
    let (start, end) = order.window;
    format!("clip {start}-{end} ms, {} {} position {} zoom {}", order.aspect, order.mode, order.position, order.zoom)
}

fn keep(path: &Path) {
    if let Some(folder) = std::env::var_os(KEEP) {
        let _ = std::fs::create_dir_all(&folder);
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "-");
        let name = format!("{}{}.{extension}", std::env::var(SEED).unwrap_or_default(), thread);
        let _ = std::fs::copy(path, Path::new(&folder).join(name));
    }
}

fn kinds(verdict: &Verdict) -> BTreeSet<&str> {
    verdict.differences.iter().map(|difference| difference.kind.as_str()).collect()
}

/// Sets every dimension to its plainest value in turn, for as long as the failure of that kind stays.
fn shrink(source: &Source, kind: &str) -> (Source, Verdict) {
    let mut smallest = (source.clone(), Verdict::default());
    let mut tried: BTreeSet<&str> = BTreeSet::new();
    loop {
        let step = smallest.0.plainer().into_iter().find(|(name, _)| !tried.contains(name));
        let Some((name, step)) = step else { return smallest };
        tried.insert(name);
        let verdict = run(&step);
        if verdict.has(kind) {
            smallest = (step, verdict);
        }
    }
}

fn report(seed: u64, source: &Source, verdict: &Verdict) -> String {
    let mut lines = vec![format!("seed {seed}: {source}")];
    lines.extend(verdict.differences.iter().map(|difference| format!("  {}: {}", difference.kind, difference.text)));
    lines.join("\n")
}

fn run_seeds(seeds: Range<u64>) {
    let given = std::env::var(SEEDS).ok();
    let bounds = given.as_deref().and_then(|text| text.split_once(".."));
    let bounds = bounds.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let seeds = bounds.unwrap_or(seeds);
    let (next, count, began) = (AtomicU64::new(seeds.start), seeds.end - seeds.start, Instant::now());
    let red: Mutex<BTreeMap<u64, (Source, Verdict)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let source = Source::draw(seed);
                    let began = Instant::now();
                    let verdict = run(&source);
                    if verdict.differences.is_empty() {
                        println!("seed {seed} is equal, after {:.1} s", began.elapsed().as_secs_f64());
                    } else {
                        println!("{}", report(seed, &source, &verdict));
                        red.lock().insert(seed, (source, verdict));
                    }
                }
            });
        }
    });
    let red = red.into_inner();
    println!("{} of {count} seeds differ, after {:.0} s", red.len(), began.elapsed().as_secs_f64());
    let mut shrunk: BTreeSet<&str> = BTreeSet::new();
    for (seed, (source, verdict)) in &red {
        let fresh = kinds(verdict).into_iter().find(|kind| !shrunk.contains(kind));
        if let Some(kind) = fresh.filter(|_| shrunk.len() < MAX_SHRUNK) {
            shrunk.insert(kind);
            let (smallest, verdict) = shrink(source, kind);
            println!("{kind}, smallest, {}", report(*seed, &smallest, &verdict));
        }
    }
    assert!(
        red.is_empty(),
        "{} of {count} seeds differ: {:?}; one again: {SEED}=n cargo test --test oracle the_given_seed -- --nocapture",
        red.len(),
        red.keys().collect::<Vec<_>>()
    );
}

#[test]
fn clips_of_sixty_seeds_are_what_ffmpeg_decodes() {
    run_seeds(0..60);
}

#[test]
#[ignore = "soak: about an hour on 2 cores"]
fn clips_of_two_thousand_seeds_are_what_ffmpeg_decodes() {
    run_seeds(0..2_000);
}

#[test]
fn the_given_seed() {
    let Ok(seed) = std::env::var(SEED) else { return };
    let seed = seed.parse().expect("a number");
    let source = Source::draw(seed);
    let verdict = run(&source);
    println!("{}\n{}", report(seed, &source, &verdict), verdict.commands.join("\n"));
    if let Some(kind) = verdict.differences.first().map(|difference| difference.kind.clone()) {
        let (smallest, verdict) = shrink(&source, &kind);
        println!("smallest, {}\n{}", report(seed, &smallest, &verdict), verdict.commands.join("\n"));
        panic!("seed {seed} differs: {kind}");
    }
}
