//! Private directories: one per worker process, and in it one per attempt. All are removed.

use clipfleet_domain::ids::AttemptId;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const LOCK_FILE: &str = "lock";

/// A worker's directory. It is removed when the worker ends, or by the next worker if this one is killed.
pub(crate) struct Scratch {
    directory: PathBuf,
    /// Locked as long as the process lives. So other workers recognize the directory of a dead worker.
    _lock: File,
}

impl Scratch {
    /// Creates the worker's directory under `root`, and removes the directories of dead workers.
    pub(crate) fn open(root: &Path, worker: &str) -> io::Result<Self> {
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("failed to prepare {}: {error}", root.display()));
        fs::create_dir_all(root).map_err(explain)?;
        // Only one worker does this at a time: a directory that is not locked yet would look like a dead worker's.
        let root_lock = File::create(root.join(LOCK_FILE)).map_err(explain)?;
        root_lock.lock().map_err(explain)?;
        remove_dead(root);
        let directory = root.join(worker);
        fs::create_dir(&directory).map_err(explain)?;
        let lock = File::create(directory.join(LOCK_FILE)).map_err(explain)?;
        lock.lock().map_err(explain)?;
        Ok(Self { directory, _lock: lock })
    }

    /// The worker's directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory of an attempt. Dropping it removes it with all its files.
    pub(crate) fn attempt(&self, attempt: &AttemptId) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(attempt.as_str()).rand_bytes(0).tempdir_in(&self.directory)
    }
}

/// Removes the files in an attempt's directory, so that another process can use it.
pub(crate) fn empty(directory: &Path) -> io::Result<()> {
    fs::read_dir(directory)?.try_for_each(|entry| fs::remove_file(entry?.path()))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn remove_dead(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let dead = File::open(entry.path().join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock().is_ok());
        if dead && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(directory = %entry.path().display(), %error, "failed to remove a dead worker's directory");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_workers_directory_is_removed_and_a_live_ones_stays() {
        let root = tempfile::tempdir().unwrap();
        let live = Scratch::open(root.path(), "w-live").unwrap();
        let dead = root.path().join("w-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK_FILE), "").unwrap();
        fs::write(dead.join("half.mp4"), "x").unwrap();
        let _next = Scratch::open(root.path(), "w-next").unwrap();
        assert!(!dead.exists());
        let attempt = live.attempt(&AttemptId::parse("a-1").unwrap()).unwrap();
        assert!(attempt.path().exists());
        drop(attempt);
        drop(live);
        assert!(!root.path().join("w-live").exists());
    }
}
