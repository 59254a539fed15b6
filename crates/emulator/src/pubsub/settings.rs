//! Validates the settings of topics and subscriptions when they arrive. Unsupported settings are rejected by name.

use super::{filter::Filter, names, ps};
use crate::limits;
use std::{fmt::Debug, time::Duration};
use tonic::Status;

/// Shortest expiration of an unused subscription (documented: a day).
const MIN_EXPIRATION_SECONDS: i64 = 86_400;

/// Checks a new or changed topic and sets the fields that only the server sets. The pattern names every field, here as
/// for subscriptions, so that a field of a later version causes a compiler error.
pub(super) fn check_topic(topic: &mut ps::Topic) -> Result<(), Status> {
    let ps::Topic {
        name,
        labels: _,
        message_storage_policy,
        kms_key_name,
        schema_settings,
        satisfies_pzs,
        message_retention_duration,
        state,
        ingestion_data_source_settings,
        message_transforms,
        tags,
    } = topic;
    names::check(name, "topics")?;
    reject("message_storage_policy", message_storage_policy, message_storage_policy.is_some())?;
    reject("kms_key_name", kms_key_name, !kms_key_name.is_empty())?;
    reject("schema_settings", schema_settings, schema_settings.is_some())?;
    reject("ingestion_data_source_settings", ingestion_data_source_settings, ingestion_data_source_settings.is_some())?;
    reject("message_transforms", message_transforms, !message_transforms.is_empty())?;
    reject("tags", tags, !tags.is_empty())?;
    check_retention(*message_retention_duration)?;
    *satisfies_pzs = false;
    *state = ps::topic::State::Active.into();
    Ok(())
}

fn check_retention(requested: Option<prost_types::Duration>) -> Result<(), Status> {
    let max_seconds = i64::try_from(limits::MAX_RETENTION.as_secs()).unwrap_or(i64::MAX);
    let retention = seconds("message_retention_duration", requested)?;
    range("message_retention_duration", retention.unwrap_or(600), 600, max_seconds)
}

/// Applies the fields of an update to a stored topic.
pub(super) fn update_topic(stored: &ps::Topic, new: ps::Topic, mask: &[String]) -> Result<ps::Topic, Status> {
    check_mask(mask)?;
    let mut updated = stored.clone();
    for path in mask {
        match path.as_str() {
            "labels" => updated.labels.clone_from(&new.labels),
            "message_retention_duration" => updated.message_retention_duration = new.message_retention_duration,
            "message_storage_policy" => updated.message_storage_policy.clone_from(&new.message_storage_policy),
            "schema_settings" => updated.schema_settings.clone_from(&new.schema_settings),
            other => return Err(Status::invalid_argument(format!("the field '{other}' cannot be updated"))),
        }
    }
    check_topic(&mut updated)?;
    Ok(updated)
}

/// Checks a new or changed subscription and fills in the defaults.
pub(super) fn check_subscription(subscription: &mut ps::Subscription) -> Result<(), Status> {
    reject_unsupported(subscription)?;
    names::check(&subscription.name, "subscriptions")?;
    subscription.state = ps::subscription::State::Active.into();
    Filter::parse(&subscription.filter).map_err(Status::invalid_argument)?;

    if subscription.ack_deadline_seconds == 0 {
        subscription.ack_deadline_seconds = 10;
    }
    range("ack_deadline_seconds", subscription.ack_deadline_seconds.into(), 10, 600)?;
    let to_proto = |wait: Duration| prost_types::Duration {
        seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        ..prost_types::Duration::default()
    };
    subscription.message_retention_duration.get_or_insert(to_proto(limits::DEFAULT_RETENTION));
    // Reported because the real service reports it. Here an unused subscription stays, because the data folder belongs
    // to the user.
    let default_policy = ps::ExpirationPolicy { ttl: Some(to_proto(limits::MAX_RETENTION)) };
    let ttl = seconds("expiration_policy.ttl", subscription.expiration_policy.get_or_insert(default_policy).ttl)?;
    range("expiration_policy.ttl", ttl.unwrap_or(i64::MAX), MIN_EXPIRATION_SECONDS, i64::MAX)?;
    if let Some(policy) = &mut subscription.dead_letter_policy {
        names::check(&policy.dead_letter_topic, "topics")?;
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = 5;
        }
        if !(5..=100).contains(&policy.max_delivery_attempts) {
            let attempts = policy.max_delivery_attempts;
            // Not INVALID_ARGUMENT as elsewhere: Google's emulator returns this code.
            return Err(Status::out_of_range(format!("max_delivery_attempts is {attempts}, must be 5 to 100")));
        }
    }
    if let Some(retry) = &mut subscription.retry_policy {
        let (min, max) =
            (seconds("minimum_backoff", retry.minimum_backoff)?, seconds("maximum_backoff", retry.maximum_backoff)?);
        range("minimum_backoff", min.unwrap_or(10), 0, 600)?;
        range("maximum_backoff", max.unwrap_or(600), 0, 600)?;
        if min.unwrap_or(10) > max.unwrap_or(600) {
            return Err(Status::invalid_argument("minimum_backoff is longer than maximum_backoff"));
        }
        retry.minimum_backoff.get_or_insert(to_proto(Duration::from_secs(10)));
        retry.maximum_backoff.get_or_insert(to_proto(Duration::from_secs(600)));
    }
    check_retention(subscription.message_retention_duration)
}

