//! `GET /v1/batches`: a page of batches, the latest first.

use crate::{dispatch::Dispatch, refusal::Refusal};
use clipfleet_cloud::Document;
use clipfleet_contract::{
    documents::{batch, request},
    list::{PageRequest, page_token},
    names,
};
use serde_json::{Value as Json, json};

impl Dispatch {
    /// A page of batches that have a document, as JSON. `nextPageToken` is empty on the last page.
    pub(crate) async fn list(&self, request: &PageRequest) -> Result<Json, Refusal> {
        let search = batch::latest(&request.filter, request.after(), request.size);
        let batches = self.cloud.documents.find(names::BATCHES, search).await?;
        let records: Vec<_> = batches.iter().map(|batch| names::request_document_of(batch.id())).collect();
        let records = self.cloud.documents.get_fields(&records, &request::LISTED).await?;
        let source_uri = |record: &Option<Document>| record.as_ref().and_then(request::source_uri).map(str::to_owned);
        let listed = batches.iter().zip(&records);
        let listed: Vec<_> =
            listed.map(|(batch, record)| batch::listed_json(batch, source_uri(record).as_deref())).collect();
        let last = batches.last().filter(|_| batches.len() == request.size as usize);
        let next = last.and_then(|last| Some(page_token(batch::created_at_ms(last)?, last.id())));
        Ok(json!({"batches": listed, "nextPageToken": next.unwrap_or_default()}))
    }
}
