//! Whether the sandbox works here: a process like that of a clip puts it on and encodes a second of moving pictures.
//!
//! It is another process than that of the check, since the sandbox cannot be taken off, and since it must not decide
//! about the rest of the report: a library that does not work in the sandbox is a reason to do without the sandbox
//! (or, if the sandbox is required, to do without the instance), not to do without the library.

use crate::{
    gpu::selftest,
    plan::{catalog::ENCODERS, installed::Installed},
    sandbox::{self, Bounds, Mode, Part},
};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// What the sandbox covers here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxCheck {
    /// Whether clips can be made in it.
    pub works: bool,
    /// Whether all its parts are in force.
    pub complete: bool,
    /// Every part that is in force, with what it covers.
    pub in_force: Vec<String>,
    /// Every part that is not in force, with the reason.
    pub missing: Vec<String>,
    /// Why no clips can be made in it; empty if they can.
    pub note: String,
}

/// Runs the check in a process of its own.
pub fn run(mode: Mode) -> SandboxCheck {
    if mode == Mode::Off {
        return SandboxCheck { note: "CLIPFLEET_SANDBOX=off".into(), ..SandboxCheck::default() };
    }
    let failed = |reason: String| SandboxCheck { note: reason, ..SandboxCheck::default() };
    let Ok(program) = std::env::current_exe() else { return failed("the path of this program is unknown".into()) };
    let mut command = Command::new(program);
    command.arg("--check-sandbox").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return failed(format!("its check does not start: {error}")),
    };
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        failed(format!("its check ended with {}: {}", output.status, stderr.trim()))
    })
}

/// Puts the sandbox on, and encodes with the first encoder of the CPU, and of the GPU.
pub fn enter(installed: &Installed) -> SandboxCheck {
    let gpu = installed.has_gpu();
    let report = sandbox::enter(&Bounds::of_clip(&std::env::temp_dir(), 0, gpu));
    let names = installed.encoder_names();
    let of = |on_gpu: bool| ENCODERS.iter().find(|row| row.on_gpu == on_gpu && names.contains(&row.name));
    let tested = [of(false), of(true)].into_iter().flatten();
    let mut failures = tested.filter_map(|encoder| {
        let failed = selftest::run(encoder, installed.lacking(encoder.name), false).err()?;
        Some(format!("{} does not work in it: {}", encoder.name, failed.message))
    });
    let note = failures.next().unwrap_or_default();
    let lines = |in_force: bool| -> Vec<String> {
        let parts = report.parts.iter().filter(|part| part.in_force == in_force);
        parts.map(|Part { name, note, .. }| format!("{name}: {note}")).collect()
    };
    let (in_force, missing) = (lines(true), lines(false));
    SandboxCheck { works: note.is_empty(), complete: report.complete, in_force, missing, note }
}
