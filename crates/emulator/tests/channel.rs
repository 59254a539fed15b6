//! WebChannel, request by request: as the Firebase SDK sends them, and repeated, broken and delayed as by a bad
//! network. `tests/firebase` drives the SDK itself.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::*;

const DATABASE: &str = "projects/test/databases/(default)";

/// A browser with one stream.
struct Browser {
    http: Client,
    url: String,
    session: String,
    next: u64,
}

/// The response to a request for arrays, read array by array.
struct BackChannel {
    response: Response,
    text: String,
}

impl Browser {
    async fn open(server: &TestServer, stream: &str, message: Value) -> Self {
        let url = format!("{}/google.firestore.v1.Firestore/{stream}/channel", server.url());
        let mut browser = Self { http: Client::new(), url, session: String::new(), next: 0 };
        let query = "database=x&VER=8&RID=4711&CVER=22&X-HTTP-Session-Id=gsessionid&zx=1&t=1";
        let response = browser.post(query, &[message]).await;
        assert_eq!(response.status(), 200);
        let header = response.headers()["x-http-session-id"].to_str().unwrap().to_owned();
        let arrays = chunks(&response.text().await.unwrap());
        let (session, keep_alive) = (arrays[0][1][1].as_str().unwrap(), &arrays[0][1][5]);
        assert_eq!(arrays[0], json!([0, ["c", session, "", 8, 14, 30_000]]), "{keep_alive}");
        assert_eq!(header, session);
        browser.session = session.to_owned();
        browser
    }

    /// Listens to a document as target 2.
    async fn listen(server: &TestServer, document: &str) -> Self {
        Self::open(server, "Listen", add(2, document)).await
    }

    async fn post(&mut self, query: &str, messages: &[Value]) -> Response {
        let response = self.repeat(query, messages).await;
        self.next += messages.len() as u64;
        response
    }

    /// Sends messages with the next numbers, without advancing them.
    async fn repeat(&self, query: &str, messages: &[Value]) -> Response {
        let mut form =
            vec![("count".to_owned(), messages.len().to_string()), ("ofs".to_owned(), self.next.to_string())];
        let each = messages.iter().enumerate();
        form.extend(each.map(|(index, message)| (format!("req{index}___data__"), message.to_string())));
        with_timeout(self.http.post(format!("{}?{query}", self.url)).form(&form).send()).await.unwrap()
    }

    /// Sends messages on the session and returns the response.
    async fn send(&mut self, last_array: u64, messages: &[Value]) -> Value {
        let query = format!("VER=8&SID={}&RID=4712&AID={last_array}", self.session);
        let response = self.post(&query, messages).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
    }

    async fn get(&self, query: &str) -> Response {
        let url = format!("{}?VER=8&SID={}&RID=rpc&TYPE=xmlhttp&{query}", self.url, self.session);
        with_timeout(self.http.get(url).send()).await.unwrap()
    }

