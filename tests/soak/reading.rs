//! Twenty clips of a two-hour source: the share of the source that a worker reads.

use async_trait::async_trait;
use bytes::Bytes;
use clipfleet_cloud::{
    Body, Cloud, CloudError, Hosts, Message, NewObject, ObjectInfo, ObjectName, Objects, SubscriptionSpec, memory,
};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    audio::Audio,
    clip::{Clip, Window},
    ids::{BatchId, ClipId, OwnerUid, ProjectId},
    job::{BatchContext, EventKind, Job, PinnedSource},
    lifecycle::ClipEventKind,
    reframe::Reframe,
    rendition::{Aspect, Quality, Rendition},
    source::ObjectUri,
};
use clipfleet_tests::{fixtures::directory, pipeline_process::binary};
use clipfleet_worker::{Config, GpuMode, SandboxMode};
use std::{
    collections::BTreeMap,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SOURCE: &str = "gs://clipfleet-local/two-hours.mp4";
const GENERATION: i64 = 7;

const CLIPS: i64 = 20;
const CLIP_MS: i64 = 60_000;
/// Distance between the starts of two clips: they are spread over the two hours, and none starts at a key frame.
const CLIP_INTERVAL_MS: i64 = 352_345;

/// Maximum bytes read, relative to the bytes that cover the clips: blocks are 1 MiB, and read-ahead goes beyond a
/// clip's end.
const MAX_READ_RATIO: f64 = 1.15;

/// Maximum wait for all clips.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1_800);

/// An object store whose only source is a file. It counts the reads of the source.
struct CountingObjects {
    source: File,
    others: Arc<dyn Objects>,
    bytes: AtomicU64,
    reads: AtomicU64,
    stats: AtomicU64,
}

impl CountingObjects {
    fn is_source(name: &ObjectName) -> bool {
        name.to_string() == SOURCE
    }
}

#[async_trait]
impl Objects for CountingObjects {
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError> {
        self.stats.fetch_add(u64::from(Self::is_source(name)), Relaxed);
        self.others.stat(name, generation).await
    }

    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError> {
        assert!(Self::is_source(name) && generation == GENERATION, "{name} {generation}");
        self.bytes.fetch_add(range.end - range.start, Relaxed);
        self.reads.fetch_add(1, Relaxed);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.source.read_exact_at(&mut bytes, range.start).expect("the source");
        Ok(bytes.into())
    }

    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError> {
        self.others.create(name, new, body).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError> {
        self.others.delete(name).await
    }

    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError> {
        self.others.set_metadata(name, found, metadata).await
    }

    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        self.others.signed_url(name, lifetime).await
    }

    fn hosts(&self) -> &Hosts {
        self.others.hosts()
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        self.others.ensure_bucket(bucket).await
    }
}

fn ffmpeg(arguments: &[&str]) {
    let done = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).status();
    assert!(done.expect("ffmpeg must be installed for media tests").success(), "ffmpeg {arguments:?}");
}

/// Two hours at about 5 Mbit/s: one minute, repeated a hundred and twenty times.
fn two_hours(directory: &Path, header_first: bool, audio_tracks: usize) -> PathBuf {
    let minute = directory.join("minute.mp4");
    let path = directory.join("two-hours.mp4");
    let (from, to) = (minute.to_str().expect("a name"), path.to_str().expect("a name"));
    if !minute.exists() {
        let inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=60,noise=alls=60:allf=t"];
        let audio = ["-f", "lavfi", "-i", "sine=frequency=330:beep_factor=4:sample_rate=48000:duration=60"];
        let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4900k", "-g", "250", "-pix_fmt", "yuv420p"];
        ffmpeg(&[&inputs[..], &audio[..], &x264[..], &["-c:a", "aac", "-b:a", "128k", from]].concat());
    }
    let first: &[&str] = if header_first { &["-movflags", "+faststart"] } else { &[] };
    let audio_maps = ["-map", "0:a"].repeat(audio_tracks);
    ffmpeg(
        &[&["-stream_loop", "119", "-i", from, "-c", "copy", "-map", "0:v"], &audio_maps[..], first, &[to]].concat(),
    );
    path
}

/// The number of bytes from the required key frame to the last packet of a window, video and audio.
fn covering(path: &Path, start_ms: i64, end_ms: i64) -> u64 {
    let interval = format!("{}%{}", start_ms as f64 / 1_000.0, end_ms as f64 / 1_000.0);
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-read_intervals", &interval, "-show_entries", "packet=pos,size", "-of", "csv=p=0"]);
    let output = command.arg(path).output().expect("ffprobe must be installed for media tests");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packets = text.lines().filter_map(|line| {
        let mut fields = line.split(',').filter_map(|field| field.parse::<u64>().ok());
        let (size, at) = (fields.next()?, fields.next()?);
        Some((at, at + size))
    });
    let (first, last) = packets.fold((u64::MAX, 0), |(first, last), (from, to)| (first.min(from), last.max(to)));
    assert!(first < last, "{text}");
    last - first
}

/// The size of the header, bytes.
fn header(path: &Path) -> u64 {
    let file = File::open(path).expect("the source");
    let (mut at, size) = (0, file.metadata().expect("the source").len());
    while at < size {
        let mut head = [0; 16];
        file.read_exact_at(&mut head, at).expect("a box");
        let [length, kind, wide @ ..] = [&head[..4], &head[4..8], &head[8..]];
        let length = match u32::from_be_bytes(length.try_into().expect("four bytes")) {
            1 => u64::from_be_bytes(wide[0].try_into().expect("eight bytes")),
            length => u64::from(length),
        };
        if kind == b"moov" {
            return length;
        }
        at += length;
    }
    panic!("no header")
}

