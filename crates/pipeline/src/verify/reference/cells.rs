//! Compares frames with the source's pictures at the same time, by the means of cells. Pure.

use super::{
    colour::{self, Declared, Levels, Matrix, Range, Reading, Samples},
    view::CELLS,
};
use crate::failure;
use clipfleet_domain::failure::Failure;

/// Percentile of the cells' differences that is a picture's distance. The remaining cells contain sharp edges, which
/// scalers shift by a fraction of a pixel.
const CELL_PERCENTILE: usize = 90;

/// Maximum distance of equal pictures, levels. Measured over good clips of every kind: 0.1 to 0.8, 1.9 at worst on
/// coarse noise.
const MAX_CODING_LOSS: f32 = 3.0;

/// Distance from which pictures differ, whatever the reason.
const MISMATCH: f32 = 10.0;

/// How much smaller the distance of another explanation must be to be accepted, as a ratio.
const EXPLANATION_RATIO: f32 = 0.5;

/// Minimum difference of neighbouring pictures at which a frame can be assigned to one of them (root mean square,
/// levels); the share of the way to a neighbour from which the frame shows that neighbour; and the share from which it
/// shows neither.
const MIN_NEIGHBOUR_DIFFERENCE: f32 = 0.7;
const DISPLACED_SHARE: f32 = 0.6;
const UNRELATED_SHARE: f32 = 1.5;

/// For high dynamic range, only the order of brightness is compared: the rank correlation below which a picture is
/// another one, and the minimum standard deviation in levels of a picture with an order.
const MIN_RANK_CORRELATION: f32 = 0.5;
const MIN_DEVIATION: f32 = 8.0;

/// A picture of the source in cells, upright and cropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Original {
    /// The type of the numbers.
    pub samples: Samples,
    /// Bits of a number.
    pub bits: u32,
    /// Rows of the stored picture.
    pub rows: u32,
    /// The mean of each cell, as a share of the largest number.
    pub cells: Vec<[f32; 3]>,
}

/// One frame, and the pictures of the source around its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index of the frame.
    pub frame: u32,
    /// The picture that it must show.
    pub original: Original,
    /// The previous picture.
    pub before: Option<Original>,
    /// The next picture.
    pub after: Option<Original>,
    /// The frame in cells.
    pub shown: Vec<Levels>,
}

/// What is compared in addition to the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Levels of brightness and colour, which tone mapping changes.
    pub levels: bool,
    /// Times of pictures. Deinterlacing may shift pictures by one; then a neighbour is accepted.
    pub times: bool,
}

/// How the frames agree with the source.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Number of frames that were compared.
    pub frames: u32,
    /// Distance of the frame that differs most, levels; absent if levels are not compared.
    pub worst_levels: Option<f32>,
    /// Number of frames that can be distinguished from their neighbours.
    pub distinct: u32,
}

/// Compares frames with the source. `fps` is only for messages.
pub fn compare(samples: &[Sample], declared: Declared, scope: Scope, fps: u32) -> Result<Agreement, Failure> {
    let scope = Scope { levels: scope.levels && !declared.high_range, ..scope };
    let Some(first) = samples.first() else { return Ok(Agreement::default()) };
    let Original { samples: kind, rows, .. } = first.original;
    let right = colour::readings(declared, kind, rows);
    let place =
        |sample: &Sample| format!("the frame at {} ms", i64::from(sample.frame) * 1_000 / i64::from(fps.max(1)));
    let best =
        right.iter().map(|reading| (*reading, middle(samples, *reading, *reading))).min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((reading, distance)) = best.filter(|_| scope.levels) else {
        check_order(samples, &right, place)?;
        return Ok(Agreement { frames: samples.len() as u32, ..Agreement::default() });
    };
    if distance > MAX_CODING_LOSS
        && let Some(explanation) = explain(samples, reading, distance)
    {
        let message = format!("{explanation}; cells differ by {distance:.0} levels");
        return Err(failure::reframe_mismatch(message));
    }
    let nearest = |sample: &Sample| {
        let own = distance_of(sample, reading);
        let others = [&sample.before, &sample.after].into_iter().flatten().filter(|_| !scope.times);
        others.map(|other| apart(&levels(other, reading, reading), &sample.shown)).fold(own, f32::min)
    };
    let distances: Vec<f32> = samples.iter().map(nearest).collect();
    let worst = distances.iter().copied().fold(0.0, f32::max);
    let distinct = if scope.times { check_times(samples, reading, place)? } else { 0 };
    let far: Vec<usize> = (0..samples.len()).filter(|index| distances[*index] > MISMATCH).collect();
    if let Some(index) = far.first()
        && far.len() * 2 > samples.len()
    {
        let place = place(&samples[*index]);
        let message = format!("{place} is not what the source shows there; they differ by {worst:.0} levels");
        return Err(failure::reframe_mismatch(message));
    }
    Ok(Agreement { frames: samples.len() as u32, worst_levels: Some(worst), distinct })
}

