//! A parser of Matroska elements, and a function that turns FFmpeg's live WebM into a browser's recording.

use std::path::Path;

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const CLUSTER: u32 = 0x1f43_b675;
const CUES: u32 = 0x1c53_bb6b;
const DURATION: u32 = 0x4489;
const DEFAULT_DURATION: u32 = 0x0023_e383;
const VOID: u8 = 0xec;

/// One element. Positions are offsets in the file.
#[derive(Debug, Clone, Copy)]
pub struct Element {
    /// Its id.
    pub id: u32,
    /// Where it begins.
    pub begin: usize,
    /// Where its content begins.
    pub content: usize,
    /// Where its content ends.
    pub end: usize,
    /// Length of its size field.
    pub size_bytes: usize,
}

/// Sets the sizes of all clusters to unknown and removes nominal frame rates. Panics if the file has a duration or an
/// index.
pub fn as_recorded_live(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the recording");
    let mut clusters = 0;
    for element in all(&bytes) {
        match element.id {
            CLUSTER => {
                clusters += 1;
                let size = element.content - element.size_bytes..element.content;
                bytes[size.clone()].fill(0xff);
                bytes[size.start] = (1_u16 << (9 - element.size_bytes)).wrapping_sub(1) as u8;
            }
            DEFAULT_DURATION => {
                let length = element.end - element.begin - 2;
                bytes[element.begin] = VOID;
                bytes[element.begin + 1] = 0x80 | length as u8;
            }
            DURATION | CUES => panic!("a live recording has no element {:x}", element.id),
            _ => {}
        }
    }
    assert!(clusters > 1, "a recording has several clusters, this one {clusters}");
    std::fs::write(path, bytes).expect("the recording");
}

/// All elements down to clusters and to the fields of tracks.
fn all(bytes: &[u8]) -> Vec<Element> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let element = element(bytes, position);
        found.push(element);
        let descend = [SEGMENT, INFO, TRACKS, TRACK_ENTRY].contains(&element.id);
        position = if descend { element.content } else { element.end };
    }
    found
}

/// Parses the element at `begin`. One of unknown size, or one that is cut off, ends with the file.
pub fn element(bytes: &[u8], begin: usize) -> Element {
    let id_bytes = bytes[begin].leading_zeros() as usize + 1;
    let id = bytes[begin..begin + id_bytes].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let at = begin + id_bytes;
    let size_bytes = bytes[at].leading_zeros() as usize + 1;
    let content = at + size_bytes;
    let field = bytes[at..content].iter().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    let size = field & !(1 << (7 * size_bytes));
    let unknown = size == (1 << (7 * size_bytes)) - 1;
    let end = if unknown { bytes.len() } else { (content + size as usize).min(bytes.len()) };
    Element { id, begin, content, end, size_bytes }
}

/// The direct children of an element.
pub fn children(bytes: &[u8], parent: Element) -> Vec<Element> {
    let (mut at, mut found) = (parent.content, Vec::new());
    while at < parent.end {
        let child = element(bytes, at);
        at = child.end;
        found.push(child);
    }
    found
}
