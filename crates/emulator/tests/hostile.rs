//! Malformed input: mutated protobuf, invalid JSON, wrong headers, paths with `..`. The server must not panic or write
//! outside the data folder, and must continue to serve valid calls.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
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

/// Panics of the server since the test started.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let in_test = panic.location().is_some_and(|path| path.file().ends_with("hostile.rs"));
        PANICS.fetch_add(usize::from(!in_test), Ordering::Relaxed);
        report(panic);
    }));
}

fn rng() -> Rng {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// Valid calls to mutate.
fn valid_calls() -> Vec<(&'static str, Vec<u8>)> {
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

/// Applies random corruption to bytes.
fn mutate(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.usize(1..6) {
        let at = if bytes.is_empty() { 0 } else { rng.usize(0..bytes.len()) };
        match rng.u8(0..6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.u8(0..8),
            1 => bytes.truncate(at),
            2 => bytes.splice(at..at, std::iter::repeat_with(|| rng.u8(..)).take(9)).for_each(drop),
            // A wrong length: the largest varint.
            3 => bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).for_each(drop),
            4 if !bytes.is_empty() => bytes[at] = 0xff,
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

/// A message in gRPC's framing, whose length may also be wrong.
fn frame(rng: &mut Rng, message: &[u8]) -> Vec<u8> {
    let length = if rng.u8(0..20) == 0 { rng.u32(..) } else { u32::try_from(message.len()).unwrap() };
    let mut frame = vec![u8::from(rng.u8(0..20) == 0)];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// A server in a folder next to a file that it must not touch.
struct Target {
    parent: tempfile::TempDir,
    emulator: Emulator,
    url: String,
}

impl Target {
    async fn new() -> Self {
        count_panics();
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("canary"), "alive").unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let emulator = Emulator::start(Config { data: parent.path().join("data"), listen }).await.unwrap();
        let url = format!("http://{}", emulator.address());
        PubSub::new(&url).await.with_queue().await;
        let made = reqwest::Client::new().post(format!("{url}/storage/v1/b")).body(r#"{"name":"clips"}"#);
        assert_eq!(made.send().await.unwrap().status(), 200);
        Self { parent, emulator, url }
    }

    /// Checks that the server did not panic, wrote only into its data folder, and serves valid calls.
    async fn check_intact(self) {
        let pubsub = PubSub::new(&self.url).await;
        with_timeout(pubsub.publish(TOPIC, "honest")).await;
        let mut stream = pubsub.subscriber.subscribe(SUBSCRIPTION).build();
        loop {
            let (message, handler) = with_timeout(stream.next()).await.unwrap().unwrap();
            handler.ack();
            if message.data == "honest" {
                break;
            }
        }
        let client = storage(&self.url).await;
        let bucket = "projects/_/buckets/clips";
        with_timeout(client.write_object(bucket, "honest", "object").send_unbuffered()).await.unwrap();
        assert_eq!(reqwest::get(format!("{}/clips/honest", self.url)).await.unwrap().text().await.unwrap(), "object");
        self.emulator.stop().await;
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
async fn mutated_calls_are_rejected_without_a_panic() {
    let mut rng = rng();
    let target = Target::new().await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let calls = valid_calls();
    let mut rejected = 0;
    for round in 0..4_000 {
        let (method, message) = &calls[round % calls.len()];
        let message = mutate(&mut rng, message.clone());
        let body = frame(&mut rng, &message);
        let call = http2.post(format!("{}/{method}", target.url)).header("content-type", "application/grpc");
        let response = with_timeout(call.header("te", "trailers").body(body).send()).await.unwrap();
        // gRPC errors without a message have HTTP status 200 and the gRPC status in the headers.
        rejected += usize::from(response.headers().get("grpc-status").is_some_and(|status| status != "0"));
    }
    assert!(rejected > 1_000, "{rejected} of 4000 refused: the mutations have an effect");
    target.check_intact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_rejected_and_stay_in_the_data_folder() {
    let mut rng = rng();
    let target = Target::new().await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let long = "n".repeat(60_000);
    let traversals =
        ["..%2F..%2Fescape", "%2E%2E/%2E%2E/escape", "%2Fetc%2Fpasswd", "a%00b", "%FF%FE", ".", "%2e%2e", &long];
    let routes = [
        "upload/storage/v1/b/clips/o?uploadType=media&name=",
        "storage/v1/b/clips/o/",
        "v0/b/clips/o/",
        "clips/",
        "",
        "v1/",
    ];
    for route in routes {
        for name in traversals {
            for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
                let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
                let call = http.request(method.clone(), format!("{}/{route}{name}", target.url)).body("x");
                // The client itself rejects some of these URLs.
                if let Ok(response) = call.send().await {
                    assert_ne!(response.status(), 500, "{method} {route}{name:.40}");
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
    let paths = [
        format!("v1/{TOPIC}:publish"),
        format!("v1/{SUBSCRIPTION}:pull"),
        format!("v1/{DATABASE}/documents:runQuery"),
        format!("v1/{DATABASE}/documents:commit"),
        "storage/v1/b".into(),
        "upload/storage/v1/b/clips/o?uploadType=multipart".into(),
        "upload/storage/v1/b/clips/o?uploadType=resumable".into(),
        "_clipfleet/faults".into(),
    ];
    for path in &paths {
        for body in &bodies {
            let post = http.post(format!("{}/{path}", target.url)).body(body.clone());
            let response =
                with_timeout(post.header("content-type", "multipart/related; boundary=\"").send()).await.unwrap();
            assert!(
                response.status().is_client_error() || response.status() == 501 || response.status() == 200,
                "{path}"
            );
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
                    http.request(method, format!("{}/clips/headers", target.url)).header(header, value).body("x");
                if let Ok(response) = call.send().await {
                    assert_ne!(response.status(), 500, "{header}: {value}");
                }
            }
        }
    }
    let address = target.emulator.address();
    for _ in 0..300 {
        let start: &[u8] = match rng.u8(0..4) {
            0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            1 => b"PUT /clips/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
            2 => b"POST /clips/../../escape HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            _ => b"",
        };
        let mut bytes = start.to_vec();
        let noise = rng.usize(0..4_000);
        bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(noise));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may close the connection early; that is a valid response.
        let _ = stream.write_all(&bytes).await;
    }
    target.check_intact().await;
}

/// Malformed requests to a channel, some of them in a valid order.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_channel_requests_are_rejected_and_idle_sessions_are_replaced() {
    let mut rng = rng();
    let target = Target::new().await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let channel = |stream: &str| format!("{}/google.firestore.v1.Firestore/{stream}/channel", target.url);
    let hello = format!(
        r#"{{"database":"{DATABASE}","addTarget":{{"targetId":2,
            "documents":{{"documents":["{DATABASE}/documents/c/d"]}}}}}}"#
    );
    let open = async |stream: &str, message: String| {
        let form = [("count", "1".to_owned()), ("ofs", "0".to_owned()), ("req0___data__", message)];
        let response = with_timeout(http.post(format!("{}?VER=8&RID=1&CVER=22", channel(stream))).form(&form).send())
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
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
                let response = with_timeout(http.post(&url).body(form.clone()).send()).await.unwrap();
                let status = response.status();
                assert!(
                    status.is_client_error() || [200, 501].contains(&status.as_u16()),
                    "{status} POST {url} {form:.60}"
                );
                assert!(with_timeout(response.text()).await.unwrap().len() < 2_000);
            }
            for method in ["GET", "PUT", "DELETE", "HEAD", "PATCH"] {
                let call = http.request(reqwest::Method::from_bytes(method.as_bytes()).unwrap(), &url);
                // Some requests are valid, and their responses stay open.
                let response = with_timeout(call.send()).await.unwrap();
                assert!(
                    response.status().is_client_error() || [200, 501].contains(&response.status().as_u16()),
                    "{method} {url}"
                );
            }
        }
    }
    // Malformed messages to valid streams.
    for _ in 0..300 {
        let stream = ["Listen", "Write"][rng.usize(0..2)];
        let message = String::from_utf8_lossy(&mutate(&mut rng, hello.clone().into_bytes())).into_owned();
        let (status, text) = open(stream, message).await;
        assert_eq!(status, 200, "{text}");
        let id = text.split('"').nth(3).unwrap();
        let request = http.get(format!("{}?SID={id}&RID=rpc&AID=0&CI=1&TO=1000&TYPE=xmlhttp", channel(stream)));
        let response = with_timeout(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(with_timeout(response.text()).await.unwrap().starts_with(|first: char| first.is_ascii_digit()));
    }
    // More browsers than the limit, none of which reconnects: the oldest sessions are closed, except one with an open
    // response.
    let active = session("Listen").await;
    let open_response = http.get(format!("{}?SID={active}&RID=rpc&AID=0&CI=0&TYPE=xmlhttp", channel("Listen")));
    let mut open_response = with_timeout(open_response.send()).await.unwrap();
    assert!(with_timeout(open_response.chunk()).await.unwrap().is_some());
    let first = session("Listen").await;
    for _ in 0..700 {
        session(["Listen", "Write"][rng.usize(0..2)]).await;
    }
    let poll = async |id: &str| {
        let query = format!("VER=8&SID={id}&RID=2&AID=0");
        with_timeout(http.post(format!("{}?{query}", channel("Listen"))).body("count=0").send()).await.unwrap().status()
    };
    assert_eq!(poll(&first).await, 400, "it was replaced");
    assert_eq!(poll(&active).await, 200, "its response is open");
    target.check_intact().await;
}
