//! The part of a terminal that is drawn again and again, below what was printed before.

use super::frame::Size;
use console::Term;

pub(super) struct Screen {
    terminal: Term,
    drawn: Vec<String>,
}

impl Screen {
    /// The standard error, if it is a terminal.
    pub(super) fn open() -> Option<Self> {
        let terminal = Term::stderr();
        if !terminal.is_term() || std::env::var_os("TERM").is_some_and(|name| name == "dumb") {
            return None;
        }
        let _ = terminal.hide_cursor();
        Some(Self { terminal, drawn: Vec::new() })
    }

    pub(super) fn size(&self) -> Size {
        let (rows, columns) = self.terminal.size();
        Size { columns: usize::from(columns), rows: usize::from(rows) }
    }

    /// Replaces what was drawn. A terminal that refuses is not worth an error.
    pub(super) fn draw(&mut self, lines: Vec<String>) {
        let mut text = self.erasure();
        for line in &lines {
            text += line;
            text += "\x1b[K\n";
        }
        let _ = self.terminal.write_str(&format!("{text}\x1b[J"));
        self.drawn = lines;
    }

    /// Prints a line that stays, above what is drawn.
    pub(super) fn print(&mut self, line: &str) {
        let _ = self.terminal.write_str(&format!("{}\x1b[J{line}\n", self.erasure()));
        let lines = std::mem::take(&mut self.drawn);
        self.draw(lines);
    }

    /// Moves to the first row of what was drawn. If the terminal is narrower now, its lines have more rows.
    fn erasure(&self) -> String {
        let columns = self.size().columns.max(1);
        let rows: usize =
            self.drawn.iter().map(|line| console::measure_text_width(line).div_ceil(columns).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r") }
    }
}

impl Drop for Screen {
    /// Removes what was drawn: the table follows, or the reason why there is none.
    fn drop(&mut self) {
        self.draw(Vec::new());
        let _ = self.terminal.show_cursor();
    }
}
