//! Tests of reframing: the picture of every mode is compared with its geometry, computed independently in plain
//! floating-point numbers on the decoded source. Tolerances allow for the encoder, not for a shift of a pixel.

use clipfleet_tests::{
    fixtures::{Recipe, directory},
    mp4::Probe,
    picture::{MarkPlace, Pictures},
    pipeline_process::{Order, transcode},
    scene::{Samples, Scene, decode},
};

/// Minimum similarity of an encoded picture to the expected one, decibels: what encoding loses.
const MIN_SIMILARITY_DB: f64 = 40.0;

/// A picture must be more similar to the expected one than to that shifted by this, output pixels.
const SHIFT_PIXELS: f64 = 0.4;

/// Only every fourth pixel in each direction is compared.
const SAMPLE_STEP: usize = 4;

/// Maximum deviation of a feature from its path, output pixels, root mean square.
const JITTER_PIXELS: f64 = 0.5;

/// Maximum backward step of a feature between two frames, output pixels: the effect of encoding on a soft edge.
const BACK_STEP_PIXELS: f64 = 0.05;

/// Maximum mean difference of the backdrop from its formula, levels: its coarse grid, and rounding.
const BACKDROP_LEVELS: f64 = 0.8;

/// Detail everywhere and in every direction, but none that scaling loses.
fn waves(x: f64, y: f64) -> [f64; 3] {
    let wave = |period_x: f64, period_y: f64| (x / period_x + y / period_y).sin();
    let luma = 120.0 + 30.0 * wave(5.0, 7.0) + 25.0 * wave(-4.0, 9.0) + 30.0 * wave(61.0, -43.0);
    [luma, 128.0 + 35.0 * wave(23.0, 31.0), 128.0 + 35.0 * wave(-37.0, 19.0)]
}

/// One soft vertical line in the middle.
fn line(x: f64, _y: f64) -> [f64; 3] {
    let distance = (x - LINE) / 4.0;
    [40.0 + 160.0 * (-distance * distance / 2.0).exp(), 128.0, 128.0]
}

const LINE: f64 = 319.0;

fn size_of(aspect: &str) -> (usize, usize) {
    match aspect {
        "9:16" => (720, 1280),
        "1:1" => (720, 720),
        "4:5" => (720, 900),
        _ => (1280, 720),
    }
}

/// A window in source pixels: left, top, width, height.
type Window = [f64; 4];

/// The window of a source with square pixels, without rounding.
fn window((w, h): (f64, f64), (tw, th): (usize, usize), position: f64, zoom: f64) -> Window {
    let (aspect, z) = (tw as f64 / th as f64, zoom / 100.0);
    let (cw, ch) = if w > h * aspect { (h * aspect / z, h / z) } else { (w / z, w / aspect / z) };
    let share = if w > h * aspect { position / 100.0 } else { 0.5 };
    [(w - cw) * share, (h - ch) / 2.0, cw, ch]
}

/// The same, rounded as for a still window.
fn even_window(size: (f64, f64), target: (usize, usize), position: f64, zoom: f64) -> Window {
    let (w, h) = size;
    let (aspect, z) = (target.0 as f64 / target.1 as f64, zoom / 100.0);
    let even = |pixels: f64| (pixels / 2.0).floor() * 2.0;
    let wider = w > h * aspect;
    let floor = |pixels: f64| (pixels + 1e-9).floor();
    let (cw, ch) = if wider { (floor(h * aspect) / z, h / z) } else { (w / z, floor(w / aspect) / z) };
    let (cw, ch) = (even(cw + 1e-9), even(ch + 1e-9));
    let left = if wider { (w - cw) * position / 100.0 } else { (w - cw) / 2.0 };
    [even(left + 1e-9), even((h - ch) / 2.0), cw, ch]
}

/// Similarity of a plane to a window of the source, shifted by output pixels.
fn similarity(frame: &Samples, source: &Samples, [left, top, width, height]: Window, shift: (f64, f64)) -> f64 {
    let (step_x, step_y) = (width / frame.width as f64, height / frame.height as f64);
    let (mut squares, mut count) = (0.0, 0.0);
    for y in (0..frame.height).step_by(SAMPLE_STEP) {
        for x in (0..frame.width).step_by(SAMPLE_STEP) {
            let (source_x, source_y) = (x as f64 + 0.5 + shift.0, y as f64 + 0.5 + shift.1);
            let expected = source.at(left + source_x * step_x - 0.5, top + source_y * step_y - 0.5);
            squares += (frame.data[y * frame.width + x] - expected).powi(2);
            count += 1.0;
        }
    }
    10.0 * (255.0 * 255.0 * count / squares).log10()
}

