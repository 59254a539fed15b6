//! What a log line says is its text: Cloud Logging knows it as `message`, and infra/global/metrics.tf counts by it.
//! A field of that name would replace it.

use super::{root, shipped, sources};

#[test]
fn no_event_has_a_field_named_message() {
    let mut found = Vec::new();
    for (path, text) in shipped(sources(&root().join("crates"))) {
        let mut rest = text.as_str();
        while let Some(start) = rest.find("tracing::") {
            rest = &rest[start + "tracing::".len()..];
            let Some((name, arguments)) = rest.split_once('!') else { break };
            let is_event = ["error", "warn", "info", "debug", "trace", "event"].contains(&name);
            // An event ends with its statement or its branch.
            let event = arguments.split_inclusive([';', '\u{0}']).next().unwrap_or_default();
            let fields = event.split('"').next().unwrap_or_default();
            if is_event && ["message =", "%message", "?message"].iter().any(|field| has(fields, field)) {
                found.push(format!("{}: {}", path.display(), fields.trim()));
            }
        }
    }
    assert!(found.is_empty(), "name the field message_id or reason: {found:#?}");
}

/// Whether a field of this name is among the fields before an event's text.
fn has(fields: &str, field: &str) -> bool {
    fields.match_indices(field).any(|(at, _)| !fields[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn a_field_is_found_by_its_whole_name() {
    assert!(has("(message = id, ", "message =") && has("(%error, %message, ", "%message"));
    assert!(!has("(message_id = id, ", "message =") && !has("(last_message = id, ", "message ="));
}
