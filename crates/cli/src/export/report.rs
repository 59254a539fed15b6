//! The end of an export, for people and for programs.

use super::{files::ClipFile, plan};
use crate::output::{
    style,
    table::{Align, table},
    text,
    view::{ClipState, ClipView, Work},
};
use clipfleet_contract::v1::{BatchStatus, ClipStatus};
use clipfleet_domain::code::{Code, Fault};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// The clips that were made, and below them why others were not.
pub(crate) fn table_of(status: &BatchStatus, clips: &[ClipView], file: impl Fn(&str) -> String) -> String {
    let rows: Vec<[String; 5]> = clips
        .iter()
        .filter_map(|clip| match &clip.state {
            ClipState::Done { bytes, work } => Some([
                clip.name.clone(),
                clip.length_ms.map_or("-".to_owned(), text::clock),
                work.describe(),
                text::size(*bytes),
                file(&clip.name),
            ]),
            _ => None,
        })
        .collect();
    let header = [
        ("clip", Align::Left),
        ("length", Align::Right),
        ("took", Align::Right),
        ("size", Align::Right),
        ("file", Align::Left),
    ];
    let mut parts = Vec::new();
    if !rows.is_empty() {
        parts.push(table(header, &rows));
    }
    let failures: Vec<String> = status.clips.iter().filter_map(failure).collect();
    if !failures.is_empty() {
        parts.push(failures.join("\n"));
    }
    parts.join("\n\n")
}

/// Why a clip was not made, and what to do.
fn failure(clip: &ClipStatus) -> Option<String> {
    let (error, hint) = (style::stdout(style::ERROR), style::stdout(style::HINT));
    let name = &clip.clip_id;
    match clip.status.as_str() {
        "failed" => {
            let reason = clip.error.clone().unwrap_or_default();
            let remedy = remedy(&Code::parse(&reason.code), reason.retryable);
            Some(format!(
                "{error}failed:{error:#} {name}: {} ({})\n  {hint}hint:{hint:#} {remedy}",
                reason.message, reason.code
            ))
        }
        "cancelled" => Some(format!("cancelled: {name}")),
        _ => None,
    }
}

/// What the user can do about a failure, by who is at fault.
fn remedy(code: &Code, retryable: bool) -> &'static str {
    match code.fault() {
        _ if *code == Code::WindowBeyondEnd => "choose an earlier end, then run the command again",
        _ if retryable => "run the same command again; clips that are done are not made again",
        Some(Fault::Request) => "correct the clip, then run the command again",
        Some(Fault::Source) => "correct the source, then run the command again",
        Some(Fault::Fleet | Fault::Instance) | None => "run `clipfleet doctor` to check this machine",
    }
}

/// "5 clips in clips/ after 0:42.", or how many of them.
pub(crate) fn summary(clips: &[ClipView], out: &Path, elapsed: Duration) -> String {
    let done = clips.iter().filter(|clip| matches!(clip.state, ClipState::Done { .. })).count();
    let kept = clips.iter().filter(|clip| matches!(clip.state, ClipState::Done { work: Work::Unchanged, .. })).count();
    let all = text::plural(clips.len(), "clip");
    let count = if done == clips.len() { all } else { format!("{done} of {all}") };
    let kept = if kept == 0 { String::new() } else { format!(" ({kept} unchanged)") };
    format!("{count}{kept} in {} after {}", plan::directory(out), text::took(elapsed))
}

/// The final status with the path of each clip that is on this machine.
pub(crate) fn with_paths(mut status: Value, files: &[ClipFile]) -> Value {
    for clip in status["clips"].as_array_mut().into_iter().flatten() {
        let file = files.iter().find(|file| clip["clipId"] == *file.clip && clip["status"] == "completed");
        if let Some(path) = file.and_then(|file| std::path::absolute(&file.path).ok()) {
            clip["path"] = json!(path);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_contract::v1::Error;

    #[test]
    fn failures_stand_below_the_table_with_a_remedy() {
        let error = Error { code: "source_truncated".into(), message: "ends at 3 s".into(), ..Error::default() };
        let failed =
            ClipStatus { clip_id: "c2".into(), status: "failed".into(), error: Some(error), ..ClipStatus::default() };
        let done = ClipStatus {
            clip_id: "clip-1".into(),
            status: "completed".into(),
            output_size_bytes: 13_700_000,
            ..ClipStatus::default()
        };
        let status = BatchStatus { clips: vec![done, failed], ..BatchStatus::default() };
        let clips = crate::output::view::clips(&status, |_| Some(20_000));
        let text = table_of(&status, &clips, |clip| format!("out/talk-{clip}.mp4"));
        let expected = "clip    length   took     size  file\n\
                        clip-1    0:20  0.0 s  13.7 MB  out/talk-clip-1.mp4\n\n\
                        failed: c2: ends at 3 s (source_truncated)\n  \
                        hint: correct the source, then run the command again";
        assert_eq!(text, expected);
        assert_eq!(summary(&clips, Path::new("out"), Duration::from_secs(42)), "1 of 2 clips in out/ after 42 s");
    }

    #[test]
    fn only_completed_clips_have_a_path() {
        let file = |clip: &str| ClipFile { clip: clip.into(), length_ms: 1, path: clip.into(), content: None };
        let status = json!({"clips": [{"clipId": "a", "status": "completed"}, {"clipId": "b", "status": "failed"}]});
        let status = with_paths(status, &[file("a"), file("b")]);
        assert!(status["clips"][0]["path"].as_str().is_some_and(|path| path.starts_with('/') && path.ends_with("/a")));
        assert!(status["clips"][1]["path"].is_null());
    }
}
