//! What a topic or subscription may ask for: checked once, at the border; what this server cannot do is refused by name.

use super::{filter::Filter, names, ps};
use crate::limits;
use std::{fmt::Debug, time::Duration};
use tonic::Status;

/// Shortest life of a subscription that nobody uses, in seconds (documented: a day).
const EXPIRATION_MIN: i64 = 86_400;

/// Longest part of a refused value that an error message repeats, in characters.
const SHOWN_VALUE: usize = 80;

/// Checks a topic, new or changed, and sets what its owner cannot. Every field is named, here as for subscriptions, so
/// that a field which a later version adds is a compiler error.
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
    refuse("message_storage_policy", message_storage_policy, message_storage_policy.is_some())?;
    refuse("kms_key_name", kms_key_name, !kms_key_name.is_empty())?;
    refuse("schema_settings", schema_settings, schema_settings.is_some())?;
    refuse("ingestion_data_source_settings", ingestion_data_source_settings, ingestion_data_source_settings.is_some())?;
    refuse("message_transforms", message_transforms, !message_transforms.is_empty())?;
    refuse("tags", tags, !tags.is_empty())?;
    check_retention(*message_retention_duration)?;
    *satisfies_pzs = false;
    *state = ps::topic::State::Active.into();
    Ok(())
}

fn check_retention(asked: Option<prost_types::Duration>) -> Result<(), Status> {
    let longest = i64::try_from(limits::RETENTION_MAX.as_secs()).unwrap_or(i64::MAX);
    let retention = seconds("message_retention_duration", asked)?;
    range("message_retention_duration", retention.unwrap_or(600), 600, longest)
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
    check_topic(&mut updated)?;
    Ok(updated)
}

/// Checks a subscription, new or changed, and fills in the defaults.
pub(super) fn check_subscription(subscription: &mut ps::Subscription) -> Result<(), Status> {
    refuse_subscription(subscription)?;
    names::check(&subscription.name, "subscriptions")?;
    subscription.state = ps::subscription::State::Active.into();
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
    let kept = ps::ExpirationPolicy { ttl: Some(span(limits::RETENTION_MAX)) };
    let ttl = seconds("expiration_policy.ttl", subscription.expiration_policy.get_or_insert(kept).ttl)?;
    range("expiration_policy.ttl", ttl.unwrap_or(i64::MAX), EXPIRATION_MIN, i64::MAX)?;
    if let Some(policy) = &mut subscription.dead_letter_policy {
        names::check(&policy.dead_letter_topic, "topics")?;
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = 5;
        }
        if !(5..=100).contains(&policy.max_delivery_attempts) {
            let attempts = policy.max_delivery_attempts;
            // Not INVALID_ARGUMENT as elsewhere: Google's emulator answers this.
            return Err(Status::out_of_range(format!("max_delivery_attempts is {attempts}, must be 5 to 100")));
        }
    }
    if let Some(retry) = &mut subscription.retry_policy {
        let (least, most) =
            (seconds("minimum_backoff", retry.minimum_backoff)?, seconds("maximum_backoff", retry.maximum_backoff)?);
        range("minimum_backoff", least.unwrap_or(10), 0, 600)?;
        range("maximum_backoff", most.unwrap_or(600), 0, 600)?;
        if least.unwrap_or(10) > most.unwrap_or(600) {
            return Err(Status::invalid_argument("minimum_backoff is longer than maximum_backoff"));
        }
        retry.minimum_backoff.get_or_insert(span(Duration::from_secs(10)));
        retry.maximum_backoff.get_or_insert(span(Duration::from_secs(600)));
    }
    check_retention(subscription.message_retention_duration)
}

/// Refuses what this server does not have, and clears what only a server sets.
fn refuse_subscription(subscription: &mut ps::Subscription) -> Result<(), Status> {
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
    // The real service shows an empty configuration where there is none.
    refuse_push(Some(push_config.get_or_insert_default()))?;
    refuse("bigquery_config", bigquery_config, bigquery_config.is_some())?;
    refuse("cloud_storage_config", cloud_storage_config, cloud_storage_config.is_some())?;
    refuse("bigtable_config", bigtable_config, bigtable_config.is_some())?;
    refuse("enable_message_ordering", enable_message_ordering, *enable_message_ordering)?;
    refuse("enable_exactly_once_delivery", enable_exactly_once_delivery, *enable_exactly_once_delivery)?;
    refuse("retain_acked_messages", retain_acked_messages, *retain_acked_messages)?;
    refuse("message_transforms", message_transforms, !message_transforms.is_empty())?;
    refuse("tags", tags, !tags.is_empty())?;
    *detached = false;
    *topic_message_retention_duration = None;
    *analytics_hub_subscription_info = None;
    Ok(())
}

/// Refuses push delivery. An empty configuration means pull, as everywhere here.
pub(super) fn refuse_push(push: Option<&ps::PushConfig>) -> Result<(), Status> {
    let asked = push.is_some_and(|push| *push != ps::PushConfig::default());
    refuse("push_config", &push.map(|push| &push.push_endpoint), asked)
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
    if message.ordering_key.len() > limits::ORDERING_KEY_BYTES {
        return invalid(format!("the ordering key is longer than {} bytes", limits::ORDERING_KEY_BYTES));
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

/// A stream's deadline in seconds: 10 to 600.
pub(super) fn stream_deadline(asked: i32) -> Result<Duration, Status> {
    range("stream_ack_deadline_seconds", asked.into(), 10, 600)?;
    deadline(asked)
}

/// Refuses a field by its name and value.
fn refuse(name: &str, value: &dyn Debug, asked: bool) -> Result<(), Status> {
    if !asked {
        return Ok(());
    }
    let value: String = format!("{value:?}").chars().take(SHOWN_VALUE).collect();
    Err(Status::unimplemented(format!(
        "the field '{name}' with the value {value} is not supported by this local server"
    )))
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
