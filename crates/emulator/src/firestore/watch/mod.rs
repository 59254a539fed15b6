//! Watching: keeps the targets of listeners up to date, commit by commit.
//!
//! ```text
//!   store's writer ── commit ──> hub ──> inbox ──> listener ──> responses
//!                                         (one of each per stream)
//!                                                    │ targets: the client's state, and its changes by a commit
//!                                                    └ reads the store for a new target, and when a commit alone is
//!                                                      not sufficient
//! ```
//! Every commit has a time, and every stored state has the time of its last commit. A listener moves all its targets to
//! the same time before it reports a snapshot. So a snapshot never contains half a commit, and no change is lost or
//! sent twice.
//!
//! This module does not depend on the transport of requests and responses.

mod hub;
mod listener;
mod snapshot;
mod target;

pub(in crate::firestore) use hub::{Change, Commit, Hub};
pub(in crate::firestore) use listener::Listener;
