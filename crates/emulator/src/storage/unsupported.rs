//! Rejects what this server does not support, by name and value. If a caller asks for a key, a hold or a list option
//! and gets an ordinary response, it would believe that the request was granted.

use super::{error::ApiError, gcs};
use crate::limits;
use axum::http::HeaderMap;
use serde_json::Value;
use std::fmt::Debug;

/// Query parameters of every call that can be ignored without consequence.
const IGNORED_PARAMETERS: &[&str] = &[
    // Credentials and quotas: callers are not authenticated, and there are no quotas.
    "access_token",
    "key",
    "oauth_token",
    "quotaUser",
    "userIp",
    // The project to bill: nothing is billed.
    "userProject",
    // Buckets of all projects share one list here; see "Known differences" in the README.
    "project",
    // Formatting of the response.
    "prettyPrint",
    // `full` adds access control lists. There are none, as in buckets with uniform access.
    "projection",
    // Format of error messages; there is only one.
    "$.xgafv",
];

/// Headers of every call that can be ignored without consequence.
const IGNORED_HEADERS: &[&str] = &[
    // The caller, its library and its reason.
    "x-goog-api-client",
    "x-goog-api-key",
    "x-goog-request-params",
    "x-goog-request-reason",
    "x-goog-user-project",
    // Marks attempts of one call. Without it, a repeated attempt still meets the precondition of the call.
    "x-goog-gcs-idempotency-token",
    // Parts of a signature, which is verified elsewhere.
    "x-goog-content-sha256",
    "x-goog-date",
];

/// Headers that both APIs support.
const SUPPORTED_HEADERS: &[&str] = &["x-goog-hash", "x-goog-resumable"];

/// Headers that only the XML API supports.
const XML_HEADERS: &[&str] =
    &["x-goog-custom-time", "x-goog-if-generation-match", "x-goog-if-metageneration-match", "x-goog-storage-class"];

/// Fields of an object that Google sets, and ignores in requests, because clients send back what they read.
const OBJECT_OUTPUT_FIELDS: &[&str] = &[
    "bucket",
    "componentCount",
    "etag",
    "generation",
    "id",
    "kind",
    "mediaLink",
    "metageneration",
    "owner",
    "selfLink",
    "size",
    "timeCreated",
    "timeDeleted",
    "timeFinalized",
    "timeStorageClassUpdated",
    "updated",
];

/// The same for buckets.
const BUCKET_OUTPUT_FIELDS: &[&str] = &[
    "etag",
    "generation",
    "id",
    "kind",
    "locationType",
    "metageneration",
    "owner",
    "projectNumber",
    "satisfiesPZI",
    "satisfiesPZS",
    "selfLink",
    "timeCreated",
    "updated",
];

/// The API of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// `/storage/v1/...`
    Json,
    /// `/BUCKET/OBJECT`
    Xml,
}

/// An error that names the rejected part of a request.
fn unsupported(what: &str, name: &str, value: &str) -> ApiError {
    let shown: String = value.chars().take(limits::MAX_SHOWN_CHARS).collect();
    let more = if shown.len() < value.len() { "…" } else { "" };
    ApiError::Unsupported(format!(
        "The {what} '{name}' with the value '{shown}{more}' is not supported by this server."
    ))
}

/// Checks the query parameters of a call that supports those in `known`.
pub(super) fn check_parameters<'a>(
    parameters: impl Iterator<Item = (&'a String, &'a String)>,
    known: &[&str],
) -> Result<(), ApiError> {
    for (name, value) in parameters {
        let is_set = !matches!(value.to_ascii_lowercase().as_str(), "" | "false");
        // Signatures are verified earlier.
        let signature = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("x-goog-"));
        let json = name == "alt" && value == "json";
        if is_set
            && !signature
            && !json
            && !known.contains(&name.as_str())
            && !IGNORED_PARAMETERS.contains(&name.as_str())
        {
            return Err(unsupported("parameter", name, value));
        }
    }
    Ok(())
}

/// Checks the headers of a request.
pub(super) fn check_headers(headers: &HeaderMap, api: Api) -> Result<(), ApiError> {
    for (name, value) in headers {
        let name = name.as_str();
        let extension = name.starts_with("x-goog-") || name.starts_with("x-amz-");
        // Clients that send these expect 304 or 412; entity tags in `If-Match` work instead.
        let by_date = matches!(name, "if-modified-since" | "if-unmodified-since");
        let known = IGNORED_HEADERS.contains(&name)
            || SUPPORTED_HEADERS.contains(&name)
            || api == Api::Xml && (XML_HEADERS.contains(&name) || name.starts_with("x-goog-meta-"));
        if (extension || by_date) && !known {
            // The value of a key must not appear in an error message.
            let secret = name.contains("encryption-key");
            let value = if secret { "(hidden)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            return Err(unsupported("header", name, &value));
        }
    }
    Ok(())
}

/// Whether a value differs from the default: `false`, zero and empty values are defaults.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && text != "0",
        Value::Array(values) => values.iter().any(is_set),
        Value::Object(members) => members.values().any(is_set),
    }
}

fn check_members(what: &str, resource: &Value, known: &[&str], output: &[&str]) -> Result<(), ApiError> {
    let Some(members) = resource.as_object() else {
        return Err(ApiError::Invalid(format!("Expected an object for the {what}.")));
    };
    for (name, value) in members {
        if !known.contains(&name.as_str()) && !output.contains(&name.as_str()) && is_set(value) {
            return Err(unsupported(&format!("{what} field"), name, &value.to_string()));
        }
    }
    Ok(())
}

