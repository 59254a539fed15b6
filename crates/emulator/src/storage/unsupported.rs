//! What requests may ask for beyond what this server has. Everything else is refused by name with its value: a caller
//! who asks for a key, a hold or a list option and gets an ordinary answer would believe that it was granted.

use super::{error::Refusal, gcs};
use axum::http::HeaderMap;
use serde_json::Value;
use std::fmt::Debug;

/// Longest part of a value that an error message repeats, in characters.
const SHOWN_VALUE: usize = 80;

/// Query parameters of every call that may be ignored without a consequence.
const PARAMETERS: &[&str] = &[
    // Credentials and quotas: callers are not authenticated, and nothing is counted.
    "access_token",
    "key",
    "oauth_token",
    "quotaUser",
    "userIp",
    // Who pays: nobody does.
    "userProject",
    // Buckets of all projects share one list here; see "Known differences" in the README.
    "project",
    // Line breaks of the answer.
    "prettyPrint",
    // `full` adds access control lists. There are none, as in buckets with uniform access.
    "projection",
    // Form of error messages; there is only one.
    "$.xgafv",
];

/// Headers of every call that may be ignored without a consequence.
const HEADERS: &[&str] = &[
    // Who calls, with which library, for which reason.
    "x-goog-api-client",
    "x-goog-api-key",
    "x-goog-request-params",
    "x-goog-request-reason",
    "x-goog-user-project",
    // Marks attempts of one call. Without it, too, a repeated attempt meets the precondition of the call.
    "x-goog-gcs-idempotency-token",
    // Part of a signature, which is checked elsewhere.
    "x-goog-content-sha256",
    "x-goog-date",
];

/// Headers that calls of either API heed.
const HEEDED: &[&str] = &["x-goog-hash", "x-goog-resumable"];

/// Headers that only the XML API heeds.
const HEEDED_BY_XML: &[&str] =
    &["x-goog-custom-time", "x-goog-if-generation-match", "x-goog-if-metageneration-match", "x-goog-storage-class"];

/// Members of an object that Google sets and ignores when they are sent: clients send back what they read.
const OBJECT_OUTPUT: &[&str] = &[
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

/// The same of a bucket.
const BUCKET_OUTPUT: &[&str] = &[
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

/// Which API a request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// `/storage/v1/...`
    Json,
    /// `/BUCKET/OBJECT`
    Xml,
}

/// A refusal that names what was asked for.
fn unsupported(what: &str, name: &str, value: &str) -> Refusal {
    let shown: String = value.chars().take(SHOWN_VALUE).collect();
    let more = if shown.len() < value.len() { "…" } else { "" };
    Refusal::Unsupported(format!("The {what} '{name}' with the value '{shown}{more}' is not supported by this server."))
}

/// Checks the query parameters of a call that heeds those `known`.
pub(super) fn check_parameters<'a>(
    parameters: impl Iterator<Item = (&'a String, &'a String)>,
    known: &[&str],
) -> Result<(), Refusal> {
    for (name, value) in parameters {
        let asks = !matches!(value.to_ascii_lowercase().as_str(), "" | "false");
        // Signatures are checked before.
        let signature = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("x-goog-"));
        let json = name == "alt" && value == "json";
        if asks && !signature && !json && !known.contains(&name.as_str()) && !PARAMETERS.contains(&name.as_str()) {
            return Err(unsupported("parameter", name, value));
        }
    }
    Ok(())
}

/// Checks the headers of a request.
pub(super) fn check_headers(headers: &HeaderMap, api: Api) -> Result<(), Refusal> {
    for (name, value) in headers {
        let name = name.as_str();
        let extension = name.starts_with("x-goog-") || name.starts_with("x-amz-");
        // Clients that send these expect 304 or 412; the entity tags of `If-Match` do the same.
        let by_date = matches!(name, "if-modified-since" | "if-unmodified-since");
        let known = HEADERS.contains(&name)
            || HEEDED.contains(&name)
            || api == Api::Xml && (HEEDED_BY_XML.contains(&name) || name.starts_with("x-goog-meta-"));
        if (extension || by_date) && !known {
            // The value of a key is nobody's to repeat.
            let secret = name.contains("encryption-key");
            let value = if secret { "(hidden)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            return Err(unsupported("header", name, &value));
        }
    }
    Ok(())
}

/// Whether a value asks for anything: `false`, zero and what is empty ask for the default.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && text != "0",
        Value::Array(values) => values.iter().any(asks),
        Value::Object(members) => members.values().any(asks),
    }
}

