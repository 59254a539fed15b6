//! The source of an export: checked before anything is done, and brought into storage without a copy where possible.

use crate::{
    client::Client,
    exit::Failed,
    local::data,
    output::{progress::Progress, text},
    storage::Storage,
};
use clipfleet_cloud::{Body, Cloud, CloudError, ErrorKind, NewObject, ObjectName};
use clipfleet_domain::{
    file_kind::{self, HEAD_BYTES, Remedy, UnsupportedFile},
    limits::MAX_SOURCE_BYTES,
};
use clipfleet_emulator::Emulator;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The interval between two updates of the progress of a copy.
const COPY_INTERVAL: Duration = Duration::from_millis(200);

/// A file of this machine that can be a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// As the user wrote it.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The name of its object. It identifies the content by path, size and time of the last change, so that another
    /// export of the same file finds the earlier results.
    pub(crate) object: String,
}

impl SourceFile {
    /// Checks that a file exists, can be read, and is a video.
    pub(crate) fn open(given: &Path) -> Result<Self, Failed> {
        let name = given.display().to_string();
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Failed::usage(format!("{name} does not exist")),
            _ => Failed::usage(format!("{name} cannot be read: {error}")),
        };
        let path = given.canonicalize().map_err(unreadable)?;
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Failed::usage(format!("{name} is not a file")));
        }
        if metadata.len() == 0 {
            return Err(Failed::usage(format!("{name} is empty")));
        }
        if metadata.len() > MAX_SOURCE_BYTES {
            let limit = text::size(MAX_SOURCE_BYTES);
            return Err(Failed::usage(format!(
                "{name} has {}; sources have at most {limit}",
                text::size(metadata.len())
            )));
        }
        let mut head = Vec::new();
        File::open(&path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head)).map_err(unreadable)?;
        file_kind::detect(&head).map_err(|file| unsupported(&name, file))?;
        let object = object_name(&path, &metadata);
        Ok(Self { name, path, bytes: metadata.len(), object })
    }

    /// Brings the file into the storage of a fleet on this machine: by a reflink or a hard link; if the storage is on
    /// another file system, by one copy. Returns the URI.
    pub(crate) async fn place(
        &self,
        cloud: &Cloud,
        emulator: &Emulator,
        bucket: &str,
        directory: &Path,
        progress: &mut Progress,
    ) -> Result<String, Failed> {
        let object = ObjectName::new(bucket, self.object.as_str());
        if is_stored(cloud, &object).await? {
            return Ok(object.to_string());
        }
        let failed = |error: io::Error| Failed::because(format!("store {}", self.name), error);
        if !emulator.adopt(bucket, &self.object, &self.path).await.map_err(failed)? {
            let copy = self.copy_into(directory, progress).await?;
            // The copy is beside the objects, so it can be adopted.
            let adopted = emulator.adopt(bucket, &self.object, &copy.0).await.map_err(failed)?;
            if !adopted {
                self.create(cloud, &object).await?;
            }
        }
        Ok(object.to_string())
    }

    /// Copies the file into a directory. The copy is removed when the result is dropped.
    async fn copy_into(&self, directory: &Path, progress: &mut Progress) -> Result<Temporary, Failed> {
        let failed =
            |error: io::Error| Failed::because(format!("copy {} to {}", self.name, data::show(directory)), error);
        let copy = Temporary(directory.join(format!("incoming-{}", std::process::id())));
        let (from, to) = (self.path.clone(), copy.0.clone());
        let (copied, abandoned) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, cancelled) = (Arc::clone(&copied), Arc::clone(&abandoned));
        // If this future is dropped, the thread ends with the next block.
        let _abandon = SetOnDrop(abandoned);
        let mut copying = tokio::task::spawn_blocking(move || copy_blocks(&from, &to, &counter, &cancelled));
        loop {
            progress.phase(&self.copying(), Some((copied.load(Ordering::Relaxed), self.bytes)));
            tokio::select! {
                ended = &mut copying => {
                    ended.map_err(io::Error::other).and_then(|ended| ended).map_err(failed)?;
                    return Ok(copy);
                }
                () = tokio::time::sleep(COPY_INTERVAL) => {}
            }
        }
    }

    /// Uploads the file to a bucket, unless it is there already. Returns the URI.
    pub(crate) async fn upload(
        &self,
        client: &Client,
        storage: &Storage,
        progress: &mut Progress,
    ) -> Result<String, Failed> {
        let object = ObjectName::new(&storage.bucket, self.object.as_str());
        progress.phase("looking for the source in storage", None);
        let is_known = match &storage.cloud {
            Some(cloud) => is_stored(cloud, &object).await?,
            None => client.has_object(&object.bucket, &object.object).await?,
        };
        if !is_known {
            let uploading = async {
                match &storage.cloud {
                    Some(cloud) => self.create(cloud, &object).await,
                    None => self.send(client, &object).await,
                }
            };
            let mut uploading = std::pin::pin!(uploading);
            loop {
                progress.phase(&self.copying(), position(&self.path).map(|position| (position, self.bytes)));
                tokio::select! {
                    ended = &mut uploading => break ended?,
                    () = tokio::time::sleep(COPY_INTERVAL) => {}
                }
            }
        }
        Ok(object.to_string())
    }

    async fn send(&self, client: &Client, object: &ObjectName) -> Result<(), Failed> {
        let file = tokio::fs::File::open(&self.path).await;
        let file = file.map_err(|error| Failed::because(format!("read {}", self.name), error))?;
        client.upload(&object.bucket, &object.object, file).await
    }

    async fn create(&self, cloud: &Cloud, object: &ObjectName) -> Result<(), Failed> {
        let new = NewObject { content_type: "application/octet-stream".into(), ..NewObject::default() };
        match cloud.objects.create(object, new, Body::File(self.path.clone())).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Failed::because("upload the source", error)),
            _ => Ok(()),
        }
    }

    fn copying(&self) -> String {
        format!("copying source {} ({})", self.name, text::size(self.bytes))
    }
}

