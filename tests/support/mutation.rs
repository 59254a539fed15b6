//! Damaged files: small valid files with random damage, each determined by one number.

use crate::{
    fixtures::Recipe,
    pipeline_process::{Order, ProcessEnd, start_with_env},
};
use clipfleet_domain::limits::{MAX_PIPELINE_BYTES, MAX_STALL_SECONDS};
use std::{collections::BTreeMap, fmt, fs, ops::Range, path::Path, time::Duration};

/// Maximum time for a damaged file: the process's own stall timeout, and as long again for the work before and after.
const TIMEOUT: Duration = Duration::from_secs(2 * MAX_STALL_SECONDS);

/// Small sources in every container that the pipeline reads. These are then damaged.
pub fn seeds(directory: &Path) -> Vec<Vec<u8>> {
    let small = |recipe: Recipe| Recipe { width: 160, height: 120, pictures: 45, ..recipe };
    let recipes = [
        Recipe::default(),
        Recipe::header_last(),
        Recipe { container: (&["-movflags", "frag_keyframe+empty_moov"], "mp4"), ..Recipe::default() },
        Recipe::matroska(),
        Recipe::recorded_vp8(),
    ];
    let mut number = 0;
    let mut make = |recipe| {
        number += 1;
        fs::read(small(recipe).make(directory, &format!("seed{number}"))).expect("a source")
    };
    recipes.into_iter().map(&mut make).collect()
}

/// A description of the damage to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub &'static str, pub String);

/// The file of a number: one of the seeds, with one to three damages.
pub fn damaged(seeds: &[Vec<u8>], number: u64) -> (Vec<u8>, Vec<Damage>) {
    let mut random = fastrand::Rng::with_seed(number);
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    let times = 1 + random.usize(..3);
    let done = (0..times).map(|_| damage(&mut bytes, &mut random)).collect();
    (bytes, done)
}

/// Names of boxes whose neighbourhood determines what a demuxer does: sizes, counts, times, dimensions.
const BOXES: [&[u8]; 26] = [
    b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"stbl", b"stsd",
    b"avc1", b"avcC", b"mp4a", b"esds", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"moof", b"trun",
    b"tfdt", b"mdat",
];

/// Matroska elements with sizes, times and dimensions, by their ids.
const ELEMENTS: [&[u8]; 12] = [
    b"\x1a\x45\xdf\xa3", // EBML
    b"\x18\x53\x80\x67", // Segment
    b"\x15\x49\xa9\x66", // Info
    b"\x2a\xd7\xb1",     // TimestampScale
    b"\x44\x89",         // Duration
    b"\x16\x54\xae\x6b", // Tracks
    b"\xb0",             // PixelWidth
    b"\xba",             // PixelHeight
    b"\x63\xa2",         // CodecPrivate
    b"\x1f\x43\xb6\x75", // Cluster
    b"\xe7",             // Timestamp
    b"\xa3",             // SimpleBlock
];

/// Numbers that often cause errors.
const NUMBERS: [u32; 12] =
    [0, 1, 2, 7, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffe, 0x0100_0000, 0x4000_0000];

fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) -> Damage {
    if bytes.is_empty() {
        return Damage("empty", String::new());
    }
    let matroska = bytes.starts_with(&[0x1a, 0x45]);
    match random.u32(..8) {
        0 => {
            // A few bits in the header, where they matter most, or anywhere.
            let within = if random.bool() { bytes.len().min(4_096) } else { bytes.len() };
            let count = 1 + random.usize(..32);
            for _ in 0..count {
                let at = random.usize(..within);
                bytes[at] ^= 1 << random.u32(..8);
            }
            Damage("bits", format!("{count} within {within}"))
        }
        1 => {
            let length = random.usize(..bytes.len());
            bytes.truncate(length);
            Damage("truncated", format!("{length}"))
        }
        2 => {
            let from = random.usize(..bytes.len());
            let to = (from + random.usize(1..20_000)).min(bytes.len());
            let value = random.u8(..);
            bytes[from..to].fill(value);
            Damage("filled", format!("{from}..{to} with {value}"))
        }
        3 => {
            let from = random.usize(..bytes.len());
            let to = (from + random.usize(1..5_000)).min(bytes.len());
            let piece = bytes[from..to].to_vec();
            let at = random.usize(..bytes.len());
            bytes.splice(at..at, piece);
            Damage("repeated", format!("{from}..{to} at {at}"))
        }
        4 => {
            let from = random.usize(..bytes.len());
            let to = (from + random.usize(1..5_000)).min(bytes.len());
            bytes.drain(from..to);
            Damage("removed", format!("{from}..{to}"))
        }
        // Half of the damage is a wrong number in a header.
        _ => corrupt_field(bytes, matroska, random),
    }
}

