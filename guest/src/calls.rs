//! The ops, one file each. File ops run on a thread and talk through their port; programs are run by the loop.

mod diff;
pub(crate) mod exec;
pub(crate) mod family;
mod journal;
mod list;
mod merge;
mod program;
mod read;
pub(crate) mod reap;
mod scan;
pub(crate) mod spool;
mod stat;
mod tar_in;
mod tar_out;
pub(crate) mod walk;
mod write;

use crate::serve::port::Port;
use crate::tree::{kernel, refusal};
use pyro_protocol::frame::{STREAM_ERRORS, STREAM_INPUT, STREAM_OUTPUT};
use pyro_protocol::message::{Failure, FailureCode, Op, Reply};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folders of a run, and who owns what is made in them.
#[derive(Debug)]
pub(crate) struct World {
    /// The run's own folder.
    pub(crate) run_dir: OwnedFd,
    /// The work tree: what programs see as `/workspace`.
    pub(crate) tree: OwnedFd,
    /// Beside the tree, on the same mount, seen by no program.
    pub(crate) stage: OwnedFd,
    /// Output of programs.
    pub(crate) spool: OwnedFd,
    /// The owner of new paths, where it is not the agent itself.
    owner: Option<(Uid, Gid)>,
    serial: AtomicU64,
}

impl World {
    /// Opens the folders of `run_dir`; what an earlier agent left on the stage is removed.
    ///
    /// # Errors
    /// Where one is missing, or nothing could be renamed from one to the other.
    pub(crate) fn open(run_dir: OwnedFd, owner: u32) -> std::io::Result<Self> {
        let folder = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(&run_dir, name, flags, Mode::empty())
        };
        let world = Self {
            tree: folder("tree")?,
            stage: folder("stage")?,
            spool: folder("spool")?,
            owner: (rustix::process::geteuid().as_raw() != owner)
                .then(|| (Uid::from_raw(owner), Gid::from_raw(owner))),
            serial: AtomicU64::new(0),
            run_dir,
        };
        if rustix::fs::fstat(&world.tree)?.st_dev != rustix::fs::fstat(&world.stage)?.st_dev {
            return Err(std::io::Error::other(
                "the tree and the stage are on different file systems",
            ));
        }
        for name in journal::names(world.stage.as_fd())? {
            journal::remove_all(world.stage.as_fd(), &name);
        }
        Ok(world)
    }

    /// A name that was not used before.
    pub(crate) fn fresh_name(&self) -> String {
        format!("w{}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives a new file or directory to the root user of the sandbox.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn own(&self, fd: impl AsFd) -> rustix::io::Result<()> {
        match self.owner {
            None => Ok(()),
            Some((uid, gid)) => rustix::fs::fchown(fd, Some(uid), Some(gid)),
        }
    }

    /// Gives a new link to the root user of the sandbox.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn own_at(&self, dir: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
        match self.owner {
            None => Ok(()),
            Some((uid, gid)) => {
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags)
            }
        }
    }
}

/// Whether an op has this data stream.
pub(crate) fn has_stream(op: &Op, stream: u32) -> bool {
    match op {
        Op::ExecRun(run) => match stream {
            STREAM_INPUT => run.stdin,
            _ => stream == STREAM_OUTPUT || stream == STREAM_ERRORS,
        },
        Op::SpoolRead(_)
        | Op::FileRead(_)
        | Op::TreeList(_)
        | Op::TreeScan
        | Op::TreeDiff
        | Op::TarOut(_) => stream == STREAM_OUTPUT,
        Op::FilesWrite(_) | Op::TarIn(_) => stream == STREAM_INPUT,
        Op::FileStat(_) => false,
    }
}

/// Carries out a file op.
///
/// # Errors
/// Where it is refused or fails; then nothing is half-done.
pub(crate) fn file_op(world: &World, port: &Port, op: Op) -> Result<Reply, Failure> {
    port.check()?;
    match op {
        Op::ExecRun(_) => Err(refusal(
            FailureCode::BadRequest,
            "run a program as a file op",
        )),
        Op::SpoolRead(op) => spool::read(world, port, &op),
        Op::FileRead(op) => read::file(world, port, &op),
        Op::FilesWrite(op) => write::files(world, port, op),
        Op::FileStat(op) => stat::file(world, &op),
        Op::TreeList(op) => list::tree(world, port, &op),
        Op::TreeScan => scan::tree(world, port),
        Op::TreeDiff => diff::tree(world, port),
        Op::TarIn(op) => tar_in::unpack(world, port, &op),
        Op::TarOut(op) => tar_out::pack(world, port, &op),
    }
}

/// A failure that is the agent's, not the request's.
pub(crate) fn agent_failure(doing: &str, error: &std::io::Error) -> Failure {
    match error.raw_os_error() {
        Some(errno) => Failure {
            path: None,
            ..kernel(rustix::io::Errno::from_raw_os_error(errno), doing, b"")
        },
        None => refusal(FailureCode::Io, format!("{doing}: {error}")),
    }
}
