//! [`Documents`] on Firestore, over the published message types.

use super::{Target, rpc::Rpc, values};
use crate::{
    Amendment, CloudError, Document, Documents, ErrorKind, Fields, Order, Precondition, Search, Value, Version, Write,
    documents::{check, set, split},
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    self as wire,
    batch_get_documents_response::Result as Got,
    precondition::ConditionType,
    run_query_request::QueryType,
    structured_query::{self as query, Direction, filter::FilterType},
    value::ValueType,
    write::Operation,
};
use std::collections::HashMap;
use tonic::Response;

/// The id of the database that a project has unless others are named.
const DEFAULT_DATABASE: &str = "(default)";

/// Documents per read call: a response of a few hundred kilobytes, far below any limit.
const MAX_READS_PER_CALL: usize = 300;

/// A Firestore database of one project.
pub(super) struct Firestore {
    rpc: Rpc,
    /// `projects/P/databases/D`.
    database: String,
}

impl Firestore {
    pub(super) fn connect(project: &str, database: Option<&str>, target: Target) -> Result<Self, CloudError> {
        let database = format!("projects/{project}/databases/{}", database.unwrap_or(DEFAULT_DATABASE));
        Ok(Self { rpc: Rpc::connect(&database, target)?, database })
    }

    /// The name of the database's root, before the path of each document.
    fn root(&self) -> String {
        format!("{}/documents", self.database)
    }

    fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.root())
    }

    /// Reads documents, as a whole or with these top-level fields only.
    async fn read(&self, paths: &[String], fields: Option<&[&str]>) -> Result<Vec<Option<Document>>, CloudError> {
        paths.iter().try_for_each(|path| split(path).map(drop))?;
        let mask =
            fields.map(|fields| wire::DocumentMask { field_paths: fields.iter().map(|name| quoted(name)).collect() });
        let mut found = HashMap::with_capacity(paths.len());
        for chunk in paths.chunks(MAX_READS_PER_CALL) {
            let doing = format!("read {} documents from {}", chunk.len(), chunk[0]);
            let message = wire::BatchGetDocumentsRequest {
                database: self.database.clone(),
                documents: chunk.iter().map(|path| self.name(path)).collect(),
                mask: mask.clone(),
                ..wire::BatchGetDocumentsRequest::default()
            };
            let responses: Vec<wire::BatchGetDocumentsResponse> = self
                .rpc
                .call(&doing, message, |mut client, request| async move {
                    client.batch_get_documents(request).await?.into_inner().try_collect().await
                })
                .await?;
            for response in responses {
                if let Some(Got::Found(document)) = response.result {
                    let document = values::document(document, &self.root())?;
                    found.insert(document.path.clone(), document);
                }
            }
        }
        Ok(paths.iter().map(|path| found.get(path).cloned()).collect())
    }

    async fn query(
        &self,
        doing: &str,
        collection: &str,
        mut query: wire::StructuredQuery,
    ) -> Result<Vec<Document>, CloudError> {
        let (parent, id) = match collection.rsplit_once('/') {
            Some((document, id)) => (self.name(document), id),
            None => (self.root(), collection),
        };
        query.from = vec![query::CollectionSelector { collection_id: id.to_owned(), all_descendants: false }];
        let query_type = Some(QueryType::StructuredQuery(query));
        let message = wire::RunQueryRequest { parent, query_type, ..wire::RunQueryRequest::default() };
        let responses: Vec<wire::RunQueryResponse> = self
            .rpc
            .call(doing, message, |mut client, request| async move {
                client.run_query(request).await?.into_inner().try_collect().await
            })
            .await?;
        let found = responses.into_iter().filter_map(|response| response.document);
        found.map(|document| values::document(document, &self.root())).collect()
    }

    fn write(&self, write: Write) -> wire::Write {
        let condition = match write.precondition {
            Precondition::None => None,
            Precondition::Absent => Some(ConditionType::Exists(false)),
            Precondition::Unchanged(version) => Some(ConditionType::UpdateTime(values::timestamp(version))),
        };
        let document = wire::Document {
            name: self.name(&write.path),
            fields: values::fields_to_wire(write.fields),
            ..wire::Document::default()
        };
        wire::Write {
            current_document: condition.map(|condition| wire::Precondition { condition_type: Some(condition) }),
            operation: Some(Operation::Update(document)),
            ..wire::Write::default()
        }
    }

    fn amendment(&self, Amendment { path, fields }: Amendment) -> wire::Write {
        let field_paths = fields.iter().map(|(names, _)| field_path(names)).collect();
        let mut nested = Fields::new();
        fields.into_iter().for_each(|(names, value)| set(&mut nested, &names, value));
        let document = wire::Document {
            name: self.name(&path),
            fields: values::fields_to_wire(nested),
            ..wire::Document::default()
        };
        wire::Write {
            current_document: Some(wire::Precondition { condition_type: Some(ConditionType::Exists(true)) }),
            operation: Some(Operation::Update(document)),
            update_mask: Some(wire::DocumentMask { field_paths }),
            ..wire::Write::default()
        }
    }
}

