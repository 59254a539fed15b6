//! The results of a run of the model.

use std::fmt::Write as _;

/// Results of one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Simulated time.
    pub length_seconds: f64,
    /// From the first submission to the first scale call.
    pub first_call_seconds: Option<f64>,
    /// Scale calls.
    pub calls: u32,
    /// From submission to the first slot, of each clip, in ascending order.
    pub waits_seconds: Vec<f64>,
    /// From submission to the last clip, of each batch, in ascending order.
    pub batches_seconds: Vec<f64>,
    /// Slot-seconds of clips that completed.
    pub useful_seconds: f64,
    /// Slot-seconds of work that was lost because its instance was stopped.
    pub lost_seconds: f64,
    /// Clips that were interrupted by it.
    pub interrupted: u32,
    /// Slot-seconds of instances that were ready, busy or not.
    pub ready_seconds: f64,
    /// Billed instance-seconds: from the request for an instance until it was stopped.
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

    /// Share of the used slot-seconds that were lost.
    pub fn lost_work(&self) -> f64 {
        share(self.lost_seconds, self.useful_seconds + self.lost_seconds)
    }

    /// Share of the ready slot-seconds that were unused.
    pub fn idle(&self) -> f64 {
        share(self.ready_seconds - self.useful_seconds - self.lost_seconds, self.ready_seconds)
    }

    /// Share of the billed slot-seconds, including cold starts, that completed clips used.
    pub fn utilisation(&self, slots: u32) -> f64 {
        share(self.useful_seconds, self.billed_seconds * f64::from(slots))
    }

    /// Mean number of billed instances.
    pub fn mean_instances(&self) -> f64 {
        share(self.billed_seconds, self.length_seconds)
    }

    /// A quantile of sorted values, in seconds: the median at 0.5.
    pub fn at(values: &[f64], part: f64) -> f64 {
        let index = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
        values.get(index).copied().unwrap_or(0.0)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Compares runs in a text table.
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
