//! Responses of Firestore on which Google's clients rely, each as in Google's emulator or documentation. The suite in
//! `tests/peers` compares many more where Google's emulator is installed.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use serde_json::{Value, json};
use support::*;

const DATABASE: &str = "projects/test/databases/(default)";

/// The JSON API of a server.
struct Documents {
    server: TestServer,
    http: reqwest::Client,
}

fn name(path: &str) -> String {
    format!("{DATABASE}/documents/{path}")
}

fn int(number: i64) -> Value {
    json!({"integerValue": number.to_string()})
}

fn double(number: &Value) -> Value {
    json!({ "doubleValue": number })
}

fn set(path: &str, fields: &Value) -> Value {
    json!({"update": {"name": name(path), "fields": fields}})
}

fn when(mut write: Value, condition: Value) -> Value {
    write["currentDocument"] = condition;
    write
}

fn filter(field: &str, operator: &str, operand: &Value) -> Value {
    json!({"fieldFilter": {"field": {"fieldPath": field}, "op": operator, "value": operand}})
}

fn all_of(filters: &[Value]) -> Value {
    json!({"compositeFilter": {"op": "AND", "filters": filters}})
}

fn order(field: &str) -> Value {
    json!({"field": {"fieldPath": field}})
}

fn vector(numbers: &[f64]) -> Value {
    let elements: Vec<_> = numbers.iter().map(|number| double(&json!(number))).collect();
    let fields = json!({"__type__": {"stringValue": "__vector__"}, "value": {"arrayValue": {"values": elements}}});
    json!({"mapValue": {"fields": fields}})
}

impl Documents {
    async fn new() -> Self {
        Self { server: TestServer::new().await, http: reqwest::Client::new() }
    }

    /// Calls a method at the root; returns the response, or the status of the error.
    async fn call(&self, verb: &str, body: Value) -> Result<Value, String> {
        let url = format!("{}/v1/{DATABASE}/documents:{verb}", self.server.url());
        let response = self.http.post(url).body(body.to_string()).send().await.unwrap();
        Self::read(response).await
    }

    async fn get(&self, path_and_query: &str) -> Result<Value, String> {
        let url = format!("{}/v1/{DATABASE}/documents/{path_and_query}", self.server.url());
        Self::read(self.http.get(url).send().await.unwrap()).await
    }

    async fn read(response: reqwest::Response) -> Result<Value, String> {
        let ok = response.status().is_success();
        let response: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        if ok { Ok(response) } else { Err(response["error"]["status"].as_str().unwrap().to_owned()) }
    }

    async fn commit(&self, writes: &[Value]) -> Result<Value, String> {
        self.call("commit", json!({ "writes": writes })).await
    }

    /// Stores documents with one field, `v`.
    async fn store(&self, documents: &[(&str, Value)]) {
        let writes: Vec<_> = documents.iter().map(|(path, value)| set(path, &json!({ "v": value }))).collect();
        self.commit(&writes).await.unwrap();
    }

    /// The ids of the documents that a query finds.
    async fn query(&self, query: Value) -> Result<Vec<String>, String> {
        let responses = self.call("runQuery", json!({ "structuredQuery": query })).await?;
        let names = responses.as_array().unwrap().iter().filter_map(|response| response["document"]["name"].as_str());
        Ok(names.map(|name| name.rsplit('/').next().unwrap().to_owned()).collect())
    }

    /// The IDs of the documents in collection `c` that match a filter.
    async fn filtered(&self, filter: Value) -> Result<Vec<String>, String> {
        self.query(json!({"from": [{"collectionId": "c"}], "where": filter})).await
    }

    async fn aggregate(&self, query: Value, aggregations: Value) -> Result<Value, String> {
        let query = json!({"structuredQuery": query, "aggregations": aggregations});
        let response = self.call("runAggregationQuery", json!({ "structuredAggregationQuery": query })).await?;
        Ok(response[0]["result"]["aggregateFields"].clone())
    }

    async fn begin(&self, options: Value) -> Result<String, String> {
        let body = json!({ "options": options }).to_string();
        let url = format!("{}/v1/{DATABASE}/documents:beginTransaction", self.server.url());
        let response = Self::read(self.http.post(url).body(body).send().await.unwrap()).await?;
        Ok(response["transaction"].as_str().unwrap().to_owned())
    }

