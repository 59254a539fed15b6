//! Adopting a file of this machine as an object without copying or reading its bytes: as a reflink, which shares blocks
//! until one side changes them, or as a hard link.
//!
//! A hard link shares later changes, too: a program that changes the file in place changes the object. So callers name
//! the object after what identifies the file's content, and adopt it anew when that changes.

use super::{ApiError, Conditions, NewObject, Storage, files::Files, gcs};
use std::{fs::File, io, path::Path, sync::Arc};

impl Storage {
    /// Makes a file an object of a bucket, which must not exist yet. Returns false if this file system can do neither a
    /// reflink nor a hard link; the bytes must then be uploaded.
    pub(crate) async fn adopt(self: &Arc<Self>, bucket: &str, name: &str, file: &Path) -> io::Result<bool> {
        let adopted = self.adopt_file(bucket, name, file).await;
        adopted.map_err(|error| io::Error::other(tonic::Status::from(error).message().to_owned()))
    }

    async fn adopt_file(self: &Arc<Self>, bucket: &str, name: &str, file: &Path) -> Result<bool, ApiError> {
        let resource = gcs::Object { name: name.to_owned(), ..gcs::Object::default() };
        let conditions = Conditions { generation_match: Some(0), ..Conditions::default() };
        let new = NewObject { bucket: bucket.to_owned(), resource, conditions };
        self.check_insert(&new).await?;
        let generation = i64::try_from(self.ticker.tick()).unwrap_or(i64::MAX);
        let (files, file) = (self.files.clone(), file.to_owned());
        let adopted = tokio::task::spawn_blocking(move || files.adopt(&file, generation)).await??;
        let Some(size) = adopted else { return Ok(false) };
        self.insert_file(new, generation, size, None).await?;
        Ok(true)
    }
}

impl Files {
    /// Makes a file the bytes of an object. Returns its size, or `None` if the file system refuses.
    fn adopt(&self, file: &Path, generation: i64) -> io::Result<Option<u64>> {
        let (source, to) = (File::open(file)?, self.path(generation));
        if !reflink(&source, &to)? && std::fs::hard_link(file, &to).is_err() {
            return Ok(None);
        }
        self.sync_objects()?;
        Ok(Some(source.metadata()?.len()))
    }
}

/// Creates `to` with the blocks of `source`. Returns false if the file system does not share blocks.
fn reflink(source: &File, to: &Path) -> io::Result<bool> {
    let clone = File::options().write(true).create_new(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&clone, source).is_ok() {
        clone.sync_all()?;
        return Ok(true);
    }
    std::fs::remove_file(to)?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use crate::{Config, Emulator};
    use std::net::{Ipv4Addr, SocketAddr};

    #[tokio::test]
    async fn an_adopted_file_is_read_as_it_is_and_stays_after_the_data_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("talk.mp4"));
        std::fs::write(&file, "a long talk").unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let emulator = Emulator::start(Config { data: data.clone(), listen }).await.unwrap();
        let base = format!("http://{}", emulator.address());
        let missing = emulator.adopt("media", "talk.mp4", &file).await.unwrap_err();
        assert!(missing.to_string().contains("bucket does not exist"), "{missing}");

        let http = reqwest::Client::new();
        let bucket = http.post(format!("{base}/storage/v1/b?project=p")).body(r#"{"name":"media"}"#);
        assert!(bucket.send().await.unwrap().status().is_success());
        assert!(emulator.adopt("media", "talk.mp4", &file).await.unwrap());
        let read = http.get(format!("{base}/storage/v1/b/media/o/talk.mp4?alt=media")).send().await.unwrap();
        assert_eq!(read.headers().get("x-goog-hash"), None, "its bytes were not read");
        assert_eq!(read.text().await.unwrap(), "a long talk");
        assert!(emulator.adopt("media", "talk.mp4", &file).await.is_err(), "it exists");

        emulator.stop().await;
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a long talk");
    }
}