    /// Requests the arrays after `last_array`.
    async fn arrays(&self, last_array: u64) -> BackChannel {
        let response = self.get(&format!("AID={last_array}&CI=0")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        BackChannel { response, text: String::new() }
    }
}

impl BackChannel {
    /// The next arrays; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Value>> {
        loop {
            if let Some((length, rest)) = self.text.split_once('\n') {
                let length: usize = length.parse().unwrap();
                if rest.len() >= length {
                    let (chunk, rest) = rest.split_at(length);
                    let arrays = serde_json::from_str(chunk).unwrap();
                    self.text = rest.to_owned();
                    return Some(arrays);
                }
            }
            let Some(bytes) = with_timeout(self.response.chunk()).await.ok().flatten() else {
                assert!(self.text.is_empty(), "half a chunk: {}", self.text);
                return None;
            };
            assert!(bytes.is_ascii());
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Reads until an array satisfies a condition; returns all arrays up to it.
    async fn until(&mut self, condition: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut read = Vec::new();
        loop {
            read.extend(self.next().await.expect("more"));
            if read.iter().any(|array| condition(&array[1])) {
                return read;
            }
        }
    }
}

/// The arrays of a complete response.
fn chunks(text: &str) -> Vec<Value> {
    let (length, json) = text.split_once('\n').unwrap();
    assert_eq!(json.len(), length.parse::<usize>().unwrap());
    serde_json::from_str(json).unwrap()
}

fn name(path: &str) -> String {
    format!("{DATABASE}/documents/{path}")
}

fn add(target: i32, document: &str) -> Value {
    json!({"database": DATABASE, "addTarget": {"targetId": target, "documents": {"documents": [name(document)]}}})
}

/// Whether an array contains a document with this number.
fn shows(number: i64) -> impl Fn(&Value) -> bool {
    let number = number.to_string();
    move |array| array[0]["documentChange"]["document"]["fields"]["number"]["integerValue"] == number.as_str()
}

fn is_current(array: &Value) -> bool {
    array[0]["targetChange"]["targetChangeType"] == "CURRENT"
}

async fn put(server: &TestServer, path: &str, fields: Value) {
    let body = json!({"writes": [{"update": {"name": name(path), "fields": fields}}]});
    let url = format!("{}/v1/{DATABASE}/documents:commit", server.url());
    let response = Client::new().post(url).body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

async fn put_number(server: &TestServer, number: i64) {
    put(server, "c/d", json!({"number": {"integerValue": number.to_string()}})).await;
}

fn last(arrays: &[Value]) -> u64 {
    arrays.last().unwrap()[0].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_arrays_are_sent_again_on_the_next_connection() {
    let server = TestServer::new().await;
    put_number(&server, 1).await;
    let browser = Browser::listen(&server, "c/d").await;
    let mut back_channel = browser.arrays(0).await;
    let first = back_channel.until(is_current).await;
    assert!(first.iter().any(|array| shows(1)(&array[1])), "{first:?}");
    let known = last(&first);
    put_number(&server, 2).await;
    back_channel.until(shows(2)).await;
    // The connection breaks; the browser may or may not have read the array.
    drop(back_channel);
    put_number(&server, 3).await;

    let mut again = browser.arrays(known).await;
    let second = again.until(shows(3)).await;
    let numbers: Vec<u64> = second.iter().map(|array| array[0].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(known + 1..=last(&second)), "{numbers:?}");
    let at = |number| second.iter().position(|array| shows(number)(&array[1]));
    assert!(at(2).unwrap() < at(3).unwrap(), "both, in order");

    // Acknowledged arrays are dropped permanently.
    let mut third = browser.arrays(last(&second)).await;
    put_number(&server, 4).await;
    assert!(third.until(shows(4)).await.iter().all(|array| !shows(2)(&array[1]) && !shows(3)(&array[1])));
    // The open response ends when another one is requested.
    while again.next().await.is_some() {}
    let rejected = browser.get(&format!("AID={known}&CI=0")).await;
    assert_eq!(rejected.status(), 400);
    assert!(rejected.text().await.unwrap().contains("is not kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_executed_once() {
    let server = TestServer::new().await;
    let mut browser = Browser::open(&server, "Write", json!({"database": DATABASE})).await;
    let mut back_channel = browser.arrays(0).await;
    let hello = back_channel.until(|array| array[0]["streamId"].is_string()).await;
    let token = hello.iter().find_map(|array| array[1][0]["streamToken"].as_str()).unwrap().to_owned();
    let increment = json!({"streamToken": token, "writes": [{
        "update": {"name": name("c/d"), "fields": {}}, "updateMask": {"fieldPaths": []},
        "updateTransforms": [{"fieldPath": "number", "increment": {"integerValue": "1"}}]}]});
    let query = format!("VER=8&SID={}&RID=4712&AID=1", browser.session);
    for _ in 0..3 {
        assert_eq!(browser.repeat(&query, std::slice::from_ref(&increment)).await.status(), 200);
    }
    browser.next += 1;
    let status = browser.send(1, std::slice::from_ref(&increment)).await;
    assert_eq!(status[0], 1, "a response is open: {status}");
    let mut written = 0;
    while written < 2 {
        let arrays = back_channel.next().await.unwrap();
        written += arrays.iter().filter(|array| array[1][0]["writeResults"].is_array()).count();
    }
    let url = format!("{}/v1/{}", server.url(), name("c/d"));
    let document: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(document["fields"]["number"]["integerValue"], "2");
    // A gap means that a message was lost permanently.
    browser.next += 5;
    let rejected = browser.repeat(&query, &[increment]).await;
    assert_eq!(rejected.status(), 400);
    assert!(rejected.text().await.unwrap().contains("message 3 is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_must_not_stay_open_ends_with_the_first_arrays_or_a_timeout() {
    let server = TestServer::new().await;
    let browser = Browser::listen(&server, "c/d").await;
    let mut last_array = 0;
    let mut read = Vec::new();
    while !read.iter().any(|array: &Value| is_current(&array[1])) {
        let arrays = chunks(&browser.get(&format!("AID={last_array}&CI=1&TO=30000")).await.text().await.unwrap());
        last_array = last(&arrays);
        read.extend(arrays);
    }
    // More arrays of the first snapshot may still arrive.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    loop {
        let arrays = chunks(&browser.get(&format!("AID={last_array}&CI=1&TO=700")).await.text().await.unwrap());
        last_array = last(&arrays);
        if arrays[0][1] == json!(["noop"]) {
            break;
        }
    }
    assert!(started.elapsed() >= Duration::from_millis(650), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_or_unknown_session_returns_the_error_text_that_browsers_expect() {
    let server = TestServer::new().await;
    let mut browser = Browser::listen(&server, "c/d").await;
    let mut back_channel = browser.arrays(0).await;
    back_channel.until(is_current).await;
    let terminate = format!("{}?VER=8&SID={}&RID=4713&TYPE=terminate", browser.url, browser.session);
    assert_eq!(browser.http.post(terminate).send().await.unwrap().status(), 200);
    while back_channel.next().await.is_some() {}
    let session = browser.session.clone();
    for known in [session.as_str(), "0123", ""] {
        browser.session = known.to_owned();
        let rejected = browser.get("AID=1&CI=0").await;
        assert_eq!(rejected.status(), 400);
        assert!(rejected.text().await.unwrap().contains("\"Unknown SID"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_stream_reaches_the_page_with_its_code() {
    let server = TestServer::new().await;
    for (message, named) in [
        (json!({"database": "nonsense", "removeTarget": 1}), "nonsense"),
        (json!({"database": DATABASE}), "add or remove"),
        (json!({"database": DATABASE, "addTarget": {"targetId": "many"}}), "targetId"),
        (json!("text"), "database"),
    ] {
        let browser = Browser::open(&server, "Listen", message.clone()).await;
        let mut back_channel = browser.arrays(0).await;
        let arrays = back_channel.until(|array| array[0]["error"].is_object()).await;
        let error = arrays.iter().find_map(|array| array[1][0]["error"].as_object()).unwrap();
        assert_eq!((&error["status"], &error["code"]), (&json!("INVALID_ARGUMENT"), &json!(400)), "{message}");
        assert!(error["message"].as_str().unwrap().contains(named) || named == "database", "{error:?}");
        let mut rest = arrays;
        while let Some(arrays) = back_channel.next().await {
            rest.extend(arrays);
        }
        assert_eq!(rest.last().unwrap()[1], json!(["close"]), "and the response ends");
    }
    // An error of a target ends the target, not the stream.
    let mut bad = add(2, "c/d");
    bad["addTarget"]["documents"]["documents"] = json!(["projects/other/databases/(default)/documents/c/d"]);
    let mut browser = Browser::open(&server, "Listen", bad).await;
    let mut back_channel = browser.arrays(0).await;
    let removed = back_channel.until(|array| array[0]["targetChange"]["targetChangeType"] == "REMOVE").await;
    assert!(removed.iter().any(|array| array[1][0]["targetChange"]["cause"]["code"] == 3), "{removed:?}");
    browser.send(1, &[add(4, "c/d")]).await;
    back_channel.until(is_current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_sends_unavailable_to_browsers() {
    let server = TestServer::new().await;
    let browser = Browser::listen(&server, "c/d").await;
    let mut back_channel = browser.arrays(0).await;
    back_channel.until(is_current).await;
    let stopping = tokio::spawn(server.restart());
    back_channel.until(|array| array[0]["error"]["status"] == "UNAVAILABLE").await;
    let server = with_timeout(stopping).await.unwrap();
    let rejected = Browser { url: format!("{}/google.firestore.v1.Firestore/Listen/channel", server.url()), ..browser };
    assert_eq!(rejected.get("AID=1&CI=0").await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_read_uses_bounded_memory_and_loses_nothing() {
    let server = TestServer::new().await;
    let text = "x".repeat(100_000);
    for number in 0..30 {
        put(&server, &format!("large/{number:02}"), json!({"text": {"stringValue": text}})).await;
    }
    let parent = format!("{DATABASE}/documents");
    let query = json!({"from": [{"collectionId": "large"}]});
    let target = json!({"targetId": 2, "query": {"parent": parent, "structuredQuery": query}});
    let mut browser = Browser::open(&server, "Listen", json!({"database": DATABASE, "addTarget": target})).await;
    let pending = async |browser: &mut Browser| browser.send(0, &[]).await[2].as_u64().unwrap();
    let mut before = 0;
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = pending(&mut browser).await;
        if now == before && (now >= 1_000_000 || started.elapsed() > Duration::from_secs(30)) {
            break;
        }
        before = now;
    }
    assert!((1_000_000..1_300_000).contains(&before), "{before} bytes are pending");
    // Finally it reads, in several responses, each of which acknowledges the previous one.
    let (mut last_array, mut documents, mut responses) = (0, 0, 0);
    while documents < 30 {
        let mut back_channel = browser.arrays(last_array).await;
        responses += 1;
        while documents < 30
            && let Some(arrays) = back_channel.next().await
        {
            documents += arrays.iter().filter(|array| array[1][0]["documentChange"].is_object()).count();
            last_array = last(&arrays);
        }
    }
    assert!((5..20).contains(&responses), "{responses} responses");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_this_machine_may_call_and_others_may_not() {
    let server = TestServer::new().await;
    let url = format!("{}/google.firestore.v1.Firestore/Listen/channel?VER=8&RID=1", server.url());
    let preflight = |origin: &'static str| {
        let call = Client::new().request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        call.header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-goog-api-client,google-cloud-resource-prefix")
            .send()
    };
    let allowed = preflight("http://localhost:5173").await.unwrap();
    assert_eq!(allowed.status(), 200);
    for (name, value) in [
        ("access-control-allow-origin", "http://localhost:5173"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "content-type,x-goog-api-client,google-cloud-resource-prefix"),
    ] {
        assert_eq!(allowed.headers()[name], value);
    }
    let exposed = allowed.headers()["access-control-expose-headers"].to_str().unwrap().to_owned();
    assert!(exposed.contains("X-HTTP-Session-Id"));
    assert_eq!(preflight("https://example.com").await.unwrap().status(), StatusCode::FORBIDDEN);
}
