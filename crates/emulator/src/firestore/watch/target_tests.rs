//! How commits and refreshes change a target, without a store.

use super::*;
use fs::{structured_query as sq, value::ValueType};
use std::convert::Infallible;

const DATABASE: &str = "projects/p/databases/d";

fn name(id: &str) -> DocumentName {
    DocumentName { collection: format!("{DATABASE}/documents/c"), id: id.into() }
}

/// A document with a value of `n` that sets its place in the order.
fn document(id: &str, n: i64, at: u64) -> fs::Document {
    let n = fs::Value { value_type: Some(ValueType::IntegerValue(n)) };
    let update_time = Some(clock::timestamp(at));
    fs::Document { name: name(id).to_string(), fields: [("n".into(), n)].into(), update_time, create_time: None }
}

fn commit(at: u64, changes: &[(&str, Option<i64>)]) -> Commit {
    let change = |(id, n): &(&str, Option<i64>)| {
        let document = n.map(|n| Arc::new(document(id, n, at)));
        Change { name: name(id), document }
    };
    Commit { at, changes: changes.iter().map(change).collect(), bytes: 0 }
}

/// Documents of `c` with `n` above 0, sorted by `n`.
fn above_zero(limit: Option<i32>) -> fs::Target {
    let field = || Some(sq::FieldReference { field_path: "n".into() });
    let zero = Some(fs::Value { value_type: Some(ValueType::IntegerValue(0)) });
    let filter = sq::FieldFilter { field: field(), op: sq::field_filter::Operator::GreaterThan.into(), value: zero };
    let query = fs::StructuredQuery {
        from: vec![sq::CollectionSelector { collection_id: "c".into(), all_descendants: false }],
        r#where: Some(sq::Filter { filter_type: Some(sq::filter::FilterType::FieldFilter(filter)) }),
        limit,
        ..fs::StructuredQuery::default()
    };
    let query_type = Some(QueryType::StructuredQuery(query));
    let parent = format!("{DATABASE}/documents");
    let target_type = Some(TargetType::Query(fs::target::QueryTarget { parent, query_type }));
    fs::Target { target_type, ..fs::Target::default() }
}

fn resuming(target: fs::Target, at: u64) -> fs::Target {
    fs::Target { resume_type: Some(ResumeType::ResumeToken(at.to_be_bytes().into())), ..target }
}

/// A target and the contents of its store.
struct Fixture {
    target: Target,
    stored: BTreeMap<DocumentName, fs::Document>,
}

impl Fixture {
    fn new(target: fs::Target) -> Self {
        Self { target: Target::parse(1, DATABASE, target).unwrap(), stored: BTreeMap::new() }
    }

    /// Refreshes the target; returns its messages, and whether the client must reset.
    fn refresh(&mut self, at: u64, found: &[&str]) -> (Vec<String>, bool) {
        let found = found.iter().map(|id| self.stored[&name(id)].clone()).collect();
        let mut outbox = Outbox::default();
        let get = |name: &DocumentName| Ok::<_, Infallible>(self.stored.get(name).cloned());
        let Ok(reset) = self.target.refresh(Fetched::Query(found), at, get, &mut outbox);
        (describe(outbox), reset)
    }

    /// Stores a commit; returns the target's messages, or `None` if it needs a refresh.
    fn commit(&mut self, at: u64, changes: &[(&str, Option<i64>)]) -> Option<Vec<String>> {
        let commit = commit(at, changes);
        for change in &commit.changes {
            match &change.document {
                Some(document) => self.stored.insert(change.name.clone(), document.as_ref().clone()),
                None => self.stored.remove(&change.name),
            };
        }
        if self.target.needs_refresh(&commit) {
            return None;
        }
        let mut outbox = Outbox::default();
        self.target.apply(&commit, &mut outbox);
        Some(describe(outbox))
    }
}

fn describe(outbox: Outbox) -> Vec<String> {
    use fs::listen_response::ResponseType as R;
    let id = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let describe_response = |response: fs::ListenResponse| match response.response_type.unwrap() {
        R::DocumentChange(change) if change.removed_target_ids.is_empty() => {
            format!("shown {}", id(&change.document.unwrap().name))
        }
        R::DocumentChange(change) => format!("left {}", id(&change.document.unwrap().name)),
        R::DocumentDelete(delete) => format!("deleted {}", id(&delete.document)),
        R::DocumentRemove(remove) => format!("pushed out {}", id(&remove.document)),
        other => panic!("{other:?}"),
    };
    outbox.into_responses(0).map(describe_response).collect()
}

