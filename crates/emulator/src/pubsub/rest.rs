//! Pub/Sub's JSON API over HTTP/1.1, for the official Rust admin clients and for `curl`.

use super::{PubSub, json, ps};
use crate::json as fields;
use axum::http::Method;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};
use tonic::Status;

/// Answers `path` (below `/v1/`), for example `projects/p/topics/t:publish`.
pub(crate) async fn handle(
    service: &Arc<PubSub>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Value, Status> {
    let known: &[&str] = match *method {
        Method::GET => &["pageSize", "pageToken"],
        Method::PATCH => &["updateMask"],
        _ => &[],
    };
    let parameters = json::parameters(query, known)?;
    let (path, verb) = match path.rsplit_once(':') {
        Some((path, verb)) => (path, verb),
        None => (path, ""),
    };
    let parts: Vec<_> = path.split('/').collect();
    match (method.as_str(), &parts[..], verb) {
        ("PUT", ["projects", _, "topics", _], "") => {
            let topic = json::topic_from(&fields::parse(body)?, path.into())?;
            Ok(json::topic(&service.create_topic(topic).await?))
        }
        ("GET", ["projects", _, "topics", _], "") => Ok(json::topic(&service.get_topic(path)?)),
        ("PATCH", ["projects", _, "topics", _], "") => {
            let body = update_body(&fields::parse(body)?, "topic")?;
            let request = ps::UpdateTopicRequest {
                topic: Some(json::topic_from(fields::member(&body, "topic").unwrap_or(&body), path.into())?),
                update_mask: Some(update_mask(&parameters, &body)?),
            };
            Ok(json::topic(&service.update_topic(request).await?))
        }
        ("DELETE", ["projects", _, "topics", _], "") => {
            service.delete_topic(path.into()).await?;
            Ok(json!({}))
        }
        ("GET", ["projects", project, "topics"], "") => {
            let (size, token) = page(&parameters)?;
            let (topics, next) = service.list_topics(&format!("projects/{project}"), size, token)?;
            Ok(list("topics", topics.iter().map(json::topic).collect(), &next))
        }
        ("GET", ["projects", project, "topics", topic, "subscriptions"], "") => {
            let (size, token) = page(&parameters)?;
            let topic = format!("projects/{project}/topics/{topic}");
            let (names, next) = service.list_topic_subscriptions(&topic, size, token)?;
            Ok(list("subscriptions", names.into_iter().map(Value::from).collect(), &next))
        }
        ("POST", ["projects", _, "topics", _], "publish") => {
            let ids = service.publish(path, json::messages_from(&fields::parse(body)?)?).await?;
            Ok(json!({"messageIds": ids}))
        }
        ("PUT", ["projects", _, "subscriptions", _], "") => {
            let subscription = json::subscription_from(&fields::parse(body)?, path.into())?;
            Ok(json::subscription(&service.create_subscription(subscription).await?))
        }
        ("GET", ["projects", _, "subscriptions", _], "") => Ok(json::subscription(&service.get_subscription(path)?)),
        ("PATCH", ["projects", _, "subscriptions", _], "") => {
            let body = update_body(&fields::parse(body)?, "subscription")?;
            update_subscription(service, path, &parameters, &body).await
        }
        ("DELETE", ["projects", _, "subscriptions", _], "") => {
            service.delete_subscription(path.into()).await?;
            Ok(json!({}))
        }
        ("GET", ["projects", project, "subscriptions"], "") => {
            let (size, token) = page(&parameters)?;
            let (found, next) = service.list_subscriptions(&format!("projects/{project}"), size, token)?;
            Ok(list("subscriptions", found.iter().map(json::subscription).collect(), &next))
        }
        // There is no IAM: everyone has every permission on a subscription that exists, and none on another.
        ("POST", ["projects", _, "subscriptions", _], "testIamPermissions") => {
            let body = json::members(&fields::parse(body)?, &["permissions"])?;
            let exists = service.get_subscription(path).is_ok();
            let granted = if exists { fields::texts(&body, "permissions")? } else { Vec::new() };
            Ok(json!({"permissions": granted}))
        }
        ("POST", ["projects", _, "subscriptions", _], verb) => {
            deliver(service, path, verb, &fields::parse(body)?).await
        }
        _ => Err(Status::unimplemented(format!("{method} /v1/{path} is not part of this local server"))),
    }
}

async fn deliver(service: &PubSub, name: &str, verb: &str, body: &Value) -> Result<Value, Status> {
    match verb {
        "pull" => {
            let body = &json::members(body, &["maxMessages", "returnImmediately"])?;
            let mut request = ps::PullRequest {
                subscription: name.into(),
                max_messages: fields::int32(body, "maxMessages")?,
                ..ps::PullRequest::default()
            };
            set_immediate(&mut request, fields::flag(body, "returnImmediately")?);
            let received = service.pull(request).await?;
            let received = received.iter().map(json::received_message).collect();
            Ok(fields::Object::new().list("receivedMessages", received).build())
        }
        "acknowledge" => {
            let body = &json::members(body, &["ackIds"])?;
            service.acknowledge(name, &fields::texts(body, "ackIds")?).await?;
            Ok(json!({}))
        }
        "modifyAckDeadline" => {
            let body = &json::members(body, &["ackIds", "ackDeadlineSeconds"])?;
            service.modify_deadline(
                name,
                &fields::texts(body, "ackIds")?,
                fields::int32(body, "ackDeadlineSeconds")?,
            )?;
            Ok(json!({}))
        }
        "modifyPushConfig" => {
            let body = &json::members(body, &["pushConfig"])?;
            let push_config = fields::member(body, "pushConfig").map(json::push_config_from).transpose()?;
            service.modify_push_config(&ps::ModifyPushConfigRequest { subscription: name.into(), push_config })?;
            Ok(json!({}))
        }
        _ => Err(Status::unimplemented(format!("'{verb}' on a subscription is not part of this local server"))),
    }
}

async fn update_subscription(
    service: &Arc<PubSub>,
    name: &str,
    parameters: &HashMap<String, String>,
    body: &Value,
) -> Result<Value, Status> {
    let subscription = fields::member(body, "subscription").unwrap_or(body);
    let request = ps::UpdateSubscriptionRequest {
        subscription: Some(json::subscription_from(subscription, name.into())?),
        update_mask: Some(update_mask(parameters, body)?),
    };
    Ok(json::subscription(&service.update_subscription(request).await?))
}

/// The body of an update: the resource with its mask, or the resource alone with the mask in the query.
fn update_body(body: &Value, resource: &str) -> Result<Value, Status> {
    let wrapped = body.get(resource).is_some_and(Value::is_object) || body.get("updateMask").is_some();
    if wrapped { json::members(body, &[resource, "updateMask"]) } else { Ok(body.clone()) }
}

/// The mask of an update. The body is `{"subscription": {..}, "updateMask": ".."}`, or the same with a topic; some
/// clients put the mask into the query.
fn update_mask(parameters: &HashMap<String, String>, body: &Value) -> Result<prost_types::FieldMask, Status> {
    let in_body = fields::text(body, "updateMask")?;
    let mask = if in_body.is_empty() { parameters.get("updateMask").cloned().unwrap_or_default() } else { in_body };
    Ok(prost_types::FieldMask { paths: json::mask_from(&mask) })
}

fn page(parameters: &HashMap<String, String>) -> Result<(i32, &str), Status> {
    let size = match parameters.get("pageSize") {
        Some(size) => size.parse().map_err(|_| fields::invalid("pageSize", "an integer"))?,
        None => 0,
    };
    Ok((size, parameters.get("pageToken").map_or("", String::as_str)))
}

fn list(name: &str, found: Vec<Value>, next: &str) -> Value {
    fields::Object::new().list(name, found).text("nextPageToken", next).build()
}

#[expect(deprecated, reason = "clients still send the field")]
fn set_immediate(request: &mut ps::PullRequest, immediate: bool) {
    request.return_immediately = immediate;
}
