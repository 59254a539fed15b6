//! Tests what `crates/README.md` promises: who may import whom, that the runbook has every error code, that retired
//! words stay retired, and that nothing else stands at the top.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod columns;
mod cycles;
mod documents;
mod logs;
mod metrics;
mod words;

use cargo_metadata::{DependencyKind, MetadataCommand};
use clipfleet_domain::failure::{Code, Fault};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The import table: what each crate may use of ours. Dependencies for tests are free.
const IMPORTS: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("document", &[]),
    ("contract", &["document", "domain"]),
    ("cloud", &["document"]),
    ("service", &[]),
    ("dispatcher", &["domain", "contract", "cloud", "service"]),
    ("worker", &["domain", "contract", "cloud", "service"]),
    ("status", &["domain", "contract", "cloud", "service"]),
    ("scaler", &["domain", "contract", "cloud", "service"]),
    ("pipeline", &["domain", "contract"]),
    ("emulator", &[]),
    ("console", &[]),
    (
        "cli",
        &["domain", "contract", "cloud", "service", "dispatcher", "worker", "status", "scaler", "emulator", "console"],
    ),
    (
        "tests",
        &["domain", "contract", "cloud", "service", "dispatcher", "worker", "status", "scaler", "emulator", "pipeline"],
    ),
];

/// Who alone may use certain outside packages.
const OUTSIDE: [(&str, &[&str]); 3] =
    [("google-cloud-", &["cloud"]), ("gstreamer", &["pipeline"]), ("redb", &["emulator"])];

/// What the pure core must not know.
const NOT_IN_DOMAIN: [&str; 6] = ["tokio", "serde", "serde_json", "prost", "tracing", "uuid"];

/// The folders that may stand at the top beside dotted ones: ours, and those that are made and never committed.
const TOP: [&str; 10] =
    ["crates", "deploy", "docker", "infra", "proto", "tests", "target", "demo-output", "clips", "node_modules"];

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 4] = ["target", "node_modules", "demo-output", "clips"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each crate's direct dependencies, those for tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let short = |name: &str| name.trim_start_matches("clipfleet-").to_owned();
    let direct = |package: &cargo_metadata::Package| {
        let real = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        real.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (short(&package.name), direct(package))).collect()
}

/// The files of these extensions below a folder, without hidden and foreign folders.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&name) {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    files(folder, &["rs"])
}

/// Sources with their text, without files of tests and modules of tests.
fn shipped(sources: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    let is_test = |path: &PathBuf| {
        let in_tests = path.parent().is_some_and(|folder| folder.ends_with("tests"));
        in_tests || path.file_stem().unwrap().to_str().unwrap().ends_with("tests")
    };
    let shipped = sources.into_iter().filter(|path| !is_test(path));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        (path, shipped)
    };
    shipped.map(read).collect()
}

fn crate_sources() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    crates.filter(|path| path.is_dir()).flat_map(|path| sources(&path)).collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.into();
    for (name, used) in dependencies() {
        let allowed = table.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} is missing in the import table"));
        for ours in used.iter().filter_map(|dependency| dependency.strip_prefix("clipfleet-")) {
            assert!(allowed.contains(&ours), "{name} must not import {ours}");
        }
    }
}

#[test]
fn outside_packages_stay_with_their_one_user() {
    for (name, used) in dependencies() {
        for (prefix, users) in OUTSIDE {
            let uses = used.iter().any(|dependency| dependency.starts_with(prefix));
            assert!(!uses || users.contains(&name.as_str()), "{name} must not use {prefix}*");
        }
        if name == "domain" {
            let impure: Vec<_> = used.iter().filter(|used| NOT_IN_DOMAIN.contains(&used.as_str())).collect();
            assert!(impure.is_empty(), "domain must not use {impure:?}");
        }
    }
}

#[test]
fn nothing_else_stands_at_the_top() {
    let entries = fs::read_dir(root()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let folders = entries.map(|entry| entry.file_name().into_string().unwrap());
    let strangers: Vec<_> = folders.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "{strangers:?} at the top of the tree");
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    for path in crate_sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with a //! comment", path.display());
    }
}

/// The section of the runbook that explains the codes of a fault.
fn runbook_section(fault: Fault) -> &'static str {
    match fault {
        Fault::Request => "The request",
        Fault::Source => "The source",
        Fault::Fleet | Fault::Instance => "The fleet",
    }
}

#[test]
fn the_runbook_has_a_row_for_every_error_code_in_its_section_and_no_other() {
    let runbook = fs::read_to_string(root().join("deploy/runbook.md")).unwrap();
    let (mut section, mut listed) = ("", BTreeSet::new());
    for line in runbook.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            section = name;
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells.len() >= 3 && cells[1..3].iter().all(|cell| !cell.is_empty()), "meaning and remedy: {line}");
            listed.insert((section.to_owned(), cells[0].trim_end_matches('`').to_owned()));
        }
    }
    let row = |code: &Code| (runbook_section(code.fault().expect("a fault")).to_owned(), code.to_string());
    let written: BTreeSet<(String, String)> = Code::ALL.iter().map(row).collect();
    let (unlisted, unknown): (Vec<_>, Vec<_>) =
        (written.difference(&listed).collect(), listed.difference(&written).collect());
    assert!(
        unlisted.is_empty() && unknown.is_empty(),
        "deploy/runbook.md: not listed {unlisted:?}; not a code {unknown:?}"
    );
}
