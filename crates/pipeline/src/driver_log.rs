//! What a GPU's elements log when something fails. On the bus such a failure is mostly that of the demuxer, whose data nobody
//! took; the driver's own words are only in GStreamer's log, at level `ERROR`. The first line since an attempt began is kept, one of those
//! that call the driver before one of a decoder, which may only say that nobody took its pictures.

use gst::log;
use gstreamer as gst;
use parking_lot::Mutex;
use std::sync::Once;

/// Categories of the elements of GPUs, as patterns: `nvencoder`, `nvdecoder`, `nvh264dec`, `cudaconverter`, `cudaallocator` and
/// their like.
const CATEGORIES: [&str; 2] = ["nv*", "cuda*"];

/// Categories that call the driver.
const CALLERS: [&str; 3] = ["nvencoder", "nvdecoder", "cuda"];

/// Longest line that is kept: enough for a call, its status and the driver's text, in a reason that people read in one glance.
const MAX_CHARS: usize = 200;

/// A process makes one clip, so one is enough for all its threads.
static HEARD: Mutex<Heard> = Mutex::new(Heard { caller: None, other: None });

/// The first lines.
struct Heard {
    caller: Option<String>,
    other: Option<String>,
}

/// Starts listening; what is printed stays as `GST_DEBUG` has it. Call after `gst::init`, as often as you like.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let asked = std::env::var("GST_DEBUG").unwrap_or_default();
        if asked.trim().is_empty() {
            // It would now print the lines that we want to hear.
            log::remove_default_log_function();
        }
        if log::get_default_threshold() < gst::DebugLevel::Error {
            // The later of two patterns counts, so whoever wants to see more of these categories still does.
            let ours = CATEGORIES.map(|category| format!("{category}:ERROR")).join(",");
            log::set_threshold_from_string(&format!("{ours},{asked}"), true);
        }
        log::add_log_function(|category, level, _, _, _, _, message| {
            if level == gst::DebugLevel::Error && is_of_a_gpu(category.name()) {
                let message = message.get();
                note(category.name(), message.as_deref().map_or("", |text| text.as_str()));
            }
        });
    });
}

/// Forgets what was logged: another attempt begins.
pub fn forget() {
    *HEARD.lock() = Heard { caller: None, other: None };
}

/// The first line since then, with its category.
pub fn first() -> Option<String> {
    let heard = HEARD.lock();
    heard.caller.clone().or_else(|| heard.other.clone())
}

fn is_of_a_gpu(category: &str) -> bool {
    CATEGORIES.iter().any(|pattern| category.starts_with(pattern.trim_end_matches('*')))
}

fn note(category: &str, message: &str) {
    let mut heard = HEARD.lock();
    let calls = CALLERS.iter().any(|caller| category.starts_with(caller));
    let first = if calls { &mut heard.caller } else { &mut heard.other };
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

    /// One test for all, since the process has one memory for it.
    #[test]
    fn the_first_error_of_a_gpu_element_is_kept_until_the_next_attempt() {
        gst::init().expect("GStreamer");
        listen();
        listen();
        let category = |name| gst::DebugCategory::new(name, gst::DebugColorFlags::empty(), None);
        let [gpu, decoder, other] = ["nvencoder", "nvh264dec", "clipfleet-test"].map(category);
        assert_eq!(gpu.threshold(), gst::DebugLevel::Error, "a category that appears later is heard, too");
        forget();
        gst::error!(other, "not the GPU's");
        gst::warning!(gpu, "not an error");
        assert_eq!(first(), None);
        gst::error!(decoder, "Failed to negotiate with downstream");
        assert_eq!(first().as_deref(), Some("nvh264dec: Failed to negotiate with downstream"));
        gst::error!(gpu, "NvEnc API call failed: 0x14,\n  NV_ENC_ERR_GENERIC (it is broken).");
        gst::error!(gpu, "what follows from it");
        assert_eq!(
            first().as_deref(),
            Some("nvencoder: NvEnc API call failed: 0x14, NV_ENC_ERR_GENERIC (it is broken)")
        );
        forget();
        gst::error!(gpu, "{}", "ä".repeat(1_000));
        assert_eq!(first().map(|line| line.chars().count()), Some(MAX_CHARS));
        forget();
        assert_eq!(first(), None);
    }
}
