//! The export in progress, kept in the data directory until it ends: `--resume` finishes it, and another export sets it
//! aside.

use super::{files::ClipFile, plan::Plan, source::SourceFile};
use crate::{exit::Failed, local::data};
use clipfleet_contract::v1::ExportBatch;
use clipfleet_domain::{rendition::Rendition, wire_name::WireName};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// An export that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unfinished {
    request: ExportBatch,
    /// The source, if it is a file, by its absolute path and as the user wrote it.
    source: Option<(PathBuf, String)>,
    files: Vec<ClipFile>,
    out: PathBuf,
}

impl Unfinished {
    pub(crate) fn of(plan: &Plan) -> Self {
        // Another directory may be the current one when the export is resumed.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let files = plan.files.iter().map(|file| ClipFile { path: absolute(&file.path), ..file.clone() });
        Self {
            request: plan.request.clone(),
            source: plan.source.as_ref().map(|source| (source.path.clone(), source.name.clone())),
            files: files.collect(),
            out: absolute(&plan.out),
        }
    }

    /// The export that did not end, if there is one.
    pub(crate) fn load(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(data)).ok()?).ok()
    }

    pub(crate) fn save(&self, data: &Path) -> Result<(), Failed> {
        let written = serde_json::to_vec_pretty(self).map_err(Into::into);
        let written = written.and_then(|bytes| data::write(&file(data), &bytes));
        written.map_err(|error| Failed::because(format!("write {}", data::show(data)), error))
    }

    /// Notes that no export is in progress.
    pub(crate) fn forget(data: &Path) {
        // If it stays, the next export finds that its clips have ended.
        let _ = fs::remove_file(file(data));
    }

    pub(crate) fn batch(&self) -> &str {
        &self.request.batch_id
    }

    /// What was exported, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.source {
            Some((_, name)) => name.clone(),
            None => self.request.source.as_ref().map_or(String::new(), |source| source.uri.clone()),
        }
    }

    /// The same export again. Its source must not have changed.
    pub(crate) fn plan(self) -> Result<Plan, Failed> {
        let source = match &self.source {
            Some((path, name)) => Some(self.unchanged_source(path, name)?),
            None => None,
        };
        let output = self.request.output.clone().unwrap_or_default();
        let default = Rendition::default();
        let rendition = Rendition {
            quality: WireName::parse(&output.quality).unwrap_or(default.quality),
            aspect: WireName::parse(&output.aspect).unwrap_or(default.aspect),
            fps: if output.fps == 0 { default.fps } else { output.fps },
        };
        // Paths are shown as they are seen from here.
        let here = std::env::current_dir().unwrap_or_default();
        let relative = |path: &Path| path.strip_prefix(&here).unwrap_or(path).to_owned();
        let files = self.files.iter().map(|file| ClipFile { path: relative(&file.path), ..file.clone() }).collect();
        Ok(Plan { source, files, out: relative(&self.out), request: self.request, rendition })
    }

    fn unchanged_source(&self, path: &Path, name: &str) -> Result<SourceFile, Failed> {
        let found = SourceFile::open(path)?;
        let requested = self.request.source.as_ref().map_or("", |source| source.uri.as_str());
        if requested.ends_with(&found.object) {
            return Ok(SourceFile { name: name.to_owned(), ..found });
        }
        Err(Failed::usage(format!("{name} has changed since the interrupted export"))
            .hint("export it anew, without --resume"))
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("export.json")
}
