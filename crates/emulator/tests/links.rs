//! Links to objects: public ones, and Firebase's with a download token. Signed ones are in `storage.rs`.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::model::Object;
use google_cloud_wkt::FieldMask;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use support::*;

const NAME: &str = "processed-clips/u1/ünï clip #1+é.mp4";
const ENCODED: &str = "processed-clips%2Fu1%2F%C3%BCn%C3%AF%20clip%20%231%2B%C3%A9.mp4";
const LABEL: &str = "firebaseStorageDownloadTokens";
const TOKEN: &str = "0b8a3f0e-0000-4000-8000-00000000000a";
const OTHER: &str = "0b8a3f0e-0000-4000-8000-00000000000b";

/// An emulator with one object, whose tokens are those in `tokens`.
struct Target {
    server: TestServer,
    bucket: String,
    http: Client,
}

impl Target {
    async fn new(tokens: &str) -> Self {
        let server = TestServer::new().await;
        let bucket = server.bucket().await;
        let client = server.storage().await;
        let write = client.write_object(&bucket, NAME, "0123456789").set_content_type("video/mp4");
        let labels = [("clip", "42"), (LABEL, tokens)];
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        write.set_metadata(labels).send_unbuffered().await.unwrap();
        Self { server, bucket, http: Client::new() }
    }

    /// The object in Firebase's API.
    fn firebase(&self) -> String {
        format!("{}/v0/b/clips/o/{ENCODED}", self.server.url())
    }

    fn link(&self, token: &str) -> String {
        format!("{}?alt=media&token={token}", self.firebase())
    }

    fn get(&self, url: &str) -> RequestBuilder {
        self.http.get(url)
    }

    /// Adds or revokes a token, as a holder of the link cannot: by Firebase's API for administrators.
    async fn post(&self, query: &str) -> (u16, Value) {
        body(self.http.post(format!("{}?{query}", self.firebase())).send().await.unwrap()).await
    }

    async fn metadata(&self) -> Value {
        let (status, metadata) = body(self.get(&self.firebase()).send().await.unwrap()).await;
        assert_eq!(status, 200, "{metadata}");
        metadata
    }

    async fn status(&self, url: &str) -> u16 {
        self.get(url).send().await.unwrap().status().as_u16()
    }
}

/// The status and the JSON of a response.
async fn body(response: Response) -> (u16, Value) {
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The conditional and partial reads that both kinds of links have in common.
async fn check_reads(target: &Target, link: &str) {
    let whole = target.get(link).send().await.unwrap();
    assert_eq!((whole.status().as_u16(), header(&whole, "content-type")), (200, "video/mp4"));
    assert_eq!((header(&whole, "content-length"), header(&whole, "accept-ranges")), ("10", "bytes"));
    let etag = header(&whole, "etag").to_owned();
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(whole.text().await.unwrap(), "0123456789");

    let head = target.http.head(link).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "10"));
    assert_eq!(head.text().await.unwrap(), "");

    for (range, expected, bytes) in
        [("bytes=2-4", "bytes 2-4/10", "234"), ("bytes=7-", "bytes 7-9/10", "789"), ("bytes=-1", "bytes 9-9/10", "9")]
    {
        let part = target.get(link).header("range", range).send().await.unwrap();
        assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, expected));
        assert_eq!(part.text().await.unwrap(), bytes);
    }
    let beyond = target.get(link).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */10"));

    let unchanged = target.get(link).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    let changed = target.get(link).header("if-match", "\"other\"").send().await.unwrap();
    assert_eq!(changed.status(), 412);
    let resumed = target.get(link).header("range", "bytes=5-").header("if-range", "\"other\"").send().await.unwrap();
    assert_eq!(resumed.status(), 200, "the object changed, so all of it is sent");

    // A page of this machine, on another port, may read it; a page from elsewhere may not.
    let page = target.get(link).header("origin", "http://localhost:5173").header("range", "bytes=0-0");
    let page = page.send().await.unwrap();
    assert_eq!((page.status().as_u16(), header(&page, "access-control-allow-origin")), (206, "http://localhost:5173"));
    assert!(header(&page, "access-control-expose-headers").contains("Content-Range"));
    let elsewhere = target.get(link).header("origin", "https://example.com").send().await.unwrap();
    assert_eq!((elsewhere.status().as_u16(), header(&elsewhere, "access-control-allow-origin")), (403, ""));
}

