//! The sandbox that this process puts on itself, after the order arrived and before the first byte of the source.
//!
//! Demuxers and decoders read files of strangers. A file that takes over this process gets the rights that remain: to
//! compute, to read public libraries, to write into the attempt's directory, and to talk to the worker over the socket
//! that is already open. There is no way to the network, to another process, to another attempt, or to a new program.
//!
//! ```text
//! start ── GStreamer, plugins ── order ── enter() ── threads ── source
//!                                           │
//!                 limits, not dumpable, Landlock (files.rs), seccomp (syscalls.rs)
//! ```
//!
//! Landlock binds a thread and those that it starts, so the sandbox precedes this process's first thread. What the
//! kernel lacks is reported, and the rest applies; whether that is enough is for the worker to decide.

mod files;
mod syscalls;

use clipfleet_domain::limits::max_output_bytes;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use serde::Serialize;
use std::{fs, path::Path, str::FromStr};

/// The variable with the [`Mode`].
pub const SANDBOX: &str = "CLIPFLEET_SANDBOX";

/// Descriptors that this process may have. A clip uses fewer than 100; 1,024 is what every program gets by default.
const MAX_DESCRIPTORS: u64 = 1_024;

/// Whether the sandbox is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As far as the kernel allows.
    #[default]
    Auto,
    /// No clip is made without every part of it.
    Required,
    /// Not at all.
    Off,
}

impl Mode {
    /// The mode that [`SANDBOX`] names; unset means `auto`.
    pub fn from_environment() -> Result<Self, String> {
        let text = std::env::var(SANDBOX).unwrap_or_default();
        text.parse().map_err(|reason| format!("{SANDBOX} {reason}, got {text:?}"))
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" | "" => Ok(Self::Auto),
            "required" => Ok(Self::Required),
            "off" => Ok(Self::Off),
            _ => Err("must be auto, required or off"),
        }
    }
}

/// The rights that remain.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// The only directory that may be written.
    pub directory: &'a Path,
    /// Bytes of the largest file.
    pub max_file_bytes: u64,
    /// Whether this process uses a GPU.
    pub gpu: bool,
}

impl<'a> Bounds<'a> {
    /// For a clip of this length.
    pub fn of_clip(directory: &'a Path, clip_ms: i64, gpu: bool) -> Self {
        Self { directory, max_file_bytes: max_output_bytes(clip_ms), gpu }
    }
}

/// One part of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// `limits`, `not_dumpable`, `landlock`, `seccomp` or `no_new_privs`.
    pub name: &'static str,
    /// Whether it is in force.
    pub in_force: bool,
    /// What it covers, or why it is not in force.
    pub note: String,
}

/// Which parts are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all parts are.
    pub complete: bool,
    /// Every part.
    pub parts: Vec<Part>,
}

impl Report {
    /// Whether a part is in force.
    pub fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name && part.in_force)
    }

    /// The parts that are not in force, each with the reason; empty if the sandbox is complete.
    pub fn missing(&self) -> String {
        let missing = self.parts.iter().filter(|part| !part.in_force);
        missing.map(|part| format!("{}: {}", part.name, part.note)).collect::<Vec<_>>().join("; ")
    }
}

/// Puts the sandbox on. Nothing takes it off again. Must precede this process's first thread.
pub fn enter(bounds: &Bounds<'_>) -> Report {
    let limits = limit(bounds.max_file_bytes);
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map(|()| "neither a core dump nor a debugger of this user sees its memory".to_owned())
        .map_err(|error| error.to_string());
    let landlock = files::restrict(bounds);
    let seccomp = syscalls::restrict(bounds.gpu);
    // What the kernel itself says is the proof.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seccomp = seccomp.and_then(|note| says(&status, "Seccomp:", "2").map(|()| note));
    let no_new_privs = says(&status, "NoNewPrivs:", "1").map(|()| "no program gives it more rights".to_owned());
    let parts = [
        ("limits", limits),
        ("not_dumpable", not_dumpable),
        ("landlock", landlock),
        ("seccomp", seccomp),
        ("no_new_privs", no_new_privs),
    ];
    let parts = parts.map(|(name, state)| {
        let in_force = state.is_ok();
        Part { name, in_force, note: state.unwrap_or_else(|reason| reason) }
    });
    Report { complete: parts.iter().all(|part| part.in_force), parts: parts.into() }
}

fn says(status: &str, field: &str, expected: &str) -> Result<(), String> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
    match value {
        Some(value) if value == expected => Ok(()),
        Some(value) => Err(format!("the kernel reports {field} {value} instead of {expected}")),
        None => Err(format!("the kernel does not report {field}")),
    }
}

/// Limits files and descriptors, and forbids core dumps. There is no limit of processes: it would count those of the
/// user, with the worker and all other attempts, and seccomp refuses new processes anyway.
fn limit(max_file_bytes: u64) -> Result<String, String> {
    let limits = [(Resource::Fsize, max_file_bytes), (Resource::Core, 0), (Resource::Nofile, MAX_DESCRIPTORS)];
    for (resource, most) in limits {
        let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| format!("failed to set {resource:?} to {most}: {error}"))?;
    }
    Ok(format!("files of at most {max_file_bytes} bytes, {MAX_DESCRIPTORS} descriptors, no core dump"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_one_of_three_words() {
        let modes = ["", "auto", "required", "off"].map(str::parse);
        assert_eq!(modes, [Ok(Mode::Auto), Ok(Mode::Auto), Ok(Mode::Required), Ok(Mode::Off)]);
        assert!("yes".parse::<Mode>().is_err() && "Off".parse::<Mode>().is_err());
    }

    #[test]
    fn a_report_names_what_is_missing_and_why() {
        let part = |name, in_force| Part { name, in_force, note: format!("note of {name}") };
        let report = Report { complete: false, parts: vec![part("limits", true), part("landlock", false)] };
        assert_eq!(report.missing(), "landlock: note of landlock");
        assert!(report.has("limits") && !report.has("landlock") && !report.has("seccomp"));
    }

    #[test]
    fn the_kernels_own_word_decides() {
        let status = "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t0\nSeccomp_filters:\t2\n";
        assert_eq!(says(status, "NoNewPrivs:", "1"), Ok(()));
        let refused = says(status, "Seccomp:", "2").unwrap_err();
        assert_eq!(refused, "the kernel reports Seccomp: 0 instead of 2");
        assert!(says("", "Seccomp:", "2").is_err());
    }
}
