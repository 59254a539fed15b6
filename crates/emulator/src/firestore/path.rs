//! Names of documents and paths of fields.

use super::fs;
use crate::limits;
use std::{collections::HashMap, fmt};
use tonic::Status;

/// A document's name: the full name of its collection, and its ID there. This is the key in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DocumentName {
    /// For example `projects/p/databases/(default)/documents/exportBatches/b1/clips`.
    pub(super) collection: String,
    /// For example `c1`.
    pub(super) id: String,
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)
    }
}

impl DocumentName {
    /// Parses the full name of a document.
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        let malformed =
            || Status::invalid_argument(format!("Document name \"{name}\" is not a document of a database."));
        let (database, path) = split_root(name).ok_or_else(malformed)?;
        check_database(database)?;
        let path = path.ok_or_else(malformed)?;
        if path.split('/').count() % 2 != 0 {
            return Err(malformed());
        }
        path.split('/').enumerate().try_for_each(|(index, id)| match index % 2 {
            0 => check_collection_id(id),
            _ => check_document_id(id),
        })?;
        Ok(Self::from_stored(name))
    }

    /// The name of a document from the store, which needs no check.
    pub(super) fn from_stored(name: &str) -> Self {
        let (collection, id) = name.rsplit_once('/').unwrap_or_default();
        Self { collection: collection.into(), id: id.into() }
    }
}

/// Checks the parent of a collection: the database's root (`.../documents`) or a document.
pub(super) fn check_parent(parent: &str) -> Result<(), Status> {
    match split_root(parent) {
        Some((database, None)) => check_database(database),
        _ => DocumentName::parse(parent).map(|_| ()),
    }
}

/// Checks `projects/P/databases/D`.
pub(super) fn check_database(name: &str) -> Result<(), Status> {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        ["projects", project, "databases", database] if !project.is_empty() && !database.is_empty() => Ok(()),
        _ => Err(Status::invalid_argument(format!("invalid database name \"{name}\""))),
    }
}

/// Checks the ID of a collection by the documented rules.
pub(super) fn check_collection_id(id: &str) -> Result<(), Status> {
    if id.is_empty()
        || id == "."
        || id == ".."
        || id.contains('/')
        || is_reserved(id)
        || id.len() > limits::MAX_ID_BYTES
    {
        return Err(Status::invalid_argument(format!("invalid document or collection id \"{id}\"")));
    }
    Ok(())
}

/// Checks the ID of a document: like that of a collection, but numeric IDs are allowed.
pub(super) fn check_document_id(id: &str) -> Result<(), Status> {
    if numeric_id(id).is_some() { Ok(()) } else { check_collection_id(id) }
}

/// The number that an ID such as `__id7__` represents.
pub(super) fn numeric_id(id: &str) -> Option<i64> {
    let digits = id.strip_prefix("__id")?.strip_suffix("__")?;
    digits.parse::<i64>().ok().filter(|number| number.to_string() == digits)
}

/// Whether an ID or a field's name is reserved for the service: `__x__`, with something in between.
pub(super) fn is_reserved(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

/// Checks the name of a field. It may be reserved, because some queries name such fields.
pub(super) fn check_field(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument("a field has no name"));
    }
    if name.len() > limits::MAX_FIELD_PATH_BYTES {
        let max = limits::MAX_FIELD_PATH_BYTES;
        return Err(Status::invalid_argument(format!("a field's name is longer than {max} bytes")));
    }
    Ok(())
}

/// Splits a name into its database and the path below `documents`, if there is one.
fn split_root(name: &str) -> Option<(&str, Option<&str>)> {
    if let Some(database) = name.strip_suffix("/documents") {
        return Some((database, None));
    }
    name.split_once("/documents/").map(|(database, path)| (database, Some(path)))
}

/// The field path of a document's name in queries.
const NAME: &str = "__name__";

