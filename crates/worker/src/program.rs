//! The media program: where it lies, what it sees of its surroundings, and what it says it can do here.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// Longest time of the start-up check; the first run on a machine may have to scan GStreamer's plugins.
const CHECK: Duration = Duration::from_secs(60);

/// What it may see of the environment: where programs, libraries and caches are, and its own switches. No credentials.
const ENVIRONMENT: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "CLIPFLEET_LOG",
    "NVIDIA_VISIBLE_DEVICES",
    "FONTCONFIG_FILE",
];

/// The switch that says whether GPUs are used.
const GPU_ENABLED: &str = "GPU_ENABLED";

/// What drivers of GPUs leave on a machine: on Linux, in containers, and in Windows' Linux.
const SIGNS_OF_A_GPU: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"];

/// Where GStreamer is told to keep its registry.
const REGISTRIES: [&str; 2] = ["GST_REGISTRY", "GST_REGISTRY_1_0"];

/// Whether clips are made on a GPU; named as the values of `GPU_ENABLED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuMode {
    /// Where there is one that passes its test.
    #[default]
    Auto,
    /// On nothing else.
    True,
    /// Never.
    False,
}

impl GpuMode {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::True => "true",
            Self::False => "false",
        }
    }
}

impl FromStr for GpuMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Auto, Self::True, Self::False];
        known.into_iter().find(|gpu| gpu.name() == text.trim()).ok_or_else(|| "must be auto, true or false".into())
    }
}

/// The program as it is to be started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    gpu: GpuMode,
    registry: Option<PathBuf>,
}

impl Program {
    /// The program at `path`. Where there may be a GPU, what GStreamer knows of its plugins is found out anew, and kept in `directory`:
    /// the plugin of GPUs registers only what it can do with the driver that it sees, and a registry that was written without
    /// one (when an image was built, say) would hide the GPU for ever.
    pub fn new(path: PathBuf, gpu: GpuMode, directory: &Path) -> Self {
        let told = REGISTRIES.iter().any(|name| std::env::var_os(name).is_some());
        let registry = (may_have_gpu(gpu) && !told).then(|| directory.join("gstreamer-registry.bin"));
        Self { path, gpu, registry }
    }

    /// The same program, which lets a GPU rest.
    pub(crate) fn without_gpu(&self) -> Self {
        Self { gpu: GpuMode::False, ..self.clone() }
    }

    /// Whether GPUs are used.
    pub(crate) fn gpu(&self) -> GpuMode {
        self.gpu
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        let kept = std::env::vars_os().filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| ENVIRONMENT.contains(&name) || name.starts_with("GST_") || name.starts_with("LC_"))
        });
        command.env_clear().envs(kept).env(GPU_ENABLED, self.gpu.name()).kill_on_drop(true);
        command.envs(self.registry.iter().map(|path| (REGISTRIES[0], path)));
        command
    }

    /// Asks it what it can do on this machine. An error says what is missing.
    pub async fn check(&self) -> io::Result<serde_json::Value> {
        let failed = |text: String| {
            io::Error::other(format!("failed to check the media program {}: {text}", self.path.display()))
        };
        let mut command = self.command();
        command.arg("--check").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = timeout(CHECK, command.output()).await.map_err(|_| failed(format!("no answer in {CHECK:?}")))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() {
            return Ok(report);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{}; {} {}", output.status, stderr.trim(), report)))
    }
}

fn may_have_gpu(gpu: GpuMode) -> bool {
    match gpu {
        GpuMode::False => false,
        // Whoever insists on a GPU knows better than we where its driver leaves signs.
        GpuMode::True => true,
        GpuMode::Auto => SIGNS_OF_A_GPU.iter().any(|sign| Path::new(sign).exists()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn environment(program: &Program, name: &str) -> Option<String> {
        let command = program.command();
        let mut set = command.as_std().get_envs();
        set.find(|(known, _)| *known == OsStr::new(name))?.1.map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn a_registry_is_never_older_than_the_worker_where_a_gpu_may_be() {
        let of = |gpu| Program::new("p".into(), gpu, Path::new("/attempts/w-1"));
        let registry = environment(&of(GpuMode::True), "GST_REGISTRY");
        let expected = std::env::var("GST_REGISTRY").unwrap_or("/attempts/w-1/gstreamer-registry.bin".into());
        assert_eq!(registry.as_deref(), Some(expected.as_str()));
        assert!(of(GpuMode::False).registry.is_none(), "on the CPU the machine's own will do");
        // What a worker has found out holds for all its processes.
        assert_eq!(environment(&of(GpuMode::True).without_gpu(), "GST_REGISTRY"), registry);
    }

    #[test]
    fn the_switch_is_passed_on_as_it_was_understood() {
        let of = |gpu| environment(&Program::new("p".into(), gpu, Path::new("")), GPU_ENABLED);
        for text in ["auto", "true", "false"] {
            assert_eq!(of(text.parse().unwrap()).as_deref(), Some(text));
        }
        assert_eq!("yes".parse::<GpuMode>(), Err("must be auto, true or false".into()));
        let without = Program::new("p".into(), GpuMode::Auto, Path::new("")).without_gpu();
        assert_eq!(environment(&without, GPU_ENABLED).as_deref(), Some("false"));
    }
}
