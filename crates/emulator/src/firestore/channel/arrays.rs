//! The arrays sent to one browser. Each is numbered and kept until the browser acknowledges it, so that a broken
//! connection loses none.

use std::{collections::VecDeque, fmt::Write as _};

/// The arrays of one session. Number 0 is the handshake, which has its own response.
#[derive(Debug)]
pub(super) struct Arrays {
    pending: VecDeque<String>,
    /// The number of the first pending array.
    first: u64,
    /// The size of all pending arrays.
    bytes: usize,
}

impl Default for Arrays {
    fn default() -> Self {
        Self { pending: VecDeque::new(), first: 1, bytes: 0 }
    }
}

impl Arrays {
    /// Adds an array, as JSON.
    pub(super) fn push(&mut self, json: &str) {
        let array = ascii(json);
        self.bytes += array.len();
        self.pending.push_back(array);
    }

    /// The number of the newest array.
    pub(super) fn last(&self) -> u64 {
        self.first + self.pending.len() as u64 - 1
    }

    /// Unacknowledged bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops arrays up to `number`. Returns false if `number` was never sent.
    pub(super) fn acknowledge(&mut self, number: u64) -> bool {
        if number > self.last() {
            return false;
        }
        while self.first <= number
            && let Some(array) = self.pending.pop_front()
        {
            self.first += 1;
            self.bytes -= array.len();
        }
        true
    }

    /// Whether every array after `number` can still be sent.
    pub(super) fn can_resume_after(&self, number: u64) -> bool {
        number + 1 >= self.first
    }

    /// The arrays after `number` as one chunk, and the number of its last array. The chunk has at least one array and
    /// ends when it reaches `max` bytes.
    pub(super) fn chunk_after(&self, number: u64, max: usize) -> Option<(String, u64)> {
        let skipped = usize::try_from((number + 1).saturating_sub(self.first)).ok()?;
        let mut json = String::new();
        let mut last = number;
        for (array, number) in self.pending.iter().zip(self.first..).skip(skipped) {
            json.push(if json.is_empty() { '[' } else { ',' });
            let _ = write!(json, "[{number},{array}]");
            last = number;
            if json.len() >= max {
                break;
            }
        }
        json.push(']');
        (last > number).then(|| (chunk(&json), last))
    }
}

/// A chunk of a response: its length, then the JSON. Browsers count UTF-16 units, which equal bytes because the JSON is
/// ASCII.
pub(super) fn chunk(json: &str) -> String {
    format!("{}\n{json}", json.len())
}

/// The same JSON with non-ASCII characters escaped.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Arrays {
        let mut arrays = Arrays::default();
        for json in [r#"["a"]"#, r#"["b"]"#, r#"["c"]"#] {
            arrays.push(json);
        }
        arrays
    }

    #[test]
    fn unacknowledged_arrays_are_sent_again() {
        let mut arrays = three();
        assert_eq!(arrays.chunk_after(0, 1_000), Some(("31\n[[1,[\"a\"]],[2,[\"b\"]],[3,[\"c\"]]]".into(), 3)));
        assert!(arrays.acknowledge(1));
        assert_eq!(arrays.chunk_after(1, 1_000), Some(("21\n[[2,[\"b\"]],[3,[\"c\"]]]".into(), 3)));
        assert_eq!(arrays.chunk_after(2, 1_000).unwrap().1, 3);
        assert_eq!(arrays.chunk_after(3, 1_000), None);
        assert_eq!((arrays.last(), arrays.bytes()), (3, 10));
        assert!(arrays.acknowledge(3));
        assert_eq!((arrays.last(), arrays.bytes()), (3, 0));
        arrays.push(r#"["d"]"#);
        assert_eq!(arrays.chunk_after(3, 1_000).unwrap(), ("11\n[[4,[\"d\"]]]".into(), 4));
    }

    #[test]
    fn a_chunk_ends_when_it_is_full_and_has_at_least_one_array() {
        let arrays = three();
        assert_eq!(arrays.chunk_after(0, 1).unwrap().1, 1);
        assert_eq!(arrays.chunk_after(1, 1).unwrap().1, 2);
        assert_eq!(arrays.chunk_after(0, 15).unwrap().1, 2);
    }

    #[test]
    fn only_sent_arrays_are_acknowledged_and_only_pending_ones_sent_again() {
        let mut arrays = three();
        assert!(!arrays.acknowledge(4));
        assert!(arrays.acknowledge(2));
        assert!(arrays.acknowledge(1), "an old acknowledgement has no effect");
        assert!(!arrays.can_resume_after(1));
        assert!(arrays.can_resume_after(2) && arrays.can_resume_after(3));
    }

    #[test]
    fn lengths_count_utf16_units_as_browsers_do() {
        let mut arrays = Arrays::default();
        arrays.push(r#"["ü🎬"]"#);
        let (chunk, _) = arrays.chunk_after(0, 1).unwrap();
        assert_eq!(chunk, "28\n[[1,[\"\\u00fc\\ud83c\\udfac\"]]]");
        let (length, json) = chunk.split_once('\n').unwrap();
        assert_eq!(json.encode_utf16().count(), length.parse::<usize>().unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap()[0][1][0], "ü🎬");
    }
}
