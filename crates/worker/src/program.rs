//! The media program: its path, its environment, and the check of what it can do on this machine.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// The longest time of the check. The first run on a machine may have to scan GStreamer's plugins.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// The variables that the program receives: the paths of programs, libraries and caches, and its own settings. It
/// receives no credentials.
const PASSED_VARIABLES: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "CLIPFLEET_LOG",
    "NVIDIA_VISIBLE_DEVICES",
    "FONTCONFIG_FILE",
];

/// The variable that selects the use of GPUs.
const GPU_ENABLED: &str = "GPU_ENABLED";

/// The variable that selects the use of the sandbox.
const SANDBOX: &str = "CLIPFLEET_SANDBOX";

/// Files that exist where a GPU driver is installed: on Linux, in containers, and in the Windows Subsystem for Linux.
const GPU_DRIVER_FILES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"];

/// The variables that name the file of GStreamer's plugin registry.
const REGISTRY_VARIABLES: [&str; 2] = ["GST_REGISTRY", "GST_REGISTRY_1_0"];

/// Whether clips are made on a GPU: the values of `GPU_ENABLED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuMode {
    /// If there is one that passes its test.
    #[default]
    Auto,
    /// Always: the worker does not run without one.
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

/// Whether the media process puts a sandbox on itself: the values of `CLIPFLEET_SANDBOX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// As far as the kernel allows.
    #[default]
    Auto,
    /// Completely: the worker does not run where a part is missing.
    Required,
    /// Not at all.
    Off,
}

impl SandboxMode {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
            Self::Off => "off",
        }
    }
}

impl FromStr for SandboxMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Auto, Self::Required, Self::Off];
        known.into_iter().find(|mode| mode.name() == text.trim()).ok_or_else(|| "must be auto, required or off".into())
    }
}

/// The program, and how it is started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    gpu: GpuMode,
    sandbox: SandboxMode,
    registry: Option<PathBuf>,
}

impl Program {
    /// The program at `path`. If there may be a GPU, GStreamer scans its plugins again and writes its registry into
    /// `directory`: the GPU plugin registers only elements that the present driver supports, so a registry that was
    /// written without a driver (for example, when an image was built) would hide the GPU permanently.
    pub fn new(path: PathBuf, gpu: GpuMode, directory: &Path) -> Self {
        let is_set = REGISTRY_VARIABLES.iter().any(|name| std::env::var_os(name).is_some());
        let registry = (may_have_gpu(gpu) && !is_set).then(|| directory.join("gstreamer-registry.bin"));
        Self { path, gpu, sandbox: SandboxMode::default(), registry }
    }

    /// The same program, with this mode of its sandbox.
    #[must_use]
    pub fn with_sandbox(self, sandbox: SandboxMode) -> Self {
        Self { sandbox, ..self }
    }

    /// The mode of its sandbox.
    pub(crate) fn sandbox(&self) -> SandboxMode {
        self.sandbox
    }

    /// The same program, without the use of a GPU.
    pub(crate) fn without_gpu(&self) -> Self {
        Self { gpu: GpuMode::False, ..self.clone() }
    }

    /// Whether GPUs are used.
    pub(crate) fn gpu(&self) -> GpuMode {
        self.gpu
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        let passed = std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                PASSED_VARIABLES.contains(&name) || name.starts_with("GST_") || name.starts_with("LC_")
            })
        });
        command
            .env_clear()
            .envs(passed)
            .env(GPU_ENABLED, self.gpu.name())
            .env(SANDBOX, self.sandbox.name())
            .kill_on_drop(true);
        command.envs(self.registry.iter().map(|path| (REGISTRY_VARIABLES[0], path)));
        command
    }

    /// Runs the check of what it can do on this machine. The error says what is missing.
    pub async fn check(&self) -> io::Result<serde_json::Value> {
        let failed = |text: String| {
            io::Error::other(format!("failed to check the media program {}: {text}", self.path.display()))
        };
        let mut command = self.command();
        command.arg("--check").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = timeout(CHECK_TIMEOUT, command.output())
            .await
            .map_err(|_| failed(format!("no answer in {CHECK_TIMEOUT:?}")))?;
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
        // The driver of a required GPU may have other files.
        GpuMode::True => true,
        GpuMode::Auto => GPU_DRIVER_FILES.iter().any(|file| Path::new(file).exists()),
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
    fn a_worker_that_may_have_a_gpu_writes_its_own_registry() {
        let of = |gpu| Program::new("p".into(), gpu, Path::new("/attempts/w-1"));
        let registry = environment(&of(GpuMode::True), "GST_REGISTRY");
        let expected = std::env::var("GST_REGISTRY").unwrap_or("/attempts/w-1/gstreamer-registry.bin".into());
        assert_eq!(registry.as_deref(), Some(expected.as_str()));
        assert!(of(GpuMode::False).registry.is_none(), "without a GPU the machine's registry is used");
        // All processes of a worker share its registry.
        assert_eq!(environment(&of(GpuMode::True).without_gpu(), "GST_REGISTRY"), registry);
    }

    #[test]
    fn the_mode_of_the_sandbox_is_passed_to_the_program() {
        let program = || Program::new("p".into(), GpuMode::False, Path::new(""));
        assert_eq!(environment(&program(), SANDBOX).as_deref(), Some("auto"));
        for text in ["auto", "required", "off"] {
            let program = program().with_sandbox(text.parse().unwrap());
            assert_eq!(environment(&program, SANDBOX).as_deref(), Some(text));
            assert_eq!(environment(&program.without_gpu(), SANDBOX).as_deref(), Some(text));
        }
        assert_eq!("no".parse::<SandboxMode>(), Err("must be auto, required or off".into()));
    }

    #[test]
    fn the_gpu_mode_is_passed_to_the_program() {
        let of = |gpu| environment(&Program::new("p".into(), gpu, Path::new("")), GPU_ENABLED);
        for text in ["auto", "true", "false"] {
            assert_eq!(of(text.parse().unwrap()).as_deref(), Some(text));
        }
        assert_eq!("yes".parse::<GpuMode>(), Err("must be auto, true or false".into()));
        let without = Program::new("p".into(), GpuMode::Auto, Path::new("")).without_gpu();
        assert_eq!(environment(&without, GPU_ENABLED).as_deref(), Some("false"));
    }
}
