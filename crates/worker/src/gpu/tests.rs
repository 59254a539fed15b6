//! The GPU monitor, alone and in a whole worker whose media program is this test program.

use super::*;
use crate::{Config, SandboxMode, run};
use clipfleet_cloud::{Body, Cloud, Message, NewObject, ObjectName, SubscriptionSpec, memory::Memory};
use clipfleet_contract::{
    batch, event, job, names,
    v1::{FromPipeline, ToPipeline, from_pipeline, to_pipeline},
};
use clipfleet_domain::{
    access::AccessPolicy,
    cost::SlotPrice,
    job::{EventKind, Job, PinnedSource},
    lifecycle::{ClipEventKind, Encoding},
};
use prost::Message as _;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

fn report(passed: bool) -> Value {
    json!({"gpu": {"note": "the GPU failed its test: nvencoder: NV_ENC_ERR_GENERIC", "selfTest": {"passed": passed}}})
}

fn enabled(required: bool) -> GpuMonitor {
    GpuMonitor::new(required, state_of(&report(true)))
}

fn finished(fallback_kind: &str, gpu_driver: &str) -> TranscodeFinished {
    let (fallback_kind, gpu_driver) = (fallback_kind.to_owned(), gpu_driver.to_owned());
    TranscodeFinished { fallback_kind, gpu_driver, ..TranscodeFinished::default() }
}

#[test]
fn only_failures_that_blame_the_gpu_count_against_it() {
    let outcome = |kind, driver| GpuOutcome::of(&finished(kind, driver));
    assert_eq!(
        (outcome("", "580.65"), outcome("unsupported", "unknown")),
        (GpuOutcome::Succeeded, GpuOutcome::Succeeded)
    );
    assert_eq!(
        (outcome("gpu_failed", ""), outcome("gpu_mismatch", "580.65")),
        (GpuOutcome::Failed, GpuOutcome::Failed)
    );
    assert_eq!(
        (outcome("", ""), outcome("gpu_disabled", ""), outcome("encoder_failed", "")),
        (GpuOutcome::NotUsed, GpuOutcome::NotUsed, GpuOutcome::NotUsed)
    );
}

#[test]
fn consecutive_failures_cause_one_test_and_a_success_resets_them() {
    let gpu = enabled(false);
    let failed = |times: u32| (0..times).map(|_| gpu.record(GpuOutcome::Failed)).collect::<Vec<_>>();
    assert_eq!(failed(2), [false, false]);
    assert!(!gpu.record(GpuOutcome::Succeeded) && !gpu.record(GpuOutcome::NotUsed));
    assert_eq!(failed(5), [false, false, true, false, false], "one test at a time");
    gpu.record_retest(Ok(report(true)));
    assert_eq!((gpu.disabled_reason(), failed(3)), (None, vec![false, false, true]));
    gpu.record_retest(Ok(report(false)));
    let reason = gpu.disabled_reason().unwrap();
    assert!(reason.ends_with("nvencoder: NV_ENC_ERR_GENERIC"), "{reason}");
    assert_eq!(gpu.details(), json!({"state": "disabled", "reason": reason}));
    assert_eq!((gpu.fatal(), failed(9)), (None, vec![false; 9]), "a disabled GPU is not tested again");
}

#[test]
fn a_required_gpu_ends_its_worker_when_it_fails_or_vanishes() {
    for report in [Ok(report(false)), Ok(json!({"gpu": {}})), Err(io::Error::other("no answer in 60s"))] {
        let gpu = enabled(true);
        assert_eq!(gpu.fatal(), None);
        gpu.record_retest(report);
        assert!(gpu.fatal().is_some() && gpu.disabled.is_cancelled());
    }
}

#[test]
fn an_absent_gpu_is_never_tested() {
    let gpu = GpuMonitor::new(false, state_of(&json!({"gpu": {"selfTest": null}})));
    assert!((0..9).all(|_| !gpu.record(GpuOutcome::Failed)));
    assert_eq!((gpu.details(), gpu.disabled_reason()), (json!({"state": "absent"}), None));
}

