//! Reads numbered pictures; see [`crate::fixtures`].

use crate::fixtures::{MARK_SHARE, mark};
use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

/// The size of the number in an output picture. It is in the middle.
#[derive(Debug, Clone, Copy)]
pub struct MarkPlace {
    /// Pixels across.
    pub width: f64,
    /// Pixels down.
    pub height: f64,
}

impl MarkPlace {
    /// Its size after a crop that keeps `crop` (width, height) of an upright source picture whose shorter side is
    /// `short_side`, scaled to `output`.
    pub fn after(short_side: f64, crop: (f64, f64), output: (u32, u32)) -> Self {
        let side = short_side * MARK_SHARE;
        Self { width: side * f64::from(output.0) / crop.0, height: side * f64::from(output.1) / crop.1 }
    }
}

/// The decoded pictures of a file, in grey.
#[derive(Debug)]
pub struct Pictures {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Brightness, row by row.
    pub frames: Vec<Vec<u8>>,
}

impl Pictures {
    /// Decodes a file's pictures, each exactly once.
    pub fn decode(path: &Path, (width, height): (u32, u32)) -> Self {
        let mut child = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
            .arg(path)
            .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ffmpeg must be installed for media tests");
        let (width, height) = (width as usize, height as usize);
        let mut output = child.stdout.take().expect("a pipe");
        let mut frames = Vec::new();
        loop {
            let mut frame = Vec::with_capacity(width * height);
            output.by_ref().take((width * height) as u64).read_to_end(&mut frame).expect("reading from ffmpeg");
            if frame.len() < width * height {
                assert!(frame.is_empty(), "the pictures are not {width}x{height}");
                break;
            }
            frames.push(frame);
        }
        assert!(child.wait().expect("ffmpeg").success(), "ffmpeg could not decode {}", path.display());
        Self { width, height, frames }
    }

    /// The number of every picture, in order. Panics if a number is not readable, such as in a blend of two pictures.
    pub fn numbers(&self, place: MarkPlace) -> Vec<u32> {
        let read = |(index, frame): (usize, &Vec<u8>)| {
            self.number(frame, place).unwrap_or_else(|why| panic!("picture {index} cannot be read: {why}"))
        };
        self.frames.iter().enumerate().map(read).collect()
    }

    /// The number in one picture.
    ///
    /// # Errors
    /// Says why the number is not readable.
    pub fn number(&self, frame: &[u8], place: MarkPlace) -> Result<u32, String> {
        let (left, top) = ((self.width as f64 - place.width) / 2.0, (self.height as f64 - place.height) / 2.0);
        let mut bits = 0;
        for block in 0..16 {
            let (column, row) = (f64::from(block % 4), f64::from(block / 4));
            let (x, y) = (left + column * place.width / 4.0, top + row * place.height / 4.0);
            let mean = self.mean(frame, (x, y), (place.width / 4.0, place.height / 4.0));
            match mean {
                0..90 => {}
                165.. => bits |= 1 << block,
                _ => return Err(format!("block {block} is neither black nor white but {mean}")),
            }
        }
        let number = bits & 0xfff;
        if mark(number) == bits { Ok(number) } else { Err(format!("{bits:016b} is no valid number")) }
    }

    /// Mean brightness of the inner half of a block.
    fn mean(&self, frame: &[u8], (x, y): (f64, f64), (width, height): (f64, f64)) -> u32 {
        let (mut sum, mut count) = (0, 0);
        for row in (y + height / 4.0) as usize..(y + height * 0.75) as usize {
            for column in (x + width / 4.0) as usize..(x + width * 0.75) as usize {
                sum += u32::from(frame[row * self.width + column]);
                count += 1;
            }
        }
        sum / count.max(1)
    }
}

/// When a file's first picture is shown on the file's own timeline, milliseconds.
///
/// # Panics
/// If `ffprobe` finds no picture.
pub fn first_picture_ms(source: &Path) -> i64 {
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "stream=start_time", "-of", "csv=p=0"])
        .arg(source)
        .output()
        .expect("ffprobe must be installed for media tests");
    let text = String::from_utf8_lossy(&probe.stdout);
    let seconds: f64 = text.trim().trim_end_matches(',').parse().expect("the start of the pictures");
    (seconds * 1_000.0).round() as i64
}
