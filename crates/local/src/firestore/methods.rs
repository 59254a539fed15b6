//! Firestore's methods, message in and message out; gRPC and JSON are two ways to call them.

use super::{Consistency, Firestore, fs, past, path, path::DocumentName, query::Query, tables, value, write};
use crate::limits;
use fs::value::ValueType;
use std::collections::BTreeMap;
use tonic::Status;

/// Turns a request's consistency selector into ours.
macro_rules! consistency {
    ($selector:expr, $module:ident, transaction) => {
        match $selector {
            None => Consistency::Latest,
            Some(fs::$module::ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(fs::$module::ConsistencySelector::ReadTime(_)) => return Err(past()),
        }
    };
    ($selector:expr, $module:ident, new_transaction) => {
        match $selector {
            None => Consistency::Latest,
            Some(fs::$module::ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(fs::$module::ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(fs::$module::ConsistencySelector::ReadTime(_)) => return Err(past()),
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
        let names = request.documents.iter().map(|name| DocumentName::parse(name)).collect::<Result<_, _>>()?;
        let found = self.get(names, request.mask, &reading).await?;
        let read_time = Some(self.now());
        let mut responses = Vec::new();
        if !reading.begun.is_empty() {
            let transaction = reading.begun;
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
        let consistency = consistency!(request.consistency_selector, run_query_request, new_transaction);
        let Some(fs::run_query_request::QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(Status::invalid_argument("the query is missing"));
        };
        let query = Query::parse(&request.parent, query)?;
        let reading = self.reading(consistency)?;
        let found = self.run(&query, &reading).await?;
        let read_time = Some(self.now());
        let answer = |document| fs::RunQueryResponse { document, read_time, ..fs::RunQueryResponse::default() };
        let mut responses: Vec<_> = found.into_iter().map(|document| answer(Some(query.project(document)))).collect();
        if responses.is_empty() {
            // Even an empty answer has a read time.
            responses.push(answer(None));
        }
        if let Some(first) = responses.first_mut() {
            first.transaction = reading.begun;
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
        let query = Query::parse(&request.parent, query)?;
        let reading = self.reading(consistency)?;
        let found = self.run(&query, &reading).await?;
        let mut result = fs::AggregationResult::default();
        for (index, aggregation) in aggregation.aggregations.into_iter().enumerate() {
            let alias = if aggregation.alias.is_empty() { format!("field_{}", index + 1) } else { aggregation.alias };
            let operator = aggregation.operator.ok_or_else(|| Status::invalid_argument("an aggregation is empty"))?;
            result.aggregate_fields.insert(alias, aggregate(&found, operator)?);
        }
        Ok(fs::RunAggregationQueryResponse {
            result: Some(result),
            transaction: reading.begun,
            read_time: Some(self.now()),
            explain_metrics: None,
        })
    }

    pub(super) async fn list_documents(
        &self,
        request: fs::ListDocumentsRequest,
    ) -> Result<fs::ListDocumentsResponse, Status> {
        let consistency = consistency!(request.consistency_selector.clone(), list_documents_request, transaction);
        if !request.order_by.is_empty() && request.order_by != "__name__" {
            return Err(Status::unimplemented("this local server lists documents by name only; run a query"));
        }
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(limits::PAGE);
        let size = size.min(limits::PAGE);
        let query = listing(&request, size + 1);
        let query = Query::parse(&request.parent, query)?;
        let reading = self.reading(consistency)?;
        let mut documents = self.run(&query, &reading).await?;
        if request.show_missing {
            documents = self.with_missing(&request, documents, size + 1).await?;
        }
        let more = documents.len() > size;
        documents.truncate(size);
        let next_page_token = documents.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
        if let Some(mask) = request.mask.as_ref().map(path::FieldPath::parse_mask).transpose()? {
            for document in &mut documents {
                document.fields = path::project(&document.fields, &mask);
            }
        }
        Ok(fs::ListDocumentsResponse { documents, next_page_token })
    }

    /// Adds the documents that are not there and have something below them: a name and nothing else. As many as `most`.
    async fn with_missing(
        &self,
        request: &fs::ListDocumentsRequest,
        found: Vec<fs::Document>,
        most: usize,
    ) -> Result<Vec<fs::Document>, Status> {
        let collection = format!("{}/{}", request.parent, request.collection_id);
        let below = collection.clone();
        let ids = self.store.read(move |snapshot| tables::collection_ids(&tables::readable(snapshot)?, &below)).await?;
        let missing = ids.into_iter().map(|id| format!("{collection}/{id}")).filter(|name| *name > request.page_token);
        let missing = missing.map(|name| (name.clone(), fs::Document { name, ..fs::Document::default() }));
        let mut merged: BTreeMap<_, _> = missing.collect();
        merged.extend(found.into_iter().map(|document| (document.name.clone(), document)));
        Ok(merged.into_values().take(most).collect())
    }

    pub(super) async fn list_collection_ids(
        &self,
        request: fs::ListCollectionIdsRequest,
    ) -> Result<fs::ListCollectionIdsResponse, Status> {
        path::check_parent(&request.parent)?;
        let parent = request.parent;
        let found = self.store.read(move |snapshot| tables::collection_ids(&tables::readable(snapshot)?, &parent));
        let mut collection_ids = found.await?;
        collection_ids.sort_unstable();
        Ok(fs::ListCollectionIdsResponse { collection_ids, next_page_token: String::new() })
    }

    pub(super) async fn commit_request(&self, request: fs::CommitRequest) -> Result<fs::CommitResponse, Status> {
        path::check_database(&request.database)?;
        self.commit(request.writes, &request.transaction).await
    }

    pub(super) async fn batch_write_request(
        &self,
        request: fs::BatchWriteRequest,
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
        let document = fs::Document { name: name.clone(), ..request.document.unwrap_or_default() };
        let absent = fs::Precondition { condition_type: Some(fs::precondition::ConditionType::Exists(false)) };
        let write = fs::Write {
            operation: Some(fs::write::Operation::Update(document)),
            current_document: Some(absent),
            ..fs::Write::default()
        };
        self.write_one(write, &name, request.mask).await
    }

    pub(super) async fn update_document(&self, request: fs::UpdateDocumentRequest) -> Result<fs::Document, Status> {
        let document = request.document.ok_or_else(|| Status::invalid_argument("the document is missing"))?;
        let name = document.name.clone();
        let write = fs::Write {
            operation: Some(fs::write::Operation::Update(document)),
            update_mask: request.update_mask,
            current_document: request.current_document,
            ..fs::Write::default()
        };
        self.write_one(write, &name, request.mask).await
    }

    pub(super) async fn delete_document(&self, request: fs::DeleteDocumentRequest) -> Result<(), Status> {
        let write = fs::Write {
            operation: Some(fs::write::Operation::Delete(request.name)),
            current_document: request.current_document,
            ..fs::Write::default()
        };
        self.commit(vec![write], &[]).await.map(|_| ())
    }

    /// Twenty letters and digits as clients make them; unique because ticks are, scattered because they are mixed.
    pub(super) fn new_id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        // An odd factor permutes the numbers of 64 bits (Knuth's multiplicative hash), so distinct ticks stay distinct.
        let mut mixed = u128::from(self.ticker.tick().wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 36;
        let mut id = String::with_capacity(20);
        for _ in 0..20 {
            id.push(char::from(ALPHABET[(mixed % 32) as usize]));
            mixed /= 32;
        }
        id.chars().rev().collect()
    }
}

/// A list of a collection as a query by name.
fn listing(request: &fs::ListDocumentsRequest, limit: usize) -> fs::StructuredQuery {
    use fs::structured_query::CollectionSelector;
    let after =
        |name: &str| fs::Cursor { values: vec![value::of(ValueType::ReferenceValue(name.into()))], before: false };
    fs::StructuredQuery {
        from: vec![CollectionSelector { collection_id: request.collection_id.clone(), all_descendants: false }],
        start_at: (!request.page_token.is_empty()).then(|| after(&request.page_token)),
        limit: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
        ..fs::StructuredQuery::default()
    }
}

fn aggregate(
    found: &[fs::Document],
    operator: fs::structured_aggregation_query::aggregation::Operator,
) -> Result<fs::Value, Status> {
    use fs::structured_aggregation_query::aggregation::Operator;
    let numbers = |field: Option<fs::structured_query::FieldReference>| {
        let path = path::FieldPath::parse(&field.unwrap_or_default().field_path)?;
        let values = found.iter().filter_map(|document| path.get(&document.fields).cloned());
        Ok::<_, Status>(values.filter(|value| value::rank(value) == 2).collect::<Vec<_>>())
    };
    let integer = |number: usize| value::of(ValueType::IntegerValue(i64::try_from(number).unwrap_or(i64::MAX)));
    match operator {
        Operator::Count(count) => {
            let most = count.up_to.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0));
            Ok(integer(found.len().min(most)))
        }
        Operator::Sum(sum) => {
            let numbers = numbers(sum.field)?;
            Ok(numbers.iter().fold(integer(0), |sum, number| write::add(&sum, number)))
        }
        Operator::Avg(avg) => {
            let numbers = numbers(avg.field)?;
            if numbers.is_empty() {
                return Ok(value::of(ValueType::NullValue(0)));
            }
            let sum: f64 = numbers.iter().map(write::as_double).sum();
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 documents here")]
            Ok(value::of(ValueType::DoubleValue(sum / numbers.len() as f64)))
        }
    }
}
