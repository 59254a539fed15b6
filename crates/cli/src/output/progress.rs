//! Shows a batch in a terminal: one progress bar per clip, and a table at the end.

use clipfleet_contract::v1::{BatchStatus, ClipStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{collections::HashMap, fmt::Write as _};

/// One progress bar per clip.
pub(crate) struct Bars {
    clips: HashMap<String, ProgressBar>,
}

impl Bars {
    /// Bars for clips in their order. They are invisible if `visible` is false or the standard error is not a terminal.
    pub(crate) fn new<'a>(clips: impl Iterator<Item = &'a str> + Clone, visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let width = clips.clone().map(|clip| clip.chars().count()).max().unwrap_or(0);
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos:>3}% {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |clip: &str| {
            let bar = all.add(ProgressBar::new(100).with_style(style.clone()).with_prefix(format!("{clip:<width$}")));
            bar.set_message("queued");
            (clip.to_owned(), bar)
        };
        Self { clips: clips.map(bar).collect() }
    }

    pub(crate) fn show(&mut self, status: &BatchStatus) {
        for clip in &status.clips {
            let Some(bar) = self.clips.get(&clip.clip_id) else { continue };
            if bar.is_finished() {
                continue;
            }
            bar.set_position(u64::from(clip.progress));
            bar.set_message(describe(clip));
            if is_terminal(&clip.status) {
                bar.abandon();
            }
        }
    }
}

pub(crate) fn is_terminal(status: &str) -> bool {
    !matches!(status, "queued" | "processing" | "")
}

fn describe(clip: &ClipStatus) -> String {
    match clip.status.as_str() {
        "processing" => {
            let eta = clip.eta_seconds.map_or(String::new(), |seconds| format!(", {seconds} s left"));
            let encoder = if clip.encoder.is_empty() { String::new() } else { format!(" with {}", clip.encoder) };
            format!("{}{encoder}{eta}", clip.phase)
        }
        "failed" => format!("failed: {}", clip.error.as_ref().map_or("", |error| error.code.as_str())),
        "completed" if clip.reused => "completed, reused".to_owned(),
        other => other.to_owned(),
    }
}

/// The final table. `location` returns where a clip's file is.
pub(crate) fn table(status: &BatchStatus, location: impl Fn(&ClipStatus) -> String) -> String {
    let header = ["clip", "status", "seconds", "encoder", "size", "file"].map(str::to_owned);
    let rows = status.clips.iter().map(|clip| {
        let seconds =
            clip.timings.as_ref().map_or("-".into(), |timings| format!("{:.1}", timings.total_ms as f64 / 1_000.0));
        let state = if clip.reused { format!("{} (reused)", clip.status) } else { clip.status.clone() };
        let encoder = if clip.encoder.is_empty() { "-" } else { &clip.encoder };
        let size = if clip.output_size_bytes == 0 { "-".into() } else { human_size(clip.output_size_bytes) };
        let file =
            clip.error.as_ref().map_or_else(|| location(clip), |error| format!("{}: {}", error.code, error.message));
        [clip.clip_id.clone(), state, seconds, encoder.to_owned(), size, file]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = if column == row.len() - 1 { 0 } else { widths[column] };
            // Numbers are right-aligned.
            let _ = if matches!(column, 2 | 4) {
                write!(text, "{gap}{cell:>width$}")
            } else {
                write!(text, "{gap}{cell:<width$}")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn human_size(bytes: i64) -> String {
    const MIB: f64 = 1_048_576.0;
    format!("{:.1} MiB", bytes as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_contract::v1::{Error, Timings};

    #[test]
    fn the_table_is_aligned_and_shows_why_a_clip_failed() {
        let done = ClipStatus {
            clip_id: "clip-1".into(),
            status: "completed".into(),
            encoder: "x264enc".into(),
            output_size_bytes: 10 << 20,
            timings: Some(Timings { total_ms: 12_340, ..Timings::default() }),
            ..ClipStatus::default()
        };
        let error = Error { code: "source_truncated".into(), message: "ends at 3 s".into(), ..Error::default() };
        let failed =
            ClipStatus { clip_id: "c2".into(), status: "failed".into(), error: Some(error), ..ClipStatus::default() };
        let status = BatchStatus { clips: vec![done, failed], ..BatchStatus::default() };
        let table = table(&status, |clip| format!("out/{}.mp4", clip.clip_id));
        let expected = "clip    status     seconds  encoder      size  file\n\
                        clip-1  completed     12.3  x264enc  10.0 MiB  out/clip-1.mp4\n\
                        c2      failed           -  -               -  source_truncated: ends at 3 s\n";
        assert_eq!(table, expected);
    }
}
