//! The restricted registry with GStreamer 1.28, which has elements that older versions lack, and those of a GPU.

use crate::gpu::{Gpu, double};
use clipfleet_tests::{
    fixtures::{Recipe, declare_h266, directory},
    pipeline_process::Order,
};
use std::process::Command;

/// Tries to create an element in a hostile process. Returns the process's last word.
fn create(mode: &str, element: &str) -> String {
    let directory = directory();
    let output = Command::new(double("run.sh"))
        .arg(env!("CARGO_BIN_EXE_hostile-pipeline"))
        .args([mode, &format!("element-{element}")])
        .args([directory.path(), &directory.path().join("secret")])
        .env_remove("GST_REGISTRY")
        .env_remove("GPU_ENABLED")
        .output()
        .expect("run.sh");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim_end().rsplit('\t').next().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "make test-double"]
fn the_parser_of_h266_and_unused_elements_of_the_gpu_cannot_be_created() {
    for element in ["h266parse", "cudaipcsrc", "nvautogpuh264enc", "filesrc", "decodebin3"] {
        assert_eq!(create("free", element), "done", "{element} must be in the root");
        assert_eq!(create("registry", element), libc::EACCES.to_string(), "{element}");
    }
    for element in ["h265parse", "nvh264dec", "nvh264enc", "cudaconvertscale", "cudaupload", "cudadownload"] {
        assert_eq!(create("registry", element), "done", "{element}");
    }
}

/// This version's demuxers know H.266.
#[test]
#[ignore = "make test-double"]
fn h266_is_refused_by_its_name_in_every_container() {
    let directory = directory();
    for recipe in [Recipe::default(), Recipe::matroska()] {
        let source = Recipe { pictures: 30, ..recipe }.make(directory.path(), "source");
        declare_h266(&source);
        let error = Gpu::l4().make(&Order::of(0, 500), &source).transcript.outcome.expect_err("a failure");
        assert_eq!(error.code, "source_codec_unsupported", "{}", source.display());
        assert!(error.message.contains("H.266 (VVC)"), "{}", error.message);
    }
}
