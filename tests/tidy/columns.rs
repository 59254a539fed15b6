//! Comments and Markdown end at 120 columns. rustfmt holds code; tables and code blocks of Markdown may be wider.

use super::root;
use crate::words::texts;
use std::fs;

const MAX_COLUMNS: usize = 120;

#[test]
fn comments_and_markdown_end_at_120_columns() {
    let mut wide = Vec::new();
    for path in texts() {
        let text = fs::read_to_string(&path).unwrap();
        let is_markdown = path.extension().is_some_and(|kind| kind == "md");
        let is_rust = path.extension().is_some_and(|kind| kind == "rs");
        let mut in_block = false;
        for (number, line) in text.lines().enumerate() {
            let start = line.trim_start();
            in_block ^= is_markdown && start.starts_with("```");
            let prose = is_markdown && !in_block && !start.starts_with('|')
                || is_rust && start.starts_with("//") && !start.starts_with("/// |");
            if prose && line.chars().count() > MAX_COLUMNS {
                wide.push(format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}
