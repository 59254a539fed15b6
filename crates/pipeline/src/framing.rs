//! Messages on a byte stream: each is a length as a 32-bit little-endian number, followed by protobuf bytes.

use clipfleet_contract::pipeline::MAX_FRAME_BYTES;
use prost::Message;
use std::io::{self, Read, Write};

/// Reads one message. `None` if the stream ended between two messages.
pub fn read_message<M: Message + Default>(stream: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match stream.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(invalid(format!("message of {length} bytes exceeds {MAX_FRAME_BYTES}")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    // Decoding from `Bytes` does not copy the payload of a range.
    M::decode(bytes::Bytes::from(bytes)).map(Some).map_err(|error| invalid(error.to_string()))
}

/// Writes one message in a single piece, so that messages of several threads are never interleaved.
pub fn write_message(stream: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let length = message.encoded_len();
    if length > MAX_FRAME_BYTES {
        return Err(invalid(format!("message of {length} bytes exceeds {MAX_FRAME_BYTES}")));
    }
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    message.encode(&mut bytes).map_err(|error| invalid(error.to_string()))?;
    stream.write_all(&bytes)?;
    stream.flush()
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_contract::v1::ReadRange;

    #[test]
    fn messages_come_back_in_order_and_the_end_is_clean() {
        let mut stream = Vec::new();
        let first = ReadRange { id: 1, offset: 0, length: 7 };
        let second = ReadRange { id: 2, ..first };
        write_message(&mut stream, &first).unwrap();
        write_message(&mut stream, &second).unwrap();
        let mut stream = stream.as_slice();
        assert_eq!(read_message(&mut stream).unwrap(), Some(first));
        assert_eq!(read_message(&mut stream).unwrap(), Some(second));
        assert_eq!(read_message::<ReadRange>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_truncated_or_huge_message_is_an_error() {
        let torn = [5, 0, 0, 0, 1];
        assert_eq!(read_message::<ReadRange>(&mut torn.as_slice()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let huge = u32::MAX.to_le_bytes();
        assert_eq!(read_message::<ReadRange>(&mut huge.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
