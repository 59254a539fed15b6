//! One typical clip, exported by the whole fleet and by FFmpeg in turn, on the same cores: time, CPU time, size and
//! similarity to a lossless reference.

use crate::run;
use clipfleet_tests::fleet::{Fleet, clips, request};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Pairs of one export and one FFmpeg run for each kind of source and output.
const PAIRS: usize = 5;

/// The clip: the typical 45 s, cut between key frames.
const WINDOW_MS: (i64, i64) = (20_500, 65_500);

/// Length of the sources, seconds.
const SOURCE_SECONDS: &str = "70";

/// Clock ticks per second in `/proc`, the same on all supported Linux systems.
const TICKS: f64 = 100.0;

/// One comparison of an export with FFmpeg.
struct Comparison {
    name: &'static str,
    source: fn(&Path) -> PathBuf,
    quality: &'static str,
    /// Size of the output.
    size: (u32, u32),
    /// The bit rate limit of our x264 settings, kbit/s, and its buffer, kbit.
    cap: (u32, u32),
}

const COMPARISONS: [Comparison; 3] = [
    Comparison {
        name: "H.264 1080p30 to 1080x1920",
        source: h264,
        quality: "1080p",
        size: (1_080, 1_920),
        cap: (16_000, 24_000),
    },
    Comparison {
        name: "H.264 1080p30 to 720x1280",
        source: h264,
        quality: "720p",
        size: (720, 1_280),
        cap: (8_000, 12_000),
    },
    Comparison {
        name: "VP9 WebM 1080p30 to 1080x1920",
        source: vp9,
        quality: "1080p",
        size: (1_080, 1_920),
        cap: (16_000, 24_000),
    },
];

/// Moving 1080p30 H.264 with audio, and enough noise to make the clip about 8 Mbit/s: average content.
pub(crate) fn h264(directory: &Path) -> PathBuf {
    let codec =
        ["-c:v", "libx264", "-preset", "superfast", "-b:v", "8M", "-pix_fmt", "yuv420p", "-g", "250", "-c:a", "aac"];
    make(&codec, directory.join("source.mp4"))
}

/// The same, as browsers record it.
fn vp9(directory: &Path) -> PathBuf {
    let codec = [
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-row-mt",
        "1",
        "-b:v",
        "8M",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "250",
        "-c:a",
        "libopus",
    ];
    make(&codec, directory.join("source.webm"))
}

fn make(codec: &[&str], path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let video = format!("testsrc2=size=1920x1080:rate=30:duration={SOURCE_SECONDS},noise=alls=4:allf=t");
    let audio = format!("sine=frequency=330:beep_factor=4:sample_rate=48000:duration={SOURCE_SECONDS}");
    let inputs = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio];
    run(Command::new("ffmpeg").args(["-v", "error", "-y"]).args(inputs).args(codec).arg(&path));
    path
}

/// The cost of one run.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Runs all comparisons.
pub(crate) async fn against_ffmpeg(fleet: &Fleet, directory: &Path) {
    for comparison in &COMPARISONS {
        let source = (comparison.source)(directory);
        let name = source.file_name().unwrap().to_string_lossy().into_owned();
        let uri = fleet.upload(&source, &format!("{}-{name}", comparison.quality)).await;
        println!("{}:", comparison.name);
        let (ours_file, theirs_file) = (directory.join("ours.mp4"), directory.join("theirs.mp4"));
        let mut ratios = Vec::new();
        for pair in 0..PAIRS {
            let ours =
                export(fleet, comparison, &uri, &format!("{}-{name}-{pair}", comparison.quality), &ours_file).await;
            let theirs = ffmpeg(comparison, &source, &theirs_file);
            println!(
                "  pair {pair}: clipfleet {:.1} s, {:.1} CPU s; ffmpeg {:.1} s, {:.1} CPU s",
                ours.wall, ours.cpu, theirs.wall, theirs.cpu
            );
            ratios.push(Cost { wall: ours.wall / theirs.wall, cpu: ours.cpu / theirs.cpu });
        }
        let median = |of: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = ratios.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[PAIRS / 2]
        };
        println!(
            "  ratio: wall {:.3}, CPU {:.3} (median of {PAIRS})",
            median(|cost| cost.wall),
            median(|cost| cost.cpu)
        );
        let reference = reference(comparison, &source, directory);
        for (name, file) in [("clipfleet", &ours_file), ("ffmpeg", &theirs_file)] {
            let bytes = fs::metadata(file).unwrap().len();
            println!(
                "  {name}: {bytes} bytes, SSIM {}, PSNR {} dB",
                similarity("ssim", file, &reference),
                similarity("psnr", file, &reference)
            );
        }
    }
}

