//! Firestore's JSON API over HTTP/1.1, which browsers poll. Clients send JSON as `text/plain`, so the content type is
//! ignored.

use super::{Firestore, fs, json, path, read_time_unsupported, requests};
use crate::{json as fields, url};
use axum::http::Method;
use serde_json::{Value, json};
use tonic::Status;

/// Parses the consistency of a request's body into the selector type of its message.
macro_rules! selector {
    ($body:expr, $module:ident) => {{
        use fs::$module::ConsistencySelector;
        if fields::member($body, "readTime").is_some() {
            return Err(read_time_unsupported());
        } else if let Some(options) = fields::member($body, "newTransaction") {
            Some(ConsistencySelector::NewTransaction(json::options_from(options)?))
        } else if fields::member($body, "transaction").is_some() {
            Some(ConsistencySelector::Transaction(fields::bytes($body, "transaction")?))
        } else {
            None
        }
    }};
}

/// Answers `path` (below `/v1/`), for example `projects/p/databases/(default)/documents:commit`.
pub(crate) async fn handle(
    service: &Firestore,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Value, Status> {
    let parameters = url::query(query);
    let unknown = || Status::unimplemented(format!("{method} /v1/{path} is not part of this local server"));
    // IDs may contain colons, so only a known verb after the last colon counts.
    if let (Some((parent, verb)), &Method::POST) = (path.rsplit_once(':'), method)
        && !verb.contains('/')
    {
        return call(service, parent, verb, &fields::parse(body)?).await;
    }
    let database = path.split("/documents").next().unwrap_or_default();
    path::check_database(database)?;
    let below = path[database.len()..].strip_prefix("/documents/").ok_or_else(unknown)?;
    let names_document = below.split('/').count() % 2 == 0;
    match (method.as_str(), names_document) {
        ("GET", true) => {
            let transaction = transaction(&parameters)?;
            let get = fs::GetDocumentRequest {
                name: path.into(),
                mask: mask(&parameters, "mask.fieldPaths"),
                consistency_selector: transaction.map(fs::get_document_request::ConsistencySelector::Transaction),
            };
            Ok(json::document(&service.get_document(get).await?))
        }
        ("GET", false) => list(service, path, &parameters).await,
        ("POST", false) => create(service, path, &parameters, &fields::parse(body)?).await,
        ("PATCH", true) => update(service, path, &parameters, &fields::parse(body)?).await,
        ("DELETE", true) => {
            let current_document = precondition(&parameters)?;
            service.delete_document(fs::DeleteDocumentRequest { name: path.into(), current_document }).await?;
            Ok(json::empty())
        }
        _ => Err(unknown()),
    }
}

/// A method that is written as a verb after a colon.
async fn call(service: &Firestore, parent: &str, verb: &str, body: &Value) -> Result<Value, Status> {
    let database = || parent.strip_suffix("/documents").unwrap_or(parent).to_owned();
    let writes = || fields::list(body, "writes")?.iter().map(json::write_from).collect::<Result<Vec<_>, _>>();
    let transaction = || fields::bytes(body, "transaction");
    match verb {
        "batchGet" => {
            let get = fs::BatchGetDocumentsRequest {
                database: database(),
                documents: fields::texts(body, "documents")?,
                mask: fields::member(body, "mask").map(json::mask_from).transpose()?,
                consistency_selector: selector!(body, batch_get_documents_request),
            };
            Ok(service.batch_get_documents(get).await?.iter().map(json::batch_get_response).collect())
        }
        "commit" => {
            let commit =
                requests::CommitRequest { database: database(), writes: writes()?, transaction: transaction()? };
            Ok(json::commit_response(&service.commit_request(commit).await?))
        }
        "batchWrite" => {
            let batch = requests::BatchWriteRequest { database: database(), writes: writes()?, ..Default::default() };
            Ok(json::batch_write_response(&service.batch_write_request(batch).await?))
        }
        "runQuery" => {
            let query = fields::member(body, "structuredQuery").map(json::query_from).transpose()?;
            let run = fs::RunQueryRequest {
                parent: parent.into(),
                explain_options: fields::member(body, "explainOptions").map(|_| fs::ExplainOptions::default()),
                query_type: query.map(fs::run_query_request::QueryType::StructuredQuery),
                consistency_selector: selector!(body, run_query_request),
            };
            Ok(service.run_query(run).await?.iter().map(json::run_query_response).collect())
        }
        "runAggregationQuery" => aggregate(service, parent, body).await,
        "beginTransaction" => {
            let options = fields::member(body, "options").map(json::options_from).transpose()?;
            let response = service.begin_transaction(fs::BeginTransactionRequest { database: database(), options })?;
            Ok(json!({"transaction": fields::encode_base64(&response.transaction)}))
        }
        "rollback" => {
            service.roll_back(&fs::RollbackRequest { database: database(), transaction: transaction()? })?;
            Ok(json::empty())
        }
        "listCollectionIds" => {
            if fields::member(body, "readTime").is_some() {
                return Err(read_time_unsupported());
            }
            let list = fs::ListCollectionIdsRequest {
                parent: parent.into(),
                page_size: fields::int32(body, "pageSize")?,
                page_token: fields::text(body, "pageToken")?,
                consistency_selector: None,
            };
            let found = service.list_collection_ids(list).await?;
            Ok(json::list_collection_ids_response(found))
        }
        _ => Err(Status::unimplemented(format!("'{verb}' is not part of this local server"))),
    }
}

async fn aggregate(service: &Firestore, parent: &str, body: &Value) -> Result<Value, Status> {
    use fs::structured_aggregation_query::{Aggregation, QueryType, aggregation as ag};
    let query = fields::member(body, "structuredAggregationQuery").unwrap_or(&Value::Null);
    let field = |json: &Value| {
        let field_path = fields::text(fields::member(json, "field").unwrap_or(&Value::Null), "fieldPath")?;
        Ok::<_, Status>(Some(fs::structured_query::FieldReference { field_path }))
    };
    let aggregation = |json: &Value| {
        let operator = if let Some(count) = fields::member(json, "count") {
            ag::Operator::Count(ag::Count { up_to: fields::integer(count, "upTo")? })
        } else if let Some(sum) = fields::member(json, "sum") {
            ag::Operator::Sum(ag::Sum { field: field(sum)? })
        } else if let Some(avg) = fields::member(json, "avg") {
            ag::Operator::Avg(ag::Avg { field: field(avg)? })
        } else {
            return Err(fields::invalid("aggregations", "count, sum or avg"));
        };
        Ok(Aggregation { alias: fields::text(json, "alias")?, operator: Some(operator) })
    };
    let aggregations = fields::list(query, "aggregations")?.iter().map(aggregation).collect::<Result<_, Status>>()?;
    let inner = fields::member(query, "structuredQuery").map(json::query_from).transpose()?;
    let query_type = inner.map(QueryType::StructuredQuery);
    let query = fs::StructuredAggregationQuery { aggregations, query_type };
    let run = fs::RunAggregationQueryRequest {
        parent: parent.into(),
        explain_options: fields::member(body, "explainOptions").map(|_| fs::ExplainOptions::default()),
        query_type: Some(fs::run_aggregation_query_request::QueryType::StructuredAggregationQuery(query)),
        consistency_selector: selector!(body, run_aggregation_query_request),
    };
    Ok(json!([json::aggregation_response(&service.run_aggregation_query(run).await?)]))
}

async fn list(service: &Firestore, path: &str, parameters: &[(String, String)]) -> Result<Value, Status> {
    let (parent, collection_id) = path.rsplit_once('/').unwrap_or_default();
    let page_size = match parameter(parameters, "pageSize") {
        Some(size) => size.parse().map_err(|_| fields::invalid("pageSize", "an integer"))?,
        None => 0,
    };
    let transaction = transaction(parameters)?;
    let list = fs::ListDocumentsRequest {
        parent: parent.into(),
        collection_id: collection_id.into(),
        page_size,
        page_token: parameter(parameters, "pageToken").unwrap_or_default().into(),
        order_by: parameter(parameters, "orderBy").unwrap_or_default().into(),
        mask: mask(parameters, "mask.fieldPaths"),
        show_missing: parameter(parameters, "showMissing") == Some("true"),
        consistency_selector: transaction.map(fs::list_documents_request::ConsistencySelector::Transaction),
    };
    Ok(json::list_documents_response(&service.list_documents(list).await?))
}

async fn create(
    service: &Firestore,
    path: &str,
    parameters: &[(String, String)],
    body: &Value,
) -> Result<Value, Status> {
    let (parent, collection_id) = path.rsplit_once('/').unwrap_or_default();
    let create = fs::CreateDocumentRequest {
        parent: parent.into(),
        collection_id: collection_id.into(),
        document_id: parameter(parameters, "documentId").unwrap_or_default().into(),
        document: Some(json::document_from(body)?),
        mask: mask(parameters, "mask.fieldPaths"),
    };
    Ok(json::document(&service.create_document(create).await?))
}

async fn update(
    service: &Firestore,
    path: &str,
    parameters: &[(String, String)],
    body: &Value,
) -> Result<Value, Status> {
    let update = fs::UpdateDocumentRequest {
        document: Some(fs::Document { name: path.into(), ..json::document_from(body)? }),
        update_mask: mask(parameters, "updateMask.fieldPaths"),
        mask: mask(parameters, "mask.fieldPaths"),
        current_document: precondition(parameters)?,
    };
    Ok(json::document(&service.update_document(update).await?))
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn mask(parameters: &[(String, String)], name: &str) -> Option<fs::DocumentMask> {
    let field_paths: Vec<_> =
        parameters.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect();
    (!field_paths.is_empty()).then_some(fs::DocumentMask { field_paths })
}

/// The transaction in which a `GET` reads.
fn transaction(parameters: &[(String, String)]) -> Result<Option<Vec<u8>>, Status> {
    if parameter(parameters, "readTime").is_some() {
        return Err(read_time_unsupported());
    }
    let decode = |id| fields::decode_base64(id).ok_or_else(|| fields::invalid("transaction", "base64"));
    parameter(parameters, "transaction").map(decode).transpose()
}

fn precondition(parameters: &[(String, String)]) -> Result<Option<fs::Precondition>, Status> {
    use fs::precondition::ConditionType;
    let condition =
        match (parameter(parameters, "currentDocument.exists"), parameter(parameters, "currentDocument.updateTime")) {
            (Some(exists), _) => ConditionType::Exists(exists == "true"),
            (None, Some(at)) => ConditionType::UpdateTime(
                at.parse().map_err(|_| fields::invalid("currentDocument.updateTime", "a timestamp"))?,
            ),
            (None, None) => return Ok(None),
        };
    Ok(Some(fs::Precondition { condition_type: Some(condition) }))
}
