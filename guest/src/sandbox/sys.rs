//! The system calls that rustix does not wrap, and the few that cannot be safe by type. The only unsafe code here.
//!
//! Whatever a forked child calls between fork and exec is in this module or in rustix: neither allocates.

#![expect(
    unsafe_code,
    reason = "raw system calls; every block says why it is sound"
)]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint};
use std::io;
use std::ptr::{null, null_mut};

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// Of the child, as the caller sees it.
        pid: i32,
        /// Of the child.
        pidfd: OwnedFd,
    },
}

/// clone3 without shared memory: a fork that may enter new namespaces.
///
/// The child of a process with several threads must call nothing but this module and rustix until it executes or
/// exits: another thread may have held the allocator's lock.
pub(crate) fn fork(namespaces: c_int) -> io::Result<Fork> {
    let mut pidfd: c_int = -1;
    // SAFETY: `clone_args` is plain integers, for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from((namespaces | libc::CLONE_PIDFD).cast_unsigned());
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: `args` is valid for its size; without CLONE_VM the child runs on a copy of this stack, and without
    // SETTLS or TID flags it touches nothing of the threading library.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match checked(pid)? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: the kernel has just stored a new descriptor there, and nobody else knows it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Mount attributes to set on a tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    /// `MOUNT_ATTR_*`.
    pub(crate) set: u64,
    /// Whether every mount below is meant too.
    pub(crate) recursive: bool,
    /// Whether mount events stop travelling to and from the tree.
    pub(crate) private: bool,
    /// The user namespace whose map the owners of files are seen through.
    pub(crate) idmap: Option<BorrowedFd<'a>>,
}

/// mount_setattr on the mount behind a descriptor.
pub(crate) fn mount_setattr(mount: impl AsFd, attributes: Attributes<'_>) -> io::Result<()> {
    let Attributes {
        set,
        recursive,
        private,
        idmap,
    } = attributes;
    let attr = libc::mount_attr {
        attr_set: set | if idmap.is_some() { MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: if private { libc::MS_PRIVATE } else { 0 },
        userns_fd: idmap.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, `attr` is valid for its size, the descriptors are open while borrowed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(done).map(drop)
}

/// See mount_setattr(2); libc has no names for these yet on every target.
pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// No setuid programs.
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// No device nodes.
pub(crate) const MOUNT_ATTR_NODEV: u64 = 0x4;
/// No programs.
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// What happens to a range of descriptors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CloseRange {
    /// They are closed now.
    Now,
    /// They are closed by execve.
    OnExec,
}

/// Deals with every descriptor from `first` on.
///
/// With [`CloseRange::Now`] no owner of such a descriptor may be used or dropped afterwards: for processes that
/// own nothing any more.
pub(crate) fn close_from(first: u32, how: CloseRange) -> io::Result<()> {
    let flags: c_uint = match how {
        CloseRange::Now => 0,
        CloseRange::OnExec => 4,
    };
    // SAFETY: integers only; the caller keeps to the rule above.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) }).map(drop)
}

/// Makes `fd` also the descriptor `number`, kept across execve; replaces what was there.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
    // SAFETY: integers only. `number` is a standard stream, which no Rust value owns.
    checked(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// Makes `fd` also the descriptor `number`, closed by execve; replaces what was there.
///
/// Whoever owns `number` from then on owns the copy: used where that owner is in a frame never returned to.
pub(crate) fn dup_onto_cloexec(fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let done = unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) };
    checked(c_long::from(done)).map(drop)
}

/// Makes new files of the calling thread belong to `id`, user and group, and takes the rights over other people's
/// files from it until this is called with 0. Clears the parent-death signal and makes the process untraceable.
pub(crate) fn make_files_as(id: u32) {
    // SAFETY: integers only; both act on the calling thread, and cannot fail for an id that is mapped.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
}

/// Brings `lo` up in this network namespace.
pub(crate) fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: `ifreq` is plain bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = 0x1; // IFF_UP; the kernel adds what loopback implies.
    // SAFETY: the request reads an `ifreq`, which outlives the call.
    let done = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    };
    checked(c_long::from(done)).map(drop)
}

/// Puts the calling thread under a seccomp filter for good.
pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which is that long, and does not write them.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
    .map(drop)
}

/// Gives every signal its default meaning and blocks none: execve keeps what is ignored or blocked, and whoever started
/// the host may have done either. SIGPIPE and SIGXFSZ are ignored, so that a write that cannot be is told as an error.
pub(crate) fn reset_signals() {
    // SAFETY: a zeroed `sigaction` says SIG_DFL and an empty mask, and SIG_IGN installs no handler; numbers that are
    // refused (KILL, STOP) change nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            action.sa_sigaction = match signal {
                libc::SIGPIPE | libc::SIGXFSZ => libc::SIG_IGN,
                _ => libc::SIG_DFL,
            };
            libc::sigaction(signal, &raw const action, null_mut());
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const action.sa_mask, null_mut());
    }
}

/// The rest of it, for a program.
pub(crate) fn reset_ignored() {
    // SAFETY: as above; all calls are async-signal-safe.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, &raw const action, null_mut());
        libc::sigaction(libc::SIGXFSZ, &raw const action, null_mut());
        libc::sigprocmask(libc::SIG_SETMASK, &raw const action.sa_mask, null_mut());
    }
}

/// Lets the kernel reap every child that ends.
pub(crate) fn ignore_children() {
    // SAFETY: SIG_IGN installs no handler; a zeroed `sigaction` is valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_IGN;
        libc::sigaction(libc::SIGCHLD, &raw const action, null_mut());
    }
}

/// A child that has ended and is not reaped yet; looking does not reap it.
pub(crate) fn ended_child() -> Option<i32> {
    // SAFETY: a zeroed `siginfo_t` is valid, and the kernel fills it; where no child has ended its pid stays 0.
    let (looked, pid) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let looked = libc::waitid(libc::P_ALL, 0, &raw mut info, options);
        (looked, info.si_pid())
    };
    (looked == 0 && pid > 0).then_some(pid)
}

/// Sleeps until a signal kills this process.
pub(crate) fn sleep_forever() -> ! {
    loop {
        // SAFETY: no arguments, no memory.
        unsafe { libc::pause() };
    }
}

/// Ends this process at once: no destructors, no handlers.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: takes an integer, does not return.
    unsafe { libc::_exit(code) }
}

/// A null-terminated array of C strings, as execve wants it; made before a fork, used after it.
#[derive(Debug)]
pub(crate) struct Strings<'a> {
    pointers: Vec<*const c_char>,
    strings: std::marker::PhantomData<&'a [CString]>,
}

impl<'a> Strings<'a> {
    /// Borrows the strings.
    pub(crate) fn new(strings: &'a [CString]) -> Self {
        Self {
            pointers: strings
                .iter()
                .map(|string| string.as_ptr())
                .chain([null()])
                .collect(),
            strings: std::marker::PhantomData,
        }
    }
}

/// execve; returns only when refused.
pub(crate) fn execve(path: &CStr, argv: &Strings<'_>, env: &Strings<'_>) -> rustix::io::Errno {
    // SAFETY: all three are valid C strings or null-terminated arrays of them, borrowed for the whole call.
    unsafe {
        libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr());
    }
    rustix::io::Errno::from_io_error(&io::Error::last_os_error())
        .unwrap_or(rustix::io::Errno::NOEXEC)
}

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
