//! Decides about the sandbox of the media processes, by the report of the media program.

use crate::program::{Program, SandboxMode};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::Value;
use std::io;

/// The program for clips: with its sandbox if that works here. The error says why no clips may be made here.
pub(crate) fn decide(program: Program, capabilities: &Value) -> io::Result<Program> {
    let report = &capabilities["sandbox"];
    let lines = |name: &str| {
        let lines = report[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.collect::<Vec<_>>().join("; ")
    };
    let (works, complete) = (report["works"] == true, report["complete"] == true);
    let (missing, note) = (lines("missing"), report["note"].as_str().unwrap_or("the media program does not report it"));
    let mode = program.sandbox();
    metrics::gauge!("clipfleet_worker_sandboxed").set(f64::from(u8::from(works && complete)));
    match mode {
        SandboxMode::Off => tracing::warn!("the media processes have no sandbox: CLIPFLEET_SANDBOX=off"),
        SandboxMode::Required if !(works && complete) => {
            let reason = if works { &missing } else { note };
            return Err(io::Error::other(format!(
                "CLIPFLEET_SANDBOX=required asks for the whole sandbox: {reason}; run on a kernel that has it, or set \
                 CLIPFLEET_SANDBOX=auto"
            )));
        }
        _ if !works => {
            tracing::warn!(reason = note, "the media processes have no sandbox: no clips can be made in it");
            return Ok(program.with_sandbox(SandboxMode::Off));
        }
        _ if !complete => {
            tracing::warn!(in_force = lines("inForce"), missing, "the sandbox of the media processes lacks parts");
        }
        _ => tracing::info!(in_force = lines("inForce"), "the media processes are sandboxed"),
    }
    Ok(program)
}

/// Hides this process's memory and environment, which has credentials, from other processes of the same user: the media
/// processes are such processes, and not every kernel keeps them from `/proc`. There are no core dumps either.
pub(crate) fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the memory of this worker is visible to processes of the same user");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::GpuMode;
    use serde_json::json;
    use std::path::Path;

    fn decided(mode: SandboxMode, report: Value) -> Result<SandboxMode, String> {
        let program = Program::new("p".into(), GpuMode::False, Path::new("")).with_sandbox(mode);
        let decided = decide(program, &json!({"sandbox": report}));
        decided.map(|program| program.sandbox()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_worker_hides_its_memory() {
        hide_memory();
        assert_eq!(rustix::process::dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }

    #[test]
    fn a_sandbox_that_does_not_work_is_not_used_and_an_incomplete_one_is_unless_it_is_required() {
        use SandboxMode::{Auto, Off, Required};
        let report = |works: bool, complete: bool| {
            let missing = if complete { json!([]) } else { json!(["landlock: the kernel does not have Landlock"]) };
            json!({"works": works, "complete": complete, "inForce": [], "missing": missing, "note": "x264enc fails"})
        };
        for mode in [Auto, Required] {
            assert_eq!(decided(mode, report(true, true)), Ok(mode));
        }
        assert_eq!(decided(Auto, report(true, false)), Ok(Auto));
        assert_eq!(decided(Auto, report(false, true)), Ok(Off));
        assert_eq!(decided(Off, report(false, false)), Ok(Off));
        assert!(decided(Required, report(true, false)).unwrap_err().contains("does not have Landlock"));
        assert!(decided(Required, report(false, true)).unwrap_err().contains("x264enc fails"));
        // An older program reports nothing about it.
        assert_eq!(decided(Auto, Value::Null), Ok(Off));
        assert!(decided(Required, Value::Null).unwrap_err().contains("does not report it"));
    }
}
