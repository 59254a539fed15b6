//! Cloud Storage with the official Rust clients, and with plain HTTP.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use bytes::Bytes;
use google_cloud_auth::{credentials::service_account, signer::Signer};
use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::{
    builder::storage::SignedUrlBuilder,
    client::Storage,
    model::{Bucket, CommonObjectRequestParams, bucket::Versioning},
    model_ext::ReadRange,
};
use std::time::Duration;
use support::*;

/// Bytes without repetition near the length of a block, so that a misplaced block is noticed.
fn pattern(length: usize) -> Bytes {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

async fn read(client: &Storage, bucket: &str, object: &str, range: ReadRange) -> Bytes {
    let mut response = client.read_object(bucket, object).set_read_range(range).send().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.next().await.transpose().unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    bytes.into()
}

#[tokio::test]
async fn a_small_object_is_written_described_read_and_deleted() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let (client, control) = (server.storage().await, server.storage_control().await);
    let name = "processed-clips/u1/ünï clip #1.mp4";
    let content = pattern(100_000);
    let write = client.write_object(&bucket, name, content.clone());
    let write = write.set_content_type("video/mp4").set_metadata([("clip", "42")]).set_if_generation_match(0_i64);
    let written = write.send_unbuffered().await.unwrap();
    assert_eq!((written.size, written.content_type.as_str()), (100_000, "video/mp4"));

    let found = control.get_object().set_bucket(&bucket).set_object(name).send().await.unwrap();
    assert_eq!((found.generation, found.metageneration, found.size), (written.generation, 1, 100_000));
    assert_eq!(found.metadata["clip"], "42");
    assert_eq!(found.checksums.unwrap().crc32c, Some(crc32c::crc32c(&content)));
    assert_eq!(read(&client, &bucket, name, ReadRange::all()).await, content);

    let listed = control.list_objects().set_parent(&bucket).set_prefix("processed-clips/").send().await.unwrap();
    assert_eq!(listed.objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), [name]);
    control.delete_object().set_bucket(&bucket).set_object(name).send().await.unwrap();
    let missing = control.get_object().set_bucket(&bucket).set_object(name).send().await.unwrap_err();
    assert_eq!(missing.status().map(|status| status.code), Some(Code::NotFound));
    let missing = client.read_object(&bucket, name).send().await.err().unwrap();
    assert_eq!(missing.http_status_code(), Some(404));
    let files = server.folder.path().join("objects").read_dir().unwrap();
    assert_eq!(files.count(), 0, "the files are deleted, too");
}

#[tokio::test]
async fn a_second_creation_of_the_same_object_is_rejected() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let client = server.storage().await;
    let first = client.write_object(&bucket, "clip", "first").set_if_generation_match(0_i64).send_unbuffered().await;
    let second = client.write_object(&bucket, "clip", "second").set_if_generation_match(0_i64).send_unbuffered().await;
    assert_eq!(second.unwrap_err().http_status_code(), Some(412));
    let resumable = client.write_object(&bucket, "clip", "third").set_if_generation_match(0_i64);
    let resumable = resumable.with_resumable_upload_threshold(0_usize).send_buffered().await;
    assert_eq!(resumable.unwrap_err().http_status_code(), Some(412));
    let third = client.write_object(&bucket, "clip", "third").set_if_generation_match(first.unwrap().generation);
    third.send_buffered().await.unwrap();
    assert_eq!(read(&client, &bucket, "clip", ReadRange::all()).await, "third");
}

#[tokio::test]
async fn a_large_object_survives_a_resumable_upload_and_a_restart() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let client = server.storage().await;
    let content = pattern(20 * 1024 * 1024 + 17);
    for (name, buffered) in [("buffered", true), ("unbuffered", false)] {
        let write = client.write_object(&bucket, name, content.clone());
        let written = if buffered { write.send_buffered().await } else { write.send_unbuffered().await };
        assert_eq!(written.unwrap().size, i64::try_from(content.len()).unwrap());
    }
    let server = server.restart().await;
    let client = server.storage().await;
    for name in ["buffered", "unbuffered"] {
        assert!(read(&client, &bucket, name, ReadRange::all()).await == content, "{name}");
    }
}

