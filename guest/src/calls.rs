//! The ops, one file each. File ops run on a thread and talk through their port; programs are run by the loop.

mod contents;
mod diff;
pub(crate) mod exec;
pub(crate) mod family;
mod forget;
pub(crate) mod journal;
pub(crate) mod layer;
mod list;
mod mark;
mod merge;
pub(crate) mod pack;
mod program;
pub(crate) mod quiet;
mod read;
pub(crate) mod reap;
mod rename;
mod reset;
mod scan;
pub(crate) mod spool;
mod stat;
pub(crate) mod store;
mod tar_in;
mod tar_out;
pub(crate) mod terminal;
pub(crate) mod walk;
mod write;

use self::journal::Recovered;
use self::quiet::Quiet;
use self::store::Which;
use crate::serve::port::Port;
use crate::spawn::{Layer, Lookout};
use crate::tree::{kernel, refusal};
use pyro_protocol::frame::{STREAM_ERRORS, STREAM_INPUT, STREAM_OUTPUT};
use pyro_protocol::message::{Failure, FailureCode, Op, Reply};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::Duration;

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
    /// Everything that programs can write to besides the work tree, where there is such a thing.
    system: Option<OwnedFd>,
    /// The writable layer of the system tree, where it has one.
    layer: Option<Layer>,
    /// How much larger ids are here than in marks.
    pub(crate) shift: u32,
    /// Who has the trees for itself.
    pub(crate) quiet: Quiet,
    /// Bytes that marks may take.
    disk: u64,
    /// The mark that knows most about the trees as they are.
    latest: Mutex<Option<String>>,
    serial: AtomicU64,
    /// Names on the stage that nobody needs any more.
    rubbish: Mutex<Vec<Vec<u8>>>,
    /// Held by whoever changes the tree, or the marks.
    turn: Mutex<()>,
    /// Held by those who read what marks keep; alone, by who gives room back.
    pub(crate) reading: RwLock<()>,
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
            system: None,
            layer: None,
            shift: 0,
            quiet: Quiet::new(Box::new(|| Ok(Vec::new()))),
            disk: u64::MAX,
            latest: Mutex::default(),
            serial: AtomicU64::new(0),
            rubbish: Mutex::default(),
            turn: Mutex::new(()),
            reading: RwLock::new(()),
            run_dir,
        })
    }

    /// For an agent that stands outside of the sandbox: whose ids are those of the host, which are larger by `shift` than
    /// those that marks have.
    ///
    /// # Errors
    /// As with [`World::open`].
    fn outside(run_dir: OwnedFd) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let tree = rustix::fs::openat(&run_dir, "tree", flags, Mode::empty())?;
        let owner = rustix::fs::fstat(&tree)?.st_uid;
        let own = rustix::process::geteuid();
        // Root inside is 1 with a range of ids, and the caller itself with a single one.
        let shift = if own.is_root() {
            owner.saturating_sub(1)
        } else {
            own.as_raw()
        };
        let layer = match rustix::fs::openat(&run_dir, "system", flags, Mode::empty()) {
            Ok(folder) => {
                crate::sandbox::settle_layer(&folder)?;
                Some(Layer {
                    folder,
                    // Whoever mounts it next sees what is there.
                    renew: Box::new(|| Ok(())),
                })
            }
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self {
            layer,
            shift,
            ..Self::open(run_dir, owner)?
        })
    }

    /// With the rest of what programs can write to, a way to see them, and the bytes that marks may take. A reset that
    /// an agent before this one has begun is finished.
    ///
    /// # Errors
    /// Where that reset cannot be finished.
    pub(crate) fn with(
        mut self,
        (system, layer): (Option<OwnedFd>, Option<Layer>),
        lookout: Lookout,
        disk: u64,
    ) -> std::io::Result<Self> {
        self.system = system;
        self.layer = layer;
        self.quiet = Quiet::new(lookout);
        self.disk = disk;
        reset::finish(&self).map_err(|failure| std::io::Error::other(failure.message))?;
        self.clear();
        Ok(self)
    }

    /// The top of a tree, where there is one.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn root(&self, which: Which) -> std::io::Result<Option<OwnedFd>> {
        match which {
            Which::Work => self.tree.try_clone().map(Some),
            Which::System => self.system.as_ref().map(OwnedFd::try_clone).transpose(),
            Which::Layer => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let open = |layer: &Layer| {
                    rustix::fs::openat(&layer.folder, "upper", flags, Mode::empty())
                };
                Ok(self.layer.as_ref().map(open).transpose()?)
            }
        }
    }

    /// The writable layer of the system tree, where it has one.
    pub(crate) fn layer(&self) -> Option<&Layer> {
        self.layer.as_ref()
    }

    /// Who owns what the host filled the work tree with: uid and gid.
    pub(crate) fn owners(&self) -> (u32, u32) {
        let own = || (rustix::process::geteuid(), rustix::process::getegid());
        let (uid, gid) = self.owner.unwrap_or_else(own);
        (uid.as_raw(), gid.as_raw())
    }

    /// Bytes that marks may take.
    pub(crate) fn disk_limit(&self) -> u64 {
        self.disk
    }

    /// The mark that knows most about the trees as they are, where there is one.
    pub(crate) fn latest(&self) -> Option<String> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }

    /// From now on this mark knows most.
    pub(crate) fn set_latest(&self, name: &str) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(name.to_owned());
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

    /// Waits until nobody changes the tree or the marks.
    ///
    /// # Errors
    /// Where the call should stop.
    pub(crate) fn turn(&self, port: &Port) -> Result<MutexGuard<'_, ()>, Failure> {
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    port.check()?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
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

    /// Something on the stage is not needed any more: [`World::clear`] removes it, else the agent that comes next.
    ///
    /// Names of files that have others in the tree go at once, so that nobody counts a link too many.
    pub(crate) fn throw_away(&self, name: Vec<u8>) {
        if let Ok(stage) = self.stage() {
            journal::unlink_shared(stage, &name);
        }
        let mut rubbish = self.rubbish.lock().unwrap_or_else(PoisonError::into_inner);
        rubbish.push(name);
    }

    /// Removes what was thrown away. Whoever waits for an answer need not wait for this: where a file system tells its
    /// disk at once that blocks are free (`discard` without a journal), each file takes as long as the disk does.
    pub(crate) fn clear(&self) {
        let names = {
            let mut rubbish = self.rubbish.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *rubbish)
        };
        if let (false, Ok(stage)) = (names.is_empty(), self.stage()) {
            for name in names {
                journal::remove_all(stage, &name);
            }
        }
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

