//! Reads a result with FFprobe, and its boxes directly: independently of the pipeline's own verification.

use std::{collections::HashMap, path::Path, process::Command};

/// Properties of one stream or of the file, named as in FFprobe.
pub type Properties = HashMap<String, String>;

/// The properties of a file.
#[derive(Debug)]
pub struct Probe {
    /// The container.
    pub format: Properties,
    /// The video stream.
    pub video: Properties,
    /// The audio stream.
    pub audio: Properties,
    /// When each picture is shown, seconds.
    pub picture_times: Vec<f64>,
    /// Indices of the key frames, from 0.
    pub keys: Vec<usize>,
}

impl Probe {
    /// Reads a file with FFprobe, which must be installed.
    pub fn of(path: &Path) -> Self {
        let stream = |which: &str| properties(&ffprobe(path, &["-select_streams", which, "-show_entries", "stream"]));
        let packets = ffprobe(path, &["-select_streams", "v:0", "-show_entries", "packet=pts_time,flags"]);
        let mut shown: Vec<(f64, bool)> = packets
            .split("[/PACKET]")
            .map(properties)
            .filter_map(|packet| Some((packet.get("pts_time")?.parse().ok()?, packet.get("flags")?.starts_with('K'))))
            .collect();
        shown.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self {
            format: properties(&ffprobe(path, &["-show_entries", "format"])),
            video: stream("v:0"),
            audio: stream("a:0"),
            keys: shown.iter().enumerate().filter(|(_, (_, key))| *key).map(|(index, _)| index).collect(),
            picture_times: shown.into_iter().map(|(time, _)| time).collect(),
        }
    }
}

fn ffprobe(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("ffprobe")
        // Large enough to reach the first audio of a file whose pictures are coded losslessly.
        .args(["-v", "error", "-probesize", "200M", "-of", "default"])
        .args(arguments)
        .arg(path)
        .output()
        .expect("ffprobe must be installed for media tests");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn properties(text: &str) -> Properties {
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

/// Names of the top-level boxes of a file, in order.
pub fn boxes(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).expect("the result");
    let (mut position, mut names) = (0, Vec::new());
    while let Some(head) = bytes.get(position..position + 8) {
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        names.push(String::from_utf8_lossy(&head[4..8]).into_owned());
        position += match size {
            0 => bytes.len(),
            1 => usize::try_from(u64::from_be_bytes(bytes[position + 8..position + 16].try_into().expect("8 bytes")))
                .expect("a size"),
            size => size,
        };
    }
    assert_eq!(position, bytes.len(), "the last box is cut off");
    names
}
