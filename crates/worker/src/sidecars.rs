//! A clip's sidecars: the objects of its manifest and its cover, whose names contain the id of the attempt. The clip's
//! metadata names them, so that a visible clip always has the manifest and the cover of the same attempt.

use crate::context::Worker;
use clipfleet_cloud::{Body, CloudError, ErrorKind, NewObject, ObjectName};
use clipfleet_domain::{
    ids::AttemptId,
    lifecycle::{CoverRef, ManifestRef},
    source::ObjectUri,
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fs::File, sync::Arc};

const MANIFEST: &str = "clipfleet-manifest";
const MANIFEST_SHA256: &str = "clipfleet-manifest-sha256";
const COVER: &str = "clipfleet-cover";

const MANIFEST_SUFFIX: &str = "manifest.json";
const COVER_SUFFIX: &str = "jpg";

/// Stores the sidecars of a clip before it becomes visible. Returns the metadata that names them.
pub(crate) async fn store(
    worker: &Worker,
    clip: &ObjectName,
    attempt: &AttemptId,
    manifest: String,
    cover: Arc<File>,
) -> Result<BTreeMap<String, String>, CloudError> {
    let names = [MANIFEST_SUFFIX, COVER_SUFFIX].map(|suffix| sidecar_name(clip, attempt, suffix));
    let sha256 = hex::encode(Sha256::digest(&manifest));
    let [manifest_name, cover_name] = &names;
    tokio::try_join!(
        create(worker, manifest_name, "application/json", Body::Bytes(manifest.into())),
        create(worker, cover_name, "image/jpeg", Body::Opened(cover)),
    )?;
    let labels = [(MANIFEST, manifest_name.to_string()), (MANIFEST_SHA256, sha256), (COVER, cover_name.to_string())];
    Ok(labels.map(|(label, value)| (label.to_owned(), value)).into())
}

async fn create(worker: &Worker, name: &ObjectName, content_type: &str, body: Body) -> Result<(), CloudError> {
    let new = NewObject { content_type: content_type.into(), metadata: BTreeMap::new() };
    match worker.cloud.objects.create(name, new, body).await {
        Ok(_) => Ok(()),
        // An attempt stores each sidecar once, so it is its own: the call was repeated because a response was lost.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A clip's metadata without the names of missing sidecars. A cancelled request may have created the clip after its
/// attempt removed the sidecars, and no document may name an object that does not exist.
pub(crate) async fn existing(
    worker: &Worker,
    mut metadata: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, CloudError> {
    for label in [MANIFEST, COVER] {
        let Some(uri) = metadata.get(label).and_then(|uri| ObjectUri::parse(uri).ok()) else { continue };
        match worker.cloud.objects.stat(&ObjectName::new(uri.bucket(), uri.object()), None).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(%uri, "missing sidecar of a clip");
                metadata.remove(label);
                if label == MANIFEST {
                    metadata.remove(MANIFEST_SHA256);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(metadata)
}

/// The manifest that a clip's metadata names; empty for clips made before manifests existed.
pub(crate) fn manifest_named_in(metadata: &BTreeMap<String, String>) -> ManifestRef {
    let label = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    ManifestRef { uri: label(MANIFEST), sha256: label(MANIFEST_SHA256) }
}

/// The cover that a clip's metadata names, with a URL made by `sign`; empty for clips made before covers existed.
pub(crate) async fn cover_named_in(
    metadata: &BTreeMap<String, String>,
    sign: impl AsyncFnOnce(ObjectName) -> Result<String, CloudError>,
) -> Result<CoverRef, CloudError> {
    let Some(uri) = metadata.get(COVER).and_then(|uri| ObjectUri::parse(uri).ok()) else {
        return Ok(CoverRef::default());
    };
    let url = sign(ObjectName::new(uri.bucket(), uri.object())).await?;
    Ok(CoverRef { uri: uri.to_string(), url })
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
    use clipfleet_cloud::memory;

    #[tokio::test]
    async fn sidecars_are_stored_next_to_their_clip_and_found_in_its_metadata() {
        let attempt = AttemptId::parse("a1").unwrap();
        let clip = ObjectName::new("media", "clips/u/c1-0123.mp4");
        let name = sidecar_name(&clip, &attempt, MANIFEST_SUFFIX);
        assert_eq!(name.to_string(), "gs://media/clips/u/c1-0123.a1.manifest.json");
        assert_eq!(manifest_named_in(&BTreeMap::new()), ManifestRef::default());
        let objects = memory::cloud().objects;
        let sign = async |name: ObjectName| objects.download_url(&name, std::time::Duration::from_secs(1)).await;
        assert_eq!(cover_named_in(&BTreeMap::new(), sign).await.unwrap(), CoverRef::default());
        let cover = sidecar_name(&clip, &attempt, COVER_SUFFIX).to_string();
        let metadata = [(MANIFEST, "gs://b/m"), (MANIFEST_SHA256, "ab"), (COVER, &cover)];
        let metadata = metadata.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
        assert_eq!(manifest_named_in(&metadata), ManifestRef { uri: "gs://b/m".into(), sha256: "ab".into() });
        let named = cover_named_in(&metadata, async |name: ObjectName| Ok(format!("https://{}", name.object))).await;
        assert_eq!(named.unwrap().url, "https://clips/u/c1-0123.a1.jpg");
    }
}
