//! Pub/Sub's resources in JSON. Fields that this server does not support are parsed, too, so that using them is an
//! error and not ignored. Names that Google does not know are rejected as Google rejects them.

use super::ps;
use crate::json::{self, Object};
use serde_json::Value;
use std::collections::HashMap;
use tonic::Status;

/// Returns an object whose members must all be in `known`. Protobuf's JSON accepts both `ackDeadlineSeconds` and
/// `ack_deadline_seconds`.
pub(super) fn members(value: &Value, known: &[&str]) -> Result<Value, Status> {
    let members =
        value.as_object().ok_or_else(|| Status::invalid_argument("invalid JSON payload: expected an object"))?;
    let one = |(name, member): (&String, &Value)| {
        let canonical = camel(name);
        if known.contains(&canonical.as_str()) {
            Ok((canonical, member.clone()))
        } else {
            Err(Status::invalid_argument(format!("invalid JSON payload: unknown name '{name}'")))
        }
    };
    Ok(Value::Object(members.iter().map(one).collect::<Result<_, _>>()?))
}

/// The JSON name of a field: `ack_deadline_seconds` becomes `ackDeadlineSeconds`.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            camel.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    camel
}

/// Fields of a topic.
const TOPIC_FIELDS: [&str; 11] = [
    "name",
    "labels",
    "messageStoragePolicy",
    "kmsKeyName",
    "schemaSettings",
    "satisfiesPzs",
    "messageRetentionDuration",
    "state",
    "ingestionDataSourceSettings",
    "messageTransforms",
    "tags",
];

/// Fields of a subscription.
const SUBSCRIPTION_FIELDS: [&str; 22] = [
    "name",
    "topic",
    "pushConfig",
    "bigqueryConfig",
    "cloudStorageConfig",
    "bigtableConfig",
    "ackDeadlineSeconds",
    "retainAckedMessages",
    "messageRetentionDuration",
    "labels",
    "enableMessageOrdering",
    "expirationPolicy",
    "filter",
    "deadLetterPolicy",
    "retryPolicy",
    "detached",
    "enableExactlyOnceDelivery",
    "topicMessageRetentionDuration",
    "state",
    "analyticsHubSubscriptionInfo",
    "messageTransforms",
    "tags",
];

/// Parses a topic; the name comes from the path.
pub(super) fn topic_from(value: &Value, name: String) -> Result<ps::Topic, Status> {
    let value = &members(value, &TOPIC_FIELDS)?;
    Ok(ps::Topic {
        name,
        labels: json::labels(value, "labels")?,
        message_retention_duration: json::duration(value, "messageRetentionDuration")?,
        message_storage_policy: json::member(value, "messageStoragePolicy").map(storage_policy_from).transpose()?,
        kms_key_name: json::text(value, "kmsKeyName")?,
        tags: json::labels(value, "tags")?,
        schema_settings: json::member(value, "schemaSettings").map(|_| ps::SchemaSettings::default()),
        ingestion_data_source_settings: json::member(value, "ingestionDataSourceSettings")
            .map(|_| ps::IngestionDataSourceSettings::default()),
        message_transforms: vec![ps::MessageTransform::default(); json::list(value, "messageTransforms")?.len()],
        ..ps::Topic::default()
    })
}

fn storage_policy_from(value: &Value) -> Result<ps::MessageStoragePolicy, Status> {
    let value = &members(value, &["allowedPersistenceRegions", "enforceInTransit"])?;
    Ok(ps::MessageStoragePolicy {
        allowed_persistence_regions: json::texts(value, "allowedPersistenceRegions")?,
        enforce_in_transit: json::flag(value, "enforceInTransit")?,
    })
}

/// Writes a topic.
pub(super) fn topic(topic: &ps::Topic) -> Value {
    Object::new()
        .text("name", &topic.name)
        .labels("labels", &topic.labels)
        .optional("messageRetentionDuration", topic.message_retention_duration.map(|wait| wait.to_string()))
        .set("state", "ACTIVE")
        .build()
}