/// Compares all planes of one frame with a window of the source; `stretch` is the width of its pixels.
#[track_caller]
fn assert_shows(frame: &[Samples; 3], source: &[Samples; 3], window: Window, stretch: f64, what: &str) {
    let [left, top, width, height] = window;
    for (plane, (frame, source)) in frame.iter().zip(source).enumerate() {
        let coarser = if plane == 0 { 1.0 } else { 2.0 };
        let window = [left / stretch, top, width / stretch, height].map(|pixels| pixels / coarser);
        let right = similarity(frame, source, window, (0.0, 0.0));
        println!("{what}, plane {plane}: {right:.1} dB");
        assert!(right > MIN_SIMILARITY_DB, "{what}, plane {plane}: {right:.1} dB");
        if plane == 0 {
            for shift in [(SHIFT_PIXELS, 0.0), (-SHIFT_PIXELS, 0.0), (0.0, SHIFT_PIXELS), (0.0, -SHIFT_PIXELS)] {
                let shifted = similarity(frame, source, window, shift);
                assert!(shifted < right, "{what}: {shifted:.1} dB when shifted by {shift:?}, else {right:.1}");
            }
        }
    }
}

const CURVE_MS: i64 = 800;

/// The interpolation between two keyframes.
fn smoothstep(ms: f64, from: f64, to: f64) -> f64 {
    let u = (ms / CURVE_MS as f64).clamp(0.0, 1.0);
    from + (to - from) * u * u * (3.0 - 2.0 * u)
}

#[test]
fn a_moving_window_matches_its_formula() {
    let shapes =
        [((640, 360), "9:16"), ((640, 360), "1:1"), ((360, 640), "4:5"), ((853, 479), "16:9"), ((480, 480), "9:16")];
    for (size, aspect) in shapes {
        let directory = directory();
        let scene = Scene { pictures: 30, ..Scene::of(size.0, size.1, waves) };
        let file = scene.make(directory.path());
        let source = decode(&file, size).swap_remove(0);
        let target = size_of(aspect);
        let keyframes = vec![(0, 10.0, 100.0), (CURVE_MS, 85.0, 170.0)];
        let order = Order { mode: "crop_path", keyframes, aspect, ..Order::of(0, 1_000) };
        let frames = decode(&transcode(&order, &file).output(), target);
        assert_eq!(frames.len(), 30);
        for index in [0, 7, 13, 29] {
            let ms = index as f64 * 1_000.0 / 30.0;
            let (position, zoom) = (smoothstep(ms, 10.0, 85.0), smoothstep(ms, 100.0, 170.0));
            let window = window((size.0 as f64, size.1 as f64), target, position, zoom);
            assert_shows(&frames[index], &source, window, 1.0, &format!("{size:?} as {aspect}, frame {index}"));
        }
    }
}

#[test]
fn a_still_window_matches_its_formula_in_both_modes() {
    let cases = [
        ((640, 360), "9:16", 37.0, 100.0),
        ((640, 360), "1:1", 100.0, 150.0),
        ((360, 640), "4:5", 0.0, 133.3),
        ((479, 853), "16:9", 50.0, 100.0),
        ((480, 480), "16:9", 12.5, 200.0),
    ];
    for (size, aspect, position, zoom) in cases {
        let directory = directory();
        let file = Scene::of(size.0, size.1, waves).make(directory.path());
        let source = decode(&file, size).swap_remove(0);
        let still = Order { aspect, position, zoom, ..Order::of(0, 200) };
        let keyframes = vec![(0, position, zoom), (150, position, zoom)];
        let path = Order { mode: "crop_path", keyframes, position: 50.0, zoom: 100.0, ..still.clone() };
        let [still, path] = [still, path].map(|order| {
            let transcript = transcode(&order, &file);
            decode(&transcript.output(), size_of(aspect))
        });
        let window = even_window((size.0 as f64, size.1 as f64), size_of(aspect), position, zoom);
        assert_shows(&still[3], &source, window, 1.0, &format!("{size:?} as {aspect}"));
        assert!(still == path, "a still path gives another picture: {size:?} as {aspect}");
    }
}

