//! Real processes that die, freeze and wake, and a network that misbehaves: every clip is completed, once, and the figures say at what
//! price. The seed of a run is printed; times are those of this machine.

use clipfleet_domain::lifecycle::ClipEventKind;
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, children, clips, request, signal},
    poison,
    witness::{Heard, Witness},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A batch of half-second squares, the cheapest clips there are.
fn small_clips(batch: &str, uri: &str, count: usize) -> Value {
    let ids: Vec<String> = (0..count).map(|number| format!("{batch}-{number:03}")).collect();
    let windows: Vec<_> = ids.iter().zip(0..).map(|(id, n)| (id.as_str(), n % 100 * 50, n % 100 * 50 + 500)).collect();
    let mut body = request(batch, uri, &windows);
    body["output"]["aspect"] = json!("1:1");
    body
}

/// All clips of a batch are completed. Returns how many different objects they name.
fn all_completed(shown: &Value, count: usize) -> usize {
    let bad: Vec<_> = clips(shown).into_values().filter(|clip| clip["status"] != "completed").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!((&shown["status"], &shown["completedClips"]), (&json!("completed"), &json!(count)));
    clips(shown).values().map(|clip| clip["outputUri"].to_string()).collect::<BTreeSet<_>>().len()
}

/// What the attempts cost that ended without a last word.
#[derive(Default)]
struct Toll {
    notices: Vec<Duration>,
    redone: Duration,
    worked: Duration,
    lost: usize,
    attempts: usize,
    adopted: usize,
    repeated: usize,
}

impl Toll {
    fn of(attempts: &BTreeMap<String, Vec<Vec<Heard>>>, kills: &[Instant]) -> Self {
        let mut toll = Self::default();
        for of_clip in attempts.values() {
            let completions =
                of_clip.iter().flatten().filter(|heard| matches!(heard.event.kind, ClipEventKind::Completed { .. }));
            toll.repeated += completions.clone().count().saturating_sub(1);
            toll.adopted += completions.filter(|heard| is_adopted(&heard.event.kind)).count();
            for (index, said) in of_clip.iter().enumerate() {
                let (first, last) = (said[0].at, said[said.len() - 1].at);
                toll.attempts += 1;
                toll.worked += last - first;
                if said.iter().any(Heard::is_last_word) {
                    continue;
                }
                toll.lost += 1;
                toll.redone += last - first;
                let death = kills.iter().find(|kill| **kill >= last);
                if let (Some(death), Some(next)) = (death, of_clip.get(index + 1)) {
                    toll.notices.push(next[0].at.saturating_duration_since(*death));
                }
            }
        }
        toll.notices.sort();
        toll
    }

    /// The time within which this share of the deaths was noticed.
    fn at(&self, share: f64) -> Option<Duration> {
        let last = self.notices.len().checked_sub(1)?;
        self.notices.get(((self.notices.len() as f64 * share) as usize).min(last)).copied()
    }

    fn print(&self) {
        let seconds = |share| self.at(share).map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        println!(
            "{} attempts, {} lost with their workers; from a death to the clip's next start: p50 {}, p99 {}, longest {}",
            self.attempts,
            self.lost,
            seconds(0.5),
            seconds(0.99),
            seconds(1.0)
        );
        println!(
            "redone work: {:.1} s of {:.1} s; duplicates prevented: {} results adopted instead of made twice, {} completions told again",
            self.redone.as_secs_f64(),
            self.worked.as_secs_f64(),
            self.adopted,
            self.repeated
        );
    }
}

/// A result that was found, not made: nothing was encoded for it.
fn is_adopted(kind: &ClipEventKind) -> bool {
    matches!(kind, ClipEventKind::Completed { output, .. } if output.timings.encode_ms == 0)
}

