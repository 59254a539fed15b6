//! Splits `multipart/related` bodies as they arrive: metadata, then the bytes, then optional further metadata.

use super::error::ApiError;
use bytes::{Bytes, BytesMut};

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A part begins; the value is its `Content-Type`, if it has one.
    Part(Option<String>),
    /// Bytes of the current part.
    Data(Bytes),
    /// The closing boundary; the rest of the body is ignored.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary, or at any later boundary.
    Boundary,
    Headers,
    Data,
    Ended,
}

/// The splitter. Feed it with [`push`](Self::push), then call [`next`](Self::next) until it returns `None`.
pub(super) struct Multipart {
    /// `\r\n--boundary`
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

/// Longest headers of a part; usual ones have a few dozen bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;

impl Multipart {
    /// Creates a splitter for a `Content-Type` with a boundary.
    pub(super) fn new(content_type: &str) -> Result<Self, ApiError> {
        let boundary = content_type
            .split(';')
            .find_map(|parameter| parameter.trim().strip_prefix("boundary="))
            .map(|boundary| boundary.trim_matches(['"', '\'']))
            .filter(|boundary| (1..=200).contains(&boundary.len()))
            .ok_or_else(|| ApiError::Invalid("The multipart body has no boundary.".into()))?;
        // The first boundary has no line break before it; adding one makes all boundaries look alike.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Self { delimiter: format!("\r\n--{boundary}").into_bytes(), buffer, state: State::Boundary })
    }

    /// Adds bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next piece, if the bytes so far contain one.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, ApiError> {
        match self.state {
            State::Ended => Ok(None),
            State::Boundary => self.after_boundary(),
            State::Headers => self.headers(),
            State::Data => Ok(self.data()),
        }
    }

    fn after_boundary(&mut self) -> Result<Option<Piece>, ApiError> {
        let Some(at) = find(&self.buffer, &self.delimiter) else {
            if self.buffer.len() > MAX_HEADER_BYTES {
                return Err(ApiError::Invalid("The multipart body does not begin with its boundary.".into()));
            }
            return Ok(None);
        };
        let after = at + self.delimiter.len();
        match self.buffer.get(after..after + 2) {
            None => Ok(None),
            Some(b"--") => {
                self.state = State::Ended;
                Ok(Some(Piece::End))
            }
            Some(_) => {
                // The line break stays: if there are no headers, it is half of the sequence that ends them.
                let _ = self.buffer.split_to(after);
                self.state = State::Headers;
                self.headers()
            }
        }
    }

    fn headers(&mut self) -> Result<Option<Piece>, ApiError> {
        let Some(end) = find(&self.buffer, b"\r\n\r\n") else {
            if self.buffer.len() > MAX_HEADER_BYTES {
                return Err(ApiError::Invalid("The headers of a part are too long.".into()));
            }
            return Ok(None);
        };
        let headers = self.buffer.split_to(end + 4);
        let content_type = String::from_utf8_lossy(&headers)
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value.trim().to_owned());
        self.state = State::Data;
        Ok(Some(Piece::Part(content_type)))
    }

    fn data(&mut self) -> Option<Piece> {
        if let Some(at) = find(&self.buffer, &self.delimiter) {
            self.state = State::Boundary;
            if at == 0 {
                // The caller calls again immediately; an empty piece avoids recursion.
                return Some(Piece::Data(Bytes::new()));
            }
            return Some(Piece::Data(self.buffer.split_to(at).freeze()));
        }
        // Bytes that may be the beginning of a boundary stay in the buffer.
        let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        (safe > 0).then(|| Piece::Data(self.buffer.split_to(safe).freeze()))
    }
}

/// The position of the first `needle`, which must begin with a carriage return.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == b'\r') {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a body that arrives in chunks of the given size.
    fn split(body: &[u8], chunk: usize) -> Vec<(Option<String>, Vec<u8>)> {
        let mut multipart = Multipart::new("multipart/related; boundary=\"xyz\"").unwrap();
        let mut parts: Vec<(Option<String>, Vec<u8>)> = Vec::new();
        for chunk in body.chunks(chunk) {
            multipart.push(chunk);
            while let Some(piece) = multipart.next().unwrap() {
                match piece {
                    Piece::Part(content_type) => parts.push((content_type, Vec::new())),
                    Piece::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
                    Piece::End => return parts,
                }
            }
        }
        panic!("the body did not end");
    }

    #[test]
    fn parts_are_found_at_every_chunk_size() {
        let body = b"--xyz\r\nContent-Type: application/json\r\n\r\n{}\r\n--xyz\r\n\
            content-disposition: form-data\r\n\r\n\r\n--xy\r\r\n\r\n--xyz\r\n\r\n\r\n--xyz--\r\n";
        let expected = vec![
            (Some("application/json".to_owned()), b"{}".to_vec()),
            (None, b"\r\n--xy\r\r\n".to_vec()),
            (None, Vec::new()),
        ];
        for chunk in 1..=body.len() {
            assert_eq!(split(body, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_missing_boundary_is_rejected() {
        assert!(Multipart::new("multipart/related").is_err());
    }
}
