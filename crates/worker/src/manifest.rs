//! The manifest of a clip: an object beside it, named after the attempt that made both. The clip's metadata names it, and so binds
//! what is visible to its proof, whichever of several attempts won.

use crate::Worker;
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectName};
use clipfleet_domain::{ids::AttemptId, lifecycle::ManifestRef};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

const NAME: &str = "clipfleet-manifest";
const SHA256: &str = "clipfleet-manifest-sha256";

/// Stores a manifest beside the clip that is to become visible.
pub(crate) async fn store(
    worker: &Worker,
    clip: &ObjectName,
    attempt: &AttemptId,
    json: String,
) -> Result<ManifestRef, CloudError> {
    let name = beside(clip, attempt);
    let reference = ManifestRef { uri: name.to_string(), sha256: hex::encode(Sha256::digest(&json)) };
    let new = NewObject { content_type: "application/json".into(), metadata: BTreeMap::new() };
    match worker.cloud.objects.create(&name, new, Body::Bytes(json.into())).await {
        Ok(_) => Ok(reference),
        // An attempt stores one manifest; a call repeated after a lost answer finds it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(reference),
        Err(error) => Err(error),
    }
}

/// Names a manifest in the metadata of its clip.
pub(crate) fn note(metadata: &mut BTreeMap<String, String>, manifest: &ManifestRef) {
    metadata.insert(NAME.to_owned(), manifest.uri.clone());
    metadata.insert(SHA256.to_owned(), manifest.sha256.clone());
}

/// The manifest that a clip's metadata names; empty for clips made before there were any.
pub(crate) fn named_in(metadata: &BTreeMap<String, String>) -> ManifestRef {
    let label = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    ManifestRef { uri: label(NAME), sha256: label(SHA256) }
}

/// Removes the manifest of an attempt that lost the race. One that cannot be removed harms nobody: nothing names it. When the
/// winner is this very attempt, whose answer was lost, it stays.
pub(crate) async fn discard_unless_named(
    worker: &Worker,
    clip: &ObjectName,
    attempt: &AttemptId,
    visible: &BTreeMap<String, String>,
) {
    let own = beside(clip, attempt);
    if named_in(visible).uri == own.to_string() {
        return;
    }
    if let Err(error) = worker.cloud.objects.delete(&own).await {
        tracing::debug!(%error, manifest = %own, "manifest of a lost race not removed");
    }
}

fn beside(clip: &ObjectName, attempt: &AttemptId) -> ObjectName {
    let stem = clip.object.strip_suffix(".mp4").unwrap_or(&clip.object);
    ObjectName::new(clip.bucket.clone(), format!("{stem}.{attempt}.manifest.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lies_beside_its_clip_and_is_found_in_its_metadata() {
        let attempt = AttemptId::parse("a1").unwrap();
        let name = beside(&ObjectName::new("b", "clips/u/c1-0123.mp4"), &attempt);
        assert_eq!(name.to_string(), "gs://b/clips/u/c1-0123.a1.manifest.json");
        let manifest = ManifestRef { uri: name.to_string(), sha256: "ab".into() };
        let mut metadata = BTreeMap::new();
        assert_eq!(named_in(&metadata), ManifestRef::default());
        note(&mut metadata, &manifest);
        assert_eq!(named_in(&metadata), manifest);
    }
}
