//! The ops, one file each. File ops run on a thread and talk through their port; programs are run by the loop.

mod diff;
pub(crate) mod exec;
pub(crate) mod family;
pub(crate) mod journal;
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
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Empty streams that are remembered.
const MAX_SILENT: usize = 4096;

/// The folders of a run, and who owns what is made in them.
#[derive(Debug)]
pub(crate) struct World {
    /// The run's own folder.
    pub(crate) run_dir: OwnedFd,
    /// The work tree: what programs see as `/workspace`.
    pub(crate) tree: OwnedFd,
    stage: OnceLock<OwnedFd>,
    spool: OnceLock<OwnedFd>,
    /// Streams of programs that put out nothing, the latest last: they have no file.
    silent: Mutex<VecDeque<(u32, u32, u32)>>,
    /// The owner of new paths, where it is not the agent itself.
    owner: Option<(Uid, Gid)>,
    serial: AtomicU64,
    /// Held by the set that changes the tree.
    turn: Mutex<()>,
}

impl World {
    /// Opens the folders of `run_dir`; what an earlier agent had begun and not finished is taken back.
    ///
    /// # Errors
    /// Where the tree is missing, or could not be made what it was.
    pub(crate) fn open(run_dir: OwnedFd, owner: u32) -> std::io::Result<Self> {
        journal::recover(run_dir.as_fd())?;
        let folder = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(&run_dir, name, flags, Mode::empty())
        };
        // Made when they are needed, but for an agent before this one.
        let there = |name: &str| match folder(name) {
            Ok(fd) => Ok(OnceLock::from(fd)),
            Err(Errno::NOENT) => Ok(OnceLock::new()),
            Err(error) => Err(error),
        };
        Ok(Self {
            tree: folder("tree")?,
            stage: there("stage")?,
            spool: there("spool")?,
            silent: Mutex::default(),
            owner: (rustix::process::geteuid().as_raw() != owner)
                .then(|| (Uid::from_raw(owner), Gid::from_raw(owner))),
            serial: AtomicU64::new(0),
            turn: Mutex::new(()),
            run_dir,
        })
    }

    /// Beside the tree, on the same mount, seen by no program.
    ///
    /// # Errors
    /// Where it cannot be made, or nothing could be renamed from there into the tree.
    pub(crate) fn stage(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        let made = self.stage.get().is_some();
        let stage = self.aside("stage", &self.stage)?;
        if !made && rustix::fs::fstat(&self.tree)?.st_dev != rustix::fs::fstat(stage)?.st_dev {
            return Err(Errno::XDEV);
        }
        Ok(stage)
    }

    /// Output of programs.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn spool(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.aside("spool", &self.spool)
    }

    /// The same where any program has put out anything.
    pub(crate) fn spool_so_far(&self) -> Option<BorrowedFd<'_>> {
        self.spool.get().map(AsFd::as_fd)
    }

    fn aside<'a>(
        &self,
        name: &str,
        place: &'a OnceLock<OwnedFd>,
    ) -> rustix::io::Result<BorrowedFd<'a>> {
        if let Some(fd) = place.get() {
            return Ok(fd.as_fd());
        }
        match rustix::fs::mkdirat(&self.run_dir, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.run_dir, name, flags, Mode::empty())?;
        // Another thread may have been faster: it is the same folder.
        Ok(place.get_or_init(|| fd).as_fd())
    }

    /// Remembers that a stream of a program was empty.
    pub(crate) fn note_silent(&self, channel: u32, call: u32, stream: u32) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.len() == MAX_SILENT {
            silent.pop_front();
        }
        silent.push_back((channel, call, stream));
    }

    /// Whether a stream of a program was empty.
    pub(crate) fn was_silent(&self, channel: u32, call: u32, stream: u32) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.contains(&(channel, call, stream))
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
