//! Adds the commit to the version, where it is known: `CLIPFLEET_COMMIT`, or the checkout that is built.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CLIPFLEET_COMMIT");
    let commit = std::env::var("CLIPFLEET_COMMIT").ok().filter(|commit| !commit.is_empty()).or_else(checked_out);
    if let Some(commit) = commit {
        let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
        println!("cargo::rustc-env=CLIPFLEET_VERSION={version} ({commit})");
    }
}

/// The commit of the checkout. Without git, or outside a checkout, there is none.
fn checked_out() -> Option<String> {
    // This file changes with every commit and every change of the branch.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?);
    git(&["rev-parse", "--short=9", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
