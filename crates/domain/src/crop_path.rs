//! A crop window that moves: keyframes from a tracker or an editor, and the smooth path through them.
//!
//! Position and zoom are two curves over time. Each is a monotone cubic (by Fritsch and Carlson, with Butland's
//! harmonic mean for the slopes): it passes through every keyframe, never overshoots two neighboring keyframes, and has
//! no kinks. Easing between every two keyframes would stop at each keyframe of a dense path, and a plain cubic would
//! overshoot on a sparse one. Before the first and after the last keyframe the value is constant. The slope is zero
//! there, so that the curve between only two keyframes is the "smoothstep" `3u^2 - 2u^3`. The window at an instant
//! follows by the formula of [`crate::reframe::crop_window`] without its rounding, because a window that moves in steps
//! of two pixels stutters.
//!
//! The computation uses only the four basic operations on 64-bit floating-point numbers, which give the same results on
//! every machine and in a browser. The result is rounded to 1/65,536 pixel.

use crate::{
    geometry::check_source,
    limits::{MAX_BATCH_KEYFRAMES, MAX_KEYFRAMES},
    percent::MilliPercent,
    rendition::Size,
};

/// The window at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keyframe {
    /// The instant, milliseconds from the clip's start.
    pub at_ms: i64,
    /// The position, as in [`crate::reframe::Reframe::AutoCenter`].
    pub position: MilliPercent,
    /// The zoom, as in [`crate::reframe::Reframe::AutoCenter`].
    pub zoom: MilliPercent,
}

/// One or more keyframes in order of time, all within the clip.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CropPath(Vec<Keyframe>);

/// Which keyframe has an invalid time, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKeyframe {
    /// The keyframe's index.
    pub index: usize,
    /// What is wrong; reads after the field's name.
    pub reason: String,
}

impl CropPath {
    /// Checks the number of a clip's keyframes. The error reads after the field's name.
    pub fn check_count(keyframes: usize) -> Result<(), String> {
        if (1..=MAX_KEYFRAMES).contains(&keyframes) {
            return Ok(());
        }
        Err(format!("must have 1 to {MAX_KEYFRAMES} keyframes with mode crop_path, got {keyframes}"))
    }

    /// Checks the keyframes of a clip of `length_ms`.
    pub fn new(keyframes: Vec<Keyframe>, length_ms: i64) -> Result<Self, BadKeyframe> {
        Self::check_count(keyframes.len()).map_err(|reason| BadKeyframe { index: 0, reason })?;
        for (index, keyframe) in keyframes.iter().enumerate() {
            let at = keyframe.at_ms;
            let bad = |what: String| Err(BadKeyframe { index, reason: format!("must {what}, got {at}") });
            if !(0..=length_ms).contains(&at) {
                return bad(format!("lie between 0 and {length_ms}, the clip's length (it counts from its start)"));
            }
            if let Some(before) = index.checked_sub(1).map(|before| keyframes[before].at_ms).filter(|ms| *ms >= at) {
                return bad(format!("be greater than {before}, that of the keyframe before (sort them)"));
            }
        }
        Ok(Self(keyframes))
    }

    /// The keyframes.
    pub fn keyframes(&self) -> &[Keyframe] {
        &self.0
    }

    /// Position and zoom if the window never moves; `None` if it does.
    pub fn steady(&self) -> Option<(MilliPercent, MilliPercent)> {
        let of = |keyframe: &Keyframe| (keyframe.position, keyframe.zoom);
        let first = of(self.0.first()?);
        self.0.iter().all(|keyframe| of(keyframe) == first).then_some(first)
    }

    /// Position and zoom at an instant, percent.
    pub fn at(&self, ms: f64) -> (f64, f64) {
        (
            self.curve(ms, |keyframe| keyframe.position.as_percent()),
            self.curve(ms, |keyframe| keyframe.zoom.as_percent()),
        )
    }