#[tokio::test]
async fn ranges_are_exact() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let client = server.storage().await;
    let content = pattern(3_000_000);
    client.write_object(&bucket, "source", content.clone()).send_unbuffered().await.unwrap();
    let read = async |range| read(&client, &bucket, "source", range).await;
    assert_eq!(read(ReadRange::segment(1_000, 10)).await, content[1_000..1_010]);
    assert_eq!(read(ReadRange::segment(1_048_570, 1_500_000)).await, content[1_048_570..2_548_570]);
    assert_eq!(read(ReadRange::offset(2_999_990)).await, content[2_999_990..]);
    assert_eq!(read(ReadRange::tail(5)).await, content[2_999_995..]);
    assert_eq!(read(ReadRange::head(5)).await, content[..5]);
    let beyond = client.read_object(&bucket, "source").set_read_range(ReadRange::offset(3_000_000)).send().await;
    assert_eq!(beyond.err().unwrap().http_status_code(), Some(416));
}

#[tokio::test]
async fn a_reader_keeps_its_generation_while_it_is_overwritten() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let client = server.storage().await;
    let content = pattern(8_000_000);
    let first = client.write_object(&bucket, "source", content.clone()).send_unbuffered().await.unwrap();
    let mut reading = client.read_object(&bucket, "source").set_generation(first.generation).send().await.unwrap();
    let mut bytes = reading.next().await.unwrap().unwrap().to_vec();
    client.write_object(&bucket, "source", "new").send_unbuffered().await.unwrap();
    while let Some(chunk) = reading.next().await.transpose().unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes == content);
    let missing = client.read_object(&bucket, "source").set_generation(first.generation).send().await;
    assert_eq!(missing.err().unwrap().http_status_code(), Some(404));
}

#[tokio::test]
async fn plain_http_clients_are_supported() {
    let server = TestServer::new().await;
    let (url, http) = (server.url(), reqwest::Client::new());
    let created = http.post(format!("{url}/storage/v1/b?project=p")).body(r#"{"name":"clips"}"#).send().await.unwrap();
    assert_eq!(created.status(), 200);
    let again = http.post(format!("{url}/storage/v1/b?project=p")).body(r#"{"name":"clips"}"#).send().await.unwrap();
    assert_eq!(again.status(), 409);

    let upload = format!("{url}/upload/storage/v1/b/clips/o?uploadType=media&name=a/b.txt");
    let sent = http.post(&upload).header("content-type", "text/plain").body("hello").send().await.unwrap();
    let object: serde_json::Value = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
    assert_eq!((&object["size"], &object["contentType"]), (&"5".into(), &"text/plain".into()));
    assert_eq!((&object["crc32c"], &object["md5Hash"]), (&"mnG7TA==".into(), &"XUFAKrxLKna5cZ2REBfFkg==".into()));
    let rejected = http.post(format!("{upload}&ifGenerationMatch=0")).body("x").send().await.unwrap();
    let rejected: serde_json::Value = serde_json::from_str(&rejected.text().await.unwrap()).unwrap();
    assert_eq!(rejected["error"]["errors"][0]["reason"], "conditionNotMet");

    for path in [
        "storage/v1/b/clips/o/a%2Fb.txt?alt=media",
        "download/storage/v1/b/clips/o/a%2Fb.txt?alt=media",
        "clips/a/b.txt",
    ] {
        let range = http.get(format!("{url}/{path}")).header("range", "bytes=1-3").send().await.unwrap();
        assert_eq!((range.status().as_u16(), range.headers()["content-range"].to_str().unwrap()), (206, "bytes 1-3/5"));
        assert_eq!(range.headers()["x-goog-generation"], object["generation"].as_str().unwrap());
        assert_eq!(range.text().await.unwrap(), "ell");
        let head = http.head(format!("{url}/{path}")).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "5"));
        assert_eq!(head.text().await.unwrap(), "");
    }
    let grouped = http.get(format!("{url}/storage/v1/b/clips/o?delimiter=/")).send().await.unwrap();
    let grouped: serde_json::Value = serde_json::from_str(&grouped.text().await.unwrap()).unwrap();
    assert_eq!(grouped["prefixes"], serde_json::json!(["a/"]));
}