/// Checks a bucket in JSON.
pub(super) fn check_bucket(resource: &Value) -> Result<(), ApiError> {
    check_members("bucket", resource, &["labels", "location", "name", "storageClass"], BUCKET_OUTPUT_FIELDS)
}

/// Checks an object in JSON: the metadata of an upload, or a patch.
pub(super) fn check_object(resource: &Value) -> Result<(), ApiError> {
    let known = [
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "crc32c",
        "customTime",
        "eventBasedHold",
        "md5Hash",
        "metadata",
        "name",
        "storageClass",
        "temporaryHold",
    ];
    check_members("object", resource, &known, OBJECT_OUTPUT_FIELDS)
}

/// Checks a bucket in protobuf. The pattern names every field, so that a field of a later version causes a compiler
/// error here.
pub(super) fn check_bucket_message(bucket: &gcs::Bucket) -> Result<(), ApiError> {
    let gcs::Bucket {
        // Stored.
        name: _,
        bucket_id: _,
        project: _,
        location: _,
        storage_class: _,
        labels: _,
        // Set by the server.
        etag: _,
        metageneration: _,
        location_type: _,
        create_time: _,
        update_time: _,
        owner: _,
        satisfies_pzs: _,
        // Rejected.
        rpo,
        acl,
        default_object_acl,
        lifecycle,
        cors,
        default_event_based_hold,
        website,
        versioning,
        logging,
        encryption,
        billing,
        retention_policy,
        iam_config,
        custom_placement_config,
        autoclass,
        hierarchical_namespace,
        soft_delete_policy,
        object_retention,
        ip_filter,
    } = bucket;
    let field = |name, value: &dyn Debug, is_set| reject(is_set, "bucket field", name, value);
    field("rpo", rpo, !rpo.is_empty())?;
    field("acl", acl, !acl.is_empty())?;
    field("default_object_acl", default_object_acl, !default_object_acl.is_empty())?;
    field("lifecycle", lifecycle, lifecycle.is_some())?;
    field("cors", cors, !cors.is_empty())?;
    field("default_event_based_hold", default_event_based_hold, *default_event_based_hold)?;
    field("website", website, website.is_some())?;
    field("versioning", versioning, versioning.is_some_and(|versioning| versioning.enabled))?;
    field("logging", logging, logging.is_some())?;
    field("encryption", encryption, encryption.is_some())?;
    field("billing", billing, billing.is_some_and(|billing| billing.requester_pays))?;
    field("retention_policy", retention_policy, retention_policy.is_some())?;
    field("iam_config", iam_config, iam_config.is_some())?;
    field("custom_placement_config", custom_placement_config, custom_placement_config.is_some())?;
    field("autoclass", autoclass, autoclass.as_ref().is_some_and(|autoclass| autoclass.enabled))?;
    let hierarchical = hierarchical_namespace.is_some_and(|namespace| namespace.enabled);
    field("hierarchical_namespace", hierarchical_namespace, hierarchical)?;
    let soft_delete_retention = soft_delete_policy.and_then(|policy| policy.retention_duration);
    let has_soft_delete = soft_delete_retention.is_some_and(|wait| wait.seconds != 0 || wait.nanos != 0);
    field("soft_delete_policy", soft_delete_policy, has_soft_delete)?;
    field("object_retention", object_retention, object_retention.is_some_and(|retention| retention.enabled))?;
    field("ip_filter", ip_filter, ip_filter.is_some())
}

/// Rejects a field of a message if it is set.
pub(super) fn reject(is_set: bool, what: &str, name: &str, value: &dyn Debug) -> Result<(), ApiError> {
    if is_set { Err(unsupported(what, name, &format!("{value:?}"))) } else { Ok(()) }
}

/// Rejects a read mask, unless it selects everything.
pub(super) fn check_read_mask(mask: Option<&prost_types::FieldMask>) -> Result<(), ApiError> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths[..]);
    reject(paths.iter().any(|path| path != "*"), "field", "read_mask", &paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rejected(result: Result<(), ApiError>) -> String {
        match result {
            Err(ApiError::Unsupported(text)) => text,
            other => panic!("expected a refusal by name, got {other:?}"),
        }
    }

    #[test]
    fn an_explicit_default_is_accepted() {
        let spelled_out = json!({
            "name": "clips",
            "versioning": {"enabled": false},
            "cors": [],
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
            "retentionPolicy": null,
        });
        assert_eq!(check_bucket(&spelled_out), Ok(()));
        assert_eq!(check_object(&json!({"eventBasedHold": false, "acl": [], "retention": null})), Ok(()));
    }

    #[test]
    fn unsupported_fields_are_rejected_with_name_and_value() {
        let text = rejected(check_bucket(&json!({"versioning": {"enabled": true}})));
        assert!(text.contains("'versioning'") && text.contains("{\"enabled\":true}"), "{text}");
        for field in ["kmsKeyName", "retention", "acl", "contexts", "somethingNew"] {
            let text = rejected(check_object(&json!({field: {"a": "b"}})));
            assert!(text.contains(&format!("'{field}'")), "{text}");
        }
        let long = rejected(check_object(&json!({"contexts": "x".repeat(10_000)})));
        assert!(long.len() < 300, "{} bytes", long.len());
    }

    #[test]
    fn the_value_of_a_key_is_not_repeated() {
        let mut headers = HeaderMap::new();
        headers.insert("x-goog-encryption-key", axum::http::HeaderValue::from_static("c2VjcmV0"));
        let text = rejected(check_headers(&headers, Api::Json));
        assert!(text.contains("x-goog-encryption-key") && !text.contains("c2VjcmV0"), "{text}");
    }
}
