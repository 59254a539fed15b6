//! The page draws crops by its own formulas, in JavaScript. `reframe-cases.json` is a table of results: this test
//! compares it with the fleet's formulas, and `tests/browser/unit/reframe.test.mjs` compares the page with it.
//!
//! `CLIPFLEET_WRITE_CASES=1 cargo test --workspace --test geometry` writes the table anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use clipfleet_domain::{
    crop_path::{CropPath, FineRegion, Keyframe, moving_window},
    percent::MilliPercent,
    reframe::{Region, crop_window, fitted},
    rendition::{Aspect, Quality, Rendition, Size},
    wire_name::WireName as _,
};
use serde_json::{Value, json};
use std::fs;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reframe-cases.json");

/// Common sizes, and those that break rounding: odd sides, the smallest, the largest, slivers, and aspects close to the
/// output's.
const SOURCES: [(u32, u32); 16] = [
    (1920, 1080),
    (1280, 720),
    (3840, 2160),
    (1080, 1920),
    (720, 1280),
    (1080, 2400),
    (640, 480),
    (1080, 1080),
    (853, 479),
    (333, 777),
    (607, 1080),
    (608, 1080),
    (16, 16),
    (17, 8191),
    (8192, 31),
    (8192, 8192),
];

const POSITIONS: [f64; 6] = [0.0, 12.345, 37.0, 50.0, 99.999, 100.0];
const ZOOMS: [f64; 4] = [100.0, 100.001, 133.3, 200.0];

/// Keyframes: at, position, zoom.
const PATHS: [&[(i64, f64, f64)]; 4] = [
    &[(0, 50.0, 100.0)],
    &[(1_000, 20.0, 100.0), (3_000, 60.0, 200.0)],
    &[(0, 50.0, 100.0), (400, 55.0, 100.0), (500, 90.0, 180.0), (3_000, 91.0, 120.0), (3_200, 10.0, 120.0)],
    &[(250, 0.0, 100.0), (1_250, 33.333, 125.5), (2_750, 66.667, 150.25), (9_000, 100.0, 199.999)],
];
const TIMES: [f64; 9] = [0.0, 1.0 / 3.0, 399.5, 450.0, 1_000.0, 1_733.333, 2_999.9, 3_100.0, 9_999.0];

fn milli(percent: f64, low: u32, high: u32) -> MilliPercent {
    MilliPercent::parse(percent, low, high).unwrap()
}

fn targets() -> Vec<(&'static str, Size)> {
    Aspect::ALL
        .iter()
        .map(|(aspect, name)| (*name, Rendition { aspect: *aspect, ..Rendition::default() }.size()))
        .collect()
}

fn sizes() -> Vec<Value> {
    let mut cases = Vec::new();
    for &(quality, quality_name) in Quality::ALL {
        for &(aspect, aspect_name) in Aspect::ALL {
            let Size { width, height } = Rendition { quality, aspect, fps: 30 }.size();
            cases.push(json!([quality_name, aspect_name, width, height]));
        }
    }
    cases
}

fn windows() -> Vec<Value> {
    let mut cases = Vec::new();
    for (width, height) in SOURCES {
        for (aspect, target) in targets() {
            for position in POSITIONS {
                for zoom in ZOOMS {
                    let (p, z) = (milli(position, 0, 100), milli(zoom, 100, 200));
                    let Region { left, top, width: w, height: h } =
                        crop_window(p, z, Size { width, height }, target).unwrap();
                    cases.push(json!([width, height, aspect, position, zoom, left, top, w, h]));
                }
            }
        }
    }
    cases
}

fn fits() -> Vec<Value> {
    let mut cases = Vec::new();
    for (width, height) in SOURCES {
        for (aspect, target) in targets() {
            let Region { left, top, width: w, height: h } = fitted(Size { width, height }, target).unwrap();
            cases.push(json!([width, height, aspect, left, top, w, h]));
        }
    }
    cases
}

fn moves() -> Vec<Value> {
    let mut cases = Vec::new();
    for keyframes in PATHS {
        let keyframe = |(at_ms, position, zoom): &(i64, f64, f64)| Keyframe {
            at_ms: *at_ms,
            position: milli(*position, 0, 100),
            zoom: milli(*zoom, 100, 200),
        };
        let path = CropPath::new(keyframes.iter().map(keyframe).collect(), 10_000).unwrap();
        for (width, height) in [(1920, 1080), (853, 479), (1080, 2400)] {
            for ms in TIMES {
                let target = Size { width: 1080, height: 1920 };
                let FineRegion { left, top, width: w, height: h } =
                    moving_window(&path, ms, Size { width, height }, target).unwrap();
                // In 1/65,536 pixel.
                cases.push(json!([keyframes, width, height, ms, left, top, w, h]));
            }
        }
    }
    cases
}

/// One case per line, so that a change shows what changed.
fn table() -> String {
    let list = |cases: Vec<Value>| {
        let lines: Vec<_> = cases.iter().map(ToString::to_string).collect();
        format!("[\n{}\n]", lines.join(",\n"))
    };
    format!(
        "{{\"sizes\": {},\n\"windows\": {},\n\"fits\": {},\n\"moves\": {}}}\n",
        list(sizes()),
        list(windows()),
        list(fits()),
        list(moves())
    )
}

#[test]
fn the_table_says_what_the_fleet_computes() {
    let computed = table();
    if std::env::var_os("CLIPFLEET_WRITE_CASES").is_some() {
        fs::write(TABLE, &computed).unwrap();
    }
    let kept = fs::read_to_string(TABLE).unwrap_or_default();
    let differs = kept.lines().zip(computed.lines()).find(|(kept, computed)| kept != computed);
    assert!(
        kept == computed,
        "reframe-cases.json is not what the fleet computes, first at {differs:?}; see this file's head"
    );
}