    async fn update_time(&self, path: &str) -> Value {
        self.get(path).await.unwrap()["updateTime"].clone()
    }
}

fn rejected<T>(code: &str) -> Result<T, String> {
    Err(code.to_owned())
}

const INVALID: &str = "INVALID_ARGUMENT";

#[tokio::test]
async fn a_commit_verifies_documents_that_it_does_not_write() {
    let documents = Documents::new().await;
    documents.store(&[("c/a", int(1)), ("c/b", int(1))]).await;
    let at = documents.update_time("c/a").await;
    let verify = |condition: Value| when(json!({"verify": name("c/a")}), condition);
    let writes = [verify(json!({"updateTime": at})), set("c/b", &json!({"v": int(2)}))];
    let committed = documents.commit(&writes).await.unwrap();
    assert_eq!(committed["writeResults"][0]["updateTime"], at);
    assert_eq!(documents.update_time("c/a").await, at, "nothing was changed");
    assert_eq!(documents.get("c/b").await.unwrap()["fields"]["v"], int(2));
    documents.store(&[("c/a", int(3))]).await;
    let stale = documents.commit(&[verify(json!({"updateTime": at})), set("c/b", &json!({}))]).await;
    assert_eq!(stale, rejected("FAILED_PRECONDITION"));
    assert_eq!(documents.get("c/b").await.unwrap()["fields"]["v"], int(2));
    assert_eq!(documents.commit(&[json!({"verify": name("c/a")})]).await, rejected(INVALID));
}

#[tokio::test]
async fn a_range_from_the_lowest_name_includes_upper_case_and_digits() {
    let documents = Documents::new().await;
    let ids = ["0x", "Upper", "lower", "__id12__", "__id7__"];
    let paths = ids.map(|id| format!("c/{id}"));
    documents.store(&paths.each_ref().map(|path| (path.as_str(), int(1)))).await;
    // Like `recursive()` and `recursiveDelete` of Google's clients.
    let reference = |path: &str| json!({"referenceValue": name(path)});
    let lowest = "__id-9223372036854775808__";
    let below = all_of(&[
        filter("__name__", "GREATER_THAN_OR_EQUAL", &reference(&format!("c/{lowest}"))),
        filter("__name__", "LESS_THAN", &reference(&format!("c\0/{lowest}"))),
    ]);
    let query = json!({"from": [{"allDescendants": true}], "where": below, "orderBy": [order("__name__")]});
    assert_eq!(documents.query(query).await.unwrap(), ["__id7__", "__id12__", "0x", "Upper", "lower"]);
}

#[tokio::test]
async fn implicit_orders_are_sorted_by_field_name() {
    let documents = Documents::new().await;
    let row = |path: &str, a: i64, b: i64| set(path, &json!({"a": int(a), "b": int(b)}));
    documents.commit(&[row("c/1", 2, 1), row("c/2", 1, 2)]).await.unwrap();
    let positive = |field| filter(field, "GREATER_THAN", &int(0));
    assert_eq!(documents.filtered(all_of(&[positive("b"), positive("a")])).await.unwrap(), ["2", "1"]);
    let by_name = json!({"from": [{"collectionId": "c"}], "where": positive("a"), "orderBy": [order("__name__")]});
    assert_eq!(documents.query(by_name).await, rejected(INVALID), "the field must come before the name");
}

