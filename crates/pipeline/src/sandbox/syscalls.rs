//! Seccomp: which system calls this process may still make.
//!
//! Without a GPU a list says what is allowed, and everything else is answered as an old kernel would answer it, with
//! `ENOSYS`. Libraries have a second way for old kernels, so a later version of one of them still works if it calls
//! something that the list does not have. A list of refusals would let the next dangerous call pass. The list is what
//! GStreamer 1.22 and its codecs were seen to call, and calls of the same kind: about the process's own memory, its own
//! threads, the time, and files, which Landlock restricts.
//!
//! A GPU's driver calls what only its vendor knows. So with a GPU a list says what is refused, with `EPERM`.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// The rules of one filter.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// System calls that are allowed with any arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Its own memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mincore, libc::SYS_msync, libc::SYS_membarrier,
    libc::SYS_get_mempolicy, libc::SYS_set_mempolicy, libc::SYS_mbind,
    // Its own threads.
    libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq,
    libc::SYS_set_tid_address, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_exit, libc::SYS_exit_group,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min, libc::SYS_getcpu, libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // The time, limits, the user and the machine.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getrusage, libc::SYS_getrandom, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getppid,
    // Open descriptors.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_lseek, libc::SYS_close,
    libc::SYS_close_range, libc::SYS_fstat, libc::SYS_fstatfs, libc::SYS_ftruncate, libc::SYS_fallocate,
    libc::SYS_fadvise64, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_getdents64, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_umask,
    // Files by name, as far as Landlock permits.
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat, libc::SYS_faccessat2,
    libc::SYS_readlinkat, libc::SYS_unlinkat, libc::SYS_statfs, libc::SYS_getcwd,
    // The socket to the worker.
    libc::SYS_recvfrom, libc::SYS_shutdown, libc::SYS_getpeername, libc::SYS_getsockname, libc::SYS_getsockopt,
];

/// System calls that only this architecture has, allowed like their successors above.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_poll, libc::SYS_select, libc::SYS_pipe, libc::SYS_dup2, libc::SYS_getdents, libc::SYS_time,
    libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_getrlimit, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// `fcntl`: everything but the commands that let the kernel send signals to another process.
const FCNTL: [i32; 9] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
];

/// `ioctl`: what libraries ask about any descriptor. In particular no input into a terminal.
const IOCTL: [u64; 4] = [libc::TCGETS, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX];

/// `prctl`: names of threads and of memory.
const PRCTL: [i32; 3] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// System calls that are refused even with a GPU. None belongs to the work of a driver once it is open: they start
/// programs, reach into other processes, change the machine, or let the kernel act on the caller's behalf.
#[rustfmt::skip]
const REFUSED: &[c_long] = &[
    libc::SYS_execve, libc::SYS_execveat,
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_kcmp, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_move_mount,
    libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at, libc::SYS_fanotify_init, libc::SYS_symlinkat,
    libc::SYS_linkat, libc::SYS_mknodat,
    libc::SYS_kexec_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_syslog, libc::SYS_settimeofday,
    libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// As [`REFUSED`], of this architecture alone.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// On x86-64, the bit of system calls with 32-bit pointers, which a list of refusals must name separately.
const X32: i64 = 0x4000_0000;

/// Applies to all threads. The error says why it does not.
pub(super) fn restrict(gpu: bool) -> Result<String, String> {
    let filters = if gpu { on_gpu() } else { on_cpu() };
    for filter in filters.map_err(|error| error.to_string())? {
        apply_filter_all_threads(&filter).map_err(|error| error.to_string())?;
    }
    let kind = if gpu { "dangerous system calls are refused" } else { "only harmless system calls are allowed" };
    Ok(format!("{kind}; no sockets beside the worker's, no processes, no programs"))
}

type Compiled = Result<Vec<BpfProgram>, Box<dyn std::error::Error>>;

fn on_cpu() -> Compiled {
    let own = own_process();
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|number| (*number, Vec::new())).collect();
    rules.extend([
        // The process ends itself; no other process receives its signals.
        (libc::SYS_kill, vec![when(0, SeccompCmpOp::Eq, own)?]),
        (libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]),
        // Threads, no processes. `clone3` takes its flags from memory, where no filter can check them.
        (libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(THREAD), THREAD)?]),
        // Its own limits, which it cannot raise.
        (libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Eq, 0)?]),
        // GStreamer wakes its threads over such a pair, which nothing else can join.
        (libc::SYS_socketpair, vec![when(0, SeccompCmpOp::Eq, UNIX)?]),
        // To the other end only, and to no address.
        (libc::SYS_sendto, vec![rule(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?]),
        (libc::SYS_fcntl, any_of(1, FCNTL.map(|command| command as u64))?),
        (libc::SYS_ioctl, any_of(1, IOCTL)?),
        (libc::SYS_prctl, any_of(0, PRCTL.map(|command| command as u64))?),
    ]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    Ok(vec![compile(rules, unknown, SeccompAction::Allow)?])
}

