//! Errors that a GPU's elements log. On the bus, such a failure usually appears as an error of the demuxer, whose data
//! was not accepted. The driver's own error is only in GStreamer's log, at level `ERROR`.
//!
//! The first line since the start of an attempt is kept and becomes `fallbackReason`; the bus's error, a symptom, is
//! only logged. Lines of elements that call the driver take precedence over lines of a decoder, which may only say that
//! its pictures were not accepted.

use gst::log;
use gstreamer as gst;
use parking_lot::Mutex;
use std::sync::Once;

/// Categories of GPU elements, as patterns: `nvencoder`, `nvdecoder`, `nvh264dec`, `cudaconverter`, `cudaallocator`
/// and similar ones.
const CATEGORIES: [&str; 2] = ["nv*", "cuda*"];

/// Categories of elements that call the driver.
const CALLERS: [&str; 3] = ["nvencoder", "nvdecoder", "cuda"];

/// Maximum length of the kept line: enough for a call, its status and the driver's text in a readable reason.
const MAX_CHARS: usize = 200;

/// One instance is enough for all threads, because a process makes one clip.
static FIRST_ERRORS: Mutex<FirstErrors> = Mutex::new(FirstErrors { caller: None, other: None });

/// The first lines of either kind.
struct FirstErrors {
    caller: Option<String>,
    other: Option<String>,
}

/// Installs the log function. What is printed still follows `GST_DEBUG`. Call after `gst::init`; further calls do
/// nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let asked = std::env::var("GST_DEBUG").unwrap_or_default();
        if asked.trim().is_empty() {
            // The default function would print the lines that are enabled below.
            log::remove_default_log_function();
        }
        if log::get_default_threshold() < gst::DebugLevel::Error {
            // The later of two patterns applies, so `GST_DEBUG` can still enable more of these categories.
            let ours = CATEGORIES.map(|category| format!("{category}:ERROR")).join(",");
            log::set_threshold_from_string(&format!("{ours},{asked}"), true);
        }
        log::add_log_function(|category, level, _, _, _, _, message| {
            if level == gst::DebugLevel::Error && is_of_a_gpu(category.name()) {
                let message = message.get();
                record(category.name(), message.as_deref().map_or("", |text| text.as_str()));
            }
        });
    });
}

/// Discards the lines, at the start of another attempt.
pub fn clear() {
    *FIRST_ERRORS.lock() = FirstErrors { caller: None, other: None };
}

/// The first line since the last [`clear`], with its category.
pub fn first_error() -> Option<String> {
    let errors = FIRST_ERRORS.lock();
    errors.caller.clone().or_else(|| errors.other.clone())
}

fn is_of_a_gpu(category: &str) -> bool {
    CATEGORIES.iter().any(|pattern| category.starts_with(pattern.trim_end_matches('*')))
}

fn record(category: &str, message: &str) {
    let mut errors = FIRST_ERRORS.lock();
    let calls = CALLERS.iter().any(|caller| category.starts_with(caller));
    let first = if calls { &mut errors.caller } else { &mut errors.other };
    if first.is_none() {
        let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = format!("{category}: {}", words.trim_end_matches(['.', ':']));
        tracing::warn!("{line}");
        *first = Some(line.chars().take(MAX_CHARS).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for everything, because the lines are global to the process.
    #[test]
    fn the_first_error_of_a_gpu_element_is_kept_until_the_next_attempt() {
        gst::init().expect("GStreamer");
        install();
        install();
        let category = |name| gst::DebugCategory::new(name, gst::DebugColorFlags::empty(), None);
        let [gpu, decoder, other] = ["nvencoder", "nvh264dec", "clipfleet-test"].map(category);
        assert_eq!(gpu.threshold(), gst::DebugLevel::Error, "a category that appears later is logged, too");
        clear();
        gst::error!(other, "not the GPU's");
        gst::warning!(gpu, "not an error");
        assert_eq!(first_error(), None);
        gst::error!(decoder, "Failed to negotiate with downstream");
        assert_eq!(first_error().as_deref(), Some("nvh264dec: Failed to negotiate with downstream"));
        gst::error!(gpu, "NvEnc API call failed: 0x14,\n  NV_ENC_ERR_GENERIC (it is broken).");
        gst::error!(gpu, "what follows from it");
        assert_eq!(
            first_error().as_deref(),
            Some("nvencoder: NvEnc API call failed: 0x14, NV_ENC_ERR_GENERIC (it is broken)")
        );
        clear();
        gst::error!(gpu, "{}", "ä".repeat(1_000));
        assert_eq!(first_error().map(|line| line.chars().count()), Some(MAX_CHARS));
        clear();
        assert_eq!(first_error(), None);
    }
}
