//! What a run of the model came to.

use std::fmt::Write as _;

/// Figures of one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// How long was looked at.
    pub length_seconds: f64,
    /// From the first submission to the first scale call.
    pub first_call_seconds: Option<f64>,
    /// Scale calls.
    pub calls: u32,
    /// From submission to a slot, of each clip, in rising order.
    pub waits_seconds: Vec<f64>,
    /// From submission to the last clip, of each batch, in rising order.
    pub batches_seconds: Vec<f64>,
    /// Slot-seconds of clips that completed.
    pub useful_seconds: f64,
    /// Slot-seconds of work that was lost when its instance was ended.
    pub lost_seconds: f64,
    /// Clips that were interrupted so.
    pub interrupted: u32,
    /// Slot-seconds of instances that were ready, busy or not.
    pub ready_seconds: f64,
    /// Instance-seconds paid for: from being asked for to being ended.
    pub billed_seconds: f64,
    /// The most instances at once.
    pub most_instances: u32,
}

impl Report {
    pub(super) fn sorted(mut self) -> Self {
        self.waits_seconds.sort_by(f64::total_cmp);
        self.batches_seconds.sort_by(f64::total_cmp);
        self
    }

    /// Share of the slot-seconds worked that were lost.
    pub fn lost_work(&self) -> f64 {
        share(self.lost_seconds, self.useful_seconds + self.lost_seconds)
    }

    /// Share of the slot-seconds ready in which nothing was worked at.
    pub fn idle(&self) -> f64 {
        share(self.ready_seconds - self.useful_seconds - self.lost_seconds, self.ready_seconds)
    }

    /// Share of the slot-seconds paid for, with those of starting, that made clips.
    pub fn utilisation(&self, slots: u32) -> f64 {
        share(self.useful_seconds, self.billed_seconds * f64::from(slots))
    }

    /// Mean number of instances paid for.
    pub fn mean_instances(&self) -> f64 {
        share(self.billed_seconds, self.length_seconds)
    }

    /// A part of the sorted values, in seconds: the median at 0.5.
    pub fn at(values: &[f64], part: f64) -> f64 {
        let place = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
        values.get(place).copied().unwrap_or(0.0)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Runs beside one another, as text.
pub fn table(rows: &[(&str, &Report)]) -> String {
    let mut text = String::new();
    let head = [
        "first call",
        "wait p50",
        "p95",
        "batch p50",
        "p95",
        "idle",
        "lost",
        "interrupted",
        "instances",
        "most",
        "calls",
    ];
    let _ = write!(text, "{:44}", "");
    for name in head {
        let _ = write!(text, " {name:>11}");
    }
    for (name, report) in rows {
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        let cells = [
            report.first_call_seconds.map_or("never".into(), seconds),
            seconds(Report::at(&report.waits_seconds, 0.5)),
            seconds(Report::at(&report.waits_seconds, 0.95)),
            seconds(Report::at(&report.batches_seconds, 0.5)),
            seconds(Report::at(&report.batches_seconds, 0.95)),
            format!("{:.1} %", 100.0 * report.idle()),
            format!("{:.2} %", 100.0 * report.lost_work()),
            report.interrupted.to_string(),
            format!("{:.2}", report.mean_instances()),
            report.most_instances.to_string(),
            report.calls.to_string(),
        ];
        let _ = write!(text, "\n{name:44}");
        for cell in cells {
            let _ = write!(text, " {cell:>11}");
        }
    }
    text
}