#[tokio::test]
async fn a_resumable_upload_continues_where_it_stopped() {
    let server = TestServer::new().await;
    server.bucket().await;
    let (url, http) = (server.url(), reqwest::Client::new());
    let begin = format!("{url}/upload/storage/v1/b/clips/o?uploadType=resumable&name=big");
    let started = http.post(begin).body(r#"{"contentType":"video/mp4"}"#).send().await.unwrap();
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&url), "{location}");
    let put = async |range: &str, body: &str| {
        http.put(&location).header("content-range", range).body(body.to_owned()).send().await.unwrap()
    };
    assert_eq!(put("bytes */*", "").await.headers().get("range"), None);
    let partial = put("bytes 0-4/*", "01234").await;
    assert_eq!((partial.status().as_u16(), partial.headers()["range"].to_str().unwrap()), (308, "bytes=0-4"));
    // Stored bytes are sent again, as after a lost response.
    let partial = put("bytes 3-6/*", "3456").await;
    assert_eq!(partial.headers()["range"], "bytes=0-6");
    // A gap is not filled.
    let partial = put("bytes 9-9/10", "9").await;
    assert_eq!(partial.headers()["range"], "bytes=0-6");
    assert_eq!(put("bytes 7-9/10", "789").await.status(), 200);
    // The response was lost, so the client asks.
    let finished: serde_json::Value = serde_json::from_str(&put("bytes */*", "").await.text().await.unwrap()).unwrap();
    assert_eq!((&finished["size"], &finished["contentType"]), (&"10".into(), &"video/mp4".into()));
    assert_eq!(http.get(format!("{url}/clips/big")).send().await.unwrap().text().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn bytes_that_do_not_match_their_checksum_are_rejected() {
    let server = TestServer::new().await;
    server.bucket().await;
    let body = "--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"x\",\"crc32c\":\"AAAAAA==\"}\r\n\
                --b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";
    let upload = format!("{}/upload/storage/v1/b/clips/o?uploadType=multipart", server.url());
    let send = reqwest::Client::new().post(upload).header("content-type", "multipart/related; boundary=b").body(body);
    assert_eq!(send.send().await.unwrap().status(), 400);
    assert_eq!(reqwest::get(format!("{}/clips/x", server.url())).await.unwrap().status(), 404);
}

/// The official client's signer, with the emulator's key file.
async fn signer(url: &str) -> Signer {
    let key: serde_json::Value =
        reqwest::get(format!("{url}/_clipfleet/service-account")).await.unwrap().json().await.unwrap();
    service_account::Builder::new(key).build_signer().unwrap()
}

async fn status_and_body(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_signed_url_grants_only_what_was_signed() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let (url, http) = (server.url(), reqwest::Client::new());
    let signer = signer(&url).await;
    server.storage().await.write_object(&bucket, "a b/ü.mp4", "content").send_unbuffered().await.unwrap();
    let sign = |seconds: u64| {
        SignedUrlBuilder::for_object(&bucket, "a b/ü.mp4")
            .with_endpoint(&url)
            .with_expiration(Duration::from_secs(seconds))
    };
    let signed = sign(60).sign_with(&signer).await.unwrap();
    assert_eq!(status_and_body(http.get(&signed)).await, (200, "content".into()));
    let ranged = http.get(&signed).header("range", "bytes=0-2");
    assert_eq!(status_and_body(ranged).await, (206, "con".into()));

    let (code, body) = status_and_body(http.delete(&signed)).await;
    assert_eq!(code, 403, "signed for GET");
    assert!(body.contains("<Code>SignatureDoesNotMatch</Code>") && body.contains("<StringToSign>"), "{body}");
    for tampered in [signed.replace("a%20b", "c"), signed.replace("X-Goog-Expires=60", "X-Goog-Expires=600")] {
        assert_ne!(tampered, signed);
        assert_eq!(status_and_body(http.get(&tampered)).await.0, 403, "{tampered}");
    }
    let unsigned_header = http.get(&signed).header("x-goog-meta-x", "y");
    assert!(status_and_body(unsigned_header).await.1.contains("<Code>MalformedSecurityHeader</Code>"));
    let stranger = signed.replace("clipfleet-local%40", "somebody%40");
    assert!(status_and_body(http.get(&stranger)).await.1.contains("<Code>AccessDenied</Code>"));

    let short = sign(1).sign_with(&signer).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (code, body) = status_and_body(http.get(&short)).await;
    assert!(code == 400 && body.contains("<Code>ExpiredToken</Code>"), "{body}");
    let old = format!("{url}/clips/x?GoogleAccessId=a&Expires=1&Signature=b");
    assert_eq!(status_and_body(http.get(old)).await.0, 501, "other kinds of signatures are not ignored");
}

#[tokio::test]
async fn an_object_can_be_uploaded_by_a_signed_url() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let (url, http) = (server.url(), reqwest::Client::new());
    let signer = signer(&url).await;
    let sign = |method: reqwest::Method| {
        let builder = SignedUrlBuilder::for_object(&bucket, "source.mp4").with_endpoint(&url).with_method(method);
        builder.with_header("content-type", "video/mp4")
    };
    let put = sign(reqwest::Method::PUT).with_header("x-goog-if-generation-match", "0");
    let put = put.sign_with(&signer).await.unwrap();
    let send =
        || http.put(&put).header("content-type", "video/mp4").header("x-goog-if-generation-match", "0").body("ab");
    let response = send().send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("x-goog-generation")), (200, true));
    let (code, body) = status_and_body(send()).await;
    assert!(code == 412 && body.contains("<Code>PreconditionFailed</Code>"), "{body}");
    let wrong_type = http.put(&put).header("content-type", "text/plain").header("x-goog-if-generation-match", "0");
    assert_eq!(status_and_body(wrong_type.body("x")).await.0, 403);

    let start = sign(reqwest::Method::POST).with_header("x-goog-resumable", "start").sign_with(&signer).await.unwrap();
    let started = http.post(&start).header("content-type", "video/mp4").header("x-goog-resumable", "start");
    let started = started.send().await.unwrap();
    assert_eq!(started.status(), 201);
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(status_and_body(http.put(location).body("resumed")).await.0, 200);
    let found = server.storage_control().await.get_object().set_bucket(&bucket).set_object("source.mp4").send().await;
    assert_eq!((found.as_ref().unwrap().size, found.unwrap().content_type.as_str()), (7, "video/mp4"));
}

