//! Files of this machine as source objects, and results as files.

use crate::exit::Failed;
use clipfleet_cloud::{Body, Cloud, CloudError, ErrorKind, NewObject, ObjectName};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Bytes of a result read at once.
const PIECE: u64 = 8 << 20;

/// Puts a file into a bucket, unless it is there already (by its path, size and time of change), so that exporting from it
/// again finds the earlier results. Returns its `gs://` name.
pub(crate) async fn upload(cloud: &Cloud, bucket: &str, path: &Path) -> Result<String, Failed> {
    let failed = |error: io::Error| Failed::usage(format!("the source {} cannot be read: {error}", path.display()));
    let path = path.canonicalize().map_err(failed)?;
    let metadata = std::fs::metadata(&path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failed::usage(format!("the source {} is not a file", path.display())));
    }
    File::open(&path).map_err(failed)?;
    let name = ObjectName::new(bucket, object_name(&path, &metadata));
    let new = NewObject { content_type: "application/octet-stream".into(), ..NewObject::default() };
    let create = async {
        match cloud.objects.stat(&name, None).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match cloud.objects.create(&name, new, Body::File(path.clone())).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created.map(|_| ()),
        }
    };
    create.await.map_err(|error: CloudError| Failed::because("upload the source", error))?;
    Ok(name.to_string())
}

fn object_name(path: &Path, metadata: &Metadata) -> String {
    let identity = format!("{}\n{}\n{}.{}", path.display(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    let digest = hex::encode(&Sha256::digest(identity)[..8]);
    // The extension helps people who look into the bucket; nobody trusts it.
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric()));
    format!("sources/{digest}{}", extension.map_or(String::new(), |extension| format!(".{extension}")))
}

/// Copies an object to a file: whole, or not at all.
pub(crate) async fn download(cloud: &Cloud, uri: &str, to: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::because(format!("write {}", to.display()), error);
    let (bucket, object) =
        uri.strip_prefix("gs://").and_then(|rest| rest.split_once('/')).ok_or_else(|| failed(&"it has no result"))?;
    let name = ObjectName::new(bucket, object);
    let info = cloud.objects.stat(&name, None).await.map_err(|error| failed(&error))?;
    let partial = to.with_extension("mp4.partial");
    let mut file = File::create(&partial).map_err(|error| failed(&error))?;
    let mut start = 0;
    while start < info.size {
        let end = (start + PIECE).min(info.size);
        let piece = cloud.objects.read(&name, info.generation, start..end).await.map_err(|error| failed(&error))?;
        file.write_all(&piece).map_err(|error| failed(&error))?;
        start = end;
    }
    std::fs::rename(&partial, to).map_err(|error| failed(&error))
}
