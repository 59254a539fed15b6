//! Pub/Sub's gRPC methods.

use super::{PubSub, ps, streaming};
use crate::grpc::{streaming as serve_streaming, unary, unimplemented};
use axum::{extract::Request, response::Response};
use std::sync::Arc;

/// `google.pubsub.v1.Publisher`.
pub(crate) async fn publisher(service: Arc<PubSub>, method: &str, call: Request) -> Response {
    match method {
        "CreateTopic" => unary(call, |topic| async move { service.create_topic(topic).await }).await,
        "UpdateTopic" => unary(call, |update| async move { service.update_topic(update).await }).await,
        "GetTopic" => unary(call, |get: ps::GetTopicRequest| async move { service.get_topic(&get.topic) }).await,
        "ListTopics" => {
            unary(call, |list: ps::ListTopicsRequest| async move {
                let (topics, next_page_token) = service.list_topics(&list.project, list.page_size, &list.page_token)?;
                Ok(ps::ListTopicsResponse { topics, next_page_token })
            })
            .await
        }
        "ListTopicSubscriptions" => {
            unary(call, |list: ps::ListTopicSubscriptionsRequest| async move {
                let (subscriptions, next_page_token) =
                    service.list_topic_subscriptions(&list.topic, list.page_size, &list.page_token)?;
                Ok(ps::ListTopicSubscriptionsResponse { subscriptions, next_page_token })
            })
            .await
        }
        "DeleteTopic" => {
            unary(call, |delete: ps::DeleteTopicRequest| async move { service.delete_topic(delete.topic).await }).await
        }
        "Publish" => {
            unary(call, |publish: ps::PublishRequest| async move {
                let message_ids = service.publish(&publish.topic, publish.messages).await?;
                Ok(ps::PublishResponse { message_ids })
            })
            .await
        }
        _ => unimplemented(&call),
    }
}

/// `google.pubsub.v1.Subscriber`.
pub(crate) async fn subscriber(service: Arc<PubSub>, method: &str, call: Request) -> Response {
    match method {
        "CreateSubscription" => unary(call, |new| async move { service.create_subscription(new).await }).await,
        "GetSubscription" => {
            unary(call, |get: ps::GetSubscriptionRequest| async move { service.get_subscription(&get.subscription) })
                .await
        }
        "ListSubscriptions" => {
            unary(call, |list: ps::ListSubscriptionsRequest| async move {
                let (subscriptions, next_page_token) =
                    service.list_subscriptions(&list.project, list.page_size, &list.page_token)?;
                Ok(ps::ListSubscriptionsResponse { subscriptions, next_page_token })
            })
            .await
        }
        "UpdateSubscription" => unary(call, |update| async move { service.update_subscription(update).await }).await,
        "DeleteSubscription" => {
            unary(call, |delete: ps::DeleteSubscriptionRequest| async move {
                service.delete_subscription(delete.subscription).await
            })
            .await
        }
        "StreamingPull" => serve_streaming(call, |requests| streaming::streaming_pull(service, requests)).await,
        "Pull" => {
            unary(call, |pull: ps::PullRequest| async move {
                let received_messages = service.pull(pull).await?;
                Ok(ps::PullResponse { received_messages })
            })
            .await
        }
        "Acknowledge" => {
            unary(call, |ack: ps::AcknowledgeRequest| async move {
                service.acknowledge(&ack.subscription, &ack.ack_ids).await
            })
            .await
        }
        "ModifyPushConfig" => {
            unary(call, |modify: ps::ModifyPushConfigRequest| async move { service.modify_push_config(&modify) }).await
        }
        "ModifyAckDeadline" => {
            unary(call, |modify: ps::ModifyAckDeadlineRequest| async move {
                service.modify_deadline(&modify.subscription, &modify.ack_ids, modify.ack_deadline_seconds)
            })
            .await
        }
        _ => unimplemented(&call),
    }
}