fn job(number: i64, size_bytes: u64) -> Job {
    let start_ms = 7_345 + number * CLIP_INTERVAL_MS;
    let output = format!("gs://clipfleet-local/out/c{number}.mp4");
    Job {
        batch: BatchContext {
            id: BatchId::parse("b1").expect("an id"),
            owner: OwnerUid::parse("u1").expect("an id"),
            project: ProjectId::parse("p1").expect("an id"),
            size: CLIPS as u32,
        },
        generation: 0,
        source: PinnedSource { uri: ObjectUri::parse(SOURCE).expect("a name"), generation: GENERATION, size_bytes },
        clip: Clip {
            id: ClipId::parse(&format!("c{number}")).expect("an id"),
            window: Window::new(start_ms, start_ms + CLIP_MS).expect("a window"),
            reframe: Reframe::default(),
            cover_at_ms: None,
            audio: Audio::default(),
        },
        rendition: Rendition { quality: Quality::P720, aspect: Aspect::Square, fps: 24 },
        output: ObjectUri::parse(&output).expect("a name"),
        settings_hash: format!("{number}"),
        queued_at_ms: 0,
    }
}

async fn subscribed(cloud: &Cloud, topic: &str, name: &str) {
    cloud.queue.ensure_topic(topic).await.expect("a topic");
    let ack_deadline = Duration::from_secs(20);
    let spec =
        SubscriptionSpec { name: name.into(), topic: topic.into(), ack_deadline, dead_letter: None, backoff: None };
    cloud.queue.ensure_subscription(&spec).await.expect("a subscription");
}

async fn read_by_twenty_clips(path: &Path, what: &str) {
    let source = File::open(path).expect("the source");
    let size = source.metadata().expect("the source").len();
    let memory = memory::cloud();
    memory.objects.ensure_bucket("clipfleet-local").await.expect("a bucket");
    let (bytes, reads, stats) = Default::default();
    let counting = Arc::new(CountingObjects { source, others: memory.objects.clone(), bytes, reads, stats });
    let cloud = Cloud { objects: Arc::clone(&counting) as Arc<dyn Objects>, ..memory };
    subscribed(&cloud, names::CLIP_JOBS, names::CLIP_JOBS_WORKER).await;
    subscribed(&cloud, names::PROGRESS_EVENTS, names::PROGRESS_EVENTS_STATUS).await;

    let scratch = directory();
    let config = Config {
        id: None,
        price: clipfleet_domain::cost::SlotPrice::default(),
        slots: 2,
        pipeline: binary(),
        gpu: GpuMode::default(),
        sandbox: SandboxMode::default(),
        encoder: "auto".into(),
        scratch: scratch.path().to_owned(),
        cache_mib: 256,
        links: None,
        access: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let stop = CancellationToken::new();
    let worker = tokio::spawn(clipfleet_worker::run(config, listener, cloud.clone(), stop.clone()));
    let mut needed = header(path);
    for number in 0..CLIPS {
        let job = job(number, size);
        needed += covering(path, job.clip.window.start_ms(), job.clip.window.end_ms());
        let message = Message { data: job::encode(&job).into(), ..Message::default() };
        cloud.queue.publish(names::CLIP_JOBS, message).await.expect("published");
    }
    let mut events = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, 100);
    let mut first_pictures = Vec::new();
    let completed = async {
        while first_pictures.len() < CLIPS as usize {
            let delivery = events.next().await.expect("events").expect("an event");
            match event::decode(&delivery.message.data).expect("an event").kind {
                EventKind::Clip { event, .. } => match event.kind {
                    ClipEventKind::Completed { output, .. } => first_pictures.push(output.timings.fetch_ms),
                    ClipEventKind::Failed(failure) => panic!("{failure:?}"),
                    _ => {}
                },
                other => panic!("{other:?}"),
            }
            delivery.ack();
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, completed).await.expect("twenty clips");
    stop.cancel();
    worker.await.expect("a worker").expect("a worker that ends well");

    let (read, reads) = (counting.bytes.load(Relaxed), counting.reads.load(Relaxed));
    let ratio = read as f64 / needed as f64;
    first_pictures.sort_unstable();
    println!(
        "{what}: {read} bytes in {reads} reads of {size}; {needed} cover the clips: {ratio:.3}; \
         first picture after {} ms (median), {} ms (longest)",
        first_pictures[first_pictures.len() / 2],
        first_pictures[first_pictures.len() - 1]
    );
    assert!(ratio <= MAX_READ_RATIO, "{ratio}");
    assert!(counting.stats.load(Relaxed) <= 1, "the source's metadata was read {:?} times", counting.stats);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "soak: about 12 minutes on 2 cores, 5 GB of disk"]
async fn twenty_clips_read_little_more_than_what_covers_them() {
    let directory = directory();
    // No element reads the second audio track, and a demuxer continues while any of it remains.
    let sources = [(false, 1, "header last"), (true, 1, "header first"), (true, 2, "a second audio track")];
    for (header_first, audio_tracks, what) in sources {
        let path = two_hours(directory.path(), header_first, audio_tracks);
        read_by_twenty_clips(&path, what).await;
    }
}