/// Parses a subscription; the name comes from the path.
pub(super) fn subscription_from(value: &Value, name: String) -> Result<ps::Subscription, Status> {
    let value = &members(value, &SUBSCRIPTION_FIELDS)?;
    let member = |name| json::member(value, name);
    Ok(ps::Subscription {
        tags: json::labels(value, "tags")?,
        name,
        topic: json::text(value, "topic")?,
        push_config: member("pushConfig").map(push_config_from).transpose()?,
        bigquery_config: member("bigqueryConfig").map(|_| ps::BigQueryConfig::default()),
        cloud_storage_config: member("cloudStorageConfig").map(|_| ps::CloudStorageConfig::default()),
        bigtable_config: member("bigtableConfig").map(|_| ps::BigtableConfig::default()),
        ack_deadline_seconds: json::int32(value, "ackDeadlineSeconds")?,
        retain_acked_messages: json::flag(value, "retainAckedMessages")?,
        message_retention_duration: json::duration(value, "messageRetentionDuration")?,
        labels: json::labels(value, "labels")?,
        enable_message_ordering: json::flag(value, "enableMessageOrdering")?,
        expiration_policy: member("expirationPolicy")
            .map(|policy| {
                Ok::<_, Status>(ps::ExpirationPolicy { ttl: json::duration(&members(policy, &["ttl"])?, "ttl")? })
            })
            .transpose()?,
        filter: json::text(value, "filter")?,
        dead_letter_policy: member("deadLetterPolicy").map(dead_letter_policy_from).transpose()?,
        retry_policy: member("retryPolicy").map(retry_policy_from).transpose()?,
        enable_exactly_once_delivery: json::flag(value, "enableExactlyOnceDelivery")?,
        message_transforms: vec![ps::MessageTransform::default(); json::list(value, "messageTransforms")?.len()],
        ..ps::Subscription::default()
    })
}

pub(super) fn push_config_from(value: &Value) -> Result<ps::PushConfig, Status> {
    let known = ["pushEndpoint", "attributes", "oidcToken", "pubsubWrapper", "noWrapper"];
    let value = &members(value, &known)?;
    // The other fields also request push delivery, which is rejected as a whole.
    let wrapper = known[2..].iter().any(|name| json::member(value, name).is_some());
    let unwrapped = ps::push_config::Wrapper::NoWrapper(ps::push_config::NoWrapper::default());
    Ok(ps::PushConfig {
        push_endpoint: json::text(value, "pushEndpoint")?,
        attributes: json::labels(value, "attributes")?,
        wrapper: wrapper.then_some(unwrapped),
        ..ps::PushConfig::default()
    })
}

fn dead_letter_policy_from(value: &Value) -> Result<ps::DeadLetterPolicy, Status> {
    let value = &members(value, &["deadLetterTopic", "maxDeliveryAttempts"])?;
    Ok(ps::DeadLetterPolicy {
        dead_letter_topic: json::text(value, "deadLetterTopic")?,
        max_delivery_attempts: json::int32(value, "maxDeliveryAttempts")?,
    })
}

fn retry_policy_from(value: &Value) -> Result<ps::RetryPolicy, Status> {
    let value = &members(value, &["minimumBackoff", "maximumBackoff"])?;
    Ok(ps::RetryPolicy {
        minimum_backoff: json::duration(value, "minimumBackoff")?,
        maximum_backoff: json::duration(value, "maximumBackoff")?,
    })
}