    fn curve(&self, ms: f64, value: impl Fn(&Keyframe) -> f64) -> f64 {
        let knots = &self.0;
        let next = knots.partition_point(|keyframe| keyframe.at_ms as f64 <= ms);
        let Some(end) = knots.get(next) else { return knots.last().map_or(0.0, value) };
        let Some(start) = next.checked_sub(1).map(|start| &knots[start]) else { return value(end) };
        let secant = |from: usize| -> Option<(f64, f64)> {
            let (a, b) = (knots.get(from)?, knots.get(from + 1)?);
            let length = (b.at_ms - a.at_ms) as f64;
            Some((length, (value(b) - value(a)) / length))
        };
        // The slope at a keyframe between two intervals. It is zero at the ends and where the curve changes direction.
        let slope = |knot: usize| {
            let before = knot.checked_sub(1).and_then(secant);
            let Some(((h0, d0), (h1, d1))) = before.zip(secant(knot)) else { return 0.0 };
            if d0 * d1 <= 0.0 {
                return 0.0;
            }
            let (w0, w1) = (2.0 * h1 + h0, h1 + 2.0 * h0);
            (w0 + w1) / (w0 / d0 + w1 / d1)
        };
        let (from, to, length) = (value(start), value(end), (end.at_ms - start.at_ms) as f64);
        let u = (ms - start.at_ms as f64) / length;
        let (rest, eased) = (1.0 - u, u * u * (3.0 - 2.0 * u));
        let bends = length * u * rest * (slope(next - 1) * rest - slope(next) * u);
        from + (to - from) * eased + bends
    }
}

/// Checks the number of all keyframes of a batch. The error reads after `clips`.
pub fn check_batch_keyframes(keyframes: usize) -> Result<(), String> {
    if keyframes <= MAX_BATCH_KEYFRAMES {
        return Ok(());
    }
    Err(format!(
        "must have at most {MAX_BATCH_KEYFRAMES} keyframes together (send fewer clips or keyframes), got {keyframes}"
    ))
}

/// A region of a picture with subpixel precision, in 1/65,536 pixel from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FineRegion {
    /// Left edge.
    pub left: u32,
    /// Upper edge.
    pub top: u32,
    /// Distance from the left to the right edge.
    pub width: u32,
    /// Distance from the upper to the lower edge.
    pub height: u32,
}

impl FineRegion {
    /// Units in a pixel.
    pub const PARTS: f64 = 65_536.0;
}

