//! Mixes any number of channels down to stereo, by the standard coefficients (ITU-R BS.775-3, annex 4): centre and rear
//! channels are attenuated by 3 dB, and subwoofer channels are left out. The sum is not attenuated further to leave
//! headroom, as in FFmpeg and players. It is limited at full scale instead.

use std::f32::consts::FRAC_1_SQRT_2;

/// Contribution of each channel to left and right, by its bit in a channel mask. The order is that of
/// `GstAudioChannelPosition`, which has a second subwoofer where WAVE continues with the side channels. Channels with
/// higher bits are left out.
const GAINS: [[f32; 2]; 12] = {
    const FULL: f32 = 1.0;
    const LESS: f32 = FRAC_1_SQRT_2;
    [
        [FULL, 0.0],  // front left
        [0.0, FULL],  // front right
        [LESS, LESS], // front centre
        [0.0, 0.0],   // low frequencies
        [LESS, 0.0],  // rear left
        [0.0, LESS],  // rear right
        [FULL, 0.0],  // front left of centre
        [0.0, FULL],  // front right of centre
        [0.5, 0.5],   // rear centre
        [0.0, 0.0],   // low frequencies, the second
        [LESS, 0.0],  // side left
        [0.0, LESS],  // side right
    ]
};

/// How channels are mixed to left and right.
#[derive(Debug, Clone, PartialEq)]
pub struct Downmix {
    gains: Vec<[f32; 2]>,
    is_discrete: bool,
}

impl Downmix {
    /// A downmix of this number of channels with the positions of `mask`. Without a mask, the channels are separate: a
    /// single one goes to both sides, and the first two of several are left and right, as cameras and recorders write
    /// them.
    pub fn new(channels: usize, mask: u64) -> Self {
        let gains = match (channels, mask) {
            (1, _) => vec![[1.0, 1.0]],
            (_, 0) => (0..channels).map(|channel| [f32::from(channel == 0), f32::from(channel == 1)]).collect(),
            _ => {
                let places = (0..64).filter(|bit| mask >> bit & 1 == 1);
                let mut gains: Vec<[f32; 2]> =
                    places.map(|bit| GAINS.get(bit).copied().unwrap_or([0.0, 0.0])).collect();
                gains.resize(channels, [0.0, 0.0]);
                gains
            }
        };
        Self { gains, is_discrete: channels > 2 && mask == 0 }
    }

    /// Number of input channels.
    pub fn channels(&self) -> usize {
        self.gains.len()
    }

    /// Whether there are more than two channels without positions.
    pub fn is_discrete(&self) -> bool {
        self.is_discrete
    }

    /// Whether the output equals the input.
    pub fn is_stereo(&self) -> bool {
        self.gains == [[1.0, 0.0], [0.0, 1.0]]
    }

    /// Mixes one sample of all channels to left and right.
    pub fn mix(&self, sample: &[f32]) -> [f32; 2] {
        self.gains.iter().zip(sample).fold([0.0, 0.0], |[left, right], ([to_left, to_right], value)| {
            [left + to_left * value, right + to_right * value]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5.1 with rear speakers.
    const SURROUND: u64 = 0x3f;

    #[test]
    fn one_channel_goes_to_both_sides_and_two_are_unchanged() {
        assert_eq!(Downmix::new(1, 0).mix(&[0.5]), [0.5, 0.5]);
        assert_eq!(Downmix::new(1, 4).mix(&[0.5]), [0.5, 0.5]);
        assert!(Downmix::new(2, 3).is_stereo() && Downmix::new(2, 0).is_stereo());
    }

    #[test]
    fn surround_is_mixed_by_the_standard() {
        let mix = |channel: usize| {
            let mut sample = [0.0; 6];
            sample[channel] = 1.0;
            Downmix::new(6, SURROUND).mix(&sample)
        };
        assert_eq!([mix(0), mix(1)], [[1.0, 0.0], [0.0, 1.0]]);
        assert_eq!([mix(2), mix(3)], [[FRAC_1_SQRT_2; 2], [0.0, 0.0]]);
        assert_eq!([mix(4), mix(5)], [[FRAC_1_SQRT_2, 0.0], [0.0, FRAC_1_SQRT_2]]);
    }

    #[test]
    fn side_speakers_are_on_their_side() {
        let sides = 0x3 | 1 << 10 | 1 << 11;
        let mix = Downmix::new(4, sides);
        assert_eq!(mix.mix(&[0.0, 0.0, 1.0, 0.0]), [FRAC_1_SQRT_2, 0.0]);
        assert_eq!(mix.mix(&[0.0, 0.0, 0.0, 1.0]), [0.0, FRAC_1_SQRT_2]);
    }

    #[test]
    fn without_positions_the_first_two_channels_are_used() {
        let mix = Downmix::new(4, 0);
        assert_eq!((mix.channels(), mix.mix(&[0.1, 0.2, 0.3, 0.4])), (4, [0.1, 0.2]));
    }
}
