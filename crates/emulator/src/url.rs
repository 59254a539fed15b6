//! Percent-encoding, as paths and query strings use it.

/// Decodes `%XX`; malformed sequences stay as they are.
pub(crate) fn decode(text: &str) -> String {
    decode_bytes(text.as_bytes(), false)
}

/// The names and values of a query string, decoded, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_bytes(name.as_bytes(), true), decode_bytes(value.as_bytes(), true))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Encodes everything but unreserved characters, fit for one segment of a path.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode_bytes(text: &[u8], plus_is_space: bool) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, hex(tail)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) if plus_is_space => decoded.push(b' '),
            _ => decoded.push(first),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(text: &[u8]) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let name = "clips/ünï %&+=?.mp4";
        assert_eq!(decode(&encode(name)), name);
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("a+b"), "a+b");
    }

    #[test]
    fn queries_keep_their_order() {
        let pairs = query("a=1&b=x+y%2Fz&&c");
        assert_eq!(pairs, [("a", "1"), ("b", "x y/z"), ("c", "")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
