//! Words that were retired for the field's own stay retired: in code, wire files, metrics and Markdown.

use super::{files, root};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each word, or two, with what to write instead.
const RETIRED: [(&str, &str); 29] = [
    ("seat", "leadership"),
    ("slate", "write state"),
    ("pulse", "stall detector"),
    ("fact", "event"),
    ("facts", "events"),
    ("foretold", "predicted"),
    ("sequel", "retry policy"),
    ("resting", "cooldown"),
    ("stood still", "stalled"),
    ("setback", "failure"),
    ("setbacks", "failure codes"),
    ("postponement", "transient failure"),
    ("postponements", "transient failures"),
    ("graphics card", "GPU"),
    ("graphics cards", "GPUs"),
    ("surroundings", "dependencies"),
    ("companion", "sidecar"),
    ("companions", "sidecars"),
    ("leveller", "loudness element"),
    ("leveling", "loudness"),
    ("likeness", "similarity"),
    ("crew", "supervisor"),
    ("patience", "timeout"),
    ("astray", "error"),
    ("weather", "fault profile"),
    ("mishap", "fault"),
    ("whoever", "the client, the worker, ..."),
    ("of it nothing", "nothing of it"),
    ("localcloud", "Emulator"),
];

/// What the words must not stand in: Markdown, wire files, Terraform, and the sources of crates and tests.
pub(crate) fn texts() -> Vec<PathBuf> {
    files(&root(), &["md", "proto", "tf", "rs"])
}

/// The words of a text in lower case. Names are split where their words join: `OneName`, `one_name` and `one-name` are
/// two words each.
fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + text.len() / 8);
    let mut before = ' ';
    for c in text.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        words.extend(if c.is_alphanumeric() { c.to_lowercase().next() } else { Some(' ') });
        before = c;
    }
    words
}

fn found(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = format!(" {} ", words(line).split_whitespace().collect::<Vec<_>>().join(" "));
        let retired = RETIRED.iter().filter(|(word, _)| line.contains(&format!(" {word} ")));
        found.extend(retired.map(|(word, instead)| {
            format!("{}:{}: {word:?}: write {instead}", path.strip_prefix(root()).unwrap().display(), number + 1)
        }));
    }
    found
}

#[test]
fn retired_words_stay_retired() {
    let here = Path::new("tests/tidy/words.rs");
    let texts = texts();
    assert!(texts.len() > 300, "only {} files were found", texts.len());
    let found: Vec<String> = texts.iter().filter(|path| !path.ends_with(here)).flat_map(|path| found(path)).collect();
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn words_are_found_in_names() {
    assert_eq!(words("takeSeat THE_PULSE a-fact"), "take seat the pulse a fact");
}