#[tokio::test]
async fn the_signing_key_survives_a_restart() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let key: serde_json::Value =
        reqwest::get(format!("{}/_clipfleet/service-account", server.url())).await.unwrap().json().await.unwrap();
    server.storage().await.write_object(&bucket, "x", "content").send_unbuffered().await.unwrap();
    let server = server.restart().await;
    let signer = service_account::Builder::new(key).build_signer().unwrap();
    let builder = SignedUrlBuilder::for_object(&bucket, "x").with_endpoint(server.url());
    let signed = builder.sign_with(&signer).await.unwrap();
    assert_eq!(reqwest::get(signed).await.unwrap().text().await.unwrap(), "content");
}

#[tokio::test]
async fn unsupported_grpc_fields_are_rejected_by_name() {
    let server = TestServer::new().await;
    let bucket = server.bucket().await;
    let control = server.storage_control().await;
    for name in ["foo/bar", "foobar"] {
        server.storage().await.write_object(&bucket, name, "content").send_unbuffered().await.unwrap();
    }
    let rejected = |error: google_cloud_storage::Error, name: &str| {
        let status = error.status().unwrap();
        assert_eq!(status.code, Code::Unimplemented);
        assert!(status.message.contains(&format!("'{name}'")), "{}", status.message);
    };
    let versioned = Bucket::new().set_versioning(Versioning::new().set_enabled(true));
    let create = control.create_bucket().set_parent("projects/_").set_bucket_id("versioned").set_bucket(versioned);
    rejected(create.send().await.unwrap_err(), "versioning");
    let soft_deleted = control.list_objects().set_parent(&bucket).set_soft_deleted(true);
    rejected(soft_deleted.send().await.unwrap_err(), "soft_deleted");
    let key = CommonObjectRequestParams::new().set_encryption_algorithm("AES256");
    let keyed = control.get_object().set_bucket(&bucket).set_object("foobar").set_common_object_request_params(key);
    rejected(keyed.send().await.unwrap_err(), "common_object_request_params.encryption_algorithm");

    let unversioned = Bucket::new().set_versioning(Versioning::new());
    let create = control.create_bucket().set_parent("projects/_").set_bucket_id("plain").set_bucket(unversioned);
    create.send().await.unwrap();
    let globbed = control.list_objects().set_parent(&bucket).set_match_glob("foo*").send().await.unwrap();
    assert_eq!(globbed.objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["foobar"]);
}
