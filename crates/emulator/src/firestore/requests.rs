//! Requests that carry writes. The published protocol lacks field 5 of `Write`, `verify`, which Firebase's web SDK
//! sends for each document that a transaction read but did not write. So these messages are declared here.

use super::fs;
use std::collections::HashMap;

/// One write: `google.firestore.v1.Write` with `verify`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Write {
    #[prost(oneof = "Operation", tags = "1, 2, 5, 6")]
    pub(crate) operation: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    pub(crate) update_mask: Option<fs::DocumentMask>,
    #[prost(message, optional, tag = "4")]
    pub(crate) current_document: Option<fs::Precondition>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) update_transforms: Vec<fs::document_transform::FieldTransform>,
}

/// The operation of a write.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Operation {
    #[prost(message, tag = "1")]
    Update(fs::Document),
    #[prost(string, tag = "2")]
    Delete(String),
    /// Checks only the precondition.
    #[prost(string, tag = "5")]
    Verify(String),
    #[prost(message, tag = "6")]
    Transform(fs::DocumentTransform),
}

/// `google.firestore.v1.CommitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CommitRequest {
    #[prost(string, tag = "1")]
    pub(crate) database: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) writes: Vec<Write>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) transaction: Vec<u8>,
}

/// `google.firestore.v1.BatchWriteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BatchWriteRequest {
    #[prost(string, tag = "1")]
    pub(crate) database: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) writes: Vec<Write>,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) labels: HashMap<String, String>,
}

/// `google.firestore.v1.WriteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteRequest {
    #[prost(string, tag = "1")]
    pub(crate) database: String,
    #[prost(string, tag = "2")]
    pub(crate) stream_id: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) writes: Vec<Write>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) stream_token: Vec<u8>,
    #[prost(map = "string, string", tag = "5")]
    pub(crate) labels: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn a_verify_is_decoded_with_the_published_fields() {
        let name = "projects/p/databases/(default)/documents/c/d";
        let exists = fs::Precondition { condition_type: Some(fs::precondition::ConditionType::Exists(true)) };
        let published = fs::Write { current_document: Some(exists), ..fs::Write::default() };
        let mut bytes = published.encode_to_vec();
        // Field 5, a string.
        bytes.extend([0x2a, u8::try_from(name.len()).unwrap()]);
        bytes.extend(name.as_bytes());
        let write = Write::decode(bytes.as_slice()).unwrap();
        assert_eq!(write.operation, Some(Operation::Verify(name.into())));
        assert_eq!(write.current_document, Some(exists));
    }

    #[test]
    fn all_other_fields_match_the_published_protocol() {
        use fs::document_transform::{FieldTransform, field_transform::TransformType};
        let increment = TransformType::Increment(fs::Value::default());
        let transform = FieldTransform { field_path: "n".into(), transform_type: Some(increment) };
        let published = fs::WriteRequest {
            database: "d".into(),
            stream_id: "s".into(),
            writes: vec![fs::Write {
                operation: Some(fs::write::Operation::Delete("n".into())),
                update_mask: Some(fs::DocumentMask { field_paths: vec!["a".into()] }),
                current_document: Some(fs::Precondition::default()),
                update_transforms: vec![transform],
            }],
            stream_token: vec![1],
            labels: [("k".to_owned(), "v".to_owned())].into(),
        };
        let bytes = published.encode_to_vec();
        assert_eq!(WriteRequest::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
        let published = fs::CommitRequest { database: "d".into(), writes: published.writes, transaction: vec![2] };
        let bytes = published.encode_to_vec();
        assert_eq!(CommitRequest::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
        let published = fs::BatchWriteRequest { database: "d".into(), writes: published.writes, ..Default::default() };
        let bytes = published.encode_to_vec();
        assert_eq!(BatchWriteRequest::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
    }
}
