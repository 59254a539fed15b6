//! The tracks that a source's container declares, read from its bytes.

use super::{
    avc,
    bits::Bits,
    colour::{Declared, Matrix},
    hevc, iso, matroska, mpeg,
    orientation::Orientation,
    vpx,
};
use crate::plan::catalog::Kind;

/// Random access to bytes.
pub trait Bytes {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Reads `length` bytes at `offset`, or fewer at the end. `None` if they cannot be read.
    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>>;
}

impl Bytes for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let rest = self.get(usize::try_from(offset).ok()?..)?;
        Some(rest[..length.min(rest.len())].to_vec())
    }
}

/// The bitstream format of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// H.264.
    Avc,
    /// HEVC.
    Hevc,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// MPEG-2 video.
    Mpeg2,
    /// MPEG-4 Visual.
    Mpeg4,
    /// ProRes.
    ProRes,
    /// Motion JPEG.
    Jpeg,
    /// A codec whose bitstream is not parsed here.
    #[default]
    Other,
}

/// One track as its container declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its number in the container.
    pub id: u64,
    /// Video or audio.
    pub kind: Kind,
    /// The container's name of its codec.
    pub codec: Vec<u8>,
    /// Whether it is enabled and played by default.
    pub default: bool,
    /// Width and height in pixels, of a video track.
    pub size: (u32, u32),
    /// The colours that the container declares.
    pub colours: Declared,
    /// How its pictures are rotated; `None` if that cannot be determined.
    pub orientation: Option<Orientation>,
    /// The decoder's configuration: `avcC`, `hvcC`, `CodecPrivate` and similar ones.
    pub configuration: Vec<u8>,
}

/// The colours that a track declares. The bitstream of its first packets takes precedence over its decoder's
/// configuration, and that over the container.
pub fn colours(track: &Track, packets: &[Vec<u8>]) -> Declared {
    let (codec, configuration) = (codec(&track.codec, &track.configuration), track.configuration.as_slice());
    let configured = match codec {
        Codec::Avc => avc::configured(configuration),
        Codec::Hevc => hevc::configured(configuration),
        _ => None,
    };
    let width = configured.map(|(_, width)| width);
    let bitstream = packets.iter().find_map(|packet| match codec {
        Codec::Avc => avc::declared(packet, width),
        Codec::Hevc => hevc::declared(packet, width),
        Codec::Vp9 => vpx::vp9(packet),
        Codec::Av1 => vpx::av1(packet),
        Codec::Mpeg2 => mpeg::mpeg2(packet),
        Codec::Mpeg4 => mpeg::mpeg4(packet),
        Codec::ProRes => mpeg::prores(packet),
        Codec::Jpeg => Some(mpeg::jpeg()),
        Codec::Other => None,
    });
    let configured = match codec {
        Codec::Av1 => configuration.get(4..).and_then(vpx::av1),
        Codec::Mpeg2 => mpeg::mpeg2(configuration),
        Codec::Mpeg4 => mpeg::mpeg4(configuration),
        _ => configured.map(|(declared, _)| declared),
    };
    let declared = bitstream.unwrap_or_default().or(configured.unwrap_or_default()).or(track.colours);
    match codec {
        // Chromium and FFmpeg assume BT.601 for undeclared VP9 of any size.
        Codec::Vp9 => Declared { matrix: declared.matrix.or(Some(Matrix::Bt601)), ..declared },
        _ => declared,
    }
}