/// Distance of expected and shown levels. Cells without an expectation do not count.
fn apart(expected: &[Option<Levels>], shown: &[Levels]) -> f32 {
    let cell = |(expected, shown): (&Option<Levels>, &Levels)| {
        let differences = expected.as_ref()?.iter().zip(shown).map(|(one, other)| (one - other).abs());
        Some(differences.fold(0.0, f32::max))
    };
    percentile(expected.iter().zip(shown).filter_map(cell).collect(), CELL_PERCENTILE)
}

fn percentile(mut values: Vec<f32>, percent: usize) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The output's levels for a reading of the source. There is no expectation for colours outside of the gamut by the
/// right reading, because converters treat them differently.
fn levels(original: &Original, reading: Reading, right: Reading) -> Vec<Option<Levels>> {
    let Original { samples, bits, .. } = *original;
    let level = |cell: &[f32; 3]| match colour::is_shown(*cell, samples, bits, right) {
        true => colour::converted(*cell, samples, bits, reading),
        false => None,
    };
    original.cells.iter().map(level).collect()
}

fn distance_of(sample: &Sample, right: Reading) -> f32 {
    apart(&levels(&sample.original, right, right), &sample.shown)
}

/// The median distance over the frames. A single black frame contains no information, and a single faulty frame must
/// not decide.
fn middle(samples: &[Sample], reading: Reading, right: Reading) -> f32 {
    middle_by(samples, |sample| levels(&sample.original, reading, right))
}

fn middle_by(samples: &[Sample], expected: impl Fn(&Sample) -> Vec<Option<Levels>>) -> f32 {
    percentile(samples.iter().map(|sample| apart(&expected(sample), &sample.shown)).collect(), 50)
}

/// What most frames show instead, if one explanation fits far better than the right reading.
fn explain(samples: &[Sample], right: Reading, distance: f32) -> Option<String> {
    let mut explanations: Vec<(String, f32)> = Vec::new();
    let mut propose = |what: String, distance: f32| explanations.push((what, distance));
    let other = match right.range {
        Range::Limited => (Range::Full, "full", "limited"),
        Range::Full => (Range::Limited, "limited", "full"),
    };
    let ranged = Reading { range: other.0, ..right };
    propose(format!("the source was read in {} range instead of {}", other.1, other.2), middle(samples, ranged, right));
    if right.matrix != Matrix::Rgb {
        for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020].into_iter().filter(|other| *other != right.matrix)
        {
            let what = format!("the source was read by the matrix {matrix:?} instead of {:?}", right.matrix);
            propose(what, middle(samples, Reading { matrix, ..right }, right));
            let what = format!("the source was read in {} range and by the matrix {matrix:?}", other.1);
            propose(what, middle(samples, Reading { matrix, ..ranged }, right));
        }
    }
    let swapped = |sample: &Sample| {
        let swap = |levels: Option<Levels>| levels.map(|[y, cb, cr]| [y, cr, cb]);
        levels(&sample.original, right, right).into_iter().map(swap).collect()
    };
    propose("its colour differences changed places".into(), middle_by(samples, swapped));
    for (what, mirrored) in MIRRORED {
        let moved = |sample: &Sample| {
            let cells = levels(&sample.original, right, right);
            (0..CELLS * CELLS).filter_map(|cell| cells.get(mirrored(cell % CELLS, cell / CELLS)).copied()).collect()
        };
        propose(format!("the picture is {what}"), middle_by(samples, moved));
    }
    let (what, fit) = explanations.into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    (fit < distance * EXPLANATION_RATIO).then_some(what)
}

