//! Firestore's streams, Listen and Write, over any transport that carries messages both ways.
//!
//! When the server stops, a stream ends with `UNAVAILABLE`, and clients reconnect. It ends with `OK` only after the
//! client has closed its half.

use super::{Firestore, fs, path, requests::WriteRequest, watch::Listener};
use crate::{
    error::stopping,
    grpc::{Responses, Sender, respond},
    limits,
};
use futures::{StreamExt, stream::BoxStream};
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::Status;

/// The client's half of a stream.
pub(super) type Requests<M> = BoxStream<'static, Result<M, Status>>;

/// `Listen`: the client adds and removes targets, and the server keeps each up to date.
pub(super) fn listen(service: Arc<Firestore>, requests: Requests<fs::ListenRequest>) -> Responses<fs::ListenResponse> {
    respond(limits::MAX_STREAM_RESPONSES, |sender| async move { serve_listen(&service, requests, &sender).await })
}

/// `Write`: commits one request after another.
pub(super) fn write(service: Arc<Firestore>, requests: Requests<WriteRequest>) -> Responses<fs::WriteResponse> {
    respond(limits::MAX_STREAM_RESPONSES, |sender| async move { serve_write(&service, requests, &sender).await })
}

async fn serve_listen(
    service: &Firestore,
    mut requests: Requests<fs::ListenRequest>,
    sender: &Sender<fs::ListenResponse>,
) -> Result<(), Status> {
    let mut listener = Listener::new(service.store.clone(), Arc::clone(&service.hub))?;
    let mut silence =
        interval_at(Instant::now() + limits::LISTEN_KEEP_ALIVE_INTERVAL, limits::LISTEN_KEEP_ALIVE_INTERVAL);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let responses = tokio::select! {
            biased;
            () = service.stop.cancelled() => return Err(stopping()),
            () = sender.closed() => return Ok(()),
            request = requests.next() => match request.transpose()? {
                Some(request) => listener.handle(request).await?,
                None => return Ok(()),
            },
            () = listener.changed() => listener.apply_commits().await?,
            _ = silence.tick() => listener.keep_alive().await?,
        };
        if !responses.is_empty() {
            silence.reset();
        }
        for response in responses {
            send(service, sender, response).await?;
        }
    }
}

async fn serve_write(
    service: &Firestore,
    mut requests: Requests<WriteRequest>,
    sender: &Sender<fs::WriteResponse>,
) -> Result<(), Status> {
    let mut database = None;
    // Clients send back the newest token that they have. A broken stream cannot be resumed, so no responses are kept
    // for it, and the tokens of clients are ignored.
    let mut response_count = 0_u64;
    loop {
        let request = tokio::select! {
            biased;
            () = service.stop.cancelled() => return Err(stopping()),
            () = sender.closed() => return Ok(()),
            request = requests.next() => request.transpose()?,
        };
        let Some(request) = request else { return Ok(()) };
        let mut response = fs::WriteResponse::default();
        match &database {
            None => {
                path::check_database(&request.database)?;
                if !request.stream_id.is_empty() || !request.writes.is_empty() {
                    return Err(Status::invalid_argument("the first request opens a new stream, and writes nothing"));
                }
                response.stream_id = service.new_id();
                database = Some(request.database);
            }
            Some(known) if request.database.is_empty() || request.database == *known => {
                let committed = service.commit(request.writes, &[]).await?;
                response.write_results = committed.write_results;
                response.commit_time = committed.commit_time;
            }
            Some(_) => return Err(Status::invalid_argument("a stream is about one database")),
        }
        response_count += 1;
        response.stream_token = response_count.to_be_bytes().to_vec();
        send(service, sender, response).await?;
    }
}

/// Sends one response, as soon as the client accepts it.
async fn send<R>(service: &Firestore, sender: &Sender<R>, response: R) -> Result<(), Status> {
    tokio::select! {
        biased;
        () = service.stop.cancelled() => Err(stopping()),
        // If the client is gone, the caller's next poll notices it.
        _ = sender.send(Ok(response)) => Ok(()),
    }
}
