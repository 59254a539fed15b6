//! What is measured is described, by `/metrics` and for people.

use crate::{root, shipped, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

const ROLES: [&str; 4] = ["dispatcher", "worker", "status", "scaler"];

/// A role's sources without its tests.
fn text_of(role: &str) -> String {
    let sources = sources(&root().join("crates").join(role).join("src"));
    shipped(sources).into_iter().map(|(_, text)| text).collect()
}

/// The first so many string literals of a text.
fn literals<const N: usize>(text: &str) -> [&str; N] {
    let mut quoted = text.split('"').skip(1).step_by(2);
    std::array::from_fn(|_| quoted.next().unwrap_or_default())
}

/// Metrics as they are recorded: name and kind.
fn recorded(text: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for kind in ["counter", "gauge", "histogram"] {
        for after in text.split(&format!("metrics::{kind}!(")).skip(1) {
            let [name] = literals(after);
            found.insert((name.to_owned(), kind.to_owned()));
        }
    }
    found
}

/// Metrics as their role describes them: name and kind, and the help.
fn described(text: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    let constructors = ["counter", "counter_by", "open_counter", "gauge", "histogram"];
    for constructor in constructors {
        let kind = if constructor.contains("counter") { "counter" } else { constructor };
        for after in text.split(&format!("Metric::{constructor}(")).skip(1) {
            let [name, help] = literals(after);
            found.insert((name.to_owned(), kind.to_owned()), help.to_owned());
        }
    }
    found
}

#[test]
fn every_metric_is_described_by_its_role_and_in_the_list() {
    let mut rows: BTreeMap<String, (Vec<&str>, String, String)> = BTreeMap::new();
    for role in ROLES {
        let text = text_of(role);
        let (recorded, described) = (recorded(&text), described(&text));
        assert!(!recorded.is_empty(), "{role} records nothing: has the way of writing it changed?");
        assert_eq!(recorded, described.keys().cloned().collect(), "crates/{role}/src/metrics.rs");
        for ((name, kind), help) in described {
            let row = rows.entry(name.clone()).or_insert((Vec::new(), kind.clone(), help.clone()));
            assert_eq!((&row.1, &row.2), (&kind, &help), "{name} of {role}");
            row.0.push(role);
        }
    }
    let rows = rows.into_iter();
    let expected: Vec<String> = rows
        .map(|(name, (roles, kind, help))| format!("| `{name}` | {} | {kind} | {help} |", roles.join(", ")))
        .collect();
    let list = fs::read_to_string(root().join("deploy/metrics.md")).unwrap();
    let listed: Vec<&str> = list.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, expected, "deploy/metrics.md");
}
