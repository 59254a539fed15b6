//! The parameter `fields`: the members of a response that a caller wants, for example `items(name,size),nextPageToken`.

use super::error::ApiError;
use serde_json::{Map, Value};

/// Deepest nesting. The parser is recursive, and resources are far less deep.
const MAX_DEPTH: usize = 16;

/// The members to keep, each with its own selection; an empty selection keeps everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection(Vec<(String, Selection)>);

impl Selection {
    /// Parses `a,b/c,d(e,f)`; empty text selects everything.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut rest = text;
        let parsed = list(&mut rest, 0).filter(|_| rest.is_empty());
        parsed.ok_or_else(|| ApiError::Invalid(format!("Invalid field selection {text}")))
    }

    /// The selected parts of a value; lists are handled element by element.
    pub(super) fn apply(&self, value: &Value) -> Value {
        match value {
            _ if self.0.is_empty() => value.clone(),
            Value::Array(values) => values.iter().map(|value| self.apply(value)).collect(),
            Value::Object(members) => {
                let mut selected = Map::new();
                for (name, member) in members {
                    if let Some((_, below)) = self.0.iter().find(|(field, _)| field == name || field == "*") {
                        selected.insert(name.clone(), below.apply(member));
                    }
                }
                Value::Object(selected)
            }
            other => other.clone(),
        }
    }
}

fn list(rest: &mut &str, depth: usize) -> Option<Selection> {
    let mut members = Vec::new();
    loop {
        members.push(member(rest, depth)?);
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Some(Selection(members)),
        }
    }
}

fn member(rest: &mut &str, depth: usize) -> Option<(String, Selection)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return None;
    }
    *rest = after;
    let mut below = Selection::default();
    if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        below.0.push(member(rest, depth + 1)?);
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        below = list(rest, depth + 1)?;
        *rest = rest.strip_prefix(')')?;
    }
    Some((name.to_owned(), below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_selected_at_every_depth() {
        let page = json!({
            "kind": "storage#objects",
            "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}],
            "nextPageToken": "t",
        });
        let selected = |fields: &str| Selection::parse(fields).unwrap().apply(&page);
        assert_eq!(selected(""), page);
        assert_eq!(selected("*"), page);
        assert_eq!(selected("nextPageToken"), json!({"nextPageToken": "t"}));
        let both = json!({"items": [{"name": "a", "metadata": {"y": "2"}}], "nextPageToken": "t"});
        assert_eq!(selected("items(name,metadata/y),nextPageToken"), both);
        assert_eq!(selected("items/name"), json!({"items": [{"name": "a"}]}));
        assert_eq!(selected("items/missing"), json!({"items": [{}]}));
    }

    #[test]
    fn a_malformed_selection_is_rejected() {
        for text in ["items(", "a,,b", "items)", "/a", &"a(".repeat(1_000)] {
            assert!(Selection::parse(text).is_err(), "{text}");
        }
    }
}
