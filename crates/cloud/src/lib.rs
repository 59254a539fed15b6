//! The cloud services that Clipfleet uses, as traits: a [`Queue`] of messages, [`Objects`] in buckets and [`Documents`]
//! in collections. `google` implements them on Google Cloud (or any server with its protocols, such as
//! `clipfleet-emulator`), `memory` in the process, for simulation in virtual time.
//!
//! This is the only crate that uses Google's clients. It knows nothing of clips, batches or workers.

mod documents;
mod error;
mod links;
mod objects;
mod queue;
mod refusal;
mod subscription;

pub mod google;
pub mod memory;

use std::sync::Arc;

pub use documents::{
    Amendment, Document, Documents, Fields, Order, Precondition, Search, Value, Version, Write, fields_of,
};
pub use error::{CloudError, ErrorKind};
pub use links::{DOWNLOAD_TOKENS, Hosts, Link, LinkKind, Links, SIGNED_LINK_LIFETIME};
pub use objects::{Body, NewObject, ObjectInfo, ObjectName, Objects};
pub use queue::{Deliveries, Delivery, Lease, Message, Queue, SubscriptionSpec};
pub use refusal::{REFUSAL_LIMIT, RefusalRetry, until_answered};
pub use subscription::Subscription;

/// One connected cloud: the three services that a role uses.
#[derive(Clone)]
pub struct Cloud {
    /// Messages.
    pub queue: Arc<dyn Queue>,
    /// Objects in buckets.
    pub objects: Arc<dyn Objects>,
    /// Documents in collections.
    pub documents: Arc<dyn Documents>,
}
