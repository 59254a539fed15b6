//! [`Queue`] on Pub/Sub.

use super::{Target, errors, retry, subscription};
use crate::{CloudError, Deliveries, ErrorKind, Message, Queue, SubscriptionSpec};
use async_trait::async_trait;
use google_cloud_gax::{error::rpc::Code, options::RequestOptionsBuilder as _, retry_policy::RetryPolicyExt as _};
use google_cloud_pubsub::{
    client::{BasePublisher, Publisher, SchemaService, Subscriber, SubscriptionAdmin, TopicAdmin},
    model::{self, DeadLetterPolicy, RetryPolicy},
    retry_policy::RetryableErrors,
};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::sync::Semaphore;

/// How long a message waits for its batch to fill. A thousand clips published together fill whole batches (100
/// messages, 10 calls) earlier than this, and are confirmed about eight times as fast as one by one. A single progress
/// event waits the whole time, so it is the shortest that the timer supports. Measured against `clipfleet-emulator`: 5
/// ms from publish to receive, of which 3 are the sync to its disk; with the client's default of 10 ms, it is 15 ms.
const BATCH_DELAY: Duration = Duration::from_millis(1);

/// Unconfirmed messages at once; the client itself has no limit. This is one batch request of the largest size, a few
/// megabytes of jobs, and more than a connection needs to stay busy.
const MAX_MESSAGES_IN_FLIGHT: usize = 1000;

/// The permission to receive from a subscription.
const CONSUME: &str = "pubsub.subscriptions.consume";

/// Pub/Sub of one project.
pub(super) struct Pubsub {
    project: String,
    base: BasePublisher,
    /// One per topic, created at first use: a publisher is a task that collects a batch.
    publishers: Mutex<HashMap<String, Publisher>>,
    in_flight: Semaphore,
    subscriber: Subscriber,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    /// The only client that can ask for permissions, those on subscriptions among them.
    permissions: SchemaService,
}

impl Pubsub {
    pub(super) async fn connect(project: &str, target: Target) -> Result<Self, CloudError> {
        let Target { emulator, credentials } = target;
        let mut base = BasePublisher::builder().with_credentials(credentials.clone());
        let mut subscriber = Subscriber::builder().with_credentials(credentials.clone());
        let mut topics = TopicAdmin::builder().with_credentials(credentials.clone());
        let mut subscriptions = SubscriptionAdmin::builder().with_credentials(credentials.clone());
        let mut permissions = SchemaService::builder().with_credentials(credentials);
        if let Some(url) = emulator {
            base = base.with_endpoint(&url);
            subscriber = subscriber.with_endpoint(&url);
            topics = topics.with_endpoint(&url);
            subscriptions = subscriptions.with_endpoint(&url);
            permissions = permissions.with_endpoint(&url);
        }
        let policy = || RetryableErrors.with_time_limit(retry::RETRY_LIMIT);
        let failed = |error| errors::build("pub/sub", error);
        Ok(Self {
            project: project.to_owned(),
            base: base
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .build()
                .await
                .map_err(failed)?,
            publishers: Mutex::default(),
            in_flight: Semaphore::new(MAX_MESSAGES_IN_FLIGHT),
            subscriber: subscriber.build().await.map_err(failed)?,
            topics: topics
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .build()
                .await
                .map_err(failed)?,
            subscriptions: subscriptions
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .build()
                .await
                .map_err(failed)?,
            permissions: permissions
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .build()
                .await
                .map_err(failed)?,
        })
    }

    fn topic(&self, short: &str) -> String {
        format!("projects/{}/topics/{short}", self.project)
    }

    fn subscription(&self, short: &str) -> String {
        format!("projects/{}/subscriptions/{short}", self.project)
    }

    fn publisher(&self, topic: &str) -> Publisher {
        let mut publishers = self.publishers.lock();
        publishers
            .entry(topic.to_owned())
            .or_insert_with(|| self.base.publisher(self.topic(topic)).set_delay_threshold(BATCH_DELAY).build())
            .clone()
    }
}

#[async_trait]
impl Queue for Pubsub {
    async fn publish(&self, topic: &str, message: Message) -> Result<String, CloudError> {
        message.check(topic)?;
        // The semaphore is never closed, so a permit always comes.
        let _permit = self.in_flight.acquire().await;
        let message = model::Message::new().set_data(message.data).set_attributes(message.attributes);
        self.publisher(topic)
            .publish(message)
            .await
            .map_err(|error| errors::publish(&format!("publish to {topic}"), error))
    }

    fn subscribe(&self, subscription: &str, outstanding: usize) -> Deliveries {
        subscription::open(self.subscriber.clone(), self.subscription(subscription), outstanding)
    }

    async fn check_access(&self, subscription: &str) -> Result<(), CloudError> {
        let doing = format!("receive from {}", self.subscription(subscription));
        let request = self.permissions.test_iam_permissions();
        let request = request.set_resource(self.subscription(subscription)).set_permissions([CONSUME]);
        match request.with_idempotency(true).with_attempt_timeout(retry::ATTEMPT_TIMEOUT).send().await {
            Ok(granted) if granted.permissions.iter().any(|permission| permission == CONSUME) => Ok(()),
            // The call answers alike for a resource that does not exist.
            Ok(_) => {
                let cause = format!("it does not exist, or this account lacks {CONSUME} on it");
                Err(CloudError::new(ErrorKind::Denied, format!("{doing}: {cause}")))
            }
            // As Google's emulator answers.
            Err(error) if error.status().is_some_and(|status| status.code == Code::Unimplemented) => Ok(()),
            Err(error) => Err(errors::call(&doing, error)),
        }
    }

    async fn ensure_topic(&self, topic: &str) -> Result<(), CloudError> {
        let request = self.topics.create_topic().set_name(self.topic(topic));
        // Idempotent: a repeated attempt fails with ALREADY_EXISTS, which counts as success.
        let created = request.with_idempotency(true).with_attempt_timeout(retry::ATTEMPT_TIMEOUT).send().await;
        ignore_existing(created, &format!("create topic {topic}"))
    }

    async fn ensure_subscription(&self, spec: &SubscriptionSpec) -> Result<(), CloudError> {
        let mut request = self
            .subscriptions
            .create_subscription()
            .set_name(self.subscription(&spec.name))
            .set_topic(self.topic(&spec.topic))
            .set_ack_deadline_seconds(i32::try_from(spec.ack_deadline.as_secs()).unwrap_or(i32::MAX));
        if let Some((topic, attempts)) = &spec.dead_letter {
            let policy = DeadLetterPolicy::new().set_dead_letter_topic(self.topic(topic));
            let attempts = i32::try_from(*attempts).unwrap_or(i32::MAX);
            request = request.set_dead_letter_policy(policy.set_max_delivery_attempts(attempts));
        }
        if let Some((shortest, longest)) = spec.backoff {
            let policy = RetryPolicy::new().set_minimum_backoff(wire(shortest)).set_maximum_backoff(wire(longest));
            request = request.set_retry_policy(policy);
        }
        let created = request.with_idempotency(true).with_attempt_timeout(retry::ATTEMPT_TIMEOUT).send().await;
        ignore_existing(created, &format!("create subscription {}", spec.name))
    }
}

fn wire(duration: Duration) -> google_cloud_wkt::Duration {
    google_cloud_wkt::Duration::try_from(duration).unwrap_or_default()
}

/// Treats "already exists" as success.
pub(super) fn ignore_existing<T>(created: google_cloud_gax::Result<T>, doing: &str) -> Result<(), CloudError> {
    match created.map_err(|error| errors::call(doing, error)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