#[test]
fn a_slow_pan_neither_jitters_nor_steps_back() {
    let directory = directory();
    let file = Scene { pictures: 90, ..Scene::of(640, 360, line) }.make(directory.path());
    // 28 source pixels in 2.4 s: 0.4 of a pixel per frame. Even offsets would show this as a jump every fifth frame.
    let (from, to, ms) = (45.0, 55.0, 2_400);
    let keyframes = vec![(300, from, 100.0), (300 + ms, to, 100.0)];
    let order = Order { mode: "crop_path", keyframes, ..Order::of(0, 3_000) };
    let frames = decode(&transcode(&order, &file).output(), (720, 720));
    let mut squares = 0.0;
    let mut last = f64::MAX;
    for (index, [luma, ..]) in frames.iter().enumerate() {
        let weight = |x: usize| (300..420).map(|y| (luma.data[y * 720 + x] - 60.0).max(0.0)).sum::<f64>();
        let (sum, moment) = (0..720)
            .map(|x| (weight(x), x as f64))
            .fold((0.0, 0.0), |(sum, moment), (weight, x)| (sum + weight, moment + weight * x));
        let seen = moment / sum;
        let u = ((index as f64 * 1_000.0 / 30.0 - 300.0) / ms as f64).clamp(0.0, 1.0);
        let left = 280.0 * (from + (to - from) * u * u * (3.0 - 2.0 * u)) / 100.0;
        let expected = (LINE + 0.5 - left) * 2.0 - 0.5;
        squares += (seen - expected) * (seen - expected);
        assert!(seen <= last + BACK_STEP_PIXELS, "frame {index}: from {last} back to {seen}");
        last = seen;
    }
    let jitter = (squares / frames.len() as f64).sqrt();
    println!("jitter {jitter:.3} output pixels RMS");
    assert!(jitter < JITTER_PIXELS, "{jitter}");
}

/// Where the picture is in a frame: left, top, width, height.
fn fit((w, h): (f64, f64), (tw, th): (usize, usize)) -> [usize; 4] {
    let even = |pixels: f64| ((pixels / 2.0).round() * 2.0) as usize;
    let (width, height) =
        if w * th as f64 > h * tw as f64 { (tw, even(tw as f64 * h / w)) } else { (even(th as f64 * w / h), th) };
    [(tw - width) / 2 / 2 * 2, (th - height) / 2 / 2 * 2, width, height]
}

fn cut(plane: &Samples, [left, top, width, height]: [usize; 4]) -> Samples {
    let rows = (top..top + height).flat_map(|y| plane.data[y * plane.width + left..][..width].to_vec());
    Samples { width, height, data: rows.collect() }
}

/// The backdrop at a place of a frame: the mean of the cover-scaled copy around it, weighted by a Gaussian of 1/30 of
/// the shorter side, then darkened.
fn backdrop(source: &Samples, cover: Window, (tw, th): (usize, usize), (x, y): (f64, f64), neutral: f64) -> f64 {
    let sigma = tw.min(th) as f64 / 30.0;
    let (mut sum, mut weights) = (0.0, 0.0);
    for dy in -6..=6 {
        for dx in -6..=6 {
            let (dx, dy) = (f64::from(dx) / 2.0, f64::from(dy) / 2.0);
            let weight = (-(dx * dx + dy * dy) / 2.0).exp();
            // Beyond the copy, its border pixels repeat.
            let at = |place: f64, side: usize| place.clamp(0.0, side as f64) / side as f64;
            let (u, v) = (at(x + 0.5 + dx * sigma, tw), at(y + 0.5 + dy * sigma, th));
            sum += weight * source.at(cover[0] + u * cover[2] - 0.5, cover[1] + v * cover[3] - 0.5);
            weights += weight;
        }
    }
    (sum / weights - neutral) * 0.55 + neutral
}

/// Large soft shapes, which a blur does not remove.
fn clouds(x: f64, y: f64) -> [f64; 3] {
    waves(x / 3.0, y / 3.0)
}

