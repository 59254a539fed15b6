//! Sources that a formula paints, and code that decodes their pictures in colour, to compare a picture with its
//! geometry.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A still picture: in the output, only the crop moves.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Pixels across, as stored.
    pub width: usize,
    /// Pixels down, as stored.
    pub height: usize,
    /// Number of pictures, 30 a second.
    pub pictures: u32,
    /// Luma and the two chroma values at a place, pixels from the top left corner.
    pub paint: fn(f64, f64) -> [f64; 3],
    /// Filters of FFmpeg before the encoder, for example a pixel shape.
    pub filter: &'static str,
    /// Pixel format of the file.
    pub format: &'static str,
    /// Degrees by which players rotate the picture, clockwise.
    pub rotation: u32,
}

impl Scene {
    /// A still picture of this size.
    pub fn of(width: usize, height: usize, paint: fn(f64, f64) -> [f64; 3]) -> Self {
        let odd = width % 2 + height % 2 > 0;
        let format = if odd { "yuv444p" } else { "yuv420p" };
        Self { width, height, pictures: 6, paint, filter: "null", format, rotation: 0 }
    }

    /// Makes the file, nearly lossless and tagged as BT.709.
    pub fn make(&self, directory: &Path) -> PathBuf {
        let path = directory.join("scene.mp4");
        let size = format!("{}x{}", self.width, self.height);
        let mut child = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "yuv444p"])
            .args(["-s", &size, "-r", "30", "-i", "pipe:0", "-vf", self.filter, "-pix_fmt", self.format])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-g", "30"])
            .args(["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("ffmpeg must be installed for media tests");
        let picture = self.picture();
        let mut pipe = child.stdin.take().expect("a pipe");
        (0..self.pictures).for_each(|_| pipe.write_all(&picture).expect("ffmpeg ended early; see its messages above"));
        drop(pipe);
        assert!(child.wait().expect("ffmpeg").success(), "ffmpeg could not make the scene");
        crate::fixtures::turn(&path, self.rotation);
        path
    }

    fn picture(&self) -> Vec<u8> {
        let plane = |component: usize| {
            (0..self.width * self.height).map(move |index| {
                let (x, y) = ((index % self.width) as f64, (index / self.width) as f64);
                (self.paint)(x, y)[component].round().clamp(0.0, 255.0) as u8
            })
        };
        (0..3).flat_map(plane).collect()
    }
}

/// One component of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Samples across.
    pub width: usize,
    /// Samples down.
    pub height: usize,
    /// Row by row.
    pub data: Vec<f64>,
}

impl Samples {
    /// The sample nearest to a place.
    pub fn get(&self, x: i64, y: i64) -> f64 {
        let inside = |at: i64, side: usize| at.clamp(0, side as i64 - 1) as usize;
        self.data[inside(y, self.height) * self.width + inside(x, self.width)]
    }

    /// The cubic interpolation between samples. The centre of the first sample is at (0, 0).
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let cubic = |t: f64, [a, b, c, d]: [f64; 4]| {
            b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
        };
        let (left, top) = (x.floor(), y.floor());
        let row = |dy: i64| {
            let y = top as i64 + dy;
            cubic(x - left, [-1, 0, 1, 2].map(|dx| self.get(left as i64 + dx, y)))
        };
        cubic(y - top, [-1, 0, 1, 2].map(row))
    }
}

/// The pictures of a file in yuv420p: luma and the two chroma planes of each.
pub fn decode(path: &Path, (width, height): (usize, usize)) -> Vec<[Samples; 3]> {
    let mut child = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg must be installed for media tests");
    let mut bytes = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut bytes).expect("reading from ffmpeg");
    assert!(child.wait().expect("ffmpeg").success(), "ffmpeg could not decode {}", path.display());
    let sizes = [(width, height), (width.div_ceil(2), height.div_ceil(2)), (width.div_ceil(2), height.div_ceil(2))];
    let length: usize = sizes.iter().map(|(width, height)| width * height).sum();
    assert_eq!(bytes.len() % length, 0, "the pictures are not {width}x{height}");
    let picture = |bytes: &[u8]| {
        let mut rest = bytes;
        sizes.map(|(width, height)| {
            let (plane, after) = rest.split_at(width * height);
            rest = after;
            Samples { width, height, data: plane.iter().map(|sample| f64::from(*sample)).collect() }
        })
    };
    bytes.chunks_exact(length).map(picture).collect()
}
