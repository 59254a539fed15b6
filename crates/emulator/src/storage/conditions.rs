//! Preconditions on generation, metageneration and entity tag.

use super::{error::ApiError, gcs};
use axum::http::{HeaderMap, HeaderName};

/// The conditions under which a request is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The live generation; 0 for none.
    pub(super) generation_match: Option<i64>,
    /// Not this generation; 0 for "an object exists".
    pub(super) generation_not_match: Option<i64>,
    /// The metageneration.
    pub(super) metageneration_match: Option<i64>,
    /// Not this metageneration.
    pub(super) metageneration_not_match: Option<i64>,
    /// One of these entity tags.
    pub(super) etag_match: Option<Etags>,
    /// None of these entity tags.
    pub(super) etag_not_match: Option<Etags>,
}

/// The entity tags of a header, `*` for any. They are stored without quotes, because Cloud Storage's JSON has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Etags(Vec<String>);

impl Etags {
    /// The tags of a header, if it is present.
    pub(super) fn from_headers(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        let texts = values.filter_map(|value| value.to_str().ok());
        Some(Self(texts.flat_map(|text| text.split(',')).map(|tag| strip_quotes(tag).to_owned()).collect()))
    }

    /// Whether the entity tag is in the list.
    pub(super) fn contains(&self, etag: &str) -> bool {
        self.0.iter().any(|tag| tag == "*" || tag == etag)
    }
}

fn strip_quotes(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}

/// The state that is compared with the conditions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version<'a> {
    generation: i64,
    metageneration: i64,
    etag: &'a str,
}

impl<'a> From<&'a gcs::Object> for Version<'a> {
    fn from(object: &'a gcs::Object) -> Self {
        Self { generation: object.generation, metageneration: object.metageneration, etag: &object.etag }
    }
}

/// Buckets have no generation; no call has a condition on it.
impl<'a> From<&'a gcs::Bucket> for Version<'a> {
    fn from(bucket: &'a gcs::Bucket) -> Self {
        Self { generation: 0, metageneration: bucket.metageneration, etag: &bucket.etag }
    }
}

impl Conditions {
    /// Checks the conditions of a change.
    pub(super) fn check_write<'a>(&self, current: Option<impl Into<Version<'a>>>) -> Result<(), ApiError> {
        let current = current.map(Into::into);
        let generation = current.map_or(0, |version| version.generation);
        let metageneration = current.map_or(0, |version| version.metageneration);
        let among = |etags: &Etags| current.is_some_and(|version| etags.contains(version.etag));
        let holds = self.generation_match.is_none_or(|expected| expected == generation)
            && self.generation_not_match.is_none_or(|excluded| excluded != generation)
            && self.metageneration_match.is_none_or(|expected| expected == metageneration)
            && self.metageneration_not_match.is_none_or(|excluded| excluded != metageneration)
            && self.etag_match.as_ref().is_none_or(among)
            && !self.etag_not_match.as_ref().is_some_and(among);
        if holds { Ok(()) } else { Err(condition_not_met()) }
    }

    /// Checks the conditions of a read: for a read, "not this" asks whether there is a newer version.
    pub(super) fn check_read<'a>(&self, current: impl Into<Version<'a>>) -> Result<(), ApiError> {
        let current = current.into();
        if self.generation_match.is_some_and(|expected| expected != current.generation)
            || self.metageneration_match.is_some_and(|expected| expected != current.metageneration)
            || self.etag_match.as_ref().is_some_and(|expected| !expected.contains(current.etag))
        {
            return Err(condition_not_met());
        }
        if self.generation_not_match == Some(current.generation)
            || self.metageneration_not_match == Some(current.metageneration)
            || self.etag_not_match.as_ref().is_some_and(|known| known.contains(current.etag))
        {
            return Err(ApiError::NotModified);
        }
        Ok(())
    }
}

fn condition_not_met() -> ApiError {
    ApiError::Precondition("At least one of the pre-conditions you specified did not hold.".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header};

    fn object() -> gcs::Object {
        gcs::Object { generation: 7, metageneration: 1, etag: "7-1".into(), ..gcs::Object::default() }
    }

    fn etags(text: &'static str) -> Option<Etags> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(text))]);
        Etags::from_headers(&headers, header::IF_MATCH)
    }

    #[test]
    fn zero_means_that_there_is_no_object() {
        let absent = Conditions { generation_match: Some(0), ..Conditions::default() };
        let present = Conditions { generation_not_match: Some(0), ..Conditions::default() };
        let object = object();
        assert!(absent.check_write(None::<&gcs::Object>).is_ok());
        assert!(absent.check_write(Some(&object)).is_err());
        assert!(present.check_write(None::<&gcs::Object>).is_err());
        assert!(present.check_write(Some(&object)).is_ok());
    }

    #[test]
    fn a_reader_that_has_the_generation_gets_not_modified() {
        let known = Conditions { generation_not_match: Some(7), ..Conditions::default() };
        assert_eq!(known.check_read(&object()), Err(ApiError::NotModified));
    }

    #[test]
    fn entity_tags_are_compared_with_and_without_quotes() {
        for text in ["7-1", "\"7-1\"", "W/\"7-1\"", "\"other\", \"7-1\"", "*"] {
            let matching = Conditions { etag_match: etags(text), ..Conditions::default() };
            assert_eq!(matching.check_read(&object()), Ok(()), "{text}");
            let known = Conditions { etag_not_match: etags(text), ..Conditions::default() };
            assert_eq!(known.check_read(&object()), Err(ApiError::NotModified), "{text}");
            assert!(matches!(known.check_write(Some(&object())), Err(ApiError::Precondition(_))), "{text}");
        }
        let other = Conditions { etag_match: etags("other"), ..Conditions::default() };
        assert!(matches!(other.check_read(&object()), Err(ApiError::Precondition(_))));
        assert!(matches!(other.check_write(None::<&gcs::Object>), Err(ApiError::Precondition(_))));
    }
}
