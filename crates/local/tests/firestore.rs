//! Firestore over the generated gRPC client, and over JSON as browsers poll.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    self as fs, document_transform::FieldTransform, document_transform::field_transform::TransformType,
    firestore_client::FirestoreClient, precondition::ConditionType, structured_query as sq, value::ValueType,
    write::Operation,
};
use std::collections::HashMap;
use support::*;
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
    async fn new(bench: &Bench) -> Self {
        let channel = Channel::from_shared(bench.url()).unwrap().connect().await.unwrap();
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
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
    let commit = documents.commit(vec![set("batches/b1/clips/c1", &[("status", text("queued"))])]).await.unwrap();
    assert_eq!(commit.write_results[0].update_time, commit.commit_time);
    let bench = bench.restart().await;
    let mut documents = Documents::new(&bench).await;
    let found = documents.get("batches/b1/clips/c1").await.unwrap();
    assert_eq!(found.fields["status"], text("queued"));
    assert_eq!((found.create_time, found.update_time), (commit.commit_time, commit.commit_time));
    assert_eq!(documents.get("batches/b1").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn one_failed_precondition_undoes_the_whole_commit() {
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
    documents.commit(vec![set("c/there", &[])]).await.unwrap();
    let writes = vec![set("c/new", &[]), when(set("c/there", &[]), ConditionType::Exists(false))];
    assert_eq!(documents.commit(writes).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(documents.get("c/new").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn of_two_writers_with_the_same_version_one_wins() {
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
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
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
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
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
    documents.commit(vec![set("c/d", &[("progress", int(41)), ("keep", int(1))])]).await.unwrap();
    let mut write = when(set("c/d", &[("status", text("processing"))]), ConditionType::Exists(true));
    write.update_mask = Some(fs::DocumentMask { field_paths: vec!["status".into()] });
    let transform = |path: &str, kind| FieldTransform { field_path: path.into(), transform_type: Some(kind) };
    write.update_transforms = vec![
        transform("progress", TransformType::Maximum(int(40))),
        transform("updatedAt", TransformType::SetToServerValue(1)),
    ];
    let commit = documents.commit(vec![write]).await.unwrap();
    let now = fs::Value { value_type: commit.commit_time.map(ValueType::TimestampValue) };
    assert_eq!(commit.write_results[0].transform_results, [int(41), now.clone()]);
    let found = documents.get("c/d").await.unwrap();
    let fields = [("progress", int(41)), ("keep", int(1)), ("status", text("processing")), ("updatedAt", now)];
    assert_eq!(found.fields, fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
}

#[tokio::test]
async fn queries_filter_sort_and_page() {
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
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
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
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
async fn a_batch_of_writes_answers_for_each() {
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
    let writes = vec![set("c/a", &[]), when(set("c/b", &[]), ConditionType::Exists(true)), set("c/c", &[])];
    let request = fs::BatchWriteRequest { database: DATABASE.into(), writes, ..fs::BatchWriteRequest::default() };
    let response = documents.0.batch_write(request).await.unwrap().into_inner();
    let codes: Vec<_> = response.status.iter().map(|status| Code::from_i32(status.code)).collect();
    assert_eq!(codes, [Code::Ok, Code::NotFound, Code::Ok]);
    assert!(documents.get("c/c").await.is_ok());
}

#[tokio::test]
async fn browsers_poll_over_json() {
    let bench = Bench::new().await;
    let http = reqwest::Client::new();
    let root = format!("{}/v1/{DATABASE}/documents", bench.url());
    let post = async |verb: &str, body: serde_json::Value| {
        let call = http.post(format!("{root}:{verb}")).header("content-type", "text/plain");
        let answer = call.header("origin", "http://localhost:3000").body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "http://localhost:3000");
        serde_json::from_str::<serde_json::Value>(&answer.text().await.unwrap()).unwrap()
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
        "where": {"fieldFilter": {"field": {"fieldPath": "progress"}, "op": "GREATER_THAN", "value": {"integerValue": "5"}}},
        "limit": 5,
    }});
    assert_eq!(post("runQuery", query).await[0]["document"]["name"], name("batches/b1"));
    let single = http.get(format!("{root}/batches/b1")).send().await.unwrap();
    assert_eq!(single.status(), 200);
    let foreign = http.get(format!("{root}/batches/b1")).header("origin", "https://example.com").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
}

#[tokio::test]
async fn what_is_missing_says_so() {
    let bench = Bench::new().await;
    let mut documents = Documents::new(&bench).await;
    let requests = futures::stream::iter([fs::ListenRequest::default()]);
    assert_eq!(documents.0.listen(requests).await.unwrap_err().code(), Code::Unimplemented);
}
