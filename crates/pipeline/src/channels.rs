//! From any number of channels to left and right, by the standard coefficients (ITU-R BS.775-3, annex 4): what is in the middle
//! and behind is 3 dB softer, and what a subwoofer plays is left out. Nothing is made softer than that to make room, which is
//! how FFmpeg and players mix; a limit at full scale holds for the sum.

use std::f32::consts::FRAC_1_SQRT_2;

/// What a speaker gives to left and right, by its bit in a channel mask: the order of `GstAudioChannelPosition`, which has a second
/// subwoofer where WAVE goes on with the sides. Those above are left out.
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

/// How a sound's channels become left and right.
#[derive(Debug, Clone, PartialEq)]
pub struct Downmix {
    gains: Vec<[f32; 2]>,
    is_discrete: bool,
}

impl Downmix {
    /// For that many channels, which stand where `mask` says. Without a mask they are separate: one is heard on both sides, and of more
    /// than one the first two are left and right, which is how cameras and recorders write theirs.
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

    /// Channels that it takes.
    pub fn channels(&self) -> usize {
        self.gains.len()
    }

    /// Whether there are more than two channels, and they do not say where they belong.
    pub fn is_discrete(&self) -> bool {
        self.is_discrete
    }

    /// Whether it changes nothing.
    pub fn is_stereo(&self) -> bool {
        self.gains == [[1.0, 0.0], [0.0, 1.0]]
    }

    /// Left and right of one sample of all channels.
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
    fn one_channel_is_heard_on_both_sides_and_two_are_as_they_are() {
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
    fn of_channels_without_a_place_the_first_two_are_heard() {
        let mix = Downmix::new(4, 0);
        assert_eq!((mix.channels(), mix.mix(&[0.1, 0.2, 0.3, 0.4])), (4, [0.1, 0.2]));
    }
}
