//! A fleet that works for half an hour holds no more resources at the end than at the start.

use clipfleet_cloud::ObjectName;
use clipfleet_tests::{
    fixtures::{Recipe, directory},
    fleet::{Fleet, request},
    pipeline_process::resident_kib,
    settings,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Duration in minutes. `CLIPFLEET_SOAK_MINUTES` overrides it.
const MINUTES: u64 = 30;

/// Clips of a batch, and batches in flight: more clips than slots, so that no slot is ever idle.
const CLIPS: i64 = 10;
const BATCHES_IN_FLIGHT: u64 = 2;

/// Maximum growth of a process since it warmed up: allocators keep some freed memory, and the views of batches stay in
/// memory up to a cap (2 kB a clip).
const MAX_GROWTH_MIB: u64 = 48;
const MAX_GROWTH_FILES: usize = 12;

/// The resources that the processes of a fleet hold.
#[derive(Debug, Clone)]
struct Resources {
    /// MiB of `clipfleet up` and of each worker. Pipeline processes live only as long as a clip.
    mib: Vec<u64>,
    /// Open files of these processes.
    files: usize,
    /// The number of all processes.
    processes: usize,
    /// Entries below the scratch directory.
    scratch: usize,
}

impl Resources {
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
async fn half_an_hour_of_work_leaks_no_resources() {
    let length = Duration::from_secs(settings::number("CLIPFLEET_SOAK_MINUTES", MINUTES) * 60);
    let directory = directory();
    let data = directory.path().join("data");
    let recipe = Recipe { width: 320, height: 180, pictures: 300, ..Recipe::default() };
    let source = recipe.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 2, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let scratch = data.join("scratch");
    let (started, mut sampled) = (Instant::now(), Instant::now());
    let (mut submitted, mut ended) = (0_u64, 0_u64);
    let mut series = Vec::new();
    while started.elapsed() < length {
        while submitted < ended + BATCHES_IN_FLIGHT {
            fleet.submit(&batch(submitted, &uri)).await;
            // Some are cancelled and retried.
            if submitted % 7 == 3 {
                let id = format!("soak-{submitted}");
                fleet.call("POST", &format!("/v1/batches/{id}:cancel"), "").await;
                fleet.finished(&id).await;
                fleet.call("POST", &format!("/v1/batches/{id}:retry"), "").await;
            }
            submitted += 1;
        }
        let shown = fleet.until(&format!("soak-{ended}"), has_ended).await;
        assert!(shown["failedClips"] == 1 || shown["status"] == "completed", "{shown:#}");
        ended += 1;
        // Results belong to the user: without them, the data directory holds only the fleet's own data.
        for name in fleet.results().await {
            let _ = fleet.cloud.objects.delete(&ObjectName::new("clipfleet-local", name)).await;
        }
        if sampled.elapsed() > length / 15 {
            sampled = Instant::now();
            let resources = Resources::of(&fleet, &scratch);
            println!("{:5.1} min, {ended} batches: {resources:?}", started.elapsed().as_secs_f64() / 60.0);
            series.push(resources);
        }
    }
    while ended < submitted {
        fleet.until(&format!("soak-{ended}"), has_ended).await;
        ended += 1;
    }
    // By then, spare processes wait for the next clip, and attempt directories are deleted.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let last = Resources::of(&fleet, &scratch);
    println!("{} clips; at the end: {last:?}", ended * CLIPS.unsigned_abs());
    let warm = &series[series.len() / 3];
    for (before, after) in warm.mib.iter().zip(&last.mib) {
        assert!(*after <= before + MAX_GROWTH_MIB, "{before} MiB became {after} MiB: {series:#?}");
    }
    assert!(last.files <= warm.files + MAX_GROWTH_FILES, "files: {series:#?}, {last:#?}");
    // The fleet, its workers and a waiting pipeline process of each.
    assert_eq!(last.processes, 1 + 2 + 2, "{last:?}");
    // Two workers' directories, each with its lock, and the lock of the directory itself.
    assert_eq!(last.scratch, 5, "{last:?}");
    assert_eq!(fleet.stop().await, Some(0));
    assert!(entries(&scratch) <= 1, "workers delete their directories");
}

/// Whether a batch has ended. A cancelled batch shows that state briefly after it was retried. Clips that were
/// completed before the retry stay completed.
fn has_ended(shown: &serde_json::Value) -> bool {
    matches!(shown["status"].as_str(), Some("completed" | "partial")) && shown["cancelledClips"] == 0
}

/// Small clips at changing places, and one whose window is beyond the source.
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