#[async_trait]
impl Documents for Firestore {
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
        self.read(paths, None).await
    }

    async fn get_fields(&self, paths: &[String], fields: &[&str]) -> Result<Vec<Option<Document>>, CloudError> {
        self.read(paths, Some(fields)).await
    }

    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
        let query = wire::StructuredQuery { order_by: vec![ordered(ID, Direction::Ascending)], ..Default::default() };
        self.query(&format!("list {collection}"), collection, query).await
    }

    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
        let names: Vec<_> = search.filters.iter().map(|(name, _)| *name).collect();
        let doing = format!("search {collection} by {}", names.join(", "));
        // A cursor has a value for each field of the order. That of the id is the document's name.
        let name = |id: &str| ValueType::ReferenceValue(self.name(&format!("{collection}/{id}")));
        let (order_by, after) = match search.order {
            Order::ById { after } => {
                (vec![ordered(ID, Direction::Ascending)], (!after.is_empty()).then(|| vec![reference(name(after))]))
            }
            Order::LatestFirst { field, after } => (
                vec![ordered(field, Direction::Descending), ordered(ID, Direction::Descending)],
                after.map(|(at_ms, id)| vec![values::to_wire(Value::instant(at_ms)), reference(name(id))]),
            ),
        };
        let query = wire::StructuredQuery {
            r#where: all_of(search.filters),
            order_by,
            limit: Some(i32::try_from(search.limit).unwrap_or(i32::MAX)),
            start_at: after.map(|values| wire::Cursor { values, before: false }),
            ..wire::StructuredQuery::default()
        };
        self.query(&doing, collection, query).await
    }

    /// If a response is lost, the commit is sent again and may find its own writes. It then fails with `AlreadyExists`
    /// or `Conflict` although its preconditions held. The caller reads again and decides anew, as for any other
    /// conflict.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        check(&writes)?;
        let doing = match &writes[..] {
            [] => return Ok(Vec::new()),
            [only] => format!("write {}", only.path),
            [first, ..] => format!("write {} documents from {}", writes.len(), first.path),
        };
        let pinned = writes.iter().any(|write| matches!(write.precondition, Precondition::Unchanged(_)));
        let writes = writes.into_iter().map(|write| self.write(write)).collect();
        let message = wire::CommitRequest { database: self.database.clone(), writes, transaction: Vec::new() };
        let committed = self.rpc.call(&doing, message, |mut client, request| async move {
            client.commit(request).await.map(Response::into_inner)
        });
        let response = committed.await.map_err(|error| match error.kind() {
            // A document that had to be unchanged was deleted: it has changed.
            ErrorKind::NotFound if pinned => {
                CloudError::new(ErrorKind::Conflict, format!("{doing}: a document is gone")).because(error)
            }
            _ => error,
        })?;
        let times = response.write_results.into_iter().map(|result| values::version(result.update_time));
        times
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| CloudError::new(ErrorKind::Unavailable, format!("{doing}: the answer has no update times")))
    }

    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
        check(&writes)?;
        split(&amendment.path)?;
        let doing = format!("amend {} beside {} writes", amendment.path, writes.len());
        let mut writes: Vec<_> = writes.into_iter().map(|write| self.write(write)).collect();
        writes.push(self.amendment(amendment));
        let message = wire::CommitRequest { database: self.database.clone(), writes, transaction: Vec::new() };
        let committed = self.rpc.call(&doing, message, |mut client, request| async move {
            client.commit(request).await.map(Response::into_inner)
        });
        committed.await.map(drop)
    }
}

/// The field of a document's name in filters and orders.
const ID: &str = "__name__";

fn ordered(name: &str, direction: Direction) -> query::Order {
    query::Order { field: Some(field(name)), direction: direction.into() }
}

fn reference(value: ValueType) -> wire::Value {
    wire::Value { value_type: Some(value) }
}

/// A filter for documents that have all these values; `None` for all documents.
fn all_of(filters: Vec<(&str, Value)>) -> Option<query::Filter> {
    let equal = |(name, value)| {
        let filter = query::FieldFilter {
            field: Some(field(name)),
            op: query::field_filter::Operator::Equal.into(),
            value: Some(values::to_wire(value)),
        };
        query::Filter { filter_type: Some(FilterType::FieldFilter(filter)) }
    };
    let mut filters: Vec<_> = filters.into_iter().map(equal).collect();
    if filters.len() <= 1 {
        return filters.pop();
    }
    let filter = query::CompositeFilter { op: query::composite_filter::Operator::And.into(), filters };
    Some(query::Filter { filter_type: Some(FilterType::CompositeFilter(filter)) })
}

/// A reference to a field.
fn field(name: &str) -> query::FieldReference {
    query::FieldReference { field_path: quoted(name) }
}

/// The path of a field through nested maps.
fn field_path(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(".")
}

/// One segment of a field's path, quoted unless it is a plain identifier.
fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")) }
}
