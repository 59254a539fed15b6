//! Real processes that die, freeze and resume, and a network with faults: every clip is completed exactly once, and the
//! tests print what recovery cost. Each run prints its seed. Times depend on the machine.

use clipfleet_domain::lifecycle::ClipEventKind;
use clipfleet_tests::{
    event_recorder::{EventRecorder, RecordedEvent},
    fixtures::{self, Recipe},
    fleet::{Fleet, children, clips, request, signal},
    poison,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A batch of half-second squares, the cheapest clips.
fn small_clips(batch: &str, uri: &str, count: usize) -> Value {
    let ids: Vec<String> = (0..count).map(|number| format!("{batch}-{number:03}")).collect();
    let windows: Vec<_> = ids.iter().zip(0..).map(|(id, n)| (id.as_str(), n % 100 * 50, n % 100 * 50 + 500)).collect();
    let mut body = request(batch, uri, &windows);
    body["output"]["aspect"] = json!("1:1");
    body
}

/// Asserts that all clips of a batch are completed. Returns the number of distinct objects that they name.
fn all_completed(shown: &Value, count: usize) -> usize {
    let bad: Vec<_> = clips(shown).into_values().filter(|clip| clip["status"] != "completed").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!((&shown["status"], &shown["completedClips"]), (&json!("completed"), &json!(count)));
    clips(shown).values().map(|clip| clip["outputUri"].to_string()).collect::<BTreeSet<_>>().len()
}

/// What recovery from attempts without a final event cost.
#[derive(Default)]
struct RecoveryStats {
    detection_times: Vec<Duration>,
    redone: Duration,
    worked: Duration,
    lost: usize,
    attempts: usize,
    adopted: usize,
    repeated: usize,
}

impl RecoveryStats {
    fn of(attempts: &BTreeMap<String, Vec<Vec<RecordedEvent>>>, kills: &[Instant]) -> Self {
        let mut stats = Self::default();
        for of_clip in attempts.values() {
            let completions = of_clip
                .iter()
                .flatten()
                .filter(|recorded| matches!(recorded.event.kind, ClipEventKind::Completed { .. }));
            stats.repeated += completions.clone().count().saturating_sub(1);
            stats.adopted += completions.filter(|completion| is_adopted(&completion.event.kind)).count();
            for (index, events) in of_clip.iter().enumerate() {
                let (first, last) = (events[0].at, events[events.len() - 1].at);
                stats.attempts += 1;
                stats.worked += last - first;
                if events.iter().any(RecordedEvent::is_final) {
                    continue;
                }
                stats.lost += 1;
                stats.redone += last - first;
                let death = kills.iter().find(|kill| **kill >= last);
                if let (Some(death), Some(next)) = (death, of_clip.get(index + 1)) {
                    stats.detection_times.push(next[0].at.saturating_duration_since(*death));
                }
            }
        }
        stats.detection_times.sort();
        stats
    }

    /// The time within which this share of the deaths was detected.
    fn at(&self, share: f64) -> Option<Duration> {
        let last = self.detection_times.len().checked_sub(1)?;
        self.detection_times.get(((self.detection_times.len() as f64 * share) as usize).min(last)).copied()
    }

    fn print(&self) {
        let seconds = |share| self.at(share).map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        println!(
            "{} attempts, {} lost with their workers; from a death to the clip's next start: p50 {}, p99 {}, \
             longest {}",
            self.attempts,
            self.lost,
            seconds(0.5),
            seconds(0.99),
            seconds(1.0)
        );
        println!(
            "redone work: {:.1} s of {:.1} s; duplicates prevented: {} results adopted instead of made twice, \
             {} completions published again",
            self.redone.as_secs_f64(),
            self.worked.as_secs_f64(),
            self.adopted,
            self.repeated
        );
    }
}

/// Whether a result was found rather than made: nothing was encoded for it.
fn is_adopted(kind: &ClipEventKind) -> bool {
    matches!(kind, ClipEventKind::Completed { output, .. } if output.timings.encode_ms == 0)
}

/// Exports batches of five clips and submits the next batch when one clip is left. So a clip that is redelivered waits
/// for no slot, and the statistics show how soon a death is detected. Meanwhile a random worker is killed at each
/// interval.
async fn export_while_workers_die(batches: usize, workers: usize, kill_interval: Duration, timeout: Duration) {
    const CLIPS: usize = 5;
    const MIN_LEFT: usize = 1;
    let directory = fixtures::directory();
    let source = Recipe { pictures: 180, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), workers, 1).await;
    let recorder = EventRecorder::start(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let started = Instant::now();
    let (mut kills, mut submitted, mut done_at_last_kill) = (Vec::new(), 0, 0);
    loop {
        let left = unfinished(&fleet, submitted, CLIPS).await;
        let done = submitted * CLIPS - left;
        if left <= MIN_LEFT && submitted < batches {
            fleet.submit(&small_clips(&format!("b{submitted}"), &uri, CLIPS)).await;
            submitted += 1;
        } else if left == 0 {
            break;
        }
        assert!(started.elapsed() < timeout, "{left} clips are unfinished");
        // If clips took longer than workers live, none would ever be completed, so between two kills at least one clip
        // is completed.
        if kills.last().is_none_or(|last: &Instant| last.elapsed() >= kill_interval && done > done_at_last_kill) {
            // There may be no worker: one that was just killed is not replaced yet.
            if let Some(victim) = random.choice(&fleet.workers()) {
                kills.push(Instant::now());
                done_at_last_kill = done;
                signal(*victim, "-KILL");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let elapsed = started.elapsed();
    let mut objects = 0;
    for batch in 0..batches {
        let shown = fleet.finished(&format!("b{batch}")).await;
        objects += all_completed(&shown, CLIPS);
    }
    let visible = fleet.results().await.into_iter().filter(|name| name.ends_with(".mp4")).count();
    assert_eq!((objects, visible), (batches * CLIPS, batches * CLIPS), "one object per clip, none of them twice");
    println!("{visible} clips in {:.0} s, {} workers killed", elapsed.as_secs_f64(), kills.len());
    let stats = RecoveryStats::of(&recorder.attempts(), &kills);
    stats.print();
    let (median_limit, limit) = (Duration::from_secs(30), Duration::from_secs(60));
    // A clip may also wait for a slot, since most workers are dead at times.
    assert!(
        stats.at(0.5).is_none_or(|time| time < median_limit) && stats.at(0.9).is_none_or(|time| time < limit),
        "{:?}",
        stats.detection_times
    );
    assert_eq!(fleet.stop().await, Some(0));
}

/// The number of unfinished clips in the first `batches` batches of `clips` clips each.
async fn unfinished(fleet: &Fleet, batches: usize, clips: usize) -> usize {
    let mut left = 0;
    for batch in 0..batches {
        let document = fleet.document(&format!("exportBatches/b{batch}")).await;
        let count =
            |field| document.as_ref().and_then(|it| it.field(field).as_integer()).and_then(|n| usize::try_from(n).ok());
        let ended = ["completedClips", "failedClips", "cancelledClips"].map(|field| count(field).unwrap_or(0));
        left += clips - ended.iter().sum::<usize>();
    }
    left
}

#[tokio::test]
async fn ten_clips_survive_workers_that_are_killed_every_few_seconds() {
    export_while_workers_die(2, 3, Duration::from_secs(4), Duration::from_secs(240)).await;
}

#[tokio::test]
#[ignore = "minutes of encoding: make soak"]
async fn two_hundred_clips_survive_workers_that_are_killed_every_few_seconds() {
    export_while_workers_die(40, 5, Duration::from_secs(4), Duration::from_secs(1_800)).await;
}

#[tokio::test]
async fn a_worker_that_was_frozen_past_its_lease_publishes_nothing_when_it_resumes() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 720, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 1).await;
    let recorder = EventRecorder::start(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c", 0, 24_000)])).await;
    fleet.until("b1", |shown| shown["clips"][0]["status"] == "processing").await;
    let (busy, _) = fleet.busy_worker().await;
    signal(busy, "-STOP");
    let (frozen, frozen_at) = (Instant::now(), SystemTime::now());
    // Its pipeline process continues while it has bytes to work on. The worker must not publish for it.
    fleet.until("b1", |shown| shown["clips"][0]["attempt"] == 2).await;
    let detected = frozen.elapsed();
    let shown = fleet.finished("b1").await;
    let document = fleet.document("exportBatches/b1/clips/c").await.unwrap();
    let objects = fleet.results().await;
    signal(busy, "-CONT");
    let resumed = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let attempts = &recorder.attempts()["c"];
    assert_eq!(attempts.len(), 2, "the frozen attempt and its successor");
    // An event that it was publishing when it froze may arrive late.
    let frozen_at_ms = frozen_at.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let since: Vec<_> = attempts[0].iter().filter(|recorded| recorded.event.at_ms as u128 > frozen_at_ms).collect();
    assert!(since.is_empty(), "the frozen worker published more events: {since:#?}");
    assert_eq!(fleet.document("exportBatches/b1/clips/c").await.unwrap(), document);
    assert_eq!(fleet.results().await, objects, "the clip, its manifest and its cover");
    assert_eq!((shown["status"].as_str(), objects.len()), (Some("completed"), 3));
    // The worker is usable again: its pipeline process is gone, and it takes the next clip.
    assert_eq!(children(busy).len(), 1, "the frozen worker's pipeline process was killed");
    println!(
        "frozen: the clip started elsewhere after {:.1} s; no event for {:.0} s since the worker resumed",
        detected.as_secs_f64(),
        resumed.elapsed().as_secs_f64()
    );
    assert!(detected < Duration::from_secs(60));
}

#[tokio::test]
async fn clips_survive_a_network_that_refuses_delays_duplicates_and_loses() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 180, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 2).await;
    let recorder = EventRecorder::start(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let unavailable = json!({"refuse": {"code": "UNAVAILABLE"}});
    let refuse = |on: &str, probability: f64| json!({"on": on, "fault": unavailable, "probability": probability});
    let rules = json!({"seed": 11, "rules": [
        refuse("google.pubsub.v1.Publisher/Publish", 0.1),
        refuse("google.firestore.v1.Firestore/*", 0.1),
        {"on": "google.firestore.v1.Firestore/Commit", "fault": "lose_answer", "probability": 0.1},
        {"on": "google.pubsub.v1.Publisher/Publish", "fault": "lose_answer", "probability": 0.05},
        {"on": "POST /upload/storage/v1/b/*", "fault": "lose_answer", "probability": 0.3},
        {"on": "GET /storage/v1/b/*", "fault": {"cut_answer": {"after_bytes": 50_000}}, "times": 2},
        {"on": "google.storage.v2.Storage/*", "fault": {"delay": {"ms": 300}}, "probability": 0.3},
        {"on": "google.pubsub.v1.Subscriber/StreamingPull", "fault": {"cut_answer": {"after_ms": 3_000}}, "times": 5},
        {"on": "projects/*/subscriptions/clip-jobs-worker", "fault": "duplicate", "probability": 0.3},
        {"on": "projects/*/subscriptions/progress-events-status", "fault": "duplicate", "probability": 0.3},
        {"on": "projects/*/subscriptions/progress-events-status", "fault": "reorder", "probability": 0.5},
        {"on": "projects/*/subscriptions/*", "fault": "lose_ack", "probability": 0.1},
    ]});
    let faults = format!("http://{}/_clipfleet/faults", fleet.emulator);
    let http = reqwest::Client::new();
    let put = http.put(&faults).body(rules.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    // Open streams are not affected by new rules, so the workers are killed and come back with new streams.
    fleet.workers().into_iter().for_each(|worker| signal(worker, "-KILL"));
    let started = Instant::now();
    // The API answers 503 when its own calls fail. Clients must then send the request again.
    let body = small_clips("b1", &uri, 12).to_string();
    while fleet.call("POST", "/v1/batches", body.clone()).await.0 != 202 {
        assert!(started.elapsed() < Duration::from_secs(60), "not accepted");
    }
    let shown = fleet.until_within("b1", Duration::from_secs(240), |shown| shown["status"] == "completed").await;
    let struck: Value = http.get(&faults).send().await.unwrap().json().await.unwrap();
    http.delete(&faults).send().await.unwrap();
    let visible = fleet.results().await.into_iter().filter(|name| name.ends_with(".mp4")).count();
    assert_eq!((all_completed(&shown, 12), visible), (12, 12), "one object per clip, none of them twice");
    // The other rules may not strike: the number of calls depends on what is sent together.
    for rule_on in [
        "google.firestore.v1.Firestore/*",
        "POST /upload/storage/v1/b/*",
        "GET /storage/v1/b/*",
        "google.pubsub.v1.Subscriber/StreamingPull",
        "projects/*/subscriptions/progress-events-status",
    ] {
        let mut rules = struck["rules"].as_array().unwrap().iter();
        assert!(rules.any(|rule| rule["on"] == rule_on && rule["struck"] != 0), "{rule_on} never struck: {struck}");
    }
    println!("12 clips in {:.0} s; faults: {struck}", started.elapsed().as_secs_f64());
    RecoveryStats::of(&recorder.attempts(), &[]).print();
}

#[tokio::test]
async fn status_services_that_are_killed_lose_no_event_and_never_lower_the_progress() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 240, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let mut body = small_clips("b1", &uri, 10);
    for clip in body["clips"].as_array_mut().unwrap() {
        clip["endMs"] = json!(clip["startMs"].as_i64().unwrap() + 4_000);
    }
    fleet.submit(&body).await;
    let (mut killed, mut done, mut progress) = (0, 0, BTreeMap::<String, u64>::new());
    let started = Instant::now();
    loop {
        // It shares the events with the fleet's own service, and loses those that it holds each time it is killed.
        let _status = fleet.role(&["status", "--listen", "127.0.0.1:0"]);
        // Each runs for three seconds, or for three clips if those are made faster.
        let (spawned, before) = (Instant::now(), done);
        let mut over = false;
        while spawned.elapsed() < Duration::from_secs(3) && done < before + 3 && !over {
            let (_, shown) = fleet.call("GET", "/v1/batches/b1", "").await;
            for (id, clip) in clips(&shown) {
                let (now, before) = (clip["progress"].as_u64().unwrap(), progress.entry(id.clone()).or_default());
                assert!(now >= *before, "{id} fell from {before} to {now}");
                *before = now;
            }
            done = clips(&shown).values().filter(|clip| clip["status"] == "completed").count();
            over = shown["status"] == "completed";
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if over {
            break;
        }
        killed += 1;
        assert!(started.elapsed() < Duration::from_secs(180), "not completed: {progress:?}");
    }
    println!("10 clips in {:.0} s, {killed} status services killed", started.elapsed().as_secs_f64());
    assert!(killed > 1, "the export was too fast to kill the service twice");
    assert_eq!(all_completed(&fleet.finished("b1").await, 10), 10);
}

#[tokio::test]
async fn a_clip_survives_a_worker_without_a_scratch_directory() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    // One good clip first, so that the worker creates its directory.
    fleet.submit(&small_clips("b0", &uri, 1)).await;
    fleet.finished("b0").await;
    let workers = std::fs::read_dir(data.join("scratch")).unwrap().map(|entry| entry.unwrap().path());
    let scratch = workers.into_iter().find(|path| path.is_dir()).unwrap();
    let moved = directory.path().join("moved");
    std::fs::rename(&scratch, &moved).unwrap();
    fleet.submit(&small_clips("b1", &uri, 1)).await;
    let shown = fleet.until("b1", |shown| shown["clips"][0]["transientFailures"].as_u64() >= Some(2)).await;
    assert_eq!(shown["clips"][0]["failureCodes"][1], "scratch_unavailable", "{shown:#}");
    std::fs::rename(&moved, &scratch).unwrap();
    let shown = fleet.finished("b1").await;
    assert_eq!((all_completed(&shown, 1), &shown["clips"][0]["crashes"]), (1, &json!(0)));
}

#[tokio::test]
async fn a_disk_that_is_full_while_a_clip_is_made_costs_an_attempt() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let pipeline = poison::pipeline(directory.path());
    let data = directory.path().join("data");
    let fleet = Fleet::start_with(&data, 1, 1, &[("CLIPFLEET_PIPELINE", &pipeline)]).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("poison-full", 0, 1_000)])).await;
    let shown = fleet.finished("b1").await;
    let clip = &clips(&shown)["poison-full"];
    assert_eq!((&clip["status"], &clip["failureCodes"]), (&json!("completed"), &json!(["scratch_full"])), "{clip:#}");
    assert_eq!((&clip["transientFailures"], &clip["crashes"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn a_source_that_is_corrupted_in_storage_fails_its_clips_and_no_other() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let good = Recipe { pictures: 120, ..Recipe::default() }.make(directory.path(), "good");
    let rotten = Recipe { pictures: 150, ..Recipe::default() }.make(directory.path(), "rotten");
    let fleet = Fleet::start(&data, 2, 1).await;
    let uris = [fleet.upload(&good, "good.mp4").await, fleet.upload(&rotten, "rotten.mp4").await];
    // Size and generation stay the same, but the header's tables become noise.
    let stored = files_of_size(&data, std::fs::metadata(&rotten).unwrap().len());
    assert!(!stored.is_empty(), "the storage keeps objects as files");
    for file in stored {
        let mut bytes = std::fs::read(&file).unwrap();
        if bytes == std::fs::read(&rotten).unwrap() {
            let from = 200.min(bytes.len());
            let mut random = fastrand::Rng::with_seed(1);
            bytes[from..].iter_mut().for_each(|byte| *byte ^= random.u8(1..));
            std::fs::write(&file, bytes).unwrap();
        }
    }
    for (batch, uri) in ["good", "rotten"].into_iter().zip(&uris) {
        fleet.submit(&small_clips(batch, uri, 3)).await;
    }
    let shown = fleet.finished("rotten").await;
    for clip in clips(&shown).into_values() {
        let code = clip["error"]["code"].as_str().unwrap_or_default();
        assert!(clip["status"] == "failed" && code.starts_with("source_"), "{clip:#}");
        assert_eq!(clip["attempt"], 1, "a damaged source is not retried");
    }
    assert_eq!(all_completed(&fleet.finished("good").await, 3), 3);
}

/// All files of this size below a directory.
fn files_of_size(directory: &Path, size: u64) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.metadata() {
            Ok(metadata) if metadata.is_dir() => files_of_size(&path, size),
            Ok(metadata) if metadata.len() == size => vec![path],
            _ => Vec::new(),
        })
        .collect()
}
