//! The failures of a transcode: one constructor per stable code. The text names the value and the remedy.

use clipfleet_domain::{
    clip::Window,
    failure::{Code, Failure},
    file_kind::{Remedy, UnsupportedFile},
};
use std::fmt::Display;

/// The source has no bytes.
pub fn source_empty() -> Failure {
    Failure::new(Code::SourceEmpty, "the source has 0 bytes; upload it again")
}

/// The source is not a supported container.
pub fn source_not_media(UnsupportedFile { name, remedy }: UnsupportedFile) -> Failure {
    let message = match remedy {
        Remedy::Convert => format!("the source is {name}, which is not read here; convert it to MP4, MOV, MKV or WebM"),
        Remedy::ChooseAnother => format!("the source is {name}, not a video file; upload MP4, MOV, MKV or WebM"),
        Remedy::UploadAgain => format!("the source is {name}, as of an upload that broke off; upload it again"),
    };
    Failure::new(Code::SourceNotMedia, message)
}

/// The source ends too early, or its bytes are inconsistent.
pub fn source_truncated(what: impl Display) -> Failure {
    Failure::new(Code::SourceTruncated, format!("the source is incomplete or damaged: {what}; upload it again"))
}

/// The source's header exceeds the maximum size.
pub fn source_header_too_large(bytes: u64, most: u64) -> Failure {
    let message = format!("the source's header has {bytes} bytes, at most {most} are read; cut the file into parts");
    Failure::new(Code::SourceHeaderTooLarge, message)
}

/// The source's video or audio is encrypted.
pub fn source_encrypted() -> Failure {
    Failure::new(Code::SourceEncrypted, "the source is encrypted; upload it without copy protection")
}

/// The clip contains a position at which the source's edit list jumps back in the file.
pub fn source_edits_go_back(window: Window, at_ms: i64) -> Failure {
    let (start, end) = (window.start_ms(), window.end_ms());
    let message = format!(
        "within the window {start}-{end} ms the source's edit list goes back to earlier media, at {at_ms} ms; \
         choose a window on one side of {at_ms} ms, or encode the source again"
    );
    Failure::new(Code::SourceEditsGoBack, message)
}

/// The source's audio ends before its track does.
pub fn source_audio_ends(at_ms: i64, declared_ms: i64) -> Failure {
    source_truncated(format!("its sound breaks off at {at_ms} ms, but its header declares {declared_ms} ms"))
}

/// Our elements do not agree on a format for this source. The source is not damaged; the fault is ours.
pub fn source_unsupported(what: impl Display) -> Failure {
    let message = format!(
        "this version cannot convert what the source holds ({what}); the file is not at fault: \
         convert it to H.264 with AAC, and report it"
    );
    Failure::new(Code::SourceUnsupported, message)
}

/// The source has no video track.
pub fn source_has_no_video() -> Failure {
    Failure::new(Code::SourceHasNoVideo, "the source has no video track; upload one with a picture")
}

/// No installed decoder supports the source's codec.
pub fn source_codec_unsupported(codec: &str, remedy: impl Display) -> Failure {
    Failure::new(Code::SourceCodecUnsupported, format!("the source's codec {codec} cannot be decoded: {remedy}"))
}

/// The picture is too small for a crop, or larger than decoders support.
pub fn source_size_unsupported(reason: impl Display) -> Failure {
    Failure::new(Code::SourceSizeUnsupported, format!("the source has a {reason}"))
}

/// The window extends beyond the end of the source.
pub fn window_beyond_end(window: Window, end_ms: i64) -> Failure {
    let (start, end) = (window.start_ms(), window.end_ms());
    let message = format!(
        "the window {start}-{end} ms lies beyond the end of the source at {end_ms} ms; \
         choose an end of at most {end_ms} ms"
    );
    Failure::new(Code::WindowBeyondEnd, message)
}

/// The order names an encoder that is not available.
pub fn encoder_unavailable(name: &str, available: &[&str]) -> Failure {
    let available = available.join(", ");
    let message = format!("encoder {name:?} is not available on this worker; available: {available}");
    Failure::new(Code::EncoderUnavailable, message)
}

/// An element that produces the output failed.
pub fn encode_failed(what: impl Display) -> Failure {
    Failure::new(Code::EncodeFailed, format!("encoding failed: {what}"))
}

/// There was no progress for too long.
pub fn stalled(seconds: u64, what: impl Display) -> Failure {
    Failure::new(Code::PipelineStalled, format!("no progress for {seconds} s while {what}"))
}

