//! Boxes of ISO base media files (MP4, QuickTime): sizes, numbers and their positions (ISO/IEC 14496-12, 4.2).

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

/// The position of a number in the file, and whether it has 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) wide: bool,
}

impl Place {
    /// The next number, with the same width.
    pub(crate) fn next(self) -> Self {
        Self { offset: self.offset + if self.wide { 8 } else { 4 }, ..self }
    }

    /// Replaces the number in a file.
    pub(crate) fn write(self, file: &mut File, number: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.offset))?;
        if self.wide {
            return file.write_all(&number.to_be_bytes());
        }
        let narrow = u32::try_from(number).map_err(|_| broken("a duration"))?;
        file.write_all(&narrow.to_be_bytes())
    }
}

/// A sequence of boxes, or the content of one box.
pub(crate) struct Boxes<'a> {
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// Position in the file.
    pub(crate) offset: u64,
    /// Bytes of the header before it; 0 for a sequence.
    pub(crate) header: u64,
}

impl<'a> Boxes<'a> {
    /// A sequence of boxes.
    pub(crate) fn run(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset, header: 0 }
    }

    /// The position of this box's name in the file.
    pub(crate) fn name_offset(&self) -> u64 {
        self.offset - self.header + 4
    }

    /// The boxes of this sequence: name and content.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ([u8; 4], Boxes<'a>)> {
        let (bytes, offset) = (self.bytes, self.offset);
        let mut position = 0;
        std::iter::from_fn(move || {
            let rest = bytes.get(position..)?;
            let (header, size) = box_size(rest, rest.len() as u64)?;
            let kind = rest.get(4..8)?.try_into().ok()?;
            let content = rest.get(header as usize..size as usize)?;
            let at = position as u64 + header;
            position += size as usize;
            Some((kind, Boxes { bytes: content, offset: offset + at, header }))
        })
    }

    /// Bytes of the content.
    pub(crate) fn array<const N: usize>(&self, at: usize) -> io::Result<[u8; N]> {
        let bytes = self.bytes.get(at..at + N).ok_or_else(|| broken("a box"))?;
        bytes.try_into().map_err(|_| broken("a box"))
    }

    /// A 16-bit number.
    pub(crate) fn u16(&self, at: usize) -> io::Result<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    /// A 32-bit number.
    pub(crate) fn u32(&self, at: usize) -> io::Result<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// A 64-bit number.
    pub(crate) fn u64(&self, at: usize) -> io::Result<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// A number whose position depends on the box's version.
    pub(crate) fn versioned(&self, narrow: usize, wide: usize) -> io::Result<u32> {
        self.u32(if self.u32(0)? >> 24 == 1 { wide } else { narrow })
    }

    /// The number at a position within these boxes.
    pub(crate) fn number(&self, place: Place) -> io::Result<u64> {
        let at = usize::try_from(place.offset - self.offset).map_err(|_| broken("a box"))?;
        if place.wide { self.u64(at) } else { self.u32(at).map(u64::from) }
    }

    /// The position of a number whose offset and width depend on the box's version.
    pub(crate) fn place(&self, narrow: usize, wide: usize) -> io::Result<Place> {
        let is_wide = self.u32(0)? >> 24 == 1;
        let at = if is_wide { wide } else { narrow };
        Ok(Place { offset: self.offset + at as u64, wide: is_wide })
    }
}

/// Bytes of a box's header and of the whole box, which must fit into `room` bytes.
pub(crate) fn box_size(head: &[u8], room: u64) -> Option<(u64, u64)> {
    let size = u32::from_be_bytes(head.get(..4)?.try_into().ok()?);
    let (header, size) = match size {
        0 => (8, room),
        1 => (16, u64::from_be_bytes(head.get(8..16)?.try_into().ok()?)),
        size => (8, u64::from(size)),
    };
    (size >= header && size <= room).then_some((header, size))
}

/// An error about a part of a file.
pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not as expected"))
}
