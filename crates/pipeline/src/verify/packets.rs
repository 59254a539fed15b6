//! Encoded pictures, known again by their digests: what has been decoded while it was encoded need not be decoded again, if the
//! file holds it, bit for bit and in its place.
//!
//! Half of an encoder's pictures are references of no other. Most of those are spared the decoding: whatever they show is built on
//! pictures that are looked at, and an encoder that makes them wrongly makes them wrongly where they are looked at, too.

use crate::elements::clip_time;
use gstreamer as gst;
use std::hash::{DefaultHasher, Hasher as _};

/// How far a time stamp may be rounded on its way into the file and out again, nanoseconds: less than a unit of any time scale that the
/// multiplexer chooses, and far less than a frame.
const ROUNDING_NS: i64 = 500_000;

/// Groups of pictures (from a key frame to the next, two seconds) of which the first is decoded whole. Of the others, what nothing
/// refers to is left out: two fifths of the proof's CPU time on pictures that move.
const WHOLE_GROUPS: usize = 8;

/// One encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    time_ns: i64,
    digest: u64,
    /// Whether it need not be decoded.
    spared: bool,
}

/// Encoded pictures, in the order in which they are decoded.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    /// What decoders are set up with.
    setup: Option<Vec<u8>>,
    packets: Vec<Packet>,
    /// Key frames so far.
    keys: usize,
}

impl Packets {
    /// Adds the next picture, and says whether it need not be decoded. `caps` are those of the pad that it passes.
    pub fn add(
        &mut self,
        caps: Option<&gst::CapsRef>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        buffer: &gst::BufferRef,
    ) -> bool {
        if self.packets.is_empty() {
            self.setup = caps.and_then(setup);
        }
        self.keys += usize::from(!buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
        let time_ns = clip_time(segment, buffer.pts());
        let (Ok(bytes), Some(time_ns)) = (buffer.map_readable(), time_ns) else {
            // What cannot be read is like nothing else, not even like itself.
            self.setup = None;
            return false;
        };
        let whole = self.keys % WHOLE_GROUPS == 1;
        let spared = !whole && self.setup.as_ref().is_some_and(|setup| !is_reference(&bytes, length_bytes(setup)));
        self.packets.push(Packet { time_ns, digest: digest(&bytes), spared });
        spared
    }

    /// When the pictures are shown, nanoseconds from the clip's start, ascending.
    pub fn times_ns(&self) -> Vec<i64> {
        times(self.packets.iter())
    }

    /// When those of them are shown that have to be decoded.
    pub fn due_ns(&self) -> Vec<i64> {
        times(self.packets.iter().filter(|packet| !packet.spared))
    }

    /// Whether decoding these gives the same pictures at the same times as decoding those.
    pub fn decode_alike(&self, other: &Self) -> bool {
        let alike = |(one, another): (&Packet, &Packet)| {
            one.digest == another.digest && (one.time_ns - another.time_ns).abs() <= ROUNDING_NS
        };
        self.setup.is_some()
            && self.setup == other.setup
            && self.packets.len() == other.packets.len()
            && self.packets.iter().zip(&other.packets).all(alike)
    }
}

fn times<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<i64> {
    let mut times: Vec<i64> = packets.map(|packet| packet.time_ns).collect();
    times.sort_unstable();
    times
}

fn setup(caps: &gst::CapsRef) -> Option<Vec<u8>> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    data.map_readable().ok().map(|bytes| bytes.to_vec())
}

/// Bytes of the length before each unit of a packet, from the decoder's set-up (ISO/IEC 14496-15, 5.3.3.1.2: the two lowest bits of its
/// fifth byte, less one).
fn length_bytes(setup: &[u8]) -> usize {
    setup.get(4).map_or(4, |byte| usize::from(byte & 3) + 1)
}

/// Whether other pictures may refer to an H.264 picture: `nal_ref_idc` of its slices (ITU-T H.264, 7.4.1). What is not understood may be
/// referred to.
fn is_reference(packet: &[u8], length_bytes: usize) -> bool {
    let mut rest = packet;
    while let Some((length, units)) = rest.split_at_checked(length_bytes) {
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((unit, next)) = units.split_at_checked(length) else { return true };
        match unit.first() {
            // Coded slices of a picture.
            Some(head) if (1..=5).contains(&(head & 31)) => return head >> 5 & 3 != 0,
            _ => rest = next,
        }
    }
    true
}

/// Against mistakes, not against forgers: both sides are ours.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(setup: &[u8], pictures: &[(i64, u64)]) -> Packets {
        let packets =
            pictures.iter().map(|(time_ns, digest)| Packet { time_ns: *time_ns, digest: *digest, spared: false });
        Packets { setup: Some(setup.to_vec()), packets: packets.collect(), keys: 1 }
    }

    #[test]
    fn only_the_same_pictures_in_the_same_places_decode_alike() {
        let made = packets(b"setup", &[(0, 7), (33_333_333, 8)]);
        let like = |setup: &[u8], pictures: &[(i64, u64)]| made.decode_alike(&packets(setup, pictures));
        assert!(like(b"setup", &[(0, 7), (33_333_000, 8)]));
        assert!(!like(b"other", &[(0, 7), (33_333_333, 8)]));
        assert!(!like(b"setup", &[(0, 7)]));
        assert!(!like(b"setup", &[(0, 7), (33_333_333, 9)]));
        assert!(!like(b"setup", &[(0, 7), (66_666_666, 8)]));
        assert!(!like(b"setup", &[(33_333_333, 8), (0, 7)]));
        assert!(!Packets::default().decode_alike(&Packets::default()), "nothing proves nothing");
    }

    #[test]
    fn only_a_slice_that_nothing_refers_to_is_no_reference() {
        let packet = |heads: &[u8]| -> Vec<u8> { heads.iter().flat_map(|head| [0, 0, 0, 2, *head, 0x80]).collect() };
        assert!(is_reference(&packet(&[0x65]), 4), "a key frame");
        assert!(is_reference(&packet(&[0x06, 0x41]), 4), "behind a message");
        assert!(!is_reference(&packet(&[0x01]), 4));
        assert!(!is_reference(&packet(&[0x06, 0x01, 0x01]), 4));
        assert!(is_reference(&packet(&[0x06]), 4), "nothing but a message");
        assert!(is_reference(&[0, 0, 9, 0x01], 4) && is_reference(&[0, 0, 0, 9, 0x01], 4), "broken");
        assert!(!is_reference(&[0, 2, 0x01, 0x80], 2));
        assert_eq!((length_bytes(&[1, 100, 0, 40, 0xff]), length_bytes(&[])), (4, 4));
    }
}
