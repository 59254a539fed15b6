//! The progress of a batch as lines that fit a terminal of any size. The rows, in the order in which they give way:
//!
//! ```text
//!   ✓ 3 done                                                ended clips that do not fit
//!   ✓ intro      0:20    13.7 MB   4.1 s                    ended clips, latest last
//!   ⠹ overlap    0:30  ████████████░░░░░░  62 %  encoding  0:06 left
//!   · 2 more queued
//!   1 of 5 done · 0:12 elapsed · about 0:41 left
//! ```

use super::{
    style, text,
    view::{ClipState, ClipView},
};
use clap::builder::styling::Style;
use std::time::Duration;

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Percent of a batch from which on the remaining time is shown: an earlier estimate is several times too long.
const MIN_ESTIMATE_PERCENT: u64 = 10;

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The lines, each at most `size.columns` wide, at most `size.rows` of them. `tick` moves the spinner. Styles are
/// applied by `paint`.
pub(super) fn frame(
    clips: &[ClipView],
    elapsed: Duration,
    size: Size,
    tick: usize,
    paint: &dyn Fn(Style, &str) -> String,
) -> Vec<String> {
    let columns = size.columns.saturating_sub(1).max(10);
    let layout = Layout::new(clips, columns);
    let (ended, open): (Vec<&ClipView>, Vec<&ClipView>) = clips.iter().partition(|clip| clip.state.has_ended());
    let (queued, running): (Vec<&ClipView>, Vec<&ClipView>) =
        open.into_iter().partition(|clip| clip.state == ClipState::Queued);

    // One row stays for the cursor, and one for the total.
    let mut rows = size.rows.saturating_sub(2).max(1);
    let mut shown_running = running.len().min(rows);
    if shown_running < running.len() || (!queued.is_empty() && shown_running == rows) {
        shown_running = shown_running.min(rows.saturating_sub(1));
    }
    let waiting = queued.len() + running.len() - shown_running;
    rows -= shown_running + usize::from(waiting > 0).min(rows - shown_running);

    let mut lines = Vec::new();
    lines.extend(ended_lines(&ended, rows, &layout, paint));
    for clip in running.iter().take(shown_running) {
        lines.push(running_line(clip, SPINNER[tick % SPINNER.len()], &layout, paint));
    }
    if waiting > 0 && size.rows > 2 {
        lines.push(paint(style::DIM, &text::fit(&format!("  · {waiting} more queued"), columns)));
    }
    lines.push(text::fit(&format!("  {}", total(clips, elapsed)), columns));
    lines
}

/// The ended clips in at most `rows` lines: all, or the latest after a line that counts the others.
fn ended_lines(
    ended: &[&ClipView],
    rows: usize,
    layout: &Layout,
    paint: &dyn Fn(Style, &str) -> String,
) -> Vec<String> {
    if rows == 0 {
        return Vec::new();
    }
    let hidden = if ended.len() <= rows { 0 } else { ended.len() - (rows - 1) };
    let mut lines = Vec::new();
    if hidden > 0 {
        let failed = ended[..hidden].iter().filter(|clip| !matches!(clip.state, ClipState::Done { .. })).count();
        let done = format!("  ✓ {} done", hidden - failed);
        lines.push(match failed {
            0 => paint(style::DIM, &done),
            _ => paint(style::DIM, &format!("{done}, {failed} not")),
        });
    }
    lines.extend(ended[hidden..].iter().map(|clip| ended_line(clip, layout, paint)));
    lines
}

/// "1 of 5 done · 0:12 elapsed · about 0:41 left".
pub(super) fn total(clips: &[ClipView], elapsed: Duration) -> String {
    let ended = clips.iter().filter(|clip| clip.state.has_ended()).count();
    let mut text = format!("{ended} of {} done · {} elapsed", clips.len(), text::clock(elapsed.as_millis() as i64));
    if let Some(left) = remaining(clips, elapsed) {
        text += &format!(" · about {} left", text::clock(left.as_millis() as i64));
    }
    text
}

/// The remaining time, if enough is done to tell: the clips' lengths are what is counted.
fn remaining(clips: &[ClipView], elapsed: Duration) -> Option<Duration> {
    let length = |clip: &ClipView| u64::try_from(clip.length_ms.unwrap_or(30_000)).unwrap_or(0).max(1);
    let all: u64 = clips.iter().map(length).sum();
    let done: u64 = clips
        .iter()
        .map(|clip| match clip.state {
            ClipState::Queued => 0,
            ClipState::Running { percent, .. } => length(clip) * u64::from(percent) / 100,
            _ => length(clip),
        })
        .sum();
    if done * 100 < all * MIN_ESTIMATE_PERCENT || done >= all {
        return None;
    }
    // Less than half a second would read as 0:00.
    Some(elapsed.mul_f64((all - done) as f64 / done as f64)).filter(|left| left.as_millis() >= 500)
}

/// The widths of the columns.
struct Layout {
    columns: usize,
    name: usize,
    bar: usize,
    shows_phase: bool,
    shows_eta: bool,
}

impl Layout {
    const MARK: usize = 4;
    const LENGTH: usize = 7;
    const PERCENT: usize = 7;
    const PHASE: usize = 11;
    const ETA: usize = 13;
    const MIN_BAR: usize = 8;
    const MAX_BAR: usize = 30;