fn check_members(what: &str, resource: &Value, known: &[&str], output: &[&str]) -> Result<(), Refusal> {
    let Some(members) = resource.as_object() else {
        return Err(Refusal::Invalid(format!("Expected an object for the {what}.")));
    };
    for (name, value) in members {
        if !known.contains(&name.as_str()) && !output.contains(&name.as_str()) && asks(value) {
            return Err(unsupported(&format!("{what} field"), name, &value.to_string()));
        }
    }
    Ok(())
}

/// Checks a bucket in JSON.
pub(super) fn check_bucket(resource: &Value) -> Result<(), Refusal> {
    check_members("bucket", resource, &["labels", "location", "name", "storageClass"], BUCKET_OUTPUT)
}

/// Checks an object in JSON: the metadata of an upload, or a patch.
pub(super) fn check_object(resource: &Value) -> Result<(), Refusal> {
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
    check_members("object", resource, &known, OBJECT_OUTPUT)
}

/// Checks a bucket in protobuf. Every field is named, so that a field which a later version adds is a compiler error
/// here.
pub(super) fn check_bucket_message(bucket: &gcs::Bucket) -> Result<(), Refusal> {
    let gcs::Bucket {
        // Kept.
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
        // Refused.
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
    let field = |name, value: &dyn Debug, asks| refuse(asks, "bucket field", name, value);
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
    let kept_for = soft_delete_policy.and_then(|policy| policy.retention_duration);
    let soft_deletes = kept_for.is_some_and(|wait| wait.seconds != 0 || wait.nanos != 0);
    field("soft_delete_policy", soft_delete_policy, soft_deletes)?;
    field("object_retention", object_retention, object_retention.is_some_and(|retention| retention.enabled))?;
    field("ip_filter", ip_filter, ip_filter.is_some())
}

/// Refuses a field of a message, if it asks for something.
pub(super) fn refuse(asks: bool, what: &str, name: &str, value: &dyn Debug) -> Result<(), Refusal> {
    if asks { Err(unsupported(what, name, &format!("{value:?}"))) } else { Ok(()) }
}

/// Refuses a read mask, unless it wants everything.
pub(super) fn check_read_mask(mask: Option<&prost_types::FieldMask>) -> Result<(), Refusal> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths[..]);
    refuse(paths.iter().any(|path| path != "*"), "field", "read_mask", &paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(result: Result<(), Refusal>) -> String {
        match result {
            Err(Refusal::Unsupported(text)) => text,
            other => panic!("expected a refusal by name, got {other:?}"),
        }
    }

    #[test]
    fn a_default_that_is_spelled_out_asks_for_nothing() {
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
    fn what_is_asked_for_is_refused_with_its_name_and_value() {
        let text = refused(check_bucket(&json!({"versioning": {"enabled": true}})));
        assert!(text.contains("'versioning'") && text.contains("{\"enabled\":true}"), "{text}");
        for field in ["kmsKeyName", "retention", "acl", "contexts", "somethingNew"] {
            let text = refused(check_object(&json!({field: {"a": "b"}})));
            assert!(text.contains(&format!("'{field}'")), "{text}");
        }
        let long = refused(check_object(&json!({"contexts": "x".repeat(10_000)})));
        assert!(long.len() < 300, "{} bytes", long.len());
    }

    #[test]
    fn the_value_of_a_key_is_not_repeated() {
        let mut headers = HeaderMap::new();
        headers.insert("x-goog-encryption-key", axum::http::HeaderValue::from_static("c2VjcmV0"));
        let text = refused(check_headers(&headers, Api::Json));
        assert!(text.contains("x-goog-encryption-key") && !text.contains("c2VjcmV0"), "{text}");
    }
}
