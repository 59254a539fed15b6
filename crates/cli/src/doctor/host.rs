//! Checks of this machine: disk, memory, cores, and the ports of a fleet.

use super::finding::Finding;
use crate::{
    local::{data, port, running::RunningFleet},
    output::text,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

/// The ports of `clipfleet up`, with the flags that change them.
const PORTS: [(u16, &str); 2] = [(8080, "--listen"), (8085, "--emulator")];

/// Less free space is not enough for the clips of one export.
const MIN_FREE_BYTES: u64 = 1_000_000_000;
/// Less free space may not be enough for long or many clips.
const ENOUGH_FREE_BYTES: u64 = 10_000_000_000;
/// Memory of one clip in 1080p, with its decoder and encoder.
const CLIP_MEMORY_BYTES: u64 = 600_000_000;

/// All checks of the machine.
pub(super) fn check(directory: &Path) -> Vec<Finding> {
    let mut findings = vec![writable(&std::env::temp_dir()), free_space(directory), cores()];
    findings.extend(memory());
    findings.extend(ports(directory));
    findings
}

fn writable(directory: &Path) -> Finding {
    let probe = directory.join(format!("clipfleet-doctor-{}", std::process::id()));
    match fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) => Finding::passed(format!("{} is writable", directory.display())),
        Err(error) => Finding::problem(
            format!("{} is not writable: {error}", directory.display()),
            "make it writable, or set CLIPFLEET_SCRATCH to a directory that is",
        ),
    }
}

fn free_space(directory: &Path) -> Finding {
    let name = data::show(directory);
    // The directory may not exist yet.
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let free = rustix::fs::statvfs(existing).map(|disk| disk.f_bavail * disk.f_frsize);
    let (what, remedy) = match free {
        Ok(free) => {
            (format!("{} free for {name}", text::size(free)), "free some space, or use another disk with --data")
        }
        Err(error) => {
            return Finding::problem(format!("{name}: {error}"), "name a directory that exists with --data");
        }
    };
    match free {
        Ok(..MIN_FREE_BYTES) => Finding::problem(format!("only {what}"), remedy),
        Ok(..ENOUGH_FREE_BYTES) => Finding::note(format!("only {what}"), format!("for long videos, {remedy}")),
        _ => Finding::passed(what),
    }
}

fn cores() -> Finding {
    match std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
        1 => Finding::note("1 CPU core: clips take about as long as they are", "use more cores, or --slots 1"),
        cores => Finding::passed(text::plural(cores, "CPU core")),
    }
}

/// The memory that is available, as Linux shows it.
fn memory() -> Option<Finding> {
    let information = fs::read_to_string("/proc/meminfo").ok()?;
    let available = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let bytes = available.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024;
    let what = format!("{} memory available", text::size(bytes));
    Some(match bytes {
        ..CLIP_MEMORY_BYTES => {
            Finding::problem(format!("only {what}"), "close other programs: a clip in 1080p needs 0.6 GB")
        }
        bytes if bytes < 2 * CLIP_MEMORY_BYTES => {
            Finding::note(format!("only {what}"), "make one clip at a time: --slots 1")
        }
        _ => Finding::passed(what),
    })
}

fn ports(directory: &Path) -> Vec<Finding> {
    if let Some(fleet) = RunningFleet::on(directory) {
        return vec![Finding::passed(format!("a fleet runs at http://{} (process {})", fleet.api, fleet.pid))];
    }
    let check = |(number, flag): (u16, &str)| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        match TcpListener::bind(address) {
            Ok(_) => Finding::passed(format!("port {number} is free")),
            Err(_) => {
                let holder = port::holder(address).map_or(String::new(), |holder| format!(" by {holder}"));
                let remedy = format!("only for clipfleet up: stop it, or use {flag} 127.0.0.1:0");
                Finding::note(format!("port {number} is in use{holder}"), remedy)
            }
        }
    };
    PORTS.map(check).into()
}