/// Writes a subscription.
pub(super) fn subscription(subscription: &ps::Subscription) -> Value {
    let dead_letter = subscription.dead_letter_policy.as_ref().map(|policy| {
        Object::new()
            .text("deadLetterTopic", &policy.dead_letter_topic)
            .set("maxDeliveryAttempts", policy.max_delivery_attempts)
            .build()
    });
    let retry = subscription.retry_policy.as_ref().map(|policy| {
        Object::new()
            .optional("minimumBackoff", policy.minimum_backoff.map(|wait| wait.to_string()))
            .optional("maximumBackoff", policy.maximum_backoff.map(|wait| wait.to_string()))
            .build()
    });
    let expiration = subscription
        .expiration_policy
        .as_ref()
        .map(|policy| Object::new().optional("ttl", policy.ttl.map(|ttl| ttl.to_string())).build());
    Object::new()
        .text("name", &subscription.name)
        .text("topic", &subscription.topic)
        .set("pushConfig", Object::new().build())
        .set("ackDeadlineSeconds", subscription.ack_deadline_seconds)
        .optional("messageRetentionDuration", subscription.message_retention_duration.map(|wait| wait.to_string()))
        .labels("labels", &subscription.labels)
        .optional("expirationPolicy", expiration)
        .text("filter", &subscription.filter)
        .optional("deadLetterPolicy", dead_letter)
        .optional("retryPolicy", retry)
        .set("state", "ACTIVE")
        .build()
}

/// Parses the messages of a publish request.
pub(super) fn messages_from(value: &Value) -> Result<Vec<ps::PubsubMessage>, Status> {
    let value = &members(value, &["messages"])?;
    let message = |value: &Value| {
        // The server sets the last two. It ignores values from clients, as the real service does.
        let value = &members(value, &["data", "attributes", "orderingKey", "messageId", "publishTime"])?;
        Ok(ps::PubsubMessage {
            data: json::bytes(value, "data")?,
            attributes: json::labels(value, "attributes")?,
            ordering_key: json::text(value, "orderingKey")?,
            ..ps::PubsubMessage::default()
        })
    };
    json::list(value, "messages")?.iter().map(message).collect()
}

/// Writes a delivered message.
pub(super) fn received_message(received_message: &ps::ReceivedMessage) -> Value {
    let message = received_message.message.as_ref().map(|message| {
        Object::new()
            .text("data", &json::encode_base64(&message.data))
            .labels("attributes", &message.attributes)
            .text("messageId", &message.message_id)
            .optional("publishTime", message.publish_time.map(|at| at.to_string()))
            .text("orderingKey", &message.ordering_key)
            .build()
    });
    let attempt = Some(received_message.delivery_attempt).filter(|attempt| *attempt > 0);
    Object::new()
        .text("ackId", &received_message.ack_id)
        .optional("message", message)
        .optional("deliveryAttempt", attempt)
        .build()
}

/// Parses the field names of an update mask; JSON writes them as `retryPolicy,labels`.
pub(super) fn mask_from(text: &str) -> Vec<String> {
    let snake = |path: &str| {
        let mut name = String::new();
        for c in path.trim().chars() {
            if c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    };
    text.split(',').filter(|path| !path.trim().is_empty()).map(snake).collect()
}

/// Query parameters of every call that can be ignored without consequence: format and language of the response,
/// credentials, quotas.
const IGNORED_PARAMETERS: [&str; 9] =
    ["$alt", "alt", "$.xgafv", "$prettyPrint", "prettyPrint", "access_token", "key", "oauth_token", "quotaUser"];

/// The first value of each query parameter. Unknown parameters are rejected, as in the real service.
pub(super) fn parameters(query: &str, known: &[&str]) -> Result<HashMap<String, String>, Status> {
    let mut parameters = HashMap::new();
    for (name, value) in crate::url::query(query) {
        let name = if name.contains('_') && !IGNORED_PARAMETERS.contains(&name.as_str()) { camel(&name) } else { name };
        if !known.contains(&name.as_str()) && !IGNORED_PARAMETERS.contains(&name.as_str()) {
            return Err(Status::invalid_argument(format!("unknown name '{name}': cannot bind query parameter")));
        }
        parameters.entry(name).or_insert(value);
    }
    Ok(parameters)
}