/// The cost from the request to the completed document, including verification.
async fn export(fleet: &Fleet, comparison: &Comparison, uri: &str, id: &str, into: &Path) -> Cost {
    let before = fleet_cpu_seconds(fleet);
    let started = Instant::now();
    let mut request = request(id, uri, &[(id, WINDOW_MS.0, WINDOW_MS.1)]);
    request["output"]["quality"] = comparison.quality.into();
    fleet.submit(&request).await;
    let shown = fleet.finished(id).await;
    assert_eq!(shown["status"], "completed", "{shown:#}");
    let cost = Cost { wall: started.elapsed().as_secs_f64(), cpu: fleet_cpu_seconds(fleet) - before };
    let clip = &clips(&shown)[id];
    println!("    timings {}", clip["timings"]);
    fs::write(into, fleet.download(clip["outputUrl"].as_str().unwrap()).await).unwrap();
    cost
}

fn ffmpeg(comparison: &Comparison, source: &Path, output: &Path) -> Cost {
    let (rate, buffer) = comparison.cap;
    let x264 = ["-c:v", "libx264", "-preset", "superfast", "-crf", "24", "-g", "60"];
    let before = cpu_seconds(std::process::id());
    let started = Instant::now();
    run(cut(comparison, source, "bicubic")
        .args(x264)
        .args(["-maxrate", &format!("{rate}k"), "-bufsize", &format!("{buffer}k")])
        .args(["-c:a", "aac", "-b:a", "128k", "-ar", "48000", "-ac", "2", "-movflags", "+faststart"])
        .arg(output));
    Cost { wall: started.elapsed().as_secs_f64(), cpu: cpu_seconds(std::process::id()) - before }
}

/// The same pictures losslessly, scaled by the sharpest scaler.
fn reference(comparison: &Comparison, source: &Path, directory: &Path) -> PathBuf {
    let path = directory.join("reference.mkv");
    run(cut(comparison, source, "lanczos+accurate_rnd+full_chroma_int").args(["-an", "-c:v", "ffv1"]).arg(&path));
    path
}

fn cut(comparison: &Comparison, source: &Path, scaler: &str) -> Command {
    let seconds = |ms: i64| format!("{}", ms as f64 / 1_000.0);
    let (width, height) = comparison.size;
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-ss", &seconds(WINDOW_MS.0), "-to", &seconds(WINDOW_MS.1), "-i"]).arg(source);
    let filter = format!("crop=606:1080:656:0,scale={width}:{height}:flags={scaler},setsar=1");
    command.args(["-vf", &filter, "-r", "30"]);
    command
}

/// The similarity of a file's luma to the reference, as the FFmpeg filter of that name computes it.
fn similarity(filter: &str, file: &Path, reference: &Path) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-i"]).arg(file).arg("-i").arg(reference);
    let output = command.args(["-lavfi", &format!("[0:v][1:v]{filter}"), "-f", "null", "-"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let label = if filter == "ssim" { "SSIM Y:" } else { "PSNR y:" };
    let found = text.rsplit(label).next().and_then(|rest| rest.split_whitespace().next());
    found.filter(|_| text.contains(label)).unwrap_or_else(|| panic!("no {label} in {text}")).to_owned()
}

/// CPU time of a process and of its children that have ended, seconds; 0 if it has exited.
fn cpu_seconds(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Counted after the name in parentheses, the 12th and 13th fields are its own user and system time. Those of its
    // children follow.
    let fields = text.rsplit(") ").next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

fn fleet_cpu_seconds(fleet: &Fleet) -> f64 {
    fleet.processes().into_iter().map(cpu_seconds).sum()
}
