//! Routes for typical clips on typical machines.

use super::*;
use crate::plan::tests::{moving, order, stream, turned, upload};
use clipfleet_domain::reframe::Reframe;

const ON_GPU: [&str; 2] = ["nvh264dec", "nvvp9dec"];

fn l4() -> Installed {
    Installed::imagined(true, &["nvh264enc", "x264enc", "openh264enc"], &ON_GPU)
}

/// The routes to try, and the reasons why better ones were skipped.
fn chosen(order: &Transcode, probed: &Probed, installed: &Installed) -> String {
    let Choice { routes, rejected } = choose(order, probed, installed);
    let mut lines: Vec<String> = rejected.0.iter().map(|(_, reason)| format!("({reason})")).collect();
    lines.extend(routes.iter().map(Route::name));
    lines.join("\n")
}

#[test]
fn a_plain_upload_stays_on_the_gpu() {
    insta::assert_snapshot!(chosen(&order(0, 1_000), &upload(), &l4()), @"
    nvh264dec+cuda+nvh264enc
    nvh264dec+nvh264enc
    avdec_h264+nvh264enc
    nvh264dec+cuda+x264enc
    avdec_h264+x264enc
    avdec_h264+openh264enc
    ");
}

#[test]
fn without_a_gpu_there_is_no_reason_about_gpus() {
    let cpu = Installed::imagined(false, &["x264enc", "openh264enc"], &[]);
    insta::assert_snapshot!(chosen(&order(0, 1_000), &upload(), &cpu), @"
    avdec_h264+x264enc
    avdec_h264+openh264enc
    ");
    let bare = Installed::imagined(false, &["openh264enc"], &[]);
    insta::assert_snapshot!(chosen(&order(0, 1_000), &upload(), &bare), @"
    (x264enc: not found)
    avdec_h264+openh264enc
    ");
}

#[test]
fn a_gpu_without_an_encoder_decodes_and_scales() {
    let h200 = Installed::imagined(true, &["x264enc"], &ON_GPU);
    insta::assert_snapshot!(chosen(&order(0, 1_000), &upload(), &h200), @"
    (nvh264enc: not found)
    nvh264dec+cuda+x264enc
    avdec_h264+x264enc
    ");
}

#[test]
fn the_cpu_takes_over_what_the_gpu_cannot_do() {
    let picture = |change: fn(&mut Picture)| {
        let mut probed = upload();
        change(&mut probed.picture);
        let choice = choose(&order(0, 1_000), &probed, &l4());
        format!("{}: {}", choice.rejected, choice.routes[0].name())
    };
    insta::assert_snapshot!(picture(|picture| picture.plain_samples = false), @"pictures other than 8-bit 4:2:0 are decoded on the CPU: avdec_h264+nvh264enc");
    insta::assert_snapshot!(picture(|picture| picture.colours.matrix = Some(6)), @"colours other than BT.709 are converted on the CPU: nvh264dec+nvh264enc");
    insta::assert_snapshot!(picture(|picture| picture.interlaced = true), @"interlaced pictures are decoded on the CPU: avdec_h264+nvh264enc");
    let of = |order: &Transcode, probed: &Probed| {
        let choice = choose(order, probed, &l4());
        format!("{}: {}", choice.rejected, choice.routes[0].name())
    };
    insta::assert_snapshot!(of(&order(0, 1_000), &turned()), @"turned pictures are reframed on the CPU: nvh264dec+nvh264enc");
    insta::assert_snapshot!(of(&order(0, 1_000), &Probed { video: stream("avdec_h265"), ..upload() }), @"the GPU does not decode HEVC: avdec_h265+nvh264enc");
    let mut reframed = order(0, 1_000);
    reframed.clip.reframe = Reframe::FitBlur;
    insta::assert_snapshot!(of(&reframed, &upload()), @"fit_blur is drawn on the CPU: nvh264dec+nvh264enc");
    reframed.clip.reframe = moving();
    insta::assert_snapshot!(of(&reframed, &upload()), @"a moving crop is drawn on the CPU: nvh264dec+nvh264enc");
}

#[test]
fn a_gpu_that_failed_in_an_earlier_process_is_not_used() {
    let order = Transcode { gpu_disabled_reason: Some("nvh264dec+cuda+nvh264enc: died".into()), ..order(0, 1_000) };
    insta::assert_snapshot!(chosen(&order, &upload(), &l4()), @"
    (nvh264dec+cuda+nvh264enc: died)
    avdec_h264+x264enc
    avdec_h264+openh264enc
    ");
}

#[test]
fn an_encoder_requested_by_name_is_the_only_one() {
    let named = |encoder: &str| Transcode { encoder: encoder.into(), ..order(0, 1_000) };
    insta::assert_snapshot!(chosen(&named("x264enc"), &upload(), &l4()), @"
    nvh264dec+cuda+x264enc
    avdec_h264+x264enc
    ");
    let cpu = Installed::imagined(false, &["x264enc"], &[]);
    assert_eq!(chosen(&named("nvh264enc"), &upload(), &cpu), "");
}

#[test]
fn a_gpu_that_the_worker_disables_is_not_used_and_each_clip_says_why() {
    let order = Transcode { gpu_disabled_reason: Some("the GPU failed its test".into()), ..order(0, 1_000) };
    insta::assert_snapshot!(chosen(&order, &upload(), &l4()), @"
    (the GPU failed its test)
    avdec_h264+x264enc
    avdec_h264+openh264enc
    ");
    assert_eq!(choose(&order, &upload(), &l4()).rejected.gravest(), Some(Fallback::GpuDisabled));
}

#[test]
fn a_clip_reports_its_gravest_reason() {
    let mut reframed = order(0, 1_000);
    reframed.clip.reframe = Reframe::FitBlur;
    let Choice { routes, rejected: mut reasons } = choose(&reframed, &upload(), &l4());
    assert_eq!(reasons.gravest(), Some(Fallback::Unsupported));
    reasons.add(Fallback::GpuFailed, "out of memory".into());
    reasons.add(Fallback::Unsupported, "fit_blur is drawn on the CPU".into());
    assert_eq!(reasons.gravest(), Some(Fallback::GpuFailed));
    let Encoding { encoder, fallback_reason, decoder, gpu_driver } = routes[0].encoding(&reasons, &l4());
    assert_eq!((encoder.as_str(), decoder.as_str(), gpu_driver.is_empty()), ("nvh264enc", "nvh264dec", false));
    assert_eq!(fallback_reason, "fit_blur is drawn on the CPU; out of memory");
    let cpu = Route::on_cpu(&upload(), &ENCODERS[1]).encoding(&Reasons::default(), &l4());
    assert_eq!((cpu.gpu_driver.as_str(), Reasons::default().gravest()), ("", None));
}
