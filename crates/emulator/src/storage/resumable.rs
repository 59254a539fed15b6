//! Resumable uploads: begun with the metadata, fed in any number of requests, finished by the one that brings the last byte.
//!
//! Sessions live in memory: after a restart their clients get 404 and begin again.

use super::{
    NewObject, Storage,
    error::Refusal,
    files::{Sink, Upload},
    gcs, json,
    range::Carried,
};
use crate::limits;
use axum::body::Body;
use futures::StreamExt;
use parking_lot::Mutex;
use std::{sync::Arc, time::Instant};

/// One upload.
pub(super) struct Session {
    upload: Arc<Mutex<Upload>>,
    /// One request at a time; a client that comes back waits until its broken request is noticed.
    turn: tokio::sync::Mutex<Turn>,
    touched: Mutex<Instant>,
    /// The size that its `x-upload-content-length` promised.
    declared: Option<u64>,
}

enum Turn {
    /// Waits for bytes.
    Open(Box<NewObject>),
    /// Became this object; a client that lost the answer may ask again.
    Finished(Box<gcs::Object>),
    /// Was refused; the bytes are gone.
    Refused(Refusal),
}

/// Where an upload stands after a request.
pub(super) enum Progress {
    /// So many bytes are stored.
    Stored(u64),
    /// It is finished.
    Finished(Box<gcs::Object>),
}

impl Storage {
    /// Begins an upload of a size that may be `declared`; returns its id.
    pub(super) async fn begin_upload(
        self: &Arc<Self>,
        new: NewObject,
        declared: Option<u64>,
    ) -> Result<String, Refusal> {
        self.check_insert(&new).await?;
        let upload = self.receive().await?;
        let id = format!("{:x}", self.ticker.tick());
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.touched.lock().elapsed() < limits::UPLOAD_IDLE);
        if sessions.len() >= limits::UPLOADS {
            return Err(Refusal::Exhausted("Too many uploads are in progress.".into()));
        }
        let turn = tokio::sync::Mutex::new(Turn::Open(Box::new(new)));
        let touched = Mutex::new(Instant::now());
        sessions.insert(id.clone(), Arc::new(Session { upload, turn, touched, declared }));
        Ok(id)
    }

    /// Gives up an upload.
    pub(super) fn cancel_upload(&self, id: &str) -> Result<(), Refusal> {
        self.sessions.lock().remove(id).map(|_| ()).ok_or_else(no_upload)
    }

    /// Takes a request's bytes. `hash` is the request's `x-goog-hash`, to be checked against the whole object.
    pub(super) async fn continue_upload(
        self: &Arc<Self>,
        id: &str,
        carried: Carried,
        hash: Option<&str>,
        body: Body,
    ) -> Result<Progress, Refusal> {
        let session = self.sessions.lock().get(id).cloned().ok_or_else(no_upload)?;
        *session.touched.lock() = Instant::now();
        let mut turn = session.turn.lock().await;
        let new = match &mut *turn {
            Turn::Open(new) => new,
            Turn::Finished(object) => return Ok(Progress::Finished(object.clone())),
            Turn::Refused(refusal) => return Err(refusal.clone()),
        };
        if let Some(hash) = hash {
            json::expect_hash(new.resource.checksums.get_or_insert_default(), hash)?;
        }
        session.check_total(carried.total())?;
        if !session.take(carried, body).await? {
            return Ok(Progress::Stored(session.size()));
        }
        session.check_total(Some(session.size()))?;
        let new = match std::mem::replace(&mut *turn, Turn::Refused(no_upload())) {
            Turn::Open(new) => new,
            other => {
                *turn = other;
                return Err(no_upload());
            }
        };
        // In a task of its own, so that a caller who hangs up now finds the outcome when it asks again.
        let (this, finishing) = (Arc::clone(self), Arc::clone(&session));
        drop(turn);
        tokio::spawn(async move {
            let mut turn = finishing.turn.lock().await;
            let inserted = this.insert(*new, Arc::clone(&finishing.upload)).await.map(Box::new);
            *turn = match &inserted {
                Ok(object) => Turn::Finished(object.clone()),
                Err(refusal) => Turn::Refused(refusal.clone()),
            };
            inserted.map(Progress::Finished)
        })
        .await?
    }
}

impl Session {
    fn size(&self) -> u64 {
        self.upload.lock().size()
    }

    /// Holds a total against the declared one. The upload stays open: its client may have lost bytes on the way.
    fn check_total(&self, total: Option<u64>) -> Result<(), Refusal> {
        match (self.declared, total) {
            (Some(declared), Some(total)) if declared != total => Err(Refusal::Invalid(format!(
                "The upload has {total} bytes, but x-upload-content-length declared {declared}."
            ))),
            _ => Ok(()),
        }
    }

    /// Appends what a request carries; true when the object is whole.
    async fn take(&self, carried: Carried, body: Body) -> Result<bool, Refusal> {
        let stored = self.size();
        let (start, total, last) = match carried {
            Carried::Nothing { total } => return Ok(total == Some(stored)),
            Carried::Bytes { start, total, last } => (start, total, last),
        };
        // A client that is behind sends bytes again, which are skipped; one that is ahead has lost some, and is told where
        // to go on.
        let gap = start > stored;
        let mut skip = if gap { u64::MAX } else { stored - start };
        let mut sink = Sink::new(Arc::clone(&self.upload));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let Ok(mut chunk) = chunk else {
                // What arrived before the connection broke is kept.
                sink.flush().await?;
                return Err(Refusal::Invalid("The connection broke.".into()));
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

fn no_upload() -> Refusal {
    Refusal::NotFound("The upload does not exist, was cancelled, or is from before a restart of this server.".into())
}
