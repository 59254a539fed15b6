//! Why a clip is not made in the best way there is.

/// The kind of a reason, for those who count. The later, the graver: a clip with several reasons counts by its gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// The GPU, or its elements, cannot do this clip.
    Unsupported,
    /// An element is not installed, or the GPU lacks a part.
    Missing,
    /// The worker leaves the GPU out: it failed its test, or a process that used it died or hung.
    GpuDisabled,
    /// An encoder of the CPU failed.
    EncoderFailed,
    /// The GPU failed while the clip was made.
    GpuFailed,
    /// What the GPU made was not what it was given.
    GpuMismatch,
}

impl Fallback {
    /// Every kind, with its name on the wire and in metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Unsupported, "unsupported"),
        (Self::Missing, "missing"),
        (Self::GpuDisabled, "gpu_disabled"),
        (Self::EncoderFailed, "encoder_failed"),
        (Self::GpuFailed, "gpu_failed"),
        (Self::GpuMismatch, "gpu_mismatch"),
    ];

    /// Whether it speaks against the GPU rather than the clip: the CPU made the same clip without trouble.
    pub fn blames_gpu(self) -> bool {
        matches!(self, Self::GpuFailed | Self::GpuMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_the_gpu_is_graver_than_what_does_not() {
        let kinds = Fallback::ALL.map(|(kind, _)| kind);
        assert!(kinds.is_sorted());
        assert!(kinds.map(Fallback::blames_gpu).is_sorted());
    }
}
