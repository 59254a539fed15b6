//! The documents of the previous product, while a fleet works.

use clipfleet_cloud::{Fields, Precondition, Value, Write};
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, request},
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The old page polls every five seconds. A test has less time.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_page_of_the_old_product_sees_its_clips_complete() {
    let directory = fixtures::directory();
    let data = directory.path().join("data");
    let fleet = Fleet::start_with(&data, 1, 2, &[("CLIPFLEET_LEGACY_MIRROR", Path::new("true"))]).await;
    let source = Recipe { pictures: 360, ..Recipe::default() }.make(directory.path(), "source");
    let uri = fleet.upload(&source, "source.mp4").await;
    let title = Value::String("Talk".into());
    let project = Write {
        path: "wizardProjects/p1".into(),
        fields: Fields::from([("title".into(), title.clone())]),
        precondition: Precondition::Absent,
    };
    fleet.cloud.documents.commit(vec![project]).await.unwrap();
    fleet.submit(&request("b1", &uri, &[("clip-1", 0, 5_000), ("wizard--clip-2", 3_500, 11_000)])).await;

    let mut seen: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    let polling = async {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let project = fleet.document("wizardProjects/p1").await.unwrap();
            let Some(Value::Map(clips)) = project.fields.get("clipProcessing") else { continue };
            for (clip, shown) in clips {
                let Value::Map(shown) = shown else { panic!("{shown:?}") };
                let (Value::String(status), Value::Integer(progress)) = (&shown["status"], &shown["progress"]) else {
                    panic!("{shown:?}")
                };
                seen.entry(clip.clone()).or_default().push((status.clone(), *progress));
            }
            let ended = |(status, _): &(String, i64)| status == "completed" || status == "failed";
            if seen.len() == 2 && seen.values().all(|states| states.last().is_some_and(ended)) {
                return project;
            }
        }
    };
    let project = tokio::time::timeout(clipfleet_tests::fleet::WAIT_TIMEOUT, polling).await.expect("both clips end");
    assert_eq!((project.fields.len(), &project.fields["title"]), (2, &title));
    let Value::Map(clips) = &project.fields["clipProcessing"] else { panic!("{project:?}") };
    for clip in ["clip-1", "wizard--clip-2"] {
        let states = &seen[clip];
        let order = ["queued", "processing", "completed"];
        let place = |(status, progress): &(String, i64)| (order.iter().position(|known| known == status), *progress);
        assert!(states.iter().map(place).is_sorted(), "{clip}: {states:?}");
        assert_eq!(states.last().unwrap(), &("completed".to_owned(), 100));
        let Value::Map(shown) = &clips[clip] else { panic!("{clips:?}") };
        let ours = fleet.document(&format!("exportBatches/b1/clips/{clip}")).await.unwrap().fields;
        for field in ["outputUrl", "createdAt", "startedAt", "updatedAt", "completedAt"] {
            assert_eq!(shown[field], ours[field], "{clip}: {field}");
        }
        assert_eq!((&shown["error"], shown.len()), (&Value::Null, 9));
        let Value::String(url) = &shown["outputUrl"] else { panic!("{shown:?}") };
        assert!(!fleet.download(url).await.is_empty());
        let Value::String(job) = &shown["jobId"] else { panic!("{shown:?}") };
        let job = fleet.document(&format!("wizardProcessingJobs/{job}")).await.unwrap();
        assert_eq!(
            (job.field("status").as_text(), job.field("clipId").as_text(), job.fields.len()),
            (Some("completed"), Some(clip), 13)
        );
    }
}

#[tokio::test]
async fn nothing_is_mirrored_unless_asked_for() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let uri = fleet.upload(&source, "source.mp4").await;
    fleet.submit(&request("b1", &uri, &[("one", 0, 1_000)])).await;
    fleet.until("b1", |shown| shown["status"] == "queued").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(fleet.cloud.documents.list("wizardProcessingJobs").await.unwrap().is_empty());
}
