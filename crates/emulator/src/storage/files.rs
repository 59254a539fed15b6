//! The bytes of objects: one file per generation under `objects/`, and uploads in progress under `uploads/`.
//!
//! An object is created in three steps, and a crash after each is safe: the upload is written and synced; it is renamed
//! into `objects/` and the folder is synced; its metadata is committed. A file without metadata is an orphan, which the
//! next start removes.

use super::error::ApiError;
use crate::limits;
use bytes::Bytes;
use md5::{Digest, Md5};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The two folders.
#[derive(Debug, Clone)]
pub(super) struct Files {
    objects: PathBuf,
    uploads: PathBuf,
}

impl Files {
    /// Creates the folders. Removes unfinished uploads, and orphans: objects that are not in `live`.
    pub(super) fn open(data: &Path, live: &HashSet<i64>) -> io::Result<Self> {
        let files = Self { objects: data.join("objects"), uploads: data.join("uploads") };
        fs::create_dir_all(&files.objects)?;
        fs::create_dir_all(&files.uploads)?;
        for entry in fs::read_dir(&files.uploads)? {
            fs::remove_file(entry?.path())?;
        }
        for entry in fs::read_dir(&files.objects)? {
            let entry = entry?;
            let generation = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if !generation.is_some_and(|generation| live.contains(&generation)) {
                tracing::info!(file = %entry.path().display(), "orphaned object file removed");
                fs::remove_file(entry.path())?;
            }
        }
        Ok(files)
    }

    /// Starts an upload; `number` must be new.
    pub(super) fn create(&self, number: u64) -> io::Result<Upload> {
        let path = self.uploads.join(number.to_string());
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Upload { file, path, size: 0, crc32c: 0, md5: Md5::new(), committed: false })
    }

    /// Opens an object's bytes.
    pub(super) fn read(&self, generation: i64) -> io::Result<File> {
        File::open(self.path(generation))
    }

    /// Makes an upload the file of an object and syncs it to disk.
    pub(super) fn commit(&self, upload: &mut Upload, generation: i64) -> io::Result<()> {
        upload.file.sync_all()?;
        fs::rename(&upload.path, self.path(generation))?;
        upload.committed = true;
        self.sync_objects()
    }

    /// Syncs the names of the objects' files to disk.
    pub(super) fn sync_objects(&self) -> io::Result<()> {
        File::open(&self.objects)?.sync_all()
    }

    /// Removes an object's file. Readers that have the file open are not affected. After a failure, the next start
    /// removes the orphan.
    pub(super) fn remove(&self, generation: i64) {
        if let Err(error) = fs::remove_file(self.path(generation)) {
            tracing::warn!(generation, %error, "failed to remove an object file");
        }
    }

    /// The file of an object.
    pub(super) fn path(&self, generation: i64) -> PathBuf {
        self.objects.join(generation.to_string())
    }
}

/// The size and hashes of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UploadSummary {
    /// Bytes.
    pub(super) size: u64,
    /// Their CRC32C.
    pub(super) crc32c: u32,
    /// Their MD5.
    pub(super) md5: Vec<u8>,
}

/// A growing file; it is removed when dropped unless committed.
pub(super) struct Upload {
    file: File,
    path: PathBuf,
    size: u64,
    crc32c: u32,
    md5: Md5,
    committed: bool,
}

impl Upload {
    /// Appends bytes. After an error nothing counts as appended, and the same bytes can be sent again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.md5.update(bytes);
        Ok(())
    }

    /// The number of appended bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The size and hashes of the appended bytes.
    pub(super) fn summary(&self) -> UploadSummary {
        UploadSummary { size: self.size, crc32c: self.crc32c, md5: self.md5.clone().finalize().to_vec() }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a body to an upload: collects small chunks into blocks, which are hashed and written on blocking threads.
pub(super) struct Sink {
    upload: Arc<Mutex<Upload>>,
    buffered: Vec<Bytes>,
    bytes: usize,
}

impl Sink {
    /// A sink into this upload.
    pub(super) fn new(upload: Arc<Mutex<Upload>>) -> Self {
        Self { upload, buffered: Vec::new(), bytes: 0 }
    }

    /// Adds a chunk.
    pub(super) async fn push(&mut self, chunk: Bytes) -> Result<(), ApiError> {
        self.bytes += chunk.len();
        self.buffered.push(chunk);
        if self.bytes >= limits::BLOCK_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes the buffered chunks. The write completes even if the caller goes away, so the upload's size is always
    /// correct.
    pub(super) async fn flush(&mut self) -> Result<(), ApiError> {
        let buffered = std::mem::take(&mut self.buffered);
        self.bytes = 0;
        let upload = Arc::clone(&self.upload);
        let write = move || {
            let mut upload = upload.lock();
            buffered.iter().try_for_each(|chunk| upload.append(chunk))
        };
        Ok(tokio::task::spawn_blocking(write).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_and_unfinished_uploads_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), &HashSet::new()).unwrap();
        for generation in [1, 2] {
            let mut upload = files.create(generation).unwrap();
            upload.append(b"bytes").unwrap();
            files.commit(&mut upload, i64::try_from(generation).unwrap()).unwrap();
        }
        let mut unfinished = files.create(3).unwrap();
        unfinished.committed = true;
        drop(unfinished);
        let files = Files::open(folder.path(), &HashSet::from([2])).unwrap();
        assert!(files.read(1).is_err());
        assert!(files.read(2).is_ok());
        assert_eq!(fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_returns_a_clear_error_that_clients_do_not_retry() {
        // Every write to this device fails with "no space left".
        let file = File::options().write(true).open("/dev/full").unwrap();
        let path = PathBuf::from("/nonexistent");
        let upload = Upload { file, path, size: 0, crc32c: 0, md5: Md5::new(), committed: true };
        let mut sink = Sink::new(Arc::new(Mutex::new(upload)));
        sink.push(Bytes::from_static(b"bytes")).await.unwrap();
        let error = sink.flush().await.unwrap_err();
        assert_eq!(error.response().status(), 413);
        let text = tonic::Status::from(error).message().to_owned();
        assert!(text.contains("disk is full (No space left on device") && text.contains("free space"), "{text}");
    }

    #[tokio::test]
    async fn hashes_cover_what_was_written_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), &HashSet::new()).unwrap();
        let upload = Arc::new(Mutex::new(files.create(1).unwrap()));
        let mut sink = Sink::new(Arc::clone(&upload));
        sink.push(Bytes::from_static(b"1234")).await.unwrap();
        sink.push(Bytes::from_static(b"56789")).await.unwrap();
        sink.flush().await.unwrap();
        let summary = upload.lock().summary();
        assert_eq!((summary.size, summary.crc32c), (9, 0xe306_9283));
        assert_eq!(summary.md5[..3], [0x25, 0xf9, 0xe7]);
    }
}