type Place = fn(usize, usize) -> usize;

const MIRRORED: [(&str, Place); 3] = [
    ("mirrored left to right", |x, y| y * CELLS + CELLS - 1 - x),
    ("mirrored top to bottom", |x, y| (CELLS - 1 - y) * CELLS + x),
    ("upside down", |x, y| (CELLS - 1 - y) * CELLS + CELLS - 1 - x),
];

/// Checks that most of the frames that can be distinguished from their neighbours show their own picture. Returns the
/// number of those frames.
///
/// The difference of a frame from its own picture is projected onto the difference of a neighbour from that picture: 0
/// is the frame's own picture, 1 is the neighbour. Changes by scalers and converters have other directions.
fn check_times(samples: &[Sample], reading: Reading, place: impl Fn(&Sample) -> String) -> Result<u32, Failure> {
    let (mut distinct, mut displaced) = (0, Vec::new());
    for sample in samples {
        let own = levels(&sample.original, reading, reading);
        let neighbours = [("earlier", &sample.before), ("later", &sample.after)];
        let projected = |(direction, other): (&'static str, &Option<Original>)| {
            Some((direction, projection(&own, &levels(other.as_ref()?, reading, reading), &sample.shown)?))
        };
        let Some((direction, share)) = neighbours.into_iter().filter_map(projected).max_by(|a, b| a.1.total_cmp(&b.1))
        else {
            continue;
        };
        distinct += 1;
        // A frame that is far from its own picture and also beyond the neighbour shows another picture.
        let is_another = share > UNRELATED_SHARE && distance_of(sample, reading) > MISMATCH;
        if share > DISPLACED_SHARE && !is_another {
            displaced.push((sample, direction));
        }
    }
    match displaced.first() {
        Some((sample, direction)) if displaced.len() * 2 > distinct as usize => {
            let message = format!("{} shows the picture one {direction} than the one of its time", place(sample));
            Err(failure::reframe_slip(message))
        }
        _ => Ok(distinct),
    }
}

/// The projection of a frame between its own picture (0) and another one (1). `None` if the two hardly differ.
fn projection(own: &[Option<Levels>], other: &[Option<Levels>], shown: &[Levels]) -> Option<f32> {
    let (mut squares, mut along, mut count) = (0.0, 0.0, 0);
    for ((own, other), shown) in own.iter().zip(other).zip(shown) {
        let (Some(own), Some(other)) = (own, other) else { continue };
        for plane in 0..own.len() {
            let step = other[plane] - own[plane];
            squares += step * step;
            along += step * (shown[plane] - own[plane]);
            count += 1;
        }
    }
    ((squares / count.max(1) as f32).sqrt() >= MIN_NEIGHBOUR_DIFFERENCE).then(|| along / squares)
}

