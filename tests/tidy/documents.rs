//! No role spells the name of a document's field: only `contract::documents` does.

use super::{root, shipped, sources};
use std::collections::BTreeSet;

/// Names that are common words of other languages, too: of labels, of the API's answers, of the control protocol.
const COMMON: [&str; 23] = [
    "status", "error", "code", "message", "reason", "phase", "worker", "attempt", "open", "target", "request",
    "leader", "batchId", "clipId", "clips", "details", "usage", "paused", "outcome", "encoder", "decoder", "field",
    "conflict",
];

/// The names of fields that the document modules spell.
fn field_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut modules = sources(&root().join("crates/contract/src/documents"));
    modules.push(root().join("crates/contract/src/documents.rs"));
    for (_, text) in shipped(modules) {
        for line in text.lines().filter(|line| line.starts_with("const ") && line.contains(": &str = \"")) {
            names.extend(line.split('"').nth(1).map(ToOwned::to_owned));
        }
    }
    names
}

#[test]
fn no_role_spells_the_name_of_a_documents_field() {
    let names = field_names();
    assert!(names.len() > 60, "the names were not found: {names:?}");
    let roles = ["dispatcher", "worker", "status", "scaler"].map(|role| root().join("crates").join(role));
    let mut spelled = Vec::new();
    for (path, text) in shipped(roles.iter().flat_map(|role| sources(role)).collect()) {
        for name in names.iter().filter(|name| !COMMON.contains(&name.as_str())) {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&format!("\"{name}\""))) {
                spelled.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(spelled.is_empty(), "{spelled:#?}");
}
