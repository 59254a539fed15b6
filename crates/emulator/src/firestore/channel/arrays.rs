//! What is said to one browser: numbered arrays, each kept until the browser says that it has it, so that a connection which breaks
//! loses none.

use std::{collections::VecDeque, fmt::Write as _};

/// The arrays of one session. Number 0 is the handshake, which has an answer of its own.
#[derive(Debug)]
pub(super) struct Arrays {
    kept: VecDeque<String>,
    /// The number of the first one kept.
    first: u64,
    /// Bytes of all that are kept.
    bytes: usize,
}

impl Default for Arrays {
    fn default() -> Self {
        Self { kept: VecDeque::new(), first: 1, bytes: 0 }
    }
}

impl Arrays {
    /// Adds one, as JSON.
    pub(super) fn push(&mut self, json: &str) {
        let array = ascii(json);
        self.bytes += array.len();
        self.kept.push_back(array);
    }

    /// The number of the newest.
    pub(super) fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    /// Bytes that are not acknowledged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets what the browser has. Says whether it can have that much.
    pub(super) fn acknowledge(&mut self, number: u64) -> bool {
        if number > self.last() {
            return false;
        }
        while self.first <= number
            && let Some(array) = self.kept.pop_front()
        {
            self.first += 1;
            self.bytes -= array.len();
        }
        true
    }

    /// Whether everything after `number` is still there to be said (again).
    pub(super) fn reaches_back_to(&self, number: u64) -> bool {
        number + 1 >= self.first
    }

    /// What comes after `number`, as one chunk: at least one array if there is one, and no more once `most` bytes are reached. Answers the
    /// number of its last, too.
    pub(super) fn chunk_after(&self, number: u64, most: usize) -> Option<(String, u64)> {
        let skipped = usize::try_from((number + 1).saturating_sub(self.first)).ok()?;
        let mut json = String::new();
        let mut last = number;
        for (array, number) in self.kept.iter().zip(self.first..).skip(skipped) {
            json.push(if json.is_empty() { '[' } else { ',' });
            let _ = write!(json, "[{number},{array}]");
            last = number;
            if json.len() >= most {
                break;
            }
        }
        json.push(']');
        (last > number).then(|| (chunk(&json), last))
    }
}

/// A chunk of an answer: its length, then itself. Browsers count UTF-16 units, which are bytes as long as all of it is ASCII.
pub(super) fn chunk(json: &str) -> String {
    format!("{}\n{json}", json.len())
}

/// The same JSON with what is not ASCII escaped.
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
    fn what_is_not_acknowledged_is_said_again() {
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
    fn a_chunk_ends_when_it_is_full_and_holds_at_least_one() {
        let arrays = three();
        assert_eq!(arrays.chunk_after(0, 1).unwrap().1, 1);
        assert_eq!(arrays.chunk_after(1, 1).unwrap().1, 2);
        assert_eq!(arrays.chunk_after(0, 15).unwrap().1, 2);
    }

    #[test]
    fn nobody_has_what_was_never_said_nor_gets_what_was_forgotten() {
        let mut arrays = three();
        assert!(!arrays.acknowledge(4));
        assert!(arrays.acknowledge(2));
        assert!(arrays.acknowledge(1), "an old acknowledgement says nothing new");
        assert!(!arrays.reaches_back_to(1));
        assert!(arrays.reaches_back_to(2) && arrays.reaches_back_to(3));
    }

    #[test]
    fn lengths_are_those_that_browsers_count() {
        let mut arrays = Arrays::default();
        arrays.push(r#"["ü🎬"]"#);
        let (chunk, _) = arrays.chunk_after(0, 1).unwrap();
        assert_eq!(chunk, "28\n[[1,[\"\\u00fc\\ud83c\\udfac\"]]]");
        let (length, json) = chunk.split_once('\n').unwrap();
        assert_eq!(json.encode_utf16().count(), length.parse::<usize>().unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap()[0][1][0], "ü🎬");
    }
}
