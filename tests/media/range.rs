//! Tests of sources with high dynamic range: HLG, as phones record it, and PQ. Their clips match FFmpeg's own mapping
//! where the mapping compresses nothing, and bright areas keep their contrast.

use clipfleet_tests::{
    fixtures::{directory, turn},
    pipeline_process::{Order, transcode},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Four patches of dark and medium colours, coded with these values.
const PATCHES: [&str; 4] = ["0x707070", "0x705448", "0x306048", "0x404040"];

/// Maximum difference of a patch, levels of luma and chroma: FFmpeg's own mapping reproduces grey to 2 levels.
const TOLERANCE: u8 = 4;

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).output();
    let output = output.expect("ffmpeg must be installed for media tests");
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A source of vertical patches, coded with the named transfer function.
fn source(directory: &Path, transfer: &str, patches: [&str; 4]) -> PathBuf {
    let path = directory.join(format!("{transfer}.mp4"));
    let [first, second, third, fourth] = patches;
    let pictures = format!(
        "color={first}:size=640x360:rate=30:duration=2,drawbox=x=160:w=160:h=360:color={second}:t=fill,\
         drawbox=x=320:w=160:h=360:color={third}:t=fill,drawbox=x=480:w=160:h=360:color={fourth}:t=fill"
    );
    let colours = format!("log-level=error:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc");
    let coded = ["-vf", "scale=out_color_matrix=bt2020:out_range=tv", "-pix_fmt", "yuv420p10le"];
    let x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", &colours];
    let path_text = path.to_str().expect("a name");
    ffmpeg(&[&["-f", "lavfi", "-i", &pictures][..], &coded, &x265, &[path_text]].concat());
    path
}

/// Luma and chroma in the middle of each patch of the first picture, after some filters.
fn patches(file: &Path, filters: &str) -> Vec<[u8; 3]> {
    const SIDES: (usize, usize) = (640, 360);
    let filters = format!("{filters}format=yuv420p,scale={}:{}", SIDES.0, SIDES.1);
    let file = file.to_str().expect("a name");
    let bytes = ffmpeg(&["-i", file, "-frames:v", "1", "-vf", &filters, "-f", "rawvideo", "-"]);
    let (luma, chroma) = bytes.split_at(SIDES.0 * SIDES.1);
    let (blue, red) = chroma.split_at(chroma.len() / 2);
    let at = |plane: &[u8], coarser, x: usize| plane[(SIDES.1 / 2 / coarser) * (SIDES.0 / coarser) + x / coarser];
    [80, 240, 400, 560].map(|x| [at(luma, 1, x), at(blue, 2, x), at(red, 2, x)]).into()
}

/// The reference mapping in linear light: white on paper of 203 nits becomes white, and BT.2020 becomes BT.709. Light
/// is stored in integers in between, which cannot represent values outside BT.709: whether zscale itself clips negative
/// light depends on the CPU.
const REFERENCE: &str =
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,format=gbrp16le,zscale=t=bt709:m=bt709:r=tv,";

#[test]
fn colours_that_are_not_bright_match_the_reference() {
    let directory = directory();
    for transfer in ["arib-std-b67", "smpte2084"] {
        let source = source(directory.path(), transfer, PATCHES);
        let expected = patches(&source, REFERENCE);
        for mode in ["auto_center", "fit_blur"] {
            let transcript = transcode(&Order { aspect: "16:9", mode, ..Order::of(0, 1_000) }, &source);
            let shown = patches(&transcript.output(), "");
            let near = |(one, other): (&[u8; 3], &[u8; 3])| {
                one.iter().zip(other).all(|(one, other)| one.abs_diff(*other) <= TOLERANCE)
            };
            assert!(
                shown.len() == 4 && shown.iter().zip(&expected).all(near),
                "{transfer} {mode}: {shown:?} instead of {expected:?}"
            );
        }
    }
}

#[test]
fn bright_patches_stay_distinct() {
    let directory = directory();
    for transfer in ["arib-std-b67", "smpte2084"] {
        let source = source(directory.path(), transfer, ["0x787878", "0x909090", "0xA0A0A0", "0xB0B0B0"]);
        let transcript = transcode(&Order { aspect: "16:9", ..Order::of(0, 1_000) }, &source);
        let shown = patches(&transcript.output(), "");
        assert!(shown.windows(2).all(|pair| pair[1][0] > pair[0][0] + 3), "{transfer}: {shown:?}");
        let grey = |[_, blue, red]: &[u8; 3]| red.abs_diff(128) <= 1 && blue.abs_diff(128) <= 1;
        assert!(shown.iter().all(grey), "{transfer}: {shown:?}");
    }
}

#[test]
fn a_rotated_recording_of_a_phone_is_mapped_too() {
    let directory = directory();
    let source = source(directory.path(), "arib-std-b67", PATCHES);
    let mut expected = patches(&source, REFERENCE);
    turn(&source, 180);
    expected.reverse();
    let transcript = transcode(&Order { aspect: "16:9", ..Order::of(0, 1_000) }, &source);
    let shown = patches(&transcript.output(), "");
    let off = shown.iter().flatten().zip(expected.iter().flatten()).map(|(one, other)| one.abs_diff(*other)).max();
    assert!(off.is_some_and(|off| off <= TOLERANCE), "{shown:?} instead of {expected:?}");
}
