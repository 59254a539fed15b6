//! The messages of Firestore's streams in protobuf's JSON form.

use crate::{
    firestore::{fs, json, requests::WriteRequest},
    json::{self as fields, Object, invalid},
};
use fs::{listen_request, listen_response::ResponseType, target, target_change::TargetChangeType};
use serde_json::{Value, json};
use tonic::Status;

/// Parses a `ListenRequest`.
pub(super) fn listen_from(text: &str) -> Result<fs::ListenRequest, Status> {
    let json = fields::parse(text.as_bytes())?;
    let target_change = if let Some(target) = fields::member(&json, "addTarget") {
        Some(listen_request::TargetChange::AddTarget(target_from(target)?))
    } else if fields::member(&json, "removeTarget").is_some() {
        Some(listen_request::TargetChange::RemoveTarget(fields::int32(&json, "removeTarget")?))
    } else {
        None
    };
    Ok(fs::ListenRequest {
        database: fields::text(&json, "database")?,
        labels: fields::labels(&json, "labels")?,
        target_change,
    })
}

fn target_from(json: &Value) -> Result<fs::Target, Status> {
    let target_type = if let Some(query) = fields::member(json, "query") {
        let structured = fields::member(query, "structuredQuery").map(json::query_from).transpose()?;
        Some(target::TargetType::Query(target::QueryTarget {
            parent: fields::text(query, "parent")?,
            query_type: structured.map(target::query_target::QueryType::StructuredQuery),
        }))
    } else if let Some(documents) = fields::member(json, "documents") {
        let documents = fields::texts(documents, "documents")?;
        Some(target::TargetType::Documents(target::DocumentsTarget { documents }))
    } else if fields::member(json, "pipelineQuery").is_some() {
        return Err(Status::unimplemented("pipelines are not part of this local server"));
    } else {
        None
    };
    let token = fields::bytes(json, "resumeToken")?;
    let resume_type = match fields::time(json, "readTime")? {
        Some(at) => Some(target::ResumeType::ReadTime(at)),
        None => (!token.is_empty()).then_some(target::ResumeType::ResumeToken(token)),
    };
    // A number, or `{"value": 5}`.
    let expected = fields::member(json, "expectedCount").map(|count| count.get("value").unwrap_or(count));
    let expected = expected.map(|count| fields::as_integer(count).and_then(|count| i32::try_from(count).ok()));
    Ok(fs::Target {
        target_id: fields::int32(json, "targetId")?,
        once: fields::flag(json, "once")?,
        expected_count: expected
            .map(|count| count.ok_or_else(|| invalid("expectedCount", "an integer")))
            .transpose()?,
        target_type,
        resume_type,
    })
}

/// Parses a `WriteRequest`.
pub(super) fn write_from(text: &str) -> Result<WriteRequest, Status> {
    let json = fields::parse(text.as_bytes())?;
    Ok(WriteRequest {
        database: fields::text(&json, "database")?,
        stream_id: fields::text(&json, "streamId")?,
        writes: fields::list(&json, "writes")?.iter().map(json::write_from).collect::<Result<_, _>>()?,
        stream_token: fields::bytes(&json, "streamToken")?,
        labels: fields::labels(&json, "labels")?,
    })
}

/// Writes a `ListenResponse`.
pub(super) fn listen_response(response: &fs::ListenResponse) -> Value {
    let Some(response) = &response.response_type else { return json!({}) };
    match response {
        ResponseType::TargetChange(change) => json!({"targetChange": target_change(change)}),
        ResponseType::DocumentChange(change) => {
            let object = Object::new()
                .optional("document", change.document.as_ref().map(json::document))
                .list("targetIds", ids(&change.target_ids))
                .list("removedTargetIds", ids(&change.removed_target_ids));
            json!({"documentChange": object.build()})
        }
        ResponseType::DocumentDelete(delete) => {
            json!({"documentDelete": removal(&delete.document, &delete.removed_target_ids, delete.read_time)})
        }
        ResponseType::DocumentRemove(remove) => {
            json!({"documentRemove": removal(&remove.document, &remove.removed_target_ids, remove.read_time)})
        }
        ResponseType::Filter(filter) => json!({"filter": {"targetId": filter.target_id, "count": filter.count}}),
    }
}

