//! Uploads files of this machine as sources, and downloads results.

use crate::exit::Failed;
use clipfleet_cloud::{Body, Cloud, CloudError, ErrorKind, NewObject, ObjectName};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Bytes of a result that are read at once.
const CHUNK_BYTES: u64 = 8 << 20;

/// Uploads a file to a bucket, unless it was uploaded before (by its path, size and modification time), so that another
/// export of it finds the earlier results. Returns its `gs://` URI.
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
    // The extension is only for people who browse the bucket.
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric()));
    format!("sources/{digest}{}", extension.map_or(String::new(), |extension| format!(".{extension}")))
}

/// Downloads an object to a file, completely or not at all.
pub(crate) async fn download(cloud: &Cloud, uri: &str, to: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::because(format!("write {}", to.display()), error);
    let (bucket, object) = uri
        .strip_prefix("gs://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| failed(&"the clip has no result"))?;
    let name = ObjectName::new(bucket, object);
    let info = cloud.objects.stat(&name, None).await.map_err(|error| failed(&error))?;
    let partial = PartialFile::new(to);
    let mut file = File::create(&partial.0).map_err(|error| failed(&error))?;
    let mut start = 0;
    while start < info.size {
        let end = (start + CHUNK_BYTES).min(info.size);
        let chunk = cloud.objects.read(&name, info.generation, start..end).await.map_err(|error| failed(&error))?;
        file.write_all(&chunk).map_err(|error| failed(&error))?;
        start = end;
    }
    std::fs::rename(&partial.0, to).map_err(|error| failed(&error))
}

/// The path of a file that is being written. Dropping this removes the file, unless it was renamed: after an error as
/// well as after an interruption.
struct PartialFile(PathBuf);

impl PartialFile {
    fn new(to: &Path) -> Self {
        Self(to.with_extension("mp4.partial"))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // The file may not exist, or may have been renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_cloud::memory::{self, Call, Fault, Memory};

    async fn stored(cloud: &Cloud) -> String {
        cloud.objects.ensure_bucket("b").await.unwrap();
        let name = ObjectName::new("b", "o");
        cloud.objects.create(&name, NewObject::default(), Body::Bytes("clip".into())).await.unwrap();
        name.to_string()
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_result_is_downloaded_completely_and_a_failed_download_leaves_no_file() {
        let (memory, folder) = (Memory::new(), tempfile::tempdir().unwrap());
        let (cloud, _link) = memory.connect();
        let uri = stored(&cloud).await;
        memory.fail_next(Call::Read, Fault::Refused(ErrorKind::Unavailable));
        let to = folder.path().join("clip-1.mp4");
        assert!(download(&cloud, &uri, &to).await.is_err());
        assert_eq!(files(folder.path()), Vec::<String>::new());
        download(&cloud, &uri, &to).await.unwrap();
        assert_eq!(files(folder.path()), ["clip-1.mp4"]);
        assert_eq!(std::fs::read(&to).unwrap(), b"clip");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_no_file_stays_on_it() {
        let (cloud, folder) = (memory::cloud(), tempfile::tempdir().unwrap());
        let uri = stored(&cloud).await;
        // Every write to this device fails because it is full.
        std::os::unix::fs::symlink("/dev/full", folder.path().join("clip-1.mp4.partial")).unwrap();
        let failed = download(&cloud, &uri, &folder.path().join("clip-1.mp4")).await.unwrap_err().to_string();
        assert!(failed.contains("clip-1.mp4") && failed.contains("No space left on device"), "{failed}");
        assert_eq!(files(folder.path()), Vec::<String>::new());
    }
}
