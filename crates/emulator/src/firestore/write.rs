//! One write of one document: precondition, update or delete, transforms. These functions are pure: they map the state
//! before to the state after.

use super::{
    fs,
    path::{DocumentName, FieldPath},
    requests::{Operation, Write},
    value::{self, of},
};
use crate::{clock, limits};
use fs::{
    document_transform::{FieldTransform, field_transform::TransformType},
    precondition::ConditionType,
    value::ValueType,
};
use prost_types::Timestamp;
use std::collections::HashMap;
use tonic::Status;

/// A valid write.
pub(super) struct CheckedWrite {
    /// The document that it writes.
    pub(super) name: DocumentName,
    operation: CheckedOperation,
    precondition: Option<ConditionType>,
    transforms: Vec<(FieldPath, TransformType)>,
}

enum CheckedOperation {
    /// Replaces the whole document.
    Replace(HashMap<String, fs::Value>),
    /// Sets the paths that are present in the fields and removes the others.
    Merge(HashMap<String, fs::Value>, Vec<FieldPath>),
    /// Applies only the transforms.
    Transform,
    Delete,
    /// Checks only the precondition.
    Verify,
}

/// The result of a write.
pub(super) struct Outcome {
    /// The document after the write; `None` if it was deleted.
    pub(super) document: Option<fs::Document>,
    /// One value per transform.
    pub(super) transform_results: Vec<fs::Value>,
}

impl CheckedWrite {
    /// Checks a write.
    pub(super) fn parse(write: Write) -> Result<Self, Status> {
        let mask = write.update_mask.as_ref().map(FieldPath::parse_mask).transpose()?;
        let mut field_transforms = write.update_transforms;
        let precondition = write.current_document.and_then(|precondition| precondition.condition_type);
        if let Some(ConditionType::UpdateTime(at)) = &precondition
            && at.nanos % 1_000 != 0
        {
            return Err(Status::invalid_argument(format!("the update time {at} is finer than a microsecond")));
        }
        let masked = mask.is_some();
        let operation = write.operation.ok_or_else(|| Status::invalid_argument("a write has no operation"))?;
        let (name, operation) = match operation {
            Operation::Update(document) => {
                let mut fields = document.fields;
                value::check_fields(&fields)?;
                fields.values_mut().for_each(value::truncate_times);
                let operation = match mask {
                    Some(mask) => CheckedOperation::Merge(fields, mask),
                    None => CheckedOperation::Replace(fields),
                };
                (document.name, operation)
            }
            Operation::Delete(name) => (name, CheckedOperation::Delete),
            Operation::Verify(_) if precondition.is_none() => {
                return Err(Status::invalid_argument("a verify has no precondition"));
            }
            Operation::Verify(name) => (name, CheckedOperation::Verify),
            Operation::Transform(transform) => {
                field_transforms = transform.field_transforms;
                (transform.document, CheckedOperation::Transform)
            }
        };
        let transforms = field_transforms.into_iter().map(parse_transform).collect::<Result<Vec<_>, _>>()?;
        let overlap = |(index, (path, _)): (usize, &(FieldPath, _))| {
            transforms[..index].iter().any(|(other, _)| path.overlaps(other))
        };
        if transforms.iter().enumerate().any(overlap) {
            return Err(Status::invalid_argument("a write transforms a field and a field within it"));
        }
        let changes_fields = !matches!(operation, CheckedOperation::Delete | CheckedOperation::Verify);
        if !changes_fields && (masked || !transforms.is_empty()) {
            return Err(Status::invalid_argument("a delete or verify cannot have a mask or transforms"));
        }
        Ok(Self { name: DocumentName::parse(&name)?, operation, precondition, transforms })
    }