#[tokio::test]
async fn null_and_nan_match_only_filters_that_ask_for_them() {
    let documents = Documents::new().await;
    let nan = double(&json!("NaN"));
    let null = json!({"nullValue": null});
    let list = |values: &[&Value]| json!({"arrayValue": {"values": values}});
    documents
        .store(&[("c/nan", nan.clone()), ("c/null", null.clone()), ("c/one", int(1)), ("c/list", list(&[&null, &nan]))])
        .await;
    let none: [&str; 0] = [];
    for (operator, operand, ids) in [
        ("EQUAL", nan.clone(), &none[..]),
        ("EQUAL", null.clone(), &none),
        ("LESS_THAN_OR_EQUAL", nan.clone(), &none),
        ("LESS_THAN_OR_EQUAL", null.clone(), &none),
        ("LESS_THAN_OR_EQUAL", int(1), &["one"]),
        ("IN", list(&[&nan, &null, &int(1)]), &["one"]),
        ("ARRAY_CONTAINS", null.clone(), &none),
        ("ARRAY_CONTAINS_ANY", list(&[&nan, &null]), &none),
        ("NOT_EQUAL", null.clone(), &none),
        ("NOT_EQUAL", nan.clone(), &["nan", "one", "list"]),
        ("NOT_IN", list(&[&null]), &none),
    ] {
        let found = documents.filtered(filter("v", operator, &operand)).await.unwrap();
        assert_eq!(found, ids, "{operator} {operand}");
    }
    let unary = |operator: &str| json!({"unaryFilter": {"field": {"fieldPath": "v"}, "op": operator}});
    assert_eq!(documents.filtered(unary("IS_NAN")).await.unwrap(), ["nan"]);
    assert_eq!(documents.filtered(unary("IS_NULL")).await.unwrap(), ["null"]);
}

#[tokio::test]
async fn vectors_sort_by_length_between_arrays_and_maps() {
    let documents = Documents::new().await;
    let map = json!({"mapValue": {"fields": {"a": int(1)}}});
    let array = json!({"arrayValue": {"values": [int(9)]}});
    documents
        .store(&[("c/map", map), ("c/v2", vector(&[1.0, 2.0])), ("c/v1", vector(&[9.0])), ("c/array", array)])
        .await;
    let query = json!({"from": [{"collectionId": "c"}], "orderBy": [order("v")]});
    assert_eq!(documents.query(query).await.unwrap(), ["array", "v1", "v2", "map"]);
}

#[tokio::test]
async fn aggregations_use_documents_with_all_fields_in_the_order_of_these() {
    let documents = Documents::new().await;
    let row = |path: &str, fields: Value| set(path, &fields);
    documents
        .commit(&[
            row("c/a", json!({"n": int(5), "m": int(1)})),
            row("c/b", json!({"n": int(3)})),
            row("c/d", json!({"n": int(1), "m": int(1)})),
        ])
        .await
        .unwrap();
    let all = || json!({"from": [{"collectionId": "c"}]});
    let sum = |field: &str| json!({"alias": field, "sum": {"field": {"fieldPath": field}}});
    let count = json!({"alias": "count", "count": {}});
    let limited = json!({"from": [{"collectionId": "c"}], "limit": 2});
    assert_eq!(documents.aggregate(limited, json!([sum("n")])).await.unwrap(), json!({"n": int(4)}));
    let both = documents.aggregate(all(), json!([count.clone(), sum("n"), sum("m")])).await.unwrap();
    assert_eq!(both, json!({"count": int(2), "n": int(6), "m": int(2)}));
    for aggregations in
        [json!([]), json!([count, count]), json!(vec![json!({"count": {}}); 6]), json!([sum("__name__")])]
    {
        assert_eq!(documents.aggregate(all(), aggregations).await, rejected(INVALID));
    }
}

#[tokio::test]
async fn a_transaction_that_only_reads_sees_one_state() {
    let documents = Documents::new().await;
    documents.store(&[("c/a", int(1)), ("c/b", int(1))]).await;
    let transaction = documents.begin(json!({"readOnly": {}})).await.unwrap();
    let batch_get = |path: &str| json!({"documents": [name(path)], "transaction": transaction});
    let first = documents.call("batchGet", batch_get("c/a")).await.unwrap();
    documents.store(&[("c/a", int(2)), ("c/b", int(2)), ("c/d", int(2))]).await;
    let second = documents.call("batchGet", batch_get("c/b")).await.unwrap();
    let seen = [&first, &second].map(|response| &response[0]["found"]["fields"]["v"]);
    assert_eq!(seen, [&int(1), &int(1)]);
    let query = json!({"structuredQuery": {"from": [{"collectionId": "c"}]}, "transaction": transaction});
    assert_eq!(documents.call("runQuery", query).await.unwrap().as_array().unwrap().len(), 2);
    // The data folder can be closed and reopened although the transaction did not end.
    let server = documents.server.restart().await;
    let documents = Documents { server, http: documents.http };
    assert_eq!(documents.get("c/a").await.unwrap()["fields"]["v"], int(2));
}

