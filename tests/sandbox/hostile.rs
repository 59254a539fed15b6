//! A hostile media process: what runs if a file takes over `clipfleet-pipeline`. It puts the same sandbox on itself,
//! unless told not to, and tries one thing.
//!
//! `hostile-pipeline MODE ATTEMPT DIRECTORY TARGET` prints one line: the parts of the sandbox that are in force, those
//! that are not, and the result of the attempt (`done` or an error number), with tabs between them. `MODE` is
//! `sandboxed`, `gpu` (as a process that uses a GPU), `registry` (only GStreamer's registry is restricted) or `free`.
//!
//! Each attempt is a call that does no harm where it is not refused. Its arguments are such that the kernel would
//! answer something else than a refusal, so that a refusal can be told from any other failure.
#![allow(unsafe_code, reason = "it makes system calls that no safe wrapper offers")]

use clipfleet_pipeline::{
    graph::bus,
    plan::{installed::Installed, registry},
    sandbox::{Bounds, enter},
};
use libc::{c_int, c_long};
use std::{
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    ptr::null,
};

/// Milliseconds of the clip whose bounds apply: files of at most 80 MiB.
const CLIP_MS: i64 = 1_000;

/// What precedes the name of an element in an attempt to create it.
const ELEMENT: &str = "element-";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, attempt, directory, target] = arguments.as_slice() else {
        panic!("usage: hostile-pipeline MODE ATTEMPT DIRECTORY TARGET");
    };
    let bounds = Bounds::of_clip(Path::new(directory), CLIP_MS, mode == "gpu");
    // As in the real process: the registry, then the plugins, then the sandbox.
    let element = attempt.strip_prefix(ELEMENT);
    match (element, mode.as_str()) {
        (Some(_), "free") => registry::start_whole().expect("GStreamer"),
        (Some(_), _) => Installed::start().expect("GStreamer").preload(),
        (None, _) => {}
    }
    let report = matches!(mode.as_str(), "sandboxed" | "gpu").then(|| enter(&bounds));
    let mut parts: Vec<&str> =
        report.iter().flat_map(|report| &report.parts).filter(|part| part.in_force).map(|part| part.name).collect();
    if element.is_some() && mode != "free" {
        parts.push("registry");
    }
    let missing = report.map(|report| report.missing()).unwrap_or_default();
    // Before the attempt, which may end this process.
    print!("{}\t{missing}\t", parts.join(","));
    io::stdout().flush().expect("standard output");
    match element.map_or_else(|| run(attempt, directory, target), create) {
        Ok(()) => println!("done"),
        Err(error) => println!("{}", error.raw_os_error().unwrap_or(-1)),
    }
}

/// Creates an element of GStreamer.
fn create(element: &str) -> io::Result<()> {
    bus::make(element).map(drop).map_err(|_| io::Error::from_raw_os_error(libc::EACCES))
}

