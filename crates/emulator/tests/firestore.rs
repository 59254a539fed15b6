//! Firestore with the generated gRPC client, and with JSON as browsers use it.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    self as fs, document_transform::FieldTransform, document_transform::field_transform::TransformType,
    firestore_client::FirestoreClient, precondition::ConditionType, structured_query as sq,
    target_change::TargetChangeType, value::ValueType, write::Operation,
};
use std::collections::HashMap;
use support::*;
use tokio::sync::mpsc;
use tonic::{Code, Status, transport::Channel};

const DATABASE: &str = "projects/test/databases/(default)";

struct Documents(FirestoreClient<Channel>);

fn name(path: &str) -> String {
    format!("{DATABASE}/documents/{path}")
}

fn int(number: i64) -> fs::Value {
    fs::Value { value_type: Some(ValueType::IntegerValue(number)) }
}

fn text(text: &str) -> fs::Value {
    fs::Value { value_type: Some(ValueType::StringValue(text.into())) }
}

fn set(path: &str, fields: &[(&str, fs::Value)]) -> fs::Write {
    let fields: HashMap<_, _> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let document = fs::Document { name: name(path), fields, ..fs::Document::default() };
    fs::Write { operation: Some(Operation::Update(document)), ..fs::Write::default() }
}

fn when(mut write: fs::Write, condition: ConditionType) -> fs::Write {
    write.current_document = Some(fs::Precondition { condition_type: Some(condition) });
    write
}

impl Documents {
    async fn new(server: &TestServer) -> Self {
        let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
        Self(FirestoreClient::new(channel))
    }

    async fn commit(&mut self, writes: Vec<fs::Write>) -> Result<fs::CommitResponse, Status> {
        self.commit_in(Vec::new(), writes).await
    }

    async fn commit_in(&mut self, transaction: Vec<u8>, writes: Vec<fs::Write>) -> Result<fs::CommitResponse, Status> {
        let request = fs::CommitRequest { database: DATABASE.into(), writes, transaction };
        self.0.commit(request).await.map(tonic::Response::into_inner)
    }

    async fn get(&mut self, path: &str) -> Result<fs::Document, Status> {
        self.get_in(path, None).await
    }

    async fn get_in(&mut self, path: &str, transaction: Option<Vec<u8>>) -> Result<fs::Document, Status> {
        let consistency_selector = transaction.map(fs::get_document_request::ConsistencySelector::Transaction);
        let request =
            fs::GetDocumentRequest { name: name(path), consistency_selector, ..fs::GetDocumentRequest::default() };
        self.0.get_document(request).await.map(tonic::Response::into_inner)
    }

    async fn begin(&mut self) -> Vec<u8> {
        let request = fs::BeginTransactionRequest { database: DATABASE.into(), options: None };
        self.0.begin_transaction(request).await.unwrap().into_inner().transaction
    }

    /// The ids of the documents that a query finds.
    async fn query(&mut self, query: fs::StructuredQuery) -> Vec<String> {
        let request = fs::RunQueryRequest {
            parent: format!("{DATABASE}/documents"),
            query_type: Some(fs::run_query_request::QueryType::StructuredQuery(query)),
            ..fs::RunQueryRequest::default()
        };
        let mut responses = self.0.run_query(request).await.unwrap().into_inner();
        let mut ids = Vec::new();
        while let Some(response) = responses.message().await.unwrap() {
            assert!(response.read_time.is_some());
            ids.extend(response.document.map(|document| document.name.rsplit('/').next().unwrap().to_owned()));
        }
        ids
    }
}

fn from(collection: &str) -> fs::StructuredQuery {
    let selector = sq::CollectionSelector { collection_id: collection.into(), all_descendants: false };
    fs::StructuredQuery { from: vec![selector], ..fs::StructuredQuery::default() }
}

fn field(path: &str) -> Option<sq::FieldReference> {
    Some(sq::FieldReference { field_path: path.into() })
}

fn filter(path: &str, op: sq::field_filter::Operator, value: fs::Value) -> sq::Filter {
    let filter = sq::FieldFilter { field: field(path), op: op.into(), value: Some(value) };
    sq::Filter { filter_type: Some(sq::filter::FilterType::FieldFilter(filter)) }
}

