//! Computes the limiter's gain, block by block, only from the peaks of the blocks. The gain can therefore be predicted
//! from a measurement exactly as it is applied.
//!
//! ```text
//! peak ── gain allowed for the block ── minimum of the next blocks ── slow rise ── mean of the previous blocks ── gain
//!         (ceiling / peak)              (look-ahead)                  (release)    (attack)
//! ```
//!
//! Each block in the mean already includes the minimum over the current block. The gain of a block therefore never
//! exceeds what the block allows, so that nothing clips, and the gain never jumps.

use std::{collections::VecDeque, f32::consts::TAU, sync::LazyLock};

/// Samples per block: a millisecond at 48 kHz, far shorter than the ear's own attack time.
pub const BLOCK_SAMPLES: usize = 48;

/// Blocks that the limiter looks ahead and over which it lowers the gain: 5 ms. A shorter attack is audible as a click,
/// a longer one as a dip before the peak.
const LOOKAHEAD_BLOCKS: usize = 5;

/// Blocks until the gain has recovered by two thirds: 80 ms. This is too long to follow the waveform of a bass tone,
/// and short enough to recover before the next syllable.
const RELEASE_BLOCKS: f32 = 80.0;

/// Number of following blocks that are needed to compute a block's gain.
pub const DELAY_BLOCKS: usize = LOOKAHEAD_BLOCKS + 1;

/// Share of the remaining distance that the gain recovers per block.
static RELEASE: LazyLock<f32> = LazyLock::new(|| 1.0 - (-1.0 / RELEASE_BLOCKS).exp());

/// Weights of the attack: a raised cosine. The first weight is for the block itself.
static ATTACK: LazyLock<[f32; LOOKAHEAD_BLOCKS + 1]> = LazyLock::new(|| {
    let shape: [f32; LOOKAHEAD_BLOCKS + 1] =
        std::array::from_fn(|n| 1.0 - (TAU * (n + 1) as f32 / (LOOKAHEAD_BLOCKS + 2) as f32).cos());
    let sum: f32 = shape.iter().sum();
    shape.map(|share| share / sum)
});

/// The limiter's gain over time.
#[derive(Debug, Clone)]
pub struct GainEnvelope {
    ceiling: f32,
    allowed: VecDeque<f32>,
    returned: VecDeque<f32>,
    previous: Option<f32>,
    from: Option<f32>,
}

impl GainEnvelope {
    /// A limiter that keeps peaks below the amplitude `ceiling`.
    pub fn new(ceiling: f32) -> Self {
        let empty = || VecDeque::with_capacity(LOOKAHEAD_BLOCKS + 2);
        Self { ceiling, allowed: empty(), returned: empty(), previous: None, from: None }
    }

    /// Takes the next block's peak. Returns the gain at the beginning and at the end of the block [`DELAY_BLOCKS`]
    /// before it, once there is one. Between them, the gain is linear.
    pub fn push(&mut self, peak: f32) -> Option<[f32; 2]> {
        let allows = if peak > self.ceiling { self.ceiling / peak } else { 1.0 };
        self.allowed.push_back(allows);
        if self.allowed.len() <= LOOKAHEAD_BLOCKS {
            return None;
        }
        let least = self.allowed.iter().copied().fold(1.0, f32::min);
        self.allowed.pop_front();
        let last = self.returned.back().copied().unwrap_or(least);
        let rise = (least - last) * *RELEASE;
        // Before the first block, the gain is assumed to be that of the first block, because there is no time for an
        // attack.
        while self.returned.len() < LOOKAHEAD_BLOCKS {
            self.returned.push_back(last);
        }
        self.returned.push_back(least.min(last + rise));
        // Computed as a difference from 1, so that the gain is exactly 1 if nothing is limited.
        let parts = self.returned.iter().rev().zip(ATTACK.iter());
        let gain = 1.0 - parts.map(|(gain, share)| (1.0 - gain) * share).sum::<f32>();
        self.returned.pop_front();
        let Some(previous) = self.previous.replace(gain) else {
            self.from = Some(gain);
            return None;
        };
        let until = previous.min(gain);
        self.from.replace(until).map(|from| [from, until])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gains of all blocks.
    fn gains(ceiling: f32, peaks: &[f32]) -> Vec<[f32; 2]> {
        let mut envelope = GainEnvelope::new(ceiling);
        peaks.iter().copied().chain([0.0; DELAY_BLOCKS]).filter_map(|peak| envelope.push(peak)).collect()
    }

    #[test]
    fn peaks_below_the_ceiling_are_not_limited() {
        assert!(gains(0.5, &[0.5; 200]).iter().all(|gain| *gain == [1.0; 2]));
    }

    #[test]
    fn the_gain_falls_smoothly_before_a_peak_and_rises_slowly_after_it() {
        let mut peaks = vec![0.1; 600];
        peaks[100] = 1.0;
        let gains = gains(0.5, &peaks);
        assert_eq!(gains.len(), peaks.len());
        assert!(gains[..94].iter().all(|gain| *gain == [1.0; 2]));
        assert!(gains[100].iter().all(|gain| *gain <= 0.5 && *gain > 0.48), "{:?}", gains[100]);
        let steepest = gains.iter().map(|[from, to]| (from - to).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.2, "{steepest}");
        assert!(gains.windows(2).all(|pair| pair[0][1] == pair[1][0]), "the gain jumps between blocks");
        assert!((0.55..0.75).contains(&gains[150][0]), "{:?}", gains[150]);
        assert!(gains[599][0] > 0.99, "{:?}", gains[599]);
    }

    #[test]
    fn no_block_exceeds_its_allowed_gain() {
        let mut state = 7_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let peaks: Vec<f32> = (0..20_000).map(|_| 4.0 * random().powi(9)).collect();
        for (peak, [from, to]) in peaks.iter().zip(gains(0.5, &peaks)) {
            assert!(peak * from.max(to) <= 0.5 * 1.000_01 || from.max(to) <= 1.0 && *peak <= 0.5);
        }
        let first = gains(0.5, &[4.0, 0.1, 0.1]);
        assert!(first[0][0] <= 0.125, "{first:?}");
    }
}
