//! Firestore's messages in protobuf's JSON form.

use super::{
    fs,
    requests::{Operation, Write},
};
use crate::json::{self, Object, invalid};
use fs::{structured_query as sq, value::ValueType};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tonic::Status;

/// Parsing recurses no deeper than serde_json's own limit of 128 levels.
type Fields = HashMap<String, fs::Value>;

/// Writes a value.
pub(super) fn value(value: &fs::Value) -> Value {
    match &value.value_type {
        None | Some(ValueType::NullValue(_)) => json!({"nullValue": null}),
        Some(ValueType::BooleanValue(flag)) => json!({"booleanValue": flag}),
        Some(ValueType::IntegerValue(number)) => json!({"integerValue": number.to_string()}),
        Some(ValueType::DoubleValue(number)) => json!({"doubleValue": double(*number)}),
        Some(ValueType::TimestampValue(at)) => json!({"timestampValue": at.to_string()}),
        Some(ValueType::StringValue(text)) => json!({"stringValue": text}),
        Some(ValueType::BytesValue(bytes)) => json!({"bytesValue": json::encode_base64(bytes)}),
        Some(ValueType::ReferenceValue(name)) => json!({"referenceValue": name}),
        Some(ValueType::GeoPointValue(point)) => {
            json!({"geoPointValue": {"latitude": point.latitude, "longitude": point.longitude}})
        }
        Some(ValueType::ArrayValue(array)) => {
            json!({"arrayValue": Object::new().list("values", array.values.iter().map(self::value).collect()).build()})
        }
        Some(ValueType::MapValue(map)) => json!({"mapValue": {"fields": fields(&map.fields)}}),
        // Expressions are never stored, so they are never written.
        Some(_) => Value::Null,
    }
}

fn double(number: f64) -> Value {
    let text = if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    serde_json::Number::from_f64(number).map_or_else(|| text.into(), Value::Number)
}

fn fields(fields: &Fields) -> Value {
    Value::Object(fields.iter().map(|(name, field)| (name.clone(), value(field))).collect())
}

/// Parses a value.
pub(super) fn value_from(json: &Value) -> Result<fs::Value, Status> {
    let members = json.as_object().ok_or_else(|| invalid("value", "an object"))?;
    let mut members = members.iter();
    let (Some((name, inner)), None) = (members.next(), members.next()) else {
        return Err(invalid("value", "exactly one member such as stringValue"));
    };
    let text = || inner.as_str().ok_or_else(|| invalid(name, "a string"));
    let value = match name.as_str() {
        "nullValue" => ValueType::NullValue(0),
        "booleanValue" => ValueType::BooleanValue(inner.as_bool().ok_or_else(|| invalid(name, "true or false"))?),
        "integerValue" => ValueType::IntegerValue(json::as_integer(inner).ok_or_else(|| invalid(name, "an integer"))?),
        "doubleValue" => ValueType::DoubleValue(double_from(inner).ok_or_else(|| invalid(name, "a number"))?),
        "timestampValue" => ValueType::TimestampValue(text()?.parse().map_err(|_| invalid(name, "a timestamp"))?),
        "stringValue" => ValueType::StringValue(text()?.into()),
        "bytesValue" => ValueType::BytesValue(json::decode_base64(text()?).ok_or_else(|| invalid(name, "base64"))?),
        "referenceValue" => ValueType::ReferenceValue(text()?.into()),
        "geoPointValue" => ValueType::GeoPointValue(super::r#type::LatLng {
            latitude: inner.get("latitude").and_then(Value::as_f64).unwrap_or(0.0),
            longitude: inner.get("longitude").and_then(Value::as_f64).unwrap_or(0.0),
        }),
        "arrayValue" => ValueType::ArrayValue(array_from(inner)?),
        "mapValue" => ValueType::MapValue(fs::MapValue { fields: fields_from(inner)? }),
        _ => return Err(invalid(name, "a known type of value")),
    };
    Ok(fs::Value { value_type: Some(value) })
}

