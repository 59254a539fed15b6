//! The storage's routes in another server, on another port than the emulator's.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use axum::{Router, http::StatusCode, routing::get};
use google_cloud_storage::model_ext::ReadRange;
use reqwest::{Client, Method};
use serde_json::Value;
use support::*;
use tokio::{net::TcpListener, task::JoinHandle};

/// A server with a page and the storage at one origin.
struct Mounted {
    server: TestServer,
    url: String,
    serving: JoinHandle<()>,
}

impl Mounted {
    async fn new() -> Self {
        let server = TestServer::new().await;
        server.bucket().await;
        let page = Router::new().route("/", get(async || "the page"));
        let router = page.merge(server.emulator.storage_routes()).fallback(async || StatusCode::IM_A_TEAPOT);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // No ConnectInfo: the routes must not need one.
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { server, url, serving }
    }
}

#[tokio::test]
async fn a_resumable_upload_stays_at_the_requested_origin() {
    let mounted = Mounted::new().await;
    let http = Client::new();
    let begin = format!("{}/upload/storage/v1/b/clips/o?uploadType=resumable&name=a/b.mp4", mounted.url);
    let begin = http.post(begin).header("host", "team.example:8443").body(r#"{"contentType":"video/mp4"}"#);
    let started = begin.send().await.unwrap();
    assert_eq!(started.status(), 200);
    let location = started.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("/upload/storage/v1/b/clips/o?"), "{location}");
    // As a browser resolves it: against the URL of the request.
    let session = reqwest::Url::parse(&mounted.url).unwrap().join(location).unwrap();
    let put = async |range: &str, body: &str| {
        let put = http.put(session.clone()).header("content-range", range).body(body.to_owned());
        put.send().await.unwrap()
    };
    let partial = put("bytes 0-4/10", "01234").await;
    assert_eq!((partial.status().as_u16(), partial.headers()["range"].to_str().unwrap()), (308, "bytes=0-4"));
    let finished = put("bytes 5-9/10", "56789").await;
    assert_eq!(finished.status(), 200);
    let object: Value = serde_json::from_str(&finished.text().await.unwrap()).unwrap();
    assert_eq!((object["size"].as_str(), object["contentType"].as_str()), (Some("10"), Some("video/mp4")));

    let media_link = reqwest::Url::parse(&mounted.url).unwrap().join(object["mediaLink"].as_str().unwrap()).unwrap();
    let json_api = format!("{}/storage/v1/b/clips/o/a%2Fb.mp4?alt=media", mounted.url);
    let metadata = http.get(format!("{}/v0/b/clips/o/a%2Fb.mp4", mounted.url)).send().await.unwrap();
    let metadata: Value = serde_json::from_str(&metadata.text().await.unwrap()).unwrap();
    let token = metadata["downloadTokens"].as_str().unwrap();
    let link = format!("{}/v0/b/clips/o/a%2Fb.mp4?alt=media&token={token}", mounted.url);
    for url in [media_link.as_str(), &json_api, &link] {
        let part = http.get(url).header("range", "bytes=2-4").send().await.unwrap();
        assert_eq!(part.status(), 206, "{url}");
        assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
        assert_eq!(part.text().await.unwrap(), "234");
        let head = http.head(url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "10"), "{url}");
    }
    assert_eq!(http.get(format!("{link}x")).send().await.unwrap().status(), 403);
    // The port itself still builds URLs with its own address.
    let begin = format!("{}/upload/storage/v1/b/clips/o?uploadType=resumable&name=c", mounted.server.url());
    let started = http.post(begin).send().await.unwrap();
    assert!(started.headers()["location"].to_str().unwrap().starts_with(&mounted.server.url()));
}

#[tokio::test]
async fn both_servers_have_the_same_objects_for_googles_client() {
    let mounted = Mounted::new().await;
    let bucket = "projects/_/buckets/clips";
    let (mount, port) = (storage(&mounted.url).await, mounted.server.storage().await);
    mount.write_object(bucket, "by the mount", "0123456789").send_unbuffered().await.unwrap();
    port.write_object(bucket, "by the port", "0123456789").send_unbuffered().await.unwrap();
    for (client, name) in [(&mount, "by the port"), (&port, "by the mount")] {
        let read = client.read_object(bucket, name).set_read_range(ReadRange::segment(3, 4)).send();
        assert_eq!(read.await.unwrap().next().await.unwrap().unwrap(), "3456");
    }
}

#[tokio::test]
async fn only_the_routes_of_the_storage_are_mounted() {
    let mounted = Mounted::new().await;
    let http = Client::new();
    let status = async |method: Method, path: &str| {
        http.request(method, format!("{}/{path}", mounted.url)).body("x").send().await.unwrap().status().as_u16()
    };
    assert_eq!(http.get(&mounted.url).send().await.unwrap().text().await.unwrap(), "the page");
    for path in [
        "clips/object",
        "_clipfleet/faults",
        "_clipfleet/service-account",
        "v1/projects/p/topics/t",
        "google.storage.v2.Storage/GetObject",
        "b/clips",
        "v0/c",
        "storage",
        "storage/v2/b",
        "upload/object",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            assert_eq!(status(method.clone(), path).await, 418, "{method} {path} belongs to the other server");
        }
    }
    for (method, path, expected) in [
        (Method::GET, "storage/v1/b/clips", 200),
        (Method::GET, "storage/v1/b/clips/o/missing", 404),
        (Method::GET, "storage/v1/projects", 501),
        (Method::GET, "download/storage/v1/b/clips/o/missing?alt=media", 404),
        (Method::GET, "v0/b/clips/o/missing", 404),
        (Method::DELETE, "v0/b/clips/o/missing", 501),
        (Method::GET, "storage/v1/b/clips/o/%FF", 404),
    ] {
        assert_eq!(status(method.clone(), path).await, expected, "{method} {path}");
    }
    // A rejected upload gets its answer, although its bytes are not stored.
    let large = vec![0; 4 << 20];
    let upload = format!("{}/upload/storage/v1/b/clips/o?uploadType=other&name=x", mounted.url);
    assert_eq!(http.post(upload).body(large).send().await.unwrap().status(), 501);
}

#[tokio::test]
async fn a_stopped_emulator_answers_unavailable() {
    let Mounted { server, url, serving } = Mounted::new().await;
    server.emulator.stop().await;
    let response = reqwest::get(format!("{url}/storage/v1/b/clips")).await.unwrap();
    assert_eq!(response.status(), 503);
    serving.abort();
}
