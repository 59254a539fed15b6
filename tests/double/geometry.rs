//! Tests of the part of the source that fills the output, by the numbers that the GPU's converter receives and by the
//! output pixels.

use crate::{
    gpu::Gpu,
    pattern::{self, assert_in_order, assert_shows},
    source::{FPS, Source},
};
use clipfleet_tests::{fixtures::directory, pipeline_process::Order, scene};

/// Maximum measured offset of a crop of whole pixels, source pixels: the precision of the pattern's slopes.
const CROP_TOLERANCE: f64 = 3.0;

/// The same for a whole picture that was scaled down.
const SCALED_TOLERANCE: f64 = 6.0;

/// Maximum difference of the backdrop from its formula, levels: its coarse grid, and rounding.
const BACKDROP_LEVELS: f64 = 3.0;

/// The factor by which a backdrop is darkened towards black.
const BACKDROP_BRIGHTNESS: f64 = 0.55;

fn size_of(aspect: &str) -> (u32, u32) {
    match aspect {
        "9:16" => (720, 1280),
        "1:1" => (720, 720),
        "4:5" => (720, 900),
        _ => (1280, 720),
    }
}

/// The window of a source in square pixels, without rounding: left, top, width, height.
fn window((w, h): (u32, u32), (tw, th): (u32, u32), position: f64, zoom: f64) -> [f64; 4] {
    let [w, h, tw, th] = [w, h, tw, th].map(f64::from);
    let wider = w * th > h * tw;
    let (cw, ch) = if wider { (h * tw / th, h) } else { (w, w * th / tw) };
    let (cw, ch) = (cw * 100.0 / zoom, ch * 100.0 / zoom);
    [(w - cw) * if wider { position / 100.0 } else { 0.5 }, (h - ch) / 2.0, cw, ch]
}

/// The same, rounded down to even pixels at every step, as for a still window.
fn even_window(source: (u32, u32), target: (u32, u32), position: f64, zoom: f64) -> [f64; 4] {
    let (w, h) = (f64::from(source.0), f64::from(source.1));
    let whole = |pixels: f64| (pixels + 1e-9).floor();
    let even = |pixels: f64| whole(pixels / 2.0) * 2.0;
    let [_, _, cw, ch] = window(source, target, position, 100.0);
    let (cw, ch) = (even(whole(cw) * 100.0 / zoom), even(whole(ch) * 100.0 / zoom));
    let share = if cw * h < ch * w { position / 100.0 } else { 0.5 };
    [even((w - cw) * share), even((h - ch) / 2.0), cw, ch]
}

#[test]
#[ignore = "make test-double"]
fn a_crop_on_the_gpu_is_the_window_of_the_formula() {
    let sources = [(1920, 1080), (1080, 1920), (1440, 1080), (854, 480), (720, 720)];
    let crops = [
        ("9:16", 50.0, 100.0),
        ("9:16", 0.0, 150.0),
        ("1:1", 100.0, 100.0),
        ("16:9", 37.0, 200.0),
        ("4:5", 12.5, 133.3),
    ];
    let directory = directory();
    for stored in sources {
        let source = Source { seconds: 1, ..Source::of(stored) };
        let file = source.make(directory.path());
        for (aspect, position, zoom) in crops {
            let what = format!("{stored:?} as {aspect}, at {position} %, {zoom} %");
            println!("{what}");
            let (target, order) = (size_of(aspect), Order { aspect, position, zoom, ..Order::of(0, 200) });
            let made = Gpu::l4().make(&order, &file);
            assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), String::new()), "{what}");
            let expected = even_window(stored, target, position, zoom);
            if expected == [0.0, 0.0, f64::from(target.0), f64::from(target.1)] {
                assert!(made.calls("kernel").is_empty(), "{what}: no conversion is needed");
            } else {
                let kernel = made.call("kernel");
                for (index, expected) in expected.into_iter().enumerate() {
                    let given = kernel["source_rect"][index].as_f64().expect("a number");
                    assert!((given - expected).abs() <= 0.01, "{what}: {kernel}, not {expected}");
                }
                assert_eq!(kernel["target_rect"], serde_json::json!([0, 0, target.0, target.1]), "{what}");
            }
            let measured = made.measured(target, &source);
            assert_eq!(measured.len(), 6, "{what}");
            assert_shows(&measured, expected, CROP_TOLERANCE, &what);
        }
    }
}

#[test]
#[ignore = "make test-double"]
fn a_still_path_is_a_crop_on_the_gpu() {
    let (directory, source) = (directory(), Source::hd());
    let keyframes = vec![(0, 80.0, 120.0), (900, 80.0, 120.0)];
    let order = Order { mode: "crop_path", keyframes, aspect: "9:16", ..Order::of(0, 1_000) };
    let made = Gpu::l4().make(&order, &source.make(directory.path()));
    made.check(size_of("9:16"), &order, &source);
    assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), String::new()));
    let expected = even_window(source.size(), size_of("9:16"), 80.0, 120.0);
    assert_eq!(made.call("kernel")["source_rect"], serde_json::json!(expected));
    assert_shows(&made.measured(size_of("9:16"), &source), expected, CROP_TOLERANCE, "a still path");
}