fn on_gpu() -> Compiled {
    let own = own_process();
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|number| (*number, Vec::new())).collect();
    rules.extend([
        (libc::SYS_kill, vec![when(0, SeccompCmpOp::Ne, own)?]),
        (libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Ne, own)?]),
        (libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(THREAD), 0)?]),
        // A driver may talk to its daemon over a Unix socket.
        (libc::SYS_socket, vec![when(0, SeccompCmpOp::Ne, UNIX)?]),
        (libc::SYS_fcntl, any_of(1, [F_SETOWN, F_SETSIG, F_SETOWN_EX])?),
        (libc::SYS_ioctl, any_of(1, [libc::TIOCSTI, libc::TIOCLINUX, FIOSETOWN, SIOCSPGRP])?),
    ]);
    if cfg!(target_arch = "x86_64") {
        rules.extend(rules.clone().into_iter().map(|(number, rules)| (number | X32, rules)));
    }
    let clone3 = [libc::SYS_clone3, libc::SYS_clone3 | X32].map(|number| (number, Vec::new()));
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // The C library then takes `clone`, which it would not do after another error.
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    Ok(vec![compile(rules, SeccompAction::Allow, refused)?, compile(clone3.into(), SeccompAction::Allow, unknown)?])
}

const THREAD: u64 = libc::CLONE_THREAD as u64;
const UNIX: u64 = libc::AF_UNIX as u64;
/// Makes a process receive signals about a descriptor.
const F_SETOWN: u64 = libc::F_SETOWN as u64;
/// Chooses which signal.
const F_SETSIG: u64 = 10;
/// As [`F_SETOWN`].
const F_SETOWN_EX: u64 = 15;
/// As [`F_SETOWN`], for a socket.
const FIOSETOWN: u64 = 0x8901;
/// As [`FIOSETOWN`].
const SIOCSPGRP: u64 = 0x8902;

fn own_process() -> u64 {
    std::process::id().into()
}

fn compile(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let here = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, matched, here)?.try_into()?)
}

/// A rule about a 32-bit argument.
fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    rule(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::Error> {
    Ok(SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])?)
}

/// Rules of which one must match: a 32-bit argument has one of these values.
fn any_of<const N: usize>(argument: u8, values: [u64; N]) -> Result<Vec<SeccompRule>, seccompiler::Error> {
    values.into_iter().map(|value| when(argument, SeccompCmpOp::Eq, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refused_call_is_allowed_without_a_gpu() {
        let allowed = |number: &&c_long| ALLOWED.contains(number) || ALLOWED_HERE.contains(number);
        let both: Vec<_> = REFUSED.iter().chain(REFUSED_HERE).filter(allowed).collect();
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn both_filters_compile_and_are_short() {
        // A kernel takes 4,096 instructions.
        for filters in [on_cpu().unwrap(), on_gpu().unwrap()] {
            assert!(filters.iter().all(|filter| !filter.is_empty() && filter.len() < 1_024));
        }
    }
}
