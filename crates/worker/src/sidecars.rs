//! A clip's sidecars: the objects of its manifest and its cover, whose names contain the id of the attempt. The clip's
//! metadata names them, so that a visible clip always has the manifest and the cover of the same attempt.

use crate::context::Worker;
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectInfo, ObjectName};
use clipfleet_domain::{ids::AttemptId, lifecycle::ManifestRef, source::ObjectUri};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fs::File, sync::Arc};

const MANIFEST: &str = "clipfleet-manifest";
const MANIFEST_SHA256: &str = "clipfleet-manifest-sha256";
const COVER: &str = "clipfleet-cover";

const MANIFEST_SUFFIX: &str = "manifest.json";
const COVER_SUFFIX: &str = "jpg";

/// Stores the sidecars of a clip before it becomes visible; the cover with `link`, the metadata of its link. Returns
/// the metadata that names them.
pub(crate) async fn store(
    worker: &Worker,
    clip: &ObjectName,
    attempt: &AttemptId,
    manifest: String,
    cover: Arc<File>,
    link: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, CloudError> {
    let names = [MANIFEST_SUFFIX, COVER_SUFFIX].map(|suffix| sidecar_name(clip, attempt, suffix));
    let sha256 = hex::encode(Sha256::digest(&manifest));
    let [manifest_name, cover_name] = &names;
    tokio::try_join!(
        create(worker, manifest_name, "application/json", BTreeMap::new(), Body::Bytes(manifest.into())),
        create(worker, cover_name, "image/jpeg", link, Body::Opened(cover)),
    )?;
    let labels = [(MANIFEST, manifest_name.to_string()), (MANIFEST_SHA256, sha256), (COVER, cover_name.to_string())];
    Ok(labels.map(|(label, value)| (label.to_owned(), value)).into())
}

async fn create(
    worker: &Worker,
    name: &ObjectName,
    content_type: &str,
    metadata: BTreeMap<String, String>,
    body: Body,
) -> Result<(), CloudError> {
    let new = NewObject { content_type: content_type.into(), metadata };
    match worker.cloud.objects.create(name, new, body).await {
        Ok(_) => Ok(()),
        // An attempt stores each sidecar once, so it is its own: the call was repeated because a response was lost.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is known of a clip's sidecars.
pub(crate) struct Existing {
    /// The clip's metadata without the names of missing sidecars.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The cover.
    pub(crate) cover: Option<(ObjectName, ObjectInfo)>,
}

/// Looks the sidecars of a clip up. A cancelled request may have created the clip after its attempt removed the
/// sidecars, and no document may name an object that does not exist.
pub(crate) async fn existing(worker: &Worker, mut metadata: BTreeMap<String, String>) -> Result<Existing, CloudError> {
    let mut cover = None;
    for label in [MANIFEST, COVER] {
        let Some(name) = object_named_in(&metadata, label) else { continue };
        match worker.cloud.objects.stat(&name, None).await {
            Ok(found) if label == COVER => cover = Some((name, found)),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(%name, "missing sidecar of a clip");
                metadata.remove(label);
                if label == MANIFEST {
                    metadata.remove(MANIFEST_SHA256);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Existing { metadata, cover })
}

fn object_named_in(metadata: &BTreeMap<String, String>, label: &str) -> Option<ObjectName> {
    let uri = ObjectUri::parse(metadata.get(label)?).ok()?;
    Some(ObjectName::new(uri.bucket(), uri.object()))
}

/// The manifest that a clip's metadata names; empty for clips made before manifests existed.
pub(crate) fn manifest_named_in(metadata: &BTreeMap<String, String>) -> ManifestRef {
    let label = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    ManifestRef { uri: label(MANIFEST), sha256: label(MANIFEST_SHA256) }
}

/// The cover that a clip's metadata names; `None` for clips made before covers existed.
pub(crate) fn cover_named_in(metadata: &BTreeMap<String, String>) -> Option<ObjectName> {
    object_named_in(metadata, COVER)
}

/// Removes an attempt's sidecars, unless the `visible` clip (if there is one) names them: this attempt may have created
/// the clip although the response was lost. Sidecars that cannot be removed do no harm, because nothing names them.
pub(crate) async fn remove_unreferenced(
    worker: &Worker,
    clip: &ObjectName,
    attempt: &AttemptId,
    visible: Option<&BTreeMap<String, String>>,
) {
    let manifest = sidecar_name(clip, attempt, MANIFEST_SUFFIX).to_string();
    if visible.is_some_and(|metadata| manifest_named_in(metadata).uri == manifest) {
        return;
    }
    for suffix in [MANIFEST_SUFFIX, COVER_SUFFIX] {
        let sidecar = sidecar_name(clip, attempt, suffix);
        if let Err(error) = worker.cloud.objects.delete(&sidecar).await {
            tracing::debug!(%error, object = %sidecar, "unreferenced sidecar not removed");
        }
    }
}

fn sidecar_name(clip: &ObjectName, attempt: &AttemptId, suffix: &str) -> ObjectName {
    let stem = clip.object.strip_suffix(".mp4").unwrap_or(&clip.object);
    ObjectName::new(clip.bucket.clone(), format!("{stem}.{attempt}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_are_stored_next_to_their_clip_and_found_in_its_metadata() {
        let attempt = AttemptId::parse("a1").unwrap();
        let clip = ObjectName::new("media", "clips/u/c1-0123.mp4");
        let name = sidecar_name(&clip, &attempt, MANIFEST_SUFFIX);
        assert_eq!(name.to_string(), "gs://media/clips/u/c1-0123.a1.manifest.json");
        assert_eq!(manifest_named_in(&BTreeMap::new()), ManifestRef::default());
        assert_eq!(cover_named_in(&BTreeMap::new()), None);
        let cover = sidecar_name(&clip, &attempt, COVER_SUFFIX).to_string();
        let metadata = [(MANIFEST, "gs://b/m"), (MANIFEST_SHA256, "ab"), (COVER, &cover)];
        let metadata = metadata.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
        assert_eq!(manifest_named_in(&metadata), ManifestRef { uri: "gs://b/m".into(), sha256: "ab".into() });
        assert_eq!(cover_named_in(&metadata).unwrap().object, "clips/u/c1-0123.a1.jpg");
    }
}
