//! Tables: columns as wide as their widest cell, numbers to the right.

use super::{style, text};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Renders rows below a header; the header is dimmed in a terminal.
pub(crate) fn table<const N: usize>(header: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| console::measure_text_width(&row[column]));
        cells.chain([header[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let render = |cells: [&str; N]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let fill = " ".repeat(widths[column].saturating_sub(console::measure_text_width(cell)));
            if header[column].1 == Align::Right { format!("{fill}{cell}") } else { text::pad(cell, widths[column]) }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    let dim = style::stdout(style::DIM);
    let mut lines = vec![format!("{dim}{}{dim:#}", render(header.map(|(name, _)| name)))];
    lines.extend(rows.iter().map(|row| render(std::array::from_fn(|column| row[column].as_str()))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [["イン".to_owned(), "9.0 s".to_owned()], ["b".to_owned(), "12 s".to_owned()]];
        let expected = "clip   took\nイン  9.0 s\nb      12 s";
        assert_eq!(table([("clip", Align::Left), ("took", Align::Right)], &rows), expected);
    }
}
