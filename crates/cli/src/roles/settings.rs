//! Settings and arguments that several commands share: the slots and the scratch directory of workers, and how a worker
//! is tied to the process that starts it.

use clipfleet_service::settings::{Reader, Setting, number};
use std::path::PathBuf;

/// The number of clips that a worker makes at once.
pub(crate) const SLOTS: Setting =
    Setting { flag: "slots", env: "CLIPFLEET_SLOTS", value: "N", default: "2", help: "Clips per worker at once" };

/// The directory in which workers create their own.
pub(crate) const SCRATCH: Setting = Setting {
    flag: "scratch",
    env: "CLIPFLEET_SCRATCH",
    value: "DIR",
    default: "",
    help: "Directory for temporary files [default: clipfleet-scratch in the system's temporary directory]",
};

/// The argument that gives a worker its identity, so that its supervisor recognizes it in status documents.
pub(crate) const WORKER_ID: &str = "worker-id";

/// The argument that makes a worker stop when its parent process ends.
pub(crate) const DIE_WITH_PARENT: &str = "die-with-parent";

/// Reads [`SLOTS`].
pub(crate) fn slots(reader: &mut Reader<'_>) -> Option<usize> {
    reader.take(&SLOTS, number(1, 64))
}

/// Reads [`SCRATCH`].
pub(crate) fn scratch(reader: &mut Reader<'_>) -> Option<PathBuf> {
    reader.take(&SCRATCH, |text| {
        Ok(if text.is_empty() { std::env::temp_dir().join("clipfleet-scratch") } else { PathBuf::from(text) })
    })
}
