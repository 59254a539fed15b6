//! All sessions, by ID. They live in memory: after a restart, a browser is told that its session is unknown, and the
//! SDK opens another one and resumes by its own token.

use super::session::{QueuedMessage, Session};
use crate::limits;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::mpsc;
use tonic::Status;

/// See the module.
#[derive(Default)]
pub(in crate::firestore) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// Opens a session. At the limit, the session that has been silent longest is closed, unless all have an open back
    /// channel.
    pub(super) fn open(&self) -> Result<(Arc<Session>, mpsc::Receiver<QueuedMessage>), Status> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Status::internal("the system has no random numbers"))?;
        let (session, receiver) = Session::new(hex::encode(random));
        let mut sessions = self.0.lock();
        if sessions.len() >= limits::MAX_CHANNEL_SESSIONS {
            let idle = sessions.values().filter_map(|session| Some((session.idle_since()?, session)));
            let Some((_, idle)) = idle.min_by_key(|(since, _)| *since) else {
                let max = limits::MAX_CHANNEL_SESSIONS;
                return Err(Status::resource_exhausted(format!(
                    "{max} browsers are connected, which is the most there may be"
                )));
            };
            idle.close();
            let id = idle.id.clone();
            sessions.remove(&id);
        }
        sessions.insert(session.id.clone(), Arc::clone(&session));
        Ok((session, receiver))
    }

    /// The session with this ID. Browsers look for the words "Unknown SID" and then open a new session.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Session>, Status> {
        let unknown =
            || Status::invalid_argument("Unknown SID: the session ended, or the server was started again since");
        self.0.lock().get(id).cloned().ok_or_else(unknown)
    }

    /// Removes a closed session.
    pub(super) fn remove(&self, id: &str) {
        self.0.lock().remove(id);
    }
}
