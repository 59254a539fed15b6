//! By how much the limiter turns a sound down, block by block, from the peaks of the blocks alone: so it can be predicted from a
//! measurement as exactly as it is applied.
//!
//! ```text
//! peak ── gain that this block bears ── least of the blocks ahead ── slow return ── mean of the blocks behind ── gain
//!         (ceiling / peak)              (look-ahead)                 (release)      (attack)
//! ```
//!
//! The mean runs over the blocks of which each has already borne the least of this block's stretch, so the gain of a block is never above
//! what the block bears: nothing is clipped, and nothing jumps.

use std::{collections::VecDeque, f32::consts::TAU, sync::LazyLock};

/// Samples of a block: a millisecond at 48 kHz, far shorter than the ear's own attack.
pub const BLOCK: usize = 48;

/// Blocks that the limiter looks ahead, and over which it turns down: 5 ms. Shorter is heard as a click, longer as a dip before the peak.
const AHEAD: usize = 5;

/// Blocks until the gain is two thirds of the way back: 80 ms, long enough not to follow a bass tone's swings, and short enough for
/// the next syllable.
const RELEASE_BLOCKS: f32 = 80.0;

/// Blocks that must follow a block before its gain is known.
pub const DELAY: usize = AHEAD + 1;

/// Share of the way back that is gone in a block.
static RELEASE: LazyLock<f32> = LazyLock::new(|| 1.0 - (-1.0 / RELEASE_BLOCKS).exp());

/// Shares of the attack: a raised cosine, the first for the block itself.
static ATTACK: LazyLock<[f32; AHEAD + 1]> = LazyLock::new(|| {
    let shape: [f32; AHEAD + 1] = std::array::from_fn(|n| 1.0 - (TAU * (n + 1) as f32 / (AHEAD + 2) as f32).cos());
    let sum: f32 = shape.iter().sum();
    shape.map(|share| share / sum)
});

/// The course of the limiter's gain.
#[derive(Debug, Clone)]
pub struct Envelope {
    ceiling: f32,
    bearable: VecDeque<f32>,
    returned: VecDeque<f32>,
    behind: Option<f32>,
    from: Option<f32>,
}

impl Envelope {
    /// A limiter that keeps peaks below `ceiling`, an amplitude.
    pub fn new(ceiling: f32) -> Self {
        let empty = || VecDeque::with_capacity(AHEAD + 2);
        Self { ceiling, bearable: empty(), returned: empty(), behind: None, from: None }
    }

    /// Takes the next block's peak. Gives the gain at the beginning and at the end of the block [`DELAY`] before it, once there is one;
    /// between them it runs straight.
    pub fn push(&mut self, peak: f32) -> Option<[f32; 2]> {
        let bears = if peak > self.ceiling { self.ceiling / peak } else { 1.0 };
        self.bearable.push_back(bears);
        if self.bearable.len() <= AHEAD {
            return None;
        }
        let least = self.bearable.iter().copied().fold(1.0, f32::min);
        self.bearable.pop_front();
        let last = self.returned.back().copied().unwrap_or(least);
        let rise = (least - last) * *RELEASE;
        // Before its first block a sound had that block's gain: there is no time to turn it down in.
        while self.returned.len() < AHEAD {
            self.returned.push_back(last);
        }
        self.returned.push_back(least.min(last + rise));
        // Counted from 1 down, so that nothing taken away is exactly nothing.
        let parts = self.returned.iter().rev().zip(ATTACK.iter());
        let gain = 1.0 - parts.map(|(gain, share)| (1.0 - gain) * share).sum::<f32>();
        self.returned.pop_front();
        let Some(behind) = self.behind.replace(gain) else {
            self.from = Some(gain);
            return None;
        };
        let until = behind.min(gain);
        self.from.replace(until).map(|from| [from, until])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gains of all blocks.
    fn gains(ceiling: f32, peaks: &[f32]) -> Vec<[f32; 2]> {
        let mut envelope = Envelope::new(ceiling);
        peaks.iter().copied().chain([0.0; DELAY]).filter_map(|peak| envelope.push(peak)).collect()
    }

    #[test]
    fn what_lies_below_the_ceiling_is_left_alone() {
        assert!(gains(0.5, &[0.5; 200]).iter().all(|gain| *gain == [1.0; 2]));
    }

    #[test]
    fn a_peak_is_approached_smoothly_and_left_slowly() {
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
    fn no_block_is_louder_than_it_bears() {
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
