//! Landlock: which files this process may still open, and, where the kernel's version has it, no TCP, no abstract
//! sockets and no signals to processes outside.

use super::Bounds;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictSelfAttr as _, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// The version of Landlock whose rights are refused; the latest that was tested. A kernel with an older version refuses
/// the rights that it knows.
const VERSION: ABI = ABI::V7;

/// What may be done in the attempt's directory: no links, no devices, no sockets and no programs.
const WRITABLE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | MakeReg});

/// What may be done elsewhere. Reading suffices to load a library; a program cannot be run.
const READABLE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// What may be read. All of it is public, and nothing of it belongs to an attempt.
const READABLE_PATHS: [&str; 16] = [
    // Libraries that plugins load when a codec is opened, and how the loader finds them.
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    // Nix and Guix install each library into a directory of its own.
    "/nix/store",
    "/gnu/store",
    // Codecs ask for the number and kind of processors, allocators for the memory policy.
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/proc/self",
    // Hash tables are seeded.
    "/dev/urandom",
    "/dev/null",
];

/// Variables with the directories in which an operator put libraries and plugins.
const LIBRARY_PATHS: [&str; 5] = [
    "LD_LIBRARY_PATH",
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
];

/// The variable that names a directory for graphs of failed pipelines. An operator who sets it wants them written.
const GRAPHS: &str = "GST_DEBUG_DUMP_DOT_DIR";

/// Applies to this thread and to all that it starts. Fails if that does not cover the process, or not the files.
pub(super) fn restrict(bounds: &Bounds<'_>) -> Result<String, String> {
    if bounds.gpu {
        return Err("not used with a GPU, whose driver opens devices and caches while a clip is made".into());
    }
    if !bounds.directory.is_dir() {
        return Err(format!("{} is not a directory", bounds.directory.display()));
    }
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let status = apply(bounds).map_err(|error| error.to_string())?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled => return Err("the kernel has Landlock, but it is not enabled (lsm=)".into()),
        _ => return Err("the kernel does not have Landlock".into()),
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(format!("the kernel's Landlock (version {abi}) enforces none of the rules"));
    }
    if threads != 1 && !status.all_threads {
        return Err(format!("it does not bind the {threads} threads that ran before it (version {abi})"));
    }
    Ok(format!("version {abi}: writes only the attempt's directory, reads only libraries and {READABLE_OTHER}"))
}

/// For people: [`READABLE_PATHS`] without the libraries.
const READABLE_OTHER: &str = "what describes the machine and itself";

fn apply(bounds: &Bounds<'_>) -> Result<RestrictionStatus, RulesetError> {
    let named = LIBRARY_PATHS.iter().filter_map(std::env::var_os);
    let named: Vec<PathBuf> = named.flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>()).collect();
    // An empty part of such a variable means the current directory, which may be any.
    let named = named.into_iter().filter(|path| path.is_absolute());
    let readable = READABLE_PATHS.iter().map(PathBuf::from).chain(named).chain(library_directories());
    let writable = std::env::var_os(GRAPHS).map(PathBuf::from).into_iter().chain([bounds.directory.to_owned()]);
    Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()?
        .add_rules(path_beneath_rules(readable, READABLE))?
        .add_rules(path_beneath_rules(writable, WRITABLE))?
        .all_threads(true)?
        .restrict_self()
}

/// The directories of the libraries that are loaded. GStreamer and its plugins need not be where a distribution
/// installs them, and what loads one library may load its neighbour.
fn library_directories() -> BTreeSet<PathBuf> {
    fs::read_to_string("/proc/self/maps").map_or_else(|_| BTreeSet::new(), |maps| directories_in(&maps))
}

fn directories_in(maps: &str) -> BTreeSet<PathBuf> {
    // A line ends with the path of its file. Paths may contain spaces.
    let paths = maps.lines().filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..])));
    let libraries = paths.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".so") || name.contains(".so.")
    });
    libraries.filter_map(|path| path.parent().map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_libraries_are_readable_and_that_of_the_program_is_not() {
        let maps = "7f00-7f01 r-xp 00000000 fe:00 12 /opt/gst 1/lib/libgstcore.so\n\
                    7f01-7f02 rw-p 00000000 00:00 0 \n\
                    7f02-7f03 r--p 00001000 fe:00 12 /opt/av/libavcodec.so.61\n\
                    7f03-7f04 r-xp 00000000 fe:00 13 /home/u/bin/clipfleet-pipeline\n\
                    7f04-7f05 rw-p 00000000 00:00 0 [heap]\n";
        let expected = ["/opt/av", "/opt/gst 1/lib"].map(PathBuf::from);
        assert_eq!(directories_in(maps), BTreeSet::from(expected));
    }
}
