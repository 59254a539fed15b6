//! WebChannel, request by request, as the Firebase SDK sends them and as a bad network repeats, breaks and delays them. The SDK itself is
//! driven by `tests/firebase`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::*;

const DATABASE: &str = "projects/test/databases/(default)";

/// A browser at one of the streams.
struct Browser {
    http: Client,
    url: String,
    session: String,
    next: u64,
}

/// What a request for arrays is answered with, array by array.
struct Answer {
    response: Response,
    text: String,
}

impl Browser {
    async fn open(bench: &Bench, stream: &str, message: Value) -> Self {
        let url = format!("{}/google.firestore.v1.Firestore/{stream}/channel", bench.url());
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
    async fn listen(bench: &Bench, document: &str) -> Self {
        Self::open(bench, "Listen", add(2, document)).await
    }

    async fn post(&mut self, query: &str, messages: &[Value]) -> Response {
        let response = self.repeat(query, messages).await;
        self.next += messages.len() as u64;
        response
    }

    /// Sends messages under the numbers that come next, without counting them.
    async fn repeat(&self, query: &str, messages: &[Value]) -> Response {
        let mut form =
            vec![("count".to_owned(), messages.len().to_string()), ("ofs".to_owned(), self.next.to_string())];
        let each = messages.iter().enumerate();
        form.extend(each.map(|(index, message)| (format!("req{index}___data__"), message.to_string())));
        soon(self.http.post(format!("{}?{query}", self.url)).form(&form).send()).await.unwrap()
    }

    /// Sends messages on the session, and returns what it is told.
    async fn send(&mut self, has: u64, messages: &[Value]) -> Value {
        let query = format!("VER=8&SID={}&RID=4712&AID={has}", self.session);
        let response = self.post(&query, messages).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
    }

    async fn ask(&self, query: &str) -> Response {
        let url = format!("{}?VER=8&SID={}&RID=rpc&TYPE=xmlhttp&{query}", self.url, self.session);
        soon(self.http.get(url).send()).await.unwrap()
    }

    /// Asks for arrays after `has`.
    async fn arrays(&self, has: u64) -> Answer {
        let response = self.ask(&format!("AID={has}&CI=0")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        Answer { response, text: String::new() }
    }
}

impl Answer {
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
            let Some(bytes) = soon(self.response.chunk()).await.ok().flatten() else {
                assert!(self.text.is_empty(), "half a chunk: {}", self.text);
                return None;
            };
            assert!(bytes.is_ascii());
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Reads until an array holds something; all up to it.
    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut read = Vec::new();
        loop {
            read.extend(self.next().await.expect("more"));
            if read.iter().any(|array| holds(&array[1])) {
                return read;
            }
        }
    }
}

/// The arrays of a whole answer.
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

/// Whether an array shows a document with this number.
fn shows(number: i64) -> impl Fn(&Value) -> bool {
    let number = number.to_string();
    move |array| array[0]["documentChange"]["document"]["fields"]["number"]["integerValue"] == number.as_str()
}

fn is_current(array: &Value) -> bool {
    array[0]["targetChange"]["targetChangeType"] == "CURRENT"
}

async fn put(bench: &Bench, path: &str, fields: Value) {
    let body = json!({"writes": [{"update": {"name": name(path), "fields": fields}}]});
    let url = format!("{}/v1/{DATABASE}/documents:commit", bench.url());
    let response = Client::new().post(url).body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

async fn put_number(bench: &Bench, number: i64) {
    put(bench, "c/d", json!({"number": {"integerValue": number.to_string()}})).await;
}

fn last(arrays: &[Value]) -> u64 {
    arrays.last().unwrap()[0].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again_on_the_next_connection() {
    let bench = Bench::new().await;
    put_number(&bench, 1).await;
    let browser = Browser::listen(&bench, "c/d").await;
    let mut answer = browser.arrays(0).await;
    let first = answer.until(is_current).await;
    assert!(first.iter().any(|array| shows(1)(&array[1])), "{first:?}");
    let known = last(&first);
    put_number(&bench, 2).await;
    answer.until(shows(2)).await;
    // The connection breaks; the browser had read it, or had not.
    drop(answer);
    put_number(&bench, 3).await;

    let mut again = browser.arrays(known).await;
    let second = again.until(shows(3)).await;
    let numbers: Vec<u64> = second.iter().map(|array| array[0].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(known + 1..=last(&second)), "{numbers:?}");
    let at = |number| second.iter().position(|array| shows(number)(&array[1]));
    assert!(at(2).unwrap() < at(3).unwrap(), "both, in order");

    // What is acknowledged is gone for good.
    let mut third = browser.arrays(last(&second)).await;
    put_number(&bench, 4).await;
    assert!(third.until(shows(4)).await.iter().all(|array| !shows(2)(&array[1]) && !shows(3)(&array[1])));
    // The answer that was held ends when another is asked for.
    while again.next().await.is_some() {}
    let refused = browser.ask(&format!("AID={known}&CI=0")).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("is not kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_is_done_once() {
    let bench = Bench::new().await;
    let mut browser = Browser::open(&bench, "Write", json!({"database": DATABASE})).await;
    let mut answer = browser.arrays(0).await;
    let hello = answer.until(|array| array[0]["streamId"].is_string()).await;
    let token = hello.iter().find_map(|array| array[1][0]["streamToken"].as_str()).unwrap().to_owned();
    let increment = json!({"streamToken": token, "writes": [{
        "update": {"name": name("c/d"), "fields": {}}, "updateMask": {"fieldPaths": []},
        "updateTransforms": [{"fieldPath": "number", "increment": {"integerValue": "1"}}]}]});
    let query = format!("VER=8&SID={}&RID=4712&AID=1", browser.session);
    for _ in 0..3 {
        assert_eq!(browser.repeat(&query, std::slice::from_ref(&increment)).await.status(), 200);
    }
    browser.next += 1;
    let answered = browser.send(1, std::slice::from_ref(&increment)).await;
    assert_eq!(answered[0], 1, "an answer is held: {answered}");
    let mut written = 0;
    while written < 2 {
        let arrays = answer.next().await.unwrap();
        written += arrays.iter().filter(|array| array[1][0]["writeResults"].is_array()).count();
    }
    let url = format!("{}/v1/{}", bench.url(), name("c/d"));
    let document: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(document["fields"]["number"]["integerValue"], "2");
    // A gap is a message that was lost for good.
    browser.next += 5;
    let refused = browser.repeat(&query, &[increment]).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("message 3 is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_may_not_stay_open_ends_with_the_first_arrays_or_with_patience() {
    let bench = Bench::new().await;
    let browser = Browser::listen(&bench, "c/d").await;
    let mut has = 0;
    let mut read = Vec::new();
    while !read.iter().any(|array: &Value| is_current(&array[1])) {
        let arrays = chunks(&browser.ask(&format!("AID={has}&CI=1&TO=30000")).await.text().await.unwrap());
        has = last(&arrays);
        read.extend(arrays);
    }
    // What belongs to the first snapshot may still come.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    loop {
        let arrays = chunks(&browser.ask(&format!("AID={has}&CI=1&TO=700")).await.text().await.unwrap());
        has = last(&arrays);
        if arrays[0][1] == json!(["noop"]) {
            break;
        }
    }
    assert!(asked.elapsed() >= Duration::from_millis(650), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_or_unknown_says_so_in_the_words_that_browsers_look_for() {
    let bench = Bench::new().await;
    let mut browser = Browser::listen(&bench, "c/d").await;
    let mut answer = browser.arrays(0).await;
    answer.until(is_current).await;
    let terminate = format!("{}?VER=8&SID={}&RID=4713&TYPE=terminate", browser.url, browser.session);
    assert_eq!(browser.http.post(terminate).send().await.unwrap().status(), 200);
    while answer.next().await.is_some() {}
    let session = browser.session.clone();
    for known in [session.as_str(), "0123", ""] {
        browser.session = known.to_owned();
        let refused = browser.ask("AID=1&CI=0").await;
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains("\"Unknown SID"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_stream_reaches_the_page_with_its_code() {
    let bench = Bench::new().await;
    for (message, named) in [
        (json!({"database": "nonsense", "removeTarget": 1}), "nonsense"),
        (json!({"database": DATABASE}), "add or remove"),
        (json!({"database": DATABASE, "addTarget": {"targetId": "many"}}), "targetId"),
        (json!("text"), "database"),
    ] {
        let browser = Browser::open(&bench, "Listen", message.clone()).await;
        let mut answer = browser.arrays(0).await;
        let arrays = answer.until(|array| array[0]["error"].is_object()).await;
        let error = arrays.iter().find_map(|array| array[1][0]["error"].as_object()).unwrap();
        assert_eq!((&error["status"], &error["code"]), (&json!("INVALID_ARGUMENT"), &json!(400)), "{message}");
        assert!(error["message"].as_str().unwrap().contains(named) || named == "database", "{error:?}");
        let mut rest = arrays;
        while let Some(arrays) = answer.next().await {
            rest.extend(arrays);
        }
        assert_eq!(rest.last().unwrap()[1], json!(["close"]), "and the answer ends");
    }
    // A target's own error ends the target, not the stream.
    let mut bad = add(2, "c/d");
    bad["addTarget"]["documents"]["documents"] = json!(["projects/other/databases/(default)/documents/c/d"]);
    let mut browser = Browser::open(&bench, "Listen", bad).await;
    let mut answer = browser.arrays(0).await;
    let removed = answer.until(|array| array[0]["targetChange"]["targetChangeType"] == "REMOVE").await;
    assert!(removed.iter().any(|array| array[1][0]["targetChange"]["cause"]["code"] == 3), "{removed:?}");
    browser.send(1, &[add(4, "c/d")]).await;
    answer.until(is_current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_browsers_away_for_a_while() {
    let bench = Bench::new().await;
    let browser = Browser::listen(&bench, "c/d").await;
    let mut answer = browser.arrays(0).await;
    answer.until(is_current).await;
    let stopping = tokio::spawn(bench.restart());
    answer.until(|array| array[0]["error"]["status"] == "UNAVAILABLE").await;
    let bench = soon(stopping).await.unwrap();
    let refused = Browser { url: format!("{}/google.firestore.v1.Firestore/Listen/channel", bench.url()), ..browser };
    assert_eq!(refused.ask("AID=1&CI=0").await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_reads_nothing_costs_a_bounded_amount_and_loses_nothing() {
    let bench = Bench::new().await;
    let text = "x".repeat(100_000);
    for number in 0..30 {
        put(&bench, &format!("large/{number:02}"), json!({"text": {"stringValue": text}})).await;
    }
    let parent = format!("{DATABASE}/documents");
    let query = json!({"from": [{"collectionId": "large"}]});
    let target = json!({"targetId": 2, "query": {"parent": parent, "structuredQuery": query}});
    let mut browser = Browser::open(&bench, "Listen", json!({"database": DATABASE, "addTarget": target})).await;
    let kept = async |browser: &mut Browser| browser.send(0, &[]).await[2].as_u64().unwrap();
    let mut before = 0;
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = kept(&mut browser).await;
        if now == before && (now >= 1_000_000 || started.elapsed() > Duration::from_secs(30)) {
            break;
        }
        before = now;
    }
    assert!((1_000_000..1_300_000).contains(&before), "{before} bytes are kept");
    // It reads after all, in several answers, each of which acknowledges the one before.
    let (mut has, mut documents, mut answers) = (0, 0, 0);
    while documents < 30 {
        let mut answer = browser.arrays(has).await;
        answers += 1;
        while documents < 30
            && let Some(arrays) = answer.next().await
        {
            documents += arrays.iter().filter(|array| array[1][0]["documentChange"].is_object()).count();
            has = last(&arrays);
        }
    }
    assert!((5..20).contains(&answers), "{answers} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_this_machine_may_call_and_others_may_not() {
    let bench = Bench::new().await;
    let url = format!("{}/google.firestore.v1.Firestore/Listen/channel?VER=8&RID=1", bench.url());
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