/// A media program that is a shell script.
fn program(directory: &Path, gpu: GpuMode, script: &str) -> Program {
    let path = directory.join("program");
    write_program(&path, &format!("#!/bin/sh\n{script}\n"));
    Program::new(path, gpu, directory)
}

/// Writes a program in a process of its own. A file that is open for writing cannot be executed. If this process opened
/// it, a child that another test starts at the same moment would inherit the open file.
fn write_program(path: &Path, script: &str) {
    let write =
        Command::new("sh").args(["-c", r#"cat > "$0" && chmod 755 "$0""#]).arg(path).stdin(Stdio::piped()).spawn();
    let mut write = write.unwrap();
    write.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());
}

#[tokio::test]
async fn a_gpu_that_kills_its_test_is_disabled_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let crashing = r#"if [ "$GPU_ENABLED" = false ]; then echo '{"usable": true}'; else kill -SEGV $$; fi"#;
    let (report, gpu) = detect(&program(directory.path(), GpuMode::Auto, crashing)).await.unwrap();
    assert_eq!(report, json!({"usable": true}));
    assert!(gpu.disabled_reason().unwrap().contains("signal: 11"), "{:?}", gpu.disabled_reason());
    let refused = detect(&program(directory.path(), GpuMode::True, crashing)).await.err().unwrap();
    assert!(refused.to_string().contains("signal: 11"), "{refused}");
}

#[tokio::test]
async fn a_machine_that_cannot_make_clips_is_refused_with_or_without_a_gpu() {
    let directory = tempfile::tempdir().unwrap();
    let incomplete = r#"echo '{"missing": ["element mp4mux"]}'; exit 1"#;
    let refused = detect(&program(directory.path(), GpuMode::Auto, incomplete)).await.err().unwrap();
    assert!(refused.to_string().contains("mp4mux"), "{refused}");
}

#[test]
fn only_names_of_elements_become_labels() {
    assert_eq!(
        (label("nvh264enc"), label("x\n"), label(&"x".repeat(99))),
        ("nvh264enc".into(), "other".into(), "other".into())
    );
}

/// The longest wait for anything here; all of it takes well under a second.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The reason that [`media_program_process`] gives for each clip that the GPU failed.
const FAILED: &str = "nvh264dec+cuda+nvh264enc: nvencoder: NV_ENC_ERR_GENERIC";

/// A worker in this process, on a cloud in memory. Its media program is this test program: see
/// [`media_program_process`].
struct Stage {
    cloud: Cloud,
    memory: Memory,
    directory: tempfile::TempDir,
    address: SocketAddr,
    worker: JoinHandle<io::Result<()>>,
    stop: CancellationToken,
}

