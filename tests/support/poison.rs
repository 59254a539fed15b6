//! A media program that fails for some clips and is the real program for all others. Poison clips exist in tests only.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Peeks at its order without consuming it (the order is on the socket that is its standard input, and holds the clip's
/// id), then crashes, hangs, or becomes the real program.
const SCRIPT: &str = r#"#!/usr/bin/env python3
import os, re, signal, socket, sys, time
REAL = "@REAL@"
if len(sys.argv) > 1:
    os.execv(REAL, [REAL] + sys.argv[1:])
order = socket.socket(fileno=os.dup(0)).recv(1 << 16, socket.MSG_PEEK)
if b"poison-crash" in order:
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
if b"poison-hang" in order:
    time.sleep(3600)
if b"poison-full" in order:
    directory = re.search(rb"/[ -~]*/a-[0-9a-f]{12}-[0-9]+-w-[0-9a-f]+", order).group()
    once = os.path.join(os.path.dirname(sys.argv[0]), "found-it-full")
    if not os.path.exists(once):
        open(once, "w").close()
        for name in (b"clip.media", b"clip.mp4"):
            os.symlink("/dev/full", os.path.join(directory, name))
        # The sandbox would refuse to follow these links, and a real full disk needs a file system of its own.
        os.environ["CLIPFLEET_SANDBOX"] = "off"
os.execv(REAL, [REAL])
"#;

/// Writes the program into a directory. A clip whose id contains `poison-crash` crashes, one with `poison-hang` hangs,
/// and the first one with `poison-full` finds its disk full.
///
/// # Panics
/// If it cannot be written.
pub fn pipeline(directory: &Path) -> PathBuf {
    let program = directory.join("poisoned-pipeline");
    let real = crate::pipeline_process::binary();
    fs::write(&program, SCRIPT.replace("@REAL@", &real.display().to_string())).expect("the program can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the program can be started");
    program
}