/// Changes a number near a known name: a box's size before its name, or a field of its first 64 bytes.
fn corrupt_field(bytes: &mut [u8], matroska: bool, random: &mut fastrand::Rng) -> Damage {
    let names: &[&[u8]] = if matroska { &ELEMENTS } else { &BOXES };
    let name = names[random.usize(..names.len())];
    let found: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| *window == name)
        .map(|(at, _)| at)
        .take(50)
        .collect();
    let Some(at) = random.choice(&found).copied() else { return Damage("field", format!("no {name:02x?}")) };
    let at = match (matroska, random.bool()) {
        (false, true) => at.saturating_sub(4),
        _ => at + name.len() + random.usize(..if matroska { 4 } else { 64 }),
    };
    let number = random.choice(NUMBERS).unwrap_or_default();
    let width = if matroska { 1 + random.usize(..4) } else { 4 };
    for (index, byte) in number.to_be_bytes().iter().skip(4 - width).enumerate() {
        if let Some(place) = bytes.get_mut(at + index) {
            *place = *byte;
        }
    }
    Damage("field", format!("{name:02x?} at {at}: {number:#x} in {width} bytes"))
}

/// The results of many damaged files.
#[derive(Debug, Default)]
pub struct Tally {
    /// Number of files by code, with one example: `finished` for files that were still cut, `died` for files that a
    /// worker would retry.
    pub codes: BTreeMap<String, (u64, String)>,
    /// Maximum memory of a process, KiB.
    pub peak_kib: u64,
    /// Numbers of the files that crashed the process, and how.
    pub deaths: Vec<String>,
    /// Violations, with the number of the file.
    pub violations: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: u64 = self.codes.values().map(|(count, _)| count).sum();
        writeln!(f, "{files} damaged files, at most {} MiB of memory", self.peak_kib >> 10)?;
        self.codes.iter().try_for_each(|(code, (count, example))| writeln!(f, "  {count:6} {code}: {example}"))?;
        self.deaths.iter().try_for_each(|death| writeln!(f, "  {death}"))
    }
}

/// Runs the pipeline on the files of these numbers, one after the other.
pub fn run_all(seeds: &[Vec<u8>], numbers: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for number in numbers {
        let (bytes, damage) = damaged(seeds, number);
        // GStreamer's critical warnings are expected for such files, so they must not end the process.
        let started = start_with_env(&Order::of(300, 1_000), bytes.len() as u64, &[]);
        let (end, memory, files) = started.serve_with_timeout(TIMEOUT, |offset, length| {
            // A process that reads beyond the end gets nothing and must report that.
            Some(bytes.get(offset as usize..(offset + length) as usize).unwrap_or_default().to_vec())
        });
        tally.peak_kib = tally.peak_kib.max(memory);
        let mut violated = |what: String| tally.violations.push(format!("{number} {damage:?}: {what}"));
        if memory << 10 > MAX_PIPELINE_BYTES {
            violated(format!("{} MiB", memory >> 10));
        }
        if let Some(file) = files.iter().find(|name| !["clip.media", "clip.mp4", "cover.jpg"].contains(&name.as_str()))
        {
            violated(format!("left {file}"));
        }
        let mut example = format!("{number}");
        let code = match end {
            ProcessEnd::Finished(_) => "finished".to_owned(),
            ProcessEnd::Failed(error) => {
                // Only the source is damaged, so every other code is our error, except for a demuxer that hangs.
                let source_fault = ["window_beyond_end", "pipeline_stalled"].contains(&error.code.as_str());
                if !(error.code.starts_with("source_") || source_fault) {
                    violated(format!("{error:?}"));
                }
                example += &format!(": {}", error.message);
                error.code
            }
            ProcessEnd::Died(status) => {
                tally.deaths.push(format!("{number} {damage:?}: {status}"));
                "died".to_owned()
            }
            ProcessEnd::TimedOut => {
                violated("timed out".into());
                "timed out".to_owned()
            }
        };
        tally.codes.entry(code).or_insert((0, example)).0 += 1;
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_gives_its_own_reproducible_file() {
        let seeds = [b"\0\0\0\x08ftypisom\0\0\0\x08moov".repeat(100), vec![0x1a, 0x45, 0xdf, 0xa3, 0x80]];
        assert_eq!(damaged(&seeds, 7), damaged(&seeds, 7));
        assert_ne!(damaged(&seeds, 7).0, damaged(&seeds, 8).0);
    }
}