/// Makes the work tree in `run_dir` whole after its agent was killed: a set of changes that was not finished is taken
/// back, a reset that was noted is finished. For a folder whose sandbox is gone.
///
/// # Errors
/// As with [`journal::recover`].
pub fn recover(run_dir: BorrowedFd<'_>) -> std::io::Result<Recovered> {
    let recovered = journal::recover(run_dir)?;
    if store::is_resetting(run_dir)? {
        let world = World::outside(run_dir.try_clone_to_owned()?)?;
        reset::finish(&world).map_err(|failure| std::io::Error::other(failure.message))?;
        world.clear();
    }
    Ok(recovered)
}

/// Whether an op has this data stream.
pub(crate) fn has_stream(op: &Op, stream: u32) -> bool {
    match op {
        Op::ExecRun(run) => match stream {
            STREAM_INPUT => run.stdin,
            STREAM_ERRORS if run.terminal.is_some() => false,
            _ => stream == STREAM_OUTPUT || stream == STREAM_ERRORS,
        },
        Op::SpoolRead(_)
        | Op::FileRead(_)
        | Op::TreeList(_)
        | Op::TreeScan
        | Op::TreeDiff
        | Op::TreeCompare(_)
        | Op::MarkRead(_)
        | Op::TreeRead(_)
        | Op::TarOut(_) => stream == STREAM_OUTPUT,
        Op::FilesWrite(_) | Op::TarIn(_) => stream == STREAM_INPUT,
        Op::FileStat(_)
        | Op::TreeMark(_)
        | Op::TreeReset(_)
        | Op::MarkRemove(_)
        | Op::PathMove(_)
        | Op::ExecResize(_) => false,
    }
}

/// Carries out a file op.
///
/// # Errors
/// Where it is refused or fails; then nothing is half-done.
pub(crate) fn file_op(world: &World, port: &Port, op: Op) -> Result<Reply, Failure> {
    port.check()?;
    match op {
        Op::ExecRun(_) | Op::ExecResize(_) => Err(refusal(
            FailureCode::BadRequest,
            "run a program as a file op",
        )),
        Op::SpoolRead(op) => spool::read(world, port, &op),
        Op::FileRead(op) => read::file(world, port, &op),
        Op::FilesWrite(op) => {
            world.quiet.check()?;
            write::files(world, port, op)
        }
        Op::FileStat(op) => stat::file(world, &op),
        Op::TreeList(op) => list::tree(world, port, &op),
        Op::TreeScan => scan::tree(world, port),
        Op::TreeDiff => diff::baseline(world, port),
        Op::TreeCompare(op) => diff::mark(world, port, &op),
        Op::TreeMark(op) => mark::trees(world, port, &mut world.quiet.hush()?, &op),
        Op::TreeReset(op) => reset::trees(world, port, &mut world.quiet.hush()?, &op),
        Op::MarkRead(op) => mark::read(world, port, &op),
        Op::MarkRemove(op) => forget::mark(world, port, &op),
        Op::PathMove(op) => {
            world.quiet.check()?;
            rename::path(world, port, &op)
        }
        Op::TreeRead(op) => contents::tree(world, port, &op),
        Op::TarIn(op) => {
            world.quiet.check()?;
            tar_in::unpack(world, port, &op)
        }
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
