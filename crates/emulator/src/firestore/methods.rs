//! Firestore's methods, from request message to response message; called by gRPC and by JSON.

use super::{
    Consistency, Firestore,
    aggregation::Aggregations,
    fs,
    listing::Listing,
    path,
    path::DocumentName,
    query::Query,
    read_time_unsupported,
    requests::{BatchWriteRequest, CommitRequest, Operation, Write},
    tables,
};
use crate::{json, limits};
use std::collections::HashSet;
use tonic::Status;

/// Converts a request's consistency selector to [`Consistency`].
macro_rules! consistency {
    ($selector:expr, $module:ident, transaction) => {
        match $selector {
            None => Consistency::Latest,
            Some(fs::$module::ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(fs::$module::ConsistencySelector::ReadTime(_)) => return Err(read_time_unsupported()),
        }
    };
    ($selector:expr, $module:ident, new_transaction) => {
        match $selector {
            None => Consistency::Latest,
            Some(fs::$module::ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(fs::$module::ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(fs::$module::ConsistencySelector::ReadTime(_)) => return Err(read_time_unsupported()),
        }
    };
}

impl Firestore {
    pub(super) async fn get_document(&self, request: fs::GetDocumentRequest) -> Result<fs::Document, Status> {
        let consistency = consistency!(request.consistency_selector, get_document_request, transaction);
        self.get_one(&request.name, request.mask, consistency).await
    }

    pub(super) async fn batch_get_documents(
        &self,
        request: fs::BatchGetDocumentsRequest,
    ) -> Result<Vec<fs::BatchGetDocumentsResponse>, Status> {
        path::check_database(&request.database)?;
        let consistency = consistency!(request.consistency_selector, batch_get_documents_request, new_transaction);
        let reading = self.reading(consistency)?;
        let names = request.documents.iter().map(|name| DocumentName::parse(name)).collect::<Result<Vec<_>, _>>()?;
        // A document that is named twice is returned once.
        let mut seen = HashSet::new();
        let names = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
        let found = self.get(names, request.mask, &reading).await?;
        let read_time = Some(self.now());
        let mut responses = Vec::new();
        if !reading.new_transaction.is_empty() {
            let transaction = reading.new_transaction;
            responses.push(fs::BatchGetDocumentsResponse { transaction, ..fs::BatchGetDocumentsResponse::default() });
        }
        responses.extend(found.into_iter().map(|(name, document)| {
            let result = match document {
                Some(document) => fs::batch_get_documents_response::Result::Found(document),
                None => fs::batch_get_documents_response::Result::Missing(name.to_string()),
            };
            fs::BatchGetDocumentsResponse { transaction: Vec::new(), read_time, result: Some(result) }
        }));
        Ok(responses)
    }

    pub(super) async fn run_query(&self, request: fs::RunQueryRequest) -> Result<Vec<fs::RunQueryResponse>, Status> {
        if request.explain_options.is_some() {
            return Err(explain_unsupported());
        }
        let consistency = consistency!(request.consistency_selector, run_query_request, new_transaction);
        let Some(fs::run_query_request::QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(Status::invalid_argument("the query is missing"));
        };
        let query = Query::parse(&request.parent, query)?;
        let reading = self.reading(consistency)?;
        let found = self.run(&query, &reading).await?;
        let read_time = Some(self.now());
        let response = |document| fs::RunQueryResponse { document, read_time, ..fs::RunQueryResponse::default() };
        let documents = found.documents.into_iter();
        let mut responses: Vec<_> = documents.map(|document| response(Some(query.project(document)))).collect();
        if responses.is_empty() {
            // Even an empty result has a read time.
            responses.push(response(None));
        }
        if let Some(first) = responses.first_mut() {
            first.transaction = reading.new_transaction;
            first.skipped_results = i32::try_from(found.skipped).unwrap_or(i32::MAX);
        }
        Ok(responses)
    }

    pub(super) async fn run_aggregation_query(
        &self,
        request: fs::RunAggregationQueryRequest,
    ) -> Result<fs::RunAggregationQueryResponse, Status> {
        use fs::{run_aggregation_query_request::QueryType, structured_aggregation_query as saq};
        let consistency = consistency!(request.consistency_selector, run_aggregation_query_request, new_transaction);
        let Some(QueryType::StructuredAggregationQuery(aggregation)) = request.query_type else {
            return Err(Status::invalid_argument("the query is missing"));
        };
        let Some(saq::QueryType::StructuredQuery(query)) = aggregation.query_type else {
            return Err(Status::invalid_argument("the aggregated query is missing"));
        };
        if request.explain_options.is_some() {
            return Err(explain_unsupported());
        }
        let aggregations = Aggregations::parse(aggregation.aggregations)?;
        let query = Query::parse_aggregated(&request.parent, query, aggregations.paths())?;
        let reading = self.reading(consistency)?;
        let found = self.run(&query, &reading).await?;
        Ok(fs::RunAggregationQueryResponse {
            result: Some(aggregations.evaluate(&found.documents)),
            transaction: reading.new_transaction,
            read_time: Some(self.now()),
            explain_metrics: None,
        })
    }

    pub(super) async fn list_documents(
        &self,
        request: fs::ListDocumentsRequest,
    ) -> Result<fs::ListDocumentsResponse, Status> {
        let consistency = consistency!(request.consistency_selector.clone(), list_documents_request, transaction);
        let listing = Listing::parse(&request)?;
        let query = Query::parse(&request.parent, listing.query(&request)?)?;
        let mask = request.mask.as_ref().map(path::FieldPath::parse_mask).transpose()?;
        let reading = self.reading(consistency)?;
        let mut documents = self.run(&query, &reading).await?.documents;
        if request.show_missing {
            let collection = format!("{}/{}", request.parent, request.collection_id);
            let ids = self.read(&reading, {
                let collection = collection.clone();
                move |snapshot| tables::collection_ids(&tables::readable(snapshot)?, &collection)
            });
            documents = listing.with_missing(documents, ids.await?.iter().map(|id| format!("{collection}/{id}")));
        }
        let next_page_token = listing.split_page(&mut documents);
        if let Some(mask) = mask {
            for document in &mut documents {
                document.fields = path::project(&document.fields, &mask);
            }
        }
        Ok(fs::ListDocumentsResponse { documents, next_page_token })
    }

    pub(super) async fn list_collection_ids(
        &self,
        request: fs::ListCollectionIdsRequest,
    ) -> Result<fs::ListCollectionIdsResponse, Status> {
        use fs::list_collection_ids_request::ConsistencySelector;
        path::check_parent(&request.parent)?;
        if let Some(ConsistencySelector::ReadTime(_)) = request.consistency_selector {
            return Err(read_time_unsupported());
        }
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(json::decode_base64(token).and_then(|id| String::from_utf8(id).ok()).ok_or_else(bad_token)?),
        };
        let parent = request.parent;
        let found = self.store.read(move |snapshot| tables::collection_ids(&tables::readable(snapshot)?, &parent));
        let mut collection_ids = found.await?;
        collection_ids.sort_unstable();
        collection_ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
        let more = collection_ids.len() > size;
        collection_ids.truncate(size);
        let last = collection_ids.last().filter(|_| more);
        let next_page_token = last.map(|id| json::encode_base64(id.as_bytes())).unwrap_or_default();
        Ok(fs::ListCollectionIdsResponse { collection_ids, next_page_token })
    }

    pub(super) async fn commit_request(&self, request: CommitRequest) -> Result<fs::CommitResponse, Status> {
        path::check_database(&request.database)?;
        self.commit(request.writes, &request.transaction).await
    }

    pub(super) async fn batch_write_request(
        &self,
        request: BatchWriteRequest,
    ) -> Result<fs::BatchWriteResponse, Status> {
        path::check_database(&request.database)?;
        self.batch_write(request.writes).await
    }

    pub(super) fn begin_transaction(
        &self,
        request: fs::BeginTransactionRequest,
    ) -> Result<fs::BeginTransactionResponse, Status> {
        path::check_database(&request.database)?;
        Ok(fs::BeginTransactionResponse { transaction: self.begin(request.options)? })
    }

    pub(super) fn roll_back(&self, request: &fs::RollbackRequest) -> Result<(), Status> {
        self.transactions.roll_back(&request.transaction)
    }

    pub(super) async fn create_document(&self, request: fs::CreateDocumentRequest) -> Result<fs::Document, Status> {
        path::check_parent(&request.parent)?;
        let id = if request.document_id.is_empty() { self.new_id() } else { request.document_id };
        let name = format!("{}/{}/{id}", request.parent, request.collection_id);
        if request.document.as_ref().is_some_and(|document| !document.name.is_empty()) {
            return Err(Status::invalid_argument("document.name must not be set; document_id names the document"));
        }
        let document = fs::Document { name: name.clone(), ..request.document.unwrap_or_default() };
        let absent = fs::Precondition { condition_type: Some(fs::precondition::ConditionType::Exists(false)) };
        let write =
            Write { operation: Some(Operation::Update(document)), current_document: Some(absent), ..Write::default() };
        self.write_one(write, &name, request.mask).await
    }

    pub(super) async fn update_document(&self, request: fs::UpdateDocumentRequest) -> Result<fs::Document, Status> {
        let document = request.document.ok_or_else(|| Status::invalid_argument("the document is missing"))?;
        let name = document.name.clone();
        let write = Write {
            operation: Some(Operation::Update(document)),
            update_mask: request.update_mask,
            current_document: request.current_document,
            ..Write::default()
        };
        self.write_one(write, &name, request.mask).await
    }

    pub(super) async fn delete_document(&self, request: fs::DeleteDocumentRequest) -> Result<(), Status> {
        let write = Write {
            operation: Some(Operation::Delete(request.name)),
            current_document: request.current_document,
            ..Write::default()
        };
        self.commit(vec![write], &[]).await.map(|_| ())
    }

    /// Returns twenty letters and digits, like the IDs that clients generate. They are unique because ticks are, and
    /// scattered because the tick is mixed.
    pub(super) fn new_id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        // An odd factor permutes the 64-bit numbers (Knuth's multiplicative hash), so distinct ticks stay distinct.
        let mut mixed = u128::from(self.ticker.tick().wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 36;
        let mut id = String::with_capacity(20);
        for _ in 0..20 {
            id.push(char::from(ALPHABET[(mixed % 32) as usize]));
            mixed /= 32;
        }
        id.chars().rev().collect()
    }
}

/// The number of entries of a page.
pub(super) fn page_size(requested: i32) -> Result<usize, Status> {
    match usize::try_from(requested) {
        Ok(0) => Ok(limits::MAX_PAGE_SIZE),
        Ok(size) => Ok(size.min(limits::MAX_PAGE_SIZE)),
        Err(_) => Err(Status::invalid_argument(format!("page_size is negative: {requested}"))),
    }
}

pub(super) fn bad_token() -> Status {
    Status::invalid_argument("the page token is none of this server's")
}

fn explain_unsupported() -> Status {
    Status::unimplemented("explain_options are not part of this local server")
}