/// The window of a source picture (after rotation, in square pixels) that fills `target` at an instant.
///
/// The source is W x H, A is the target's aspect ratio, and p(t) and z(t) are the curves. A source wider than A shows
/// `H*A/z` x `H/z` at `x = p*(W-cw)`, centered vertically. A taller source shows `W/z` x `W/A/z`, centered.
pub fn moving_window(path: &CropPath, ms: f64, source: Size, target: Size) -> Result<FineRegion, String> {
    check_source(source)?;
    let (position, zoom) = path.at(ms);
    let [w, h, tw, th] = [source.width, source.height, target.width, target.height].map(f64::from);
    let wider = w * th > h * tw;
    let (cw, ch) = if wider { (h * tw / th, h) } else { (w, w * th / tw) };
    let (cw, ch) = (cw * 100.0 / zoom, ch * 100.0 / zoom);
    let share = if wider { position / 100.0 } else { 0.5 };
    let fine = |pixels: f64| (pixels * FineRegion::PARTS).round() as u32;
    Ok(FineRegion { left: fine((w - cw) * share), top: fine((h - ch) / 2.0), width: fine(cw), height: fine(ch) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Size = Size { width: 1920, height: 1080 };
    const PORTRAIT: Size = Size { width: 1080, height: 1920 };

    fn keyframe((at_ms, position, zoom): (i64, f64, f64)) -> Keyframe {
        let position = MilliPercent::parse(position, 0, 100).unwrap();
        Keyframe { at_ms, position, zoom: MilliPercent::parse(zoom, 100, 200).unwrap() }
    }

    fn path(keyframes: &[(i64, f64, f64)]) -> CropPath {
        CropPath::new(keyframes.iter().copied().map(keyframe).collect(), 10_000).unwrap()
    }

    #[test]
    fn two_keyframes_are_joined_by_a_smoothstep_and_constant_outside() {
        let path = path(&[(1_000, 20.0, 100.0), (3_000, 60.0, 200.0)]);
        let expected = [(0.0, 20.0), (1_000.0, 20.0), (1_500.0, 26.25), (2_000.0, 40.0), (3_000.0, 60.0), (9e9, 60.0)];
        for (ms, position) in expected {
            assert!((path.at(ms).0 - position).abs() < 1e-9, "{ms}: {:?}", path.at(ms));
        }
        assert!((path.at(2_000.0).1 - 150.0).abs() < 1e-9);
    }

    #[test]
    fn the_path_passes_through_every_keyframe_and_never_overshoots() {
        let given =
            [(0, 50.0, 100.0), (400, 55.0, 100.0), (500, 90.0, 180.0), (3_000, 91.0, 120.0), (3_200, 10.0, 120.0)];
        let path = path(&given);
        for pair in given.windows(2) {
            let ((from, p0, z0), (to, p1, z1)) = (pair[0], pair[1]);
            assert_eq!(path.at(from as f64), (p0, z0));
            for ms in from..=to {
                let (position, zoom) = path.at(ms as f64);
                assert!((p0.min(p1) - 1e-9..=p0.max(p1) + 1e-9).contains(&position), "{ms}: {position}");
                assert!((z0.min(z1) - 1e-9..=z0.max(z1) + 1e-9).contains(&zoom), "{ms}: {zoom}");
            }
        }
    }

    #[test]
    fn the_speed_does_not_jump_at_a_keyframe() {
        let path = path(&[(0, 10.0, 100.0), (1_000, 30.0, 110.0), (1_700, 35.0, 150.0), (3_000, 80.0, 200.0)]);
        let speed = |ms: f64| (path.at(ms + 0.01).0 - path.at(ms - 0.01).0) / 0.02;
        for knot in [0.0, 1_000.0, 1_700.0, 3_000.0] {
            assert!((speed(knot - 0.1) - speed(knot + 0.1)).abs() < 2e-4, "at {knot}");
        }
        assert!(speed(1_000.0) > 0.005, "the window does not stop at a keyframe");
    }

    #[test]
    fn a_moving_window_is_inside_the_picture_and_close_to_the_fixed_one() {
        for (width, height) in [(1920, 1080), (853, 479), (333, 777), (16, 16), (8192, 31), (17, 8191), (1000, 1777)] {
            let source = Size { width, height };
            for position in [0.0, 37.0, 50.0, 99.999, 100.0] {
                for zoom in [100.0, 133.3, 200.0] {
                    let one = keyframe((0, position, zoom));
                    let path = CropPath::new(vec![one], 10_000).unwrap();
                    let FineRegion { left, top, width: w, height: h } =
                        moving_window(&path, 0.0, source, PORTRAIT).unwrap();
                    let parts = FineRegion::PARTS;
                    assert!(u64::from(left) + u64::from(w) <= u64::from(width) << 16, "{source} {position} {zoom}");
                    assert!(u64::from(top) + u64::from(h) <= u64::from(height) << 16, "{source} {position} {zoom}");
                    let fixed = crate::reframe::crop_window(one.position, one.zoom, source, PORTRAIT).unwrap();
                    for (fine, whole) in [(left, fixed.left), (top, fixed.top), (w, fixed.width), (h, fixed.height)] {
                        let off = (f64::from(fine) / parts - f64::from(whole)).abs();
                        assert!(off < 4.0, "{source} {position} {zoom}: off by {off}");
                    }
                }
            }
        }
        let FineRegion { left, width, .. } = moving_window(&path(&[(0, 50.0, 100.0)]), 0.0, WIDE, PORTRAIT).unwrap();
        assert_eq!((left, width), (43_008_000, 39_813_120), "656.25 and 607.5 pixels");
    }

    #[test]
    fn a_path_that_does_not_move_is_steady() {
        assert!(path(&[(0, 30.0, 120.0), (500, 30.0, 120.0)]).steady().is_some());
        assert!(path(&[(0, 30.0, 120.0), (500, 30.001, 120.0)]).steady().is_none());
    }

    #[test]
    fn an_invalid_path_names_the_keyframe() {
        let refused = |keyframes: &[(i64, f64, f64)]| {
            CropPath::new(keyframes.iter().copied().map(keyframe).collect(), 1_000).unwrap_err()
        };
        assert!(refused(&[]).reason.ends_with("got 0"));
        assert!(refused(&vec![(0, 50.0, 100.0); MAX_KEYFRAMES + 1]).reason.ends_with("got 1201"));
        assert_eq!(refused(&[(-1, 50.0, 100.0)]).index, 0);
        assert_eq!(refused(&[(0, 50.0, 100.0), (1_001, 50.0, 100.0)]).index, 1);
        assert_eq!(refused(&[(500, 50.0, 100.0), (400, 50.0, 100.0)]).index, 1);
        assert!(refused(&[(5, 50.0, 100.0), (5, 60.0, 100.0)]).reason.ends_with("got 5"));
        assert!(CropPath::new(vec![keyframe((1_000, 50.0, 100.0))], 1_000).is_ok());
        assert!(check_batch_keyframes(MAX_BATCH_KEYFRAMES + 1).unwrap_err().ends_with("got 10001"));
    }
}
