//! Checks of the media program: what can be decoded and encoded here.

use super::finding::Finding;
use crate::roles;
use clipfleet_worker::{GpuMode, Program};
use serde_json::Value;

/// The findings of the media program.
pub(super) async fn check(gpu: GpuMode) -> Vec<Finding> {
    let program = match roles::installed_pipeline() {
        Ok(program) => program,
        Err(reason) => {
            return vec![Finding::problem("media program: not found", format!("CLIPFLEET_PIPELINE {reason}"))];
        }
    };
    // As at the start of a worker, the plugins are scanned again. The registry is removed afterwards.
    let directory = std::env::temp_dir().join(format!("clipfleet-doctor-{}-registry", std::process::id()));
    let created = std::fs::create_dir(&directory);
    let checked = Program::new(program, gpu, &directory).check().await;
    if created.is_ok() {
        let _ = std::fs::remove_dir_all(&directory);
    }
    match checked {
        Ok(report) => media_findings(&report),
        Err(error) => {
            vec![Finding::problem(
                format!("media program: {error}"),
                "install what it names, then run the doctor again",
            )]
        }
    }
}

fn media_findings(report: &Value) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut findings = vec![Finding::passed(format!("GStreamer {}", text(&report["gstreamer"])))];
    for decoder in report["decoders"].as_array().into_iter().flatten() {
        let name = format!("decode {} with {}", text(&decoder["codec"]), text(&decoder["element"]));
        findings.push(if decoder["available"] == true {
            Finding::passed(name)
        } else {
            Finding::note(
                format!("cannot decode {} ({} is missing)", text(&decoder["codec"]), text(&decoder["element"])),
                format!("only for such sources: apt-get install {}", text(&decoder["package"])),
            )
        });
    }
    for encoder in report["encoders"].as_array().into_iter().flatten() {
        let name = format!("encode {} with {}", text(&encoder["kind"]), text(&encoder["name"]));
        // Others exist only with certain hardware: the GPU has a check of its own.
        if encoder["available"] == true {
            findings.push(Finding::passed(name));
        }
    }
    findings.push(gpu_finding(&report["gpu"]));
    findings
}

fn gpu_finding(gpu: &Value) -> Finding {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<&str> = gpu["elements"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let test = &gpu["selfTest"];
    if test.is_null() {
        return no_gpu(&text(&gpu["note"]));
    }
    let driver = gpu["driver"].as_str().map(|driver| format!(" (driver {driver})")).unwrap_or_default();
    if test["passed"] == true {
        let elements = found.join(", ");
        return Finding::passed(format!("GPU{driver}: tested in {} ms; {elements}", test["milliseconds"]));
    }
    let remedy = "clips are encoded on the CPU; see what the driver says (nvidia-smi), then start the worker again";
    Finding::problem(format!("GPU{driver}: {}", text(&test["reason"])), remedy)
}

/// Without a GPU everything works, so this is no fault.
fn no_gpu(reason: &str) -> Finding {
    Finding::note(if reason.is_empty() { "no GPU used; encoding on CPU (slower)" } else { reason }, "")
}
