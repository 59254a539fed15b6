//! Input that no client sends: mutated protobuf, JSON that is none, lying headers, names that climb. Nothing panics, nothing
//! leaves the data folder, and honest callers are served on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use clipfleet_emulator::{Config, Emulator};
use fastrand::Rng;
use googleapis_tonic_google_firestore_v1::google::firestore::v1 as fs;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as ps;
use googleapis_tonic_google_storage_v2::google::storage::v2 as gcs;
use prost::Message;
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use support::*;
use tokio::io::AsyncWriteExt;

const DATABASE: &str = "projects/test/databases/(default)";

/// Panics of the server since the test began.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let ours = panic.location().is_some_and(|place| place.file().ends_with("hostile.rs"));
        PANICS.fetch_add(usize::from(!ours), Ordering::Relaxed);
        report(panic);
    }));
}

fn dice() -> Rng {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// Well-formed calls to start from.
fn honest_calls() -> Vec<(&'static str, Vec<u8>)> {
    let value = |kind| fs::Value { value_type: Some(kind) };
    let deep = (0..30).fold(value(fs::value::ValueType::IntegerValue(1)), |inner, _| {
        value(fs::value::ValueType::ArrayValue(fs::ArrayValue { values: vec![inner] }))
    });
    let document = fs::Document {
        name: format!("{DATABASE}/documents/c/d"),
        fields: [("a".to_owned(), deep), ("b".to_owned(), value(fs::value::ValueType::DoubleValue(f64::NAN)))].into(),
        ..fs::Document::default()
    };
    let write = fs::Write { operation: Some(fs::write::Operation::Update(document)), ..fs::Write::default() };
    let from = fs::structured_query::CollectionSelector { collection_id: "c".into(), all_descendants: true };
    let query = fs::StructuredQuery { from: vec![from], offset: 3, ..fs::StructuredQuery::default() };
    let run = fs::RunQueryRequest {
        parent: format!("{DATABASE}/documents"),
        query_type: Some(fs::run_query_request::QueryType::StructuredQuery(query)),
        ..fs::RunQueryRequest::default()
    };
    let message = ps::PubsubMessage {
        data: b"x".to_vec(),
        attributes: [("kind".to_owned(), "y".to_owned())].into(),
        ..ps::PubsubMessage::default()
    };
    let (topic, subscription) = (TOPIC.to_owned(), SUBSCRIPTION.to_owned());
    let filtered = ps::Subscription {
        name: "projects/test/subscriptions/filtered".into(),
        topic: topic.clone(),
        filter: r#"attributes.kind = "y" AND NOT hasPrefix(attributes.kind, "z")"#.into(),
        ..ps::Subscription::default()
    };
    let ack_ids = vec!["1-1".into(), "ffffffffffffffff-ffffffffffffffff".into()];
    let get_object = gcs::GetObjectRequest {
        bucket: "projects/_/buckets/clips".into(),
        object: "../../escape".into(),
        ..gcs::GetObjectRequest::default()
    };
    let acknowledge = ps::AcknowledgeRequest { subscription: subscription.clone(), ack_ids: ack_ids.clone() };
    let modify = ps::ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds: 600 };
    let commit = fs::CommitRequest { database: DATABASE.into(), writes: vec![write.clone()], transaction: Vec::new() };
    let batch = fs::BatchWriteRequest { database: DATABASE.into(), writes: vec![write], ..Default::default() };
    vec![
        ("google.pubsub.v1.Publisher/Publish", ps::PublishRequest { topic, messages: vec![message] }.encode_to_vec()),
        ("google.pubsub.v1.Subscriber/CreateSubscription", filtered.encode_to_vec()),
        ("google.pubsub.v1.Subscriber/Acknowledge", acknowledge.encode_to_vec()),
        ("google.pubsub.v1.Subscriber/ModifyAckDeadline", modify.encode_to_vec()),
        ("google.firestore.v1.Firestore/Commit", commit.encode_to_vec()),
        ("google.firestore.v1.Firestore/BatchWrite", batch.encode_to_vec()),
        ("google.firestore.v1.Firestore/RunQuery", run.encode_to_vec()),
        ("google.storage.v2.Storage/GetObject", get_object.encode_to_vec()),
    ]
}

