//! The acceptance test of a GPU: `clipfleet-pipeline --test-gpu`. Every row of its table checks what no double of a
//! driver can: real pixels, real speed, real rate control. Nothing is skipped: what cannot be run fails.
//!
//! ```text
//! GPU        it is present, and passes the worker's self-test
//! pictures   decoded, cropped and scaled on the GPU, compared with the CPU plane by plane; and the speed
//! rate       whether quality, under the cap, determines the bit rate of the GPU's encoder
//! clips      whole clips, verified like every clip; one alone, and several in parallel
//! ```

mod material;
mod pictures;
mod rate;
mod similarity;
mod table;

use crate::{
    gpu::check::{self, SelfTest},
    plan::{
        catalog::ENCODERS,
        installed::Installed,
        route::{self, Choice, Device, Route},
    },
    progress::Progress,
    source::probe::{self, Probed},
    transcode::{self, Transcoded},
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{
    audio::Audio,
    clip::{Clip, Window},
    failure::Failure,
    fallback::Fallback,
    ids::ClipId,
    reframe::Reframe,
    rendition::Rendition,
    wire_name::WireName as _,
};
use material::Material;
use similarity::Bounds;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use table::Table;

/// Bounds for the difference between the GPU's scaler, which is bilinear, and the CPU's, which is bicubic: PSNR of
/// brightness and colours, dB.
///
/// Measured with the GPU's own kernel run on a CPU (`tests/double`), Y, Cb, Cr: 50.6, 44.8, 42.5 and 54.2, 43.7, 42.2
/// on the material made here, 48.8, 39.4, 49.4 on a test picture with noise. The bounds leave room for a GPU's
/// rounding. A crop that is off by a pixel is far worse, and is also checked separately.
const BOUNDS: Bounds = Bounds { luma_db: 42.0, chroma_db: 37.0 };

/// Numbers of parallel clips: one alone, one for each encoder of an L4, and twice as many.
const PARALLEL_CLIPS: [usize; 3] = [1, 2, 4];

/// The option for GPUs without an encoder.
pub const WITHOUT_ENCODER: &str = "--without-encoder";

/// The options of the test.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Recordings to use; empty to make material.
    pub sources: Vec<PathBuf>,
    /// Whether the GPU must have an encoder. A100, H100 and H200 have none, which must be stated on the command line.
    pub encoder: bool,
}

impl Trial {
    /// Parses a command line.
    pub fn of<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let (options, sources): (Vec<&str>, Vec<&str>) =
            arguments.into_iter().partition(|argument| *argument == WITHOUT_ENCODER);
        Self { sources: sources.into_iter().map(PathBuf::from).collect(), encoder: options.is_empty() }
    }

    /// Runs all tests and prints the table. Returns whether all passed.
    pub fn run(&self) -> bool {
        let directory = std::env::temp_dir().join(format!("clipfleet-gpu-{}", std::process::id()));
        let mut table = Table::default();
        match std::fs::create_dir_all(&directory) {
            Ok(()) => self.judge(&directory, &mut table),
            Err(error) => table.row("directory", Err(format!("{}: {error}", directory.display()))),
        }
        let _ = std::fs::remove_dir_all(&directory);
        table.end()
    }

    fn judge(&self, directory: &Path, table: &mut Table) {
        let installed = match Installed::start() {
            Ok(installed) => Arc::new(installed),
            Err(error) => return table.row("GStreamer", Err(error.to_string())),
        };
        if !gpu(&installed, table) {
            return;
        }
        if self.encoder {
            bits(&installed, table);
        }
        match material::gather(directory, &self.sources, &installed) {
            Ok(materials) => {
                for material in &materials {
                    if let Err(failed) = compare(material, &installed, table) {
                        table.row(&format!("{}: compared", material.name), Err(failed.message));
                    }
                }
                if let Some(material) = materials.first() {
                    self.clips(material, directory, &installed, table);
                }
            }
            Err(failed) => table.row("material", Err(failed.message)),
        }
    }

    /// Makes whole clips, as a worker's process does.
    fn clips(&self, material: &Material, directory: &Path, installed: &Arc<Installed>, table: &mut Table) {
        for number in PARALLEL_CLIPS {
            let text = several(number, material, directory, installed, self.encoder);
            table.row(&format!("clips: {number} at once, made and verified"), text);
        }
    }
}

