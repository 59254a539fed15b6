//! Private directories: one per worker process, and in it one per attempt. All are removed.

use clipfleet_domain::{
    failure::{Code, Failure},
    ids::AttemptId,
};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
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

/// Opens a file that a media process left in its directory. A source that took over that process chose what lies
/// there, and the worker may read files that the process may not. So nothing is followed, and the file must be what it
/// claims: a regular file with no other name, of at most `max_bytes`. From here on the handle counts, and not the name.
pub(crate) fn open_left(directory: &Path, name: &str, max_bytes: u64) -> Result<File, Failure> {
    let bad = |what: String| Failure::new(Code::PipelineCrashed, format!("the media process left {name} as {what}"));
    let directory =
        open(directory, OFlags::DIRECTORY | NO_FOLLOW, Mode::empty()).map_err(|error| unreadable(error, name))?;
    let file = match open_in(&directory, name) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::XDEV) => return Err(bad("a link".into())),
        Err(Errno::NOENT) => return Err(bad("a file that does not exist".into())),
        Err(Errno::NXIO) => return Err(bad("a socket or a pipe".into())),
        Err(error) => return Err(unreadable(error, name)),
    };
    let found = fstat(&file).map_err(|error| unreadable(error, name))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {}
        other => return Err(bad(format!("{other:?} instead of a regular file"))),
    }
    if found.st_nlink != 1 {
        return Err(bad(format!("a file with {} names instead of one", found.st_nlink)));
    }
    let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
    if size > max_bytes {
        return Err(bad(format!("a file of {size} bytes; a clip of this length has at most {max_bytes}")));
    }
    Ok(File::from(file))
}

/// Opening never waits, as it would for a pipe without a writer.
const NO_FOLLOW: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn open_in(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(directory, name, NO_FOLLOW, Mode::empty(), resolve) {
        // Before Linux 5.6, and in sandboxes that do not know it. The name has no slash, so this is as strict, except
        // that another file system may be mounted at the name.
        Err(Errno::NOSYS | Errno::PERM) => openat(directory, name, NO_FOLLOW, Mode::empty()),
        opened => opened,
    }
}

fn unreadable(error: Errno, name: &str) -> Failure {
    Failure::new(Code::ScratchUnavailable, format!("failed to open {name}, which the media process left: {error}"))
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

    /// A directory as a media process may leave it, and beside it a file of the worker.
    fn left() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("secret"), "of the worker").unwrap();
        let directory = root.path().join("attempt");
        fs::create_dir(&directory).unwrap();
        (root, directory)
    }

    fn refusal(directory: &Path, name: &str) -> String {
        let failure = open_left(directory, name, 100).unwrap_err();
        assert_eq!(failure.code, Code::PipelineCrashed, "{failure:?}");
        failure.message
    }

    #[test]
    fn a_regular_file_is_opened_and_read_whatever_its_name_stands_for_later() {
        let (_root, directory) = left();
        fs::write(directory.join("clip.mp4"), "a clip").unwrap();
        let file = open_left(&directory, "clip.mp4", 6).unwrap();
        fs::remove_file(directory.join("clip.mp4")).unwrap();
        std::os::unix::fs::symlink("../secret", directory.join("clip.mp4")).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "a clip");
    }

    #[test]
    fn a_symbolic_link_to_a_file_of_the_worker_is_refused() {
        let (_root, directory) = left();
        std::os::unix::fs::symlink("../secret", directory.join("clip.mp4")).unwrap();
        assert!(refusal(&directory, "clip.mp4").contains("a link"));
    }

    #[test]
    fn a_hard_link_to_a_file_of_the_worker_is_refused() {
        let (root, directory) = left();
        fs::hard_link(root.path().join("secret"), directory.join("clip.mp4")).unwrap();
        assert!(refusal(&directory, "clip.mp4").contains("2 names"));
    }

    #[test]
    fn a_directory_that_became_a_link_is_refused() {
        let (root, directory) = left();
        fs::write(root.path().join("clip.mp4"), "of the worker").unwrap();
        fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink(root.path(), &directory).unwrap();
        assert!(open_left(&directory, "clip.mp4", 100).is_err());
    }

    #[test]
    fn what_is_no_file_or_too_large_or_missing_is_refused_without_waiting() {
        let (_root, directory) = left();
        rustix::fs::mknodat(rustix::fs::CWD, directory.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(refusal(&directory, "pipe").contains("Fifo"));
        let _listening = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
        assert!(refusal(&directory, "socket").contains("a socket or a pipe"));
        fs::create_dir(directory.join("directory")).unwrap();
        assert!(refusal(&directory, "directory").contains("Directory"));
        assert!(refusal(&directory, "nothing").contains("does not exist"));
        fs::write(directory.join("large"), [0; 101]).unwrap();
        assert!(refusal(&directory, "large").contains("101 bytes"));
    }

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