/// If levels cannot be compared, what is brighter in the source must be brighter in most frames.
fn check_order(samples: &[Sample], right: &[Reading], place: impl Fn(&Sample) -> String) -> Result<(), Failure> {
    let reading = right.first().copied().unwrap_or(Reading { range: Range::Limited, matrix: Matrix::Bt709 });
    let brightness = |cells: &[Levels]| cells.iter().map(|[y, ..]| *y).collect::<Vec<_>>();
    let all = |original: &Original| -> Vec<Levels> {
        let Original { samples, bits, .. } = *original;
        original.cells.iter().filter_map(|cell| colour::converted(*cell, samples, bits, reading)).collect()
    };
    let mut compared = 0;
    let mut uncorrelated = Vec::new();
    for sample in samples {
        let source = brightness(&all(&sample.original));
        if deviation(&source) < MIN_DEVIATION {
            continue;
        }
        compared += 1;
        if rank_correlation(&source, &brightness(&sample.shown)) < MIN_RANK_CORRELATION {
            uncorrelated.push(sample);
        }
    }
    match uncorrelated.first() {
        Some(sample) if uncorrelated.len() * 2 > compared => {
            let message = format!("{} is bright where the source is dark there", place(sample));
            Err(failure::reframe_mismatch(message))
        }
        _ => Ok(()),
    }
}

fn deviation(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len().max(1) as f32).sqrt()
}

/// Spearman's rank correlation, which does not depend on the brightness curve.
fn rank_correlation(one: &[f32], other: &[f32]) -> f32 {
    let (one, other) = (ranks(one), ranks(other));
    let (a, b) = (deviation(&one), deviation(&other));
    if a == 0.0 || b == 0.0 {
        return 0.0;
    }
    let middle = (one.len() as f32 - 1.0) / 2.0;
    let product: f32 = one.iter().zip(&other).map(|(one, other)| (one - middle) * (other - middle)).sum();
    product / (one.len() as f32 * a * b)
}

