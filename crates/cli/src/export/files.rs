//! The files of an export: their names, and which of them this program wrote before and nobody changed since.

use crate::{exit::Failed, local::data};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The file of one clip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClipFile {
    pub(crate) clip: String,
    pub(crate) length_ms: i64,
    pub(crate) path: PathBuf,
    /// Identifies the content: equal for the same window of the same source in the same form. `None` if the source may
    /// change under its name.
    pub(crate) content: Option<String>,
}

/// The name of a clip's file: after the source, so that clips of two videos can share a directory.
pub(crate) fn file_name(source: &str, clip: &str) -> String {
    format!("{source}-{clip}.mp4")
}

/// The name of a source without its directory and its extension.
pub(crate) fn stem(source: &str) -> String {
    let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "clip".to_owned())
}

/// Refuses to overwrite files.
pub(crate) fn check_conflicts(files: &[ClipFile], written: &Written) -> Result<(), Failed> {
    let existing: Vec<&ClipFile> =
        files.iter().filter(|file| file.path.symlink_metadata().is_ok() && !written.is_unchanged(file)).collect();
    let Some(first) = existing.first() else { return Ok(()) };
    let more = match existing.len() - 1 {
        0 => String::new(),
        1 => " and 1 more file".to_owned(),
        more => format!(" and {more} more files"),
    };
    let verb = if existing.len() == 1 { "exists" } else { "exist" };
    Err(Failed::usage(format!("{}{more} {verb}; use --force or --out", first.path.display())))
}

/// Files that were written, by their absolute paths.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Written(BTreeMap<PathBuf, Receipt>);

/// What a file was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    content: String,
    bytes: u64,
    modified_ns: i128,
}

impl Receipt {
    fn of(path: &Path, content: &str) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Some(Self { content: content.to_owned(), bytes: metadata.len(), modified_ns })
    }
}

impl Written {
    /// Reads what is known. If the list is damaged, all files count as foreign.
    pub(crate) fn load(data: &Path) -> Self {
        fs::read(Self::file(data)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Whether the file is there with this content, as it was written.
    pub(crate) fn is_unchanged(&self, file: &ClipFile) -> bool {
        let known = std::path::absolute(&file.path).ok().and_then(|path| self.0.get(&path));
        let found = file.content.as_ref().and_then(|content| Receipt::of(&file.path, content));
        known.is_some() && known == found.as_ref()
    }

    /// Adds a file that was written.
    pub(crate) fn add(&mut self, file: &ClipFile, data: &Path) -> Result<(), Failed> {
        let receipt = file.content.as_ref().and_then(|content| Receipt::of(&file.path, content));
        let (Some(receipt), Ok(path)) = (receipt, std::path::absolute(&file.path)) else { return Ok(()) };
        self.0.insert(path, receipt);
        // The list stays as long as the files that it names.
        self.0.retain(|path, _| path.exists());
        let bytes = serde_json::to_vec(self).map_err(|error| Failed::because("list the written files", error))?;
        data::write(&Self::file(data), &bytes)
            .map_err(|error| Failed::because(format!("write {}", data::show(data)), error))
    }

    fn file(data: &Path) -> PathBuf {
        data.join("written.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf, content: &str) -> ClipFile {
        ClipFile { clip: "a".into(), length_ms: 1_000, path, content: Some(content.to_owned()) }
    }

    #[test]
    fn files_are_named_after_their_source() {
        assert_eq!(file_name(&stem("videos/talk.final.mp4"), "intro"), "talk.final-intro.mp4");
        assert_eq!(stem("gs://bucket/folder/talk.mov"), "talk");
        assert_eq!(stem("gs://bucket/"), "bucket");
    }

    #[test]
    fn only_a_file_that_was_written_and_not_changed_may_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (data, path) = (folder.path().join("data"), folder.path().join("talk-a.mp4"));
        let clip = file(path.clone(), "0-1");
        check_conflicts(std::slice::from_ref(&clip), &Written::load(&data)).unwrap();
        fs::write(&path, "made").unwrap();
        let refused = check_conflicts(std::slice::from_ref(&clip), &Written::load(&data)).unwrap_err();
        assert!(refused.text().ends_with("talk-a.mp4 exists; use --force or --out"), "{}", refused.text());

        Written::load(&data).add(&clip, &data).unwrap();
        assert!(Written::load(&data).is_unchanged(&clip));
        check_conflicts(std::slice::from_ref(&clip), &Written::load(&data)).unwrap();
        assert!(!Written::load(&data).is_unchanged(&file(path.clone(), "0-2")), "another window");
        fs::write(&path, "edited").unwrap();
        assert!(!Written::load(&data).is_unchanged(&clip));
    }
}
