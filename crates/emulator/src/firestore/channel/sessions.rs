//! All sessions, by their ids.

use super::session::{Fed, Session};
use crate::limits;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::mpsc;
use tonic::Status;

/// See the module.
#[derive(Default)]
pub(in crate::firestore) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// A new session. Where there are too many, the one that was silent longest makes room, unless all are being answered.
    pub(super) fn open(&self) -> Result<(Arc<Session>, mpsc::Receiver<Fed>), Status> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Status::internal("the system has no random numbers"))?;
        let (session, fed) = Session::new(hex::encode(random));
        let mut sessions = self.0.lock();
        if sessions.len() >= limits::CHANNELS {
            let silent = sessions.values().filter_map(|session| Some((session.idle_since()?, session)));
            let Some((_, silent)) = silent.min_by_key(|(since, _)| *since) else {
                let most = limits::CHANNELS;
                return Err(Status::resource_exhausted(format!(
                    "{most} browsers are connected, which is the most there may be"
                )));
            };
            silent.end();
            let id = silent.id.clone();
            sessions.remove(&id);
        }
        sessions.insert(session.id.clone(), Arc::clone(&session));
        Ok((session, fed))
    }

    /// The session of an id. Browsers look for the words "Unknown SID" and begin anew.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Session>, Status> {
        let unknown =
            || Status::invalid_argument("Unknown SID: the session ended, or the server was started again since");
        self.0.lock().get(id).cloned().ok_or_else(unknown)
    }

    /// Forgets a session that is over.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}
