//! The required behaviour of a document store.

use crate::Backend;
use clipfleet_cloud::{
    Amendment, CloudError, Document, ErrorKind, Fields, Order, Precondition, Search, Value, Version, Write, fields_of,
};
use std::time::{Duration, SystemTime};

fn write(path: &str, fields: Fields, precondition: Precondition) -> Write {
    Write { path: path.to_owned(), fields, precondition }
}

fn number(value: i64) -> Fields {
    Fields::from([("number".into(), Value::Integer(value))])
}

async fn put(backend: &Backend, path: &str, fields: Fields) -> Version {
    try_put(backend, path, fields, Precondition::None).await.unwrap()
}

async fn try_put(
    backend: &Backend,
    path: &str,
    fields: Fields,
    precondition: Precondition,
) -> Result<Version, CloudError> {
    let versions = backend.cloud.documents.commit(vec![write(path, fields, precondition)]).await?;
    assert_eq!(versions.len(), 1);
    Ok(versions[0])
}

async fn get(backend: &Backend, path: &str) -> Option<Document> {
    backend.cloud.documents.get(&[path.to_owned()]).await.unwrap().remove(0)
}

pub(crate) async fn every_value_reads_back(backend: &Backend) {
    let path = format!("{}/d1", backend.name("values"));
    let instant = SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_000_000_123_456);
    let inner = Fields::from([("code".into(), Value::String("é".into())), ("retryable".into(), Value::Bool(true))]);
    let fields = Fields::from([
        ("null".into(), Value::Null),
        ("bool".into(), Value::Bool(false)),
        ("least".into(), Value::Integer(i64::MIN)),
        ("most".into(), Value::Integer(i64::MAX)),
        ("double".into(), Value::Double(-0.1)),
        ("text".into(), Value::String(String::new())),
        ("at".into(), Value::Timestamp(instant)),
        ("list".into(), Value::Array(vec![Value::Integer(1), Value::Null, Value::Map(inner.clone())])),
        ("map".into(), Value::Map(inner)),
        ("empty map".into(), Value::Map(Fields::new())),
        ("empty list".into(), Value::Array(Vec::new())),
    ]);
    let version = put(backend, &path, fields.clone()).await;
    assert_eq!(get(backend, &path).await, Some(Document { path, fields, version }));

    let finer = instant + Duration::from_nanos(789);
    let path = format!("{}/d1", backend.name("values"));
    put(backend, &path, Fields::from([("at".into(), Value::Timestamp(finer))])).await;
    let kept = get(backend, &path).await.unwrap();
    assert_eq!(kept.fields["at"], Value::Timestamp(instant), "stored with microsecond precision");
}

pub(crate) async fn documents_arrive_in_the_requested_order(backend: &Backend) {
    let collection = backend.name("order");
    let path = |id: &str| format!("{collection}/{id}");
    put(backend, &path("a"), number(1)).await;
    put(backend, &path("b"), number(2)).await;
    let requested = [path("b"), path("missing"), path("a"), path("b")];
    let found = backend.cloud.documents.get(&requested).await.unwrap();
    let found: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| it.fields["number"].clone())).collect();
    let expected = [Some(2), None, Some(1), Some(2)].map(|number| number.map(Value::Integer));
    assert_eq!(found, expected);
    assert_eq!(backend.cloud.documents.get(&[]).await.unwrap(), []);
}

pub(crate) async fn any_number_of_documents_can_be_read(backend: &Backend) {
    let collection = backend.name("many");
    let paths: Vec<_> = (0..1000).map(|id| format!("{collection}/{id}")).collect();
    for paths in paths.chunks(500) {
        let writes = paths.iter().map(|path| write(path, number(7), Precondition::Absent)).collect();
        assert_eq!(backend.cloud.documents.commit(writes).await.unwrap().len(), 500);
    }
    let found = backend.cloud.documents.get(&paths).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|it| it.unwrap().path).collect();
    assert_eq!(found, paths);
    assert_eq!(backend.cloud.documents.list(&collection).await.unwrap().len(), 1000);
}

