//! Where a video is stored, and which generation of it is read.

use crate::{ids::shorten, limits::MAX_OBJECT_NAME_BYTES};
use std::fmt;

/// `gs://bucket/object`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectUri {
    bucket: String,
    object: String,
}

/// Why a text is not an object URI; reads after the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUri(String);

impl ObjectUri {
    /// Parses `gs://bucket/object`. The object name must not be empty.
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        let refuse = |reason: &str| BadUri(format!("{reason}, got {:?}", shorten(text)));
        if text.is_empty() {
            return Err(BadUri("must not be empty; give gs://bucket/object".into()));
        }
        let rest = text.strip_prefix("gs://").ok_or_else(|| refuse("must have the form gs://bucket/object"))?;
        let (bucket, object) = rest.split_once('/').ok_or_else(|| refuse("must name an object after the bucket"))?;
        let bucket_letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if !(3..=222).contains(&bucket.len()) || !bucket.chars().all(bucket_letters) {
            return Err(refuse("must name a bucket of 3 to 222 lower-case letters, digits, '-', '_', '.'"));
        }
        if object.is_empty() {
            return Err(refuse("must name an object after the bucket"));
        }
        if object.len() > MAX_OBJECT_NAME_BYTES || object.chars().any(char::is_control) {
            return Err(refuse("must name an object of at most 1024 bytes without control characters"));
        }
        if object.split('/').any(|part| part == "." || part == "..") {
            return Err(refuse("must not contain '.' or '..' as a part of the object's name"));
        }
        Ok(Self { bucket: bucket.to_owned(), object: object.to_owned() })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The name in the bucket.
    pub fn object(&self) -> &str {
        &self.object
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.object)
    }
}

/// A source video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its URI.
    pub uri: ObjectUri,
    /// The generation of the object that is read; `None` until the live one is pinned.
    pub generation: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_split_into_bucket_and_object() {
        let uri = ObjectUri::parse("gs://media-1/users/u 1/lecture.mp4").unwrap();
        assert_eq!((uri.bucket(), uri.object()), ("media-1", "users/u 1/lecture.mp4"));
        assert_eq!(uri.to_string(), "gs://media-1/users/u 1/lecture.mp4");
    }

    #[test]
    fn an_invalid_uri_is_refused() {
        for text in [
            "",
            "media/a.mp4",
            "https://x/y",
            "gs://media",
            "gs://media/",
            "gs://M/a",
            "gs://media/../a",
            "gs://media/a\n",
        ] {
            assert!(ObjectUri::parse(text).is_err(), "{text}");
        }
    }
}