#[test]
fn a_fitted_picture_is_whole_and_lies_over_its_blurred_copy() {
    let shapes =
        [((640, 360), "9:16"), ((640, 360), "4:5"), ((360, 640), "16:9"), ((479, 853), "1:1"), ((480, 480), "16:9")];
    for (size, aspect) in shapes {
        let directory = directory();
        let file = Scene::of(size.0, size.1, clouds).make(directory.path());
        let source = decode(&file, size).swap_remove(0);
        let order = Order { mode: "fit_blur", aspect, ..Order::of(0, 200) };
        let frames = decode(&transcode(&order, &file).output(), size_of(aspect));
        assert_eq!(frames.len(), 6);
        let (whole, target) = ((size.0 as f64, size.1 as f64), size_of(aspect));
        let zone = fit(whole, target);
        let cover = window(whole, target, 50.0, 100.0);
        let what = format!("{size:?} as {aspect}");
        let shown = [0, 1, 2].map(|plane| {
            let coarser = if plane == 0 { 1 } else { 2 };
            cut(&frames[3][plane], zone.map(|side| side / coarser))
        });
        assert_shows(&shown, &source, [0.0, 0.0, whole.0, whole.1], 1.0, &what);
        for (plane, neutral) in [16.0, 128.0, 128.0].into_iter().enumerate() {
            let (frame, coarser) = (&frames[3][plane], if plane == 0 { 1 } else { 2 });
            let [left, top, width, height] = zone.map(|side| side / coarser);
            let (mut off, mut count) = (0.0, 0.0_f64);
            for (x, y) in (0..frame.height).step_by(24).flat_map(|y| (0..frame.width).step_by(24).map(move |x| (x, y)))
            {
                if (left..left + width).contains(&x) && (top..top + height).contains(&y) {
                    continue;
                }
                let cover = cover.map(|side| side / coarser as f64);
                let size = (frame.width, frame.height);
                let expected = backdrop(&source[plane], cover, size, (x as f64, y as f64), neutral);
                off += (frame.data[y * frame.width + x] - expected).abs();
                count += 1.0;
            }
            println!("{what}, plane {plane}: backdrop off by {:.2} at {count} places", off / count);
            assert!(count > 50.0 && off / count < BACKDROP_LEVELS, "{what}, plane {plane}: {}", off / count);
        }
    }
}

#[test]
fn rotated_pictures_and_wide_pixels_are_reframed_as_displayed() {
    let directory = directory();
    // Stored as landscape, displayed as portrait: the top of the displayed picture is the left of the stored one.
    let turned = Scene { rotation: 90, pictures: 30, ..Scene::of(640, 360, clouds) }.make(directory.path());
    let seen = decode(&turned, (360, 640)).swap_remove(0);
    let order = Order { mode: "fit_blur", ..Order::of(0, 200) };
    let frames = decode(&transcode(&order, &turned).output(), (720, 720));
    let zone = fit((360.0, 640.0), (720, 720));
    let shown =
        [0, 1, 2].map(|plane| cut(&frames[3][plane], zone.map(|side| if plane == 0 { side } else { side / 2 })));
    assert_shows(&shown, &seen, [0.0, 0.0, 360.0, 640.0], 1.0, "turned, fitted");
    let keyframes = vec![(0, 50.0, 100.0), (CURVE_MS, 50.0, 200.0)];
    let moving = Order { mode: "crop_path", keyframes, ..Order::of(0, 1_000) };
    let frames = decode(&transcode(&moving, &turned).output(), (720, 720));
    let zoom = smoothstep(400.0, 100.0, 200.0);
    assert_shows(&frames[12], &seen, window((360.0, 640.0), (720, 720), 50.0, zoom), 1.0, "turned, moving");

    // PAL: 720x576 stored, 64:45, displayed as 1024x576.
    let wide = Scene { filter: "setsar=64/45", pictures: 30, ..Scene::of(720, 576, clouds) }.make(directory.path());
    let stored = decode(&wide, (720, 576)).swap_remove(0);
    let transcript = transcode(&order, &wide);
    assert_eq!(Probe::of(&transcript.output()).video["sample_aspect_ratio"], "1:1");
    let frames = decode(&transcript.output(), (720, 720));
    let zone = fit((1024.0, 576.0), (720, 720));
    let shown =
        [0, 1, 2].map(|plane| cut(&frames[3][plane], zone.map(|side| if plane == 0 { side } else { side / 2 })));
    assert_shows(&shown, &stored, [0.0, 0.0, 1024.0, 576.0], 64.0 / 45.0, "wide pixels, fitted");
    let frames = decode(&transcode(&moving, &wide).output(), (720, 720));
    let window = window((1024.0, 576.0), (720, 720), 50.0, zoom);
    assert_shows(&frames[12], &stored, window, 64.0 / 45.0, "wide pixels, moving");
}

