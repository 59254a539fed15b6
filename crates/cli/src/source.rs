//! Files of this machine as source objects, and results as files.

use crate::exit::Failed;
use clipfleet_cloud::{Body, Cloud, CloudError, ErrorKind, NewObject, ObjectName};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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
    let partial = Partial::of(to);
    let mut file = File::create(&partial.0).map_err(|error| failed(&error))?;
    let mut start = 0;
    while start < info.size {
        let end = (start + PIECE).min(info.size);
        let piece = cloud.objects.read(&name, info.generation, start..end).await.map_err(|error| failed(&error))?;
        file.write_all(&piece).map_err(|error| failed(&error))?;
        start = end;
    }
    std::fs::rename(&partial.0, to).map_err(|error| failed(&error))
}

/// The path of a file that is being written. Unless the file was renamed, it is removed when this is dropped: on an
/// error and on an interruption alike.
struct Partial(PathBuf);

impl Partial {
    fn of(to: &Path) -> Self {
        Self(to.with_extension("mp4.partial"))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It may not exist, or be renamed.
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
    async fn a_result_arrives_whole_and_a_failed_copy_leaves_nothing() {
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
    async fn a_full_disk_is_named_and_nothing_stays_on_it() {
        let (cloud, folder) = (memory::cloud(), tempfile::tempdir().unwrap());
        let uri = stored(&cloud).await;
        // Every write to this device finds it full.
        std::os::unix::fs::symlink("/dev/full", folder.path().join("clip-1.mp4.partial")).unwrap();
        let failed = download(&cloud, &uri, &folder.path().join("clip-1.mp4")).await.unwrap_err().to_string();
        assert!(failed.contains("clip-1.mp4") && failed.contains("No space left on device"), "{failed}");
        assert_eq!(files(folder.path()), Vec::<String>::new());
    }
}
