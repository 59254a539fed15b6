//! Colours. They are used in terminals only, and not if `NO_COLOR` is set.

use clap::builder::styling::{AnsiColor, Style, Styles};
use std::io::IsTerminal as _;

/// "error:", and problems.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// "hint:", remedies, and names of commands in text.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();
/// Notes, and clips that wait.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default();
/// Success.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What matters less than the rest of its line.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Headings.
pub(crate) const BOLD: Style = Style::new().bold();

/// The styles of `--help` and of wrong arguments.
pub(crate) const HELP: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A style for the standard output.
pub(crate) fn stdout(style: Style) -> Style {
    if std::io::stdout().is_terminal() { allowed(style) } else { Style::new() }
}

/// A style for the standard error.
pub(crate) fn stderr(style: Style) -> Style {
    if std::io::stderr().is_terminal() { allowed(style) } else { Style::new() }
}

/// See <https://no-color.org>.
fn allowed(style: Style) -> Style {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    if forbidden { Style::new() } else { style }
}
