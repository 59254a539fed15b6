//! Measures the installed AAC encoders on synthetic speech, music and clicks. This is the origin of the table in
//! `plan/catalog.rs`. Needs `ffmpeg` for decoding. `cargo run -p clipfleet-pipeline --example aac_encoders`

use clipfleet_pipeline::audio::loudness::{amplitude, limiter::Limiter, meter::Meter};
use gstreamer::{self as gst, prelude::*};
use std::{f32::consts::TAU, fs, path::Path, process::Command};

const RATE: usize = 48_000;
const SECONDS: usize = 30;
const SIZE: usize = 2_048;
const ENCODERS: [&str; 12] = [
    "avenc_aac bitrate=128000",
    "avenc_aac bitrate=128000 aac-coder=twoloop",
    "avenc_aac bitrate=128000 aac-coder=fast",
    "avenc_aac bitrate=128000 aac-coder=twoloop aac-pns=false",
    "avenc_aac bitrate=128000 aac-coder=twoloop aac-is=false",
    "avenc_aac bitrate=128000 aac-coder=fast aac-tns=false",
    "avenc_aac bitrate=128000 aac-coder=fast aac-pns=false aac-is=false",
    "avenc_aac bitrate=160000 aac-coder=fast",
    "avenc_aac bitrate=128000 aac-coder=twoloop aac-is=false aac-pns=false",
    "avenc_aac bitrate=160000 aac-coder=twoloop",
    "voaacenc bitrate=128000",
    "fdkaacenc bitrate=128000",
];

type Audio = Vec<[f32; 2]>;

struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    fn noise(&mut self) -> f32 {
        2.0 * self.next() - 1.0
    }
}

/// A gliding buzz through three resonances, noise for consonants, and pauses; slightly to one side, with a faint echo.
fn speech() -> Audio {
    let (mut random, mut audio) = (Random(1), Vec::new());
    let mut phase = 0.0_f32;
    while audio.len() < SECONDS * RATE {
        let (length, pitch) = (3_000 + (random.next() * 12_000.0) as usize, 90.0 + 120.0 * random.next());
        let kind = random.next();
        let formants =
            [300.0 + 500.0 * random.next(), 900.0 + 1_400.0 * random.next(), 2_400.0 + 900.0 * random.next()];
        let mut state = [[0.0_f32; 2]; 4];
        for n in 0..length {
            let shape = (n as f32 / length as f32 * TAU / 2.0).sin();
            phase = (phase + pitch * (1.0 + 0.1 * shape) / RATE as f32).fract();
            let source = match kind {
                k if k < 0.15 => 0.0,
                k if k < 0.35 => 0.15 * random.noise(),
                _ => (1.0 - 2.0 * phase).powi(5) * 0.4 + 0.01 * random.noise(),
            };
            let mut voice = if kind < 0.35 { source } else { 0.0 };
            for (formant, state) in formants.iter().zip(&mut state) {
                let (radius, angle) = (0.985, TAU * formant / RATE as f32);
                let out = source * 0.03 + 2.0 * radius * angle.cos() * state[0] - radius * radius * state[1];
                *state = [out, state[0]];
                voice += out;
            }
            audio.push([0.25 * shape * voice, 0.22 * shape * voice]);
        }
    }
    (4_000..audio.len()).rev().for_each(|n| audio[n][1] += 0.1 * audio[n - 3_100][0]);
    audio
}

/// Chords of plucked strings across the stereo image, a bass, and a drum kit of noise.
fn music() -> Audio {
    let (mut random, mut audio) = (Random(2), vec![[0.0; 2]; SECONDS * RATE]);
    let step = RATE / 5;
    for beat in 0..SECONDS * 5 {
        let begin = beat * step;
        for voice in 0..4 {
            let note = [0, 3, 7, 10, 12, 15, 19][(random.next() * 6.99) as usize] - if voice == 0 { 24 } else { 0 };
            let (pitch, side) = (220.0 * 2.0_f32.powf(note as f32 / 12.0), random.next());
            for n in 0..(2 * step).min(audio.len() - begin) {
                let time = n as f32 / RATE as f32;
                let tone: f32 = (1..9)
                    .map(|k| {
                        (TAU * (pitch * k as f32 * time).fract()).sin() * (-time * (3.0 + k as f32)).exp() / k as f32
                    })
                    .sum();
                let frame = &mut audio[begin + n];
                (frame[0], frame[1]) = (frame[0] + 0.11 * tone * side, frame[1] + 0.11 * tone * (1.0 - side));
            }
        }
        let (fade, level) = if beat % 4 == 2 { (25.0, 0.3) } else { (120.0, 0.12) };
        for n in 0..step.min(audio.len() - begin) {
            let hit = level * (-(n as f32) / RATE as f32 * fade).exp();
            let frame = &mut audio[begin + n];
            (frame[0], frame[1]) = (frame[0] + hit * random.noise(), frame[1] + hit * random.noise());
        }
    }
    audio
}