fn double_from(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn array_from(json: &Value) -> Result<fs::ArrayValue, Status> {
    let values = json::list(json, "values")?.iter().map(value_from).collect::<Result<_, _>>()?;
    Ok(fs::ArrayValue { values })
}

fn fields_from(json: &Value) -> Result<Fields, Status> {
    let Some(fields) = json::member(json, "fields") else { return Ok(HashMap::new()) };
    let fields = fields.as_object().ok_or_else(|| invalid("fields", "an object"))?;
    fields.iter().map(|(name, field)| Ok((name.clone(), value_from(field)?))).collect()
}

/// Writes a document.
pub(super) fn document(document: &fs::Document) -> Value {
    Object::new()
        .text("name", &document.name)
        .set("fields", fields(&document.fields))
        .optional("createTime", document.create_time.map(|at| at.to_string()))
        .optional("updateTime", document.update_time.map(|at| at.to_string()))
        .build()
}

/// Parses a document.
pub(super) fn document_from(json: &Value) -> Result<fs::Document, Status> {
    Ok(fs::Document { name: json::text(json, "name")?, fields: fields_from(json)?, ..fs::Document::default() })
}

/// Parses a write.
pub(super) fn write_from(json: &Value) -> Result<Write, Status> {
    let member = |name| json::member(json, name);
    let operation = if let Some(update) = member("update") {
        Operation::Update(document_from(update)?)
    } else if let Some(Value::String(name)) = member("delete") {
        Operation::Delete(name.clone())
    } else if let Some(Value::String(name)) = member("verify") {
        Operation::Verify(name.clone())
    } else if let Some(transform) = member("transform") {
        Operation::Transform(fs::DocumentTransform {
            document: json::text(transform, "document")?,
            field_transforms: transforms_from(transform, "fieldTransforms")?,
        })
    } else {
        return Err(invalid("writes", "an update, a delete, a verify or a transform"));
    };
    Ok(Write {
        operation: Some(operation),
        update_mask: member("updateMask").map(mask_from).transpose()?,
        update_transforms: transforms_from(json, "updateTransforms")?,
        current_document: member("currentDocument").map(precondition_from).transpose()?,
    })
}

/// Parses a mask of field paths.
pub(super) fn mask_from(json: &Value) -> Result<fs::DocumentMask, Status> {
    Ok(fs::DocumentMask { field_paths: json::texts(json, "fieldPaths")? })
}

/// Parses a precondition.
pub(super) fn precondition_from(json: &Value) -> Result<fs::Precondition, Status> {
    use fs::precondition::ConditionType;
    let condition_type = match json::member(json, "exists") {
        Some(_) => Some(ConditionType::Exists(json::flag(json, "exists")?)),
        None => json::time(json, "updateTime")?.map(ConditionType::UpdateTime),
    };
    Ok(fs::Precondition { condition_type })
}

fn transforms_from(json: &Value, name: &str) -> Result<Vec<fs::document_transform::FieldTransform>, Status> {
    json::list(json, name)?.iter().map(transform_from).collect()
}

fn transform_from(json: &Value) -> Result<fs::document_transform::FieldTransform, Status> {
    use fs::document_transform::field_transform::{ServerValue, TransformType};
    let member = |name| json::member(json, name);
    let kind = if member("setToServerValue").is_some() {
        let named = |name: &str| ServerValue::from_str_name(name).map(i32::from);
        TransformType::SetToServerValue(json::enumeration(json, "setToServerValue", named)?)
    } else if let Some(operand) = member("increment") {
        TransformType::Increment(value_from(operand)?)
    } else if let Some(operand) = member("maximum") {
        TransformType::Maximum(value_from(operand)?)
    } else if let Some(operand) = member("minimum") {
        TransformType::Minimum(value_from(operand)?)
    } else if let Some(array) = member("appendMissingElements") {
        TransformType::AppendMissingElements(array_from(array)?)
    } else if let Some(array) = member("removeAllFromArray") {
        TransformType::RemoveAllFromArray(array_from(array)?)
    } else {
        return Err(invalid("fieldTransforms", "a known transform"));
    };
    let field_path = json::text(json, "fieldPath")?;
    Ok(fs::document_transform::FieldTransform { field_path, transform_type: Some(kind) })
}

/// Writes the response to a commit.
pub(super) fn commit_response(response: &fs::CommitResponse) -> Value {
    Object::new()
        .list("writeResults", response.write_results.iter().map(write_result).collect())
        .optional("commitTime", response.commit_time.map(|at| at.to_string()))
        .build()
}

/// Writes the result of one write.
pub(super) fn write_result(result: &fs::WriteResult) -> Value {
    Object::new()
        .optional("updateTime", result.update_time.map(|at| at.to_string()))
        .list("transformResults", result.transform_results.iter().map(value).collect())
        .build()
}

/// Writes the response to a batch of single writes.
pub(super) fn batch_write_response(response: &fs::BatchWriteResponse) -> Value {
    let status = |status: &super::rpc::Status| match status.code {
        0 => json!({}),
        code => json!({"code": code, "message": status.message}),
    };
    json!({
        "writeResults": response.write_results.iter().map(write_result).collect::<Vec<_>>(),
        "status": response.status.iter().map(status).collect::<Vec<_>>(),
    })
}

/// Writes one response of a batch of reads.
pub(super) fn batch_get_response(response: &fs::BatchGetDocumentsResponse) -> Value {
    use fs::batch_get_documents_response::Result as Outcome;
    let object = Object::new().text("transaction", &json::encode_base64(&response.transaction));
    let object = match &response.result {
        Some(Outcome::Found(found)) => object.set("found", document(found)),
        Some(Outcome::Missing(name)) => object.set("missing", name.as_str()),
        None => object,
    };
    object.optional("readTime", response.read_time.map(|at| at.to_string())).build()
}

/// Writes one response of a query.
pub(super) fn run_query_response(response: &fs::RunQueryResponse) -> Value {
    Object::new()
        .text("transaction", &json::encode_base64(&response.transaction))
        .optional("document", response.document.as_ref().map(document))
        .optional("readTime", response.read_time.map(|at| at.to_string()))
        .optional("skippedResults", (response.skipped_results > 0).then_some(response.skipped_results))
        .build()
}

/// Writes the response of an aggregation.
pub(super) fn aggregation_response(response: &fs::RunAggregationQueryResponse) -> Value {
    let result = response.result.as_ref().map(|result| json!({"aggregateFields": fields(&result.aggregate_fields)}));
    Object::new()
        .text("transaction", &json::encode_base64(&response.transaction))
        .optional("result", result)
        .optional("readTime", response.read_time.map(|at| at.to_string()))
        .build()
}

/// Parses the options of a new transaction.
pub(super) fn options_from(json: &Value) -> Result<fs::TransactionOptions, Status> {
    use fs::transaction_options::{Mode, ReadOnly, ReadWrite, read_only::ConsistencySelector};
    let mode = if let Some(read_only) = json::member(json, "readOnly") {
        let consistency_selector = json::time(read_only, "readTime")?.map(ConsistencySelector::ReadTime);
        Some(Mode::ReadOnly(ReadOnly { consistency_selector }))
    } else if let Some(read_write) = json::member(json, "readWrite") {
        Some(Mode::ReadWrite(ReadWrite { retry_transaction: json::bytes(read_write, "retryTransaction")? }))
    } else {
        None
    };
    Ok(fs::TransactionOptions { mode })
}

/// Parses a structured query.
pub(super) fn query_from(json: &Value) -> Result<fs::StructuredQuery, Status> {
    let member = |name| json::member(json, name);
    Ok(fs::StructuredQuery {
        select: member("select").map(projection_from).transpose()?,
        from: json::list(json, "from")?.iter().map(selector_from).collect::<Result<_, _>>()?,
        r#where: member("where").map(filter_from).transpose()?,
        order_by: json::list(json, "orderBy")?.iter().map(order_from).collect::<Result<_, _>>()?,
        start_at: member("startAt").map(cursor_from).transpose()?,
        end_at: member("endAt").map(cursor_from).transpose()?,
        offset: json::int32(json, "offset")?,
        limit: member("limit").map(limit_from).transpose()?,
        find_nearest: member("findNearest").map(|_| sq::FindNearest::default()),
    })
}

/// Parses a wrapped number; some clients send `{"value": 5}` instead of `5`.
fn limit_from(json: &Value) -> Result<i32, Status> {
    let inner = json.get("value").unwrap_or(json);
    json::as_integer(inner).and_then(|limit| i32::try_from(limit).ok()).ok_or_else(|| invalid("limit", "an integer"))
}

fn selector_from(json: &Value) -> Result<sq::CollectionSelector, Status> {
    Ok(sq::CollectionSelector {
        collection_id: json::text(json, "collectionId")?,
        all_descendants: json::flag(json, "allDescendants")?,
    })
}

fn projection_from(json: &Value) -> Result<sq::Projection, Status> {
    let fields = json::list(json, "fields")?.iter().map(reference_from).collect::<Result<_, _>>()?;
    Ok(sq::Projection { fields })
}

fn reference_from(json: &Value) -> Result<sq::FieldReference, Status> {
    Ok(sq::FieldReference { field_path: json::text(json, "fieldPath")? })
}

fn field_from(json: &Value) -> Result<Option<sq::FieldReference>, Status> {
    json::member(json, "field").map(reference_from).transpose()
}

fn order_from(json: &Value) -> Result<sq::Order, Status> {
    let named = |name: &str| sq::Direction::from_str_name(name).map(i32::from);
    Ok(sq::Order { field: field_from(json)?, direction: json::enumeration(json, "direction", named)? })
}

fn cursor_from(json: &Value) -> Result<fs::Cursor, Status> {
    let values = json::list(json, "values")?.iter().map(value_from).collect::<Result<_, _>>()?;
    Ok(fs::Cursor { values, before: json::flag(json, "before")? })
}

fn filter_from(json: &Value) -> Result<sq::Filter, Status> {
    use sq::filter::FilterType;
    let filter = if let Some(composite) = json::member(json, "compositeFilter") {
        let named = |name: &str| sq::composite_filter::Operator::from_str_name(name).map(i32::from);
        FilterType::CompositeFilter(sq::CompositeFilter {
            op: json::enumeration(composite, "op", named)?,
            filters: json::list(composite, "filters")?.iter().map(filter_from).collect::<Result<_, _>>()?,
        })
    } else if let Some(field) = json::member(json, "fieldFilter") {
        let named = |name: &str| sq::field_filter::Operator::from_str_name(name).map(i32::from);
        FilterType::FieldFilter(sq::FieldFilter {
            field: field_from(field)?,
            op: json::enumeration(field, "op", named)?,
            value: json::member(field, "value").map(value_from).transpose()?,
        })
    } else if let Some(unary) = json::member(json, "unaryFilter") {
        let named = |name: &str| sq::unary_filter::Operator::from_str_name(name).map(i32::from);
        FilterType::UnaryFilter(sq::UnaryFilter {
            op: json::enumeration(unary, "op", named)?,
            operand_type: field_from(unary)?.map(sq::unary_filter::OperandType::Field),
        })
    } else {
        return Err(invalid("where", "a composite, field or unary filter"));
    };
    Ok(sq::Filter { filter_type: Some(filter) })
}

/// Writes a page of documents.
pub(super) fn list_documents_response(response: &fs::ListDocumentsResponse) -> Value {
    Object::new()
        .list("documents", response.documents.iter().map(document).collect())
        .text("nextPageToken", &response.next_page_token)
        .build()
}

/// Writes a page of collection IDs.
pub(super) fn list_collection_ids_response(response: fs::ListCollectionIdsResponse) -> Value {
    let ids = response.collection_ids.into_iter().map(Value::from).collect();
    Object::new().list("collectionIds", ids).text("nextPageToken", &response.next_page_token).build()
}

/// An empty response.
pub(super) fn empty() -> Value {
    Value::Object(Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_through_json() {
        let json = json!({
            "name": "projects/p/databases/d/documents/c/x",
            "fields": {
                "n": {"nullValue": null}, "b": {"booleanValue": true}, "i": {"integerValue": "-9007199254740993"},
                "d": {"doubleValue": 1.5}, "nan": {"doubleValue": "NaN"}, "inf": {"doubleValue": "-Infinity"},
                "t": {"timestampValue": "2026-01-02T03:04:05.123456Z"}, "s": {"stringValue": "x"},
                "y": {"bytesValue": "+/8="}, "r": {"referenceValue": "projects/p/databases/d/documents/c/x"},
                "g": {"geoPointValue": {"latitude": 1.0, "longitude": -2.0}},
                "a": {"arrayValue": {"values": [{"integerValue": "1"}]}}, "e": {"arrayValue": {}},
                "m": {"mapValue": {"fields": {"k": {"stringValue": "v"}}}},
            },
        });
        assert_eq!(document(&document_from(&json).unwrap()), json);
    }

    #[test]
    fn a_verify_is_parsed_as_a_write() {
        let name = "projects/p/databases/d/documents/c/x";
        let write = write_from(&json!({"verify": name, "currentDocument": {"exists": true}})).unwrap();
        assert_eq!(write.operation, Some(Operation::Verify(name.into())));
        assert!(write.current_document.is_some());
        assert!(write_from(&json!({"currentDocument": {"exists": true}})).is_err());
    }

    #[test]
    fn integers_may_come_as_numbers() {
        let value = value_from(&json!({"integerValue": 5})).unwrap();
        assert_eq!(value.value_type, Some(ValueType::IntegerValue(5)));
    }

    #[test]
    fn unknown_types_are_rejected() {
        for bad in [
            json!({}),
            json!({"wrongValue": 1}),
            json!({"stringValue": 1}),
            json!({"nullValue": null, "integerValue": 1}),
            json!(5),
        ] {
            assert!(value_from(&bad).is_err(), "{bad}");
        }
    }
}