pub(crate) async fn a_write_replaces_all_fields(backend: &Backend) {
    let path = format!("{}/d1", backend.name("replace"));
    let first = Fields::from([("old".into(), Value::Bool(true)), ("number".into(), Value::Integer(1))]);
    put(backend, &path, first).await;
    put(backend, &path, number(2)).await;
    assert_eq!(get(backend, &path).await.unwrap().fields, number(2));
}

pub(crate) async fn create_absent_detects_an_existing_document(backend: &Backend) {
    let path = format!("{}/d1", backend.name("create"));
    try_put(backend, &path, number(1), Precondition::Absent).await.unwrap();
    let error = try_put(backend, &path, number(2), Precondition::Absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(get(backend, &path).await.unwrap().fields, number(1));
}

pub(crate) async fn unchanged_precondition_detects_a_conflict(backend: &Backend) {
    let path = format!("{}/d1", backend.name("conflict"));
    let first = put(backend, &path, number(1)).await;
    let second = try_put(backend, &path, number(2), Precondition::Unchanged(first)).await.unwrap();
    let error = try_put(backend, &path, number(3), Precondition::Unchanged(first)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    try_put(backend, &path, number(4), Precondition::Unchanged(second)).await.unwrap();
    let missing = format!("{}/d1", backend.name("conflict"));
    let error = try_put(backend, &missing, number(5), Precondition::Unchanged(second)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "a deleted document counts as changed: {error}");
}

pub(crate) async fn commit_is_all_or_nothing(backend: &Backend) {
    let collection = backend.name("atomic");
    let path = |id: &str| format!("{collection}/{id}");
    put(backend, &path("there"), number(1)).await;
    let writes = vec![
        write(&path("new"), number(2), Precondition::Absent),
        write(&path("there"), number(2), Precondition::Absent),
        write(&path("last"), number(2), Precondition::None),
    ];
    let error = backend.cloud.documents.commit(writes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let kept: Vec<_> = backend.cloud.documents.list(&collection).await.unwrap();
    assert_eq!(
        kept.iter().map(|it| (it.path.clone(), it.fields.clone())).collect::<Vec<_>>(),
        [(path("there"), number(1))]
    );
}

pub(crate) async fn every_change_changes_the_version(backend: &Backend) {
    let collection = backend.name("versions");
    let path = format!("{collection}/d1");
    let mut versions = Vec::new();
    for count in 0..50 {
        let version = put(backend, &path, number(count)).await;
        assert_eq!(get(backend, &path).await.unwrap().version, version);
        assert!(!versions.contains(&version), "write {count} has the version of an earlier one");
        versions.push(version);
    }
}

pub(crate) async fn a_write_that_changes_nothing_keeps_the_version(backend: &Backend) {
    let path = format!("{}/d1", backend.name("same"));
    let first = put(backend, &path, number(1)).await;
    assert_eq!(put(backend, &path, number(1)).await, first);
    assert_eq!(get(backend, &path).await.unwrap().version, first);
    assert_ne!(put(backend, &path, number(2)).await, first);
}

pub(crate) async fn concurrent_increments_are_not_lost(backend: &Backend) {
    let path = format!("{}/d1", backend.name("counter"));
    put(backend, &path, number(0)).await;
    let writers = (0..4).map(|_| {
        let (documents, path) = (backend.cloud.documents.clone(), path.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let found = documents.get(std::slice::from_ref(&path)).await.unwrap().remove(0).unwrap();
                let Value::Integer(count) = found.fields["number"] else { panic!("a number") };
                let next = write(&path, number(count + 1), Precondition::Unchanged(found.version));
                match documents.commit(vec![next]).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(get(backend, &path).await.unwrap().fields, number(40));
}

pub(crate) async fn list_and_find_in_id_order(backend: &Backend) {
    let documents = &backend.cloud.documents;
    let collection = backend.name("batches");
    for (id, status) in [("b", "queued"), ("a", "queued"), ("10", "failed"), ("9", "queued"), ("B", "queued")] {
        let fields = Fields::from([("status".into(), Value::String(status.into()))]);
        put(backend, &format!("{collection}/{id}"), fields).await;
    }
    put(backend, &format!("{collection}/a/clips/c1"), number(1)).await;
    put(backend, &format!("{collection}-other/z"), number(1)).await;
    let ids = |found: Vec<Document>| -> Vec<String> {
        found.iter().map(|it| it.path.strip_prefix(&collection).unwrap().to_owned()).collect()
    };
    assert_eq!(ids(documents.list(&collection).await.unwrap()), ["/10", "/9", "/B", "/a", "/b"]);
    let status = |status: &str, after, limit| Search::by_id("status", Value::text(status), after, limit);
    let found = documents.find(&collection, status("queued", "", 10)).await.unwrap();
    assert_eq!(ids(found), ["/9", "/B", "/a", "/b"]);
    let found = documents.find(&collection, status("queued", "", 2)).await.unwrap();
    assert_eq!(ids(found), ["/9", "/B"], "no more than the limit");
    for (after, expected) in [("9", &["/B", "/a"][..]), ("B", &["/a", "/b"]), ("10", &["/9", "/B"]), ("b", &[])] {
        let found = documents.find(&collection, status("queued", after, 2)).await.unwrap();
        assert_eq!(ids(found), expected, "the page after {after}");
    }
    assert!(documents.find(&collection, status("unheard of", "", 10)).await.unwrap().is_empty());
    assert_eq!(ids(documents.list(&format!("{collection}/a/clips")).await.unwrap()), ["/a/clips/c1"]);
    assert!(documents.list(&format!("{collection}/none/clips")).await.unwrap().is_empty());
}

pub(crate) async fn the_latest_documents_come_first(backend: &Backend) {
    let documents = &backend.cloud.documents;
    let collection = backend.name("latest");
    let all = [("a", "me", "done", 3), ("b", "you", "done", 2), ("c", "me", "open", 2), ("d", "me", "done", 1)];
    for (id, owner, status, at_ms) in all {
        let fields = [("owner", Value::text(owner)), ("status", Value::text(status)), ("at", Value::instant(at_ms))];
        put(backend, &format!("{collection}/{id}"), fields_of(fields)).await;
    }
    put(backend, &format!("{collection}/undated"), Fields::new()).await;
    let find = async |filters: &[(&'static str, &str)], after, limit| {
        let filters = filters.iter().map(|(name, value)| (*name, Value::text(value))).collect();
        let search = Search { filters, order: Order::LatestFirst { field: "at", after }, limit };
        let found = documents.find(&collection, search).await.unwrap();
        found.iter().map(|it| it.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find(&[], None, 10).await, ["a", "c", "b", "d"], "equal instants: by id, descending");
    assert_eq!(find(&[], None, 2).await, ["a", "c"]);
    assert_eq!(find(&[], Some((2, "c")), 2).await, ["b", "d"]);
    assert_eq!(find(&[], Some((2, "b")), 2).await, ["d"]);
    assert_eq!(find(&[("owner", "me")], None, 10).await, ["a", "c", "d"]);
    assert_eq!(find(&[("owner", "me"), ("status", "done")], None, 10).await, ["a", "d"]);
    assert_eq!(find(&[("owner", "me"), ("status", "done")], Some((3, "a")), 10).await, ["d"]);
    assert!(find(&[("owner", "nobody")], None, 10).await.is_empty());
}

pub(crate) async fn selected_fields_are_read(backend: &Backend) {
    let collection = backend.name("selected");
    let path = format!("{collection}/a");
    put(backend, &path, fields_of([("kept", Value::integer(1)), ("left out", Value::integer(2))])).await;
    let paths = [path, format!("{collection}/none")];
    let found = backend.cloud.documents.get_fields(&paths, &["kept", "unheard of"]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().fields, fields_of([("kept", Value::integer(1))]));
    assert_eq!(found[1], None);
}

pub(crate) async fn a_malformed_commit_is_invalid(backend: &Backend) {
    let collection = backend.name("malformed");
    for path in [collection.clone(), format!("{collection}/a/clips"), format!("{collection}//a/b"), String::new()] {
        let error = try_put(backend, &path, number(1), Precondition::None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}: {error}");
    }
    let many = (0..501).map(|id| write(&format!("{collection}/{id}"), number(1), Precondition::None)).collect();
    let error = backend.cloud.documents.commit(many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(backend.cloud.documents.list(&collection).await.unwrap().is_empty());
}

pub(crate) async fn an_amendment_changes_its_fields_and_no_other(backend: &Backend) {
    let collection = backend.name("amended");
    let path = |id: &str| format!("{collection}/{id}");
    let map = |entries: &[(&str, Value)]| {
        Value::Map(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    };
    let one = Value::Integer(1);
    let before = Fields::from([
        ("title".into(), Value::String("Talk".into())),
        ("clips".into(), map(&[("a", map(&[("note", one.clone()), ("status", Value::Null)])), ("other", one.clone())])),
        ("flat".into(), one.clone()),
    ]);
    put(backend, &path("there"), before).await;
    // Names that must be quoted in a field path.
    let odd = ["wizard--clip-2", "1st", "a.b", "back`tick\\", "é"];
    let field = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut fields = vec![
        (field(&["clips", "a", "status"]), Value::String("completed".into())),
        (field(&["flat", "made", "deep"]), one.clone()),
    ];
    fields.extend(odd.map(|name| (field(&["clips", name, "status"]), Value::String(name.into()))));
    let amendment = Amendment { path: path("there"), fields };
    let beside = write(&path("beside"), number(2), Precondition::Absent);
    backend.cloud.documents.amend(vec![beside], amendment.clone()).await.unwrap();

    let mut clips = vec![
        ("a", map(&[("note", one.clone()), ("status", Value::String("completed".into()))])),
        ("other", one.clone()),
    ];
    clips.extend(odd.map(|name| (name, map(&[("status", Value::String(name.into()))]))));
    let expected = Fields::from([
        ("title".into(), Value::String("Talk".into())),
        ("clips".into(), map(&clips)),
        ("flat".into(), map(&[("made", map(&[("deep", one)]))])),
    ]);
    assert_eq!(get(backend, &path("there")).await.unwrap().fields, expected);
    assert_eq!(get(backend, &path("beside")).await.unwrap().fields, number(2));

    // The amendment and the other writes succeed or fail together.
    let documents = &backend.cloud.documents;
    let absent = || vec![write(&path("beside"), number(3), Precondition::Absent)];
    let error = documents.amend(absent(), amendment.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let fresh = || vec![write(&path("fresh"), number(3), Precondition::None)];
    let error = documents.amend(fresh(), Amendment { path: path("missing"), ..amendment }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(get(backend, &path("fresh")).await, None);
    assert_eq!(get(backend, &path("missing")).await, None);
}

pub(crate) async fn databases_are_separate(backend: &Backend) {
    let other = backend.with_database("clipfleet-2").await;
    let path = format!("{}/d1", backend.name("databases"));
    put(backend, &path, number(1)).await;
    assert_eq!(other.documents.get(std::slice::from_ref(&path)).await.unwrap(), [None]);
    other.documents.commit(vec![write(&path, number(2), Precondition::Absent)]).await.unwrap();
    assert_eq!(get(backend, &path).await.unwrap().fields, number(1));
    let collection = path.rsplit_once('/').unwrap().0;
    assert_eq!(other.documents.list(collection).await.unwrap()[0].fields, number(2));
}