/// Whether there is a working GPU.
fn gpu(installed: &Installed, table: &mut Table) -> bool {
    let report = check::check(installed);
    let gpu = report.gpu;
    let driver = gpu.driver.as_deref().unwrap_or("unknown");
    let elements = gpu.elements.join(" ");
    table.row(
        "GPU: it is there",
        if gpu.enabled {
            Ok(format!("driver {driver}; GStreamer {}; {elements}", report.gstreamer))
        } else {
            Err(gpu.note)
        },
    );
    let Some(SelfTest { passed, milliseconds, reason }) = gpu.self_test else { return false };
    // The first use compiles the kernels. The second shows the duration on a warm GPU.
    table.row(
        "GPU: a worker's test of it",
        if passed { Ok(format!("{milliseconds} ms, kernels compiled")) } else { Err(reason) },
    );
    let frames = installed.no_gpu_frames().map_or_else(|| Ok("by cudaconvertscale".to_owned()), Err);
    table.row("GPU: crops and scales in its memory", frames);
    passed
}

/// Compares pictures of the GPU with those of the CPU.
fn compare(material: &Material, installed: &Arc<Installed>, table: &mut Table) -> Result<(), Failure> {
    let source = material.open()?;
    let probed = probe::probe(&source, installed)?;
    let order = order(material, Path::new(""))?;
    let (gpu, cpu) = routes(&order, &probed, installed).map_err(crate::failure::internal)?;
    let name = &material.name;
    table.row(&format!("{name}: stays in the GPU's memory"), on_gpu(&gpu));
    let compared = pictures::compare([(&order, &gpu), (&order, &cpu)], &probed, material)?;
    table.row(&format!("{name}: as the CPU's, plane by plane"), compared.within(BOUNDS));
    table.row(&format!("{name}: to the pixel in its place"), compared.in_place());
    let fast = pictures::speed(&order, &probed, &gpu, material)?;
    let slow = pictures::speed(&order, &probed, &cpu, material)?;
    let text =
        format!("{fast:.0} fps decoded, cropped and scaled (the CPU: {slow:.0}); wanted {:.0}", material.min_fps);
    table.row(&format!("{name}: speed"), if fast >= material.min_fps { Ok(text) } else { Err(text) });
    Ok(())
}

/// The best route with the GPU, and the best one without.
fn routes(order: &Transcode, probed: &Probed, installed: &Installed) -> Result<(Route, Route), String> {
    let Choice { routes, rejected } = route::choose(order, probed, installed);
    let best = |on_gpu| routes.iter().find(|route| route.uses_gpu() == on_gpu).cloned();
    let gpu = best(true).ok_or_else(|| format!("no route with the GPU: {rejected}"))?;
    let cpu = best(false).ok_or("no route without the GPU")?;
    Ok((gpu, cpu))
}

fn on_gpu(route: &Route) -> Result<String, String> {
    let text = route.name();
    if route.decode.0 == Device::Gpu && route.frames == Device::Gpu { Ok(text) } else { Err(text) }
}

/// Tests the encoder, its average bit rate, and the cap.
fn bits(installed: &Installed, table: &mut Table) {
    let encodes = installed.refusal("nvh264enc").map_or_else(
        || {
            let lacking = installed.lacking("nvh264enc");
            Ok(if lacking.is_empty() { "with all settings".into() } else { format!("without {}", lacking.join(", ")) })
        },
        |reason| Err(format!("nvh264enc: {reason}")),
    );
    table.row("GPU: encodes H.264", encodes);
    let Some(encoder) = ENCODERS.iter().find(|row| row.on_gpu && installed.refusal(row.name).is_none()) else {
        return table.row("rate: quality decides", Err("the GPU has no encoder".into()));
    };
    match rate::measure(encoder, installed.lacking(encoder.name)) {
        Ok(measured) => {
            table.row("rate: quality decides, not the average", measured.quality_decides());
            table.row("rate: the cap holds", measured.cap_holds());
        }
        Err(failed) => table.row("rate: measured", Err(failed.message)),
    }
}

