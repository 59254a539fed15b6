//! The emulator alone: the official clients on one side, a synced disk on the other.

use crate::print_latency;
use clipfleet_cloud::{
    Body, Cloud, Fields, Message, NewObject, ObjectName, Precondition, SubscriptionSpec, Value, Write,
    google::{self, Endpoints},
};
use clipfleet_tests::pipeline_process::resident_kib;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Messages of the throughput benchmarks, and the size of each in bytes.
const MESSAGES: u32 = 20_000;
const MESSAGE_BYTES: usize = 200;
/// Queued messages when memory is measured.
const QUEUED: u32 = 1_000_000;
/// Commits of the throughput benchmark, and how many are in flight.
const COMMITS: u32 = 10_000;
const COMMITTERS: u32 = 64;
/// Size of the object that is uploaded and read.
const OBJECT_MIB: u32 = 256;

/// `clipfleet-emulator` in its own process.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        let program = clipfleet_tests::fleet::program().with_file_name("clipfleet-emulator");
        let mut command = Command::new(program);
        let mut child = command.arg(data).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, address: url.trim().trim_start_matches("http://").to_owned() }
    }

    /// host:port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn connect(&self) -> Cloud {
        let address = Some(self.address.clone());
        let (pubsub, firestore, storage) = (address.clone(), address.clone(), address);
        let endpoints = Endpoints { project: "clipfleet-local".into(), pubsub, firestore, storage, database: None };
        google::connect(&endpoints).await.unwrap()
    }

    /// Memory of the process in MiB.
    fn resident(&self) -> u64 {
        resident_kib(self.child.id()) >> 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All benchmarks of the emulator.
pub(crate) async fn figures(directory: &Path) {
    let data = directory.join("emulator");
    disk(directory);
    let server = Server::start(&data);
    let cloud = server.connect().await;
    messages(&cloud).await;
    documents(&cloud).await;
    objects(&cloud).await;
    backlog(server, cloud, &data).await;
}

/// The latency of a synced write to the disk: the lower bound of every durable answer.
fn disk(directory: &Path) {
    let mut file = File::create(directory.join("disk")).unwrap();
    let mut samples = Vec::new();
    for _ in 0..300 {
        let started = Instant::now();
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
        samples.push(started.elapsed());
    }
    print_latency("disk: 4 KiB written and synced", samples);
}

fn per_second(count: u32, since: Instant) -> f64 {
    f64::from(count) / since.elapsed().as_secs_f64()
}

pub(crate) async fn ensure_queue(cloud: &Cloud, topic: &str, subscription: &str) {
    cloud.queue.ensure_topic(topic).await.unwrap();
    let (name, topic, ack_deadline) = (subscription.to_owned(), topic.to_owned(), Duration::from_secs(60));
    let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
    cloud.queue.ensure_subscription(&spec).await.unwrap();
}

/// Publishes `count` messages, up to 10,000 of them in flight.
async fn publish(cloud: &Cloud, topic: &'static str, count: u32) {
    let mut publishing = JoinSet::new();
    for _ in 0..count {
        let queue = cloud.queue.clone();
        let message = Message { data: vec![b'x'; MESSAGE_BYTES].into(), ..Message::default() };
        publishing.spawn(async move { queue.publish(topic, message).await.unwrap() });
        if publishing.len() >= 10_000 {
            publishing.join_next().await.unwrap().unwrap();
        }
    }
    publishing.join_all().await;
}

async fn messages(cloud: &Cloud) {
    ensure_queue(cloud, "throughput", "throughput").await;
    let started = Instant::now();
    publish(cloud, "throughput", MESSAGES).await;
    println!("publish, confirmed: {:.0} messages/s", per_second(MESSAGES, started));
    let started = Instant::now();
    let mut deliveries = cloud.queue.subscribe("throughput", 1_000);
    for _ in 0..MESSAGES {
        deliveries.next().await.unwrap().unwrap().ack();
    }
    println!("receive and acknowledge: {:.0} messages/s", per_second(MESSAGES, started));
    deliveries.close().await;
}

fn write(path: String, number: u32) -> Write {
    let fields: Fields = [("number".to_owned(), Value::Integer(number.into()))].into();
    Write { path, fields, precondition: Precondition::None }
}

async fn documents(cloud: &Cloud) {
    let mut samples = Vec::new();
    for n in 0..300 {
        let started = Instant::now();
        cloud.documents.commit(vec![write("bench/one".into(), n)]).await.unwrap();
        samples.push(started.elapsed());
    }
    print_latency("commit of one document", samples);
    let started = Instant::now();
    let mut committers = JoinSet::new();
    for committer in 0..COMMITTERS {
        let documents = cloud.documents.clone();
        committers.spawn(async move {
            for n in 0..COMMITS / COMMITTERS {
                documents.commit(vec![write(format!("bench/{committer}-{}", n % 100), n)]).await.unwrap();
            }
        });
    }
    committers.join_all().await;
    println!(
        "commits by {COMMITTERS} callers: {:.0} commits/s",
        per_second(COMMITS / COMMITTERS * COMMITTERS, started)
    );
}

async fn objects(cloud: &Cloud) {
    cloud.objects.ensure_bucket("bench").await.unwrap();
    let name = ObjectName::new("bench", "big");
    let content = vec![7_u8; (OBJECT_MIB as usize) << 20];
    let started = Instant::now();
    let created = cloud.objects.create(&name, NewObject::default(), Body::Bytes(content.into())).await.unwrap();
    println!("upload: {:.0} MiB/s", per_second(OBJECT_MIB, started));
    let started = Instant::now();
    for mib in 0..u64::from(OBJECT_MIB) {
        let range = mib << 20..(mib + 1) << 20;
        cloud.objects.read(&name, created.generation, range).await.unwrap();
    }
    println!("ranged download, 1 MiB at a time: {:.0} MiB/s", per_second(OBJECT_MIB, started));
    let mut samples = Vec::new();
    for n in 0..500 {
        let started = Instant::now();
        let range = n * 500_000..n * 500_000 + 65_536;
        cloud.objects.read(&name, created.generation, range).await.unwrap();
        samples.push(started.elapsed());
    }
    print_latency("ranged read of 64 KiB", samples);
}

/// Memory with a million queued messages, and how long a restart with them takes.
async fn backlog(server: Server, cloud: Cloud, data: &Path) {
    ensure_queue(&cloud, "backlog", "backlog").await;
    let before = server.resident();
    let started = Instant::now();
    publish(&cloud, "backlog", QUEUED).await;
    let (rate, after) = (per_second(QUEUED, started), server.resident());
    println!(
        "{QUEUED} queued messages of {MESSAGE_BYTES} B: {after} MiB resident, {before} MiB before; published at \
         {rate:.0}/s"
    );
    drop((cloud, server));
    let started = Instant::now();
    let server = Server::start(data);
    println!(
        "restart with them after SIGKILL: {:.1} s, {} MiB resident",
        started.elapsed().as_secs_f64(),
        server.resident()
    );
}
