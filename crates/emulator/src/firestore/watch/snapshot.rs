//! The messages between two consistent snapshots: the last change of each document per target, in as few messages as
//! possible.

use crate::{
    clock,
    firestore::{fs, path::DocumentName, rpc, rpc_status},
};
use fs::{listen_response::ResponseType, target_change::TargetChangeType};
use std::{collections::HashMap, sync::Arc};
use tonic::Status;

/// The change of a document in one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Delta {
    /// It is in the target, and is new there or changed.
    Shown(Arc<fs::Document>),
    /// It changed, and is no longer in the target.
    Left(Arc<fs::Document>),
    /// It is unchanged, but other documents took its place in the window.
    PushedOut,
    /// It no longer exists.
    Deleted,
}

/// The changes of one snapshot, in the order in which documents first changed.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    documents: Vec<(DocumentName, Vec<(i32, Delta)>)>,
    indexes: HashMap<DocumentName, usize>,
}

impl Outbox {
    /// Adds a change. It replaces an earlier one of the same document in the same target.
    pub(super) fn push(&mut self, target: i32, name: DocumentName, delta: Delta) {
        let index = *self.indexes.entry(name).or_insert_with_key(|name| {
            self.documents.push((name.clone(), Vec::new()));
            self.documents.len() - 1
        });
        let deltas = &mut self.documents[index].1;
        deltas.retain(|(known, _)| *known != target);
        deltas.push((target, delta));
    }

    /// Drops the changes of a target that ended.
    pub(super) fn remove_target(&mut self, target: i32) {
        self.documents.iter_mut().for_each(|(_, deltas)| deltas.retain(|(known, _)| *known != target));
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.documents.iter().all(|(_, deltas)| deltas.is_empty())
    }

    /// The messages that bring a client to the snapshot at time `at`.
    pub(super) fn into_responses(self, at: u64) -> impl Iterator<Item = fs::ListenResponse> {
        self.documents.into_iter().flat_map(move |(name, deltas)| messages(&name, deltas, at))
    }
}

/// The messages about one document. Targets with the same view of it share one message.
fn messages(name: &DocumentName, deltas: Vec<(i32, Delta)>, at: u64) -> Vec<fs::ListenResponse> {
    let mut changes: Vec<(Arc<fs::Document>, fs::DocumentChange)> = Vec::new();
    let (mut deleted, mut pushed_out) = (Vec::new(), Vec::new());
    for (target, delta) in deltas {
        let (document, shown) = match delta {
            Delta::Shown(document) => (document, true),
            Delta::Left(document) => (document, false),
            Delta::PushedOut => {
                pushed_out.push(target);
                continue;
            }
            Delta::Deleted => {
                deleted.push(target);
                continue;
            }
        };
        // Each target may have its own projection.
        let index = changes.iter().position(|(known, _)| *known == document).unwrap_or_else(|| {
            changes.push((document, fs::DocumentChange::default()));
            changes.len() - 1
        });
        let change = &mut changes[index].1;
        if shown { change.target_ids.push(target) } else { change.removed_target_ids.push(target) }
    }
    let changes = changes.into_iter().map(|(document, change)| {
        ResponseType::DocumentChange(fs::DocumentChange { document: Some(Arc::unwrap_or_clone(document)), ..change })
    });
    let read_time = Some(clock::timestamp(at));
    let deleted = (!deleted.is_empty()).then(|| {
        let document = name.to_string();
        ResponseType::DocumentDelete(fs::DocumentDelete { document, removed_target_ids: deleted, read_time })
    });
    let pushed_out = (!pushed_out.is_empty()).then(|| {
        let document = name.to_string();
        ResponseType::DocumentRemove(fs::DocumentRemove { document, removed_target_ids: pushed_out, read_time })
    });
    changes.chain(deleted).chain(pushed_out).map(response).collect()
}

/// The target was added.
pub(super) fn added(target: i32) -> fs::ListenResponse {
    target_change(TargetChangeType::Add, vec![target], None, None)
}

/// The client must discard its state of the target.
pub(super) fn reset(target: i32) -> fs::ListenResponse {
    target_change(TargetChangeType::Reset, vec![target], None, None)
}

/// The target's first result is complete.
pub(super) fn current(target: i32, at: u64) -> fs::ListenResponse {
    target_change(TargetChangeType::Current, vec![target], None, Some(at))
}

/// All targets are at the same time.
pub(super) fn consistent(at: u64) -> fs::ListenResponse {
    target_change(TargetChangeType::NoChange, Vec::new(), None, Some(at))
}

/// The target ended, on request or because of an error.
pub(super) fn removed(target: i32, cause: Option<&Status>) -> fs::ListenResponse {
    target_change(TargetChangeType::Remove, vec![target], cause.map(rpc_status), None)
}

fn target_change(
    kind: TargetChangeType,
    target_ids: Vec<i32>,
    cause: Option<rpc::Status>,
    at: Option<u64>,
) -> fs::ListenResponse {
    response(ResponseType::TargetChange(fs::TargetChange {
        target_change_type: kind.into(),
        target_ids,
        cause,
        // A client needs only the time to resume.
        resume_token: at.map(|at| at.to_be_bytes().to_vec()).unwrap_or_default(),
        read_time: at.map(clock::timestamp),
    }))
}

fn response(response_type: ResponseType) -> fs::ListenResponse {
    fs::ListenResponse { response_type: Some(response_type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str) -> DocumentName {
        DocumentName { collection: "c".into(), id: id.into() }
    }

    fn document(id: &str, at: u64) -> Arc<fs::Document> {
        let update_time = Some(clock::timestamp(at));
        Arc::new(fs::Document { name: name(id).to_string(), update_time, ..fs::Document::default() })
    }

    fn sent(outbox: Outbox) -> Vec<ResponseType> {
        outbox.into_responses(9).filter_map(|response| response.response_type).collect()
    }

    #[test]
    fn targets_share_the_message_about_a_document() {
        let mut outbox = Outbox::default();
        outbox.push(1, name("a"), Delta::Shown(document("a", 1)));
        outbox.push(2, name("a"), Delta::Left(document("a", 1)));
        outbox.push(3, name("a"), Delta::PushedOut);
        let sent = sent(outbox);
        assert_eq!(sent.len(), 2);
        let ResponseType::DocumentChange(change) = &sent[0] else { panic!("{sent:?}") };
        assert_eq!((&change.target_ids[..], &change.removed_target_ids[..]), (&[1][..], &[2][..]));
        let ResponseType::DocumentRemove(remove) = &sent[1] else { panic!("{sent:?}") };
        assert_eq!((&remove.removed_target_ids[..], remove.read_time), (&[3][..], Some(clock::timestamp(9))));
    }

    #[test]
    fn only_the_last_change_is_sent_and_none_of_ended_targets() {
        let mut outbox = Outbox::default();
        outbox.push(1, name("a"), Delta::Shown(document("a", 1)));
        outbox.push(1, name("a"), Delta::Deleted);
        outbox.push(2, name("b"), Delta::Shown(document("b", 1)));
        outbox.remove_target(2);
        assert!(!outbox.is_empty());
        let sent = sent(outbox);
        assert!(matches!(&sent[..], [ResponseType::DocumentDelete(delete)] if delete.document == "c/a"), "{sent:?}");
    }
}
