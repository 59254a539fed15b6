//! The rotation and mirroring that make a stored picture upright, as an integer matrix.

/// Directions of a stored picture's axes once it is upright: `[[a, b], [c, d]]` maps the point `(x, y)`, relative to
/// the centre, to `(a x + c y, b x + d y)`. This is the form of the matrix in MP4 headers. Rows count downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation([[i8; 2]; 2]);

impl Default for Orientation {
    fn default() -> Self {
        Self([[1, 0], [0, 1]])
    }
}

impl Orientation {
    /// From the four numbers of a matrix, of which only the signs are used. `None` if its axes are oblique.
    pub fn from_matrix([a, b, c, d]: [i64; 4]) -> Option<Self> {
        let matrix = [[a, b], [c, d]].map(|row| row.map(|number| number.signum() as i8));
        let straight = b == 0 && c == 0 && a != 0 && d != 0;
        let crossed = a == 0 && d == 0 && b != 0 && c != 0;
        (straight || crossed).then_some(Self(matrix))
    }

    /// From a clockwise rotation in degrees, preceded by a mirroring left to right if `mirrored`. `None` if it is not a
    /// multiple of 90 degrees.
    pub fn from_rotation(degrees: f64, mirrored: bool) -> Option<Self> {
        let side = if mirrored { -1 } else { 1 };
        let quarters = degrees / 90.0;
        if (quarters - quarters.round()).abs() > 1e-3 {
            return None;
        }
        Some(match (quarters.round() as i64).rem_euclid(4) {
            0 => Self([[side, 0], [0, 1]]),
            1 => Self([[0, side], [-1, 0]]),
            2 => Self([[-side, 0], [0, -1]]),
            _ => Self([[0, -side], [1, 0]]),
        })
    }

    /// This transformation, followed by another one.
    pub fn then(self, next: Self) -> Self {
        let [[a, b], [c, d]] = self.0;
        let [[e, f], [g, h]] = next.0;
        Self([[a * e + b * g, a * f + b * h], [c * e + d * g, c * f + d * h]])
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        self.0[0][0] == 0
    }

    /// The position in the stored picture of a point in the upright one. Coordinates are shares of width and height,
    /// from 0 to 1.
    pub fn stored(self, (x, y): (f64, f64)) -> (f64, f64) {
        let [[a, b], [c, d]] = self.0.map(|row| row.map(f64::from));
        let (x, y) = (x - 0.5, y - 0.5);
        // The inverse of such a matrix is its transpose.
        (a * x + b * y + 0.5, c * x + d * y + 0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_to_the_right_brings_the_lower_left_corner_to_the_upper_left() {
        // The matrix of a phone's upright video: 0 1 -1 0.
        let right = Orientation::from_matrix([0, 65_536, -65_536, 0]).expect("straight axes");
        assert_eq!(Some(right), Orientation::from_rotation(90.0, false));
        assert_eq!(right.stored((0.0, 0.0)), (0.0, 1.0));
        assert_eq!(right.stored((1.0, 0.0)), (0.0, 0.0));
        assert!(right.swaps_sides());
    }

    #[test]
    fn four_quarter_turns_and_two_mirrorings_are_the_identity() {
        let quarter = Orientation::from_rotation(90.0, false).expect("a quarter");
        let half = quarter.then(quarter);
        assert_eq!(Some(half), Orientation::from_rotation(-180.0, false));
        assert_eq!(half.then(half), Orientation::default());
        let mirror = Orientation::from_matrix([-1, 0, 0, 1]).expect("straight axes");
        assert_eq!(mirror.then(mirror), Orientation::default());
        assert_eq!(mirror.stored((0.0, 0.3)), (1.0, 0.3));
        assert_eq!(Some(mirror.then(quarter)), Orientation::from_rotation(90.0, true));
    }

    #[test]
    fn oblique_axes_are_rejected() {
        assert_eq!(Orientation::from_matrix([1, 1, -1, 1]), None);
        assert_eq!(Orientation::from_matrix([0; 4]), None);
        assert_eq!(Orientation::from_rotation(45.0, false), None);
    }
}
