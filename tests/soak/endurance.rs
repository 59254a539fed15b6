//! Half an hour of a working fleet: what it holds at the end it held at the beginning.

use clipfleet_cloud::ObjectName;
use clipfleet_tests::{
    asked,
    fixtures::{Recipe, directory},
    fleet::{Fleet, request},
    pipeline_process::resident_kib,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How long. `CLIPFLEET_SOAK_MINUTES` asks for another time.
const MINUTES: u64 = 30;

/// Clips of a batch, and batches on their way at a time: more than the slots, so that none is ever idle.
const CLIPS: i64 = 10;
const AT_ONCE: u64 = 2;

/// What a process may hold more at the end than when it had warmed up: allocators keep some of what they once needed, and the views of
/// batches stay in memory up to a cap (2 kB a clip).
const MORE_MIB: u64 = 48;
const MORE_FILES: usize = 12;

/// What the processes of a fleet hold.
#[derive(Debug, Clone)]
struct Holding {
    /// MiB of `clipfleet up` and of each worker. Pipeline processes live as long as a clip.
    mib: Vec<u64>,
    /// Open files of these.
    files: usize,
    /// All processes.
    processes: usize,
    /// Entries below the scratch directory.
    scratch: usize,
}

impl Holding {
    fn of(fleet: &Fleet, scratch: &Path) -> Self {
        let all = fleet.processes();
        let workers = fleet.workers();
        let lasting: Vec<u32> = [all[0]].into_iter().chain(workers).collect();
        let open = |process: &u32| fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
        Self {
            mib: lasting.iter().map(|process| resident_kib(*process) >> 10).collect(),
            files: lasting.iter().map(open).sum(),
            processes: all.len(),
            scratch: entries(scratch),
        }
    }
}

fn entries(directory: &Path) -> usize {
    let within = fs::read_dir(directory).into_iter().flatten().flatten();
    within.map(|entry| 1 + if entry.path().is_dir() { entries(&entry.path()) } else { 0 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "soak: half an hour"]
async fn half_an_hour_of_work_leaves_nothing_behind() {
    let length = Duration::from_secs(asked::number("CLIPFLEET_SOAK_MINUTES", MINUTES) * 60);
    let directory = directory();
    let data = directory.path().join("data");
    let recipe = Recipe { width: 320, height: 180, pictures: 300, ..Recipe::default() };
    let source = recipe.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 2, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let scratch = data.join("scratch");
    let (started, mut looked) = (Instant::now(), Instant::now());
    let (mut submitted, mut over) = (0_u64, 0_u64);
    let mut series = Vec::new();
    while started.elapsed() < length {
        while submitted < over + AT_ONCE {
            fleet.submit(&batch(submitted, &uri)).await;
            // Some are given up, and begun again.
            if submitted % 7 == 3 {
                let id = format!("soak-{submitted}");
                fleet.call("POST", &format!("/v1/batches/{id}:cancel"), "").await;
                fleet.finished(&id).await;
                fleet.call("POST", &format!("/v1/batches/{id}:retry"), "").await;
            }
            submitted += 1;
        }
        let shown = fleet.until(&format!("soak-{over}"), made).await;
        assert!(shown["failedClips"] == 1 || shown["status"] == "completed", "{shown:#}");
        over += 1;
        // Results are the user's: without them, what the data directory holds is the fleet's own.
        for name in fleet.results().await {
            let _ = fleet.cloud.objects.delete(&ObjectName::new("clipfleet-local", name)).await;
        }
        if looked.elapsed() > length / 15 {
            looked = Instant::now();
            let holding = Holding::of(&fleet, &scratch);
            println!("{:5.1} min, {over} batches: {holding:?}", started.elapsed().as_secs_f64() / 60.0);
            series.push(holding);
        }
    }
    while over < submitted {
        fleet.until(&format!("soak-{over}"), made).await;
        over += 1;
    }
    // Spare processes wait for the next clip; attempts' directories are gone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let last = Holding::of(&fleet, &scratch);
    println!("{} clips; at the end: {last:?}", over * CLIPS.unsigned_abs());
    let warm = &series[series.len() / 3];
    for (before, after) in warm.mib.iter().zip(&last.mib) {
        assert!(*after <= before + MORE_MIB, "{before} MiB became {after} MiB: {series:#?}");
    }
    assert!(last.files <= warm.files + MORE_FILES, "files: {series:#?}, {last:#?}");
    // The fleet, its workers and a waiting pipeline process of each.
    assert_eq!(last.processes, 1 + 2 + 2, "{last:?}");
    // Two workers' directories, each with its lock, and the lock of the directory itself.
    assert_eq!(last.scratch, 5, "{last:?}");
    assert_eq!(fleet.stop().await, Some(0));
    assert!(entries(&scratch) <= 1, "workers remove what they made");
}

/// A batch that was cancelled shows so for a moment after it was asked to start over. What a retry finds completed stays so.
fn made(shown: &serde_json::Value) -> bool {
    matches!(shown["status"].as_str(), Some("completed" | "partial")) && shown["cancelledClips"] == 0
}

/// Small clips at ever other places, and one whose window the source does not have.
fn batch(number: u64, uri: &str) -> serde_json::Value {
    let id = format!("soak-{number}");
    let ids: Vec<String> = (0..CLIPS).map(|clip| format!("c{clip}")).collect();
    let begin = |clip: i64| (number as i64 * 37 + clip * 711) % 9_000;
    let windows: Vec<_> = ids.iter().zip(0..).map(|(id, clip)| (id.as_str(), begin(clip), begin(clip) + 500)).collect();
    let mut request = request(&id, uri, &windows);
    request["clips"][0]["startMs"] = json!(20_000);
    request["clips"][0]["endMs"] = json!(20_500);
    request["output"]["aspect"] = json!("1:1");
    request
}
