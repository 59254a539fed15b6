//! Digests of encoded pictures. They show that a file contains exactly the packets that were decoded during encoding,
//! in the same order, so that these need not be decoded again.
//!
//! Half of an encoder's pictures are not referred to by others. Most of those are not decoded: they are predicted from
//! pictures that are decoded and compared, and a faulty encoder makes faults in those as well. A skipped picture can be
//! wrong only by itself, for a thirtieth of a second, and only if the encoder made all others of its kind well.

use crate::source::time_line::clip_time;
use gstreamer as gst;
use std::hash::{DefaultHasher, Hasher as _};

/// Maximum rounding of a time stamp when it is written to the file and read again, nanoseconds: less than a unit of any
/// time scale that the multiplexer chooses, and far less than a frame.
const MAX_ROUNDING_NS: i64 = 500_000;

/// One group of pictures (from a key frame to the next, two seconds) in this many is decoded completely. In the others,
/// pictures without references to them are skipped, which saves two fifths of verification's CPU time on moving
/// pictures.
const FULL_GROUP_INTERVAL: usize = 8;

/// One encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    time_ns: i64,
    digest: u64,
    /// Whether it need not be decoded.
    skipped: bool,
}

/// Encoded pictures, in decoding order.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    /// The configuration of the decoder.
    setup: Option<Vec<u8>>,
    packets: Vec<Packet>,
    /// Number of key frames so far.
    keys: usize,
}

impl Packets {
    /// Adds the next picture. Returns whether it need not be decoded. `caps` are those of the pad that it passes.
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
            // Without a set-up, nothing compares as equal.
            self.setup = None;
            return false;
        };
        let whole = self.keys % FULL_GROUP_INTERVAL == 1;
        let skipped = !whole && self.setup.as_ref().is_some_and(|setup| !is_reference(&bytes, length_bytes(setup)));
        self.packets.push(Packet { time_ns, digest: digest(&bytes), skipped });
        skipped
    }

    /// Presentation times of the pictures, nanoseconds from the clip's start, ascending.
    pub fn times_ns(&self) -> Vec<i64> {
        times(self.packets.iter())
    }

    /// Presentation times of the pictures that must be decoded.
    pub fn decoded_times_ns(&self) -> Vec<i64> {
        times(self.packets.iter().filter(|packet| !packet.skipped))
    }

    /// Whether decoding these packets gives the same pictures at the same times as decoding the others.
    pub fn decodes_like(&self, other: &Self) -> bool {
        let equal = |(one, another): (&Packet, &Packet)| {
            one.digest == another.digest && (one.time_ns - another.time_ns).abs() <= MAX_ROUNDING_NS
        };
        self.setup.is_some()
            && self.setup == other.setup
            && self.packets.len() == other.packets.len()
            && self.packets.iter().zip(&other.packets).all(equal)
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

/// Bytes of the length before each unit of a packet, from the decoder's configuration (ISO/IEC 14496-15, 5.3.3.1.2: the
/// two lowest bits of its fifth byte, minus one).
fn length_bytes(setup: &[u8]) -> usize {
    setup.get(4).map_or(4, |byte| usize::from(byte & 3) + 1)
}

/// Whether other pictures may refer to an H.264 picture: `nal_ref_idc` of its slices (ITU-T H.264, 7.4.1). Packets that
/// cannot be parsed count as references.
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

/// Detects mistakes, not forgeries: both sides are ours.
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
            pictures.iter().map(|(time_ns, digest)| Packet { time_ns: *time_ns, digest: *digest, skipped: false });
        Packets { setup: Some(setup.to_vec()), packets: packets.collect(), keys: 1 }
    }

    #[test]
    fn only_the_same_packets_in_the_same_order_decode_alike() {
        let made = packets(b"setup", &[(0, 7), (33_333_333, 8)]);
        let like = |setup: &[u8], pictures: &[(i64, u64)]| made.decodes_like(&packets(setup, pictures));
        assert!(like(b"setup", &[(0, 7), (33_333_000, 8)]));
        assert!(!like(b"other", &[(0, 7), (33_333_333, 8)]));
        assert!(!like(b"setup", &[(0, 7)]));
        assert!(!like(b"setup", &[(0, 7), (33_333_333, 9)]));
        assert!(!like(b"setup", &[(0, 7), (66_666_666, 8)]));
        assert!(!like(b"setup", &[(33_333_333, 8), (0, 7)]));
        assert!(!Packets::default().decodes_like(&Packets::default()), "nothing proves nothing");
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
