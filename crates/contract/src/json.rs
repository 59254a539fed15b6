//! Parses proto-JSON, with errors that name the field and its value.

use clipfleet_domain::{
    failure::{Code, Failure, FieldViolation},
    ids::shorten,
};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use std::borrow::Cow;

/// The largest integer up to which all integers are exact as doubles. JavaScript writes its numbers from doubles.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The bytes without a UTF-8 byte order mark. Editors and PowerShell write one, and RFC 8259 lets parsers ignore it.
pub(crate) fn strip_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Parses one JSON message. Unknown fields are errors.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let message = "the request is not valid JSON: it begins with the byte order mark of UTF-16, send UTF-8";
        return Err(Failure::new(Code::MalformedJson, message));
    }
    let bytes = &*with_integers(strip_byte_order_mark(bytes));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| explain(bytes, &error))?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(parsed)
}

/// The same text, with each integer that is written with a fraction or an exponent (`500.0`, `5e2`) rewritten as an
/// integer. Proto-JSON allows both forms in integer fields, but the generated parsers accept only plain integers. A
/// double field accepts either.
fn with_integers(text: &[u8]) -> Cow<'_, [u8]> {
    let (mut rewritten, mut copied, mut at) = (Vec::new(), 0, 0);
    while let Some(byte) = text.get(at) {
        let length = match byte {
            b'"' => string_length(&text[at..]),
            b'-' | b'0'..=b'9' => number_length(&text[at..]),
            _ => 1,
        };
        if let Some(integer) = as_integer(&text[at..at + length]) {
            rewritten.extend_from_slice(&text[copied..at]);
            rewritten.extend_from_slice(integer.to_string().as_bytes());
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    rewritten.extend_from_slice(&text[copied..]);
    Cow::Owned(rewritten)
}

/// The length of the string at the beginning of a text, including its quotes. It is the whole text if the string does
/// not end.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

fn number_length(text: &[u8]) -> usize {
    let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    text.iter().take_while(|byte| of_number(byte)).count()
}

/// The value of an integer that is not written as one.
fn as_integer(token: &[u8]) -> Option<i64> {
    let is_number = token.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit());
    if !is_number || !token.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return None;
    }
    let number = serde_json::from_slice::<serde_json::Number>(token).ok()?.as_f64()?;
    (number.fract() == 0.0 && number.abs() <= MAX_EXACT).then_some(number as i64)
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(Code::MalformedJson, format!("the request is not valid JSON: {error}"))
}

fn explain(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let Ok(whole) = serde_json::from_slice::<serde_json::Value>(bytes) else { return malformed(error.inner()) };
    let (field, value) = locate(&whole, error.path());
    let text = error.inner().to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let whole_number;
    let reason = match reason {
        // The error of a generated parser for an integer field.
        untagged if untagged.contains("untagged enum") => {
            let unit = if field.ends_with("Ms") { " of milliseconds" } else { "" };
            whole_number = format!("must be a whole number{unit}");
            whole_number.as_str()
        }
        reason => reason,
    };
    let reason = match value {
        Some(value) => format!("{reason}, got {}", shorten(&value.to_string())),
        None => reason.to_owned(),
    };
    let field = if field.is_empty() { "(request)".into() } else { field };
    Failure::invalid(vec![FieldViolation::new(field, reason)])
}

/// The path as a client writes it, and the value at this path, if it is neither an object nor an array.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::ExportBatch;

    fn clip(fields: &str) -> Result<crate::v1::Clip, String> {
        let text = format!(r#"{{"clips":[{{{fields}}}]}}"#);
        parse::<ExportBatch>(text.as_bytes()).map(|mut batch| batch.clips.remove(0)).map_err(|failure| failure.message)
    }

    #[test]
    fn an_integer_is_accepted_in_every_notation() {
        for (written, value) in
            [("500", 500), ("500.0", 500), ("5e2", 500), ("5.0E+2", 500), ("-0.0", 0), ("\"500\"", 500), ("1.5e1", 15)]
        {
            assert_eq!(clip(&format!(r#""startMs":{written}"#)).unwrap().start_ms, value, "{written}");
        }
        let output =
            parse::<ExportBatch>(br#"{"output":{"fps":30.0,"prefix":"a 5.0 \" 6.0"}}"#).unwrap().output.unwrap();
        assert_eq!((output.fps, output.prefix.as_str()), (30, "a 5.0 \" 6.0"), "strings are unchanged");
    }

    #[test]
    fn a_time_with_a_fraction_is_refused_with_what_is_allowed() {
        let message = clip(r#""clipId":"a","startMs":12500.5"#).unwrap_err();
        assert_eq!(message, "clips[0].startMs: must be a whole number of milliseconds, got 12500.5");
        let message = clip(r#""coverAtMs":1e-1"#).unwrap_err();
        assert_eq!(message, "clips[0].coverAtMs: must be a whole number of milliseconds, got 0.1");
        let message = parse::<ExportBatch>(br#"{"output":{"fps":29.97}}"#).unwrap_err().message;
        assert_eq!(message, "output.fps: must be a whole number, got 29.97");
        let message = parse::<ExportBatch>(br#"{"source":{"generation":true}}"#).unwrap_err().message;
        assert_eq!(message, "source.generation: must be a whole number, got true");
    }

    #[test]
    fn malformed_json_is_not_repaired() {
        for bad in [
            r#"{"clips":[{"startMs":1.}]}"#,
            r#"{"clips":[{"startMs":1e}]}"#,
            r#"{"clips":[{"startMs":--5.0}]}"#,
            "{\"a",
        ] {
            assert_eq!(parse::<ExportBatch>(bad.as_bytes()).unwrap_err().code, Code::MalformedJson, "{bad}");
        }
        let twice = parse::<ExportBatch>(br#"{"batchId":"a","batchId":"b","clips":[{"startMs":1.0}]}"#).unwrap_err();
        assert!(twice.message.contains("duplicate field"), "{}", twice.message);
    }

    #[test]
    fn a_byte_order_mark_of_utf_8_is_ignored_and_one_of_utf_16_is_named() {
        let request = b"\xef\xbb\xbf{\"batchId\":\"b1\"}";
        assert_eq!(crate::batch::from_json(request).unwrap().batch_id, "b1");
        assert_eq!(crate::batch::from_message(request).unwrap().batch_id, "b1");
        let failure = crate::batch::from_json(b"\xff\xfe{\0}\0").unwrap_err();
        assert_eq!(failure.code, Code::MalformedJson);
        assert!(failure.message.ends_with("byte order mark of UTF-16, send UTF-8"), "{}", failure.message);
    }
}