#[tokio::test]
async fn an_unknown_transaction_cannot_be_retried() {
    let documents = Documents::new().await;
    let unknown = json!({"readWrite": {"retryTransaction": "AAAA"}});
    assert_eq!(documents.begin(unknown).await, rejected(INVALID));
    let first = documents.begin(json!({"readWrite": {}})).await.unwrap();
    assert!(documents.begin(json!({"readWrite": {"retryTransaction": first}})).await.is_ok());
}

#[tokio::test]
async fn writes_of_one_document_in_a_commit_are_one_change() {
    let documents = Documents::new().await;
    documents.store(&[("c/a", int(1))]).await;
    let (exists, missing) = (json!({"exists": true}), json!({"exists": false}));
    let write = |v| set("c/a", &json!({"v": int(v)}));
    let delete = || json!({"delete": name("c/a")});
    let impossible = [delete(), when(write(2), exists.clone())];
    assert_eq!(documents.commit(&impossible).await, rejected(INVALID));
    let twice = [when(set("c/b", &json!({})), missing.clone()), when(set("c/b", &json!({})), missing.clone())];
    assert_eq!(documents.commit(&twice).await, rejected(INVALID));
    let before = documents.get("c/a").await.unwrap();
    let again = documents.commit(&[delete(), when(write(1), missing)]).await.unwrap();
    let after = documents.get("c/a").await.unwrap();
    assert_ne!(after["createTime"], before["createTime"]);
    assert_eq!(again["writeResults"][0]["updateTime"], after["updateTime"], "both writes have the time of the change");
    let later = when(write(5), json!({"updateTime": "2100-01-01T00:00:00Z"}));
    assert_eq!(documents.commit(&[later]).await, rejected(INVALID), "no such version can exist");
}

#[tokio::test]
async fn documents_of_legal_size_and_commits_of_many_writes_are_stored() {
    let documents = Documents::new().await;
    let sized = |bytes: usize| {
        let text = |bytes: usize| json!({"stringValue": "x".repeat(bytes)});
        [set("c/a", &json!({"a": text(524_000), "b": text(bytes)}))]
    };
    // 52 bytes for `c/a`, two for each name, one for each text.
    let most = (1 << 20) - 52 - 2 * (2 + 1) - 524_000;
    assert!(documents.commit(&sized(most)).await.is_ok());
    assert_eq!(documents.commit(&sized(most + 1)).await, rejected(INVALID));
    let writes: Vec<_> = (0..501).map(|number| set(&format!("many/{number}"), &json!({}))).collect();
    assert!(documents.commit(&writes).await.is_ok());
}

#[tokio::test]
async fn queries_that_production_rejects_are_rejected() {
    let documents = Documents::new().await;
    documents.store(&[("c/a", int(1))]).await;
    let list = |count: i64| json!({"arrayValue": {"values": (0..count).map(int).collect::<Vec<_>>()}});
    let reference = json!({"referenceValue": name("c/a")});
    let text = json!({"stringValue": "c/a"});
    let any_of = |filters: &[Value]| json!({"compositeFilter": {"op": "OR", "filters": filters}});
    for (what, filter_json) in [
        ("two negations", all_of(&[filter("v", "NOT_EQUAL", &int(1)), filter("w", "NOT_EQUAL", &int(1))])),
        ("NOT_IN and IN", all_of(&[filter("v", "NOT_IN", &list(1)), filter("w", "IN", &list(1))])),
        ("NOT_IN and OR", any_of(&[filter("v", "NOT_IN", &list(1)), filter("w", "EQUAL", &int(1))])),
        ("NOT_IN of 11", filter("v", "NOT_IN", &list(11))),
        ("two arrays", all_of(&[filter("v", "ARRAY_CONTAINS", &int(1)), filter("v", "ARRAY_CONTAINS", &int(2))])),
        ("36 disjunctions", all_of(&[filter("v", "IN", &list(6)), filter("w", "IN", &list(6))])),
        ("text as a name", filter("__name__", "EQUAL", &text)),
        ("name and range", all_of(&[filter("__name__", "EQUAL", &reference), filter("v", "LESS_THAN", &int(9))])),
    ] {
        assert_eq!(documents.filtered(filter_json).await, rejected(INVALID), "{what}");
    }
    let from = json!([{"collectionId": "c"}]);
    for query_json in [
        json!({"from": from, "orderBy": [order("v"), order("v")]}),
        json!({"from": from, "orderBy": [order("__name__"), order("v")]}),
        json!({"from": from, "orderBy": [order("__name__")], "startAt": {"values": [text]}}),
        json!({"from": from, "orderBy": [order("v")], "startAt": {"values": [int(1), reference]}}),
        json!({"from": from, "where": filter("a-b", "EQUAL", &int(1))}),
    ] {
        assert_eq!(documents.query(query_json.clone()).await, rejected(INVALID), "{query_json}");
    }
}

