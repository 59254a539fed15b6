//! Runs seeds, and shrinks failures.

use crate::{
    judge::{Verdict, catch_panic, geometry, judge_against},
    reference::{Hints, Reference},
    source::{Channels, Container, Edits, Orientation, Source, Tags},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order, settings};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// The environment variable that selects one seed to replay.
const SEED_VARIABLE: &str = "CLIPFLEET_ORACLE_SEED";

/// The environment variable that selects the seeds of a test run instead of the default: `100..200`, or `500` for the
/// first 500.
const SEEDS_VARIABLE: &str = "CLIPFLEET_ORACLE_SEEDS";

/// The environment variable that names a folder for the sources of failed seeds.
const KEEP_VARIABLE: &str = "CLIPFLEET_ORACLE_KEEP";

/// Number of threads: tests may use both cores of a small machine.
const THREADS: usize = 2;

/// Maximum number of failures to shrink, one of each kind.
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
        let matrix = (self.tags == Tags::Container).then(|| self.colours()[0]);
        let edits = !self.is_matroska() && matches!(self.edits, Edits::CopyCut(_) | Edits::Trim(..) | Edits::TwoParts);
        Hints { turn, discrete: self.channels == Channels::Discrete, matrix, edits }
    }
}

/// Makes a source and a clip of it, and compares them. A source that cannot be made or read counts as a difference.
fn run(source: &Source) -> Verdict {
    let directory = directory();
    let outcome = catch_panic(|| {
        let made = source.make(directory.path(), "source");
        // The geometry depends only on the source's shape; the window depends on what FFmpeg finds.
        let (view, _) = geometry(source.chart(), &source.order(0, 1));
        let reference = Reference::read(&made.path, source.chart(), view, source.hints());
        let (from, to) = reference.span_ms();
        let order = source.order(from, to);
        let mut verdict = judge_against(&made.path, &reference, &order);
        verdict.commands.splice(0..0, made.commands);
        verdict.commands.push(describe(&order));
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

fn describe(order: &Order) -> String {
    let (start, end) = order.window;
    format!("clip {start}-{end} ms, {} {} position {} zoom {}", order.aspect, order.mode, order.position, order.zoom)
}

fn keep(path: &Path) {
    if let Some(folder) = std::env::var_os(KEEP_VARIABLE) {
        let _ = std::fs::create_dir_all(&folder);
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "-");
        let name = format!("{}{}.{extension}", std::env::var(SEED_VARIABLE).unwrap_or_default(), thread);
        let _ = std::fs::copy(path, Path::new(&folder).join(name));
    }
}

fn kinds(verdict: &Verdict) -> BTreeSet<&str> {
    verdict.differences.iter().map(|difference| difference.kind.as_str()).collect()
}

/// Sets each dimension to its simplest value in turn, as long as the failure of this kind remains.
fn shrink(source: &Source, kind: &str) -> (Source, Verdict) {
    let mut smallest = (source.clone(), Verdict::default());
    let mut tried: BTreeSet<&str> = BTreeSet::new();
    loop {
        let step = smallest.0.simplifications().into_iter().find(|(name, _)| !tried.contains(name));
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
    let seeds = settings::range(SEEDS_VARIABLE, seeds);
    let (next, count, started) = (AtomicU64::new(seeds.start), seeds.end - seeds.start, Instant::now());
    let failed: Mutex<BTreeMap<u64, (Source, Verdict)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let source = Source::draw(seed);
                    let started = Instant::now();
                    let verdict = run(&source);
                    if verdict.differences.is_empty() {
                        println!("seed {seed} is equal after {:.1} s", started.elapsed().as_secs_f64());
                    } else {
                        println!("{}", report(seed, &source, &verdict));
                        failed.lock().insert(seed, (source, verdict));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} of {count} seeds differ, after {:.0} s", failed.len(), started.elapsed().as_secs_f64());
    let mut shrunk: BTreeSet<&str> = BTreeSet::new();
    for (seed, (source, verdict)) in &failed {
        let fresh = kinds(verdict).into_iter().find(|kind| !shrunk.contains(kind));
        if let Some(kind) = fresh.filter(|_| shrunk.len() < MAX_SHRUNK) {
            shrunk.insert(kind);
            let (smallest, verdict) = shrink(source, kind);
            println!("{kind}, smallest, {}", report(*seed, &smallest, &verdict));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {count} seeds differ: {:?}; replay one: {SEED_VARIABLE}=n cargo test --test oracle the_given_seed \
         -- --nocapture",
        failed.len(),
        failed.keys().collect::<Vec<_>>()
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
    let Ok(seed) = std::env::var(SEED_VARIABLE) else { return };
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
