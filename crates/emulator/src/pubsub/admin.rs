//! Creates, lists, changes and deletes topics and subscriptions.
//!
//! Each change runs in its own task, so that a caller that disconnects cannot leave it half done.

use super::{PubSub, names, not_found, ps, settings, subscription::Subscription, tables};
use crate::limits;
use std::{ops::Bound, sync::Arc};
use tonic::Status;

/// The topic name of subscriptions whose topic was deleted.
const DELETED_TOPIC: &str = "_deleted-topic_";

impl PubSub {
    /// Creates a topic.
    pub(super) async fn create_topic(self: &Arc<Self>, mut topic: ps::Topic) -> Result<ps::Topic, Status> {
        settings::check_topic(&mut topic)?;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            if this.state.lock().topics.contains_key(&topic.name) {
                return Err(already_exists(&topic.name));
            }
            let stored = topic.clone();
            this.store.write(move |transaction| tables::put_topic(transaction, &stored)).await?;
            this.state.lock().topics.insert(topic.name.clone(), topic.clone());
            tracing::info!(topic = topic.name, "topic created");
            Ok(topic)
        })
        .await
    }

    /// Changes the named fields of a topic.
    pub(super) async fn update_topic(self: &Arc<Self>, request: ps::UpdateTopicRequest) -> Result<ps::Topic, Status> {
        let new = request.topic.ok_or_else(|| Status::invalid_argument("the topic is missing"))?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            let updated = settings::update_topic(&this.get_topic(&new.name)?, new, &mask)?;
            let stored = updated.clone();
            this.store.write(move |transaction| tables::put_topic(transaction, &stored)).await?;
            this.state.lock().topics.insert(updated.name.clone(), updated.clone());
            Ok(updated)
        })
        .await
    }

    /// Returns a topic.
    pub(super) fn get_topic(&self, name: &str) -> Result<ps::Topic, Status> {
        names::check(name, "topics")?;
        self.state.lock().topics.get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// Lists a project's topics, sorted by name.
    pub(super) fn list_topics(
        &self,
        project: &str,
        size: i32,
        token: &str,
    ) -> Result<(Vec<ps::Topic>, String), Status> {
        names::check_project(project)?;
        check_token(token, "topics")?;
        let prefix = format!("{project}/topics/");
        let state = self.state.lock();
        let after = state.topics.range::<str, _>((after(token, &prefix), Bound::Unbounded));
        let mut found = after.take_while(|(name, _)| name.starts_with(&prefix)).map(|(_, topic)| topic.clone());
        Ok(page(&mut found, size, |topic| topic.name.clone()))
    }

    /// Deletes a topic; its subscriptions remain, with their backlogs.
    pub(super) async fn delete_topic(self: &Arc<Self>, name: String) -> Result<(), Status> {
        names::check(&name, "topics")?;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            if this.state.lock().topics.remove(&name).is_none() {
                return Err(not_found(&name));
            }
            let orphans: Vec<_> = this
                .state
                .lock()
                .subscriptions
                .values()
                .filter(|subscription| subscription.is_attached_to(&name))
                .cloned()
                .collect();
            let mut rows = Vec::new();
            for orphan in orphans {
                let settings = ps::Subscription { topic: DELETED_TOPIC.into(), ..orphan.settings() };
                orphan.reconfigure(settings.clone());
                rows.push((orphan.number, settings));
            }
            tracing::info!(topic = name, "topic deleted");
            let delete = this.store.write(move |transaction| {
                tables::remove_topic(transaction, &name)?;
                rows.iter().try_for_each(|(number, row)| tables::put_subscription(transaction, *number, row))
            });
            Ok(delete.await?)
        })
        .await
    }

    /// Lists the names of a topic's subscriptions.
    pub(super) fn list_topic_subscriptions(
        &self,
        topic: &str,
        size: i32,
        token: &str,
    ) -> Result<(Vec<String>, String), Status> {
        self.get_topic(topic)?;
        check_token(token, "subscriptions")?;
        let state = self.state.lock();
        let after = state.subscriptions.range::<str, _>((after(token, ""), Bound::Unbounded));
        let mut found =
            after.filter(|(_, subscription)| subscription.is_attached_to(topic)).map(|(name, _)| name.clone());
        Ok(page(&mut found, size, String::clone))
    }

    /// Creates a subscription; it receives what is published from now on.
    pub(super) async fn create_subscription(
        self: &Arc<Self>,
        mut new: ps::Subscription,
    ) -> Result<ps::Subscription, Status> {
        settings::check_subscription(&mut new)?;
        names::check(&new.topic, "topics")?;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            if this.state.lock().subscriptions.contains_key(&new.name) {
                return Err(already_exists(&new.name));
            }
            this.get_topic(&new.topic)?;
            this.check_dead_letter_topic(&new)?;
            let number = this.ticker.tick();
            let subscription = Subscription::new(number, new.clone(), this.ticker.tick())?;
            let stored = new.clone();
            this.store.write(move |transaction| tables::put_subscription(transaction, number, &stored)).await?;
            this.register(Arc::new(subscription));
            tracing::info!(subscription = new.name, topic = new.topic, "subscription created");
            Ok(new)
        })
        .await
    }

    /// A dead letter topic must exist when it is set; it may be deleted later.
    fn check_dead_letter_topic(&self, subscription: &ps::Subscription) -> Result<(), Status> {
        match &subscription.dead_letter_policy {
            Some(policy) => self.get_topic(&policy.dead_letter_topic).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Enabling push delivery is rejected; disabling it changes nothing.
    pub(super) fn modify_push_config(&self, request: &ps::ModifyPushConfigRequest) -> Result<(), Status> {
        self.subscription(&request.subscription)?;
        settings::reject_push(request.push_config.as_ref())
    }

    /// Returns a subscription.
    pub(super) fn get_subscription(&self, name: &str) -> Result<ps::Subscription, Status> {
        Ok(self.subscription(name)?.settings())
    }

    /// Lists a project's subscriptions, sorted by name.
    pub(super) fn list_subscriptions(
        &self,
        project: &str,
        size: i32,
        token: &str,
    ) -> Result<(Vec<ps::Subscription>, String), Status> {
        names::check_project(project)?;
        check_token(token, "subscriptions")?;
        let prefix = format!("{project}/subscriptions/");
        let state = self.state.lock();
        let after = state.subscriptions.range::<str, _>((after(token, &prefix), Bound::Unbounded));
        let mut found = after.take_while(|(name, _)| name.starts_with(&prefix)).map(|(_, found)| found.settings());
        Ok(page(&mut found, size, |subscription| subscription.name.clone()))
    }

    /// Changes the named fields of a subscription.
    pub(super) async fn update_subscription(
        self: &Arc<Self>,
        request: ps::UpdateSubscriptionRequest,
    ) -> Result<ps::Subscription, Status> {
        let new = request.subscription.ok_or_else(|| Status::invalid_argument("the subscription is missing"))?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            let subscription = this.subscription(&new.name)?;
            let updated = settings::update_subscription(&subscription.settings(), new, &mask)?;
            if mask.iter().any(|path| path == "dead_letter_policy") {
                this.check_dead_letter_topic(&updated)?;
            }
            let (number, stored) = (subscription.number, updated.clone());
            this.store.write(move |transaction| tables::put_subscription(transaction, number, &stored)).await?;
            subscription.reconfigure(updated.clone());
            Ok(updated)
        })
        .await
    }

    /// Deletes a subscription and its backlog; its streams end with `NOT_FOUND`.
    pub(super) async fn delete_subscription(self: &Arc<Self>, name: String) -> Result<(), Status> {
        names::check(&name, "subscriptions")?;
        let this = Arc::clone(self);
        run_detached(async move {
            let _admin = this.admin.lock().await;
            // The subscription is removed from the state first: a publish that runs while the rows are removed must not
            // find it.
            let removed = this.state.lock().subscriptions.remove(&name);
            let removed = removed.ok_or_else(|| not_found(&name))?;
            removed.deleted.cancel();
            tracing::info!(subscription = name, "subscription deleted");
            let number = removed.number;
            let delete = this.store.write(move |transaction| tables::remove_subscription(transaction, number, &name));
            Ok(delete.await?)
        })
        .await
    }
}

/// Runs a change to its end, even if the caller disconnects.
async fn run_detached<T: Send + 'static>(
    change: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(change).await.map_err(|_| Status::internal("the change was interrupted"))?
}

fn already_exists(name: &str) -> Status {
    Status::already_exists(format!("Resource already exists in the project (resource={name})"))
}

fn check_token(token: &str, kind: &str) -> Result<(), Status> {
    let is_valid = token.is_empty() || names::check(token, kind).is_ok();
    if is_valid { Ok(()) } else { Err(Status::invalid_argument(format!("invalid page_token '{token}'"))) }
}

/// A page token is the last name of the previous page.
fn after<'a>(token: &'a str, prefix: &'a str) -> Bound<&'a str> {
    if token.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(token) }
}

fn page<T>(found: &mut impl Iterator<Item = T>, size: i32, name: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let size =
        usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(limits::MAX_PAGE_SIZE).min(limits::MAX_PAGE_SIZE);
    let page: Vec<_> = found.take(size).collect();
    let more = found.next().is_some();
    let token = page.last().filter(|_| more).map(name).unwrap_or_default();
    (page, token)
}
