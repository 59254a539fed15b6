//! What commits and looks change of a target, without a store.

use super::*;
use fs::{structured_query as sq, value::ValueType};
use std::convert::Infallible;

const DATABASE: &str = "projects/p/databases/d";

fn name(id: &str) -> DocumentName {
    DocumentName { collection: format!("{DATABASE}/documents/c"), id: id.into() }
}

/// A document with its place in the order of `n`.
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

fn resumed(target: fs::Target, at: u64) -> fs::Target {
    fs::Target { resume_type: Some(ResumeType::ResumeToken(at.to_be_bytes().into())), ..target }
}

/// A target and all there is in its store.
struct Bench {
    target: Target,
    stored: BTreeMap<DocumentName, fs::Document>,
}

impl Bench {
    fn new(target: fs::Target) -> Self {
        Self { target: Target::parse(1, DATABASE, target).unwrap(), stored: BTreeMap::new() }
    }

    /// Lets the target look; answers what it says, and whether it starts anew.
    fn look(&mut self, at: u64, found: &[&str]) -> (Vec<String>, bool) {
        let found = found.iter().map(|id| self.stored[&name(id)].clone()).collect();
        let mut outbox = Outbox::default();
        let get = |name: &DocumentName| Ok::<_, Infallible>(self.stored.get(name).cloned());
        let Ok(reset) = self.target.renew(Look::Query(found), at, get, &mut outbox);
        (said(outbox), reset)
    }

    /// Stores a commit; answers what the target says, `None` when it must look.
    fn commit(&mut self, at: u64, changes: &[(&str, Option<i64>)]) -> Option<Vec<String>> {
        let commit = commit(at, changes);
        for change in &commit.changes {
            match &change.document {
                Some(document) => self.stored.insert(change.name.clone(), document.as_ref().clone()),
                None => self.stored.remove(&change.name),
            };
        }
        if self.target.needs_look(&commit) {
            return None;
        }
        let mut outbox = Outbox::default();
        self.target.apply(&commit, &mut outbox);
        Some(said(outbox))
    }
}

fn said(outbox: Outbox) -> Vec<String> {
    use fs::listen_response::ResponseType as R;
    let id = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let say = |response: fs::ListenResponse| match response.response_type.unwrap() {
        R::DocumentChange(change) if change.removed_target_ids.is_empty() => {
            format!("shown {}", id(&change.document.unwrap().name))
        }
        R::DocumentChange(change) => format!("left {}", id(&change.document.unwrap().name)),
        R::DocumentDelete(delete) => format!("deleted {}", id(&delete.document)),
        R::DocumentRemove(remove) => format!("pushed out {}", id(&remove.document)),
        other => panic!("{other:?}"),
    };
    outbox.into_responses(0).map(say).collect()
}

fn says(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn documents_enter_change_leave_and_go() {
    let mut bench = Bench::new(above_zero(None));
    assert_eq!(bench.look(1, &[]), (vec![], false));
    assert_eq!(bench.commit(2, &[("a", Some(1)), ("b", Some(0))]), says(&["shown a"]));
    assert_eq!(bench.commit(3, &[("a", Some(2))]), says(&["shown a"]));
    assert_eq!(bench.commit(4, &[("b", Some(5)), ("a", Some(-1))]), says(&["shown b", "left a"]));
    assert_eq!(bench.commit(5, &[("b", None), ("a", None), ("c", None)]), says(&["deleted b"]));
}

#[test]
fn a_full_window_looks_only_when_its_edge_may_move() {
    let mut bench = Bench::new(above_zero(Some(2)));
    bench.look(1, &[]);
    // While there is room, one more needs a look.
    assert_eq!(bench.commit(2, &[("a", Some(10))]), None);
    assert_eq!(bench.look(2, &["a"]).0, ["shown a"]);
    assert_eq!(bench.commit(3, &[("b", Some(20)), ("c", Some(30))]), None);
    assert_eq!(bench.look(3, &["a", "b"]).0, ["shown b"]);
    // Within the window, and beyond it.
    assert_eq!(bench.commit(4, &[("a", Some(15)), ("c", Some(25))]), says(&["shown a"]));
    assert_eq!(bench.commit(5, &[("c", Some(0)), ("d", Some(40))]), says(&[]));
    // One comes in before the edge, which is pushed out.
    assert_eq!(bench.commit(6, &[("e", Some(1))]), None);
    assert_eq!(bench.look(6, &["e", "a"]).0, ["shown e", "pushed out b"]);
    // The edge moves away, a member is deleted: others come in.
    assert_eq!(bench.commit(7, &[("a", Some(90))]), None);
    assert_eq!(bench.look(7, &["e", "b"]).0, ["shown b", "left a"]);
    assert_eq!(bench.commit(8, &[("e", None)]), None);
    assert_eq!(bench.look(8, &["b", "d"]).0, ["shown d", "deleted e"]);
}

#[test]
fn a_client_that_comes_back_starts_anew_unless_nothing_happened() {
    let mut bench = Bench::new(resumed(above_zero(None), 7));
    bench.commit(6, &[("a", Some(1))]);
    assert_eq!(bench.look(7, &["a"]), (vec![], false));
    assert_eq!(bench.commit(8, &[("a", Some(2))]), says(&["shown a"]));
    let mut late = Bench { target: Target::parse(1, DATABASE, resumed(above_zero(None), 6)).unwrap(), ..bench };
    assert_eq!(late.look(8, &["a"]), (vec!["shown a".to_owned()], true));
}

#[test]
fn each_document_asked_for_is_answered_for() {
    let documents = ["a", "b", "a"].iter().map(|id| name(id).to_string()).collect();
    let target_type = Some(TargetType::Documents(fs::target::DocumentsTarget { documents }));
    let mut bench = Bench::new(resumed(fs::Target { target_type, ..fs::Target::default() }, 3));
    let found = vec![(name("a"), Some(document("a", 1, 4))), (name("b"), None)];
    let mut outbox = Outbox::default();
    let Ok(reset) = bench.target.renew(Look::Documents(found), 4, |_| Ok::<_, Infallible>(None), &mut outbox);
    // No reset: there is nothing that the client could have besides.
    assert_eq!((said(outbox), reset), (vec!["shown a".to_owned(), "deleted b".to_owned()], false));
    assert_eq!(bench.commit(5, &[("b", Some(1)), ("c", Some(1))]), says(&["shown b"]));
    assert_eq!(bench.commit(6, &[("a", None), ("b", Some(1))]), says(&["deleted a", "shown b"]));
    assert_eq!(bench.commit(7, &[("a", None)]), says(&[]));
}

#[test]
fn targets_of_other_databases_and_of_nothing_are_refused() {
    for bad in [
        Target::parse(1, "projects/p/databases/other", above_zero(None)),
        Target::parse(1, "projects/p/databases", above_zero(None)),
        Target::parse(1, DATABASE, fs::Target::default()),
        Target::parse(1, DATABASE, above_zero(Some(-1))),
    ] {
        assert_eq!(bad.err().map(|status| status.code()), Some(tonic::Code::InvalidArgument));
    }
}
