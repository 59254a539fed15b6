//! `clipfleet batch download`: the completed clips of a batch, as files.

use crate::{
    client::Client,
    download,
    exit::{Failed, Status},
    export::files,
    output::{
        self,
        table::{Align, table},
        text,
    },
    storage,
};
use clipfleet_contract::v1::ClipStatus;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(super) async fn run(
    client: &Client,
    batch: &str,
    clip: Option<&str>,
    out: &Path,
    force: bool,
    json: bool,
) -> Result<ExitCode, Failed> {
    let (raw, status) = client.show(batch).await?;
    let chosen = status.clips.iter().filter(|status| clip.is_none_or(|clip| status.clip_id == clip));
    let chosen: Vec<&ClipStatus> = chosen.collect();
    if let (Some(clip), true) = (clip, chosen.is_empty()) {
        return Err(Failed::new(Status::Refused, format!("batch {batch} has no clip {clip}")));
    }
    // Files are named after the source, if the server tells it, otherwise after the batch.
    let source = raw["sourceUri"].as_str().map_or_else(|| batch.to_owned(), files::stem);
    let completed: Vec<(&ClipStatus, PathBuf)> = chosen
        .iter()
        .filter(|clip| clip.status == "completed")
        .map(|clip| (*clip, out.join(files::file_name(&source, &clip.clip_id))))
        .collect();
    if let Some((_, path)) = completed.iter().find(|(_, path)| !force && path.exists()) {
        return Err(Failed::usage(format!("{} exists; use --force or --out", path.display())));
    }
    fs::create_dir_all(out).map_err(|error| Failed::because(format!("create {}", out.display()), error))?;
    let mut rows = Vec::new();
    let mut cloud = None;
    for (clip, path) in &completed {
        if let Err(failed) = download::clip(client, cloud.as_ref(), clip, path).await {
            // Its URL may have expired. An account with access to the storage needs none.
            let Ok(storage) = storage::of(client).await else { return Err(failed) };
            let Some(found) = storage.cloud else { return Err(failed) };
            download::clip(client, Some(&found), clip, path).await?;
            cloud = Some(found);
        }
        let bytes = u64::try_from(clip.output_size_bytes).unwrap_or(0);
        rows.push([clip.clip_id.clone(), text::size(bytes), path.display().to_string()]);
    }
    let open = chosen.len() - completed.len();
    if json {
        let clips: Vec<_> = rows.iter().map(|[clip, _, path]| json!({"clipId": clip, "path": path})).collect();
        output::json(&json!({"batchId": batch, "clips": clips}));
    } else if rows.is_empty() {
        output::line(format_args!("No clip of {batch} is completed."));
    } else {
        output::line(table([("clip", Align::Left), ("size", Align::Right), ("file", Align::Left)], &rows));
    }
    if open > 0 {
        eprintln!("{} not completed", text::plural(open, "clip"));
    }
    Ok(if open == 0 { ExitCode::SUCCESS } else { Status::Failed.into() })
}
