//! What a topic or subscription may ask for: checked once, at the border; what this server cannot do is refused by name.

use super::{filter::Filter, names, ps};
use crate::limits;
use std::time::Duration;
use tonic::Status;

/// Checks a new topic.
pub(super) fn check_topic(topic: &ps::Topic) -> Result<(), Status> {
    names::check(&topic.name, "topics")?;
    refuse("a schema", topic.schema_settings.is_some())?;
    refuse("ingestion", topic.ingestion_data_source_settings.is_some())?;
    refuse("message transforms", !topic.message_transforms.is_empty())
}

/// Applies the fields an update names to a stored topic.
pub(super) fn update_topic(stored: &ps::Topic, new: ps::Topic, mask: &[String]) -> Result<ps::Topic, Status> {
    named(mask)?;
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
    check_topic(&updated)?;
    Ok(updated)
}

/// Checks a subscription, new or changed, and fills in the defaults.
pub(super) fn check_subscription(subscription: &mut ps::Subscription) -> Result<(), Status> {
    names::check(&subscription.name, "subscriptions")?;
    let pushes = subscription.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
    refuse("push delivery", pushes)?;
    refuse("export to BigQuery", subscription.bigquery_config.is_some())?;
    refuse("export to Cloud Storage", subscription.cloud_storage_config.is_some())?;
    refuse("export to Bigtable", subscription.bigtable_config.is_some())?;
    refuse("message ordering (enable_message_ordering)", subscription.enable_message_ordering)?;
    refuse("exactly-once delivery (enable_exactly_once_delivery)", subscription.enable_exactly_once_delivery)?;
    refuse("replay of acknowledged messages (retain_acked_messages)", subscription.retain_acked_messages)?;
    refuse("message transforms", !subscription.message_transforms.is_empty())?;
    Filter::parse(&subscription.filter).map_err(Status::invalid_argument)?;

    if subscription.ack_deadline_seconds == 0 {
        subscription.ack_deadline_seconds = 10;
    }
    range("ack_deadline_seconds", subscription.ack_deadline_seconds.into(), 10, 600)?;
    let span = |wait: Duration| prost_types::Duration {
        seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        ..prost_types::Duration::default()
    };
    subscription.message_retention_duration.get_or_insert(span(limits::RETENTION));
    // Shown because the real service shows it. Here a subscription that nobody uses stays: its data folder is its user's.
    subscription.expiration_policy.get_or_insert(ps::ExpirationPolicy { ttl: Some(span(limits::RETENTION_MAX)) });
    if let Some(policy) = &mut subscription.dead_letter_policy {
        names::check(&policy.dead_letter_topic, "topics")?;
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = 5;
        }
        range("max_delivery_attempts", policy.max_delivery_attempts.into(), 5, 100)?;
    }
    if let Some(retry) = &subscription.retry_policy {
        let (least, most) =
            (seconds("minimum_backoff", retry.minimum_backoff)?, seconds("maximum_backoff", retry.maximum_backoff)?);
        range("minimum_backoff", least.unwrap_or(10), 0, 600)?;
        range("maximum_backoff", most.unwrap_or(600), 0, 600)?;
        if least.unwrap_or(10) > most.unwrap_or(600) {
            return Err(Status::invalid_argument("minimum_backoff is longer than maximum_backoff"));
        }
    }
    let longest = i64::try_from(limits::RETENTION_MAX.as_secs()).unwrap_or(i64::MAX);
    let retention = seconds("message_retention_duration", subscription.message_retention_duration)?;
    range("message_retention_duration", retention.unwrap_or(600), 600, longest)?;
    Ok(())
}

/// Applies the fields an update names to the stored settings.
pub(super) fn update_subscription(
    stored: &ps::Subscription,
    new: ps::Subscription,
    mask: &[String],
) -> Result<ps::Subscription, Status> {
    named(mask)?;
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

/// An update says what it is about.
fn named(mask: &[String]) -> Result<(), Status> {
    if mask.is_empty() { Err(Status::invalid_argument("the update_mask must name at least one field")) } else { Ok(()) }
}

/// Checks one message of a publish request.
pub(super) fn check_message(message: &ps::PubsubMessage) -> Result<(), Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if message.data.is_empty() && message.attributes.is_empty() {
        return invalid("a message must have data or at least one attribute".into());
    }
    if message.attributes.len() > limits::ATTRIBUTES {
        return invalid(format!("a message has more than {} attributes", limits::ATTRIBUTES));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > limits::ATTRIBUTE_KEY_BYTES || key.starts_with("goog") {
            return invalid(format!("invalid attribute name '{key}'"));
        }
        if value.len() > limits::ATTRIBUTE_VALUE_BYTES {
            return invalid(format!("attribute '{key}' is longer than {} bytes", limits::ATTRIBUTE_VALUE_BYTES));
        }
    }
    Ok(())
}

/// A deadline of a request in seconds: 0 hands back, at most 600.
pub(super) fn deadline(asked: i32) -> Result<Duration, Status> {
    range("ack_deadline_seconds", asked.into(), 0, 600)?;
    Ok(Duration::from_secs(u64::try_from(asked).unwrap_or(0)))
}

/// A stream's deadline in seconds: 10 to 600, or 0 for the subscription's own.
pub(super) fn stream_deadline(asked: i32) -> Result<Option<Duration>, Status> {
    if asked == 0 {
        return Ok(None);
    }
    range("stream_ack_deadline_seconds", asked.into(), 10, 600)?;
    deadline(asked).map(Some)
}

fn refuse(what: &str, asked: bool) -> Result<(), Status> {
    if asked { Err(Status::unimplemented(format!("{what} is not supported by this local server"))) } else { Ok(()) }
}

fn range(name: &str, value: i64, least: i64, most: i64) -> Result<(), Status> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Status::invalid_argument(format!("{name} is {value}, must be {least} to {most}")))
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
