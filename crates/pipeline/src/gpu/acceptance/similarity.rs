//! Compares two streams of pictures: peak signal-to-noise ratio per plane, and whether shifting one of them would
//! increase it.

use crate::verify::fingerprint::Plane;

/// Minimum PSNR between a bilinear and a bicubic scaler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Brightness, dB.
    pub(super) luma_db: f64,
    /// Each colour plane, dB.
    pub(super) chroma_db: f64,
}

/// A picture: brightness and two colour planes, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planes(pub(super) [Samples; 3]);

/// The samples of one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Samples {
    width: usize,
    bytes: Vec<u8>,
}

impl Planes {
    /// Copies the planes of a picture.
    pub(super) fn of(planes: [Plane<'_>; 3]) -> Option<Self> {
        let [luma, first, second] = planes.map(samples);
        Some(Self([luma?, first?, second?]))
    }
}

fn samples(plane: Plane<'_>) -> Option<Samples> {
    let mut bytes = Vec::with_capacity(plane.width * plane.height);
    for row in 0..plane.height {
        let row = plane.bytes.get(row * plane.stride..)?;
        bytes.extend(row.iter().step_by(plane.pixel_stride).take(plane.width));
    }
    (bytes.len() == plane.width * plane.height).then_some(Samples { width: plane.width, bytes })
}

/// Shifts at which brightness is also compared: pixels right and down.
const SHIFTS: [(isize, isize); 4] = [(1, 0), (-1, 0), (0, 1), (0, -1)];

/// Pixels at the edges that are not in both pictures after a shift.
const MARGIN: usize = 1;

/// The comparison of all pictures so far.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pictures: u32,
    planes: [Error; 3],
    /// The lowest brightness PSNR of a picture, dB.
    worst_db: f64,
    shifted: [Error; SHIFTS.len()],
}

/// Squared differences.
#[derive(Debug, Default, Clone, Copy)]
struct Error {
    squares: u64,
    count: u64,
}

impl Error {
    fn between<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> Self {
        pairs.fold(Self::default(), |Self { squares, count }, (one, other)| Self {
            squares: squares + u64::from(one.abs_diff(*other)).pow(2),
            count: count + 1,
        })
    }

    fn add(&mut self, other: Self) {
        self.squares += other.squares;
        self.count += other.count;
    }

    /// Peak signal-to-noise ratio; infinite for equal pictures.
    fn db(self) -> f64 {
        10.0 * (255.0 * 255.0 * self.count as f64 / self.squares as f64).log10()
    }
}

impl Comparison {
    /// Compares one more picture. The error says why that is not possible.
    pub(super) fn add(&mut self, one: &Planes, other: &Planes) -> Result<(), String> {
        for (index, (one, other)) in one.0.iter().zip(&other.0).enumerate() {
            if (one.width, one.bytes.len()) != (other.width, other.bytes.len()) {
                return Err(format!("plane {index} is {} wide here and {} there", one.width, other.width));
            }
            let error = Error::between(one.bytes.iter().zip(&other.bytes));
            self.planes[index].add(error);
            if index == 0 {
                self.worst_db = if self.pictures == 0 { error.db() } else { self.worst_db.min(error.db()) };
            }
        }
        for (error, shift) in self.shifted.iter_mut().zip(SHIFTS) {
            error.add(shifted(&one.0[0], &other.0[0], shift));
        }
        self.pictures += 1;
        Ok(())
    }

    fn text(&self) -> String {
        let [luma, first, second] = self.planes.map(Error::db);
        let worst = self.worst_db;
        format!("Y {luma:.1} Cb {first:.1} Cr {second:.1} dB over {} pictures, worst Y {worst:.1}", self.pictures)
    }

    /// Whether every plane is within the bounds.
    pub(super) fn within(&self, bounds: Bounds) -> Result<String, String> {
        let text = format!("{}; wanted Y {} C {}", self.text(), bounds.luma_db, bounds.chroma_db);
        let [luma, first, second] = self.planes.map(Error::db);
        let good = self.pictures > 0 && luma >= bounds.luma_db && first.min(second) >= bounds.chroma_db;
        // A picture at the wrong position in its stream lowers this value, but hardly the mean.
        let good = good && self.worst_db >= bounds.luma_db - 3.0;
        if good { Ok(text) } else { Err(text) }
    }

