//! A local file as a source: the finished clip, which verification reads.

use super::blocks::{Ranges, ReadError, Source, Ticket};
use crate::failure;
use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

struct LocalFile {
    file: File,
    size: u64,
}

/// Opens a file. It must not change while it is read.
pub fn open(path: &Path) -> io::Result<Arc<Source>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok(Arc::new(Source::new(Arc::new(LocalFile { file, size }))))
}

impl Ranges for LocalFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn request(&self, offset: u64, length: u64) -> Ticket {
        let mut bytes = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut bytes, offset).map(|()| bytes.into());
        let failed =
            |error| ReadError::Failed(failure::internal(format!("bytes {offset} and on of the clip: {error}")));
        let ticket = Ticket::default();
        ticket.settle(read.map_err(failed));
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::blocks::BLOCK_BYTES;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_file_is_read_whole_and_one_that_became_shorter_fails() {
        let path = std::env::temp_dir().join(format!("clipfleet-file-{}", std::process::id()));
        let bytes: Vec<u8> = (0..BLOCK_BYTES + 100).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let read = |source: &Source| source.read(0, u64::MAX, &AtomicBool::new(false)).map(|pieces| pieces.concat());
        let source = open(&path).unwrap();
        assert!(read(&source).unwrap() == bytes);
        let source = open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(BLOCK_BYTES + 50).unwrap();
        assert!(read(&source).is_err());
        let failed = source.failure().unwrap().message;
        assert!(failed.starts_with(&format!("bytes {BLOCK_BYTES} and on of the clip: ")), "{failed}");
        std::fs::remove_file(&path).unwrap();
        assert!(open(&path).is_err());
    }
}