/// Makes a clip several times in parallel. The text describes the last one and the total.
fn several(
    number: usize,
    material: &Material,
    directory: &Path,
    installed: &Arc<Installed>,
    encoder: bool,
) -> Result<String, String> {
    let began = Instant::now();
    let made: Vec<Result<Transcoded, Failure>> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..number)
            .map(|clip| scope.spawn(move || make(material, &directory.join(format!("{number}-{clip}")), installed)))
            .collect();
        let ended = |maker: std::thread::ScopedJoinHandle<'_, _>| {
            maker.join().unwrap_or_else(|_| Err(crate::failure::internal("it panicked")))
        };
        makers.into_iter().map(ended).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut text = String::new();
    let mut frames = 0;
    for clip in made {
        let manifest = clip.map_err(|failed| failed.message)?.manifest;
        let expected = if encoder { "" } else { Fallback::Missing.name() };
        if manifest.fallback_kind != expected {
            return Err(format!("{}+{}: {}", manifest.decoder, manifest.encoder, manifest.fallback_reason));
        }
        frames += manifest.frames;
        let kbps = manifest.size_bytes as f64 * 8.0 / manifest.duration_ms.max(1) as f64;
        text = format!(
            "{}+{}, {kbps:.0} kbit/s, pictures off by {} levels, encode {} ms, verify {} ms",
            manifest.decoder,
            manifest.encoder,
            manifest.picture_difference.mean_levels,
            manifest.encode_ms,
            manifest.verify_ms
        );
    }
    Ok(format!("{:.0} fps in all; {text}", f64::from(frames) / seconds))
}

fn make(material: &Material, directory: &Path, installed: &Arc<Installed>) -> Result<Transcoded, Failure> {
    std::fs::create_dir_all(directory).map_err(crate::failure::internal)?;
    transcode::transcode(&order(material, directory)?, &material.open()?, installed, &Progress::default())
}

/// A typical order for a clip of all the material.
fn order(material: &Material, directory: &Path) -> Result<Transcode, Failure> {
    let bad = |what: &str| crate::failure::internal(what);
    Ok(Transcode {
        source_size_bytes: material.size(),
        clip: Clip {
            id: ClipId::parse("acceptance").map_err(|_| bad("an id"))?,
            window: Window::new(0, material.length_ms).map_err(|_| bad("a window"))?,
            reframe: Reframe::default(),
            cover_at_ms: None,
            audio: Audio::default(),
        },
        rendition: Rendition::default(),
        directory: directory.to_owned(),
        encoder: "auto".into(),
        gpu_disabled_reason: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::percent::MilliPercent;

    #[test]
    fn a_command_line_names_files_and_may_say_that_the_gpu_has_no_encoder() {
        let Trial { sources, encoder } = Trial::of(["a.mp4", WITHOUT_ENCODER, "b.mp4"]);
        assert_eq!((sources.len(), encoder), (2, false));
        assert!(Trial::of([]).encoder);
    }

    /// Both sides use the CPU, so that the comparison is tested on any machine.
    #[test]
    fn equal_routes_give_equal_pictures_and_another_crop_is_detected() {
        let installed = Arc::new(Installed::start().expect("GStreamer"));
        let directory = std::env::temp_dir().join(format!("clipfleet-acceptance-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let material = material::make(&directory, "small", (640, 360), 1, 0.0).expect("material");
        let _ = std::fs::remove_dir_all(&directory);
        let probed = probe::probe(&material.open().expect("a source"), &installed).expect("a probe");
        assert!(
            probed.picture.plain_colours() && probed.picture.plain_samples,
            "a GPU must be able to take it: {probed:?}"
        );
        let order = order(&material, Path::new("")).expect("an order");
        let encoder = ENCODERS.iter().find(|row| installed.encoder_names().contains(&row.name)).expect("an encoder");
        let route = Route::on_cpu(&probed, encoder);
        let same = pictures::compare([(&order, &route), (&order, &route)], &probed, &material).expect("compared");
        assert!(same.within(BOUNDS).is_ok() && same.in_place().is_ok(), "{same:?}");
        let mut aside = order.clone();
        let position = MilliPercent::parse(53.0, 0, 100).expect("a position");
        let zoom = MilliPercent::parse(100.0, 100, 200).expect("a zoom");
        aside.clip.reframe = Reframe::AutoCenter { position, zoom };
        let other = pictures::compare([(&order, &route), (&aside, &route)], &probed, &material).expect("compared");
        assert!(other.within(BOUNDS).is_err(), "{other:?}");
        assert!(pictures::speed(&order, &probed, &route, &material).expect("a speed") > 1.0);
    }
}
