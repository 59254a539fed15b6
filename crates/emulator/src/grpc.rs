//! gRPC methods over the message types of client-only crates. There are no generated server traits; each method is one
//! call.

use crate::limits;
use axum::{body::Body, response::Response};
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use prost::Message;
use std::{future::Future, marker::PhantomData};
use tokio::sync::mpsc;
use tonic::{
    Request, Status, Streaming,
    server::{Grpc, ServerStreamingService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

/// The server's half of a stream of responses.
pub(crate) type Responses<R> = BoxStream<'static, Result<R, Status>>;

/// The sending end of a stream of responses.
pub(crate) type Sender<R> = mpsc::Sender<Result<R, Status>>;

/// Runs the server's half of a stream in its own task. If the task fails, the error is the stream's last item. Up to
/// `capacity` responses are buffered before the task waits for the client.
pub(crate) fn respond<R, F>(capacity: usize, serve: impl FnOnce(Sender<R>) -> F) -> Responses<R>
where
    R: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(capacity);
    let serving = serve(sender.clone());
    tokio::spawn(async move {
        if let Err(status) = serving.await {
            // A client that reads nothing does not receive the error either.
            let _ = tokio::time::timeout(limits::STOP_GRACE_PERIOD, sender.send(Err(status))).await;
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })
        .boxed()
}

struct Handler<F, R>(Option<F>, PhantomData<fn() -> R>);

impl<F, R> Handler<F, R> {
    fn new(handle: F) -> Self {
        Self(Some(handle), PhantomData)
    }

    /// A handler serves one call, so it is present when that call arrives.
    fn take(&mut self) -> Result<F, Status> {
        self.0.take().ok_or_else(|| Status::internal("the handler was already used"))
    }
}

type ResponseFuture<R> = BoxFuture<'static, Result<tonic::Response<R>, Status>>;

impl<M, R, F, Fut> UnaryService<M> for Handler<F, R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(M) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, Status>> + Send,
{
    type Response = R;
    type Future = ResponseFuture<R>;
    fn call(&mut self, request: Request<M>) -> Self::Future {
        let handle = self.take();
        Box::pin(async move { handle?(request.into_inner()).await.map(tonic::Response::new) })
    }
}

impl<M, R, F, Fut> ServerStreamingService<M> for Handler<F, R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(M) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Responses<R>, Status>> + Send,
{
    type Response = R;
    type ResponseStream = Responses<R>;
    type Future = ResponseFuture<Responses<R>>;
    fn call(&mut self, request: Request<M>) -> Self::Future {
        let handle = self.take();
        Box::pin(async move { handle?(request.into_inner()).await.map(tonic::Response::new) })
    }
}

impl<M, R, F> StreamingService<M> for Handler<F, R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Streaming<M>) -> Responses<R> + Send + 'static,
{
    type Response = R;
    type ResponseStream = Responses<R>;
    type Future = ResponseFuture<Responses<R>>;
    fn call(&mut self, request: Request<Streaming<M>>) -> Self::Future {
        let handle = self.take();
        Box::pin(async move { Ok(tonic::Response::new(handle?(request.into_inner()))) })
    }
}

fn codec<M, R>() -> Grpc<ProstCodec<R, M>>
where
    M: Message + Default + 'static,
    R: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(limits::MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX)
}

/// Answers one message with one message.
pub(crate) async fn unary<M, R, F, Fut>(call: axum::extract::Request, handle: F) -> Response
where
    M: Message + Default + 'static,
    R: Message + Default + 'static,
    F: FnOnce(M) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, Status>> + Send,
{
    codec().unary(Handler::new(handle), call).await.map(Body::new)
}

/// Answers one message with a stream. This function and the next return boxed futures: the compiler loses track of the
/// lifetimes in the type of a stream's future when it is part of a larger one.
pub(crate) fn server_streaming<M, R, F, Fut>(call: axum::extract::Request, handle: F) -> BoxFuture<'static, Response>
where
    M: Message + Default + 'static,
    R: Message + Default + 'static,
    F: FnOnce(M) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Responses<R>, Status>> + Send,
{
    Box::pin(async move { codec().server_streaming(Handler::new(handle), call).await.map(Body::new) })
}

/// Answers a stream with a stream. The headers are sent immediately.
pub(crate) fn streaming<M, R, F>(call: axum::extract::Request, handle: F) -> BoxFuture<'static, Response>
where
    M: Message + Default + 'static,
    R: Message + Default + 'static,
    F: FnOnce(Streaming<M>) -> Responses<R> + Send + 'static,
{
    Box::pin(async move { codec().streaming(Handler::new(handle), call).await.map(Body::new) })
}

/// Rejects a method that Google has and this server lacks.
pub(crate) fn unimplemented(call: &axum::extract::Request) -> Response {
    let method = call.uri().path().trim_start_matches('/');
    Status::unimplemented(format!("{method} is not part of this local server")).into_http()
}
