//! Firestore's gRPC methods.

use super::{Firestore, fs, streams};
use crate::grpc::{Responses, server_streaming, streaming, unary, unimplemented};
use axum::{extract::Request, response::Response};
use futures::StreamExt;
use std::sync::Arc;
use tonic::Status;

/// `google.firestore.v1.Firestore`.
pub(crate) async fn firestore(service: Arc<Firestore>, method: &str, call: Request) -> Response {
    match method {
        "GetDocument" => unary(call, |get| async move { service.get_document(get).await }).await,
        "ListDocuments" => unary(call, |list| async move { service.list_documents(list).await }).await,
        "ListCollectionIds" => unary(call, |list| async move { service.list_collection_ids(list).await }).await,
        "CreateDocument" => unary(call, |create| async move { service.create_document(create).await }).await,
        "UpdateDocument" => unary(call, |update| async move { service.update_document(update).await }).await,
        "DeleteDocument" => unary(call, |delete| async move { service.delete_document(delete).await }).await,
        "Commit" => unary(call, |commit| async move { service.commit_request(commit).await }).await,
        "BatchWrite" => unary(call, |batch| async move { service.batch_write_request(batch).await }).await,
        "BeginTransaction" => unary(call, |begin| async move { service.begin_transaction(begin) }).await,
        "Rollback" => unary(call, |end: fs::RollbackRequest| async move { service.roll_back(&end) }).await,
        "BatchGetDocuments" => {
            server_streaming(call, |get| async move { service.batch_get_documents(get).await.map(stream) }).await
        }
        "RunQuery" => server_streaming(call, |query| async move { service.run_query(query).await.map(stream) }).await,
        "RunAggregationQuery" => {
            let run = |query| async move { service.run_aggregation_query(query).await.map(|one| stream(vec![one])) };
            server_streaming(call, run).await
        }
        "Listen" => streaming(call, |requests| streams::listen(service, requests.boxed())).await,
        "Write" => streaming(call, |requests| streams::write(service, requests.boxed())).await,
        _ => unimplemented(&call),
    }
}

fn stream<R: Send + 'static>(responses: Vec<R>) -> Responses<R> {
    futures::stream::iter(responses.into_iter().map(Ok::<R, Status>)).boxed()
}
