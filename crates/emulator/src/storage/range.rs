//! Byte ranges of HTTP: what a reader wants, and what an upload brings.

use super::error::Refusal;
use std::ops::Range;

/// Resolves a `Range` header against an object's size. `None` is the whole object: no header, or one that is not a single
/// range of bytes, which HTTP says to ignore.
pub(super) fn requested(header: Option<&str>, size: u64) -> Result<Option<Range<u64>>, Refusal> {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Ok(None) };
    let Some((first, last)) = range.split_once('-') else { return Ok(None) };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(length)) if first.trim().is_empty() => size.saturating_sub(length)..size,
        _ => return Ok(None),
    };
    if range.start < range.end { Ok(Some(range)) } else { Err(Refusal::Range(size)) }
}

/// What a request to a resumable upload carries, by its `Content-Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// Bytes from `start` on. With a `total` the upload ends there; without one it ends here if `last`, else later.
    Bytes {
        /// Offset of the first byte.
        start: u64,
        /// Size of the whole object, when known.
        total: Option<u64>,
        /// Whether the end of the body is the end of the object.
        last: bool,
    },
    /// No bytes: a question, or the end of an upload of known size.
    Nothing {
        /// Size of the whole object, when known.
        total: Option<u64>,
    },
}

impl Carried {
    /// The size of the whole object, where the request tells it.
    pub(super) fn total(self) -> Option<u64> {
        match self {
            Self::Bytes { total, .. } | Self::Nothing { total } => total,
        }
    }

    /// Parses `bytes a-b/t`, `bytes a-b/*`, `bytes a-*/*`, `bytes */t` or `bytes */*`; without a header the body is the object.
    pub(super) fn parse(header: Option<&str>) -> Result<Self, Refusal> {
        let Some(header) = header else { return Ok(Self::Bytes { start: 0, total: None, last: true }) };
        let malformed = || Refusal::Invalid(format!("Invalid Content-Range header '{header}'."));
        let (range, total) =
            header.trim().strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(malformed)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| malformed());
        let total = if total == "*" { None } else { Some(number(total)?) };
        if range == "*" {
            return Ok(Self::Nothing { total });
        }
        let (start, end) = range.split_once('-').ok_or_else(malformed)?;
        let start = number(start)?;
        if end == "*" {
            return Ok(Self::Bytes { start, total, last: true });
        }
        let end = number(end)?;
        if end < start || total.is_some_and(|total| end >= total) {
            return Err(malformed());
        }
        Ok(Self::Bytes { start, total, last: total == Some(end + 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_readers() {
        assert_eq!(requested(None, 100), Ok(None));
        assert_eq!(requested(Some("bytes=0-9"), 100), Ok(Some(0..10)));
        assert_eq!(requested(Some("bytes=90-"), 100), Ok(Some(90..100)));
        assert_eq!(requested(Some("bytes=-30"), 100), Ok(Some(70..100)));
        assert_eq!(requested(Some("bytes=-300"), 100), Ok(Some(0..100)));
        assert_eq!(requested(Some("bytes=90-900"), 100), Ok(Some(90..100)));
        assert_eq!(requested(Some("bytes=100-"), 100), Err(Refusal::Range(100)));
        assert_eq!(requested(Some("bytes=-0"), 100), Err(Refusal::Range(100)));
        assert_eq!(requested(Some("bytes=0-1,5-6"), 100), Ok(None));
        assert_eq!(requested(Some("items=0-1"), 100), Ok(None));
    }

    #[test]
    fn ranges_of_uploads() {
        let parse = |header| Carried::parse(Some(header)).unwrap();
        assert_eq!(parse("bytes 0-9/10"), Carried::Bytes { start: 0, total: Some(10), last: true });
        assert_eq!(parse("bytes 0-4/10"), Carried::Bytes { start: 0, total: Some(10), last: false });
        assert_eq!(parse("bytes 5-9/*"), Carried::Bytes { start: 5, total: None, last: false });
        assert_eq!(parse("bytes 5-*/*"), Carried::Bytes { start: 5, total: None, last: true });
        assert_eq!(parse("bytes */*"), Carried::Nothing { total: None });
        assert_eq!(parse("bytes */0"), Carried::Nothing { total: Some(0) });
        for bad in ["", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes x-y/z"] {
            assert!(Carried::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