#[test]
#[ignore = "make test-double"]
fn pixels_that_are_not_square_are_cropped_on_the_gpu_as_displayed() {
    // PAL: 720x576 stored, 64:45, displayed as 1024x576.
    let (directory, source) = (directory(), Source { filter: "setsar=64/45", seconds: 1, ..Source::of((720, 576)) });
    let order = Order { position: 25.0, ..Order::of(0, 200) };
    let made = Gpu::l4().make(&order, &source.make(directory.path()));
    assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), String::new()));
    let [left, top, width, height] = even_window((1024, 576), (720, 720), 25.0, 100.0);
    let stored = [left * 45.0 / 64.0, top, width * 45.0 / 64.0, height];
    // Rounded to even stored pixels: one more rounding than for the displayed window.
    assert_shows(&made.measured((720, 720), &source), stored, CROP_TOLERANCE + 2.0, "wide pixels");
}

#[test]
#[ignore = "make test-double"]
fn a_moving_window_is_drawn_in_memory_along_its_path() {
    let cases =
        [((1920, 1080), "9:16", [(10.0, 100.0), (85.0, 110.0)]), ((1080, 1920), "1:1", [(50.0, 100.0), (50.0, 170.0)])];
    for (stored, aspect, [from, to]) in cases {
        let (directory, source) = (directory(), Source::of(stored));
        let keyframes = vec![(0, from.0, from.1), (800, to.0, to.1)];
        let (target, order) =
            (size_of(aspect), Order { mode: "crop_path", keyframes, aspect, ..Order::of(1_000, 2_000) });
        let made = Gpu::l4().make(&order, &source.make(directory.path()));
        made.check(target, &order, &source);
        let reason = "a moving crop is drawn on the CPU";
        assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), reason.into()));
        assert!(made.calls("kernel").is_empty());
        let measured = made.measured(target, &source);
        assert_eq!(measured.len(), 30);
        for (index, measured) in measured.iter().enumerate() {
            // Two keyframes are joined by a smoothstep.
            let u = (index as f64 * 1_000.0 / f64::from(FPS) / 800.0).min(1.0);
            let eased = u * u * (3.0 - 2.0 * u);
            let along = |from: f64, to: f64| from + (to - from) * eased;
            let expected = window(stored, target, along(from.0, to.0), along(from.1, to.1));
            assert_shows(
                std::slice::from_ref(measured),
                expected,
                CROP_TOLERANCE,
                &format!("{stored:?}, frame {index}"),
            );
        }
        if aspect == "9:16" {
            assert_in_order(&measured, 30, 30);
        }
    }
}

/// Where the whole picture is in the output: left, top, width, height.
fn fit((w, h): (u32, u32), (tw, th): (u32, u32)) -> [u32; 4] {
    let [wide, tall] = [(w, tw), (h, th)].map(|(side, target)| f64::from(target) / f64::from(side));
    let even = |pixels: f64| (pixels / 2.0).round() as u32 * 2;
    let scale = wide.min(tall);
    let (width, height) = (even(f64::from(w) * scale).min(tw), even(f64::from(h) * scale).min(th));
    [(tw - width) / 4 * 2, (th - height) / 4 * 2, width, height]
}

#[test]
#[ignore = "make test-double"]
fn a_fitted_picture_is_whole_and_lies_over_its_darkened_copy() {
    for (stored, aspect) in [((1920, 1080), "9:16"), ((1080, 1920), "16:9"), ((1440, 1080), "1:1")] {
        let (directory, source) = (directory(), Source::of(stored));
        let (target, order) = (size_of(aspect), Order { mode: "fit_blur", aspect, ..Order::of(1_000, 1_500) });
        let made = Gpu::l4().make(&order, &source.make(directory.path()));
        made.check(target, &order, &source);
        assert_eq!(made.route(), ("nvh264dec nvh264enc".into(), "fit_blur is drawn on the CPU".into()));
        assert!(made.calls("kernel").is_empty());
        let output = made.transcript.output();
        let zone = fit(stored, target);
        let measured = pattern::read(&output, target, Some(zone), stored);
        let (w, h) = (f64::from(stored.0), f64::from(stored.1));
        assert_shows(&measured, [0.0, 0.0, w, h], SCALED_TOLERANCE, &format!("{stored:?} as {aspect}"));
        assert_in_order(&measured, 30, 15);

        // Above the stripe with the numbers, along the middle row or column of the backdrop before the picture.
        let frames = scene::decode(&output, (target.0 as usize, target.1 as usize));
        let [left, top, width, _] = window(stored, target, 50.0, 100.0);
        let across = zone[0] == 0;
        let row = if across { zone[1] / 2 } else { target.1 / 2 };
        let columns = if across { target.0 / 10..target.0 * 9 / 10 } else { zone[0] / 4..zone[0] * 3 / 4 };
        assert!(top >= 0.0 && columns.len() > 50, "{columns:?}");
        for column in columns.step_by(8) {
            let at = (left + (f64::from(column) + 0.5) * width / f64::from(target.0)) / w;
            let expected = 16.0 + (235.0 - 16.0) * at * BACKDROP_BRIGHTNESS;
            let is = frames[7][0].get(i64::from(column), i64::from(row));
            assert!(
                (is - expected).abs() <= BACKDROP_LEVELS,
                "{stored:?} as {aspect}: {is} at {column}, {row}, not {expected:.1}"
            );
        }
    }
}
