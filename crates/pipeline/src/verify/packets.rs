//! Encoded pictures, known again by their digests: what has been decoded while it was encoded need not be decoded again, if the
//! file holds it, bit for bit and in its place.

use crate::elements::TimeLine;
use gstreamer as gst;
use std::hash::{DefaultHasher, Hasher as _};

/// How far a time stamp may be rounded on its way into the file and out again, nanoseconds: less than a unit of any time scale that the
/// multiplexer chooses, and far less than a frame.
const ROUNDING_NS: i64 = 500_000;

/// One encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    time_ns: i64,
    digest: u64,
}

/// Encoded pictures, in the order in which they are decoded.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    /// What decoders are set up with.
    setup: Option<Vec<u8>>,
    packets: Vec<Packet>,
}

impl Packets {
    /// Adds the next picture. `caps` are those of the pad that it passes.
    pub fn add(
        &mut self,
        caps: Option<&gst::CapsRef>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        buffer: &gst::BufferRef,
    ) {
        if self.packets.is_empty() {
            self.setup = caps.and_then(setup);
        }
        let digest = buffer.map_readable().map(|bytes| digest(&bytes));
        let time_ns = TimeLine::Edited.place(segment, buffer.pts());
        // What cannot be read is like nothing else, not even like itself.
        let (Ok(digest), Some(time_ns)) = (digest, time_ns) else { return self.setup = None };
        self.packets.push(Packet { time_ns, digest });
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

fn setup(caps: &gst::CapsRef) -> Option<Vec<u8>> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    data.map_readable().ok().map(|bytes| bytes.to_vec())
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
        let packets = pictures.iter().map(|(time_ns, digest)| Packet { time_ns: *time_ns, digest: *digest }).collect();
        Packets { setup: Some(setup.to_vec()), packets }
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
}