/// Exports batches of five clips, the next one when one clip is left, so that a clip handed over waits for no slot and the figures
/// tell how soon a death is noticed. Meanwhile a random worker is killed every few seconds.
async fn workers_die(batches: usize, workers: usize, every: Duration, patience: Duration) {
    const CLIPS: usize = 5;
    const FEW: usize = 1;
    let directory = fixtures::directory();
    let source = Recipe { pictures: 180, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), workers, 1).await;
    let witness = Witness::of(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let started = Instant::now();
    let (mut kills, mut submitted, mut done_at_last_kill) = (Vec::new(), 0, 0);
    loop {
        let left = unfinished(&fleet, submitted, CLIPS).await;
        let done = submitted * CLIPS - left;
        if left <= FEW && submitted < batches {
            fleet.submit(&small_clips(&format!("b{submitted}"), &uri, CLIPS)).await;
            submitted += 1;
        } else if left == 0 {
            break;
        }
        assert!(started.elapsed() < patience, "{left} clips are unfinished");
        // Where clips take longer than the workers live, none would ever be completed: each kill leaves time for one.
        if kills.last().is_none_or(|last: &Instant| last.elapsed() >= every && done > done_at_last_kill) {
            // It may have been killed just now and be not yet replaced.
            if let Some(victim) = random.choice(&fleet.workers()) {
                kills.push(Instant::now());
                done_at_last_kill = done;
                signal(*victim, "-KILL");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = started.elapsed();
    let mut objects = 0;
    for batch in 0..batches {
        let shown = fleet.finished(&format!("b{batch}")).await;
        objects += all_completed(&shown, CLIPS);
    }
    let visible = fleet.results().await.into_iter().filter(|name| name.ends_with(".mp4")).count();
    assert_eq!((objects, visible), (batches * CLIPS, batches * CLIPS), "one object per clip, none of them twice");
    println!("{visible} clips in {:.0} s, {} workers killed", took.as_secs_f64(), kills.len());
    let toll = Toll::of(&witness.attempts(), &kills);
    toll.print();
    let (usual, longest) = (Duration::from_secs(30), Duration::from_secs(60));
    // Now and then a clip waits for a slot, too, since most workers are dead at times.
    assert!(
        toll.at(0.5).is_none_or(|half| half < usual) && toll.at(0.9).is_none_or(|most| most < longest),
        "{:?}",
        toll.notices
    );
    assert_eq!(fleet.stop().await, Some(0));
}

/// Clips of the first batches, of so many each, that are not over.
async fn unfinished(fleet: &Fleet, batches: usize, clips: usize) -> usize {
    let mut left = 0;
    for batch in 0..batches {
        let document = fleet.document(&format!("exportBatches/b{batch}")).await;
        let count =
            |field| document.as_ref().and_then(|it| it.field(field).as_integer()).and_then(|n| usize::try_from(n).ok());
        let over = ["completedClips", "failedClips", "cancelledClips"].map(|field| count(field).unwrap_or(0));
        left += clips - over.iter().sum::<usize>();
    }
    left
}

#[tokio::test]
async fn twenty_clips_survive_workers_that_are_killed_every_few_seconds() {
    workers_die(4, 3, Duration::from_secs(4), Duration::from_secs(240)).await;
}

#[tokio::test]
#[ignore = "minutes of encoding: make soak"]
async fn two_hundred_clips_survive_workers_that_are_killed_every_few_seconds() {
    workers_die(40, 5, Duration::from_secs(4), Duration::from_secs(1_800)).await;
}

#[tokio::test]
async fn a_worker_that_was_frozen_past_its_lease_publishes_nothing_when_it_wakes() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 720, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 1).await;
    let witness = Witness::of(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("c", 0, 24_000)])).await;
    fleet.until("b1", |shown| shown["clips"][0]["status"] == "processing").await;
    let (busy, _) = fleet.at_work().await;
    signal(busy, "-STOP");
    let (frozen, frozen_at) = (Instant::now(), SystemTime::now());
    // Its pipeline process goes on for as long as it has bytes to work on: it is the worker that must not speak for it.
    fleet.until("b1", |shown| shown["clips"][0]["attempt"] == 2).await;
    let noticed = frozen.elapsed();
    let shown = fleet.finished("b1").await;
    let document = fleet.document("exportBatches/b1/clips/c").await.unwrap();
    let objects = fleet.results().await;
    signal(busy, "-CONT");
    let woken = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let attempts = &witness.attempts()["c"];
    assert_eq!(attempts.len(), 2, "the zombie and its successor");
    // A word that was on its lips when it froze may be heard late.
    let frozen_at_ms = frozen_at.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let since: Vec<_> = attempts[0].iter().filter(|heard| heard.event.at_ms as u128 > frozen_at_ms).collect();
    assert!(since.is_empty(), "not another word of the zombie: {since:#?}");
    assert_eq!(fleet.document("exportBatches/b1/clips/c").await.unwrap(), document);
    assert_eq!(fleet.results().await, objects, "the clip, its manifest and its cover");
    assert_eq!((shown["status"].as_str(), objects.len()), (Some("completed"), 3));
    // It is as good as new: its process is gone, and it takes the next clip if it is asked.
    assert_eq!(children(busy).len(), 1, "the zombie's process was killed");
    println!(
        "frozen: the clip began elsewhere after {:.1} s; silent for {:.0} s since it woke",
        noticed.as_secs_f64(),
        woken.elapsed().as_secs_f64()
    );
    assert!(noticed < Duration::from_secs(60));
}