/// Castanets: ringing clicks in silence.
fn clicks() -> Audio {
    let (mut random, mut audio) = (Random(3), vec![[0.0; 2]; SECONDS * RATE]);
    let mut begin = 1_000;
    while begin + 4_800 < audio.len() {
        let (pitch, side) = (1_500.0 + 2_500.0 * random.next(), random.next());
        for n in 0..4_800 {
            let time = n as f32 / RATE as f32;
            let ring = (-time * 180.0).exp() * ((TAU * (pitch * time).fract()).sin() + 0.5 * random.noise());
            audio[begin + n] = [0.5 * ring * side, 0.5 * ring * (1.0 - side)];
        }
        begin += 5_000 + (random.next() * 15_000.0) as usize;
    }
    audio
}

/// Normalizes audio to a typical loudness, with a limiter.
fn normalized(audio: &Audio) -> Audio {
    let mut meter = Meter::default();
    meter.add(audio.iter().copied());
    let lufs = meter.finish().predict(1.0, f64::INFINITY).lufs.expect("loudness");
    let (mut limiter, mut done) = (Limiter::new(amplitude(-13.0 - lufs) as f32, amplitude(-1.5) as f32), Vec::new());
    limiter.push(audio.iter().copied(), &mut done);
    limiter.finish(&mut done);
    done
}

fn bytes(audio: &Audio) -> Vec<u8> {
    audio.as_flattened().iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Encodes and decodes. Returns all decoded audio, the CPU seconds per minute, and the resulting kbit/s.
fn through(encoder: &str, audio: &Audio, directory: &Path) -> (Audio, f64, f64) {
    let (raw, file) = (directory.join("sound.raw"), directory.join("sound.mp4"));
    fs::write(&raw, bytes(audio)).expect("writing");
    let line = format!(
        "filesrc location={} blocksize=8192 ! rawaudioparse use-sink-caps=false format=pcm pcm-format=f32le \
         sample-rate=48000 \
         num-channels=2 ! audioconvert ! {encoder} ! mp4mux ! filesink location={}",
        raw.display(),
        file.display()
    );
    let used = || {
        // User and system time in hundredths of a second, after the name in parentheses.
        let line = fs::read_to_string("/proc/self/stat").expect("Linux");
        let fields = line.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
    };
    let pipeline = gst::parse::launch(&line).expect("a pipeline");
    let before = used();
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("a bus");
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &ends).expect("an end");
    assert!(matches!(end.view(), gst::MessageView::Eos(_)), "{encoder}: {end:?}");
    let seconds = used() - before;
    pipeline.set_state(gst::State::Null).expect("null");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-ignore_editlist", "1", "-i"])
        .arg(&file)
        .args(["-f", "f32le", "-ac", "2", "-ar", "48000", "pipe:1"])
        .output()
        .expect("ffmpeg");
    let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
    let decoded = output.stdout.chunks_exact(8).map(|frame| [number(&frame[..4]), number(&frame[4..])]).collect();
    let bytes = fs::metadata(&file).expect("the file").len();
    (decoded, seconds * 60.0 / SECONDS as f64, bytes as f64 / 125.0 / SECONDS as f64)
}

/// Delay of the decoded audio in samples.
fn delay(audio: &Audio, decoded: &Audio) -> usize {
    let fit = |lag: usize| -> f32 {
        let pairs = audio[RATE..3 * RATE].iter().zip(&decoded[RATE + lag..]);
        pairs.map(|(a, b)| a[0] * b[0] + a[1] * b[1]).sum()
    };
    (0..4_096).max_by(|a, b| fit(*a).total_cmp(&fit(*b))).unwrap_or(0)
}