#[tokio::test]
async fn lists_support_pages_orders_and_all_collections() {
    let documents = Documents::new().await;
    documents.store(&[("c/a", int(1)), ("c/b", int(3)), ("c/d", int(2)), ("e/x", int(0)), ("g/x/c/y", int(0))]).await;
    let ids = |response: &Value| {
        let names = response["documents"].as_array().unwrap().iter().map(|document| document["name"].as_str().unwrap());
        names.map(|name| name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = documents.get("c?orderBy=v%20desc&pageSize=2").await.unwrap();
    assert_eq!(ids(&first), ["b", "d"]);
    let token = first["nextPageToken"].as_str().unwrap().replace('+', "%2B").replace('=', "%3D");
    let second = documents.get(&format!("c?orderBy=v%20desc&pageSize=2&pageToken={token}")).await.unwrap();
    assert_eq!((ids(&second), &second["nextPageToken"]), (vec!["a".to_owned()], &Value::Null));
    assert_eq!(documents.get("c?pageToken=aGVsbG8=").await, rejected(INVALID));
    let collections = async |body: Value| documents.call("listCollectionIds", body).await;
    let first = collections(json!({"pageSize": 2})).await.unwrap();
    assert_eq!(first["collectionIds"], json!(["c", "e"]));
    let second = collections(json!({"pageSize": 2, "pageToken": first["nextPageToken"]})).await.unwrap();
    assert_eq!(second, json!({"collectionIds": ["g"]}));
    assert_eq!(collections(json!({"pageToken": "?"})).await, rejected(INVALID));
    assert_eq!(collections(json!({"readTime": "2026-01-01T00:00:00Z"})).await, rejected("UNIMPLEMENTED"));
    let of_all = documents.query(json!({})).await.unwrap();
    assert_eq!(of_all, ["a", "b", "d", "x"], "directly below the root, in the order of names");
    let twice = json!({"documents": [name("c/a"), name("c/a")]});
    assert_eq!(documents.call("batchGet", twice).await.unwrap().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn unsupported_options_are_rejected_by_name() {
    let documents = Documents::new().await;
    let query = json!({"from": [{"collectionId": "c"}]});
    for (verb, body) in [
        ("runQuery", json!({"structuredQuery": query, "explainOptions": {}})),
        ("runQuery", json!({"structuredQuery": query, "readTime": "2026-01-01T00:00:00Z"})),
        (
            "runAggregationQuery",
            json!({
                "structuredAggregationQuery": {"structuredQuery": query, "aggregations": [{"count": {}}]},
                "explainOptions": {},
            }),
        ),
    ] {
        assert_eq!(documents.call(verb, body).await, rejected("UNIMPLEMENTED"), "{verb}");
    }
    assert_eq!(documents.get("c/a?readTime=2026-01-01T00:00:00Z").await, rejected("UNIMPLEMENTED"));
    let skipped = json!({"structuredQuery": {"from": [{"collectionId": "c"}], "offset": 1}});
    documents.store(&[("c/a", int(1)), ("c/b", int(2))]).await;
    let response = documents.call("runQuery", skipped).await.unwrap();
    assert_eq!(response[0]["skippedResults"], 1);
}
