//! Download tokens, as Firebase Storage has them: each lets the holder of a link read one object, until the token is
//! removed from the object's custom metadata. A token has no time of expiry, so nothing here may read a clock.

use super::{error::ApiError, gcs};
use crate::limits;
use axum::http::StatusCode;
use uuid::Uuid;

/// The label of an object's custom metadata that holds its tokens, separated by commas.
pub(super) const LABEL: &str = "firebaseStorageDownloadTokens";

/// The tokens of an object.
pub(super) fn tokens(object: &gcs::Object) -> impl Iterator<Item = &str> {
    let list = object.metadata.get(LABEL).map_or("", String::as_str);
    list.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// Fails unless the object has this token; an empty token stands for a missing parameter.
pub(super) fn check(object: &gcs::Object, token: &str) -> Result<(), ApiError> {
    if tokens(object).any(|known| known == token) {
        return Ok(());
    }
    let remedy = "getDownloadURL of the Firebase SDK returns a current link";
    let message = if token.is_empty() {
        format!("Permission denied. The parameter 'token' is missing; {remedy}.")
    } else {
        let shown: String = token.chars().take(limits::MAX_SHOWN_CHARS).collect();
        format!("Permission denied. The token '{shown}' is unknown for this object, or it was revoked; {remedy}.")
    };
    Err(ApiError::Denied { status: StatusCode::FORBIDDEN, code: "AccessDenied", message, details: Vec::new() })
}

/// Adds a new token.
pub(super) fn add(object: &mut gcs::Object) -> Result<(), ApiError> {
    let token = Uuid::new_v4().to_string();
    let all = tokens(object).chain([token.as_str()]).collect::<Vec<_>>().join(",");
    object.metadata.insert(LABEL.into(), all);
    let bytes: usize = object.metadata.iter().map(|(label, value)| label.len() + value.len()).sum();
    if bytes > limits::MAX_CUSTOM_METADATA_BYTES {
        return Err(ApiError::Invalid(format!(
            "With another download token, the object would have {bytes} bytes of custom metadata; the limit is {}. \
             Revoke a token with delete_token.",
            limits::MAX_CUSTOM_METADATA_BYTES
        )));
    }
    Ok(())
}

/// Revokes a token. If it was the last one, a new one takes its place, as in Firebase Storage.
pub(super) fn revoke(object: &mut gcs::Object, token: &str) -> Result<(), ApiError> {
    let kept = tokens(object).filter(|known| *known != token).collect::<Vec<_>>().join(",");
    if kept.is_empty() {
        object.metadata.remove(LABEL);
        return add(object);
    }
    object.metadata.insert(LABEL.into(), kept);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;

    fn object(tokens: &str) -> gcs::Object {
        let metadata = [(LABEL.to_owned(), tokens.to_owned()), ("clip".into(), "42".into())].into_iter().collect();
        gcs::Object { metadata, ..gcs::Object::default() }
    }

    fn list(object: &gcs::Object) -> Vec<String> {
        tokens(object).map(str::to_owned).collect()
    }

    #[test]
    fn only_a_whole_token_of_the_object_is_valid() {
        let object = object("one, two,,three");
        for token in ["one", "two", "three"] {
            assert_eq!(check(&object, token), Ok(()), "{token}");
        }
        for token in ["", " ", "on", "one,two", "ONE", "one, two,,three"] {
            assert!(matches!(check(&object, token), Err(ApiError::Denied { .. })), "{token}");
        }
        assert!(check(&gcs::Object::default(), "").is_err(), "an object without tokens has no link");
    }

    #[test]
    fn a_token_is_valid_at_any_age_of_its_object() {
        let long_ago = Some(Timestamp::default());
        let object =
            gcs::Object { create_time: long_ago, update_time: long_ago, custom_time: long_ago, ..object("one") };
        assert_eq!(check(&object, "one"), Ok(()));
    }

    #[test]
    fn a_revoked_token_is_removed_and_the_last_one_is_replaced() {
        let mut object = object("one,two");
        revoke(&mut object, "one").unwrap();
        assert_eq!(list(&object), ["two"]);
        revoke(&mut object, "unknown").unwrap();
        assert_eq!(list(&object), ["two"]);
        revoke(&mut object, "two").unwrap();
        assert!(list(&object).len() == 1 && list(&object) != ["two"], "{:?}", list(&object));
        assert_eq!(object.metadata["clip"], "42");
    }

    #[test]
    fn the_custom_metadata_stays_within_its_limit() {
        let mut object = object("one");
        let error = (0..1_000).find_map(|_| add(&mut object).err());
        assert!(matches!(error, Some(ApiError::Invalid(text)) if text.contains("delete_token")));
    }
}
