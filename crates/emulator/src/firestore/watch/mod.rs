//! Watching: what clients listen to, kept up to date commit by commit.
//!
//! ```text
//!   store's writer ── commit ──> hub ──> inbox ──> listener ──> responses
//!                                         (one of each per stream)
//!                                                    │ targets: what the client has, and what a commit changes of it
//!                                                    └ reads the store when a target is new, or when a commit alone
//!                                                      cannot tell
//! ```
//! Every commit has a time, every stored state has the time of its last commit, and a listener moves all its targets to the
//! same time before it says so: a snapshot never shows half a commit, and a change is neither lost nor told twice.
//!
//! Nothing here knows how requests and responses travel.

mod hub;
mod listener;
mod snapshot;
mod target;

pub(in crate::firestore) use hub::{Change, Commit, Hub};
pub(in crate::firestore) use listener::Listener;
