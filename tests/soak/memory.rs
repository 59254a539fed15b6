//! The largest clips that are allowed, and the maximum number of clips: they run within the memory limits in the
//! README.

use clipfleet_domain::limits::MAX_PIPELINE_BYTES;
use clipfleet_tests::{
    fixtures::{Recipe, directory},
    fleet::{Fleet, clips, request},
    mp4::Probe,
    pipeline_process::{Order, transcode},
};
use serde_json::json;
use std::{path::Path, process::Command, time::Duration};

fn ffmpeg(input: &str, arguments: &[&str], output: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", input]).args(arguments).arg(output);
    assert!(command.status().expect("ffmpeg must be installed for media tests").success(), "{input}");
}

fn check(order: &Order, source: &Path, frames: usize, what: &str) {
    let transcript = transcode(order, source);
    let output = transcript.output();
    assert_eq!(Probe::of(&output).picture_times.len(), frames);
    println!("{what}: at most {} MiB", transcript.peak_kib >> 10);
    assert!(transcript.peak_kib << 10 < MAX_PIPELINE_BYTES);
}

#[test]
#[ignore = "soak: about 10 minutes on 2 cores"]
fn an_hour_long_clip_runs_within_its_memory() {
    let directory = directory();
    let source = directory.path().join("hour.mp4");
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "250", "-pix_fmt", "yuv420p"];
    ffmpeg("testsrc2=size=320x180:rate=30:duration=3605", &x264, &source);
    check(&Order::of(2_000, 3_602_000), &source, 108_000, "a clip of 60 minutes at 720x720");
}

#[test]
#[ignore = "soak: about 3 minutes on 2 cores"]
fn a_clip_of_2160p60_runs_within_its_memory() {
    let directory = directory();
    let source = directory.path().join("large.mp4");
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "120", "-pix_fmt", "yuv420p"];
    ffmpeg("testsrc2=size=3840x2160:rate=60:duration=7", &x264, &source);
    let order = Order { quality: "2160p", aspect: "9:16", fps: 60, ..Order::of(1_300, 6_300) };
    check(&order, &source, 300, "5 s of 2160p60 to 2160x3840");
    let order = Order { quality: "1080p", aspect: "9:16", fps: 30, ..Order::of(1_300, 6_300) };
    check(&order, &source, 150, "5 s of 2160p60 to 1080x1920");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "soak: about 8 minutes on 2 cores"]
async fn a_thousand_clips_are_made() {
    /// Maximum wait for all clips.
    const WAIT_TIMEOUT: Duration = Duration::from_secs(2_400);
    let directory = directory();
    let source =
        Recipe { width: 320, height: 180, pictures: 300, ..Recipe::default() }.make(directory.path(), "source");
    let fleet = Fleet::start(&directory.path().join("data"), 2, 1).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    let ids: Vec<String> = (0..1_000).map(|number| format!("c{number}")).collect();
    let windows: Vec<_> = ids.iter().zip(0..).map(|(id, n): (_, i64)| (id.as_str(), n * 9, n * 9 + 500)).collect();
    let mut request = request("thousand", &uri, &windows);
    request["output"]["aspect"] = json!("1:1");
    fleet.submit(&request).await;
    let ended = |shown: &serde_json::Value| !matches!(shown["status"].as_str(), Some("queued" | "processing") | None);
    let shown = fleet.until_within("thousand", WAIT_TIMEOUT, ended).await;
    assert_eq!((&shown["status"], &shown["completedClips"]), (&json!("completed"), &json!(1_000)));
    assert!(clips(&shown).values().all(|clip| clip["durationMs"] == json!(500)));
    let memory: Vec<u64> = fleet.processes().into_iter().map(clipfleet_tests::pipeline_process::peak_kib).collect();
    println!(
        "a thousand clips: the fleet's processes had at most {:?} MiB",
        memory.iter().map(|kib| kib >> 10).collect::<Vec<_>>()
    );
    assert_eq!(fleet.stop().await, Some(0));
}
