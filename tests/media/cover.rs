//! Tests of the cover of a clip: the right picture, in the right colours.

use clipfleet_tests::{
    fixtures::{Recipe, directory},
    picture::{MarkPlace, Pictures},
    pipeline_process::{Order, Transcript, transcode},
};
use std::{path::Path, process::Command};

/// Maximum deviation of a colour, levels of 255: the loss of JPEG and H.264 on flat patches. A wrong matrix deviates by
/// 20 and more, a wrong range by 16.
const MAX_COLOUR_DEVIATION: i32 = 8;

fn cover_of(transcript: &Transcript) -> std::path::PathBuf {
    transcript.directory.path().join(&transcript.outcome.as_ref().expect("a result").cover)
}

/// The number in one picture of 720 by 720, made from a source of 640 by 360.
fn number(path: &Path) -> u32 {
    let place = MarkPlace::after(360.0, (360.0, 360.0), (720, 720));
    let numbers = Pictures::decode(path, (720, 720)).numbers(place);
    assert_eq!(numbers.len(), 1, "one picture");
    numbers[0]
}

#[test]
fn the_cover_shows_the_first_picture_or_the_requested_one() {
    let directory = directory();
    let source = Recipe { pictures: 120, ..Recipe::default() }.make(directory.path(), "source");
    for (cover_at_ms, expected) in [(None, 30), (Some(0), 30), (Some(500), 45), (Some(1_999), 89)] {
        let transcript = transcode(&Order { cover_at_ms, ..Order::of(1_000, 3_000) }, &source);
        assert_eq!(number(&cover_of(&transcript)), expected, "{cover_at_ms:?}");
    }
}

/// Mean colour of a picture's left half and right half, as FFmpeg shows it. The picture is converted to RGB first,
/// because two pixels would share their chroma.
fn halves(path: &Path) -> [[i32; 3]; 2] {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(path);
    command.args([
        "-frames:v",
        "1",
        "-vf",
        "format=rgb24,scale=2:1:flags=area",
        "-pix_fmt",
        "rgb24",
        "-f",
        "rawvideo",
        "-",
    ]);
    let output = command.output().expect("ffmpeg must be installed for media tests");
    let [a, b, c, d, e, f] = output.stdout[..] else { panic!("{:?}", output) };
    [[a, b, c].map(i32::from), [d, e, f].map(i32::from)]
}

#[test]
fn the_cover_has_the_colours_of_the_clip_and_waits_for_a_fade_in() {
    let directory = directory();
    let path = directory.path().join("source.mp4");
    // Red beside grey with a fine pattern, fading in after a second of black.
    let pictures = "color=0xC83232:size=640x360:rate=30:duration=5,drawbox=x=320:w=320:h=360:color=0xA0A0A0:t=fill,\
                    drawgrid=w=8:h=8:color=white@0.3,fade=in:st=1:d=1";
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", pictures, "-c:v", "libx264", "-pix_fmt", "yuv420p"])
        .args(["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_range", "tv"])
        .arg(&path)
        .status();
    assert!(made.expect("ffmpeg must be installed for media tests").success());
    let transcript = transcode(&Order { aspect: "16:9", ..Order::of(0, 4_000) }, &path);
    let cover = halves(&cover_of(&transcript));
    // The clip itself after three seconds, where the fade is over.
    let still = directory.path().join("still.png");
    let cut = Command::new("ffmpeg")
        .args(["-v", "error", "-ss", "3", "-i"])
        .arg(transcript.output())
        .args(["-frames:v", "1", "-vf", "scale=in_color_matrix=bt709:in_range=tv,format=rgb24"])
        .arg(&still)
        .status();
    assert!(cut.expect("ffmpeg must be installed for media tests").success());
    let clip = halves(&still);
    println!("cover {cover:?}, clip {clip:?}");
    for (cover, clip) in cover.as_flattened().iter().zip(clip.as_flattened()) {
        // A cover needs seven tenths of the detail. In a fade, that is seven tenths of the brightness.
        assert!(*cover >= clip * 6 / 10 && *cover <= clip + MAX_COLOUR_DEVIATION, "{cover} beside {clip}");
    }
    let at_three = transcode(&Order { aspect: "16:9", cover_at_ms: Some(3_000), ..Order::of(0, 4_000) }, &path);
    for (cover, clip) in halves(&cover_of(&at_three)).as_flattened().iter().zip(clip.as_flattened()) {
        assert!((cover - clip).abs() <= MAX_COLOUR_DEVIATION, "{cover} beside {clip}");
    }
}
