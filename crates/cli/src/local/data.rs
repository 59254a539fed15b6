//! The directory of a fleet's data on this machine, and what is kept in it beside the emulator's files.

use crate::exit::Failed;
use clipfleet_service::settings::Setting;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The directory of all persistent data.
pub(crate) const DATA: Setting = Setting {
    flag: "data",
    env: "CLIPFLEET_DATA",
    value: "DIR",
    default: "",
    help: "Directory of all data [default: clipfleet in your cache directory]",
};

/// The directory that a user's setting names; the default if it is empty.
pub(crate) fn directory(setting: &str) -> Result<PathBuf, String> {
    if !setting.is_empty() {
        return Ok(PathBuf::from(setting));
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("clipfleet")).ok_or_else(|| "must be set, because HOME is not".to_owned())
}

/// The directory that the flag `--data` of a command names.
pub(crate) fn given(flag: Option<&Path>) -> Result<PathBuf, Failed> {
    let text = flag.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    directory(&text).map_err(|reason| Failed::usage(format!("--data {reason}")))
}

/// The logs of a fleet.
pub(crate) fn logs(data: &Path) -> PathBuf {
    data.join("logs")
}

/// Replaces a small file of the directory completely or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// A path as people write it: with `~` for the home directory.
pub(crate) fn show(path: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

/// The bytes that removing a directory frees: files with another name elsewhere, such as adopted sources, stay there.
pub(crate) fn freed_by_removal(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            bytes += freed_by_removal(&entry.path())?;
        } else if metadata.nlink() == 1 {
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_directory_is_used_and_an_empty_setting_is_the_cache() {
        assert_eq!(directory("here").unwrap(), PathBuf::from("here"));
        assert!(directory("").is_ok_and(|path| path.ends_with("clipfleet")));
    }

    #[test]
    fn a_file_with_another_name_frees_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("data");
        fs::create_dir(&inside).unwrap();
        fs::write(folder.path().join("source"), vec![7; 100_000]).unwrap();
        fs::hard_link(folder.path().join("source"), inside.join("1")).unwrap();
        assert_eq!(freed_by_removal(&inside).unwrap(), 0);
        fs::write(inside.join("2"), vec![7; 100_000]).unwrap();
        assert!(freed_by_removal(&inside).unwrap() >= 100_000);
    }
}
