//! Which part of a source picture each part of the output shows: the geometry of reframing, independent of the
//! pipeline.

use super::{orientation::Orientation, planes::Rectangle};
use clipfleet_domain::{
    crop_path::{FineRegion, moving_window},
    percent::MilliPercent,
    reframe::{Reframe, Region, crop_window, fitted},
    rendition::Size,
};

/// Number of cells across and down in a comparison.
pub const CELLS: usize = 10;

/// A visible part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// The part of the upright source picture.
    pub source: Rectangle,
    /// The part of the output that shows it.
    pub output: Rectangle,
}

/// A stored source picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    /// Width and height in pixels.
    pub size: Size,
    /// Pixel aspect ratio, width to height.
    pub pixel_aspect: (u32, u32),
    /// The rotation that makes it upright.
    pub orientation: Orientation,
}

const WHOLE: Rectangle = [0.0, 0.0, 1.0, 1.0];

/// The part of a picture that an output shows `ms` milliseconds after the clip's start. `None` for pictures that are
/// too small.
pub fn view(reframe: &Reframe, stored: Stored, target: Size, ms: f64) -> Option<View> {
    let (size, aspect) = upright(stored);
    let shown = in_square_pixels(size, aspect);
    match reframe {
        Reframe::AutoCenter { position, zoom } => cropped(*position, *zoom, size, shown, target),
        Reframe::CropPath(path) => match path.steady() {
            Some((position, zoom)) => cropped(position, zoom, size, shown, target),
            None => {
                let FineRegion { left, top, width, height } = moving_window(path, ms, shown, target).ok()?;
                let share = |parts: u32, side: u32| f64::from(parts) / FineRegion::PARTS / f64::from(side);
                let (left, right) = (share(left, shown.width), share(left + width, shown.width));
                let (top, bottom) = (share(top, shown.height), share(top + height, shown.height));
                Some(View { source: [left, top, right, bottom], output: WHOLE })
            }
        },
        Reframe::FitBlur => {
            let region = fitted(shown, target).ok()?;
            Some(View { source: WHOLE, output: shares(region, target) })
        }
    }
}

/// The crop is a region of whole pixels with even borders. If pixels are not square, it is converted to stored pixels.
fn cropped(position: MilliPercent, zoom: MilliPercent, size: Size, shown: Size, target: Size) -> Option<View> {
    let Region { left, top, width, height } = crop_window(position, zoom, shown, target).ok()?;
    let carried =
        |pixels: u32, from: u32, to: u32| (f64::from(pixels) * f64::from(to) / f64::from(from)).round() as u32 & !1;
    let across = |pixels| carried(pixels, shown.width, size.width);
    let down = |pixels| carried(pixels, shown.height, size.height);
    let region = Region { left: across(left), top: down(top), width: across(width), height: down(height) };
    Some(View { source: shares(region, size), output: WHOLE })
}

fn shares(Region { left, top, width, height }: Region, size: Size) -> Rectangle {
    let (across, down) = (f64::from(size.width), f64::from(size.height));
    [left, top, left + width, top + height]
        .map(f64::from)
        .iter()
        .zip([across, down, across, down])
        .map(|(edge, side)| edge / side)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or(WHOLE)
}

fn upright(Stored { size, pixel_aspect: (wide, tall), orientation }: Stored) -> (Size, (u32, u32)) {
    match orientation.swaps_sides() {
        true => (Size { width: size.height, height: size.width }, (tall, wide)),
        false => (size, (wide, tall)),
    }
}

/// Stretches the direction in which pixels are longer.
fn in_square_pixels(size: Size, (wide, tall): (u32, u32)) -> Size {
    let stretched =
        |side: u32, by: u32, of: u32| (f64::from(side) * f64::from(by) / f64::from(of.max(1))).round() as u32;
    match wide > tall {
        true => Size { width: stretched(size.width, wide, tall), ..size },
        false => Size { height: stretched(size.height, tall, wide), ..size },
    }
}

/// The rectangle of the stored picture for a part of the upright one.
pub fn stored_part([left, top, right, bottom]: Rectangle, orientation: Orientation) -> Rectangle {
    let ((ax, ay), (bx, by)) = (orientation.stored((left, top)), orientation.stored((right, bottom)));
    [ax.min(bx), ay.min(by), ax.max(bx), ay.max(by)]
}

