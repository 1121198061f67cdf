//! Maps of user and group ids: of the outer and inner user namespaces, and of image layers.
//!
//! ```text
//!  host              outer (agent)     inner (programs)
//!  BASE              0
//!  BASE+1 ..         1 .. 65536        0 .. 65535           a range: the host is root
//!  UID               0                 0                    a single id: the host is an ordinary user, or the root
//!                                                           of a user namespace (a rootless container)
//! ```
//! Never the host's root to 0: it may write /proc/sys whatever its capabilities.

use super::report::{At as _, PATIENCE, readable};
use super::sys::{self, Fork};
use pyro_protocol::boot::{BootFailure, BootStep, Ids};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// Ids that programs have.
const COUNT: u32 = 65_536;

/// Whether the caller is who the kernel takes for root, by whatever number: nobody else may set what is not of a namespace.
pub(crate) fn is_the_hosts_root() -> bool {
    match access("/proc/sys/kernel/panic", Access::WRITE_OK) {
        Ok(()) | Err(Errno::ROFS) => true,
        Err(_) => false,
    }
}

/// Writes the outer maps of process `pid`, as its parent.
pub(crate) fn write_outer(pid: i32, ids: Ids) -> Result<(), BootFailure> {
    match ids {
        Ids::Single => {
            let uid = rustix::process::geteuid().as_raw();
            let gid = rustix::process::getegid().as_raw();
            write(pid, "setgroups", "deny")?;
            write(pid, "uid_map", &format!("0 {uid} 1"))?;
            write(pid, "gid_map", &format!("0 {gid} 1"))
        }
        Ids::Range { base } => {
            let map = format!("0 {base} {}", COUNT + 1);
            write(pid, "uid_map", &map)?;
            write(pid, "gid_map", &map)
        }
    }
}

/// Writes the inner maps of process `pid`, as the agent.
pub(crate) fn write_inner(pid: i32, ids: Ids) -> Result<(), BootFailure> {
    let map = match ids {
        Ids::Single => "0 0 1".to_owned(),
        Ids::Range { .. } => format!("0 1 {COUNT}"),
    };
    write(pid, "uid_map", &map)?;
    write(pid, "gid_map", &map)
}

fn write(pid: i32, file: &str, text: &str) -> Result<(), BootFailure> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).at(BootStep::IdMap, format!("write `{text}` to {file}"))
}

/// A user namespace that nobody lives in: seen through it, id 0 of an image is root inside.
pub(crate) fn shifted(base: u32) -> io::Result<OwnedFd> {
    let (gate, opener) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match sys::fork(libc::CLONE_NEWUSER)? {
        Fork::Child => {
            drop(opener);
            // Ends with the zygote at the latest: then the pipe closes.
            let _ = rustix::io::read(&gate, &mut [0; 1]);
            sys::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            let map = format!("0 {} {COUNT}", base + 1);
            let opened = fs::write(format!("/proc/{pid}/uid_map"), &map)
                .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), &map))
                .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
            drop(opener);
            readable(pidfd.as_fd(), PATIENCE)?;
            let options = rustix::process::WaitIdOptions::EXITED;
            rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options)?;
            opened.map(OwnedFd::from)
        }
    }
}