#[test]
fn a_picture_that_changes_its_size_is_reframed_anew() {
    // Like a recorded window that is made narrower: VP8 changes its size at a key frame.
    const VP8: &[&str] =
        &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-b:v", "4M", "-pix_fmt", "yuv420p"];
    let directory = directory();
    let parts = [(640, 360), (360, 640)].map(|(width, height)| {
        let recipe = Recipe {
            width,
            height,
            pictures: 30,
            video: VP8,
            audio: None,
            container: (&[], "webm"),
            ..Recipe::default()
        };
        recipe.make(directory.path(), &format!("part{width}"))
    });
    let list: String = parts.iter().map(|part| format!("file '{}'\n", part.display())).collect();
    let (list_path, source) = (directory.path().join("list"), directory.path().join("changing.webm"));
    std::fs::write(&list_path, list).expect("writing");
    let done = std::process::Command::new("ffmpeg")
        .args(["-v", "fatal", "-nostdin", "-f", "concat", "-safe", "0", "-i"])
        .arg(&list_path)
        .args(["-c", "copy"])
        .arg(&source)
        .status();
    assert!(done.expect("ffmpeg must be installed for media tests").success());
    let order = Order { aspect: "9:16", ..Order::of(0, 2_000) };
    let fitted = Order { mode: "fit_blur", ..order.clone() };
    let keyframes = vec![(0, 49.5, 100.0), (2_000, 50.5, 100.0)];
    let moving = Order { mode: "crop_path", keyframes, ..order.clone() };
    let upright = MarkPlace::after(360.0, (360.0, 640.0), (720, 1280));
    let cropped = MarkPlace::after(360.0, (202.5, 360.0), (720, 1280));
    let whole = MarkPlace::after(360.0, (640.0, 360.0), (720, 406));
    for (order, first) in [(order, cropped), (fitted, whole), (moving, cropped)] {
        let transcript = transcode(&order, &source);
        let mut pictures = Pictures::decode(&transcript.output(), (720, 1280));
        assert_eq!(pictures.frames.len(), 60, "{}", order.mode);
        // The parts are joined within a frame or two of their nominal lengths. Each picture there is one of the two,
        // complete.
        for frame in &pictures.frames[28..32] {
            let read = [first, upright].map(|place| pictures.number(frame, place));
            assert!(read.iter().any(Result::is_ok), "{}: a picture at the change is neither: {read:?}", order.mode);
        }
        let frames = pictures.frames.split_off(32);
        pictures.frames.truncate(28);
        let later = Pictures { frames, width: pictures.width, height: pictures.height }.numbers(upright);
        assert_eq!(pictures.numbers(first), (0..28).collect::<Vec<u32>>(), "{}", order.mode);
        assert!(later.is_sorted() && later.last() == Some(&29), "{}: {later:?}", order.mode);
    }
}

#[test]
fn no_mode_changes_which_picture_is_shown_when() {
    for (recipe, from) in
        [(Recipe { pictures: 120, ..Recipe::default() }, 30), (Recipe { pictures: 120, ..Recipe::recorded_vp8() }, 0)]
    {
        let directory = directory();
        let source = recipe.make(directory.path(), "source");
        let still = Order::of(1_000, 2_500);
        let fitted = Order { mode: "fit_blur", ..still.clone() };
        // So slow that the number stays where the test reads it.
        let keyframes = vec![(0, 49.5, 100.0), (1_500, 50.5, 100.0)];
        let moving = Order { mode: "crop_path", keyframes, ..still.clone() };
        let crop = MarkPlace::after(360.0, (360.0, 360.0), (720, 720));
        let whole = MarkPlace::after(360.0, (640.0, 360.0), (720, 406));
        let [still, fitted, moving] = [(still, crop), (fitted, whole), (moving, crop)].map(|(order, place)| {
            let transcript = transcode(&order, &source);
            let probe = Probe::of(&transcript.output());
            assert_eq!(transcript.files, ["clip.mp4", "cover.jpg"]);
            for (index, time) in probe.picture_times.iter().enumerate() {
                assert!((time - index as f64 / 30.0).abs() < 0.000_01, "picture {index} is shown at {time}");
            }
            for (property, value) in
                [("color_space", "bt709"), ("color_range", "tv"), ("sample_aspect_ratio", "1:1"), ("nb_frames", "45")]
            {
                assert_eq!(probe.video[property], value, "{property}");
            }
            let length = |properties: &std::collections::HashMap<String, String>| properties["duration"].clone();
            let numbers = Pictures::decode(&transcript.output(), (720, 720)).numbers(place);
            (numbers, length(&probe.video), length(&probe.audio))
        });
        assert!(from == 0 || still.0 == (from..from + 45).collect::<Vec<u32>>());
        assert_eq!(still, fitted);
        assert_eq!(still, moving);
    }
}