/// The rank of each value. Equal values share a rank.
fn ranks(values: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let alike = order[from..].iter().take_while(|index| values[**index] == values[order[from]]).count();
        let rank = from as f32 + (alike as f32 - 1.0) / 2.0;
        order[from..from + alike].iter().for_each(|index| ranks[*index] = rank);
        from += alike;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;

    const ALL: Scope = Scope { levels: true, times: true };
    const FPS: u32 = 30;

    /// A picture with smooth gradients of brightness and colours, shifted by `phase`, as 8-bit numbers.
    fn picture(phase: f32) -> Vec<[f32; 3]> {
        let cell = |cell: usize| {
            let (x, y) = ((cell % CELLS) as f32 / CELLS as f32, (cell / CELLS) as f32 / CELLS as f32);
            [128.0 + 90.0 * (3.0 * x + phase).sin(), 128.0 + 60.0 * (2.0 * y + x), 90.0 + 70.0 * (x * y + 0.3 * phase)]
                .map(|number| number.clamp(20.0, 230.0) / 255.0)
        };
        (0..CELLS * CELLS).map(cell).collect()
    }

    fn original(phase: f32) -> Original {
        Original { samples: Samples::YCbCr, bits: 8, rows: 1_080, cells: picture(phase) }
    }

    fn phase(frame: u32) -> f32 {
        0.1 * frame as f32
    }

    fn read(original: &Original, reading: Reading) -> Vec<Levels> {
        let Original { samples, bits, .. } = *original;
        let level = |cell: &[f32; 3]| colour::converted(*cell, samples, bits, reading).expect("a colour");
        original.cells.iter().map(level).collect()
    }

    /// Frames of a source that is declared one way and read another way.
    fn samples(reading: Reading, shown: impl Fn(u32) -> f32) -> Vec<Sample> {
        let sample = |frame: u32| Sample {
            frame,
            original: original(phase(frame)),
            before: Some(original(phase(frame) - 0.1)),
            after: Some(original(phase(frame) + 0.1)),
            shown: read(&original(shown(frame)), reading),
        };
        [0, 20, 45, 74].map(sample).into()
    }

    const RIGHT: Reading = Reading { range: Range::Limited, matrix: Matrix::Bt709 };

    fn judged(samples: &[Sample]) -> Result<Agreement, Failure> {
        compare(samples, Declared::default(), ALL, FPS)
    }

    fn refused(samples: &[Sample], code: &str, words: &str) {
        let failed = judged(samples).expect_err("a failure");
        assert!(failed.code.as_str() == code && failed.message.contains(words), "{failed:?} instead of {code} {words}");
    }

    #[test]
    fn frames_that_show_their_pictures_agree() {
        let agreement = judged(&samples(RIGHT, phase)).expect("agreement");
        assert_eq!((agreement.frames, agreement.distinct), (4, 4));
        assert!(agreement.worst_levels.is_some_and(|levels| levels < 0.01), "{agreement:?}");
    }

    #[test]
    fn another_range_or_matrix_is_named() {
        let full = Reading { range: Range::Full, ..RIGHT };
        refused(&samples(full, phase), "reframe_mismatch", "in full range instead of limited");
        let declared = Declared { range: Some(Range::Full), ..Declared::default() };
        let failed = compare(&samples(RIGHT, phase), declared, ALL, FPS).expect_err("a failure");
        assert!(failed.message.contains("in limited range instead of full"), "{failed:?}");
        let matrix = Reading { matrix: Matrix::Bt601, ..RIGHT };
        refused(&samples(matrix, phase), "reframe_mismatch", "matrix Bt601 instead of Bt709");
    }

    #[test]
    fn mirrored_pictures_and_swapped_planes_are_named() {
        for (what, mirrored) in MIRRORED {
            let mut spoiled = samples(RIGHT, phase);
            for sample in &mut spoiled {
                let shown = sample.shown.clone();
                sample.shown = (0..CELLS * CELLS).map(|cell| shown[mirrored(cell % CELLS, cell / CELLS)]).collect();
            }
            refused(&spoiled, "reframe_mismatch", what);
        }
        let mut swapped = samples(RIGHT, phase);
        swapped.iter_mut().flat_map(|sample| &mut sample.shown).for_each(|levels| levels.swap(1, 2));
        refused(&swapped, "reframe_mismatch", "changed places");
    }

    #[test]
    fn pictures_of_another_time_and_other_pictures_are_found() {
        refused(&samples(RIGHT, |frame| phase(frame) - 0.1), "reframe_slip", "one earlier");
        refused(&samples(RIGHT, |frame| phase(frame) + 0.1), "reframe_slip", "one later");
        refused(&samples(RIGHT, |frame| phase(frame) + 2.0), "reframe_mismatch", "not what the source shows");
    }

    #[test]
    fn a_single_frame_is_no_fault_and_black_contains_no_information() {
        let mut one = samples(RIGHT, phase);
        one[2].shown = samples(RIGHT, |frame| phase(frame) + 2.0)[2].shown.clone();
        assert!(judged(&one).is_ok());
        let black =
            Original { cells: vec![[16.0 / 255.0, 128.0 / 255.0, 128.0 / 255.0]; CELLS * CELLS], ..original(0.0) };
        let mut dark = samples(RIGHT, phase);
        for sample in &mut dark {
            (sample.before, sample.after) = (Some(black.clone()), None);
            (sample.shown, sample.original) = (read(&black, RIGHT), black.clone());
        }
        assert_eq!(judged(&dark).expect("agreement").distinct, 0);
    }

    #[test]
    fn for_high_dynamic_range_only_the_order_of_brightness_counts() {
        let declared = Declared { high_range: true, ..Declared::default() };
        let mut mapped = samples(RIGHT, phase);
        for levels in mapped.iter_mut().flat_map(|sample| &mut sample.shown) {
            *levels = [16.0 + 219.0 * (levels[0] / 255.0).powf(0.4), 128.0, 128.0];
        }
        assert_eq!(compare(&mapped, declared, ALL, FPS).expect("agreement").worst_levels, None);
        for levels in mapped.iter_mut().flat_map(|sample| &mut sample.shown) {
            levels[0] = 255.0 - levels[0];
        }
        assert_eq!(compare(&mapped, declared, ALL, FPS).expect_err("a failure").code, Code::ReframeMismatch);
    }
}