/// A pipeline hangs in a call that does not return.
pub fn stuck(what: impl Display) -> Failure {
    Failure::new(Code::PipelineStalled, what.to_string())
}

/// Whether the failure says that the clip's window does not fit the source, which is detected without decoding.
pub fn is_about_the_window(failure: &Failure) -> bool {
    matches!(failure.code, Code::WindowBeyondEnd | Code::SourceEditsGoBack)
}

/// A failure on a route that uses a GPU, with the driver's error if there is one. Findings of verification are kept,
/// because they describe the file's fault best. Other failures are mostly consequences: a GPU that accepts no more
/// pictures looks like a source that ends.
pub fn on_the_gpu(failed: Failure, driver: Option<String>) -> Failure {
    match driver {
        _ if failed.is_bad_output() => Failure { message: format!("on the GPU: {}", failed.message), ..failed },
        Some(line) => encode_failed(format!("on the GPU: {line}")),
        None => encode_failed(format!("with a GPU: {}", failed.message)),
    }
}

/// The output does not match the order.
pub fn verify_failed(what: impl Display) -> Failure {
    Failure::new(Code::VerifyFailed, format!("the output is wrong: {what}"))
}

/// The output freezes where the encoder's input moves.
pub fn encode_frozen(what: impl Display) -> Failure {
    Failure::new(Code::EncodeFrozen, format!("the output stands still: {what}"))
}

/// The output is black where the encoder's input is not.
pub fn encode_black(what: impl Display) -> Failure {
    Failure::new(Code::EncodeBlack, format!("the output is black: {what}"))
}

/// The output has the right content at the wrong time.
pub fn encode_slip(what: impl Display) -> Failure {
    Failure::new(Code::EncodeSlip, format!("the output is out of step: {what}"))
}

/// The output has other content than the encoders' input.
pub fn encode_mismatch(what: impl Display) -> Failure {
    Failure::new(Code::EncodeMismatch, format!("the output differs from what was encoded: {what}"))
}

/// The encoder's input differs from the source in content or in colours.
pub fn reframe_mismatch(what: impl Display) -> Failure {
    Failure::new(Code::ReframeMismatch, format!("the frames differ from the source: {what}"))
}

/// The encoder's input shows the source's pictures at the wrong time.
pub fn reframe_slip(what: impl Display) -> Failure {
    Failure::new(Code::ReframeSlip, format!("the frames are out of step with the source: {what}"))
}

/// The clip's audio differs from the source's.
pub fn audio_mismatch(what: impl Display) -> Failure {
    Failure::new(Code::AudioMismatch, format!("the audio differs from the source: {what}"))
}

/// The attempt's directory has no space left.
pub fn scratch_full(what: impl Display) -> Failure {
    Failure::new(Code::ScratchFull, format!("no space left for the clip: {what}"))
}

/// A fault of ours, or of this machine.
pub fn internal(what: impl Display) -> Failure {
    Failure::new(Code::Internal, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interrupted_upload_must_be_uploaded_again() {
        let of = |name, remedy| source_not_media(UnsupportedFile { name, remedy }).message;
        let avi = of("an AVI file", Remedy::Convert);
        assert_eq!(avi, "the source is an AVI file, which is not read here; convert it to MP4, MOV, MKV or WebM");
        let pdf = of("a PDF document", Remedy::ChooseAnother);
        assert_eq!(pdf, "the source is a PDF document, not a video file; upload MP4, MOV, MKV or WebM");
        let zeros = of("a block of zeros", Remedy::UploadAgain);
        assert_eq!(zeros, "the source is a block of zeros, as of an upload that broke off; upload it again");
    }

    #[test]
    fn the_drivers_error_replaces_errors_that_follow_from_it() {
        let noticed = || source_truncated("qtdemux0: Internal data stream error");
        let failed = on_the_gpu(noticed(), Some("nvencoder: NV_ENC_ERR_GENERIC".into()));
        assert_eq!(failed.code, Code::EncodeFailed);
        assert_eq!(failed.message, "encoding failed: on the GPU: nvencoder: NV_ENC_ERR_GENERIC");
        let silent = on_the_gpu(noticed(), None);
        assert!(silent.message.contains("Internal data stream error") && silent.retryable, "{silent:?}");
    }

    #[test]
    fn findings_of_verification_are_kept_whatever_the_driver_reports() {
        let frozen = on_the_gpu(encode_frozen("from 640 ms on"), Some("nvencoder: something".into()));
        assert_eq!(frozen.code, Code::EncodeFrozen);
        assert!(frozen.message.ends_with("the output stands still: from 640 ms on"), "{}", frozen.message);
    }
}