#[tokio::test]
async fn a_public_link_needs_no_signature() {
    let target = Target::new("").await;
    for link in [
        format!("{}/clips/{ENCODED}", target.server.url()),
        format!("{}/clips/{}", target.server.url(), ENCODED.replace("%2F", "/")),
    ] {
        check_reads(&target, &link).await;
    }
    let missing = target.get(&format!("{}/clips/missing", target.server.url())).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.unwrap().contains("<Code>NoSuchKey</Code>"));
}

#[tokio::test]
async fn a_token_link_reads_one_object() {
    let target = Target::new(&format!("{OTHER},{TOKEN}")).await;
    for token in [TOKEN, OTHER] {
        check_reads(&target, &target.link(token)).await;
    }
    let response = target.get(&target.link(TOKEN)).send().await.unwrap();
    assert_eq!(header(&response, "x-goog-meta-clip"), "42");
    let headers = format!("{:?}", response.headers());
    assert!(!headers.contains(OTHER), "the holder of one link must not learn the others: {headers}");
    let named = format!("{}&response-content-disposition=attachment%3B%20filename%3Dc.mp4", target.link(TOKEN));
    let named = target.get(&named).send().await.unwrap();
    assert_eq!(header(&named, "content-disposition"), "attachment; filename=c.mp4");

    // The same token does not open another object.
    let client = target.server.storage().await;
    client.write_object(&target.bucket, "other", "secret").send_unbuffered().await.unwrap();
    let url = format!("{}/v0/b/clips/o/other?alt=media&token={TOKEN}", target.server.url());
    assert_eq!(target.status(&url).await, 403);
}

#[tokio::test]
async fn a_link_without_a_valid_token_is_rejected() {
    let target = Target::new(TOKEN).await;
    let half = &TOKEN[..18];
    for (link, named) in [
        (target.link(OTHER), OTHER),
        (target.link(half), half),
        (target.link(""), "'token' is missing"),
        (format!("{}?alt=media", target.firebase()), "'token' is missing"),
    ] {
        let (status, error) = body(target.get(&link).send().await.unwrap()).await;
        assert_eq!((status, &error["error"]["code"]), (403, &json!(403)), "{link}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("Permission denied.") && message.contains(named), "{message}");
        let head = target.http.head(&link).send().await.unwrap();
        assert_eq!(head.status(), 403);
        // The answer does not depend on conditions, which would reveal the object's version.
        let conditional = target.get(&link).header("if-none-match", "*").send().await.unwrap();
        assert_eq!(conditional.status(), 403);
    }
    for (path, named) in [("clips/o/missing", "clips/missing"), ("no-bucket/o/x", "bucket does not exist")] {
        for query in ["", &format!("?alt=media&token={TOKEN}")] {
            let url = format!("{}/v0/b/{path}{query}", target.server.url());
            let (status, error) = body(target.get(&url).send().await.unwrap()).await;
            assert_eq!((status, &error["error"]["code"]), (404, &json!(404)), "{url}");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("Not Found.  Could not get object") && message.contains(named), "{message}");
        }
    }
}

#[tokio::test]
async fn metadata_has_the_form_of_firebase() {
    let target = Target::new(TOKEN).await;
    let metadata = target.metadata().await;
    let control = target.server.storage_control().await;
    let object = control.get_object().set_bucket(&target.bucket).set_object(NAME).send().await.unwrap();
    let text = |name: &str| metadata[name].as_str().unwrap_or_else(|| panic!("{name} of {metadata}"));
    for (name, expected) in [
        ("name", NAME),
        ("bucket", "clips"),
        ("generation", &object.generation.to_string()),
        ("metageneration", "1"),
        ("contentType", "video/mp4"),
        ("storageClass", "STANDARD"),
        ("size", "10"),
        ("md5Hash", "eB5eJF1ptWaXm4bijSPyxw=="),
        ("contentEncoding", "identity"),
        ("etag", &object.etag),
        ("downloadTokens", TOKEN),
    ] {
        assert_eq!(text(name), expected, "{name}");
    }
    assert!(!text("crc32c").is_empty() && text("timeCreated").ends_with('Z') && text("updated").ends_with('Z'));
    assert_eq!(metadata["metadata"], json!({"clip": "42"}), "the tokens are not repeated among the labels");
    let head = target.http.head(target.firebase()).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
    // The SDK sends headers of its own, for which a browser asks first.
    let preflight = target.http.request(Method::OPTIONS, target.firebase());
    let preflight = preflight.header("origin", "http://localhost:5173").header("access-control-request-method", "GET");
    let preflight = preflight.header("access-control-request-headers", "x-firebase-storage-version").send().await;
    assert_eq!(header(&preflight.unwrap(), "access-control-allow-headers"), "x-firebase-storage-version");
}