    /// Whether no shift increases the PSNR.
    pub(super) fn in_place(&self) -> Result<String, String> {
        let here = self.planes[0].db();
        let text: Vec<String> = self.shifted.iter().map(|error| format!("{:.1}", error.db())).collect();
        let text = format!("Y {here:.1} dB; shifted right, left, down, up by a pixel {}", text.join(", "));
        let in_place = self.pictures > 0 && self.shifted.iter().all(|error| error.db() < here);
        if in_place { Ok(text) } else { Err(text) }
    }
}

fn shifted(one: &Samples, other: &Samples, (right, down): (isize, isize)) -> Error {
    let height = one.bytes.len() / one.width.max(1);
    let mut sum = Error::default();
    for row in MARGIN..height.saturating_sub(MARGIN) {
        let line = |samples: &Samples, row: usize, shift: isize| {
            let from = (row * one.width + MARGIN).saturating_add_signed(shift);
            samples.bytes.get(from..from + one.width - 2 * MARGIN).unwrap_or_default().to_vec()
        };
        let (here, there) = (line(one, row, 0), line(other, row.saturating_add_signed(down), right));
        sum.add(Error::between(here.iter().zip(&there)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shifted waves. `noise` is added to brightness.
    fn picture(shift: usize, noise: u8) -> Planes {
        let wave = |x: usize, y: usize| (128.0 + 80.0 * ((x as f64 / 3.0).sin() * (y as f64 / 4.0).cos())) as u8;
        let plane = |width: usize, height: usize, noise: u8| {
            let bytes =
                (0..height).flat_map(|y| (0..width).map(move |x| wave(x + shift, y).wrapping_add(noise))).collect();
            Samples { width, bytes }
        };
        Planes([plane(64, 48, noise), plane(32, 24, 0), plane(32, 24, 0)])
    }

    fn compared(one: &Planes, other: &Planes) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.add(one, other).unwrap();
        comparison
    }

    const BOUNDS: Bounds = Bounds { luma_db: 30.0, chroma_db: 30.0 };

    #[test]
    fn equal_pictures_have_an_infinite_psnr() {
        let same = compared(&picture(0, 0), &picture(0, 0));
        assert!(same.within(BOUNDS).is_ok() && same.in_place().is_ok(), "{same:?}");
    }

    #[test]
    fn a_difference_of_one_level_passes_and_of_sixteen_fails() {
        let alike = compared(&picture(0, 0), &picture(0, 1));
        assert!((alike.planes[0].db() - 48.13).abs() < 0.01, "{alike:?}");
        assert!(alike.within(BOUNDS).is_ok());
        assert!(compared(&picture(0, 0), &picture(0, 16)).within(BOUNDS).is_err(), "another brightness");
    }

    #[test]
    fn a_shift_by_one_pixel_is_found_in_its_direction() {
        for (one, other) in [(0, 1), (1, 0)] {
            let off = compared(&picture(one, 0), &picture(other, 0));
            assert!(off.in_place().is_err(), "{off:?}");
        }
    }

    #[test]
    fn one_bad_picture_among_good_ones_is_found() {
        let mut comparison = Comparison::default();
        for index in 0..50 {
            comparison.add(&picture(0, 0), &picture(if index == 7 { 9 } else { 0 }, 0)).unwrap();
        }
        assert!(comparison.within(Bounds { luma_db: 20.0, chroma_db: 20.0 }).is_err(), "{comparison:?}");
    }

    #[test]
    fn without_pictures_nothing_passes() {
        assert!(Comparison::default().within(BOUNDS).is_err() && Comparison::default().in_place().is_err());
        let small = Planes([0, 1, 2].map(|_| Samples { width: 2, bytes: vec![0; 4] }));
        assert!(Comparison::default().add(&small, &picture(0, 0)).is_err());
    }
}