    fn new(clips: &[ClipView], columns: usize) -> Self {
        let longest = clips.iter().map(|clip| console::measure_text_width(&clip.name)).max().unwrap_or(0);
        let name = longest.min(24).min((columns / 3).max(4));
        let fixed = Self::MARK + name + Self::LENGTH + 2 + Self::PERCENT;
        let room = |extra: usize| columns.saturating_sub(fixed + extra);
        let shows_phase = room(Self::PHASE) >= Self::MIN_BAR;
        let shows_eta = room(Self::PHASE + Self::ETA) >= Self::MIN_BAR;
        let extra = usize::from(shows_phase) * Self::PHASE + usize::from(shows_eta) * Self::ETA;
        Self { columns, name, bar: room(extra).min(Self::MAX_BAR), shows_phase, shows_eta }
    }

    /// The name and the length of a clip.
    fn head(&self, clip: &ClipView) -> String {
        let name = text::pad(&text::fit(&clip.name, self.name), self.name);
        let length = clip.length_ms.map_or(String::new(), text::clock);
        format!("{name}{length:>width$}", width = Self::LENGTH)
    }
}

fn running_line(clip: &ClipView, spinner: char, layout: &Layout, paint: &dyn Fn(Style, &str) -> String) -> String {
    let ClipState::Running { percent, phase, eta_seconds } = &clip.state else { return String::new() };
    let filled = layout.bar * *percent as usize / 100;
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(layout.bar - filled));
    let mut tail = format!("{percent:>4} %");
    if layout.shows_phase {
        tail += &format!("  {phase}");
    }
    if layout.shows_eta
        && let Some(seconds) = eta_seconds
    {
        tail += &format!("  {} left", text::clock(i64::from(*seconds) * 1_000));
    }
    let head = format!("  {spinner} {}", layout.head(clip));
    let room = layout.columns.saturating_sub(console::measure_text_width(&head) + layout.bar + 2);
    let line = format!("{head}  {}{}", paint(style::HINT, &bar), text::fit(&tail, room));
    text::fit(&line, layout.columns)
}

fn ended_line(clip: &ClipView, layout: &Layout, paint: &dyn Fn(Style, &str) -> String) -> String {
    let (mark, look, rest) = match &clip.state {
        ClipState::Done { bytes, work } => {
            ("✓", style::GOOD, format!("{:>9}  {:>9}", text::size(*bytes), work.describe()))
        }
        ClipState::Failed { code } => ("✗", style::ERROR, format!("  failed: {code}")),
        _ => ("–", style::DIM, "  cancelled".to_owned()),
    };
    let line = text::fit(&format!("{}  {rest}", layout.head(clip)), layout.columns.saturating_sub(Layout::MARK));
    format!("  {} {line}", paint(look, mark))
}

#[cfg(test)]
mod tests {
    use super::{super::view::Work, *};

    fn plain(_: Style, text: &str) -> String {
        text.to_owned()
    }

    fn clip(name: &str, state: ClipState) -> ClipView {
        ClipView { name: name.to_owned(), length_ms: Some(30_000), state }
    }

    fn done() -> ClipState {
        ClipState::Done { bytes: 13_700_000, work: Work::Made(Duration::from_millis(4_100)) }
    }

    fn running(percent: u32) -> ClipState {
        ClipState::Running { percent, phase: "encoding", eta_seconds: Some(6) }
    }

    fn lines(clips: &[ClipView], columns: usize, rows: usize) -> Vec<String> {
        frame(clips, Duration::from_secs(12), Size { columns, rows }, 0, &plain)
    }

    #[test]
    fn a_batch_is_shown_with_ticks_bars_and_what_waits() {
        let clips = [
            clip("intro", done()),
            clip("overlap", running(60)),
            clip("late", ClipState::Queued),
            clip("end", ClipState::Queued),
        ];
        let expected = [
            "  ✓ intro     0:30    13.7 MB      4.1 s",
            "  ⠋ overlap   0:30  ██████████████████░░░░░░░░░░░░  60 %  encoding  0:06 left",
            "  · 2 more queued",
            "  1 of 4 done · 0:12 elapsed · about 0:18 left",
        ];
        assert_eq!(lines(&clips, 100, 40), expected);
    }

    #[test]
    fn every_size_is_respected_and_the_total_is_always_there() {
        let states = |n: usize| match n % 7 {
            0 | 1 => done(),
            2 => running(40),
            3 => ClipState::Failed { code: "source_has_no_video".into() },
            4 => ClipState::Cancelled,
            _ => ClipState::Queued,
        };
        for count in [1, 2, 5, 40, 1_000] {
            let clips: Vec<_> =
                (0..count).map(|n| clip(&format!("a rather long name of clip {n}"), states(n))).collect();
            for (columns, rows) in [(20, 3), (40, 5), (60, 14), (80, 24), (120, 40), (300, 100)] {
                let lines = lines(&clips, columns, rows);
                assert!(lines.len() < rows, "{count} clips in {rows} rows: {lines:#?}");
                let wide = lines.iter().find(|line| console::measure_text_width(line) >= columns);
                assert_eq!(wide, None, "{columns} columns");
                assert!(lines.last().is_some_and(|total| total.contains(&format!("of {count}"))), "{lines:#?}");
            }
        }
    }

    #[test]
    fn running_clips_stay_when_ended_ones_do_not_fit() {
        let mut clips: Vec<_> = (0..12).map(|n| clip(&format!("clip-{n}"), done())).collect();
        clips.push(clip("late", running(10)));
        let lines = lines(&clips, 60, 6);
        assert!(lines[0].contains("10 done") && lines[1].contains("clip-10"), "{lines:#?}");
        assert!(lines[3].contains("late") && lines[3].contains("10 %"), "{lines:#?}");
    }

    #[test]
    fn the_remaining_time_is_withheld_at_first() {
        let at = |percent| total(&[clip("a", running(percent))], Duration::from_secs(10));
        assert_eq!(at(9), "0 of 1 done · 0:10 elapsed");
        assert_eq!(at(50), "0 of 1 done · 0:10 elapsed · about 0:10 left");
    }
}
