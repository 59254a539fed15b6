//! Proto-JSON in, with errors that name the field and its value.

use clipfleet_domain::{
    failure::{Failure, FieldViolation},
    ids::shorten,
};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

/// Parses one JSON message. Unknown fields are errors.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| explain(bytes, &error))?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(parsed)
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::permanent("malformed_json", format!("the request is not valid JSON: {error}"))
}

fn explain(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let Ok(whole) = serde_json::from_slice::<serde_json::Value>(bytes) else { return malformed(error.inner()) };
    let (field, value) = locate(&whole, error.path());
    let text = error.inner().to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let reason = match value {
        Some(value) => format!("{reason}, got {}", shorten(&value.to_string())),
        None => reason.to_owned(),
    };
    let field = if field.is_empty() { "(request)".into() } else { field };
    Failure::invalid(vec![FieldViolation::new(field, reason)])
}

/// The path as a client writes it, and the value it leads to, if that is a single one.
fn locate<'a>(whole: &'a serde_json::Value, path: &Path) -> (String, Option<&'a serde_json::Value>) {
    let (mut name, mut value) = (String::new(), Some(whole));
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => {
                name.push_str(&format!("[{index}]"));
                value = value.and_then(|value| value.get(index));
            }
            Segment::Map { key } => {
                name.push_str(if name.is_empty() { "" } else { "." });
                name.push_str(key);
                value = value.and_then(|value| value.get(key));
            }
            Segment::Enum { .. } | Segment::Unknown => value = None,
        }
    }
    (name, value.filter(|value| !value.is_object() && !value.is_array()))
}
