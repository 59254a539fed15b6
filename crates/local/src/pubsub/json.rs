//! Pub/Sub's resources in JSON. Fields this server refuses are read too, so that asking for them is an error and not silence.

use super::ps;
use crate::json::{self, Object};
use serde_json::Value;
use std::collections::HashMap;
use tonic::Status;

/// Reads a topic; the name comes from the path.
pub(super) fn topic_from(value: &Value, name: String) -> Result<ps::Topic, Status> {
    Ok(ps::Topic {
        name,
        labels: json::labels(value, "labels")?,
        message_retention_duration: json::duration(value, "messageRetentionDuration")?,
        schema_settings: json::member(value, "schemaSettings").map(|_| ps::SchemaSettings::default()),
        ingestion_data_source_settings: json::member(value, "ingestionDataSourceSettings")
            .map(|_| ps::IngestionDataSourceSettings::default()),
        message_transforms: vec![ps::MessageTransform::default(); json::list(value, "messageTransforms")?.len()],
        ..ps::Topic::default()
    })
}

/// Writes a topic.
pub(super) fn topic(topic: &ps::Topic) -> Value {
    Object::new()
        .text("name", &topic.name)
        .labels("labels", &topic.labels)
        .maybe("messageRetentionDuration", topic.message_retention_duration.map(|wait| wait.to_string()))
        .set("state", "ACTIVE")
        .done()
}

/// Reads a subscription; the name comes from the path.
pub(super) fn subscription_from(value: &Value, name: String) -> Result<ps::Subscription, Status> {
    let member = |name| json::member(value, name);
    Ok(ps::Subscription {
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
            .map(|policy| Ok::<_, Status>(ps::ExpirationPolicy { ttl: json::duration(policy, "ttl")? }))
            .transpose()?,
        filter: json::text(value, "filter")?,
        dead_letter_policy: member("deadLetterPolicy").map(dead_letter_policy_from).transpose()?,
        retry_policy: member("retryPolicy").map(retry_policy_from).transpose()?,
        enable_exactly_once_delivery: json::flag(value, "enableExactlyOnceDelivery")?,
        message_transforms: vec![ps::MessageTransform::default(); json::list(value, "messageTransforms")?.len()],
        ..ps::Subscription::default()
    })
}

fn push_config_from(value: &Value) -> Result<ps::PushConfig, Status> {
    Ok(ps::PushConfig { push_endpoint: json::text(value, "pushEndpoint")?, ..ps::PushConfig::default() })
}

fn dead_letter_policy_from(value: &Value) -> Result<ps::DeadLetterPolicy, Status> {
    Ok(ps::DeadLetterPolicy {
        dead_letter_topic: json::text(value, "deadLetterTopic")?,
        max_delivery_attempts: json::int32(value, "maxDeliveryAttempts")?,
    })
}

fn retry_policy_from(value: &Value) -> Result<ps::RetryPolicy, Status> {
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
            .done()
    });
    let retry = subscription.retry_policy.as_ref().map(|policy| {
        Object::new()
            .maybe("minimumBackoff", policy.minimum_backoff.map(|wait| wait.to_string()))
            .maybe("maximumBackoff", policy.maximum_backoff.map(|wait| wait.to_string()))
            .done()
    });
    let expiration = subscription
        .expiration_policy
        .as_ref()
        .map(|policy| Object::new().maybe("ttl", policy.ttl.map(|ttl| ttl.to_string())).done());
    Object::new()
        .text("name", &subscription.name)
        .text("topic", &subscription.topic)
        .set("pushConfig", Object::new().done())
        .set("ackDeadlineSeconds", subscription.ack_deadline_seconds)
        .maybe("messageRetentionDuration", subscription.message_retention_duration.map(|wait| wait.to_string()))
        .labels("labels", &subscription.labels)
        .maybe("expirationPolicy", expiration)
        .text("filter", &subscription.filter)
        .maybe("deadLetterPolicy", dead_letter)
        .maybe("retryPolicy", retry)
        .set("state", "ACTIVE")
        .done()
}

/// Reads the messages of a publish request.
pub(super) fn messages_from(value: &Value) -> Result<Vec<ps::PubsubMessage>, Status> {
    let message = |value: &Value| {
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
pub(super) fn received(received: &ps::ReceivedMessage) -> Value {
    let message = received.message.as_ref().map(|message| {
        Object::new()
            .text("data", &json::encode_base64(&message.data))
            .labels("attributes", &message.attributes)
            .text("messageId", &message.message_id)
            .maybe("publishTime", message.publish_time.map(|at| at.to_string()))
            .text("orderingKey", &message.ordering_key)
            .done()
    });
    let attempt = Some(received.delivery_attempt).filter(|attempt| *attempt > 0);
    Object::new().text("ackId", &received.ack_id).maybe("message", message).maybe("deliveryAttempt", attempt).done()
}

/// Field names of an update mask, in the spelling of the proto: JSON writes `retryPolicy,labels`.
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

/// The first value of each query parameter.
pub(super) fn parameters(query: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    for (name, value) in crate::url::query(query) {
        parameters.entry(name).or_insert(value);
    }
    parameters
}