/// Does to bytes what disks, networks and attackers do.
fn mutate(dice: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..dice.usize(1..6) {
        let at = if bytes.is_empty() { 0 } else { dice.usize(0..bytes.len()) };
        match dice.u8(0..6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.u8(0..8),
            1 => bytes.truncate(at),
            2 => bytes.splice(at..at, std::iter::repeat_with(|| dice.u8(..)).take(9)).for_each(drop),
            // A length that lies: the largest varint.
            3 => bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).for_each(drop),
            4 if !bytes.is_empty() => bytes[at] = 0xff,
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

/// A message in gRPC's framing, which may lie, too.
fn frame(dice: &mut Rng, message: &[u8]) -> Vec<u8> {
    let length = if dice.u8(0..20) == 0 { dice.u32(..) } else { u32::try_from(message.len()).unwrap() };
    let mut frame = vec![u8::from(dice.u8(0..20) == 0)];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// A server in a folder beside a file that it has no business with.
struct Besieged {
    parent: tempfile::TempDir,
    cloud: Emulator,
    url: String,
}

impl Besieged {
    async fn new() -> Self {
        count_panics();
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("canary"), "alive").unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let cloud = Emulator::start(Config { data: parent.path().join("data"), listen }).await.unwrap();
        let url = format!("http://{}", cloud.address());
        PubSub::new(&url).await.with_queue().await;
        let made = reqwest::Client::new().post(format!("{url}/storage/v1/b")).body(r#"{"name":"clips"}"#);
        assert_eq!(made.send().await.unwrap().status(), 200);
        Self { parent, cloud, url }
    }

    /// Nothing fell over, nothing got out, and the honest are served.
    async fn still_stands(self) {
        let pubsub = PubSub::new(&self.url).await;
        soon(pubsub.publish(TOPIC, "honest")).await;
        let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
        loop {
            let (message, handler) = soon(stream.next()).await.unwrap().unwrap();
            handler.ack();
            if message.data == "honest" {
                break;
            }
        }
        let client = storage(&self.url).await;
        let bucket = "projects/_/buckets/clips";
        soon(client.write_object(bucket, "honest", "object").send_unbuffered()).await.unwrap();
        assert_eq!(reqwest::get(format!("{}/clips/honest", self.url)).await.unwrap().text().await.unwrap(), "object");
        self.cloud.stop().await;
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics");
        assert_eq!(names(self.parent.path()), ["canary", "data"]);
        assert_eq!(std::fs::read_to_string(self.parent.path().join("canary")).unwrap(), "alive");
        assert_eq!(names(&self.parent.path().join("data")), ["objects", "state.redb", "uploads"]);
        for file in names(&self.parent.path().join("data/objects")) {
            assert!(file.bytes().all(|byte| byte.is_ascii_digit()), "{file}");
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_calls_are_refused_and_nothing_falls_over() {
    let mut dice = dice();
    let besieged = Besieged::new().await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let calls = honest_calls();
    let mut refused = 0;
    for round in 0..4_000 {
        let (method, message) = &calls[round % calls.len()];
        let message = mutate(&mut dice, message.clone());
        let body = frame(&mut dice, &message);
        let call = http2.post(format!("{}/{method}", besieged.url)).header("content-type", "application/grpc");
        let answer = soon(call.header("te", "trailers").body(body).send()).await.unwrap();
        // gRPC's errors travel as 200 with a status in the headers when there is no message.
        refused += usize::from(answer.headers().get("grpc-status").is_some_and(|status| status != "0"));
    }
    assert!(refused > 1_000, "{refused} of 4000 refused: the mutations do something");
    besieged.still_stands().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_are_refused_and_nothing_escapes() {
    let mut dice = dice();
    let besieged = Besieged::new().await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let long = "n".repeat(60_000);
    let climbing =
        ["..%2F..%2Fescape", "%2E%2E/%2E%2E/escape", "%2Fetc%2Fpasswd", "a%00b", "%FF%FE", ".", "%2e%2e", &long];
    let routes = ["upload/storage/v1/b/clips/o?uploadType=media&name=", "storage/v1/b/clips/o/", "clips/", "", "v1/"];
    for route in routes {
        for name in climbing {
            for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
                let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
                let answer = http.request(method.clone(), format!("{}/{route}{name}", besieged.url)).body("x");
                // Some addresses are too odd for the client itself.
                if let Ok(answer) = answer.send().await {
                    assert_ne!(answer.status(), 500, "{method} {route}{name:.40}");
                }
            }
        }
    }
    let bodies = [
        "[".repeat(200_000),
        r#"{"name":"#.repeat(50_000),
        "{\"messages\":[{\"data\":\"\u{fffd}\"}]}".into(),
        "1e999999".into(),
        r#"{"structuredQuery":{"limit":-1,"from":[{"collectionId":"c"}],"offset":99999999999}}"#.into(),
        r#"{"writes":[{"update":{"name":"projects/p/databases/(default)/documents/../../x/y"}}]}"#.into(),
        r#"{"name":"../../bucket"}"#.into(),
        String::new(),
    ];
    let places = [
        format!("v1/{TOPIC}:publish"),
        format!("v1/{SUBSCRIPTION}:pull"),
        format!("v1/{DATABASE}/documents:runQuery"),
        format!("v1/{DATABASE}/documents:commit"),
        "storage/v1/b".into(),
        "upload/storage/v1/b/clips/o?uploadType=multipart".into(),
        "upload/storage/v1/b/clips/o?uploadType=resumable".into(),
        "_clipfleet/faults".into(),
    ];
    for place in &places {
        for body in &bodies {
            let post = http.post(format!("{}/{place}", besieged.url)).body(body.clone());
            let answer = soon(post.header("content-type", "multipart/related; boundary=\"").send()).await.unwrap();
            assert!(answer.status().is_client_error() || answer.status() == 501 || answer.status() == 200, "{place}");
        }
    }
    let headers = ["range", "content-range", "x-goog-hash", "content-type", "origin", "x-goog-if-generation-match"];
    let values = [
        "bytes=18446744073709551615-",
        "bytes 0-18446744073709551615/*",
        "bytes */-1",
        "crc32c=????",
        "\u{7f}".trim(),
        "-9223372036854775809",
        ",,,,=;",
    ];
    for header in headers {
        for value in values {
            for method in [reqwest::Method::GET, reqwest::Method::PUT] {
                let call =
                    http.request(method, format!("{}/clips/headers", besieged.url)).header(header, value).body("x");
                if let Ok(answer) = call.send().await {
                    assert_ne!(answer.status(), 500, "{header}: {value}");
                }
            }
        }
    }
    let address = besieged.cloud.address();
    for _ in 0..300 {
        let start: &[u8] = match dice.u8(0..4) {
            0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            1 => b"PUT /clips/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
            2 => b"POST /clips/../../escape HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            _ => b"",
        };
        let mut bytes = start.to_vec();
        let noise = dice.usize(0..4_000);
        bytes.extend(std::iter::repeat_with(|| dice.u8(..)).take(noise));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // It may hang up in the middle; that is an answer.
        let _ = stream.write_all(&bytes).await;
    }
    besieged.still_stands().await;
}

/// Requests to a channel that no browser sends, some of them in the right order.
#[tokio::test(flavor = "multi_thread")]
async fn channels_that_lie_are_refused_and_those_that_are_left_alone_make_room() {
    let mut dice = dice();
    let besieged = Besieged::new().await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let channel = |stream: &str| format!("{}/google.firestore.v1.Firestore/{stream}/channel", besieged.url);
    let hello = format!(
        r#"{{"database":"{DATABASE}","addTarget":{{"targetId":2,"documents":{{"documents":["{DATABASE}/documents/c/d"]}}}}}}"#
    );
    let open = async |stream: &str, message: String| {
        let form = [("count", "1".to_owned()), ("ofs", "0".to_owned()), ("req0___data__", message)];
        let answer =
            soon(http.post(format!("{}?VER=8&RID=1&CVER=22", channel(stream))).form(&form).send()).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let session = async |stream: &str| {
        let (status, text) = open(stream, hello.clone()).await;
        assert_eq!(status, 200, "{text}");
        text.split('"').nth(3).unwrap().to_owned()
    };
    let known = session("Listen").await;
    let queries = [
        "",
        "VER=7",
        "VER=8",
        "VER=8&SID=",
        "VER=8&SID=nobody",
        "SID={known}",
        "SID={known}&RID=rpc",
        "SID={known}&RID=rpc&AID=-1",
        "SID={known}&RID=rpc&AID=18446744073709551616",
        "SID={known}&RID=rpc&AID=9007199254740991",
        "SID={known}&RID=rpc&AID=0&TYPE=html",
        "SID={known}&RID=rpc&AID=0&CI=1&TO=x",
        "SID={known}&RID=7&AID=5",
        "TYPE=terminate",
        "SID={known}&RID=rpc&AID=%00",
        "VER=8&SID=null&RID=1",
        "SID={known}&SID={known}&AID=0&AID=1",
    ];
    let forms = [
        String::new(),
        "count=1".into(),
        "count=1000000".into(),
        "count=-1".into(),
        "count=2&ofs=0&req0___data__=x".into(),
        "count=1&ofs=18446744073709551615&req0___data__={}".into(),
        "count=1&ofs=9007199254740991&req0___data__={}".into(),
        format!("count=1&ofs=0&req0___data__={}", "[".repeat(100_000)),
        "%FF%FE=%00&count=%31".into(),
        "count=1&ofs=0&req0___data__=".into(),
        "&".repeat(100_000),
        "=".repeat(100_000),
        format!("count=1000&ofs=0{}", "&req0___data__={}".repeat(1_000)),
    ];
    for stream in ["Listen", "Write", "Read", "Listen/channel", ".."] {
        for query in queries {
            let url = format!("{}?{}", channel(stream), query.replace("{known}", &known));
            for form in &forms {
                let answer = soon(http.post(&url).body(form.clone()).send()).await.unwrap();
                let status = answer.status();
                assert!(
                    status.is_client_error() || [200, 501].contains(&status.as_u16()),
                    "{status} POST {url} {form:.60}"
                );
                assert!(soon(answer.text()).await.unwrap().len() < 2_000);
            }
            for method in ["GET", "PUT", "DELETE", "HEAD", "PATCH"] {
                let answer = http.request(reqwest::Method::from_bytes(method.as_bytes()).unwrap(), &url);
                // Some are right, and their answers stay open.
                let answer = soon(answer.send()).await.unwrap();
                assert!(
                    answer.status().is_client_error() || [200, 501].contains(&answer.status().as_u16()),
                    "{method} {url}"
                );
            }
        }
    }
    // Messages that are none, to streams that are.
    for _ in 0..300 {
        let stream = ["Listen", "Write"][dice.usize(0..2)];
        let message = String::from_utf8_lossy(&mutate(&mut dice, hello.clone().into_bytes())).into_owned();
        let (status, text) = open(stream, message).await;
        assert_eq!(status, 200, "{text}");
        let id = text.split('"').nth(3).unwrap();
        let asked = http.get(format!("{}?SID={id}&RID=rpc&AID=0&CI=1&TO=1000&TYPE=xmlhttp", channel(stream)));
        let answer = soon(asked.send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(soon(answer.text()).await.unwrap().starts_with(|first: char| first.is_ascii_digit()));
    }
    // More browsers than there may be, which never come back: the first make room, and who is being answered stays.
    let stays = session("Listen").await;
    let held = http.get(format!("{}?SID={stays}&RID=rpc&AID=0&CI=0&TYPE=xmlhttp", channel("Listen")));
    let mut held = soon(held.send()).await.unwrap();
    assert!(soon(held.chunk()).await.unwrap().is_some());
    let first = session("Listen").await;
    for _ in 0..700 {
        session(["Listen", "Write"][dice.usize(0..2)]).await;
    }
    let ask = async |id: &str| {
        let query = format!("VER=8&SID={id}&RID=2&AID=0");
        soon(http.post(format!("{}?{query}", channel("Listen"))).body("count=0").send()).await.unwrap().status()
    };
    assert_eq!(ask(&first).await, 400, "it made room");
    assert_eq!(ask(&stays).await, 200, "it is being answered");
    besieged.still_stands().await;
}