/// Rejects unsupported settings and clears fields that only a server sets.
fn reject_unsupported(subscription: &mut ps::Subscription) -> Result<(), Status> {
    let ps::Subscription {
        name: _,
        topic: _,
        push_config,
        bigquery_config,
        cloud_storage_config,
        bigtable_config,
        ack_deadline_seconds: _,
        retain_acked_messages,
        message_retention_duration: _,
        labels: _,
        enable_message_ordering,
        expiration_policy: _,
        filter: _,
        dead_letter_policy: _,
        retry_policy: _,
        detached,
        enable_exactly_once_delivery,
        topic_message_retention_duration,
        state: _,
        analytics_hub_subscription_info,
        message_transforms,
        tags,
    } = subscription;
    // The real service reports an empty configuration if there is none.
    reject_push(Some(push_config.get_or_insert_default()))?;
    reject("bigquery_config", bigquery_config, bigquery_config.is_some())?;
    reject("cloud_storage_config", cloud_storage_config, cloud_storage_config.is_some())?;
    reject("bigtable_config", bigtable_config, bigtable_config.is_some())?;
    reject("enable_message_ordering", enable_message_ordering, *enable_message_ordering)?;
    reject("enable_exactly_once_delivery", enable_exactly_once_delivery, *enable_exactly_once_delivery)?;
    reject("retain_acked_messages", retain_acked_messages, *retain_acked_messages)?;
    reject("message_transforms", message_transforms, !message_transforms.is_empty())?;
    reject("tags", tags, !tags.is_empty())?;
    *detached = false;
    *topic_message_retention_duration = None;
    *analytics_hub_subscription_info = None;
    Ok(())
}

/// Rejects push delivery. An empty configuration means pull.
pub(super) fn reject_push(push: Option<&ps::PushConfig>) -> Result<(), Status> {
    let requested = push.is_some_and(|push| *push != ps::PushConfig::default());
    reject("push_config", &push.map(|push| &push.push_endpoint), requested)
}

/// Applies the fields of an update to the stored settings.
pub(super) fn update_subscription(
    stored: &ps::Subscription,
    new: ps::Subscription,
    mask: &[String],
) -> Result<ps::Subscription, Status> {
    check_mask(mask)?;
    let mut updated = stored.clone();
    for path in mask {
        match path.as_str() {
            "ack_deadline_seconds" => updated.ack_deadline_seconds = new.ack_deadline_seconds,
            "labels" => updated.labels.clone_from(&new.labels),
            "dead_letter_policy" => updated.dead_letter_policy.clone_from(&new.dead_letter_policy),
            "retry_policy" => updated.retry_policy = new.retry_policy,
            "message_retention_duration" => updated.message_retention_duration = new.message_retention_duration,
            "expiration_policy" => updated.expiration_policy = new.expiration_policy,
            "push_config" => updated.push_config.clone_from(&new.push_config),
            "enable_exactly_once_delivery" => updated.enable_exactly_once_delivery = new.enable_exactly_once_delivery,
            "retain_acked_messages" => updated.retain_acked_messages = new.retain_acked_messages,
            other => return Err(Status::invalid_argument(format!("the field '{other}' cannot be updated"))),
        }
    }
    check_subscription(&mut updated)?;
    Ok(updated)
}

/// Checks that an update names its fields.
fn check_mask(mask: &[String]) -> Result<(), Status> {
    if mask.is_empty() { Err(Status::invalid_argument("the update_mask must name at least one field")) } else { Ok(()) }
}

/// Checks one message of a publish request.
pub(super) fn check_message(message: &ps::PubsubMessage) -> Result<(), Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if message.data.is_empty() && message.attributes.is_empty() {
        return invalid("a message must have data or at least one attribute".into());
    }
    if message.attributes.len() > limits::MAX_ATTRIBUTES {
        return invalid(format!("a message has more than {} attributes", limits::MAX_ATTRIBUTES));
    }
    if message.ordering_key.len() > limits::MAX_ORDERING_KEY_BYTES {
        return invalid(format!("the ordering key is longer than {} bytes", limits::MAX_ORDERING_KEY_BYTES));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > limits::MAX_ATTRIBUTE_KEY_BYTES || key.starts_with("goog") {
            return invalid(format!("invalid attribute name '{key}'"));
        }
        if value.len() > limits::MAX_ATTRIBUTE_VALUE_BYTES {
            return invalid(format!("attribute '{key}' is longer than {} bytes", limits::MAX_ATTRIBUTE_VALUE_BYTES));
        }
    }
    Ok(())
}

/// Parses the deadline of a request in seconds: 0 (hand back) to 600.
pub(super) fn deadline(requested: i32) -> Result<Duration, Status> {
    range("ack_deadline_seconds", requested.into(), 0, 600)?;
    Ok(Duration::from_secs(u64::try_from(requested).unwrap_or(0)))
}

/// Parses a stream's deadline in seconds: 10 to 600.
pub(super) fn stream_deadline(requested: i32) -> Result<Duration, Status> {
    range("stream_ack_deadline_seconds", requested.into(), 10, 600)?;
    deadline(requested)
}

/// Rejects a field by its name and value.
fn reject(name: &str, value: &dyn Debug, requested: bool) -> Result<(), Status> {
    if !requested {
        return Ok(());
    }
    let value: String = format!("{value:?}").chars().take(limits::MAX_SHOWN_CHARS).collect();
    Err(Status::unimplemented(format!(
        "the field '{name}' with the value {value} is not supported by this local server"
    )))
}

fn range(name: &str, value: i64, min: i64, max: i64) -> Result<(), Status> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(Status::invalid_argument(format!("{name} is {value}, must be {min} to {max}")))
    }
}

fn seconds(name: &str, value: Option<prost_types::Duration>) -> Result<Option<i64>, Status> {
    match value {
        Some(value) if value.seconds < 0 || value.nanos < 0 => {
            Err(Status::invalid_argument(format!("{name} is negative")))
        }
        other => Ok(other.map(|value| value.seconds)),
    }
}
