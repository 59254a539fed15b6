//! Byte ranges of HTTP, for reads and for resumable uploads.

use super::error::ApiError;
use std::ops::Range;

/// Resolves a `Range` header against an object's size. `None` means the whole object: there is no header, or it is not
/// a single byte range, which HTTP says to ignore.
pub(super) fn resolve(header: Option<&str>, size: u64) -> Result<Option<Range<u64>>, ApiError> {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Ok(None) };
    let Some((first, last)) = range.split_once('-') else { return Ok(None) };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(length)) if first.trim().is_empty() => size.saturating_sub(length)..size,
        _ => return Ok(None),
    };
    if range.start < range.end { Ok(Some(range)) } else { Err(ApiError::Range(size)) }
}

/// The `Content-Range` of a request to a resumable upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// Bytes from `start` on. With a `total`, the upload ends there. Without one, it ends with this request if `last`.
    Bytes {
        /// Offset of the first byte.
        start: u64,
        /// Size of the whole object, if known.
        total: Option<u64>,
        /// Whether the end of the body is the end of the object.
        last: bool,
    },
    /// No bytes: a status query, or the end of an upload of known size.
    Empty {
        /// Size of the whole object, if known.
        total: Option<u64>,
    },
}

impl ContentRange {
    /// The size of the whole object, if the request declares it.
    pub(super) fn total(self) -> Option<u64> {
        match self {
            Self::Bytes { total, .. } | Self::Empty { total } => total,
        }
    }

    /// Parses `bytes a-b/t`, `bytes a-b/*`, `bytes a-*/*`, `bytes */t` or `bytes */*`. Without a header, the body is
    /// the whole object.
    pub(super) fn parse(header: Option<&str>) -> Result<Self, ApiError> {
        let Some(header) = header else { return Ok(Self::Bytes { start: 0, total: None, last: true }) };
        let malformed = || ApiError::Invalid(format!("Invalid Content-Range header '{header}'."));
        let (range, total) =
            header.trim().strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(malformed)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| malformed());
        let total = if total == "*" { None } else { Some(number(total)?) };
        if range == "*" {
            return Ok(Self::Empty { total });
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
        assert_eq!(resolve(None, 100), Ok(None));
        assert_eq!(resolve(Some("bytes=0-9"), 100), Ok(Some(0..10)));
        assert_eq!(resolve(Some("bytes=90-"), 100), Ok(Some(90..100)));
        assert_eq!(resolve(Some("bytes=-30"), 100), Ok(Some(70..100)));
        assert_eq!(resolve(Some("bytes=-300"), 100), Ok(Some(0..100)));
        assert_eq!(resolve(Some("bytes=90-900"), 100), Ok(Some(90..100)));
        assert_eq!(resolve(Some("bytes=100-"), 100), Err(ApiError::Range(100)));
        assert_eq!(resolve(Some("bytes=-0"), 100), Err(ApiError::Range(100)));
        assert_eq!(resolve(Some("bytes=0-1,5-6"), 100), Ok(None));
        assert_eq!(resolve(Some("items=0-1"), 100), Ok(None));
    }

    #[test]
    fn ranges_of_uploads() {
        let parse = |header| ContentRange::parse(Some(header)).unwrap();
        assert_eq!(parse("bytes 0-9/10"), ContentRange::Bytes { start: 0, total: Some(10), last: true });
        assert_eq!(parse("bytes 0-4/10"), ContentRange::Bytes { start: 0, total: Some(10), last: false });
        assert_eq!(parse("bytes 5-9/*"), ContentRange::Bytes { start: 5, total: None, last: false });
        assert_eq!(parse("bytes 5-*/*"), ContentRange::Bytes { start: 5, total: None, last: true });
        assert_eq!(parse("bytes */*"), ContentRange::Empty { total: None });
        assert_eq!(parse("bytes */0"), ContentRange::Empty { total: Some(0) });
        for bad in ["", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes x-y/z"] {
            assert!(ContentRange::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