#[tokio::test]
async fn clips_survive_a_network_that_refuses_delays_duplicates_and_loses() {
    let directory = fixtures::directory();
    let source = Recipe { pictures: 180, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 2).await;
    let witness = Witness::of(&fleet.cloud).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let refuse = |on: &str, probability: f64| json!({"on": on, "fault": {"refuse": {"code": "UNAVAILABLE"}}, "probability": probability});
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
    let faults = format!("http://{}/_clipfleet/faults", fleet.servers);
    let http = reqwest::Client::new();
    let put = http.put(&faults).body(rules.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    // Streams that are open already know no faults: the workers come back with new ones.
    fleet.workers().into_iter().for_each(|worker| signal(worker, "-KILL"));
    let started = Instant::now();
    // The API answers 503 when its own calls fail; clients send again, as they should.
    let body = small_clips("b1", &uri, 12).to_string();
    while fleet.call("POST", "/v1/batches", body.clone()).await.0 != 202 {
        assert!(started.elapsed() < Duration::from_secs(60), "not accepted");
    }
    let shown = fleet.until_within("b1", Duration::from_secs(240), |shown| shown["status"] == "completed").await;
    let struck: Value = http.get(&faults).send().await.unwrap().json().await.unwrap();
    http.delete(&faults).send().await.unwrap();
    let visible = fleet.results().await.into_iter().filter(|name| name.ends_with(".mp4")).count();
    assert_eq!((all_completed(&shown, 12), visible), (12, 12), "one object per clip, none of them twice");
    // The others are a matter of luck: how many calls there are depends on what is sent together.
    for sure in [
        "google.firestore.v1.Firestore/*",
        "POST /upload/storage/v1/b/*",
        "GET /storage/v1/b/*",
        "google.pubsub.v1.Subscriber/StreamingPull",
        "projects/*/subscriptions/progress-events-status",
    ] {
        let mut rules = struck["rules"].as_array().unwrap().iter();
        assert!(rules.any(|rule| rule["on"] == sure && rule["struck"] != 0), "{sure} never struck: {struck}");
    }
    println!("12 clips in {:.0} s; faults: {struck}", started.elapsed().as_secs_f64());
    Toll::of(&witness.attempts(), &[]).print();
}

#[tokio::test]
async fn status_services_that_are_killed_lose_no_event_and_let_no_progress_fall() {
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
        // It shares the events with the one that lives, and takes what it holds with it each time.
        let _status = fleet.role(&["status", "--listen", "127.0.0.1:0"]);
        // Each lives for three seconds, or three clips where those are made faster.
        let (born, before) = (Instant::now(), done);
        let mut over = false;
        while born.elapsed() < Duration::from_secs(3) && done < before + 3 && !over {
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
    assert!(killed > 1, "too quick to be killed twice");
    assert_eq!(all_completed(&fleet.finished("b1").await, 10), 10);
}

#[tokio::test]
async fn a_clip_outlives_a_machine_without_room_to_work_in() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&data, 1, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    // One good clip first, so that the worker has a directory.
    fleet.submit(&small_clips("b0", &uri, 1)).await;
    fleet.finished("b0").await;
    let workers = std::fs::read_dir(data.join("scratch")).unwrap().map(|entry| entry.unwrap().path());
    let room = workers.into_iter().find(|path| path.is_dir()).unwrap();
    let away = directory.path().join("away");
    std::fs::rename(&room, &away).unwrap();
    fleet.submit(&small_clips("b1", &uri, 1)).await;
    let shown = fleet.until("b1", |shown| shown["clips"][0]["transientFailures"].as_u64() >= Some(2)).await;
    assert_eq!(shown["clips"][0]["failureCodes"][1], "scratch_unavailable", "{shown:#}");
    std::fs::rename(&away, &room).unwrap();
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
async fn a_source_whose_bytes_rot_in_the_storage_fails_its_clips_and_no_other() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let good = Recipe { pictures: 120, ..Recipe::default() }.make(directory.path(), "good");
    let rotten = Recipe { pictures: 150, ..Recipe::default() }.make(directory.path(), "rotten");
    let fleet = Fleet::start(&data, 2, 1).await;
    let uris = [fleet.upload(&good, "good.mp4").await, fleet.upload(&rotten, "rotten.mp4").await];
    // Size and generation stay; the header's tables are noise now.
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
        assert_eq!(clip["attempt"], 1, "what is damaged is not tried again");
    }
    assert_eq!(all_completed(&fleet.finished("good").await, 3), 3);
}

/// Files of this many bytes below a directory.
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
