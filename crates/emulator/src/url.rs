//! Percent-encoding of paths and query strings.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Decodes `%XX`; malformed sequences remain as they are.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The decoded names and values of a query string, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// Encodes everything but unreserved characters; suitable for one segment of a path.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_text_decodes_to_itself() {
        let name = "clips/ünï %&+=?.mp4";
        assert_eq!(encode(name), "clips%2F%C3%BCn%C3%AF%20%25%26%2B%3D%3F.mp4");
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
