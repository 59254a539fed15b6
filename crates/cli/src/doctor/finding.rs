//! The result of one check, with its remedy.

use crate::output::{self, style, text};
use serde_json::{Value, json};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    what: String,
    remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// Works, with a limit that some users want to know.
    Note,
    Problem,
}

impl Finding {
    pub(super) fn passed(what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Passed, what: what.into(), remedy: String::new() }
    }

    pub(super) fn note(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Note, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, what: what.into(), remedy: remedy.into() }
    }

    fn json(&self) -> Value {
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Note => "note",
            Verdict::Problem => "problem",
        };
        let remedy = Some(&self.remedy).filter(|remedy| !remedy.is_empty());
        json!({"verdict": verdict, "what": self.what, "remedy": remedy})
    }

    fn print(&self) {
        let (word, look) = match self.verdict {
            Verdict::Passed => ("ok", style::GOOD),
            Verdict::Note => ("note", style::NOTE),
            Verdict::Problem => ("problem", style::ERROR),
        };
        let (look, hint) = (style::stdout(look), style::stdout(style::HINT));
        output::line(format_args!("{look}{word:<8}{look:#} {}", self.what));
        if !self.remedy.is_empty() {
            output::line(format_args!("         {hint}fix:{hint:#} {}", self.remedy));
        }
    }
}

/// Prints problems, then notes, then what passed: all of it if `verbose`, otherwise only how much. Returns the number
/// of problems.
pub(super) fn report(findings: &[Finding], subject: &str, verbose: bool, json: bool) -> usize {
    let of = |verdict: Verdict| findings.iter().filter(move |finding| finding.verdict == verdict);
    let problems = of(Verdict::Problem).count();
    if json {
        let checks: Vec<Value> = findings.iter().map(Finding::json).collect();
        output::json(&json!({"ok": problems == 0, "checks": checks}));
        return problems;
    }
    of(Verdict::Problem).chain(of(Verdict::Note)).for_each(Finding::print);
    if verbose {
        of(Verdict::Passed).for_each(Finding::print);
    }
    let (passed, more) = (of(Verdict::Passed).count(), if verbose { "" } else { " (-v lists all)" });
    let good = style::stdout(style::GOOD);
    output::line(format_args!("{good}{} passed{good:#}{more}", text::plural(passed, "check")));
    match problems {
        0 => output::line(format_args!("\nThis {subject} can export clips.")),
        count => {
            let count = text::plural(count, "problem");
            output::line(format_args!("\n{count} to fix before this {subject} can export."));
        }
    }
    problems
}