impl Stage {
    async fn new(gpu: GpuMode) -> Self {
        let memory = Memory::new();
        let (cloud, _) = memory.connect();
        for (topic, name) in
            [(names::CLIP_JOBS, names::CLIP_JOBS_WORKER), (names::PROGRESS_EVENTS, names::PROGRESS_EVENTS_STATUS)]
        {
            cloud.queue.ensure_topic(topic).await.unwrap();
            let (name, topic, ack_deadline) = (name.to_owned(), topic.to_owned(), Duration::from_secs(20));
            let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        cloud.objects.ensure_bucket("media").await.unwrap();
        let source = ObjectName::new("media", "a.mp4");
        cloud.objects.create(&source, NewObject::default(), Body::Bytes("video".into())).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            id: None,
            slots: 2,
            pipeline: media_program(directory.path()),
            gpu,
            sandbox: SandboxMode::Auto,
            encoder: "auto".into(),
            scratch: directory.path().join("scratch"),
            cache_mib: 16,
            price: SlotPrice::default(),
            links: None,
            access: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let worker = tokio::spawn(run(config, listener, cloud.clone(), stop.clone()));
        let stage = Self { cloud, memory, directory, address, worker, stop };
        stage.wait_for("/ready", r#""state":"enabled""#).await;
        stage
    }

    /// Makes the GPU fail its test from now on.
    fn break_gpu(&self) {
        fs::write(self.directory.path().join("broken"), "").unwrap();
    }

    async fn enqueue(&self, clip: &str) {
        let request = format!(
            r#"{{"batchId":"b-{clip}","ownerUid":"u1","projectId":"p1","source":{{"uri":"gs://media/a.mp4"}},
                "clips":[{{"clipId":"{clip}","startMs":0,"endMs":1000}}]}}"#
        );
        let policy = AccessPolicy::of_buckets("media", &[]);
        let batch = batch::check(&batch::from_json(request.as_bytes()).unwrap(), &policy, "").unwrap();
        let source = PinnedSource { uri: batch.source.uri.clone(), generation: 1, size_bytes: 5 };
        let job = Job::new(&batch, batch.plan(1).unwrap().remove(0), source, 0, 0);
        let message = Message { data: job::encode(&job).into(), ..Message::default() };
        self.cloud.queue.publish(names::CLIP_JOBS, message).await.unwrap();
    }

