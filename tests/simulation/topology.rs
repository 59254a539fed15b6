//! Topics and subscriptions as the command-line program creates them.

use clipfleet_cloud::{Cloud, SubscriptionSpec};
use clipfleet_contract::names;
use std::time::Duration;

const TOPICS: [&str; 4] =
    [names::EXPORT_REQUESTS, names::CLIP_JOBS, names::CLIP_JOBS_DEAD_LETTER, names::PROGRESS_EVENTS];

/// Subscription, topic, lease in seconds, minimum and maximum backoff in seconds.
const SUBSCRIPTIONS: [(&str, &str, u64, (u64, u64)); 5] = [
    (names::EXPORT_REQUESTS_DISPATCHER, names::EXPORT_REQUESTS, 60, (1, 60)),
    (names::CLIP_JOBS_WORKER, names::CLIP_JOBS, 20, (1, 60)),
    (names::CLIP_JOBS_DEAD_LETTER_STATUS, names::CLIP_JOBS_DEAD_LETTER, 60, (1, 60)),
    (names::PROGRESS_EVENTS_STATUS, names::PROGRESS_EVENTS, 60, (1, 10)),
    (names::PROGRESS_EVENTS_SCALER, names::PROGRESS_EVENTS, 60, (1, 10)),
];

/// A subscription's name as a static string.
pub(crate) fn static_name(subscription: &str) -> &'static str {
    subscriptions().find(|name| *name == subscription).unwrap_or_default()
}

/// The names of all subscriptions.
pub(crate) fn subscriptions() -> impl Iterator<Item = &'static str> {
    SUBSCRIPTIONS.iter().map(|(name, ..)| *name)
}

/// The ack deadline of a subscription.
pub(crate) fn deadline(subscription: &str) -> Duration {
    let known = SUBSCRIPTIONS.iter().find(|(name, ..)| *name == subscription);
    Duration::from_secs(known.map_or(60, |(_, _, seconds, _)| *seconds))
}

/// Creates them in a cloud without faults. A job is dead-lettered after `deliveries` deliveries. The scalers'
/// subscription exists only if scalers run, since nobody else reads it.
pub(crate) async fn create(cloud: &Cloud, deliveries: u32, scaled: bool) {
    for topic in TOPICS {
        cloud.queue.ensure_topic(topic).await.unwrap();
    }
    let is_read = |name: &str| scaled || name != names::PROGRESS_EVENTS_SCALER;
    for (name, topic, seconds, (min, max)) in SUBSCRIPTIONS.into_iter().filter(|(name, ..)| is_read(name)) {
        let dead_letter =
            (name == names::CLIP_JOBS_WORKER).then(|| (names::CLIP_JOBS_DEAD_LETTER.to_owned(), deliveries));
        let spec = SubscriptionSpec {
            name: name.to_owned(),
            topic: topic.to_owned(),
            ack_deadline: Duration::from_secs(seconds),
            dead_letter,
            backoff: Some((Duration::from_secs(min), Duration::from_secs(max))),
        };
        cloud.queue.ensure_subscription(&spec).await.unwrap();
    }
}
