//! Resumable uploads: begun with the metadata, continued in any number of requests, finished by the request with the
//! last byte.
//!
//! Sessions are in memory: after a restart, clients get 404 and begin again.

use super::{
    NewObject, Storage,
    error::ApiError,
    files::{Sink, Upload},
    gcs, json,
    range::ContentRange,
};
use crate::limits;
use axum::body::Body;
use futures::StreamExt;
use parking_lot::Mutex;
use std::{sync::Arc, time::Instant};

/// One upload.
pub(super) struct UploadSession {
    upload: Arc<Mutex<Upload>>,
    /// Processes one request at a time. A client that reconnects waits until the server notices that its previous
    /// request broke.
    state: tokio::sync::Mutex<UploadState>,
    last_used: Mutex<Instant>,
    /// The size that its `x-upload-content-length` declared.
    declared: Option<u64>,
}

enum UploadState {
    /// Accepts bytes.
    Open(Box<NewObject>),
    /// Became this object; a client that lost the response may ask again.
    Finished(Box<gcs::Object>),
    /// Was rejected; the bytes are deleted.
    Rejected(ApiError),
}

/// The state of an upload after a request.
pub(super) enum Progress {
    /// This many bytes are stored.
    Stored(u64),
    /// It is finished.
    Finished(Box<gcs::Object>),
}

impl Storage {
    /// Begins an upload, whose size may be `declared`; returns its ID.
    pub(super) async fn begin_upload(
        self: &Arc<Self>,
        new: NewObject,
        declared: Option<u64>,
    ) -> Result<String, ApiError> {
        self.check_insert(&new).await?;
        let upload = self.receive().await?;
        let id = format!("{:x}", self.ticker.tick());
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.last_used.lock().elapsed() < limits::UPLOAD_IDLE_TIMEOUT);
        if sessions.len() >= limits::MAX_UPLOADS {
            return Err(ApiError::Exhausted("Too many uploads are in progress.".into()));
        }
        let state = tokio::sync::Mutex::new(UploadState::Open(Box::new(new)));
        let last_used = Mutex::new(Instant::now());
        sessions.insert(id.clone(), Arc::new(UploadSession { upload, state, last_used, declared }));
        Ok(id)
    }

    /// Cancels an upload.
    pub(super) fn cancel_upload(&self, id: &str) -> Result<(), ApiError> {
        self.sessions.lock().remove(id).map(|_| ()).ok_or_else(upload_not_found)
    }

    /// Appends a request's bytes. `hash` is the request's `x-goog-hash`, which is verified against the whole object.
    pub(super) async fn continue_upload(
        self: &Arc<Self>,
        id: &str,
        content_range: ContentRange,
        hash: Option<&str>,
        body: Body,
    ) -> Result<Progress, ApiError> {
        let session = self.sessions.lock().get(id).cloned().ok_or_else(upload_not_found)?;
        *session.last_used.lock() = Instant::now();
        let mut state = session.state.lock().await;
        let new = match &mut *state {
            UploadState::Open(new) => new,
            UploadState::Finished(object) => return Ok(Progress::Finished(object.clone())),
            UploadState::Rejected(error) => return Err(error.clone()),
        };
        if let Some(hash) = hash {
            json::expect_hash(new.resource.checksums.get_or_insert_default(), hash)?;
        }
        session.check_total(content_range.total())?;
        if !session.append(content_range, body).await? {
            return Ok(Progress::Stored(session.size()));
        }
        session.check_total(Some(session.size()))?;
        let new = match std::mem::replace(&mut *state, UploadState::Rejected(upload_not_found())) {
            UploadState::Open(new) => new,
            other => {
                *state = other;
                return Err(upload_not_found());
            }
        };
        // This runs in its own task, so that a caller that disconnects now finds the outcome when it asks again.
        let (this, this_session) = (Arc::clone(self), Arc::clone(&session));
        drop(state);
        tokio::spawn(async move {
            let mut state = this_session.state.lock().await;
            let inserted = this.insert(*new, Arc::clone(&this_session.upload)).await.map(Box::new);
            *state = match &inserted {
                Ok(object) => UploadState::Finished(object.clone()),
                Err(error) => UploadState::Rejected(error.clone()),
            };
            inserted.map(Progress::Finished)
        })
        .await?
    }
}

impl UploadSession {
    fn size(&self) -> u64 {
        self.upload.lock().size()
    }

    /// Compares a total with the declared size. The upload stays open: its client may have lost bytes on the way.
    fn check_total(&self, total: Option<u64>) -> Result<(), ApiError> {
        match (self.declared, total) {
            (Some(declared), Some(total)) if declared != total => Err(ApiError::Invalid(format!(
                "The upload has {total} bytes, but x-upload-content-length declared {declared}."
            ))),
            _ => Ok(()),
        }
    }

    /// Appends the bytes of a request; returns true if the object is complete.
    async fn append(&self, content_range: ContentRange, body: Body) -> Result<bool, ApiError> {
        let stored = self.size();
        let (start, total, last) = match content_range {
            ContentRange::Empty { total } => return Ok(total == Some(stored)),
            ContentRange::Bytes { start, total, last } => (start, total, last),
        };
        // A client that is behind sends bytes again, which are skipped. A client that is ahead has lost bytes, and the
        // response tells it where to continue.
        let gap = start > stored;
        let mut skip = if gap { u64::MAX } else { stored - start };
        let mut sink = Sink::new(Arc::clone(&self.upload));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let Ok(mut chunk) = chunk else {
                // The bytes that arrived before the connection broke are kept.
                sink.flush().await?;
                return Err(ApiError::Invalid("The connection broke.".into()));
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            if skipped < chunk.len() {
                sink.push(chunk.split_off(skipped)).await?;
            }
        }
        sink.flush().await?;
        Ok(!gap && total.map_or(last, |total| self.size() >= total))
    }
}

fn upload_not_found() -> ApiError {
    ApiError::NotFound("The upload does not exist, was cancelled, or is from before a restart of this server.".into())
}
