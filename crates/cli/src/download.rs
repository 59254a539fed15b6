//! Downloads clips: completely or not at all.

use crate::{
    client::Client,
    exit::{Failed, root_cause},
};
use clipfleet_cloud::{Cloud, ObjectName};
use clipfleet_contract::v1::ClipStatus;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Bytes of a result that are read at once.
const CHUNK_BYTES: u64 = 8 << 20;

/// Downloads a clip by its URL, or if that fails, from storage.
pub(crate) async fn clip(client: &Client, cloud: Option<&Cloud>, clip: &ClipStatus, to: &Path) -> Result<(), Failed> {
    let url = match clip.output_url.as_str() {
        // Links that do not live as long as documents are made when they are asked for.
        "" => client.link(&clip.batch_id, &clip.clip_id).await.map_err(|failed| failed.text().to_owned()),
        url => Ok(url.to_owned()),
    };
    let by_url = match url {
        Ok(url) => from_url(client, &url, to).await,
        Err(reason) => Err(reason),
    };
    match (by_url, cloud) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(cloud)) => object(cloud, &clip.output_uri, to).await,
        (Err(reason), None) => Err(Failed::because(format!("download {}", clip.clip_id), reason)),
    }
}

async fn from_url(client: &Client, url: &str, to: &Path) -> Result<(), String> {
    let text = |error: reqwest::Error| root_cause(&error);
    let mut response = client.download(url).await.map_err(text)?;
    let mut partial = PartialFile::create(to).map_err(|error| error.to_string())?;
    while let Some(chunk) = response.chunk().await.map_err(text)? {
        partial.file.write_all(&chunk).map_err(|error| error.to_string())?;
    }
    partial.finish(to).map_err(|error| error.to_string())
}

/// Downloads an object from storage.
async fn object(cloud: &Cloud, uri: &str, to: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::because(format!("write {}", to.display()), error);
    let (bucket, object) = uri
        .strip_prefix("gs://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| failed(&"the clip has no result"))?;
    let name = ObjectName::new(bucket, object);
    let info = cloud.objects.stat(&name, None).await.map_err(|error| failed(&error))?;
    let mut partial = PartialFile::create(to).map_err(|error| failed(&error))?;
    let mut start = 0;
    while start < info.size {
        let end = (start + CHUNK_BYTES).min(info.size);
        let chunk = cloud.objects.read(&name, info.generation, start..end).await.map_err(|error| failed(&error))?;
        partial.file.write_all(&chunk).map_err(|error| failed(&error))?;
        start = end;
    }
    partial.finish(to).map_err(|error| failed(&error))
}

/// A file that is being written. Dropping this removes the file, unless it was finished: after an error as well as
/// after an interruption.
struct PartialFile {
    file: File,
    path: PathBuf,
}

impl PartialFile {
    fn create(to: &Path) -> io::Result<Self> {
        let mut name = to.file_name().map_or_else(OsString::new, OsString::from);
        name.push(".partial");
        let path = to.with_file_name(name);
        Ok(Self { file: File::create(&path)?, path })
    }

    fn finish(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // It was renamed if it was finished.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_cloud::{
        Body, ErrorKind, NewObject,
        memory::{self, Call, Fault, Memory},
    };

    async fn stored(cloud: &Cloud) -> String {
        cloud.objects.ensure_bucket("b").await.unwrap();
        let name = ObjectName::new("b", "o");
        cloud.objects.create(&name, NewObject::default(), Body::Bytes("clip".into())).await.unwrap();
        name.to_string()
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_result_is_downloaded_completely_and_a_failed_download_leaves_no_file() {
        let (memory, folder) = (Memory::new(), tempfile::tempdir().unwrap());
        let (cloud, _link) = memory.connect();
        let uri = stored(&cloud).await;
        memory.fail_next(Call::Read, Fault::Refused(ErrorKind::Unavailable));
        let to = folder.path().join("clip-1.mp4");
        assert!(object(&cloud, &uri, &to).await.is_err());
        assert_eq!(files(folder.path()), Vec::<String>::new());
        object(&cloud, &uri, &to).await.unwrap();
        assert_eq!(files(folder.path()), ["clip-1.mp4"]);
        assert_eq!(fs::read(&to).unwrap(), b"clip");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_no_file_stays_on_it() {
        let (cloud, folder) = (memory::cloud(), tempfile::tempdir().unwrap());
        let uri = stored(&cloud).await;
        // Every write to this device fails because it is full.
        std::os::unix::fs::symlink("/dev/full", folder.path().join("clip-1.mp4.partial")).unwrap();
        let failed = object(&cloud, &uri, &folder.path().join("clip-1.mp4")).await.unwrap_err();
        let failed = failed.text();
        assert!(failed.contains("clip-1.mp4") && failed.contains("No space left on device"), "{failed}");
        assert_eq!(files(folder.path()), Vec::<String>::new());
    }
}