#[tokio::test]
async fn an_object_without_a_token_gets_one_when_its_metadata_is_read() {
    let target = Target::new("").await;
    assert_eq!(target.status(&target.link("")).await, 403);
    let reads = futures::future::join_all((0..8).map(|_| target.metadata())).await;
    let token = reads[0]["downloadTokens"].as_str().unwrap().to_owned();
    assert!(!token.is_empty() && !token.contains(','));
    assert!(reads.iter().all(|read| read["downloadTokens"] == token.as_str()), "concurrent readers get the same token");
    assert_eq!(target.status(&target.link(&token)).await, 200);
    assert_eq!(target.metadata().await["metageneration"], "2", "later reads change nothing");
}

#[tokio::test]
async fn tokens_are_created_and_revoked() {
    let target = Target::new(TOKEN).await;
    let (status, created) = target.post("create_token=true").await;
    assert_eq!(status, 200);
    let tokens = created["downloadTokens"].as_str().unwrap().to_owned();
    let second = tokens.strip_prefix(&format!("{TOKEN},")).unwrap();
    for token in [TOKEN, second] {
        assert_eq!(target.status(&target.link(token)).await, 200, "{token}");
    }
    let (status, revoked) = target.post(&format!("delete_token={TOKEN}")).await;
    assert_eq!((status, revoked["downloadTokens"].as_str()), (200, Some(second)));
    assert_eq!((target.status(&target.link(TOKEN)).await, target.status(&target.link(second)).await), (403, 200));

    let (_, replaced) = target.post(&format!("delete_token={second}")).await;
    let third = replaced["downloadTokens"].as_str().unwrap();
    assert!(!third.is_empty() && third != second, "the last token is replaced");
    assert_eq!((target.status(&target.link(second)).await, target.status(&target.link(third)).await), (403, 200));

    for query in ["create_token=yes", "create_token=false", "create_token=true&delete_token=x"] {
        let (status, error) = target.post(query).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains("create_token"), "{query}: {message}");
    }
}

#[tokio::test]
async fn other_calls_of_firebase_are_rejected_by_name() {
    let target = Target::new(TOKEN).await;
    let (object, bucket) = (target.firebase(), format!("{}/v0/b/clips/o", target.server.url()));
    let (upload, list) = (format!("{bucket}?name=new"), format!("{bucket}?prefix=a&delimiter=/"));
    let plain_slash = format!("{bucket}/a/b");
    for (method, url) in [
        (Method::POST, upload.as_str()),
        (Method::POST, &object),
        (Method::PUT, &object),
        (Method::PATCH, &object),
        (Method::DELETE, &object),
        (Method::GET, &list),
        (Method::GET, &plain_slash),
    ] {
        let response = target.http.request(method.clone(), url).body("{}").send().await.unwrap();
        let (status, error) = body(response).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!((status, &error["error"]["code"]), (501, &json!(501)), "{method} {url}");
        assert!(message.starts_with(method.as_str()) && message.contains("/upload/storage/v1"), "{message}");
    }
    let (status, error) = body(target.get(&format!("{object}?alt=media&token=x&speed=2")).send().await.unwrap()).await;
    assert!(status == 501 && error["error"]["message"].as_str().unwrap().contains("'speed'"), "{error}");
    assert_eq!(target.status(&target.link(TOKEN)).await, 200, "nothing was changed");
}