/// Whether a name needs no quotes in a path.
fn is_plain(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The path of a field: its names from the outermost to the innermost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FieldPath(Vec<String>);

impl FieldPath {
    /// Parses a path such as ``a.b.`c d` ``.
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let malformed = || Status::invalid_argument(format!("invalid field path \"{text}\""));
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let name;
            (name, rest) = if let Some(quoted) = rest.strip_prefix('`') {
                unquote(quoted).ok_or_else(malformed)?
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                if !is_plain(&rest[..end]) {
                    return Err(malformed());
                }
                (rest[..end].to_owned(), &rest[end..])
            };
            if name.is_empty() {
                return Err(malformed());
            }
            if is_reserved(&name) && text != NAME {
                return Err(Status::invalid_argument(format!("the field path \"{text}\" is reserved")));
            }
            names.push(name);
            match rest.strip_prefix('.') {
                Some(more) => rest = more,
                None if rest.is_empty() => return Ok(Self(names)),
                None => return Err(malformed()),
            }
        }
    }

    /// Parses every path of a mask.
    pub(super) fn parse_mask(mask: &fs::DocumentMask) -> Result<Vec<Self>, Status> {
        mask.field_paths.iter().map(|path| Self::parse(path)).collect()
    }

    /// Whether this is the document's own name.
    pub(super) fn is_name(&self) -> bool {
        self.0.len() == 1 && self.0[0] == NAME
    }

    /// The path of every document's own name.
    pub(super) fn name() -> Self {
        Self(vec![NAME.into()])
    }

    /// Whether one of two different paths is a prefix of the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self != other && self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// The value at this path.
    pub(super) fn get<'a>(&self, fields: &'a HashMap<String, fs::Value>) -> Option<&'a fs::Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(fields.get(first)?, |value, name| as_map(value)?.fields.get(name))
    }

    /// Sets the value at this path; anything else on the way is replaced by a map.
    pub(super) fn set(&self, fields: &mut HashMap<String, fs::Value>, value: fs::Value) {
        let Some((last, outer)) = self.0.split_last() else { return };
        let mut fields = fields;
        for name in outer {
            fields = map_fields_mut(fields.entry(name.clone()).or_default());
        }
        fields.insert(last.clone(), value);
    }

    /// Removes the value at this path; maps on the way remain.
    pub(super) fn remove(&self, fields: &mut HashMap<String, fs::Value>) {
        let Some((last, outer)) = self.0.split_last() else { return };
        let mut fields = fields;
        for name in outer {
            let Some(fs::value::ValueType::MapValue(map)) =
                fields.get_mut(name).and_then(|value| value.value_type.as_mut())
            else {
                return;
            };
            fields = &mut map.fields;
        }
        fields.remove(last);
    }
}

/// Returns only the fields that a mask names.
pub(super) fn project(fields: &HashMap<String, fs::Value>, mask: &[FieldPath]) -> HashMap<String, fs::Value> {
    let mut projected = HashMap::new();
    for path in mask {
        if let Some(value) = path.get(fields) {
            path.set(&mut projected, value.clone());
        }
    }
    projected
}

fn as_map(value: &fs::Value) -> Option<&fs::MapValue> {
    match value.value_type.as_ref()? {
        fs::value::ValueType::MapValue(map) => Some(map),
        _ => None,
    }
}

/// The fields of a value, which becomes a map if it is something else.
fn map_fields_mut(value: &mut fs::Value) -> &mut HashMap<String, fs::Value> {
    use fs::value::ValueType::MapValue;
    if !matches!(value.value_type, Some(MapValue(_))) {
        value.value_type = Some(MapValue(fs::MapValue::default()));
    }
    match &mut value.value_type {
        Some(MapValue(map)) => &mut map.fields,
        _ => unreachable!("the value was just made a map"),
    }
}

/// The text up to the closing backtick, and the rest.
fn unquote(rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '`' => return Some((name, &rest[at + 1..])),
            '\\' => name.push(chars.next()?.1),
            _ => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_alternate_collections_and_ids() {
        let name = "projects/p/databases/(default)/documents/batches/b1/clips/c1";
        let parsed = DocumentName::parse(name).unwrap();
        assert_eq!(parsed.id, "c1");
        assert!(parsed.collection.ends_with("/batches/b1/clips"));
        assert_eq!(parsed.to_string(), name);
        for bad in [
            "",
            "a/b",
            "projects/p/databases/d/documents",
            "projects/p/databases/d/documents/a",
            "projects/p/databases/d/documents/a//b/c",
            "projects/p/databases/d/documents/a/..",
            "projects/p/databases/d/documents/a/__x__",
            "projects/p/databases/d/documents/a/__idabc__",
            "projects/p/databases/d/documents/a/__id007__",
            "projects/p/databases/d/documents/a/__id9223372036854775808__",
            "projects/p/databases/d/documents/__id5__/a",
        ] {
            assert!(DocumentName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_paths_reach_into_maps() {
        let mut fields = HashMap::new();
        let path = FieldPath::parse("a.`b.c`.d").unwrap();
        let value = fs::Value { value_type: Some(fs::value::ValueType::IntegerValue(1)) };
        path.set(&mut fields, value.clone());
        assert_eq!(path.get(&fields), Some(&value));
        assert!(FieldPath::parse("a.b").unwrap().get(&fields).is_none());
        path.remove(&mut fields);
        assert!(path.get(&fields).is_none());
        for bad in ["", ".", "a.", "`a", "a..b", "`a`b", "a-b", "1a", "__x__", "a.__x__", "a.__name__", "``"] {
            assert!(FieldPath::parse(bad).is_err(), "{bad}");
        }
    }
}