    /// Waits for the first event of a clip that matches.
    async fn event(&self, clip: &str, matches: impl Fn(&ClipEventKind) -> bool) -> ClipEventKind {
        let mut events = self.cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, 100);
        let found = timeout(TIMEOUT, async {
            loop {
                let delivery = events.next().await.unwrap().unwrap();
                let event = event::decode(&delivery.message.data).unwrap();
                delivery.ack();
                match event.kind {
                    EventKind::Clip { id, event } if id.as_str() == clip && matches(&event.kind) => return event.kind,
                    _ => {}
                }
            }
        });
        let found = found.await.expect("an event");
        events.close().await;
        found
    }

    /// Has a clip made. Returns how it was encoded.
    async fn make(&self, clip: &str) -> Encoding {
        self.enqueue(clip).await;
        let ended = |kind: &ClipEventKind| matches!(kind, ClipEventKind::Completed { .. } | ClipEventKind::Failed(_));
        match self.event(clip, ended).await {
            ClipEventKind::Completed { encoding, .. } => encoding,
            other => panic!("{other:?}"),
        }
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until the worker's response contains a text.
    async fn wait_for(&self, path: &str, expected: &str) -> String {
        let mut last = String::new();
        let waiting = timeout(TIMEOUT, async {
            loop {
                last = self.get(path).await.unwrap_or_else(|error| error.to_string());
                if last.contains(expected) {
                    return last.clone();
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        waiting.await.unwrap_or_else(|_| panic!("{path} never contained {expected}"))
    }
}

/// A program that handles `--check` itself and otherwise runs [`media_program_process`].
fn media_program(directory: &Path) -> PathBuf {
    let (ours, path) = (std::env::current_exe().unwrap(), directory.join("program"));
    let [passed, failed] = [true, false].map(|passed| report(passed).to_string());
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$1\" = --check ]; then\n\
         if [ -e '{directory}/broken' ]; then echo '{failed}'; else echo '{passed}'; fi; exit\n\
         fi\n\
         exec '{ours}' --quiet --ignored --exact gpu::tests::media_program_process\n",
        directory = directory.display(),
        ours = ours.display(),
    );
    write_program(&path, &script);
    path
}

/// With a GPU, every clip fails on it and is then made on the CPU. A clip named `endless` never finishes.
#[test]
#[ignore = "the media program, which the tests below start"]
fn media_program_process() {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut length = [0; 4];
    // The process was not started by a worker, or its worker ended before it needed it.
    if socket.peer_addr().is_err() || socket.read_exact(&mut length).is_err() {
        return;
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut bytes).unwrap();
    let Some(to_pipeline::Message::Start(request)) = ToPipeline::decode(bytes.as_slice()).unwrap().message else {
        panic!("no request");
    };
    if request.clip.unwrap().clip_id == "endless" {
        let _ = socket.read_exact(&mut length);
        return;
    }
    let directory = PathBuf::from(request.directory);
    for file in ["clip.mp4", "cover.jpg"] {
        fs::write(directory.join(file), file).unwrap();
    }
    let with_gpu = std::env::var("GPU_ENABLED").as_deref() != Ok("false");
    let (fallback_kind, fallback_reason) =
        if with_gpu { ("gpu_failed", FAILED) } else { ("gpu_disabled", request.gpu_disabled_reason.as_str()) };
    let finished = TranscodeFinished {
        file: "clip.mp4".into(),
        cover: "cover.jpg".into(),
        manifest: "{}".into(),
        encoder: "x264enc".into(),
        decoder: "avdec_h264".into(),
        fallback_kind: fallback_kind.into(),
        fallback_reason: fallback_reason.into(),
        ..TranscodeFinished::default()
    };
    let message = FromPipeline { message: Some(from_pipeline::Message::Finished(finished)) }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_le_bytes();
    socket.write_all(&[&length[..], &message].concat()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_fails_clips_and_then_its_test_is_disabled_and_every_clip_records_why() {
    let stage = Stage::new(GpuMode::Auto).await;
    stage.break_gpu();
    for number in 0..MAX_GPU_FAILURES {
        let encoding = stage.make(&format!("c{number}")).await;
        assert_eq!((encoding.fallback_reason.as_str(), encoding.decoder.as_str()), (FAILED, "avdec_h264"));
    }
    let ready = stage.wait_for("/ready", r#""state":"disabled""#).await;
    assert!(ready.starts_with("HTTP/1.0 200") && ready.contains("NV_ENC_ERR_GENERIC"), "{ready}");
    let reason = report(false)["gpu"]["note"].as_str().unwrap().to_owned();
    assert_eq!(stage.make("after").await.fallback_reason, reason);
    let metrics = stage.get("/metrics").await.unwrap();
    for name in
        ["clipfleet_gpu_quarantined", r#"clipfleet_fallbacks_total{kind="gpu_failed"}"#, "clipfleet_gpu_retests_total"]
    {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    stage.stop.cancel();
    stage.worker.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_requires_a_gpu_requeues_its_jobs_and_ends_when_the_gpu_fails() {
    let mut stage = Stage::new(GpuMode::True).await;
    stage.break_gpu();
    stage.enqueue("endless").await;
    stage.event("endless", |kind| *kind == ClipEventKind::Started).await;
    for number in 1..MAX_GPU_FAILURES {
        stage.make(&format!("c{number}")).await;
    }
    // This clip may or may not be completed before the worker ends.
    stage.enqueue("last").await;
    let ended = timeout(TIMEOUT, &mut stage.worker).await.expect("the worker ends").unwrap().unwrap_err();
    assert!(ended.to_string().contains("NV_ENC_ERR_GENERIC"), "{ended}");
    stage.event("endless", |kind| *kind == ClipEventKind::Interrupted).await;
    let unsettled = stage.memory.unsettled(names::CLIP_JOBS_WORKER);
    assert!((1..=2).contains(&unsettled), "other workers receive {unsettled} jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_passes_its_test_again_stays_in_use() {
    let stage = Stage::new(GpuMode::Auto).await;
    for number in 0..=MAX_GPU_FAILURES {
        assert_eq!(stage.make(&format!("c{number}")).await.fallback_reason, FAILED);
    }
    stage.wait_for("/metrics", r#"clipfleet_gpu_retests_total{outcome="passed"}"#).await;
    assert!(stage.get("/ready").await.unwrap().contains(r#""state":"enabled""#));
    stage.stop.cancel();
    stage.worker.await.unwrap().unwrap();
}