/// From the four-character code of MP4 or the name of Matroska. `mp4v` may be any codec with an MPEG-4 object type,
/// which is in its configuration.
fn codec(name: &[u8], configuration: &[u8]) -> Codec {
    match name {
        b"mp4v" => match iso::object_type(configuration) {
            Some(0x60..=0x65) => Codec::Mpeg2,
            Some(0x6c) => Codec::Jpeg,
            Some(0x20) | None => Codec::Mpeg4,
            Some(_) => Codec::Other,
        },
        b"avc1" | b"avc2" | b"avc3" | b"avc4" | b"V_MPEG4/ISO/AVC" => Codec::Avc,
        b"hvc1" | b"hev1" | b"V_MPEGH/ISO/HEVC" => Codec::Hevc,
        b"vp09" | b"V_VP9" => Codec::Vp9,
        b"av01" | b"V_AV1" => Codec::Av1,
        b"V_MPEG2" | b"m2v1" | b"mp2v" | b"mpg2" => Codec::Mpeg2,
        b"V_MPEG4/ISO/ASP" | b"V_MPEG4/ISO/SP" | b"V_MPEG4/ISO/AP" => Codec::Mpeg4,
        b"V_PRORES" | b"apcn" | b"apch" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => Codec::ProRes,
        b"jpeg" | b"mjpa" | b"mjpb" | b"V_MJPEG" => Codec::Jpeg,
        name if name.starts_with(b"hdv") || name.starts_with(b"xd") => Codec::Mpeg2,
        _ => Codec::Other,
    }
}

/// The tracks of an MP4 or Matroska file, in the file's order. Empty if its header cannot be read here.
pub fn read(bytes: &(impl Bytes + ?Sized)) -> Vec<Track> {
    const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
    let head = bytes.read(0, EBML.len()).unwrap_or_default();
    let tracks = if head == EBML { matroska::tracks(bytes) } else { iso::tracks(bytes) };
    tracks.unwrap_or_default()
}

/// A track that should have been chosen instead of track `id`. It has the same kind and codec, so that it can be
/// decoded as well. And it is a default track and the chosen one is not, or it has larger pictures, or both are equal
/// and it is earlier in the file.
pub fn better(tracks: &[Track], id: u64) -> Option<&Track> {
    let taken = tracks.iter().find(|track| track.id == id)?;
    let rank = |track: &Track| (track.default, u64::from(track.size.0) * u64::from(track.size.1));
    let alike = |track: &&Track| track.kind == taken.kind && track.codec == taken.codec;
    let others = tracks.iter().filter(alike).take_while(|track| track.id != id);
    let earlier = others.clone().find(|track| rank(track) >= rank(taken));
    earlier.or_else(|| tracks.iter().filter(alike).find(|track| rank(track) > rank(taken)))
}

/// A number of up to eight bytes, most significant byte first.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The colours in a `vpcC` box, after its version and flags.
pub(super) fn vp_configuration(content: &[u8]) -> Option<Declared> {
    let mut bits = Bits::new(content.get(2..)?);
    bits.skip(7)?;
    let range = if bits.flag()? { super::colour::Range::Full } else { super::colour::Range::Limited };
    let (_, transfer, matrix) = (bits.number(8)?, bits.number(8)?, bits.number(8)?);
    Some(Declared::from_codes(Some(range), transfer, matrix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(id: u64, kind: Kind, codec: &[u8], default: bool, size: (u32, u32)) -> Track {
        let (colours, orientation) = (Declared::default(), Some(Orientation::default()));
        Track { id, kind, codec: codec.to_vec(), default, size, colours, orientation, configuration: Vec::new() }
    }

    #[test]
    fn the_default_track_the_larger_one_and_the_first_one_are_better() {
        let tracks = [
            track(1, Kind::Video, b"avc1", true, (640, 360)),
            track(2, Kind::Video, b"avc1", true, (1_920, 1_080)),
            track(3, Kind::Video, b"hvc1", true, (3_840, 2_160)),
            track(4, Kind::Audio, b"mp4a", false, (0, 0)),
            track(5, Kind::Audio, b"mp4a", true, (0, 0)),
            track(6, Kind::Audio, b"mp4a", true, (0, 0)),
        ];
        let better = |id| better(&tracks, id).map(|track| track.id);
        assert_eq!([better(1), better(2), better(3)], [Some(2), None, None], "another codec may not be decodable");
        assert_eq!([better(4), better(5), better(6)], [Some(5), None, Some(5)]);
        assert_eq!(better(9), None);
    }
}