    /// Checks the precondition against the current document.
    pub(super) fn check(&self, current: Option<&fs::Document>) -> Result<(), Status> {
        let name = &self.name;
        match (&self.precondition, current) {
            (Some(ConditionType::Exists(true)), None) => {
                Err(Status::not_found(format!("No document to update: {name}")))
            }
            (Some(ConditionType::Exists(false)), Some(_)) => {
                Err(Status::already_exists(format!("Document already exists: {name}")))
            }
            (Some(ConditionType::UpdateTime(required)), current) => {
                let found = current.and_then(|document| document.update_time);
                if found.is_some_and(|found| found == *required) {
                    return Ok(());
                }
                if found.is_some_and(|found| order(&found) < order(required)) {
                    return Err(Status::invalid_argument(format!(
                        "the required base version ({required}) of {name} is later than the stored version"
                    )));
                }
                let found = found.map_or_else(|| "none".into(), |at| at.to_string());
                Err(Status::failed_precondition(format!(
                    "the stored version ({found}) of {name} does not match the required base version ({required})"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The state after the write, at `now` in microseconds.
    pub(super) fn apply(self, current: Option<&fs::Document>, now: u64) -> Result<Outcome, Status> {
        let before = || current.map(|document| document.fields.clone()).unwrap_or_default();
        let mut fields = match self.operation {
            CheckedOperation::Delete => return Ok(Outcome { document: None, transform_results: Vec::new() }),
            CheckedOperation::Verify => {
                return Ok(Outcome { document: current.cloned(), transform_results: Vec::new() });
            }
            CheckedOperation::Replace(fields) => fields,
            CheckedOperation::Transform => before(),
            CheckedOperation::Merge(new, mask) => {
                let mut fields = before();
                for path in mask {
                    match path.get(&new) {
                        Some(value) => path.set(&mut fields, value.clone()),
                        None => path.remove(&mut fields),
                    }
                }
                fields
            }
        };
        let mut transform_results = Vec::with_capacity(self.transforms.len());
        for (path, transform) in self.transforms {
            let (value, result) = apply_transform(path.get(&fields), transform, now);
            path.set(&mut fields, value);
            transform_results.push(result);
        }
        let at = Some(clock::timestamp(now));
        let create_time = current.and_then(|document| document.create_time).or(at);
        let document = fs::Document { name: self.name.to_string(), fields, create_time, update_time: at };
        if value::document_size(&self.name, &document.fields) > limits::MAX_DOCUMENT_BYTES {
            return Err(Status::invalid_argument(format!(
                "Document {} is larger than {} bytes",
                self.name,
                limits::MAX_DOCUMENT_BYTES
            )));
        }
        Ok(Outcome { document: Some(document), transform_results })
    }
}

/// Checks the writes of one commit to the same document against each other, before any document is read. The real
/// service merges them into one change, so each precondition must follow from the previous write.
pub(super) fn check_sequence(writes: &[CheckedWrite]) -> Result<(), Status> {
    struct Before<'a> {
        deleted: bool,
        verified: bool,
        version: Option<&'a Timestamp>,
    }
    let mut before: HashMap<&DocumentName, Before<'_>> = HashMap::new();
    for write in writes {
        let name = &write.name;
        let conflict = |what: &str| Err(Status::invalid_argument(format!("the commit {what}: {name}")));
        let deletes = matches!(write.operation, CheckedOperation::Delete);
        let verified = matches!(write.operation, CheckedOperation::Verify);
        let version = match &write.precondition {
            Some(ConditionType::UpdateTime(at)) => Some(at),
            _ => None,
        };
        let Some(earlier) = before.get_mut(name) else {
            before.insert(name, Before { deleted: deletes, verified, version });
            continue;
        };
        if verified || earlier.verified {
            return conflict("verifies a document that it also writes or verifies");
        }
        match write.precondition {
            Some(ConditionType::Exists(true)) if earlier.deleted => {
                return conflict("deletes a document and then requires it to exist");
            }
            Some(ConditionType::UpdateTime(_)) if earlier.deleted && !deletes => {
                return conflict("deletes a document and then updates it");
            }
            Some(ConditionType::Exists(false)) if !earlier.deleted => {
                return conflict("writes a document and then requires it to be missing");
            }
            Some(ConditionType::UpdateTime(_)) if earlier.version != version => {
                return conflict("requires two versions of a document");
            }
            _ => earlier.deleted = deletes,
        }
    }
    Ok(())
}

/// A key that sorts times.
fn order(at: &Timestamp) -> (i64, i32) {
    (at.seconds, at.nanos)
}

fn parse_transform(transform: FieldTransform) -> Result<(FieldPath, TransformType), Status> {
    let path = FieldPath::parse(&transform.field_path)?;
    if path.is_name() {
        return Err(Status::invalid_argument("__name__ cannot be transformed"));
    }
    let kind = transform.transform_type.ok_or_else(|| Status::invalid_argument("a transform has no type"))?;
    let number = |operand: &fs::Value| {
        if value::rank(operand) == 2 { Ok(()) } else { Err(Status::invalid_argument("a transform needs a number")) }
    };
    match &kind {
        TransformType::SetToServerValue(1) => {}
        TransformType::SetToServerValue(_) => return Err(Status::invalid_argument("unknown server value")),
        TransformType::Increment(operand) | TransformType::Maximum(operand) | TransformType::Minimum(operand) => {
            number(operand)?;
        }
        TransformType::AppendMissingElements(array) => value::check_elements(&array.values)?,
        // Elements that no array can hold are in none, so nothing is removed.
        TransformType::RemoveAllFromArray(_) => {}
    }
    Ok((path, kind))
}

/// The new value and the reported result: null for array transforms, otherwise the new value.
fn apply_transform(current: Option<&fs::Value>, transform: TransformType, now: u64) -> (fs::Value, fs::Value) {
    let number = current.filter(|value| value::rank(value) == 2);
    let array = || match current.and_then(|value| value.value_type.as_ref()) {
        Some(ValueType::ArrayValue(array)) => array.values.clone(),
        _ => Vec::new(),
    };
    let reported = |value: fs::Value| (value.clone(), value);
    let unreported = |values| (of(ValueType::ArrayValue(fs::ArrayValue { values })), of(ValueType::NullValue(0)));
    match transform {
        // Documented: with millisecond precision.
        TransformType::SetToServerValue(_) => {
            reported(of(ValueType::TimestampValue(clock::timestamp(now - now % 1_000))))
        }
        TransformType::Increment(by) => reported(number.map_or(by.clone(), |number| add(number, &by))),
        // With NaN, the result is NaN; if both are equal, the stored number stays.
        TransformType::Maximum(other) => reported(extreme(number, other, std::cmp::Ordering::Less)),
        TransformType::Minimum(other) => reported(extreme(number, other, std::cmp::Ordering::Greater)),
        TransformType::AppendMissingElements(new) => {
            let mut values = array();
            for value in new.values {
                if !values.iter().any(|present| value::equal(present, &value)) {
                    values.push(value);
                }
            }
            unreported(values)
        }
        TransformType::RemoveAllFromArray(removed) => {
            let mut values = array();
            values.retain(|value| !removed.values.iter().any(|removed| value::equal(removed, value)));
            unreported(values)
        }
    }
}

/// The operand replaces the stored number if the stored number compares as `replaced_when` to it.
fn extreme(stored: Option<&fs::Value>, operand: fs::Value, replaced_when: std::cmp::Ordering) -> fs::Value {
    match stored {
        Some(stored) if value::is_nan(stored) || value::is_nan(&operand) => of(ValueType::DoubleValue(f64::NAN)),
        Some(stored) if value::compare(stored, &operand) != replaced_when => stored.clone(),
        _ => operand,
    }
}

/// Integers stay integers and saturate at their limits; a double makes the sum a double.
pub(super) fn add(a: &fs::Value, b: &fs::Value) -> fs::Value {
    match (&a.value_type, &b.value_type) {
        (Some(ValueType::IntegerValue(a)), Some(ValueType::IntegerValue(b))) => {
            of(ValueType::IntegerValue(a.saturating_add(*b)))
        }
        _ => of(ValueType::DoubleValue(as_double(a) + as_double(b))),
    }
}

/// A number as a double.
#[expect(clippy::cast_precision_loss, reason = "Firestore does the same")]
pub(super) fn as_double(value: &fs::Value) -> f64 {
    match value.value_type {
        Some(ValueType::IntegerValue(number)) => number as f64,
        Some(ValueType::DoubleValue(number)) => number,
        _ => 0.0,
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