fn messages(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn documents_enter_change_leave_and_go() {
    let mut fixture = Fixture::new(above_zero(None));
    assert_eq!(fixture.refresh(1, &[]), (vec![], false));
    assert_eq!(fixture.commit(2, &[("a", Some(1)), ("b", Some(0))]), messages(&["shown a"]));
    assert_eq!(fixture.commit(3, &[("a", Some(2))]), messages(&["shown a"]));
    assert_eq!(fixture.commit(4, &[("b", Some(5)), ("a", Some(-1))]), messages(&["shown b", "left a"]));
    assert_eq!(fixture.commit(5, &[("b", None), ("a", None), ("c", None)]), messages(&["deleted b"]));
}

#[test]
fn a_full_window_refreshes_only_when_its_edge_may_move() {
    let mut fixture = Fixture::new(above_zero(Some(2)));
    fixture.refresh(1, &[]);
    // While the window is not full, a new document requires a refresh.
    assert_eq!(fixture.commit(2, &[("a", Some(10))]), None);
    assert_eq!(fixture.refresh(2, &["a"]).0, ["shown a"]);
    assert_eq!(fixture.commit(3, &[("b", Some(20)), ("c", Some(30))]), None);
    assert_eq!(fixture.refresh(3, &["a", "b"]).0, ["shown b"]);
    // Changes within the window and beyond it.
    assert_eq!(fixture.commit(4, &[("a", Some(15)), ("c", Some(25))]), messages(&["shown a"]));
    assert_eq!(fixture.commit(5, &[("c", Some(0)), ("d", Some(40))]), messages(&[]));
    // A document enters before the edge, which is pushed out.
    assert_eq!(fixture.commit(6, &[("e", Some(1))]), None);
    assert_eq!(fixture.refresh(6, &["e", "a"]).0, ["shown e", "pushed out b"]);
    // The edge moves away, and a member is deleted: others move in.
    assert_eq!(fixture.commit(7, &[("a", Some(90))]), None);
    assert_eq!(fixture.refresh(7, &["e", "b"]).0, ["shown b", "left a"]);
    assert_eq!(fixture.commit(8, &[("e", None)]), None);
    assert_eq!(fixture.refresh(8, &["b", "d"]).0, ["shown d", "deleted e"]);
}

#[test]
fn a_resuming_client_is_reset_unless_nothing_was_committed() {
    let mut fixture = Fixture::new(resuming(above_zero(None), 7));
    fixture.commit(6, &[("a", Some(1))]);
    assert_eq!(fixture.refresh(7, &["a"]), (vec![], false));
    assert_eq!(fixture.commit(8, &[("a", Some(2))]), messages(&["shown a"]));
    let mut late = Fixture { target: Target::parse(1, DATABASE, resuming(above_zero(None), 6)).unwrap(), ..fixture };
    assert_eq!(late.refresh(8, &["a"]), (vec!["shown a".to_owned()], true));
}

#[test]
fn every_requested_document_is_reported() {
    let documents = ["a", "b", "a"].iter().map(|id| name(id).to_string()).collect();
    let target_type = Some(TargetType::Documents(fs::target::DocumentsTarget { documents }));
    let mut fixture = Fixture::new(resuming(fs::Target { target_type, ..fs::Target::default() }, 3));
    let found = vec![(name("a"), Some(document("a", 1, 4))), (name("b"), None)];
    let mut outbox = Outbox::default();
    let Ok(reset) = fixture.target.refresh(Fetched::Documents(found), 4, |_| Ok::<_, Infallible>(None), &mut outbox);
    // No reset: the client cannot have any other documents.
    assert_eq!((describe(outbox), reset), (vec!["shown a".to_owned(), "deleted b".to_owned()], false));
    assert_eq!(fixture.commit(5, &[("b", Some(1)), ("c", Some(1))]), messages(&["shown b"]));
    assert_eq!(fixture.commit(6, &[("a", None), ("b", Some(1))]), messages(&["deleted a", "shown b"]));
    assert_eq!(fixture.commit(7, &[("a", None)]), messages(&[]));
}

#[test]
fn targets_of_other_databases_and_empty_targets_are_rejected() {
    for bad in [
        Target::parse(1, "projects/p/databases/other", above_zero(None)),
        Target::parse(1, "projects/p/databases", above_zero(None)),
        Target::parse(1, DATABASE, fs::Target::default()),
        Target::parse(1, DATABASE, above_zero(Some(-1))),
    ] {
        assert_eq!(bad.err().map(|status| status.code()), Some(tonic::Code::InvalidArgument));
    }
}
