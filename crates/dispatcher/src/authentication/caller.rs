//! What a caller may do.

use super::forbidden;
use crate::{
    dispatch::Dispatch,
    record,
    refusal::{Refusal, no_such_batch},
};
use clipfleet_contract::{documents::batch, list::PageRequest, names, v1};
use clipfleet_domain::ids::{BatchId, OwnerUid};

/// A caller of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// May do everything.
    Operator,
    /// May use batches of every owner.
    Requester,
    /// May use their own batches.
    Owner(OwnerUid),
}

impl Caller {
    /// Fails unless the caller may operate the fleet.
    pub(crate) fn check_operator(&self) -> Result<(), Refusal> {
        match self {
            Self::Operator => Ok(()),
            Self::Requester | Self::Owner(_) => {
                Err(forbidden("only operators of the fleet may do this (CLIPFLEET_OPERATORS)".to_owned()))
            }
        }
    }

    /// Fails unless the caller may request for the owner whom a request names. An owner need not name themselves.
    pub(crate) fn claim(&self, request: &mut v1::ExportBatch) -> Result<(), Refusal> {
        let Self::Owner(owner) = self else { return Ok(()) };
        if request.owner_uid.is_empty() {
            owner.as_str().clone_into(&mut request.owner_uid);
        }
        self.check_owner(&request.owner_uid)
    }

    /// Limits a list to what the caller may see.
    pub(crate) fn limit(&self, page: &mut PageRequest) -> Result<(), Refusal> {
        let Self::Owner(owner) = self else { return Ok(()) };
        let asked = page.filter.owner.get_or_insert_with(|| owner.clone());
        self.check_owner(asked.as_str())
    }

    fn check_owner(&self, named: &str) -> Result<(), Refusal> {
        match self {
            Self::Owner(owner) if owner.as_str() != named => Err(forbidden(format!(
                "the caller may only act for themselves, {:?}, got owner {named:?}",
                owner.as_str()
            ))),
            _ => Ok(()),
        }
    }
}

impl Dispatch {
    /// Fails as if the batch did not exist unless the caller may use it: others' ids are not confirmed.
    pub(crate) async fn check_caller(&self, caller: &Caller, id: &BatchId) -> Result<(), Refusal> {
        let Caller::Owner(owner) = caller else { return Ok(()) };
        let record = record::load(&self.cloud, id).await?;
        let known = match record {
            Some(stored) => Some(stored.record.request.owner_uid),
            // A batch from the topic that was refused has no record.
            None => self.cloud.documents.get_one(names::batch_document(id)).await?.as_ref().and_then(batch::owner_uid),
        };
        if known.is_some_and(|known| known == owner.as_str()) { Ok(()) } else { Err(no_such_batch(id)) }
    }
}