fn unsupported(name: &str, file: UnsupportedFile) -> Failed {
    let what = match file.name {
        "of an unknown kind" => format!("{name} is not a video file we can read"),
        kind => format!("{name} is {kind}"),
    };
    Failed::usage(what).hint(match file.remedy {
        Remedy::Convert => "convert it to MP4, MOV, MKV or WebM",
        Remedy::ChooseAnother => "use MP4, MOV, MKV or WebM",
        Remedy::UploadAgain => "the file is incomplete; copy it again",
    })
}

async fn is_stored(cloud: &Cloud, object: &ObjectName) -> Result<bool, Failed> {
    match cloud.objects.stat(object, None).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(storage_failed(&error)),
    }
}

fn storage_failed(error: &CloudError) -> Failed {
    Failed::because("use the fleet's storage", error)
}

/// The same file has the same name. Its last part is the file's own, because clips are named after it.
fn object_name(path: &Path, metadata: &Metadata) -> String {
    let identity = format!("{}\n{}\n{}.{}", path.display(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    let digest = hex::encode(&Sha256::digest(identity)[..8]);
    let name = path.file_name().map(|name| name.to_string_lossy().replace(char::is_control, "_"));
    format!("sources/{digest}/{}", name.as_deref().unwrap_or("video"))
}

fn copy_blocks(from: &Path, to: &Path, copied: &AtomicU64, abandoned: &AtomicBool) -> io::Result<()> {
    const BLOCK_BYTES: usize = 1 << 20;
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let length = from.read(&mut block)?;
        if length == 0 {
            return to.sync_all();
        }
        if abandoned.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        to.write_all(&block[..length])?;
        copied.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// How far this process has read a file that it has open, as Linux shows it.
fn position(path: &Path) -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let mut ours = open.into_iter().filter(|file| fs::read_link(file.path()).is_ok_and(|target| target == path));
    let information = Path::new("/proc/self/fdinfo").join(ours.next()?.file_name());
    let information = fs::read_to_string(information).ok()?;
    information.lines().find_map(|line| line.strip_prefix("pos:")?.trim().parse().ok())
}

/// A file that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may not exist.
        let _ = fs::remove_file(&self.0);
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        SourceFile::open(&path).unwrap_err().text().to_owned()
    }

    #[test]
    fn what_is_no_video_is_refused_before_anything_is_copied() {
        assert!(refused("a.pdf", b"%PDF-1.7").ends_with("a.pdf is a PDF document"));
        assert!(refused("a.bin", &[7, 1, 2, 0x99]).ends_with("a.bin is not a video file we can read"));
        assert!(refused("a.mp4", b"").ends_with("a.mp4 is empty"));
        let missing = SourceFile::open(Path::new("missing.mp4")).unwrap_err();
        assert_eq!(missing.text(), "missing.mp4 does not exist");
        assert!(SourceFile::open(Path::new("/")).unwrap_err().text().contains("is not a file"));
    }

    #[test]
    fn another_content_has_another_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.mp4");
        fs::write(&path, b"\0\0\0\x20ftypisom").unwrap();
        let first = SourceFile::open(&path).unwrap();
        assert_eq!(SourceFile::open(&path).unwrap(), first);
        fs::write(&path, b"\0\0\0\x20ftypisom and more").unwrap();
        assert_ne!(SourceFile::open(&path).unwrap().object, first.object);
        assert!(first.object.ends_with(".mp4"));
    }

    #[test]
    fn the_position_of_an_open_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("file");
        fs::write(&path, vec![1; 5_000]).unwrap();
        assert_eq!(position(&path), None);
        let mut file = File::open(&path).unwrap();
        file.read_exact(&mut [0; 1_234]).unwrap();
        assert_eq!(position(&path), Some(1_234));
    }
}
