//! Checks of the media program: what can be decoded and encoded here.

use super::{finding::Finding, packages, vulnerabilities};
use crate::roles;
use clipfleet_worker::{GpuMode, Program};
use serde_json::Value;
use std::path::Path;

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
        Ok(report) => {
            let mut findings = media_findings(&report);
            findings.extend(vulnerabilities::check(&report["modules"], &packages::installed(Path::new("/"))));
            findings
        }
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
    findings.extend(gpu_findings(&report["gpu"]));
    findings
}

fn gpu_findings(gpu: &Value) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let (elements, libraries) = (texts(&gpu["elements"]), texts(&gpu["libraries"]));
    let test = &gpu["selfTest"];
    if test.is_null() && elements.is_empty() && libraries.is_empty() {
        return vec![no_gpu(&text(&gpu["note"]))];
    }
    let driver = gpu["driver"].as_str().map_or("of unknown version".to_owned(), ToOwned::to_owned);
    let mut findings = vec![Finding::passed(format!("GPU driver {driver}: {}", libraries.join(", ")))];
    if !libraries.iter().any(|library| library.contains("libnvidia-encode")) {
        let remedy =
            "in a container, give it the driver's video libraries (NVIDIA_DRIVER_CAPABILITIES must include video)";
        findings.push(Finding::note(
            "GPU driver: libnvidia-encode was not loaded, so nothing is encoded on the GPU",
            remedy,
        ));
    }
    findings.push(if test.is_null() {
        no_gpu(&text(&gpu["note"]))
    } else if test["passed"] == true {
        let encoder = elements.iter().find(|element| element.contains("264enc"));
        let did = encoder.map_or("scaled".to_owned(), |encoder| format!("encoded with {encoder}"));
        let (milliseconds, elements) = (&test["milliseconds"], elements.join(", "));
        Finding::passed(format!("GPU: a second of video was {did} and compared, in {milliseconds} ms; {elements}"))
    } else {
        let remedy = "clips are encoded on the CPU; see what the driver says (nvidia-smi), then start the worker again";
        Finding::problem(format!("GPU: nothing could be encoded: {}", text(&test["reason"])), remedy)
    });
    findings
}

/// Without a GPU everything works, so this is no fault.
fn no_gpu(reason: &str) -> Finding {
    Finding::note(if reason.is_empty() { "no GPU used; encoding on CPU (slower)" } else { reason }, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gpu_is_reported_with_its_driver_its_libraries_and_whether_it_encoded() {
        let path = "/usr/local/nvidia/lib64/libnvidia-encode.so.535.129.03";
        let mut gpu = json!({
            "driver": "535.129.03", "libraries": ["/usr/lib/libcuda.so.1", path], "elements": ["nvh264enc"],
            "selfTest": {"passed": true, "milliseconds": 412},
        });
        let report = |gpu: &Value| format!("{:?}", gpu_findings(gpu));
        let passed = report(&gpu);
        for part in ["GPU driver 535.129.03", path, "was encoded with nvh264enc and compared, in 412 ms"] {
            assert!(passed.contains(part), "{part}: {passed}");
        }
        gpu["selfTest"] = json!({"passed": false, "reason": "out of memory"});
        gpu["libraries"] = json!(["/usr/lib/libcuda.so.1"]);
        let failed = report(&gpu);
        assert!(failed.contains("nothing could be encoded: out of memory"), "{failed}");
        assert!(failed.contains("libnvidia-encode was not loaded"), "{failed}");
        let none = report(&json!({"elements": [], "libraries": [], "selfTest": null, "note": "no GPU found"}));
        assert!(none.contains("no GPU found") && !none.contains("driver"), "{none}");
    }
}
