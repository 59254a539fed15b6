//! Why a clip is not made by the preferred encoder and decoder.

use crate::wire_name::WireName;

/// The kind of the reason, for metrics. Kinds are ordered by severity: a clip with several reasons counts by the most
/// severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// The GPU or its elements do not support this clip.
    Unsupported,
    /// An element is not installed, or the GPU lacks an encoder or decoder.
    Missing,
    /// The worker does not use the GPU: it failed its test, or a process that used it died or hung.
    GpuDisabled,
    /// An encoder on the CPU failed.
    EncoderFailed,
    /// The GPU failed while the clip was made.
    GpuFailed,
    /// The GPU's output did not match its input.
    GpuMismatch,
}

impl WireName for Fallback {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Unsupported, "unsupported"),
        (Self::Missing, "missing"),
        (Self::GpuDisabled, "gpu_disabled"),
        (Self::EncoderFailed, "encoder_failed"),
        (Self::GpuFailed, "gpu_failed"),
        (Self::GpuMismatch, "gpu_mismatch"),
    ];
}

impl Fallback {
    /// Whether the GPU is at fault and not the clip: the CPU made the same clip without a failure.
    pub fn blames_gpu(self) -> bool {
        matches!(self, Self::GpuFailed | Self::GpuMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_blame_the_gpu_are_more_severe_than_the_others() {
        let kinds: Vec<Fallback> = Fallback::ALL.iter().map(|(kind, _)| *kind).collect();
        assert!(kinds.is_sorted());
        assert!(kinds.into_iter().map(Fallback::blames_gpu).is_sorted());
    }
}
