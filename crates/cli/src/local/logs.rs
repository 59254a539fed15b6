//! Log files, which grow to a limit.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Opens a log file to append to it. A log that is too long is renamed first.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    const MAX_BYTES: u64 = 16 << 20;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if path.metadata().is_ok_and(|log| log.len() > MAX_BYTES) {
        fs::rename(path, path.with_extension("old.log"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
