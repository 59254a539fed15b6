//! Creates the topics, the subscriptions and the bucket of a fleet on this machine. In Google Cloud Terraform creates
//! them with the same settings.

use crate::exit::Failed;
use clipfleet_cloud::{Cloud, CloudError, SubscriptionSpec};
use clipfleet_contract::names;
use clipfleet_domain::limits::MAX_DELIVERY_ATTEMPTS;
use std::time::Duration;

const TOPICS: [&str; 4] =
    [names::EXPORT_REQUESTS, names::CLIP_JOBS, names::CLIP_JOBS_DEAD_LETTER, names::PROGRESS_EVENTS];

fn subscriptions(scales: bool) -> Vec<SubscriptionSpec> {
    let spec =
        |name: &str, topic: &str, dead_letter: Option<&str>, ack_deadline: u64, backoff: (u64, u64)| SubscriptionSpec {
            name: name.to_owned(),
            topic: topic.to_owned(),
            ack_deadline: Duration::from_secs(ack_deadline),
            dead_letter: dead_letter.map(|topic| (topic.to_owned(), MAX_DELIVERY_ATTEMPTS)),
            backoff: Some((Duration::from_secs(backoff.0), Duration::from_secs(backoff.1))),
        };
    let mut all = vec![
        // A request is nacked if a service is down, and redelivered after a short delay.
        spec(names::EXPORT_REQUESTS_DISPATCHER, names::EXPORT_REQUESTS, None, 60, (1, 60)),
        // The deadline and the backoff are short, so that a dead worker's clip starts on another one within a minute,
        // however often workers die: the backoff also applies after an expired lease. Live workers extend their leases.
        spec(names::CLIP_JOBS_WORKER, names::CLIP_JOBS, Some(names::CLIP_JOBS_DEAD_LETTER), 20, (1, 30)),
        spec(names::CLIP_JOBS_DEAD_LETTER_STATUS, names::CLIP_JOBS_DEAD_LETTER, None, 60, (1, 60)),
        spec(names::PROGRESS_EVENTS_STATUS, names::PROGRESS_EVENTS, None, 60, (1, 10)),
    ];
    // Without a scaler the messages would be kept for a week.
    if scales {
        all.push(spec(names::PROGRESS_EVENTS_SCALER, names::PROGRESS_EVENTS, None, 60, (1, 10)));
    }
    all
}

/// Creates what does not exist.
pub(crate) async fn ensure(cloud: &Cloud, scales: bool) -> Result<(), Failed> {
    create(cloud, scales).await.map_err(|error| Failed::because("prepare topics, subscriptions and bucket", error))
}

async fn create(cloud: &Cloud, scales: bool) -> Result<(), CloudError> {
    for topic in TOPICS {
        cloud.queue.ensure_topic(topic).await?;
    }
    for spec in subscriptions(scales) {
        cloud.queue.ensure_subscription(&spec).await?;
    }
    cloud.objects.ensure_bucket(names::LOCAL_BUCKET).await
}
