//! `UpdateObject` of gRPC: replaces the fields of an object that a mask names.

use super::{error::ApiError, gcs, unsupported::reject};

/// The fields that a mask can name, each as a path. `*` stands for all of them.
const FIELDS: [&str; 9] = [
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
    "content_type",
    "custom_time",
    "event_based_hold",
    "metadata",
    "temporary_hold",
];

/// Replaces the masked fields of `object` by those of `given`. A field that `given` does not set is cleared.
pub(super) fn apply(object: &mut gcs::Object, given: &gcs::Object, mask: &[String]) -> Result<(), ApiError> {
    if mask.is_empty() {
        let text = "The field 'update_mask' is empty; name the fields to update, for example 'metadata'.";
        return Err(ApiError::Invalid(text.into()));
    }
    for path in mask {
        if path == "*" {
            FIELDS.iter().try_for_each(|field| replace(object, given, field))?;
        } else {
            replace(object, given, path)?;
        }
    }
    Ok(())
}

fn replace(object: &mut gcs::Object, given: &gcs::Object, path: &str) -> Result<(), ApiError> {
    match path {
        "cache_control" => object.cache_control.clone_from(&given.cache_control),
        "content_disposition" => object.content_disposition.clone_from(&given.content_disposition),
        "content_encoding" => object.content_encoding.clone_from(&given.content_encoding),
        "content_language" => object.content_language.clone_from(&given.content_language),
        "content_type" => object.content_type.clone_from(&given.content_type),
        "custom_time" => object.custom_time = given.custom_time,
        "event_based_hold" => object.event_based_hold = given.event_based_hold,
        "metadata" => object.metadata.clone_from(&given.metadata),
        "temporary_hold" => object.temporary_hold = given.temporary_hold,
        _ => {
            let Some(label) = path.strip_prefix("metadata.") else {
                return reject(true, "field", "update_mask", &path);
            };
            match given.metadata.get(label) {
                Some(value) => drop(object.metadata.insert(label.to_owned(), value.clone())),
                None => drop(object.metadata.remove(label)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(content_type: &str, labels: &[(&str, &str)]) -> gcs::Object {
        let metadata = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        gcs::Object { content_type: content_type.into(), metadata, size: 5, ..gcs::Object::default() }
    }

    fn updated(given: &gcs::Object, mask: &[&str]) -> Result<gcs::Object, ApiError> {
        let mut object = object("video/mp4", &[("a", "1"), ("b", "2")]);
        let mask: Vec<_> = mask.iter().map(|path| (*path).to_owned()).collect();
        apply(&mut object, given, &mask).map(|()| object)
    }

    #[test]
    fn only_masked_fields_change() {
        let given = object("text/plain", &[("a", "9")]);
        assert_eq!(updated(&given, &["metadata"]), Ok(object("video/mp4", &[("a", "9")])));
        assert_eq!(updated(&given, &["metadata.a"]), Ok(object("video/mp4", &[("a", "9"), ("b", "2")])));
        assert_eq!(updated(&given, &["metadata.b"]), Ok(object("video/mp4", &[("a", "1")])));
        assert_eq!(updated(&given, &["content_type"]), Ok(object("text/plain", &[("a", "1"), ("b", "2")])));
        assert_eq!(updated(&given, &["*"]), Ok(given));
    }

    #[test]
    fn a_mask_without_meaning_is_rejected() {
        let given = object("text/plain", &[]);
        assert!(matches!(updated(&given, &[]), Err(ApiError::Invalid(text)) if text.contains("update_mask")));
        for path in ["acl", "size", "storage_class", "", "metadata_x"] {
            assert!(matches!(updated(&given, &[path]), Err(ApiError::Unsupported(_))), "{path}");
        }
    }
}