/// Reorders the cells of a stored picture to those of the upright one.
pub fn upright_cells<T: Copy>(stored: &[T], orientation: Orientation) -> Vec<T> {
    let place = |cell: usize| (cell as f64 + 0.5) / CELLS as f64;
    let index = |share: f64| ((share * CELLS as f64) as usize).min(CELLS - 1);
    let cell = |number: usize| {
        let (x, y) = orientation.stored((place(number % CELLS), place(number / CELLS)));
        stored.get(index(y) * CELLS + index(x)).copied()
    };
    (0..CELLS * CELLS).filter_map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::{
        crop_path::CropPath, crop_path::Keyframe, reframe::DEFAULT_POSITION, reframe::DEFAULT_ZOOM,
    };

    const PORTRAIT: Size = Size { width: 1_080, height: 1_920 };
    const WIDE: Size = Size { width: 1_920, height: 1_080 };

    fn stored(size: Size) -> Stored {
        Stored { size, pixel_aspect: (1, 1), orientation: Orientation::default() }
    }

    fn crop() -> Reframe {
        Reframe::AutoCenter { position: DEFAULT_POSITION, zoom: DEFAULT_ZOOM }
    }

    #[test]
    fn a_crop_shows_its_pixels_in_the_whole_output() {
        let view = view(&crop(), stored(WIDE), PORTRAIT, 0.0).expect("a view");
        assert_eq!(view.source, [656.0 / 1_920.0, 0.0, 1_262.0 / 1_920.0, 1.0]);
        assert_eq!(view.output, WHOLE);
    }

    #[test]
    fn a_fitted_picture_is_whole_and_fills_a_part_of_the_output() {
        let view = view(&Reframe::FitBlur, stored(WIDE), PORTRAIT, 0.0).expect("a view");
        assert_eq!((view.source, view.output[1]), (WHOLE, 656.0 / 1_920.0));
    }

    #[test]
    fn a_rotated_picture_is_cropped_upright() {
        let orientation = Orientation::from_rotation(90.0, false).expect("a quarter");
        let turned = Stored { orientation, ..stored(WIDE) };
        let view = view(&crop(), turned, PORTRAIT, 0.0).expect("a view");
        assert_eq!(view.source, WHOLE);
        // The upper half of the upright picture is the left half of the stored one.
        assert_eq!(stored_part([0.0, 0.0, 1.0, 0.5], orientation), [0.0, 0.0, 0.5, 1.0]);
        let numbers: Vec<usize> = (0..CELLS * CELLS).collect();
        let upright = upright_cells(&numbers, orientation);
        assert_eq!((upright[0], upright[CELLS - 1]), (CELLS * (CELLS - 1), 0));
    }

    #[test]
    fn pixels_that_are_not_square_are_counted_as_shown() {
        // 16:9 in 720 x 576: shown as 1024 x 576, of which 324 are kept, which are 228 stored pixels.
        let pal = Stored { pixel_aspect: (64, 45), ..stored(Size { width: 720, height: 576 }) };
        let [left, top, right, bottom] = view(&crop(), pal, PORTRAIT, 0.0).expect("a view").source;
        assert_eq!((left * 720.0, (right - left) * 720.0), (246.0, 228.0));
        assert_eq!((top, bottom), (0.0, 1.0));
    }

    #[test]
    fn a_moving_crop_is_evaluated_at_the_time() {
        let keyframe = |at_ms, percent| Keyframe {
            at_ms,
            position: MilliPercent::parse(percent, 0, 100).expect("a percentage"),
            zoom: DEFAULT_ZOOM,
        };
        let path = CropPath::new(vec![keyframe(0, 0.0), keyframe(1_000, 100.0)], 2_000).expect("a path");
        let at = |ms| view(&Reframe::CropPath(path.clone()), stored(WIDE), PORTRAIT, ms).expect("a view").source;
        assert_eq!(at(0.0)[0], 0.0);
        assert!((at(1_000.0)[2] - 1.0).abs() < 1e-6);
    }
}