/// The links' other end: services that hold an account change tokens by the JSON API.
#[tokio::test]
async fn a_patch_of_metadata_changes_and_revokes_tokens() {
    let target = Target::new(TOKEN).await;
    let json_api = format!("{}/storage/v1/b/clips/o/{ENCODED}", target.server.url());
    let patch = async |value: Value| {
        let patch = json!({"metadata": {(LABEL): value}}).to_string();
        body(target.http.patch(&json_api).body(patch).send().await.unwrap()).await
    };
    let (status, patched) = patch(json!(OTHER)).await;
    assert_eq!((status, &patched["metadata"]), (200, &json!({"clip": "42", (LABEL): OTHER})));
    assert_eq!((target.status(&target.link(TOKEN)).await, target.status(&target.link(OTHER)).await), (403, 200));
    let (status, patched) = patch(Value::Null).await;
    assert_eq!((status, &patched["metadata"]), (200, &json!({"clip": "42"})));
    assert_eq!(target.status(&target.link(OTHER)).await, 403);
    let outdated = target.http.patch(format!("{json_api}?ifMetagenerationMatch=1"));
    let outdated = outdated.body(json!({"metadata": {(LABEL): TOKEN}}).to_string()).send().await.unwrap();
    assert_eq!(outdated.status(), 412);
    assert_eq!(target.status(&target.link(TOKEN)).await, 403);
}

#[tokio::test]
async fn the_control_client_adds_a_token() {
    let target = Target::new("").await;
    let control = target.server.storage_control().await;
    let found = control.get_object().set_bucket(&target.bucket).set_object(NAME).send().await.unwrap();
    let update = |object: Object, mask: &[&str], metageneration: i64| {
        let mask = FieldMask::default().set_paths(mask.iter().copied());
        let update = control.update_object().set_object(object).set_update_mask(mask);
        update.set_if_metageneration_match(metageneration).send()
    };
    let named = || Object::new().set_bucket(&target.bucket).set_name(NAME);
    let mut labels = found.metadata.clone();
    labels.insert(LABEL.into(), TOKEN.into());
    // What the mask does not name stays, although the request does not repeat it.
    let with_token = || named().set_generation(found.generation).set_metadata(labels.clone());
    let updated = update(with_token(), &["metadata"], 1).await.unwrap();
    assert_eq!((updated.metageneration, updated.generation), (2, found.generation));
    assert_eq!((updated.content_type.as_str(), updated.metadata["clip"].as_str()), ("video/mp4", "42"));
    assert_eq!(target.status(&target.link(TOKEN)).await, 200);

    let code = |error: google_cloud_storage::Error| error.status().unwrap().code;
    assert_eq!(code(update(with_token(), &["metadata"], 1).await.unwrap_err()), Code::FailedPrecondition);
    let gone = named().set_generation(found.generation + 1).set_metadata(labels.clone());
    assert_eq!(code(update(gone, &["metadata"], 2).await.unwrap_err()), Code::NotFound);
    assert_eq!(code(update(with_token(), &[], 2).await.unwrap_err()), Code::InvalidArgument);
    let rejected = update(with_token(), &["acl"], 2).await.unwrap_err();
    assert!(rejected.status().unwrap().message.contains("\"acl\""), "{rejected}");
    assert_eq!(code(rejected), Code::Unimplemented);

    // One label alone: the others stay.
    let other = named().set_metadata([(LABEL, OTHER)]);
    let updated = update(other, &[&format!("metadata.{LABEL}")], 2).await.unwrap();
    assert_eq!((updated.metadata["clip"].as_str(), updated.metadata[LABEL].as_str()), ("42", OTHER));
    assert_eq!((target.status(&target.link(TOKEN)).await, target.status(&target.link(OTHER)).await), (403, 200));
}

/// A token is part of the object, and no code on its path reads a clock: a link is valid until its token is revoked.
/// `a_token_is_valid_at_any_age_of_its_object` in `download_tokens.rs` has objects of another century.
#[tokio::test]
async fn a_token_link_does_not_expire_and_survives_a_restart() {
    let mut target = Target::new(TOKEN).await;
    target.server = target.server.restart().await;
    assert_eq!(target.status(&target.link(TOKEN)).await, 200);
    assert_eq!(target.status(&target.link(OTHER)).await, 403);
}