fn run(attempt: &str, directory: &str, target: &str) -> io::Result<()> {
    let directory = Path::new(directory);
    let parent = unsafe { libc::getppid() };
    match attempt {
        "socket-inet" => connect(libc::AF_INET),
        "socket-inet6" => call(libc::SYS_socket, [libc::AF_INET6.into(), libc::SOCK_STREAM.into(), 0, 0]),
        "socket-udp" => call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0, 0]),
        "socket-netlink" => call(libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0, 0]),
        "socket-unix" => call(libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0]),
        "exec" => exec(),
        "exec-file-descriptor" => call(libc::SYS_execveat, [-1, 0, 0, 0]),
        "program" => Command::new("/bin/true").status().map(drop),
        "fork" => fork(libc::SYS_clone, libc::SIGCHLD.into()),
        "fork-by-number" => fork(57, 0),
        "clone3" => clone3(),
        "ptrace" => call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as c_long, parent.into(), 0, 0]),
        "memory-of-the-worker" => {
            let file = File::open(format!("/proc/{parent}/mem"))?;
            drop(file.read_at(&mut [0; 8], 0));
            Ok(())
        }
        "environment-of-the-worker" => std::fs::read(format!("/proc/{parent}/environ")).map(drop),
        "read-memory-call" => call(libc::SYS_process_vm_readv, [parent.into(), 0, 0, 0]),
        "signal" => call(libc::SYS_kill, [parent.into(), 0, 0, 0]),
        "signal-thread" => call(libc::SYS_tgkill, [parent.into(), parent.into(), 0, 0]),
        "signal-by-descriptor" => {
            // The kernel would send this process's signals about its standard input to the worker.
            call(libc::SYS_fcntl, [0, libc::F_SETOWN.into(), parent.into(), 0])
        }
        "terminal-input" => call(libc::SYS_ioctl, [-1, libc::TIOCSTI as c_long, 0, 0]),
        "slow-the-worker-down" => call(libc::SYS_setpriority, [0, parent.into(), 0, 0]),
        "read-another-attempt" => std::fs::read(target).map(drop),
        "list-another-attempt" => std::fs::read_dir(Path::new(target).parent().unwrap_or(directory)).map(drop),
        "read-passwords" => std::fs::read("/etc/passwd").map(drop),
        "write-outside" => std::fs::write(target, "overwritten"),
        "truncate-outside" => call_with_path(libc::SYS_truncate, target),
        "remove-outside" => std::fs::remove_file(target),
        "symbolic-link" => std::os::unix::fs::symlink(target, directory.join("clip.mp4")),
        "hard-link" => std::fs::hard_link(target, directory.join("clip.mp4")),
        "pipe-file" => {
            let path = CString::new(directory.join("clip.mp4").to_string_lossy().as_bytes())?;
            let mode = (libc::S_IFIFO | 0o600) as c_long;
            call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), path.as_ptr() as c_long, mode, 0])
        }
        "large-file" => File::create(directory.join("clip.mp4"))?.write_all_at(b"x", 100 << 30),
        "keyctl" => call(libc::SYS_keyctl, [0, -3, 0, 0]),
        "add-key" => call(libc::SYS_add_key, [0, 0, 0, 0]),
        "request-key" => call(libc::SYS_request_key, [0, 0, 0, 0]),
        "mount" => call(libc::SYS_mount, [0, 0, 0, 0]),
        "open-tree" => call(libc::SYS_open_tree, [-1, 0, 0, 0]),
        "new-namespaces" => call(libc::SYS_unshare, [libc::CLONE_FS.into(), 0, 0, 0]),
        "enter-namespace" => call(libc::SYS_setns, [-1, 0, 0, 0]),
        "bpf" => call(libc::SYS_bpf, [0, 0, 0, 0]),
        "io-uring" => call(libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        "userfaultfd" => call(libc::SYS_userfaultfd, [-1, 0, 0, 0]),
        "perf" => call(libc::SYS_perf_event_open, [0, 0, -1, -1]),
        "take-descriptor" => call(libc::SYS_pidfd_getfd, [-1, 0, 0, 0]),
        "open-by-handle" => call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0]),
        // What a clip needs, to see that the sandbox is not simply a wall.
        "honest-work" => honest_work(directory),
        _ => panic!("unknown attempt {attempt}"),
    }
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn call(number: c_long, arguments: [c_long; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: no argument is a pointer to memory of this program that the kernel would write.
    check(unsafe { libc::syscall(number, a, b, c, d, 0, 0) })
}

fn call_with_path(number: c_long, path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the path lives until the call returns.
    check(unsafe { libc::syscall(number, path.as_ptr(), 0, 0, 0) })
}

/// The address from which a program on Google Cloud gets its access token.
fn connect(family: c_int) -> io::Result<()> {
    // SAFETY: both structures live until the calls return; a zeroed address is a valid one.
    unsafe {
        let socket = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        check(socket.into())?;
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = family as libc::sa_family_t;
        address.sin_port = 80_u16.to_be();
        address.sin_addr.s_addr = u32::from_be_bytes([169, 254, 169, 254]).to_be();
        check(libc::connect(socket, (&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32).into())
    }
}

fn exec() -> io::Result<()> {
    // SAFETY: the kernel answers EFAULT to a path that is no pointer.
    check(unsafe { libc::syscall(libc::SYS_execve, null::<u8>(), null::<u8>(), null::<u8>()) })
}

fn fork(number: c_long, flags: c_long) -> io::Result<()> {
    // SAFETY: the child only exits.
    let child = unsafe { libc::syscall(number, flags, 0, 0, 0, 0) };
    check(child)?;
    if child == 0 {
        // SAFETY: it ends the child.
        unsafe { libc::_exit(0) };
    }
    Ok(())
}

fn clone3() -> io::Result<()> {
    // SAFETY: the kernel answers EINVAL to a structure of no size.
    check(unsafe { libc::syscall(libc::SYS_clone3, null::<u8>(), 0) })
}

fn honest_work(directory: &Path) -> io::Result<()> {
    let path = directory.join("clip.mp4");
    std::fs::write(&path, "a clip")?;
    std::thread::spawn(move || std::fs::read(path).map(drop)).join().expect("a thread")?;
    std::fs::remove_file(directory.join("clip.mp4"))?;
    std::fs::read("/proc/self/status").map(drop)
}