fn any_of(filters: Vec<sq::Filter>) -> sq::Filter {
    let composite = sq::CompositeFilter { op: sq::composite_filter::Operator::Or.into(), filters };
    sq::Filter { filter_type: Some(sq::filter::FilterType::CompositeFilter(composite)) }
}

#[tokio::test]
async fn a_document_is_written_read_and_survives_a_restart() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let commit = documents.commit(vec![set("batches/b1/clips/c1", &[("status", text("queued"))])]).await.unwrap();
    assert_eq!(commit.write_results[0].update_time, commit.commit_time);
    let server = server.restart().await;
    let mut documents = Documents::new(&server).await;
    let found = documents.get("batches/b1/clips/c1").await.unwrap();
    assert_eq!(found.fields["status"], text("queued"));
    assert_eq!((found.create_time, found.update_time), (commit.commit_time, commit.commit_time));
    assert_eq!(documents.get("batches/b1").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn one_failed_precondition_undoes_the_whole_commit() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("c/there", &[])]).await.unwrap();
    let writes = vec![set("c/new", &[]), when(set("c/there", &[]), ConditionType::Exists(false))];
    assert_eq!(documents.commit(writes).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(documents.get("c/new").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn only_one_of_two_writers_with_the_same_version_succeeds() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let first = documents.commit(vec![set("c/d", &[("n", int(1))])]).await.unwrap();
    let seen = ConditionType::UpdateTime(first.commit_time.unwrap());
    let second = documents.commit(vec![when(set("c/d", &[("n", int(2))]), seen)]).await.unwrap();
    assert!(second.commit_time.unwrap().nanos % 1_000 == 0);
    let late = documents.commit(vec![when(set("c/d", &[("n", int(3))]), seen)]).await;
    assert_eq!(late.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(documents.get("c/d").await.unwrap().fields["n"], int(2));
}

#[tokio::test]
async fn every_write_gets_a_later_update_time() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let mut last = None;
    for n in 0..50 {
        let at = documents.commit(vec![set("c/d", &[("n", int(n))])]).await.unwrap().commit_time;
        let at = at.map(|at| (at.seconds, at.nanos));
        assert!(at > last);
        last = at;
    }
}

#[tokio::test]
async fn mask_transforms_and_precondition_work_in_one_write() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("c/d", &[("progress", int(41)), ("keep", int(1))])]).await.unwrap();
    let mut write = when(set("c/d", &[("status", text("processing"))]), ConditionType::Exists(true));
    write.update_mask = Some(fs::DocumentMask { field_paths: vec!["status".into()] });
    let transform = |path: &str, kind| FieldTransform { field_path: path.into(), transform_type: Some(kind) };
    write.update_transforms = vec![
        transform("progress", TransformType::Maximum(int(40))),
        transform("updatedAt", TransformType::SetToServerValue(1)),
    ];
    let commit = documents.commit(vec![write]).await.unwrap();
    // Documented: the server's time has millisecond precision.
    let at = commit.commit_time.map(|at| prost_types::Timestamp { nanos: at.nanos - at.nanos % 1_000_000, ..at });
    let now = fs::Value { value_type: at.map(ValueType::TimestampValue) };
    assert_eq!(commit.write_results[0].transform_results, [int(41), now.clone()]);
    let found = documents.get("c/d").await.unwrap();
    let fields = [("progress", int(41)), ("keep", int(1)), ("status", text("processing")), ("updatedAt", now)];
    assert_eq!(found.fields, fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
}