fn spectrum(samples: &[f32]) -> Vec<f32> {
    let mut values: Vec<[f32; 2]> = samples
        .iter()
        .enumerate()
        .map(|(n, sample)| [sample * (0.5 - 0.5 * (TAU * n as f32 / SIZE as f32).cos()), 0.0])
        .collect();
    let bits = SIZE.trailing_zeros();
    for n in 0..SIZE {
        let other = n.reverse_bits() >> (usize::BITS - bits);
        if n < other {
            values.swap(n, other);
        }
    }
    let mut half = 1;
    while half < SIZE {
        for start in (0..SIZE).step_by(2 * half) {
            for k in 0..half {
                let (sin, cos) = (-TAU / 2.0 * k as f32 / half as f32).sin_cos();
                let ([a, b], [c, d]) = (values[start + k], values[start + k + half]);
                let (re, im) = (c * cos - d * sin, c * sin + d * cos);
                (values[start + k], values[start + k + half]) = ([a + re, b + im], [a - re, b - im]);
            }
        }
        half *= 2;
    }
    values[..SIZE / 2].iter().map(|[re, im]| re * re + im * im).collect()
}

/// Energies in the ear's bands, one ERB wide.
fn bands(samples: &[f32]) -> [f32; 40] {
    let mut bands = [1e-9; 40];
    for (bin, energy) in spectrum(samples).into_iter().enumerate() {
        let erb = 21.4 * (1.0 + 0.004_37 * bin as f32 * RATE as f32 / SIZE as f32).log10();
        bands[(erb as usize).min(39)] += energy;
    }
    bands
}

/// Percentage of audible bands whose noise exceeds the mask (14 dB below the signal, spread by 10 dB per band upwards
/// and 25 dB downwards), the mean excess there, and the mean difference of the bands' levels.
fn audible(audio: &[f32], decoded: &[f32]) -> (f32, f32, f32) {
    let (mut over, mut above, mut distance, mut count) = (0.0, 0.0, 0.0, 0.0_f32);
    for (one, other) in audio.chunks_exact(SIZE).zip(decoded.chunks_exact(SIZE)).step_by(2) {
        let noise: Vec<f32> = one.iter().zip(other).map(|(a, b)| a - b).collect();
        let (signal, output, noise) = (bands(one), bands(other), bands(&noise));
        let mut mask = signal.map(|energy| energy * 0.04 + 1e-4);
        (1..40).for_each(|band| mask[band] = mask[band].max(mask[band - 1] * 0.1));
        (0..39).rev().for_each(|band| mask[band] = mask[band].max(mask[band + 1] * 0.003));
        for band in (1..37).filter(|band| signal[*band] > 1e-3) {
            let ratio = 10.0 * (noise[band] / mask[band]).log10();
            count += 1.0;
            distance += 10.0 * (output[band] / signal[band]).log10().abs();
            if ratio > 0.0 {
                (over, above) = (over + 1.0, above + ratio);
            }
        }
    }
    (100.0 * over / count, above / over.max(1.0), distance / count)
}

fn true_peak_db(audio: &Audio) -> f64 {
    let mut meter = ebur128::EbuR128::new(2, RATE as u32, ebur128::Mode::TRUE_PEAK).expect("a meter");
    meter.add_frames_f32(audio.as_flattened()).expect("stereo");
    20.0 * meter.true_peak(0).expect("a peak").max(meter.true_peak(1).expect("a peak")).log10()
}

fn main() {
    gst::init().expect("GStreamer");
    let directory = std::env::temp_dir().join(format!("clipfleet-aac-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let inputs = [("speech", speech()), ("music", music()), ("clicks", clicks())];
    let inputs = inputs.map(|(name, audio)| (name, normalized(&audio)));
    for (name, audio) in &inputs {
        println!("{name}: true peak {:.2} dB", true_peak_db(audio));
        for encoder in ENCODERS {
            if gst::ElementFactory::find(encoder.split(' ').next().unwrap_or_default()).is_none() {
                println!("  {encoder}: not installed");
                continue;
            }
            let (decoded, cpu, kbps) = through(encoder, audio, &directory);
            let late = delay(audio, &decoded);
            let length = audio.len().min(decoded.len() - late);
            let side =
                |audio: &[[f32; 2]], side: usize| -> Vec<f32> { audio.iter().map(|frame| frame[side]).collect() };
            let (a, b) = (side(&audio[..length], 0), side(&decoded[late..late + length], 0));
            let noise: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
            let snr = 10.0 * (a.iter().map(|a| a * a).sum::<f32>() / noise).log10();
            let (over, above, distance) = audible(&a, &b);
            let risen = true_peak_db(&decoded) - true_peak_db(audio);
            println!(
                "  {encoder:75} delay {late} snr {snr:5.1} over mask {over:5.2} % \
                 by {above:4.1} dB, bands {distance:4.2} dB, \
                 peak {risen:+.2} dB, cpu {cpu:.2} s/min, {kbps:.0} kbit/s"
            );
        }
    }
    fs::remove_dir_all(&directory).expect("cleaning up");
}