fn target_change(change: &fs::TargetChange) -> Value {
    let kind = TargetChangeType::try_from(change.target_change_type).unwrap_or_default();
    let cause = |cause: &crate::firestore::rpc::Status| json!({"code": cause.code, "message": cause.message});
    Object::new()
        .set("targetChangeType", kind.as_str_name())
        .list("targetIds", ids(&change.target_ids))
        .optional("cause", change.cause.as_ref().map(cause))
        .text("resumeToken", &fields::encode_base64(&change.resume_token))
        .optional("readTime", change.read_time.map(|at| at.to_string()))
        .build()
}

fn removal(document: &str, targets: &[i32], read_time: Option<prost_types::Timestamp>) -> Value {
    Object::new()
        .text("document", document)
        .list("removedTargetIds", ids(targets))
        .optional("readTime", read_time.map(|at| at.to_string()))
        .build()
}

fn ids(ids: &[i32]) -> Vec<Value> {
    ids.iter().copied().map(Value::from).collect()
}

/// Writes a `WriteResponse`.
pub(super) fn write_response(response: &fs::WriteResponse) -> Value {
    Object::new()
        .text("streamId", &response.stream_id)
        .text("streamToken", &fields::encode_base64(&response.stream_token))
        .list("writeResults", response.write_results.iter().map(json::write_result).collect())
        .optional("commitTime", response.commit_time.map(|at| at.to_string()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_the_sdk_are_read() {
        let text = r#"{"database":"projects/p/databases/(default)","addTarget":{
            "query":{"structuredQuery":{"from":[{"collectionId":"c"}]},
                "parent":"projects/p/databases/(default)/documents"},
            "targetId":4,"resumeToken":"AAAAAAAAAAc=","expectedCount":2}}"#;
        let request = listen_from(text).unwrap();
        let Some(listen_request::TargetChange::AddTarget(target)) = request.target_change else { panic!() };
        assert_eq!((target.target_id, target.expected_count), (4, Some(2)));
        assert_eq!(target.resume_type, Some(target::ResumeType::ResumeToken(7_u64.to_be_bytes().into())));
        let request = listen_from(r#"{"database":"d","removeTarget":6}"#).unwrap();
        assert_eq!(request.target_change, Some(listen_request::TargetChange::RemoveTarget(6)));
        let request = write_from(
            r#"{"streamToken":"AQ==","writes":[{"delete":"projects/p/databases/(default)/documents/c/x"}]}"#,
        );
        assert_eq!(request.unwrap().writes.len(), 1);
    }

    #[test]
    fn invalid_requests_are_rejected_with_the_field_name() {
        for (text, named) in [
            ("{", "invalid JSON"),
            (r#"{"addTarget":{"targetId":"x"}}"#, "targetId"),
            (r#"{"addTarget":{"expectedCount":{"value":"many"}}}"#, "expectedCount"),
            (r#"{"addTarget":{"resumeToken":"?"}}"#, "resumeToken"),
            (r#"{"addTarget":{"pipelineQuery":{}}}"#, "pipelines"),
        ] {
            let rejected = listen_from(text).unwrap_err();
            assert!(rejected.message().contains(named), "{text}: {}", rejected.message());
        }
        assert!(write_from(r#"{"writes":[{}]}"#).is_err());
    }

    #[test]
    fn responses_are_written_as_the_sdk_reads_them() {
        let read_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let change = fs::TargetChange { read_time, resume_token: vec![1], ..fs::TargetChange::default() };
        let response = fs::ListenResponse { response_type: Some(ResponseType::TargetChange(change)) };
        let expected = json!({"targetChange": {
            "targetChangeType": "NO_CHANGE", "resumeToken": "AQ==", "readTime": "1970-01-01T00:00:01Z",
        }});
        assert_eq!(listen_response(&response), expected);
        let delete = fs::DocumentDelete { document: "d".into(), removed_target_ids: vec![2], read_time };
        let response = fs::ListenResponse { response_type: Some(ResponseType::DocumentDelete(delete)) };
        let expected =
            json!({"documentDelete": {"document": "d", "removedTargetIds": [2], "readTime": "1970-01-01T00:00:01Z"}});
        assert_eq!(listen_response(&response), expected);
    }
}