#[tokio::test]
async fn queries_filter_sort_and_page() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let tags = |tags: &[&str]| {
        let values = tags.iter().map(|tag| text(tag)).collect();
        fs::Value { value_type: Some(ValueType::ArrayValue(fs::ArrayValue { values })) }
    };
    let rows = [("a", 3, "x"), ("b", 1, "y"), ("c", 2, "x"), ("d", 4, "z")];
    let write = |(id, n, kind): (&str, i64, &str)| {
        set(&format!("rows/{id}"), &[("n", int(n)), ("kind", text(kind)), ("tags", tags(&[kind, "all"]))])
    };
    documents.commit(rows.into_iter().map(write).collect()).await.unwrap();
    documents.commit(vec![set("rows/e", &[]), set("rows/a/rows/nested", &[("n", int(9))])]).await.unwrap();

    use sq::field_filter::Operator as Op;
    let mut found = async |query| documents.query(query).await;
    assert_eq!(found(from("rows")).await, ["a", "b", "c", "d", "e"]);
    let equal = filter("kind", Op::Equal, text("x"));
    assert_eq!(found(fs::StructuredQuery { r#where: Some(equal.clone()), ..from("rows") }).await, ["a", "c"]);
    let above = filter("n", Op::GreaterThan, int(1));
    assert_eq!(found(fs::StructuredQuery { r#where: Some(above), ..from("rows") }).await, ["c", "a", "d"]);
    let either = any_of(vec![equal, filter("tags", Op::ArrayContains, text("z"))]);
    assert_eq!(found(fs::StructuredQuery { r#where: Some(either), ..from("rows") }).await, ["a", "c", "d"]);
    let among = filter("kind", Op::In, tags(&["y", "z"]));
    assert_eq!(found(fs::StructuredQuery { r#where: Some(among), ..from("rows") }).await, ["b", "d"]);
    let order_by = vec![sq::Order { field: field("n"), direction: sq::Direction::Descending.into() }];
    let sorted = fs::StructuredQuery { order_by, ..from("rows") };
    assert_eq!(found(sorted.clone()).await, ["d", "a", "c", "b"]);
    let page = fs::StructuredQuery { offset: 1, limit: Some(2), ..sorted.clone() };
    assert_eq!(found(page).await, ["a", "c"]);
    let start_at = Some(fs::Cursor { values: vec![int(3)], before: false });
    assert_eq!(found(fs::StructuredQuery { start_at, ..sorted }).await, ["c", "b"]);
    let mut group = from("rows");
    group.from[0].all_descendants = true;
    // Collection groups sort by full name: rows/a, then what is below it.
    assert_eq!(found(group).await, ["a", "nested", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_transaction_fails_when_what_it_read_has_changed() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("c/d", &[("n", int(1))])]).await.unwrap();
    let transaction = documents.begin().await;
    documents.get_in("c/d", Some(transaction.clone())).await.unwrap();
    documents.commit(vec![set("c/d", &[("n", int(2))])]).await.unwrap();
    let late = documents.commit_in(transaction, vec![set("c/d", &[("n", int(3))])]).await;
    assert_eq!(late.unwrap_err().code(), Code::Aborted);

    let transaction = documents.begin().await;
    let missing = documents.get_in("c/other", Some(transaction.clone())).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    documents.commit_in(transaction, vec![set("c/other", &[])]).await.unwrap();
}

#[tokio::test]
async fn a_batch_of_writes_returns_one_status_each() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let writes = vec![set("c/a", &[]), when(set("c/b", &[]), ConditionType::Exists(true)), set("c/c", &[])];
    let request = fs::BatchWriteRequest { database: DATABASE.into(), writes, ..fs::BatchWriteRequest::default() };
    let response = documents.0.batch_write(request).await.unwrap().into_inner();
    let codes: Vec<_> = response.status.iter().map(|status| Code::from_i32(status.code)).collect();
    assert_eq!(codes, [Code::Ok, Code::NotFound, Code::Ok]);
    assert!(documents.get("c/c").await.is_ok());
}

#[tokio::test]
async fn browsers_poll_over_json() {
    let server = TestServer::new().await;
    let http = reqwest::Client::new();
    let root = format!("{}/v1/{DATABASE}/documents", server.url());
    let post = async |verb: &str, body: serde_json::Value| {
        let call = http.post(format!("{root}:{verb}")).header("content-type", "text/plain");
        let response = call.header("origin", "http://localhost:3000").body(body.to_string()).send().await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "http://localhost:3000");
        serde_json::from_str::<serde_json::Value>(&response.text().await.unwrap()).unwrap()
    };
    let commit = serde_json::json!({"writes": [{
        "update": {"name": name("batches/b1"), "fields": {"progress": {"integerValue": "7"}}},
        "currentDocument": {"exists": false},
        "updateTransforms": [{"fieldPath": "at", "setToServerValue": "REQUEST_TIME"}],
    }]});
    let committed = post("commit", commit.clone()).await;
    assert!(committed["writeResults"][0]["transformResults"][0]["timestampValue"].is_string());
    assert_eq!(post("commit", commit).await["error"]["status"], "ALREADY_EXISTS");
    let got = post("batchGet", serde_json::json!({"documents": [name("batches/b1"), name("batches/b2")]})).await;
    assert_eq!(got[0]["found"]["fields"]["progress"], serde_json::json!({"integerValue": "7"}));
    assert_eq!(got[1]["missing"], name("batches/b2"));
    let query = serde_json::json!({"structuredQuery": {
        "from": [{"collectionId": "batches"}],
        "where": {"fieldFilter": {
            "field": {"fieldPath": "progress"}, "op": "GREATER_THAN", "value": {"integerValue": "5"},
        }},
        "limit": 5,
    }});
    assert_eq!(post("runQuery", query).await[0]["document"]["name"], name("batches/b1"));
    let single = http.get(format!("{root}/batches/b1")).send().await.unwrap();
    assert_eq!(single.status(), 200);
    let foreign = http.get(format!("{root}/batches/b1")).header("origin", "https://example.com").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
}

#[tokio::test]
async fn a_listener_follows_a_document_from_missing_to_deleted() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let mut listener = documents.listen().await;
    listener.add(documents_target(1, &["c/d"])).await;
    assert_eq!(listener.snapshot().await, ["ADD [1]", "deleted d -[1]", "CURRENT [1]", "consistent"]);
    documents.commit(vec![set("c/other", &[])]).await.unwrap();
    documents.commit(vec![set("c/d", &[("n", int(1))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["d +[1] -[]", "consistent"]);
    documents.commit(vec![delete("c/d")]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["deleted d -[1]", "consistent"]);
}

#[tokio::test]
async fn documents_enter_and_leave_a_query() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("rows/a", &[("n", int(1))]), set("rows/b", &[("n", int(0))])]).await.unwrap();
    let mut listener = documents.listen().await;
    let above = filter("n", sq::field_filter::Operator::GreaterThan, int(0));
    listener.add(query_target(2, fs::StructuredQuery { r#where: Some(above), ..from("rows") })).await;
    assert_eq!(listener.snapshot().await, ["ADD [2]", "a +[2] -[]", "CURRENT [2]", "consistent"]);
    documents.commit(vec![set("rows/b", &[("n", int(5))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["b +[2] -[]", "consistent"]);
    documents.commit(vec![set("rows/a", &[("n", int(-1))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["a +[] -[2]", "consistent"]);
    documents.commit(vec![delete("rows/b")]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["deleted b -[2]", "consistent"]);
}

#[tokio::test]
async fn a_limited_query_refills_and_pushes_documents_out() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let row = |id: &str, n| set(&format!("rows/{id}"), &[("n", int(n))]);
    documents.commit(vec![row("a", 1), row("b", 2), row("c", 3)]).await.unwrap();
    let mut listener = documents.listen().await;
    let order_by = vec![sq::Order { field: field("n"), direction: sq::Direction::Ascending.into() }];
    listener.add(query_target(1, fs::StructuredQuery { order_by, limit: Some(2), ..from("rows") })).await;
    assert_eq!(listener.snapshot().await, ["ADD [1]", "a +[1] -[]", "b +[1] -[]", "CURRENT [1]", "consistent"]);
    documents.commit(vec![delete("rows/a")]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["c +[1] -[]", "deleted a -[1]", "consistent"]);
    documents.commit(vec![row("d", 0)]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["d +[1] -[]", "removed c -[1]", "consistent"]);
    documents.commit(vec![row("e", 9)]).await.unwrap();
    documents.commit(vec![row("b", 10)]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["c +[1] -[]", "b +[] -[1]", "consistent"]);
}

#[tokio::test]
async fn targets_are_added_to_and_removed_from_one_stream() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("rows/a", &[])]).await.unwrap();
    let mut listener = documents.listen().await;
    listener.add(documents_target(1, &["rows/a"])).await;
    listener.snapshot().await;
    listener.add(query_target(2, from("rows"))).await;
    assert_eq!(listener.snapshot().await, ["ADD [2]", "a +[2] -[]", "CURRENT [2]", "consistent"]);
    documents.commit(vec![set("rows/a", &[("n", int(1))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["a +[1, 2] -[]", "consistent"]);

    listener.remove(1).await;
    assert_eq!(listener.next().await, "REMOVE [1]");
    documents.commit(vec![set("rows/a", &[("n", int(2))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["a +[2] -[]", "consistent"]);

    // Invalid targets end; the others continue.
    let mut bad = from("rows");
    bad.limit = Some(-1);
    let elsewhere = fs::target::DocumentsTarget { documents: vec!["projects/x/databases/y/documents/c/d".into()] };
    let elsewhere = fs::target::TargetType::Documents(elsewhere);
    listener.add(query_target(3, bad)).await;
    listener.add(fs::Target { target_id: 4, target_type: Some(elsewhere), ..fs::Target::default() }).await;
    listener.add(fs::Target { target_id: 5, ..fs::Target::default() }).await;
    listener.add(query_target(-6, from("rows"))).await;
    listener.add(query_target(0, from("rows"))).await;
    for id in [3, 4, 5, -6, 0] {
        assert_eq!(listener.next().await, format!("REMOVE [{id}] because InvalidArgument"));
    }
    let once = fs::Target { once: true, ..documents_target(7, &["rows/a"]) };
    listener.add(once).await;
    let messages = listener.snapshot().await;
    assert_eq!(messages, ["ADD [7]", "a +[7] -[]", "CURRENT [7]", "consistent"]);
    assert_eq!(listener.next().await, "REMOVE [7]");
    documents.commit(vec![set("rows/a", &[("n", int(3))])]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["a +[2] -[]", "consistent"]);
    // Adding a target with an ID that is in use ends that target.
    listener.add(query_target(2, from("other"))).await;
    assert_eq!(listener.next().await, "REMOVE [2] because InvalidArgument");

    let mut assigned = documents.listen().await;
    assigned.add(query_target(0, from("rows"))).await;
    assigned.add(query_target(0, from("rows"))).await;
    assert_eq!(assigned.snapshot().await[0], "ADD [1]");
    assert_eq!(assigned.snapshot().await[0], "ADD [2]");
}

#[tokio::test]
async fn a_resuming_listener_keeps_no_deleted_documents() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    documents.commit(vec![set("rows/a", &[]), set("rows/b", &[])]).await.unwrap();
    let mut listener = documents.listen().await;
    listener.add(query_target(1, from("rows"))).await;
    listener.snapshot().await;
    let token = fs::target::ResumeType::ResumeToken(listener.token.clone());
    drop(listener);

    let server = server.restart().await;
    let mut documents = Documents::new(&server).await;
    let again = |resume: &fs::target::ResumeType| fs::Target {
        resume_type: Some(resume.clone()),
        ..query_target(1, from("rows"))
    };
    let mut listener = documents.listen().await;
    listener.add(again(&token)).await;
    assert_eq!(listener.snapshot().await, ["ADD [1]", "CURRENT [1]", "consistent"], "nothing was committed");
    drop(listener);
    documents.commit(vec![delete("rows/a")]).await.unwrap();
    let mut listener = documents.listen().await;
    listener.add(again(&token)).await;
    let messages = listener.snapshot().await;
    assert_eq!(messages, ["ADD [1]", "RESET [1]", "b +[1] -[]", "CURRENT [1]", "consistent"]);
    documents.commit(vec![delete("rows/b")]).await.unwrap();
    assert_eq!(listener.snapshot().await, ["deleted b -[1]", "consistent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_contain_whole_commits_and_time_never_goes_back() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let mut writer = Documents::new(&server).await;
    let writing = tokio::spawn(async move {
        for n in 1..=300 {
            writer.commit(vec![set("left/a", &[("n", int(n))]), set("right/b", &[("n", int(n))])]).await.unwrap();
        }
    });
    // Windows read the store, which is ahead of the published commits; new targets are added while commits continue.
    let mut listener = documents.listen().await;
    let order_by = vec![sq::Order { field: field("n"), direction: sq::Direction::Descending.into() }];
    let window = fs::StructuredQuery { order_by, limit: Some(1), ..from("left") };
    listener.add(query_target(1, window.clone())).await;
    listener.add(query_target(2, from("right"))).await;
    for id in 3..20 {
        let target = if id % 2 == 0 { query_target(id, window.clone()) } else { documents_target(id, &["right/b"]) };
        listener.add(target).await;
    }
    let mut seen: HashMap<String, fs::Value> = HashMap::new();
    while listener.current < 19 || seen.get("a") != Some(&int(300)) {
        for document in listener.documents().await {
            let id = document.name.rsplit('/').next().unwrap().to_owned();
            seen.insert(id, document.fields["n"].clone());
        }
        if let (Some(left), Some(right)) = (seen.get("a"), seen.get("b")) {
            assert_eq!(left, right, "both are written by each commit");
        }
    }
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_ends_up_with_the_last_state() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let mut listener = documents.listen().await;
    listener.add(query_target(1, from("rows"))).await;
    listener.snapshot().await;
    // Far more than the connection and the inbox can hold.
    let long = "x".repeat(100_000);
    for n in 0..40 {
        let write = |id| set(&format!("rows/{id}"), &[("n", int(n)), ("text", text(&long))]);
        documents.commit((0..20).map(write).collect()).await.unwrap();
    }
    documents.commit(vec![delete("rows/0")]).await.unwrap();
    let (mut rows, mut snapshots) = (HashMap::new(), 0);
    while rows.len() != 19 || rows.values().any(|n| *n != int(39)) {
        for document in listener.documents().await {
            rows.insert(document.name, document.fields["n"].clone());
        }
        rows.retain(|name, _| !listener.deleted.contains(name));
        snapshots += 1;
    }
    assert!(snapshots < 41, "{snapshots} snapshots");
}

#[tokio::test]
async fn stopping_ends_streams_with_unavailable() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let mut listener = documents.listen().await;
    listener.add(query_target(1, from("rows"))).await;
    listener.snapshot().await;
    let (_writes, mut written) = documents.write_stream().await;
    with_timeout(written.message()).await.unwrap();
    let stopping = tokio::spawn(server.emulator.stop());
    assert_eq!(with_timeout(listener.responses.message()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(with_timeout(written.message()).await.unwrap_err().code(), Code::Unavailable);
    with_timeout(stopping).await.unwrap();
}

#[tokio::test]
async fn a_stream_of_writes_commits_one_after_the_other() {
    let server = TestServer::new().await;
    let mut documents = Documents::new(&server).await;
    let (writes, mut written) = documents.write_stream().await;
    let opened = with_timeout(written.message()).await.unwrap().unwrap();
    assert!(!opened.stream_id.is_empty() && !opened.stream_token.is_empty());
    let mut stream_token = opened.stream_token;
    for n in 0..3 {
        let request = fs::WriteRequest {
            stream_token,
            writes: vec![set("c/a", &[("n", int(n))]), delete("c/b")],
            ..fs::WriteRequest::default()
        };
        writes.send(request).await.unwrap();
        let response = with_timeout(written.message()).await.unwrap().unwrap();
        assert_eq!(response.write_results.len(), 2);
        assert_eq!(documents.get("c/a").await.unwrap().update_time, response.commit_time);
        stream_token = response.stream_token;
    }
    let rejected = vec![when(set("c/a", &[]), ConditionType::Exists(false))];
    writes.send(fs::WriteRequest { stream_token, writes: rejected, ..fs::WriteRequest::default() }).await.unwrap();
    assert_eq!(with_timeout(written.message()).await.unwrap_err().code(), Code::AlreadyExists);
}

/// An open `Listen` stream.
struct Listener {
    requests: mpsc::Sender<fs::ListenRequest>,
    responses: tonic::Streaming<fs::ListenResponse>,
    /// The last resume token and read time, the names of deleted documents, and the number of targets that became
    /// current.
    token: Vec<u8>,
    read_time: Option<(i64, i32)>,
    deleted: Vec<String>,
    current: usize,
}

impl Documents {
    async fn listen(&mut self) -> Listener {
        let (requests, sent) = mpsc::channel(100);
        let responses = self.0.listen(requests_of(sent)).await.unwrap().into_inner();
        Listener { requests, responses, token: Vec::new(), read_time: None, deleted: Vec::new(), current: 0 }
    }

    async fn write_stream(&mut self) -> (mpsc::Sender<fs::WriteRequest>, tonic::Streaming<fs::WriteResponse>) {
        let (requests, sent) = mpsc::channel(100);
        requests.send(fs::WriteRequest { database: DATABASE.into(), ..fs::WriteRequest::default() }).await.unwrap();
        (requests, self.0.write(requests_of(sent)).await.unwrap().into_inner())
    }
}

fn requests_of<M: Send + 'static>(sent: mpsc::Receiver<M>) -> impl futures::Stream<Item = M> + Send + 'static {
    futures::stream::unfold(sent, |mut sent| async { sent.recv().await.map(|request| (request, sent)) })
}

impl Listener {
    async fn request(&self, change: fs::listen_request::TargetChange) {
        let database = DATABASE.into();
        let request = fs::ListenRequest { database, target_change: Some(change), ..fs::ListenRequest::default() };
        self.requests.send(request).await.unwrap();
    }

    async fn add(&self, target: fs::Target) {
        self.request(fs::listen_request::TargetChange::AddTarget(target)).await;
    }

    async fn remove(&self, id: i32) {
        self.request(fs::listen_request::TargetChange::RemoveTarget(id)).await;
    }

    async fn message(&mut self) -> fs::listen_response::ResponseType {
        let response = with_timeout(self.responses.message()).await.unwrap().unwrap();
        let response = response.response_type.unwrap();
        match &response {
            fs::listen_response::ResponseType::TargetChange(change) => {
                let read_time = change.read_time.map(|at| (at.seconds, at.nanos));
                assert!(read_time.is_none() || read_time >= self.read_time, "time goes back");
                assert_eq!(read_time.is_some(), !change.resume_token.is_empty());
                if read_time.is_some() {
                    (self.token, self.read_time) = (change.resume_token.clone(), read_time);
                }
                self.current += usize::from(change.target_change_type() == TargetChangeType::Current);
            }
            fs::listen_response::ResponseType::DocumentDelete(delete) => self.deleted.push(delete.document.clone()),
            _ => {}
        }
        response
    }

    /// The next message as text.
    async fn next(&mut self) -> String {
        use fs::listen_response::ResponseType as R;
        let id = |name: &str| name.rsplit('/').next().unwrap().to_owned();
        match self.message().await {
            R::TargetChange(change) if change.target_change_type() == TargetChangeType::NoChange => {
                assert!(change.target_ids.is_empty() && change.read_time.is_some());
                "consistent".into()
            }
            R::TargetChange(change) => {
                let cause = change.cause.as_ref().map(|cause| format!(" because {:?}", Code::from_i32(cause.code)));
                let kind = change.target_change_type().as_str_name();
                format!("{kind} {:?}{}", change.target_ids, cause.unwrap_or_default())
            }
            R::DocumentChange(change) => {
                let name = id(&change.document.unwrap().name);
                format!("{name} +{:?} -{:?}", change.target_ids, change.removed_target_ids)
            }
            R::DocumentDelete(delete) => format!("deleted {} -{:?}", id(&delete.document), delete.removed_target_ids),
            R::DocumentRemove(remove) => format!("removed {} -{:?}", id(&remove.document), remove.removed_target_ids),
            R::Filter(_) => "filter".into(),
        }
    }

    /// The messages up to the next consistent snapshot, as text.
    async fn snapshot(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.last().is_none_or(|last| last != "consistent") {
            messages.push(self.next().await);
        }
        messages
    }

    /// The documents in the messages up to the next consistent snapshot.
    async fn documents(&mut self) -> Vec<fs::Document> {
        use fs::listen_response::ResponseType as R;
        let mut shown = Vec::new();
        loop {
            match self.message().await {
                R::DocumentChange(change) => shown.extend(change.document),
                R::TargetChange(change) if change.target_change_type() == TargetChangeType::NoChange => return shown,
                _ => {}
            }
        }
    }
}

fn documents_target(target_id: i32, paths: &[&str]) -> fs::Target {
    let documents = fs::target::DocumentsTarget { documents: paths.iter().map(|path| name(path)).collect() };
    let target_type = Some(fs::target::TargetType::Documents(documents));
    fs::Target { target_id, target_type, ..fs::Target::default() }
}

fn query_target(target_id: i32, query: fs::StructuredQuery) -> fs::Target {
    let query_type = Some(fs::target::query_target::QueryType::StructuredQuery(query));
    let query = fs::target::QueryTarget { parent: format!("{DATABASE}/documents"), query_type };
    let target_type = Some(fs::target::TargetType::Query(query));
    fs::Target { target_id, target_type, ..fs::Target::default() }
}

fn delete(path: &str) -> fs::Write {
    fs::Write { operation: Some(Operation::Delete(name(path))), ..fs::Write::default() }
}
