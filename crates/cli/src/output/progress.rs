//! Reports the progress of a batch: redrawn in a terminal, one line per change elsewhere, or as JSON for programs.

use super::{
    frame, line,
    screen::Screen,
    style, text,
    view::{ClipState, ClipView},
};
use clap::builder::styling::Style;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How progress is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For people: bars in a terminal, lines elsewhere.
    Text,
    /// One JSON object per change, on the standard output.
    JsonLines,
    /// Not at all.
    Silent,
}

enum Sink {
    Screen(Screen),
    Lines,
    JsonLines,
    Silent,
}

/// The report of one batch.
pub(crate) struct Progress {
    sink: Sink,
    started: Instant,
    states: HashMap<String, ClipState>,
    phase: String,
}

impl Progress {
    pub(crate) fn new(mode: Mode) -> Self {
        let sink = match mode {
            Mode::Silent => Sink::Silent,
            Mode::JsonLines => Sink::JsonLines,
            Mode::Text => Screen::open().map_or(Sink::Lines, Sink::Screen),
        };
        Self { sink, started: Instant::now(), states: HashMap::new(), phase: String::new() }
    }

    /// Says something that stays.
    pub(crate) fn note(&mut self, text: &str) {
        match &mut self.sink {
            Sink::Screen(screen) => {
                let columns = screen.size().columns;
                screen.print(&text::fit(text, columns));
            }
            Sink::Lines => eprintln!("{text}"),
            Sink::JsonLines | Sink::Silent => {}
        }
    }

    /// Shows what happens before the clips: `copying source`, with the part that is done if it is known.
    pub(crate) fn phase(&mut self, phase: &str, part: Option<(u64, u64)>) {
        let percent = part.map(|(done, all)| done.saturating_mul(100).checked_div(all).unwrap_or(100));
        let shown = percent.map_or_else(|| phase.to_owned(), |percent| format!("{phase}  {percent} %"));
        // Elsewhere than in a terminal, quarters suffice.
        let step = percent.map_or_else(|| phase.to_owned(), |percent| format!("{phase}  {} %", percent / 25 * 25));
        let elapsed = text::clock(self.started.elapsed().as_millis() as i64);
        match &mut self.sink {
            Sink::Screen(screen) => {
                let columns = screen.size().columns.saturating_sub(1);
                screen.draw(vec![text::fit(&format!("  {shown} · {elapsed} elapsed"), columns)]);
            }
            Sink::Lines if step != self.phase => eprintln!("{step}"),
            Sink::JsonLines if step != self.phase => {
                line(json!({"event": "phase", "phase": phase, "percent": percent}))
            }
            _ => {}
        }
        self.phase = step;
    }

    /// Shows the clips.
    pub(crate) fn show(&mut self, clips: &[ClipView]) {
        let elapsed = self.started.elapsed();
        match &mut self.sink {
            Sink::Screen(screen) => {
                let paint = |style: Style, text: &str| {
                    let style = style::stderr(style);
                    format!("{style}{text}{style:#}")
                };
                let tick = (elapsed.as_millis() / 100) as usize;
                screen.draw(frame::frame(clips, elapsed, screen.size(), tick, &paint));
            }
            Sink::Lines => {
                self.changes(clips, false).iter().for_each(|clip| eprintln!("{}", plain_line(clip, clips, elapsed)));
            }
            Sink::JsonLines => self.changes(clips, true).iter().for_each(|clip| line(event(clip))),
            Sink::Silent => {}
        }
    }

    /// Shows the final status to programs. What was drawn disappears when this is dropped.
    pub(crate) fn finish(self, status: &Value) {
        if matches!(self.sink, Sink::JsonLines) {
            line(json!({"event": "ended", "batch": status}));
        }
    }

    /// The clips whose state changed; every step of a running one if `fine`, otherwise only its phase.
    fn changes(&mut self, clips: &[ClipView], fine: bool) -> Vec<ClipView> {
        let key = |clip: &ClipView| match &clip.state {
            ClipState::Running { phase, .. } if !fine => ClipState::Running { percent: 0, phase, eta_seconds: None },
            state => state.clone(),
        };
        let changed = clips.iter().filter(|clip| self.states.get(&clip.name) != Some(&key(clip)));
        let changed: Vec<ClipView> = changed.cloned().collect();
        self.states.extend(changed.iter().map(|clip| (clip.name.clone(), key(clip))));
        changed
    }
}

fn plain_line(clip: &ClipView, clips: &[ClipView], elapsed: Duration) -> String {
    let name = &clip.name;
    match &clip.state {
        ClipState::Queued => format!("{name}: queued"),
        ClipState::Running { phase, .. } => format!("{name}: {phase}"),
        ClipState::Done { bytes, work } => {
            let (size, work) = (text::size(*bytes), work.describe());
            format!("{name}: done, {size}, {work} ({})", frame::total(clips, elapsed))
        }
        ClipState::Failed { code } => format!("{name}: failed: {code}"),
        ClipState::Cancelled => format!("{name}: cancelled"),
    }
}

fn event(clip: &ClipView) -> Value {
    let mut event = json!({"event": "clip", "clipId": clip.name});
    match &clip.state {
        ClipState::Queued => event["status"] = json!("queued"),
        ClipState::Running { percent, phase, eta_seconds } => {
            event["status"] = json!("processing");
            event["phase"] = json!(phase);
            event["progress"] = json!(percent);
            event["etaSeconds"] = json!(eta_seconds);
        }
        ClipState::Done { bytes, work } => {
            event["status"] = json!("completed");
            event["outputSizeBytes"] = json!(bytes);
            event["work"] = json!(work.describe());
        }
        ClipState::Failed { code } => {
            event["status"] = json!("failed");
            event["code"] = json!(code);
        }
        ClipState::Cancelled => event["status"] = json!("cancelled"),
    }
    event
}

#[cfg(test)]
mod tests {
    use super::{super::view::Work, *};

    #[test]
    fn elsewhere_than_in_a_terminal_only_changes_are_reported() {
        let mut progress = Progress { sink: Sink::Lines, ..Progress::new(Mode::Silent) };
        let clip = |state| vec![ClipView { name: "a".to_owned(), length_ms: Some(1_000), state }];
        let running = |percent, phase| clip(ClipState::Running { percent, phase, eta_seconds: None });
        assert_eq!(progress.changes(&running(1, "encoding"), false).len(), 1);
        assert_eq!(progress.changes(&running(2, "encoding"), false).len(), 0);
        assert_eq!(progress.changes(&running(2, "verifying"), false).len(), 1);
        let done = clip(ClipState::Done { bytes: 1_000, work: Work::Reused });
        assert_eq!(progress.changes(&done, false).len(), 1);
        let line = plain_line(&done[0], &done, Duration::from_secs(2));
        assert_eq!(line, "a: done, 1.0 kB, reused (1 of 1 done · 0:02 elapsed)");
    }
}
